//! The table against the traces that broke earlier versions of it, and against its invariants on random histories.
//!
//! Traces about sessions and servers (V8 to V15) are beside what they test: `flow/stream`, the store's conformance suite
//! and the SDK.

use std::time::Duration;

use proptest::prelude::*;

mod rows;

use super::{Change, Context, Event, Lifecycle, Outcome, Refusal, RunPolicy, RunState, Tell, step};
use crate::domain::{
    attempt::{AttemptEnd, AttemptState, LossReason},
    ids::{RunId, WorkerId},
    instant::Instant,
    overlap::Buffer,
    payload::Failure,
    policy::{Delivery, RetryPolicy, Timeouts},
    rules::LeaseRules,
    run::reason,
    worker::AbandonReason,
};

/// A run and its history so far.
struct Trace {
    run: Lifecycle,
    policy: RunPolicy,
    rules: LeaseRules,
    now: Instant,
    job_deleted: bool,
    retry_until: Option<Instant>,
    last: Option<Change>,
}

impl Trace {
    fn new(policy: RunPolicy) -> Self {
        let now = Instant::from_micros(1_000_000_000);
        let (run, rules) = (Lifecycle::new(now, now), LeaseRules::default());
        Self { run, policy, rules, now, job_deleted: false, retry_until: None, last: None }
    }

    fn try_step(&mut self, event: &Event) -> Result<(), Refusal> {
        let run = RunId::from_uuid(uuid::Uuid::nil());
        let Self { policy, rules, now, retry_until, job_deleted, .. } = self;
        let (now, retry_until, job_deleted) = (*now, *retry_until, *job_deleted);
        let context = Context { run, policy, rules, now, retry_until, job_deleted };
        let change = step(&self.run, event, context)?;
        self.run = change.next.clone();
        self.last = Some(change);
        Ok(())
    }

    fn step(&mut self, event: Event) -> &mut Self {
        if let Err(refusal) = self.try_step(&event) {
            panic!("{event:?} was refused as {refusal:?} in {:?}", self.run);
        }
        self
    }

    fn refuses(&mut self, event: Event, refusal: Refusal) -> &mut Self {
        assert_eq!(self.try_step(&event), Err(refusal), "{event:?} in {:?}", self.run);
        self
    }

    /// It waits for the slot of its job, or not.
    fn buffered(mut self, buffered: bool) -> Self {
        if buffered {
            self.run = Lifecycle::made(self.now, self.now, Some(Buffer::Turn));
        }
        self
    }

    fn lease(&mut self) -> &mut Self {
        let generation = self.run.generation;
        self.step(Event::Lease { worker: worker(1), generation })
    }

    fn later(&mut self, length: Duration) -> &mut Self {
        self.now = self.now.plus(length);
        self
    }

    fn ended_as(&self) -> AttemptState {
        self.last.as_ref().unwrap().end.as_ref().unwrap().state
    }
}

fn worker(number: u128) -> WorkerId {
    WorkerId::from_uuid(uuid::Uuid::from_u128(number))
}

fn report(attempt: i64, outcome: Outcome) -> Event {
    Event::Report { attempt, outcome, start_time: None, log_lines: Some(7) }
}

fn failed(attempt: i64) -> Event {
    report(attempt, Outcome::Failed(Failure::of_platform("BROKEN", "it broke")))
}

fn cancel() -> Event {
    Event::Cancel { reason: "no longer needed".into(), grace: None }
}

fn policy(max_attempts: u32, max_losses: u32) -> RunPolicy {
    RunPolicy { retry: RetryPolicy { max_attempts, max_losses, ..RetryPolicy::default() }, ..RunPolicy::default() }
}

fn once() -> RunPolicy {
    RunPolicy { delivery: Delivery::AtMostOnce, ..policy(1, 3) }
}

