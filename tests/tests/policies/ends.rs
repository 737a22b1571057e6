//! What becomes of runs: whose worker is lost, whose key is taken, whose job is deleted or paused.

use std::time::Duration;

use mainspring_proto::{
    common::v1::{Delivery, LeaseLossPolicy, RetryPolicy, RetryUntil},
    scheduler::v1::{
        DeleteJobRequest, Job, PauseJobRequest, PausedRuns, Run, RunState, RunSubmission, RunningRuns,
        SubmitRunRequest, TriggerJobRequest, UniqueConflict, UniqueKey,
    },
};
use mainspring_tests::harness::client::work;
use serde_json::json;
use tonic::Status;
use tonic_types::StatusExt as _;

use super::scene::{MOMENT, Row, Scene, every};

/// How a run stands that may be tried once, and whose worker was lost.
const DELIVERY: [(Delivery, &str, RunState, &str); 2] = [
    (Delivery::AtLeastOnce, "it starts again elsewhere", RunState::Queued, ""),
    (Delivery::AtMostOnce, "it ends, since nobody knows how far it came", RunState::Failed, "LEASE_LOST"),
];

fn submission() -> RunSubmission {
    let once = RetryPolicy { max_attempts: Some(1), ..RetryPolicy::default() };
    RunSubmission { retry_policy: Some(once), ..work("t.noop", &json!(null)) }
}

