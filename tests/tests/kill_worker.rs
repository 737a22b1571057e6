//! SIGKILL of a worker: its runs start elsewhere within one lease and two seconds, and it costs them no retry.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

use std::time::Duration;

use mainspring_proto::{
    common::v1::RetryPolicy,
    scheduler::v1::{EventTopic, RunState, RunSubmission},
};
use mainspring_tests::harness::{client::work, host::PATIENCE, scene::Scene};
use serde_json::json;

const LEASE: Duration = Duration::from_secs(2);
const ALLOWED: Duration = Duration::from_secs(10);
const SLOTS: u32 = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_runs_start_elsewhere_within_a_lease() {
    let mut scene = Scene::set(LEASE).await.unwrap();
    // The first takes everything, the second comes when it is needed.
    scene.add_workers(1, SLOTS, false).await.unwrap();
    let mut watch = scene.client.watch(&[EventTopic::Runs], "", "").await.unwrap();
    let mut runs = Vec::new();
    for _ in 0..SLOTS {
        // One attempt only: a lost worker must not use it up.
        let policy = RetryPolicy { max_attempts: Some(1), ..RetryPolicy::default() };
        let run = RunSubmission { retry_policy: Some(policy), ..work("t.sleep", &json!({"ms": 1_000})) };
        runs.push(scene.submit(run).await.unwrap());
    }
    for _ in 0..SLOTS {
        watch.any_state(RunState::Running).await.unwrap();
    }
    scene.add_workers(1, SLOTS, false).await.unwrap();
    scene.kill_worker(0).await.unwrap();
    for run in &runs {
        let run = scene.client.succeeded(run, PATIENCE).await.unwrap();
        assert_eq!((run.attempt, run.losses, run.failures), (2, 1, 0), "{run:?}");
        assert_eq!(scene.evidence.lines_of("START", &run.run_id).unwrap().len(), 2);
    }
    scene.heal(ALLOWED).await.unwrap();
    let counted = scene.acquit(&["jobs", "cancels"]).await.unwrap();
    let waited = &counted["redispatch"]["clean"];
    assert_eq!(waited["count"], SLOTS, "{counted:#}");
    println!("started elsewhere after {waited}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_kills_its_workers_ends() {
    let mut scene = Scene::set(Duration::from_secs(1)).await.unwrap();
    scene.add_workers(1, 1, false).await.unwrap();
    let mut watch = scene.client.watch(&[EventTopic::Runs], "", "").await.unwrap();
    let run = scene.submit(work("t.block", &json!(null))).await.unwrap();
    for _ in 0..3 {
        watch.state(&run, RunState::Running).await.unwrap();
        scene.kill_worker(0).await.unwrap();
    }
    let run = scene.client.over(&run, PATIENCE).await.unwrap();
    assert_eq!((run.state(), run.losses, run.failures), (RunState::Failed, 3, 0), "{run:?}");
    assert_eq!(run.reason, "WORKER_CRASH_SUSPECTED");
    let failure = run.failure.unwrap();
    assert_eq!(failure.reason, "WORKER_CRASH_SUSPECTED");
    assert!(failure.message.contains("may be what kills them"), "{failure:?}");
}