#[test]
fn v01_a_result_is_applied_once() {
    let mut trace = Trace::new(policy(3, 3));
    trace.lease().step(failed(1));
    assert_eq!((trace.run.state, trace.run.open, trace.run.failures), (RunState::RetryWait, None, 1));
    trace.refuses(failed(1), Refusal::Stale);
    trace.refuses(Event::Adopt { attempt: 1, worker: worker(1) }, Refusal::Stale);
    assert_eq!(trace.run.failures, 1);
}

#[test]
fn v02_what_ended_a_run_is_remembered_for_repeats() {
    let mut trace = Trace::new(policy(1, 3));
    trace.lease().step(report(1, Outcome::Succeeded));
    assert_eq!(trace.run.decided, Some(1));
    let mut trace = Trace::new(policy(1, 3));
    trace.lease().step(failed(1));
    assert_eq!((trace.run.state, trace.run.decided), (RunState::Failed, Some(1)));
    assert!(trace.last.unwrap().end.unwrap().reported);
}

#[test]
fn v03_an_attempt_handed_back_costs_no_retry_and_no_loss() {
    let mut trace = Trace::new(policy(1, 2));
    trace.lease().step(Event::Silent { attempt: 1 });
    assert_eq!((trace.run.state, trace.run.returns), (RunState::Queued, 1));
    assert_eq!(trace.last.as_ref().unwrap().tell, Some(Tell::Revoke(1, AbandonReason::Returned)));
    trace.lease().step(Event::Expire);
    assert_eq!(trace.run.state, RunState::Queued, "one loss of two");
    trace.lease();
    assert_eq!((trace.run.attempt, trace.run.losses, trace.run.failures), (3, 1, 0));
}

#[test]
fn v04_the_last_loss_decides_at_once() {
    let mut trace = Trace::new(policy(1, 2));
    trace.lease().step(Event::Expire);
    assert_eq!((trace.run.open, trace.run.losses), (Some(1), 0), "adoption stays free");
    trace.lease();
    assert_eq!(trace.ended_as(), AttemptState::Lost);
    trace.step(Event::Expire);
    assert_eq!(trace.run.state, RunState::Failed);
    assert_eq!(trace.run.reason.as_deref(), Some(reason::WORKER_CRASH_SUSPECTED));
    assert_eq!((trace.run.losses, trace.run.open), (2, None));
}

#[test]
fn v05_no_exit_from_a_worker_leaves_a_cancelled_run_waiting() {
    let exits = |attempt| {
        [
            failed(attempt),
            Event::Rejected { attempt },
            Event::Silent { attempt },
            Event::Unlisted { attempt },
            Event::Absent { attempt },
            Event::Expire,
            report(attempt, Outcome::Interrupted),
            report(attempt, Outcome::Cancelled),
        ]
    };
    for exit in exits(1) {
        let mut trace = Trace::new(policy(3, 3));
        trace.lease().step(cancel()).step(exit.clone());
        assert_eq!(trace.run.state, RunState::Cancelled, "{exit:?}");
    }
    let mut trace = Trace::new(policy(3, 3));
    trace.lease().step(cancel()).step(report(1, Outcome::Succeeded));
    assert_eq!(trace.run.state, RunState::Succeeded, "the work was done before anybody stopped it");
}

#[test]
fn v06_a_cancelled_run_that_does_not_stop_is_ended_after_its_grace_and_never_leased_again() {
    let mut trace = Trace::new(policy(3, 3));
    trace.lease().step(cancel()).refuses(Event::Deadline, Refusal::Early);
    assert!(trace.run.stop_deadline.unwrap() >= trace.now.plus(trace.rules.lease_ttl), "grace is at least a lease");
    let generation = trace.run.generation;
    trace.refuses(Event::Lease { worker: worker(2), generation }, Refusal::Stale);
    trace.later(Duration::from_secs(30)).step(Event::Deadline);
    assert_eq!(trace.run.state, RunState::Cancelled);
    assert_eq!(trace.last.as_ref().unwrap().tell, Some(Tell::Revoke(1, AbandonReason::AlreadyTerminal)));
    trace.refuses(report(1, Outcome::Succeeded), Refusal::Over);
}