async fn submit(scene: &Scene, run: RunSubmission) -> Result<Run, Status> {
    let request = SubmitRunRequest { run: Some(run), ..SubmitRunRequest::default() };
    Ok(scene.client.scheduler().submit_run(request).await?.into_inner().run.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delivery_says_what_becomes_of_a_run_whose_worker_is_lost() {
    for (delivery, says, state, reason) in DELIVERY {
        let mut scene = Scene::with_worker().await;
        let run = submit(&scene, RunSubmission { delivery: delivery.into(), ..submission() }).await.unwrap();
        scene.take().await;
        scene.lose_worker();
        scene.pass(Duration::from_secs(70)).await;
        let run = scene.run(&run.run_id).await;
        assert_eq!((run.state(), run.reason.as_str()), (state, reason), "{says}");
    }
}

/// What a worker is told to do once it cannot prove its lease; that it does so is shown with the worker.
const LEASE_LOSS: [(LeaseLossPolicy, &str); 2] = [
    (LeaseLossPolicy::Continue, "it goes on, and the fencing token decides whether its result counts"),
    (LeaseLossPolicy::Stop, "it stops before the lease can be given to another"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_is_told_what_to_do_without_its_lease() {
    let mut scene = Scene::with_worker().await;
    for (policy, says) in LEASE_LOSS {
        submit(&scene, RunSubmission { lease_loss_policy: policy.into(), ..submission() }).await.unwrap();
        assert_eq!(scene.take().await.lease_loss_policy(), policy, "{says}");
    }
}

/// How a run stands that has failed, and whose next attempt would begin after its schedule is due again.
const RETRY_UNTIL: [(RetryUntil, &str, RunState); 2] = [
    (RetryUntil::Budget, "it is tried again, as often as the policy says", RunState::RetryWait),
    (RetryUntil::NextOccurrence, "it ends, as the run of the next instant takes its place", RunState::Failed),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retries_say_until_when_there_are_any() {
    for (until, says, state) in RETRY_UNTIL {
        let mut scene = Scene::with_worker().await;
        let initial_backoff = Some(prost_types::Duration { seconds: 60, nanos: 0 });
        let retry = RetryPolicy { initial_backoff, retry_until: until.into(), ..RetryPolicy::default() };
        scene.client.create_job(Job { retry_policy: Some(retry), ..every("ticking", 20) }).await.unwrap();
        scene.pass(Duration::from_secs(20)).await;
        let first = scene.take().await;
        scene.fail(&first).await;
        assert_eq!(scene.states("ticking").await, [state], "{says}");
    }
}

/// What becomes of a run whose key is held by one that waits.
const UNIQUE: [(UniqueConflict, &str, Option<bool>, RunState); 3] = [
    (UniqueConflict::Reject, "it is refused", None, RunState::Queued),
    (UniqueConflict::ReturnExisting, "the run that holds the key is the answer", Some(false), RunState::Queued),
    (UniqueConflict::ReplacePending, "it takes the place of the other", Some(true), RunState::Cancelled),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unique_key_says_what_becomes_of_a_second_run() {
    let scene = Scene::bare().await;
    for (on_conflict, says, is_new, first_stands) in UNIQUE {
        let key = on_conflict.as_str_name().to_owned();
        let unique = Some(UniqueKey { key, on_conflict: on_conflict.into(), ..UniqueKey::default() });
        let run = RunSubmission { unique, ..submission() };
        let first = submit(&scene, run.clone()).await.unwrap();
        let second = submit(&scene, run).await;
        let refused =
            second.as_ref().err().map(|status| status.get_error_details().error_info().unwrap().reason.clone());
        assert_eq!(refused.as_deref(), is_new.is_none().then_some("UNIQUE_KEY_TAKEN"), "{says}");
        assert_eq!(second.ok().map(|second| second.run_id != first.run_id), is_new, "{says}");
        assert_eq!(scene.run(&first.run_id).await.state(), first_stands, "{says}");
    }
}

/// What a delete makes of a run at a worker: how long it may take to stop, if it is to. One that waits is cancelled.
const RUNNING: [(RunningRuns, &str, Option<i64>); 3] = [
    (RunningRuns::Detach, "it finishes", None),
    (RunningRuns::Cancel, "it is asked to stop, in its own time", Some(600)),
    (RunningRuns::Terminate, "it is asked to stop, within a lease", Some(30)),
];

/// A run at a worker and one that waits for its time, of one job.
async fn two(scene: &mut Scene, job: &str) -> [String; 2] {
    scene.client.create_job(every(job, 3_600)).await.unwrap();
    let later = prost_types::Timestamp { seconds: scene.server.now().as_micros() / 1_000_000 + 3_000, nanos: 0 };
    let mut runs = Vec::new();
    for due_time in [None, Some(later)] {
        let trigger = TriggerJobRequest { job: job.into(), force: true, due_time, ..TriggerJobRequest::default() };
        runs.push(scene.client.scheduler().trigger_job(trigger).await.unwrap().into_inner().run.unwrap().run_id);
    }
    scene.take().await;
    runs.try_into().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delete_says_what_becomes_of_runs_at_workers() {
    let mut scene = Scene::with_worker().await;
    for (running, says, grace) in RUNNING {
        let job = running.as_str_name().to_ascii_lowercase();
        let [held, waits] = two(&mut scene, &job).await;
        let delete = DeleteJobRequest { job, running: running.into(), ..DeleteJobRequest::default() };
        let told = scene.client.scheduler().delete_job(delete).await.unwrap().into_inner();
        assert_eq!((told.cancelled_runs, told.stopped_runs), (1, i64::from(grace.is_some())), "{says}");
        scene.pass(MOMENT).await;
        assert_eq!(scene.grace(&held).await, grace, "{says}");
        let waited = scene.run(&waits).await;
        assert_eq!((waited.state(), waited.reason.as_str()), (RunState::Cancelled, "JOB_DELETED"), "{says}");
    }
}

/// What a pause makes of a run at a worker, and of one that waits.
const PAUSED: [(PausedRuns, &str, Option<i64>, RunState); 3] = [
    (PausedRuns::Keep, "they go on", None, RunState::Scheduled),
    (PausedRuns::CancelWaiting, "those that wait are cancelled", None, RunState::Cancelled),
    (PausedRuns::CancelAll, "all are", Some(600), RunState::Cancelled),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_says_what_becomes_of_runs_that_are_not_over() {
    let mut scene = Scene::with_worker().await;
    for (runs, says, grace, state) in PAUSED {
        let job = runs.as_str_name().to_ascii_lowercase();
        let [held, waits] = two(&mut scene, &job).await;
        let pause = PauseJobRequest { job, runs: runs.into(), ..PauseJobRequest::default() };
        scene.client.scheduler().pause_job(pause).await.unwrap();
        scene.pass(MOMENT).await;
        assert_eq!(scene.grace(&held).await, grace, "{says}");
        assert_eq!(scene.run(&waits).await.state(), state, "{says}");
    }
}

pub(crate) fn rows() -> Vec<Row> {
    let delivery = DELIVERY.map(|(value, says, ..)| ("Delivery", value.as_str_name(), says));
    let lease_loss = LEASE_LOSS.map(|(value, says)| ("LeaseLossPolicy", value.as_str_name(), says));
    let unique = UNIQUE.map(|(value, says, ..)| ("UniqueConflict", value.as_str_name(), says));
    let running = RUNNING.map(|(value, says, _)| ("RunningRuns", value.as_str_name(), says));
    let paused = PAUSED.map(|(value, says, ..)| ("PausedRuns", value.as_str_name(), says));
    let retry_until = RETRY_UNTIL.map(|(value, says, _)| ("RetryUntil", value.as_str_name(), says));
    [&delivery[..], &lease_loss, &retry_until, &unique, &running, &paused].concat()
}
