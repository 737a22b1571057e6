//! Row by row: what each event leaves alone, and what it says beside the state.

use super::*;

fn timed(execution: u64) -> RunPolicy {
    let timeouts = Timeouts { execution: Some(Duration::from_secs(execution)), ..Timeouts::default() };
    RunPolicy { timeouts, ..policy(2, 3) }
}

/// An attempt that was told to stop for its time.
fn stopping(policy: RunPolicy) -> Trace {
    let mut trace = Trace::new(policy);
    let start_time = trace.now;
    trace.lease().step(Event::Start { attempt: 1, start_time }).later(Duration::from_secs(60)).step(Event::Deadline);
    assert!(trace.run.stop_timeout);
    trace
}

fn end(trace: &Trace) -> &AttemptEnd {
    trace.last.as_ref().unwrap().end.as_ref().unwrap()
}

#[test]
fn nothing_wakes_before_its_time() {
    let mut trace = Trace::new(policy(3, 3));
    trace.refuses(Event::Due, Refusal::Stale);
    let wake = trace.now.plus(Duration::from_secs(10));
    trace.run = Lifecycle::new(trace.now, wake);
    trace.refuses(Event::Due, Refusal::Early).later(Duration::from_secs(10)).step(Event::Due);
    assert_eq!((trace.run.state, trace.run.generation), (RunState::Queued, 1));
    assert_eq!(trace.run.queue_time, Some(wake));
}

#[test]
fn a_lease_takes_what_was_said_of_the_wait() {
    let mut trace = Trace::new(policy(3, 3));
    trace.lease().step(failed(1));
    assert_eq!((trace.run.reason.as_deref(), trace.run.decided), (Some("BROKEN"), None));
    trace.now = trace.run.wake_time.unwrap();
    trace.step(Event::Due).lease();
    assert_eq!((trace.run.reason.as_deref(), trace.run.lease_time), (None, Some(trace.now)));
}

#[test]
fn events_of_an_attempt_are_of_that_attempt_and_of_its_state() {
    let mut trace = Trace::new(policy(3, 3));
    let start_time = trace.now;
    trace.lease().refuses(Event::Start { attempt: 2, start_time }, Refusal::Stale);
    trace.step(Event::Start { attempt: 1, start_time });
    trace.refuses(Event::Silent { attempt: 1 }, Refusal::Stale).refuses(Event::JobDeleted, Refusal::Stale);
    // Its lease is over and it waits; only its own worker can do anything about it, by listing it or by its result.
    trace.step(Event::Expire);
    for event in [
        Event::Rejected { attempt: 1 },
        Event::Unlisted { attempt: 1 },
        Event::Absent { attempt: 1 },
        Event::Start { attempt: 1, start_time },
        Event::Expire,
    ] {
        trace.refuses(event, Refusal::Stale);
    }
}

#[test]
fn an_adopted_attempt_started_when_it_started() {
    let mut trace = Trace::new(policy(3, 3));
    let generation = trace.run.generation;
    trace.lease().later(Duration::from_secs(31)).step(Event::Expire).later(Duration::from_secs(1));
    let adopted = trace.now;
    trace.step(Event::Adopt { attempt: 1, worker: worker(1) });
    assert_eq!(trace.run.start_time, Some(adopted), "nobody knows better");
    assert_eq!(trace.run.generation, generation + 2, "the pointers of both stays in the queue are dead");
    trace.later(Duration::from_secs(31)).step(Event::Expire).step(Event::Adopt { attempt: 1, worker: worker(1) });
    assert_eq!(trace.run.start_time, Some(adopted));
}

#[test]
fn every_end_says_how_it_came() {
    let waiting = |event: Event| {
        let mut trace = Trace::new(policy(3, 3));
        trace.lease().step(Event::Expire).step(event);
        (end(&trace).attempt, end(&trace).state, end(&trace).cause)
    };
    assert_eq!(waiting(cancel()), (1, AttemptState::Lost, Some(LossReason::Expired)));
    assert_eq!(waiting(Event::JobDeleted), (1, AttemptState::Lost, Some(LossReason::Expired)));

    let mut trace = Trace::new(policy(3, 3));
    trace.lease().step(cancel()).later(Duration::from_secs(30)).step(Event::Deadline);
    assert_eq!((end(&trace).state, end(&trace).cause), (AttemptState::Cancelled, Some(LossReason::Unresponsive)));

    let mut trace = stopping(timed(60));
    trace.step(report(1, Outcome::Interrupted));
    assert_eq!((end(&trace).state, trace.run.state), (AttemptState::TimedOut, RunState::RetryWait));

    // Nobody said a word, so a late one is no repeat.
    let mut trace = stopping(timed(60));
    trace.later(Duration::from_secs(30)).step(Event::Deadline);
    assert_eq!((end(&trace).state, end(&trace).reported), (AttemptState::TimedOut, false));

    // A handler that did what it was told has not failed of itself; one that failed over it has.
    let mut trace = stopping(timed(60));
    trace.step(report(1, Outcome::Cancelled));
    assert_eq!((end(&trace).state, &end(&trace).failure), (AttemptState::TimedOut, &None));
    let mut trace = stopping(timed(60));
    trace.step(failed(1));
    assert_eq!((end(&trace).failure.as_ref().unwrap().reason.as_str(), end(&trace).reported), ("BROKEN", true));

    // Whatever a worker says of a run that was cancelled is what ended it.
    for said in [report(1, Outcome::Cancelled), failed(1), report(1, Outcome::Interrupted)] {
        let mut trace = Trace::new(policy(3, 3));
        trace.lease().step(cancel()).step(said);
        assert_eq!((trace.run.state, trace.run.decided, end(&trace).reported), (RunState::Cancelled, Some(1), true));
    }
}