#[test]
fn v07_an_attempt_taken_back_by_silence_can_change_nothing_any_more() {
    let mut trace = Trace::new(policy(3, 3));
    trace.lease().step(Event::Silent { attempt: 1 }).lease();
    trace.refuses(report(1, Outcome::Succeeded), Refusal::Stale);
    trace.step(report(2, Outcome::Succeeded));
    assert_eq!(trace.run.decided, Some(2));
}

#[test]
fn v12_a_lease_of_an_earlier_stay_in_the_queue_changes_nothing() {
    let mut trace = Trace::new(policy(3, 3));
    let generation = trace.run.generation;
    trace.lease().step(Event::Rejected { attempt: 1 });
    trace.refuses(Event::Lease { worker: worker(1), generation }, Refusal::Stale);
    assert_eq!(trace.run.attempt, 1);
}

#[test]
fn v16_a_handler_that_stops_unasked_has_failed() {
    let mut trace = Trace::new(policy(1, 3));
    trace.lease().step(report(1, Outcome::Cancelled));
    assert_eq!((trace.run.state, trace.run.reason.as_deref()), (RunState::Failed, Some("CANCELLED_UNASKED")));

    let timeouts = Timeouts { execution: Some(Duration::from_secs(60)), ..Timeouts::default() };
    let mut trace = Trace::new(RunPolicy { timeouts, ..policy(1, 3) });
    let start_time = trace.now;
    trace.lease().step(Event::Start { attempt: 1, start_time });
    trace.later(Duration::from_secs(60)).step(Event::Deadline);
    assert_eq!(trace.last.as_ref().unwrap().tell, Some(Tell::Stop(1, "EXECUTION_TIMEOUT".into())));
    trace.step(report(1, Outcome::Cancelled));
    assert_eq!((trace.run.state, trace.run.reason.as_deref()), (RunState::TimedOut, Some("EXECUTION_TIMEOUT")));
}

#[test]
fn a_worker_is_told_why_it_is_to_stop() {
    let told = |total, cancel: Option<&str>| {
        let timeouts = Timeouts { execution: Some(Duration::from_secs(60)), total, ..Timeouts::default() };
        let mut trace = Trace::new(RunPolicy { timeouts, ..policy(1, 3) });
        let start_time = trace.now;
        trace.lease().step(Event::Start { attempt: 1, start_time }).later(Duration::from_secs(60));
        trace.step(cancel.map_or(Event::Deadline, |words| Event::Cancel { reason: words.into(), grace: None }));
        trace.last.as_ref().unwrap().tell.clone()
    };
    let stop = |why: &str| Some(Tell::Stop(1, why.into()));
    assert_eq!(told(None, None), stop("EXECUTION_TIMEOUT"));
    assert_eq!(told(Some(Duration::from_secs(60)), None), stop("TOTAL_TIMEOUT"));
    assert_eq!(told(None, Some("no longer needed")), stop("no longer needed"));
    assert_eq!(told(Some(Duration::from_secs(60)), Some("")), stop("CANCELLED"), "whoever asks comes before time");
}

