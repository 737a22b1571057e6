//! Why runs end, or attempts are told to, as callers and workers hear it: every reason that the platform gives by itself.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

use std::time::Duration;

use mainspring_proto::{
    common::v1::{Delivery, LeaseLossPolicy, RetryPolicy, RetryUntil, Timeouts},
    scheduler::v1::{
        CancelRunRequest, DeleteJobRequest, Interval, Job, Run, RunState, RunSubmission, Schedule, SubmitRunRequest,
        TriggerJobRequest, WaitReason, schedule,
    },
    worker::v1::{
        AttemptCancelled, AttemptInterrupted, AttemptPhase, AttemptProgress, AttemptRef, AttemptResult,
        CancelDirective, CancelDisposition, CancelReply, Dispatch, LogBatch, LogEntry, RejectReason, ResultDisposition,
        attempt_result, worker_stream_request::Message as Say, worker_stream_response::Message as Heard,
    },
};
use mainspring_tests::harness::{
    client::{Client, work},
    host::PATIENCE,
    refusal::Told,
    session::{BareWorker, Session, held},
    timed::TimedServer,
};
use serde_json::json;
use tonic::Code;

const LEASE: Duration = Duration::from_secs(30);

fn secs(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

fn noop() -> RunSubmission {
    RunSubmission { retry_policy: Some(attempts(1)), ..work("t.noop", &json!(null)) }
}

fn attempts(max: i32) -> RetryPolicy {
    RetryPolicy { max_attempts: Some(max), initial_backoff: secs(3_600), ..RetryPolicy::default() }
}

fn once() -> RunSubmission {
    RunSubmission { delivery: Delivery::AtMostOnce.into(), ..noop() }
}

/// A server, a client, and a worker with one slot.
struct Scene {
    server: TimedServer,
    client: Client,
    session: Session,
}

impl Scene {
    async fn set() -> Self {
        let server = TimedServer::start(|_| {}).await.unwrap();
        let client = server.client().unwrap();
        let session = BareWorker::new(&["t.noop"], 1).connect(&server.client().unwrap()).await.unwrap();
        Self { server, client, session }
    }

    async fn dispatched(&mut self, run: RunSubmission) -> Dispatch {
        let run = self.client.submit(run).await.unwrap();
        let dispatch = self.session.dispatch().await.unwrap();
        assert_eq!(dispatch.attempt.as_ref().unwrap().run_id, run);
        dispatch
    }

    /// A run that the worker says it is running.
    async fn running(&mut self, run: RunSubmission) -> AttemptRef {
        let attempt = self.dispatched(run).await.attempt.unwrap();
        self.session.accept(&attempt).await.unwrap();
        self.beat(&attempt, AttemptPhase::Running).await;
        attempt
    }

    async fn beat(&mut self, attempt: &AttemptRef, phase: AttemptPhase) {
        self.session.renew(vec![held(attempt, phase)]).await.unwrap();
    }

    async fn report(&mut self, attempt: &AttemptRef, outcome: Option<attempt_result::Outcome>) -> ResultDisposition {
        let result = AttemptResult { attempt: Some(attempt.clone()), outcome, ..AttemptResult::default() };
        self.session.say(Say::Result(result)).await.unwrap();
        self.session.result_ack(attempt).await.unwrap().disposition()
    }

    /// Somebody cancels the run; what the worker is told.
    async fn cancelled(&mut self, attempt: &AttemptRef) -> CancelDirective {
        let cancel = CancelRunRequest { run_id: attempt.run_id.clone(), note: "enough".into(), ..Default::default() };
        self.client.scheduler().cancel_run(cancel).await.unwrap();
        self.told_to_stop(attempt).await
    }

    async fn told_to_stop(&mut self, attempt: &AttemptRef) -> CancelDirective {
        let find = |heard: &Heard| match heard {
            Heard::Cancel(cancel) if cancel.attempt.as_ref() == Some(attempt) => cancel.cancel.clone(),
            _ => None,
        };
        self.session.until("a Cancel", find).await.unwrap()
    }

    async fn replied(&mut self, attempt: &AttemptRef, disposition: CancelDisposition) {
        let reply = CancelReply { attempt: Some(attempt.clone()), disposition: disposition.into() };
        self.session.say(Say::CancelReply(reply)).await.unwrap();
    }

    /// The run when it is over.
    async fn over(&self, run: &str) -> Run {
        self.client.over(run, PATIENCE).await.unwrap()
    }

    #[track_caller]
    fn ended(run: &Run, state: RunState, reason: &str) {
        assert_eq!((run.state(), run.reason.as_str()), (state, reason), "{run:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queue_timeout() {
    let scene = Scene::set().await;
    let timeouts = Some(Timeouts { queue: secs(10), ..Timeouts::default() });
    let run = scene.client.submit(RunSubmission { job_type: "t.nobody".into(), timeouts, ..noop() }).await.unwrap();
    scene.server.pass(Duration::from_millis(9_999)).await.unwrap();
    assert_eq!(scene.client.run(&run).await.unwrap().state(), RunState::Queued);
    scene.server.pass(Duration::from_millis(1)).await.unwrap();
    Scene::ended(&scene.over(&run).await, RunState::TimedOut, "QUEUE_TIMEOUT");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn total_timeout() {
    let mut scene = Scene::set().await;
    let timeouts = Some(Timeouts { total: secs(20), ..Timeouts::default() });
    let attempt = scene.running(RunSubmission { timeouts, retry_policy: Some(attempts(2)), ..noop() }).await;
    scene.session.fail(&attempt, "NOT_NOW").await.unwrap();
    scene.session.result_ack(&attempt).await.unwrap();
    scene.server.pass(Duration::from_millis(19_999)).await.unwrap();
    let waiting = scene.client.run(&attempt.run_id).await.unwrap();
    Scene::ended(&waiting, RunState::RetryWait, "NOT_NOW");
    scene.server.pass(Duration::from_millis(1)).await.unwrap();
    Scene::ended(&scene.over(&attempt.run_id).await, RunState::TimedOut, "TOTAL_TIMEOUT");

    let timeouts = Some(Timeouts { total: secs(20), ..Timeouts::default() });
    let attempt = scene.running(RunSubmission { timeouts, retry_policy: Some(attempts(2)), ..noop() }).await;
    scene.server.pass(Duration::from_secs(20)).await.unwrap();
    assert_eq!(scene.told_to_stop(&attempt).await.note, "TOTAL_TIMEOUT");
    scene.session.fail(&attempt, "STOPPED").await.unwrap();
    Scene::ended(&scene.over(&attempt.run_id).await, RunState::TimedOut, "TOTAL_TIMEOUT");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn execution_timeout() {
    let mut scene = Scene::set().await;
    let timeouts = Some(Timeouts { execution: secs(10), stop_grace: secs(40), ..Timeouts::default() });
    let attempt = scene.running(RunSubmission { timeouts, ..noop() }).await;
    scene.server.pass(Duration::from_secs(10)).await.unwrap();
    let stop = scene.told_to_stop(&attempt).await;
    assert_eq!((stop.note.as_str(), stop.grace_period), ("EXECUTION_TIMEOUT", secs(40)));
    scene.replied(&attempt, CancelDisposition::Cancelling).await;
    // It says that it stops, and does not.
    for _ in 0..2 {
        scene.beat(&attempt, AttemptPhase::Cancelling).await;
        scene.server.pass(Duration::from_secs(20)).await.unwrap();
    }
    let revoked = |heard: &Heard| {
        matches!(heard, Heard::Revoke(revoke) if revoke.attempt.as_ref() == Some(&attempt)).then_some(())
    };
    scene.session.until("a Revoke", revoked).await.unwrap();
    let run = scene.over(&attempt.run_id).await;
    Scene::ended(&run, RunState::TimedOut, "EXECUTION_TIMEOUT");
    assert_eq!(run.failures, 1);
    assert_eq!(scene.report(&attempt, None).await, ResultDisposition::Invalid, "too late, and it says nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker_unresponsive() {
    let mut scene = Scene::set().await;
    let attempt = scene.running(noop()).await;
    let request =
        CancelRunRequest { run_id: attempt.run_id.clone(), note: "no more".into(), ..CancelRunRequest::default() };
    let asked = scene.client.scheduler().cancel_run(request).await.unwrap().into_inner().run.unwrap();
    let cancellation = asked.cancellation.unwrap();
    assert!(cancellation.deadline.is_some() && !cancellation.worker_unresponsive);
    assert_eq!(scene.told_to_stop(&attempt).await.note, "no more");
    for _ in 0..2 {
        scene.beat(&attempt, AttemptPhase::Cancelling).await;
        scene.server.pass(Duration::from_secs(20)).await.unwrap();
    }
    let run = scene.over(&attempt.run_id).await;
    Scene::ended(&run, RunState::Cancelled, "WORKER_UNRESPONSIVE");
    assert!(run.cancellation.unwrap().worker_unresponsive);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lease_lost() {
    let mut scene = Scene::set().await;
    let attempt = scene.running(once()).await;
    let Scene { server, client, session } = scene;
    drop(session);
    // A server that has just started judges nobody for one lease.
    server.pass(LEASE * 2 + Duration::from_secs(1)).await.unwrap();
    let run = client.over(&attempt.run_id, PATIENCE).await.unwrap();
    Scene::ended(&run, RunState::Failed, "LEASE_LOST");
    assert_eq!((run.attempt, run.losses), (1, 1), "it started once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn undispatchable() {
    let mut scene = Scene::set().await;
    let run = scene.client.submit(noop()).await.unwrap();
    for number in 1..=20 {
        let attempt = scene.session.dispatch().await.unwrap().attempt.unwrap();
        assert_eq!((attempt.run_id.as_str(), attempt.attempt), (run.as_str(), number));
        scene.session.reject(&attempt, RejectReason::UnreadablePayload).await.unwrap();
    }
    let run = scene.over(&run).await;
    Scene::ended(&run, RunState::Failed, "UNDISPATCHABLE");
    assert_eq!((run.returns, run.failures, run.losses), (20, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker_crash_suspected() {
    let mut scene = Scene::set().await;
    let retry_policy = Some(RetryPolicy { max_losses: Some(1), ..attempts(3) });
    let attempt = scene.running(RunSubmission { retry_policy, ..noop() }).await;
    // It is not among what the worker holds.
    scene.session.renew(Vec::new()).await.unwrap();
    let run = scene.over(&attempt.run_id).await;
    Scene::ended(&run, RunState::Failed, "WORKER_CRASH_SUSPECTED");
    assert_eq!((run.losses, run.failures), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_matching_labels() {
    let mut scene = Scene::set().await;
    let required_labels = [("gpu".to_owned(), "yes".to_owned())].into();
    let run = scene.client.submit(RunSubmission { required_labels, ..noop() }).await.unwrap();
    let shown = scene.client.run(&run).await.unwrap();
    assert_eq!((shown.state(), shown.wait_reason()), (RunState::Queued, WaitReason::NoMatchingLabels), "{shown:?}");
    assert!(shown.wait_sentence.contains("gpu=yes"), "{}", shown.wait_sentence);
    // It holds up nobody, and whoever has the labels is given it.
    let other = scene.client.submit(noop()).await.unwrap();
    assert_eq!(scene.session.dispatch().await.unwrap().attempt.unwrap().run_id, other);
    let mut able = BareWorker::new(&["t.noop"], 1);
    able.labels = [("gpu".to_owned(), "yes".to_owned())].into();
    let mut able = able.connect(&scene.server.client().unwrap()).await.unwrap();
    assert_eq!(able.dispatch().await.unwrap().attempt.unwrap().run_id, run);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeat_timeout() {
    let mut scene = Scene::set().await;
    let timeouts = Some(Timeouts { heartbeat: secs(10), ..Timeouts::default() });
    let attempt = scene.running(RunSubmission { timeouts, ..noop() }).await;
    scene.server.pass(Duration::from_secs(9)).await.unwrap();
    // Progress that says nothing new is a sign of life; that the worker lists it is none.
    let lives =
        AttemptProgress { attempt: Some(attempt.clone()), phase: AttemptPhase::Running.into(), ..Default::default() };
    scene.session.say(Say::Progress(lives)).await.unwrap();
    scene.beat(&attempt, AttemptPhase::Running).await;
    scene.server.pass(Duration::from_secs(9)).await.unwrap();
    scene.beat(&attempt, AttemptPhase::Running).await;
    assert_eq!(scene.client.run(&attempt.run_id).await.unwrap().state(), RunState::Running);
    scene.server.pass(Duration::from_secs(1)).await.unwrap();
    let revoked = |heard: &Heard| match heard {
        Heard::Revoke(revoke) if revoke.attempt.as_ref() == Some(&attempt) => Some(()),
        _ => None,
    };
    scene.session.until("a Revoke", revoked).await.unwrap();
    scene.session.renew(Vec::new()).await.unwrap();
    let again = scene.session.dispatch().await.unwrap().attempt.unwrap();
    assert_eq!((again.run_id.as_str(), again.attempt), (attempt.run_id.as_str(), 2));
    let run = scene.client.run(&attempt.run_id).await.unwrap();
    assert_eq!((run.losses, run.failures), (1, 0));
    scene.session.reject(&again, RejectReason::Draining).await.unwrap();

    // Log lines are a sign of life as well, and a run that may start at most once ends.
    let mut scene = Scene::set().await;
    let attempt = scene.running(RunSubmission { timeouts, ..once() }).await;
    scene.server.pass(Duration::from_secs(9)).await.unwrap();
    let entries = vec![LogEntry { message: "still here".into(), ..LogEntry::default() }];
    let lines = LogBatch { attempt: Some(attempt.clone()), entries, ..LogBatch::default() };
    scene.session.say(Say::LogBatch(lines)).await.unwrap();
    scene.beat(&attempt, AttemptPhase::Running).await;
    scene.server.pass(Duration::from_secs(9)).await.unwrap();
    assert_eq!(scene.client.run(&attempt.run_id).await.unwrap().state(), RunState::Running);
    scene.server.pass(Duration::from_secs(1)).await.unwrap();
    Scene::ended(&scene.over(&attempt.run_id).await, RunState::Failed, "LEASE_LOST");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn next_occurrence_due() {
    let mut scene = Scene::set().await;
    let every = Interval { every: secs(10), ..Interval::default() };
    let job = Job {
        job: "ticking".into(),
        job_type: "t.noop".into(),
        schedules: vec![Schedule { rule: Some(schedule::Rule::Interval(every)), ..Schedule::default() }],
        retry_policy: Some(RetryPolicy {
            initial_backoff: secs(6),
            jitter: Some(0.0),
            multiplier: 1.0,
            retry_until: RetryUntil::NextOccurrence.into(),
            ..attempts(9)
        }),
        ..Job::default()
    };
    scene.client.create_job(job).await.unwrap();
    scene.server.pass(Duration::from_secs(10)).await.unwrap();
    let first = scene.session.dispatch().await.unwrap().attempt.unwrap();
    scene.session.fail(&first, "NOT_NOW").await.unwrap();
    scene.session.result_ack(&first).await.unwrap();
    assert_eq!(scene.client.run(&first.run_id).await.unwrap().state(), RunState::RetryWait);
    scene.server.pass(Duration::from_secs(6)).await.unwrap();
    let second = scene.session.dispatch().await.unwrap().attempt.unwrap();
    assert_eq!((second.run_id.as_str(), second.attempt), (first.run_id.as_str(), 2));
    scene.session.fail(&second, "NOT_NOW").await.unwrap();
    let run = scene.over(&first.run_id).await;
    Scene::ended(&run, RunState::Failed, "NEXT_OCCURRENCE_DUE");
    let cause = run.failure.unwrap().cause.unwrap();
    assert_eq!((run.failures, cause.reason.as_str()), (2, "NOT_NOW"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker_shutdown() {
    let mut scene = Scene::set().await;
    let attempt = scene.running(once()).await;
    let interrupted = attempt_result::Outcome::Interrupted(AttemptInterrupted::default());
    assert_eq!(scene.report(&attempt, Some(interrupted)).await, ResultDisposition::Applied);
    Scene::ended(&scene.over(&attempt.run_id).await, RunState::Failed, "WORKER_SHUTDOWN");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn job_deleted() {
    let scene = Scene::set().await;
    scene.client.create_job(Job { job: "doomed".into(), job_type: "t.nobody".into(), ..Job::default() }).await.unwrap();
    let trigger = TriggerJobRequest { job: "doomed".into(), ..TriggerJobRequest::default() };
    let run = scene.client.scheduler().trigger_job(trigger).await.unwrap().into_inner().run.unwrap();
    let delete = DeleteJobRequest { job: "doomed".into(), ..DeleteJobRequest::default() };
    scene.client.scheduler().delete_job(delete).await.unwrap();
    Scene::ended(&scene.over(&run.run_id).await, RunState::Cancelled, "JOB_DELETED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_that_make_no_sense() {
    let mut scene = Scene::set().await;
    let unasked = Some(attempt_result::Outcome::Cancelled(AttemptCancelled::default()));
    for (outcome, disposition, reason) in [
        (unasked, ResultDisposition::Applied, "CANCELLED_UNASKED"),
        (None, ResultDisposition::Invalid, "RESULT_INVALID"),
    ] {
        let attempt = scene.running(noop()).await;
        assert_eq!(scene.report(&attempt, outcome).await, disposition);
        let run = scene.over(&attempt.run_id).await;
        Scene::ended(&run, RunState::Failed, reason);
        assert_eq!(run.failure.unwrap().reason, reason);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_of_somebody_elses_attempt_are_noticed_and_not_stored() {
    let mut scene = Scene::set().await;
    let run_id = scene.client.submit(RunSubmission { job_type: "t.nobody".into(), ..noop() }).await.unwrap();
    let attempt = Some(AttemptRef { run_id, attempt: 1 });
    let entries = vec![LogEntry { message: "psst".into(), ..LogEntry::default() }];
    scene
        .session
        .say(Say::LogBatch(LogBatch { attempt: attempt.clone(), entries, ..Default::default() }))
        .await
        .unwrap();
    let find = |heard: &Heard| if let Heard::Notice(notice) = heard { Some(notice.clone()) } else { None };
    let notice = scene.session.until("a StreamNotice", find).await.unwrap();
    assert_eq!((notice.reason.as_str(), notice.attempt), ("LEASE_NOT_OWNED", attempt));
    scene.session.renew(Vec::new()).await.unwrap();
}

/// A worker that no longer runs what it is told to stop has finished it: its result is on the way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn not_running_is_not_lost() {
    let mut scene = Scene::set().await;
    let attempt = scene.running(noop()).await;
    // That it runs is written only where it is not over at once.
    scene.server.pass(Duration::from_millis(250)).await.unwrap();
    let stop = scene.cancelled(&attempt).await;
    assert_eq!(stop.note, "enough");
    scene.replied(&attempt, CancelDisposition::NotRunning).await;
    scene.beat(&attempt, AttemptPhase::ResultPending).await;
    let run = scene.client.run(&attempt.run_id).await.unwrap();
    assert_eq!((run.state(), run.losses, run.cancellation.is_some()), (RunState::Running, 0, true), "{run:?}");
    scene.session.succeed(&attempt).await.unwrap();
    assert_eq!(scene.session.result_ack(&attempt).await.unwrap().disposition(), ResultDisposition::Applied);
    Scene::ended(&scene.over(&attempt.run_id).await, RunState::Succeeded, "");

    // One that really has nothing of it says so in its heartbeat, and somebody wanted it gone.
    let attempt = scene.running(noop()).await;
    scene.cancelled(&attempt).await;
    scene.replied(&attempt, CancelDisposition::NotRunning).await;
    scene.session.renew(Vec::new()).await.unwrap();
    let run = scene.over(&attempt.run_id).await;
    Scene::ended(&run, RunState::Cancelled, "CANCELLED");
    assert_eq!((run.attempt, run.losses), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_may_start_once_stops_where_its_lease_is_lost() {
    let mut scene = Scene::set().await;
    for (run, expected) in [
        (once(), LeaseLossPolicy::Stop),
        (RunSubmission { lease_loss_policy: LeaseLossPolicy::Stop.into(), ..once() }, LeaseLossPolicy::Stop),
        (RunSubmission { lease_loss_policy: LeaseLossPolicy::Stop.into(), ..noop() }, LeaseLossPolicy::Stop),
        (noop(), LeaseLossPolicy::Continue),
    ] {
        let dispatch = scene.dispatched(run).await;
        assert_eq!(dispatch.lease_loss_policy(), expected);
        let attempt = dispatch.attempt.unwrap();
        scene.session.succeed(&attempt).await.unwrap();
        scene.session.result_ack(&attempt).await.unwrap();
    }
    // The same by way of a job.
    let (delivery, retry_policy) = (Delivery::AtMostOnce.into(), Some(attempts(1)));
    let job = Job { job: "once".into(), job_type: "t.noop".into(), delivery, retry_policy, ..Job::default() };
    scene.client.create_job(job).await.unwrap();
    let trigger = TriggerJobRequest { job: "once".into(), ..TriggerJobRequest::default() };
    scene.client.scheduler().trigger_job(trigger).await.unwrap();
    assert_eq!(scene.session.dispatch().await.unwrap().lease_loss_policy(), LeaseLossPolicy::Stop);

    let both = RunSubmission { lease_loss_policy: LeaseLossPolicy::Continue.into(), ..once() };
    let request = SubmitRunRequest { run: Some(both), ..SubmitRunRequest::default() };
    let told = Told::of(&scene.client.scheduler().submit_run(request).await.unwrap_err());
    told.is(Code::InvalidArgument, "FIELD_INVALID");
    told.advises("must be STOP, or be left out, where delivery is AT_MOST_ONCE");
}
