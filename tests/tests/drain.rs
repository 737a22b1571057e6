//! SIGTERM: a server with streams ends within its deadline, and neither its going nor a worker's costs anything.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

use std::time::Duration;

use mainspring_proto::scheduler::v1::{EventTopic, RunState};
use mainspring_tests::harness::{
    client::work,
    host::{self, PATIENCE},
    scene::Scene,
    server::{self, Server},
    session::BareWorker,
};
use serde_json::json;

const LEASE: Duration = Duration::from_secs(3);
const ALLOWED: Duration = Duration::from_secs(10);
/// What the server is told, and what it may take beyond: closing the database on a busy machine.
const DEADLINE: Duration = Duration::from_secs(4);
const CLOSING: Duration = Duration::from_secs(3);

fn settings(lease: Duration) -> server::Settings {
    let deadline = ("MAINSPRING_LIMITS__DRAIN_DEADLINE".to_owned(), format!("{}ms", DEADLINE.as_millis()));
    server::Settings { more: vec![deadline], ..server::Settings::with_lease(lease) }
}

/// These workers ignore that the server asks them to go, and their leases are too long to end it for them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_a_hundred_streams_ends_within_its_deadline() {
    let mut server = Server::start(settings(Duration::from_secs(30))).await.unwrap();
    let mut sessions = Vec::new();
    for _ in 0..100 {
        // A connection each, as workers have.
        let client = server.client().unwrap();
        sessions.push(BareWorker::new(&["t.noop"], 1).connect(&client).await.unwrap());
    }
    let begin = host::monotonic();
    let status = server.terminate(PATIENCE).await.unwrap();
    let took = Duration::from_nanos(host::monotonic() - begin);
    assert!(status.success(), "{status}");
    assert!(took < DEADLINE + CLOSING, "it took {took:?}");
    println!("ended after {took:?}");
    for session in &mut sessions {
        // The stream has ended: with a word of the server, or with its connection.
        let _ = session.end(PATIENCE).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_goes_and_comes_repeats_nothing() {
    let mut scene = Scene::set_with(settings(LEASE)).await.unwrap();
    scene.add_workers(2, 4, false).await.unwrap();
    let mut watch = scene.client.watch(&[EventTopic::Runs], "", "").await.unwrap();
    let mut runs = Vec::new();
    for _ in 0..12 {
        runs.push(scene.submit(work("t.sleep", &json!({"ms": 1_500}))).await.unwrap());
    }
    for _ in 0..8 {
        watch.any_state(RunState::Running).await.unwrap();
    }
    let status = scene.server.terminate(PATIENCE).await.unwrap();
    assert!(status.success(), "{status}");
    scene.server.restart().await.unwrap();
    for run in &runs {
        let run = scene.client.succeeded(run, PATIENCE).await.unwrap();
        assert_eq!((run.losses, run.failures), (0, 0), "{run:?}");
        assert_eq!(scene.evidence.lines_of("START", &run.run_id).unwrap().len(), 1, "{run:?}");
    }
    scene.heal(ALLOWED).await.unwrap();
    scene.acquit(&["faults", "jobs", "cancels"]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_leaves_loses_and_repeats_nothing() {
    let mut scene = Scene::set(LEASE).await.unwrap();
    scene.add_workers(1, 4, false).await.unwrap();
    let mut watch = scene.client.watch(&[EventTopic::Runs], "", "").await.unwrap();
    let mut runs = Vec::new();
    for _ in 0..20 {
        runs.push(scene.submit(work("t.sleep", &json!({"ms": 800}))).await.unwrap());
    }
    for _ in 0..4 {
        watch.any_state(RunState::Running).await.unwrap();
    }
    scene.add_workers(1, 4, false).await.unwrap();
    let mut leaving = scene.places.remove(0);
    let status = leaving.worker.terminate(PATIENCE).await.unwrap();
    assert!(status.success(), "{status}");
    for run in &runs {
        let run = scene.client.succeeded(run, PATIENCE).await.unwrap();
        assert_eq!((run.losses, run.failures), (0, 0), "{run:?}");
        assert_eq!(scene.evidence.lines_of("START", &run.run_id).unwrap().len(), 1, "{run:?}");
    }
    scene.heal(ALLOWED).await.unwrap();
    scene.acquit(&["faults", "jobs", "cancels"]).await.unwrap();
}