#[test]
fn v17_a_timeout_keeps_the_attempt_current_until_it_has_stopped() {
    let timeouts = Timeouts { execution: Some(Duration::from_secs(60)), ..Timeouts::default() };
    let with = |attempts| RunPolicy { timeouts: timeouts.clone(), ..policy(attempts, 3) };
    let timed_out = |attempts| {
        let mut trace = Trace::new(with(attempts));
        let start_time = trace.now;
        trace.lease().step(Event::Start { attempt: 1, start_time }).later(Duration::from_secs(61));
        trace.step(Event::Deadline);
        assert_eq!((trace.run.state, trace.run.open, trace.run.stop_timeout), (RunState::Running, Some(1), true));
        trace
    };
    let mut trace = timed_out(2);
    trace.step(report(1, Outcome::Succeeded));
    assert_eq!(trace.run.state, RunState::Succeeded, "success before the deadline wins");

    let mut trace = timed_out(2);
    trace.later(Duration::from_secs(30)).step(Event::Deadline);
    assert_eq!((trace.run.state, trace.run.open, trace.run.failures), (RunState::RetryWait, None, 1));
    assert!(!trace.run.stop_timeout);
    assert_eq!(trace.ended_as(), AttemptState::TimedOut);

    let mut trace = timed_out(1);
    trace.step(Event::Absent { attempt: 1 });
    assert_eq!(trace.run.state, RunState::TimedOut, "any end but success is the timeout's");
}

#[test]
fn v18_at_most_once_ends_with_every_end_that_is_not_proven_unstarted() {
    let ends = [
        (failed(1), "BROKEN"),
        (Event::Silent { attempt: 1 }, reason::LEASE_LOST),
        (Event::Absent { attempt: 1 }, reason::LEASE_LOST),
        (Event::Unlisted { attempt: 1 }, reason::LEASE_LOST),
        (Event::Expire, reason::LEASE_LOST),
        (report(1, Outcome::Interrupted), reason::WORKER_SHUTDOWN),
    ];
    for (end, why) in ends {
        let mut trace = Trace::new(RunPolicy { retry: RetryPolicy { max_attempts: 3, ..once().retry }, ..once() });
        trace.lease();
        assert_eq!(trace.run.state, RunState::Running, "started is committed before the dispatch");
        trace.step(end.clone());
        assert_eq!((trace.run.state, trace.run.reason.as_deref()), (RunState::Failed, Some(why)), "{end:?}");
    }
    let mut trace = Trace::new(once());
    trace.lease().step(Event::Rejected { attempt: 1 });
    assert_eq!(trace.run.state, RunState::Queued, "a rejected attempt has not started");
}

#[test]
fn an_attempt_whose_lease_expired_is_adopted_for_free() {
    let mut trace = Trace::new(policy(1, 3));
    trace.lease().step(Event::Expire);
    let generation = trace.run.generation;
    trace.refuses(Event::Adopt { attempt: 1, worker: worker(2) }, Refusal::Stale);
    trace.step(Event::Adopt { attempt: 1, worker: worker(1) });
    assert_eq!((trace.run.state, trace.run.losses), (RunState::Running, 0));
    trace.refuses(Event::Lease { worker: worker(2), generation }, Refusal::Stale);
    trace.step(report(1, Outcome::Succeeded));
}

#[test]
fn a_late_success_counts_while_nobody_has_leased_the_run_since() {
    let mut trace = Trace::new(policy(1, 3));
    trace.lease().step(Event::Expire).step(report(1, Outcome::Succeeded));
    assert_eq!((trace.run.state, trace.run.losses), (RunState::Succeeded, 0));
}

#[test]
fn twenty_returns_are_enough() {
    let mut trace = Trace::new(policy(1, 3));
    for attempt in 1..=20 {
        trace.lease().step(Event::Rejected { attempt });
    }
    assert_eq!((trace.run.state, trace.run.reason.as_deref()), (RunState::Failed, Some(reason::UNDISPATCHABLE)));
}

