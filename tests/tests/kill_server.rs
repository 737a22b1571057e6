//! SIGKILL of the server: what it acknowledged is there, what ran goes on, nothing fires twice.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

use std::time::Duration;

use futures::{StreamExt as _, stream};
use mainspring_proto::scheduler::v1::{EventTopic, RunState, RunSubmission};
use mainspring_tests::harness::{
    client::work,
    host::{self, PATIENCE},
    scene::Scene,
};
use serde_json::json;

const LEASE: Duration = Duration::from_secs(3);
const ALLOWED: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives() {
    let mut scene = Scene::set(LEASE).await.unwrap();
    scene.add_workers(1, 8, false).await.unwrap();
    // Many callers at once, and the server dies while they wait for their answers.
    let submission =
        |number: u32| RunSubmission { request_id: format!("call-{number}"), ..work("t.noop", &json!(null)) };
    let answers: Vec<_> = {
        let scene = &scene;
        let mut calls =
            stream::iter(0..200).map(|n| async move { (n, scene.submit(submission(n)).await.ok()) }).buffered(32);
        let mut answers: Vec<_> = calls.by_ref().take(60).collect().await;
        scene.strike_server().unwrap();
        answers.extend(calls.collect::<Vec<_>>().await);
        answers
    };
    assert!(answers.iter().any(|(_, run)| run.is_none()), "the server died too late to matter");
    scene.revive_server(Duration::ZERO).await.unwrap();
    for place in &mut scene.places {
        place.worker.connected().await.unwrap();
    }
    for (number, before) in answers {
        let run = scene.submit(submission(number)).await.unwrap();
        assert!(before.is_none_or(|before| before == run), "call {number} has another run after the restart");
        scene.client.succeeded(&run, PATIENCE).await.unwrap();
    }
    scene.heal(ALLOWED).await.unwrap();
    scene.acquit(&["jobs", "cancels"]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_under_way_goes_on() {
    let mut scene = Scene::set(LEASE).await.unwrap();
    scene.add_workers(1, 2, false).await.unwrap();
    let mut watch = scene.client.watch(&[EventTopic::Runs], "", "").await.unwrap();
    let run = scene.submit(work("t.sleep", &json!({"ms": 2_500}))).await.unwrap();
    watch.state(&run, RunState::Running).await.unwrap();
    scene.kill_server(Duration::from_millis(300)).await.unwrap();
    let run = scene.client.succeeded(&run, PATIENCE).await.unwrap();
    assert_eq!((run.attempt, run.losses), (1, 0), "{run:?}");
    assert_eq!(scene.evidence.lines_of("START", &run.run_id).unwrap().len(), 1);
    scene.heal(ALLOWED).await.unwrap();
    scene.acquit(&["jobs", "cancels"]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_second_has_one_fate() {
    let mut scene = Scene::set(LEASE).await.unwrap();
    scene.add_workers(1, 8, false).await.unwrap();
    scene.add_jobs(2).await.unwrap();
    for down in [0, 1_500, 400] {
        host::pass_time(Duration::from_millis(1_700), "seconds pass, and each must fire").await;
        scene.kill_server(Duration::from_millis(down)).await.unwrap();
    }
    let healed = scene.heal(ALLOWED).await.unwrap();
    scene.rest(healed["wall"].as_i64().unwrap(), ALLOWED).await.unwrap();
    let counted = scene.acquit(&["submissions", "cancels"]).await.unwrap();
    assert!(counted["facts"]["instants"].as_u64().unwrap() >= 14, "{counted:#}");
}