#[test]
fn a_stalled_attempt_is_lost() {
    let stalled = Event::Stalled { attempt: 1 };
    let mut trace = Trace::new(policy(3, 3));
    trace.lease().step(stalled.clone());
    assert_eq!((trace.run.state, trace.run.losses, trace.run.failures), (RunState::Queued, 1, 0));
    assert_eq!((end(&trace).state, end(&trace).cause), (AttemptState::Lost, Some(LossReason::HeartbeatTimeout)));
    let mut trace = Trace::new(RunPolicy { delivery: Delivery::AtMostOnce, ..policy(1, 3) });
    trace.lease().step(stalled.clone());
    assert_eq!((trace.run.state, trace.run.reason.as_deref()), (RunState::Failed, Some(reason::LEASE_LOST)));
    let mut trace = Trace::new(policy(3, 1));
    trace.lease().step(stalled.clone());
    assert_eq!((trace.run.state, trace.run.reason.as_deref()), (RunState::Failed, Some(reason::HEARTBEAT_TIMEOUT)));
    // A stop comes first, whoever asked for it.
    let mut trace = Trace::new(policy(3, 3));
    trace.lease().step(cancel()).step(stalled);
    assert_eq!(trace.run.state, RunState::Cancelled);
}

#[test]
fn no_retry_begins_once_its_schedule_is_due_again() {
    let after = |until: Duration| {
        let mut policy = policy(3, 3);
        policy.retry.jitter = 0.0;
        let backoff = policy.retry.initial_backoff;
        let mut trace = Trace::new(policy);
        trace.retry_until = Some(trace.now.plus(backoff).plus(until));
        trace.lease().step(failed(1));
        (trace.run.state, trace.run.reason.clone().unwrap_or_default(), trace.run.decided, trace.run.failures)
    };
    assert_eq!(after(Duration::from_micros(1)), (RunState::RetryWait, "BROKEN".into(), None, 1));
    let cut = (RunState::Failed, reason::NEXT_OCCURRENCE_DUE.to_owned(), Some(1), 1);
    assert_eq!(after(Duration::ZERO), cut);
    // What has no further attempt in any case ends as it would.
    let mut trace = Trace::new(policy(1, 3));
    trace.retry_until = Some(trace.now);
    trace.lease().step(failed(1));
    assert_eq!(trace.run.reason.as_deref(), Some("BROKEN"));
    // A lost attempt is no retry.
    let mut trace = Trace::new(policy(3, 3));
    trace.retry_until = Some(trace.now);
    trace.lease().step(Event::Absent { attempt: 1 });
    assert_eq!(trace.run.state, RunState::Queued);
}

#[test]
fn nothing_of_a_deleted_job_starts_again() {
    let after = |event: Event| {
        let mut trace = stopping_or_not(&event);
        trace.job_deleted = true;
        trace.step(event);
        (trace.run.state, trace.run.reason.clone().unwrap_or_default(), end(&trace).state)
    };
    // A failure says why, as ever; it only has no further attempt.
    assert_eq!(after(failed(1)), (RunState::Failed, "BROKEN".into(), AttemptState::Failed));
    let late = report(1, Outcome::Cancelled);
    assert_eq!(after(late), (RunState::TimedOut, reason::EXECUTION_TIMEOUT.into(), AttemptState::TimedOut));
    // What did not fail would wait again, and ends like what waited.
    let deleted = |state| (RunState::Cancelled, reason::JOB_DELETED.to_owned(), state);
    assert_eq!(after(Event::Rejected { attempt: 1 }), deleted(AttemptState::Returned));
    assert_eq!(after(Event::Absent { attempt: 1 }), deleted(AttemptState::Lost));
    assert_eq!(after(Event::Expire), deleted(AttemptState::Lost));
    assert_eq!(after(report(1, Outcome::Interrupted)), deleted(AttemptState::Interrupted));

    let mut trace = Trace::new(policy(3, 3));
    trace.lease().job_deleted = true;
    trace.step(report(1, Outcome::Succeeded));
    assert_eq!((trace.run.state, trace.run.decided), (RunState::Succeeded, Some(1)));
}