#[test]
fn waiting_ends_by_queue_and_total_timeout() {
    let timeouts = Timeouts { queue: Some(Duration::from_secs(10)), ..Timeouts::default() };
    let mut trace = Trace::new(RunPolicy { timeouts, ..policy(1, 3) });
    trace.refuses(Event::Deadline, Refusal::Early).later(Duration::from_secs(10)).step(Event::Deadline);
    assert_eq!((trace.run.state, trace.run.reason.as_deref()), (RunState::TimedOut, Some(reason::QUEUE_TIMEOUT)));

    let timeouts = Timeouts { total: Some(Duration::from_secs(10)), ..Timeouts::default() };
    let mut trace = Trace::new(RunPolicy { timeouts, ..policy(5, 3) });
    trace.lease().later(Duration::from_secs(10)).step(Event::Deadline).step(failed(1));
    assert_eq!((trace.run.state, trace.run.reason.as_deref()), (RunState::TimedOut, Some(reason::TOTAL_TIMEOUT)));
    assert_eq!(trace.last.unwrap().end.unwrap().cause, Some(LossReason::TotalTimeout));
}

/// Any event, speaking of attempts that are, were or never will be.
fn any_event() -> impl Strategy<Value = Event> {
    let attempt = 0_i64..6;
    let outcome = prop_oneof![
        Just(Outcome::Succeeded),
        Just(Outcome::Cancelled),
        Just(Outcome::Interrupted),
        Just(Outcome::Failed(Failure::of_platform("BROKEN", "")))
    ];
    prop_oneof![
        Just(Event::Due),
        (0_i64..60).prop_map(|second| Event::Release { due: Instant::from_micros(second * 1_000_000) }),
        Just(Event::Replace),
        Just(Event::Displace),
        (1_u128..3, 0_i64..8).prop_map(|(name, generation)| Event::Lease { worker: worker(name), generation }),
        attempt.clone().prop_map(|attempt| Event::Start { attempt, start_time: Instant::EPOCH }),
        attempt.clone().prop_map(|attempt| Event::Rejected { attempt }),
        attempt.clone().prop_map(|attempt| Event::Silent { attempt }),
        attempt.clone().prop_map(|attempt| Event::Unlisted { attempt }),
        attempt.clone().prop_map(|attempt| Event::Absent { attempt }),
        (attempt.clone(), 1_u128..3).prop_map(|(attempt, name)| Event::Adopt { attempt, worker: worker(name) }),
        Just(Event::Expire),
        (attempt, outcome).prop_map(|(attempt, outcome)| report(attempt, outcome)),
        Just(cancel()),
        Just(Event::Deadline),
        Just(Event::JobDeleted),
    ]
}

fn any_policy() -> impl Strategy<Value = RunPolicy> {
    let timeout = prop::option::of((1_u64..120).prop_map(Duration::from_secs));
    (1_u32..4, 1_u32..4, any::<bool>(), timeout.clone(), timeout.clone(), timeout).prop_map(
        |(attempts, losses, at_most_once, queue, execution, total)| RunPolicy {
            delivery: if at_most_once { Delivery::AtMostOnce } else { Delivery::AtLeastOnce },
            timeouts: Timeouts { queue, execution, total, stop_grace: None, heartbeat: None },
            ..policy(attempts, losses)
        },
    )
}

