//! The rows of the table by which a run leaves a worker: given back, lost, failed, out of time, cancelled.
//!
//! [`Table`](super::Table) asks for them once it knows that the attempt is the open one. A stop that was asked for decides
//! every end but success.

use super::{Change, Context, Refusal, Table};
use crate::domain::{
    attempt::{AttemptEnd, AttemptState, LossReason},
    payload::Failure,
    run::{RunState, reason},
};

/// The open attempt of a run on its way out, by whatever it came.
pub(super) struct Leaving<'a> {
    pub(super) table: &'a Table<'a>,
    pub(super) attempt: i64,
}

impl Leaving<'_> {
    /// A stop that was asked for decides every end but success: a cancelled run is CANCELLED, an attempt that was told
    /// to stop for its time is TIMED_OUT. Nothing leaves a worker with a stop flag still standing.
    pub(super) fn fold(&self, state: AttemptState, cause: LossReason) -> Option<Change> {
        let run = self.table.run;
        if run.cancel_requested {
            let next = self.table.over(RunState::Cancelled, Some(reason::CANCELLED));
            let end = self.table.ended(self.attempt, state, cause);
            return Some(Change { next, end: Some(end), tell: None });
        }
        run.stop_timeout.then(|| self.timed_out(false, None))
    }

    /// Not started: costs nothing but a count against endless returns.
    pub(super) fn give_back(&self, cause: LossReason) -> Result<Change, Refusal> {
        if let Some(folded) = self.fold(AttemptState::Returned, cause) {
            return Ok(folded);
        }
        let returns = self.table.run.returns + 1;
        let mut next = if returns >= self.table.context.rules.max_returns {
            self.table.over(RunState::Failed, Some(reason::UNDISPATCHABLE))
        } else {
            self.table.requeued()
        };
        next.returns = returns;
        let end = self.table.ended(self.attempt, AttemptState::Returned, cause);
        Ok(Change { next, end: Some(end), tell: None })
    }

    /// May have run: costs a loss.
    pub(super) fn lose(&self, cause: LossReason) -> Result<Change, Refusal> {
        if let Some(folded) = self.fold(AttemptState::Lost, cause) {
            return Ok(folded);
        }
        let losses = self.table.run.losses + 1;
        let mut next = if self.table.context.policy.at_most_once() {
            self.table.over(RunState::Failed, Some(reason::LEASE_LOST))
        } else if losses >= self.table.context.policy.retry.max_losses {
            // A worker that lives is no suspect: what ran there was silent.
            let is_silent = cause == LossReason::HeartbeatTimeout;
            let why = if is_silent { reason::HEARTBEAT_TIMEOUT } else { reason::WORKER_CRASH_SUSPECTED };
            self.table.over(RunState::Failed, Some(why))
        } else {
            self.table.requeued()
        };
        next.losses = losses;
        let end = self.table.ended(self.attempt, AttemptState::Lost, cause);
        Ok(Change { next, end: Some(end), tell: None })
    }

    pub(super) fn interrupted(&self) -> Result<Change, Refusal> {
        let reported = |mut change: Change| {
            if let Some(end) = &mut change.end {
                end.state = if end.state == AttemptState::Lost { AttemptState::Interrupted } else { end.state };
                end.reported = true;
            }
            if change.next.state.is_terminal() {
                change.next.decided = Some(self.attempt);
            }
            change
        };
        let mut change = self.lose(LossReason::WorkerShutdown).map(reported)?;
        if change.next.reason.as_deref() == Some(reason::LEASE_LOST) {
            change.next.reason = Some(reason::WORKER_SHUTDOWN.into());
        }
        Ok(change)
    }

    pub(super) fn failed(&self, failure: &Failure) -> Change {
        let run = self.table.run;
        if run.cancel_requested {
            return self.cancelled(true);
        }
        if run.stop_timeout {
            return self.timed_out(true, Some(failure));
        }
        let ended = self.table.ended(self.attempt, AttemptState::Failed, None);
        let end = AttemptEnd { reported: true, failure: Some(failure.clone()), ..ended };
        self.charged(end, RunState::Failed, Some(failure), &failure.reason)
    }

    pub(super) fn timed_out(&self, reported: bool, failure: Option<&Failure>) -> Change {
        let is_last = self.table.total_passed();
        let cause = if is_last { LossReason::TotalTimeout } else { LossReason::ExecutionTimeout };
        let ended = self.table.ended(self.attempt, AttemptState::TimedOut, cause);
        let end = AttemptEnd { reported, failure: failure.cloned(), ..ended };
        if is_last {
            return self.charged(end, RunState::TimedOut, None, reason::TOTAL_TIMEOUT);
        }
        let late = Failure::of_platform(reason::EXECUTION_TIMEOUT, "the attempt ran longer than its execution timeout");
        let again = self.table.context.policy.retry.retry_timeouts.then_some(&late);
        self.charged(end, RunState::TimedOut, again, reason::EXECUTION_TIMEOUT)
    }

    /// An end that counts as a failure: another attempt where `again` says why and the policy allows, else `last`.
    fn charged(&self, end: AttemptEnd, last: RunState, again: Option<&Failure>, why: &str) -> Change {
        let Context { run: id, policy, now, retry_until, job_deleted, rules: _ } = self.table.context;
        let run = self.table.run;
        let failures = run.failures + 1;
        let retry = again
            .filter(|_| !policy.at_most_once() && !job_deleted)
            .and_then(|failure| policy.retry.next_attempt(id, failures, failure, run.create_time, now));
        let mut next = match retry {
            Some(wake) if retry_until.is_some_and(|until| until <= wake) => {
                self.table.over(RunState::Failed, Some(reason::NEXT_OCCURRENCE_DUE))
            }
            Some(wake) => {
                let mut next = run.clone();
                next.state = RunState::RetryWait;
                next.open = None;
                next.wake_time = Some(wake);
                next.reason = Some(why.into());
                next.stop_timeout = false;
                next.stop_deadline = None;
                next
            }
            None => self.table.over(last, Some(why)),
        };
        next.failures = failures;
        if next.state.is_terminal() && end.reported {
            next.decided = Some(self.attempt);
        }
        Change { next, end: Some(end), tell: None }
    }

    pub(super) fn cancelled(&self, reported: bool) -> Change {
        let why = if reported { reason::CANCELLED } else { reason::WORKER_UNRESPONSIVE };
        let mut next = self.table.over(RunState::Cancelled, Some(why));
        next.decided = reported.then_some(self.attempt);
        let cause = (!reported).then_some(LossReason::Unresponsive);
        let end = AttemptEnd { reported, ..self.table.ended(self.attempt, AttemptState::Cancelled, cause) };
        Change { next, end: Some(end), tell: None }
    }
}