/// At a worker; told to stop for its time where the event is about that.
fn stopping_or_not(event: &Event) -> Trace {
    if matches!(event, Event::Report { outcome: Outcome::Cancelled, .. }) {
        return stopping(timed(60));
    }
    let mut trace = Trace::new(policy(3, 3));
    trace.lease();
    trace
}

#[test]
fn a_cancel_overrules_a_timeout() {
    for exit in [report(1, Outcome::Cancelled), failed(1), Event::Absent { attempt: 1 }] {
        let mut trace = stopping(timed(60));
        let before = trace.run.stop_deadline;
        trace.later(Duration::from_secs(5)).step(cancel());
        assert_eq!(trace.run.stop_deadline, before, "it is not put off");
        trace.step(exit);
        assert_eq!(trace.run.state, RunState::Cancelled);
    }
}

#[test]
fn timeouts_are_retried_only_where_the_policy_says_so() {
    for (retry_timeouts, state) in [(true, RunState::RetryWait), (false, RunState::TimedOut)] {
        let mut policy = timed(60);
        policy.retry.retry_timeouts = retry_timeouts;
        let mut trace = stopping(policy);
        trace.step(report(1, Outcome::Cancelled));
        assert_eq!((trace.run.state, trace.run.failures), (state, 1));
    }
}

#[test]
fn the_last_interruption_decides() {
    let mut trace = Trace::new(policy(3, 2));
    trace.lease().step(report(1, Outcome::Interrupted));
    assert_eq!((trace.run.state, trace.run.decided, trace.run.losses), (RunState::Queued, None, 1));
    assert_eq!((end(&trace).state, end(&trace).cause), (AttemptState::Interrupted, Some(LossReason::WorkerShutdown)));
    trace.lease().step(report(2, Outcome::Interrupted));
    assert_eq!((trace.run.state, trace.run.decided), (RunState::Failed, Some(2)));
    assert_eq!(trace.run.reason.as_deref(), Some(reason::WORKER_CRASH_SUSPECTED));
}

#[test]
fn deadlines_are_the_earliest_of_those_that_run() {
    let timeouts = |queue: u64, execution: u64, total: u64| Timeouts {
        queue: Some(Duration::from_secs(queue)),
        execution: Some(Duration::from_secs(execution)),
        total: Some(Duration::from_secs(total)),
        stop_grace: None,
        heartbeat: None,
    };
    let after =
        |trace: &Trace| trace.run.deadline(&trace.policy).map(|at| at.since(Instant::from_micros(1_000_000_000)));
    for (queue, execution, total, waits, leased, runs) in
        [(10, 20, 100, 10, 100, 25), (10, 200, 100, 10, 100, 100), (200, 20, 8, 8, 8, 8)]
    {
        let mut trace = Trace::new(RunPolicy { timeouts: timeouts(queue, execution, total), ..policy(3, 3) });
        let secs = |count| Some(Duration::from_secs(count));
        assert_eq!(after(&trace), secs(waits));
        trace.later(Duration::from_secs(5)).lease();
        assert_eq!(after(&trace), secs(leased), "an attempt that has not started is bounded by its lease");
        let start_time = trace.now;
        trace.step(Event::Start { attempt: 1, start_time });
        assert_eq!(after(&trace), secs(runs));
    }
    // Each stay in the queue counts by itself, and waiting too long in all says so.
    let mut trace = Trace::new(RunPolicy { timeouts: timeouts(10, 20, 30), ..policy(3, 3) });
    trace.lease().later(Duration::from_secs(9)).step(Event::Rejected { attempt: 1 });
    assert_eq!(after(&trace), Some(Duration::from_secs(19)));
    trace.lease().later(Duration::from_secs(18)).step(Event::Rejected { attempt: 2 });
    trace.later(Duration::from_secs(3)).step(Event::Deadline);
    assert_eq!((trace.run.state, trace.run.reason.as_deref()), (RunState::TimedOut, Some(reason::TOTAL_TIMEOUT)));
}

#[test]
fn the_grace_is_the_policys_and_never_less_than_a_lease() {
    let rules = LeaseRules::default();
    for (asked, granted) in [(None, rules.stop_grace), (Some(90), Duration::from_secs(90)), (Some(1), rules.lease_ttl)]
    {
        let mut policy = timed(60);
        policy.timeouts.stop_grace = asked.map(Duration::from_secs);
        let trace = stopping(policy.clone());
        assert_eq!(trace.run.stop_deadline, Some(trace.now.plus(granted)));
        let mut trace = Trace::new(policy);
        trace.lease().step(cancel());
        assert_eq!(trace.run.stop_deadline, Some(trace.now.plus(granted)));
    }
}