/// What holds of every run, whatever happened to it.
fn assert_sound(before: &Lifecycle, change: &Change, event: &Event, policy: &RunPolicy) {
    let after = &change.next;
    assert!(!before.state.is_terminal(), "a terminal state changed by {event:?}");
    let leased = matches!(event, Event::Lease { .. });
    assert_eq!(after.attempt, before.attempt + i64::from(leased), "the token grows at a lease and nowhere else");
    assert!(after.open.is_none_or(|open| open == after.attempt), "only the last attempt can be open");
    assert!(!(after.state.is_active() && after.open.is_none()), "at a worker without an open attempt");
    assert!(after.open.is_none() || after.state.is_active() || after.state == RunState::Queued, "{after:?}");
    assert!(!(after.state.is_active() && after.reason.is_some()), "a run at a worker has no reason: {after:?}");
    assert!(!after.state.is_terminal() || (after.open.is_none() && after.end_time.is_some()));
    let stopping = after.cancel_requested || after.stop_timeout;
    assert!(!stopping || after.state.is_active() || after.state.is_terminal(), "a stop flag while waiting: {after:?}");
    assert!(after.generation >= before.generation);
    let entered = after.state == RunState::Queued && before.state != RunState::Queued;
    assert!(!entered || after.generation == before.generation + 1, "every stay in the queue has its number");
    assert!(after.failures <= policy.retry.max_attempts && after.losses <= policy.retry.max_losses, "{after:?}");
    let cancelled = after.state == RunState::Cancelled;
    assert!(!cancelled || after.cancel_time.is_some(), "CANCELLED although nobody asked");
    assert!(after.stop_deadline.is_some() == (stopping && after.state.is_active()), "{after:?}");
    let timed = matches!(after.state, RunState::Scheduled | RunState::RetryWait) && after.buffer.is_none();
    assert!(after.wake_time.is_some() == timed, "{after:?}");
    assert!(after.buffer.is_none() || after.state == RunState::Scheduled, "{after:?}");
    assert!(after.buffer == before.buffer || after.buffer.is_none(), "nothing waits for a slot that did not before");
    // The deciding attempt is the one whose report ended the run, and a report ends its attempt by its worker's word.
    let reported = matches!(event, Event::Report { .. });
    assert_eq!(after.decided, (reported && after.state.is_terminal()).then_some(before.attempt), "by {event:?}");
    assert!(change.end.as_ref().is_none_or(|end| end.reported == reported), "{change:?} by {event:?}");
    if let Some(end) = &change.end {
        assert_eq!(before.open, Some(end.attempt), "only the open attempt ends");
        assert!(after.open != Some(end.attempt));
    }
}

proptest! {
    #[test]
    fn every_history_keeps_the_invariants(
        policy in any_policy(),
        events in prop::collection::vec((any_event(), 0_u64..40), 1..60),
        deleted_at in 0_usize..120,
        buffered in any::<bool>(),
    ) {
        let mut trace = Trace::new(policy).buffered(buffered);
        for (number, (event, pass)) in events.into_iter().enumerate() {
            trace.job_deleted = number >= deleted_at;
            trace.later(Duration::from_secs(pass));
            let event = match event {
                // Mostly the generation that is current, or few histories would get anywhere.
                Event::Lease { worker, generation } if generation < 6 => {
                    Event::Lease { worker, generation: trace.run.generation }
                }
                other => other,
            };
            let before = trace.run.clone();
            if trace.try_step(&event).is_ok() {
                let change = trace.last.as_ref().unwrap();
                assert_sound(&before, change, &event, &trace.policy);
                let waits = matches!(change.next.state, RunState::Queued | RunState::RetryWait);
                prop_assert!(!(trace.job_deleted && waits), "of a deleted job, by {event:?}");
            } else {
                prop_assert_eq!(&before, &trace.run);
            }
        }
    }

    #[test]
    fn every_history_can_end(
        policy in any_policy(),
        events in prop::collection::vec(any_event(), 0..40),
        buffered in any::<bool>(),
    ) {
        let mut trace = Trace::new(policy).buffered(buffered);
        for event in events {
            let _ = trace.try_step(&event);
        }
        // Without further faults: time passes, workers take what is queued and finish it.
        for _ in 0..200 {
            if trace.run.state.is_terminal() {
                break;
            }
            trace.later(Duration::from_secs(3_700));
            let next = match trace.run.state {
                RunState::Scheduled if trace.run.buffer.is_some() => Event::Release { due: trace.now },
                RunState::Scheduled | RunState::RetryWait => Event::Due,
                RunState::Queued => Event::Lease { worker: worker(1), generation: trace.run.generation },
                _ => report(trace.run.attempt, Outcome::Succeeded),
            };
            if trace.try_step(&next).is_err() {
                let _ = trace.try_step(&Event::Deadline);
            }
        }
        prop_assert!(trace.run.state.is_terminal(), "{:?}", trace.run);
    }
}
