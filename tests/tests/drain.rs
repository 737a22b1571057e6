//! SIGTERM: a server ends within its deadline whatever is connected, its database is whole in its files, and neither its
//! going nor a worker's costs anything.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

use std::{fs, path::Path, time::Duration};

use mainspring_proto::{
    scheduler::v1::{DrainWorkerRequest, EventTopic, ListJobsRequest, ListLogsRequest, RunState, WorkerState, event},
    worker::v1::{WorkerDrain, worker_stream_request::Message as Say},
};
use mainspring_tests::harness::{
    client::work,
    host::{self, PATIENCE},
    refusal::Told,
    scene::Scene,
    server::{self, Server},
    session::BareWorker,
};
use serde_json::json;
use tonic::Code;
use uuid::Uuid;

const LEASE: Duration = Duration::from_secs(3);
const ALLOWED: Duration = Duration::from_secs(10);
/// What the server is told, and what it may take beyond: closing the database on a busy machine.
const DEADLINE: Duration = Duration::from_secs(4);
const CLOSING: Duration = Duration::from_secs(3);

fn settings(lease: Duration) -> server::Settings {
    let deadline = ("MAINSPRING_LIMITS__DRAIN_DEADLINE".to_owned(), format!("{}ms", DEADLINE.as_millis()));
    server::Settings { more: vec![deadline], ..server::Settings::with_lease(lease) }
}

/// Files that SQLite has beside a database as long as somebody has it open.
fn companions(data: &Path) -> Vec<String> {
    let names = fs::read_dir(data).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    names.filter(|name| name.ends_with("-wal") || name.ends_with("-shm")).collect()
}

/// SIGTERM, exit code 0, how long it took, and nothing beside the databases.
async fn ends(server: &mut Server) -> Duration {
    assert!(!companions(&server.data()).is_empty(), "its databases are open");
    let begin = host::monotonic();
    let status = server.terminate(PATIENCE).await.unwrap();
    let took = Duration::from_nanos(host::monotonic() - begin);
    assert!(status.success(), "{status}");
    assert_eq!(companions(&server.data()), Vec::<String>::new());
    println!("ended after {took:?}");
    took
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_server_ends_at_once() {
    let mut server = Server::start(settings(LEASE)).await.unwrap();
    let client = server.client().unwrap();
    let run = client.submit(work("t.noop", &json!(null))).await.unwrap();
    // Whatever reads from the database opens connections to it: several at a time, and one to the log lines.
    let read = || {
        let (client, run_id) = (client.clone(), run.clone());
        host::spawn(async move {
            client.scheduler().list_jobs(ListJobsRequest::default()).await.unwrap();
            client.scheduler().list_logs(ListLogsRequest { run_id, ..ListLogsRequest::default() }).await.unwrap();
        })
    };
    for reader in std::array::from_fn::<_, 8, _>(|_| read()) {
        reader.ended().await;
    }
    let took = ends(&mut server).await;
    assert!(took < CLOSING, "nobody was there to wait for, and it took {took:?}");
    // The client's connection is still open on its side.
    drop(client);
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
    let took = ends(&mut server).await;
    assert!(took < DEADLINE + CLOSING, "it took {took:?}");
    for session in &mut sessions {
        // The stream has ended: with a word of the server, or with its connection.
        let _ = session.end(PATIENCE).await.unwrap();
    }
}

/// There is no other server that they could go to, and a deadline that nobody would wait for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_hold_nothing_keep_no_server() {
    let mut settings = settings(LEASE);
    settings.more = vec![("MAINSPRING_LIMITS__DRAIN_DEADLINE".to_owned(), "1h".to_owned())];
    let mut scene = Scene::set_with(settings).await.unwrap();
    scene.add_workers(2, 1, false).await.unwrap();
    let mut watch = scene.client.watch(&[EventTopic::Runs], "", "").await.unwrap();
    let run = scene.submit(work("t.sleep", &json!({"ms": 2_500}))).await.unwrap();
    watch.any_state(RunState::Running).await.unwrap();
    let status = scene.server.terminate(PATIENCE).await.unwrap();
    assert!(status.success(), "{status}");
    scene.server.restart().await.unwrap();
    let run = scene.client.succeeded(&run, PATIENCE).await.unwrap();
    assert_eq!((run.attempt, run.losses), (1, 0), "{run:?}");
    assert_eq!(scene.evidence.lines_of("START", &run.run_id).unwrap().len(), 1, "{run:?}");
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

/// Whoever is faster: the half of the stream that listens, the half that speaks, or the session between them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_says_goodbye_is_gone() {
    let server = Server::start(settings(LEASE)).await.unwrap();
    let client = server.client().unwrap();
    let mut watch = client.watch(&[EventTopic::Workers], "", "").await.unwrap();
    for _ in 0..50 {
        let mut worker = BareWorker::new(&["t.noop"], 1);
        let mut session = worker.connect(&client).await.unwrap();
        session.say(Say::Drain(WorkerDrain::default())).await.unwrap();
        session.half_close();
        session.end(PATIENCE).await.unwrap().unwrap();
        let over = [WorkerState::Gone, WorkerState::Disconnected, WorkerState::Lost];
        let is_over = |detail: &event::Detail| matches!(detail, event::Detail::Worker(event) if event.worker_id == worker.instance && over.contains(&event.state()));
        let event = watch.run(is_over).await.unwrap();
        let Some(event::Detail::Worker(event)) = event.detail else { panic!("{event:?}") };
        assert_eq!(event.state(), WorkerState::Gone);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_lost_has_nothing_to_drain() {
    let server = Server::start(settings(Duration::from_secs(1))).await.unwrap();
    let client = server.client().unwrap();
    let mut watch = client.watch(&[EventTopic::Workers], "", "").await.unwrap();
    drop(BareWorker::new(&["t.noop"], 1).connect(&client).await.unwrap());
    let lost =
        |detail: &event::Detail| matches!(detail, event::Detail::Worker(event) if event.state() == WorkerState::Lost);
    let Some(event::Detail::Worker(event)) = watch.run(lost).await.unwrap().detail else { unreachable!("it is one") };
    let drain = DrainWorkerRequest { worker_id: event.worker_id, ..DrainWorkerRequest::default() };
    let told = Told::of(&client.queues().drain_worker(drain).await.unwrap_err());
    told.is(Code::FailedPrecondition, "WORKER_LEFT");
    told.has("state", "LOST");
    told.advises("there is nothing to drain; should it come back, drain it then");
    let nobody = DrainWorkerRequest { worker_id: Uuid::now_v7().to_string(), ..DrainWorkerRequest::default() };
    Told::of(&client.queues().drain_worker(nobody).await.unwrap_err()).is(Code::NotFound, "WORKER_NOT_FOUND");
}
