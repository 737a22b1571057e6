//! A broken stream is no dead worker: what ran is adopted, not repeated.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::time::Duration;

use mainspring_proto::scheduler::v1::{EventTopic, Run, RunState};
use mainspring_tests::harness::{
    client::work,
    host::{self, PATIENCE},
    proxy::Proxy,
    scene::Scene,
};
use serde_json::json;

const LEASE: Duration = Duration::from_secs(3);
const ALLOWED: Duration = Duration::from_secs(10);

/// A run that is under way at a worker whose stream is then broken for a while; the run, and how many starts it had.
async fn broken(length: Duration, kind: &str, break_it: fn(&Proxy)) -> (Run, usize) {
    let mut scene = Scene::set(LEASE).await.unwrap();
    scene.add_workers(1, 2, true).await.unwrap();
    let mut watch = scene.client.watch(&[EventTopic::Runs], "", "").await.unwrap();
    let takes = length + Duration::from_secs(2);
    let run = scene.submit(work("t.sleep", &json!({"ms": takes.as_millis() as u64}))).await.unwrap();
    watch.state(&run, RunState::Running).await.unwrap();
    scene.note_stream(0, kind, true).unwrap();
    let proxy = scene.places[0].proxy.as_ref().unwrap();
    break_it(proxy);
    host::pass_time(length, "how long a stream is broken decides what becomes of its leases").await;
    proxy.heal();
    scene.note_stream(0, kind, false).unwrap();
    let run = scene.client.succeeded(&run, PATIENCE).await.unwrap();
    scene.heal(ALLOWED).await.unwrap();
    scene.acquit(&["jobs", "cancels"]).await.unwrap();
    let starts = scene.evidence.lines_of("START", &run.run_id).unwrap().len();
    (run, starts)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_severed_stream_is_taken_up_again() {
    let (run, starts) = broken(LEASE / 2, "SEVER", Proxy::sever).await;
    assert_eq!((run.attempt, run.losses, run.returns, starts), (1, 0, 0, 1), "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_stream_goes_on() {
    let (run, starts) = broken(LEASE / 2, "SILENCE", Proxy::silence).await;
    assert_eq!((run.attempt, run.losses, run.returns, starts), (1, 0, 0, 1), "{run:?}");
}

/// The lease has ended and the run waits again, but nobody else is there to take it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_worker_is_adopted_where_nobody_leased_its_run() {
    let (run, starts) = broken(LEASE + Duration::from_secs(2), "SEVER", Proxy::sever).await;
    assert_eq!((run.attempt, run.losses, starts), (1, 0, 1), "{run:?}");
}
