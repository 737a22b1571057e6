//! The transition table: every way a run can change, and nothing else changes one.
//!
//! [`step`] takes a run's [`Lifecycle`] and an [`Event`] and says what becomes of it. The rows are those that were
//! model-checked (`docs/architecture.md`, "Leases"); the traces that break each missing rule are the tests `v01_…` to
//! `v18_…`. Adapters apply a [`Change`] as a guarded update. Where an adapter has a faster statement for a frequent
//! row (lease, success), the conformance suite holds it to this table.
//!
//! Invariants, checked by property tests over random event sequences:
//! * a terminal state never changes (I3), and only the open attempt changes a run (I5);
//! * the attempt number grows by one at a lease and at nothing else;
//! * nothing of a deleted job begins to wait;
//! * a stop flag stands only while the run is at a worker, or after its end;
//! * LEASED and RUNNING have an open attempt and no reason; beside them only a run in QUEUED can have an open attempt, whose
//!   lease expired; budgets are never exceeded (I6).

mod leaving;

use std::time::Duration;

use self::leaving::Leaving;
use super::{
    attempt::{AttemptEnd, AttemptState, LossReason, Outcome},
    ids::{RunId, WorkerId},
    instant::Instant,
    payload::Failure,
    policy::RunPolicy,
    rules::LeaseRules,
    run::{Lifecycle, RunState, reason},
    unique::Holder,
    worker::AbandonReason,
};

/// Something that happens to a run.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Its time has come.
    Due,
    /// The slot of its job is free for it.
    Release {
        /// When it is due.
        due: Instant,
    },
    /// A newer run of its job waits in its place.
    Replace,
    /// A newer run takes its unique key.
    Displace,
    /// A worker takes it. The generation is that of the pointer the server holds.
    Lease {
        /// Who.
        worker: WorkerId,
        /// The stay in the queue that the pointer is of.
        generation: i64,
    },
    /// User code has started.
    Start {
        /// Which attempt.
        attempt: i64,
        /// When.
        start_time: Instant,
    },
    /// The worker handed the attempt back; user code has not started.
    Rejected {
        /// Which attempt.
        attempt: i64,
    },
    /// The worker did not answer a dispatch in time; by the start window it never will start it.
    Silent {
        /// Which attempt.
        attempt: i64,
    },
    /// The worker's Hello does not list the attempt.
    Unlisted {
        /// Which attempt.
        attempt: i64,
    },
    /// A heartbeat does not list an attempt that was accepted before.
    Absent {
        /// Which attempt.
        attempt: i64,
    },
    /// An attempt gave no sign of life for its heartbeat timeout, as its worker's session saw it.
    Stalled {
        /// Which attempt.
        attempt: i64,
    },
    /// A worker lists an attempt whose lease had expired and that nobody has leased since.
    Adopt {
        /// Which attempt.
        attempt: i64,
        /// Who.
        worker: WorkerId,
    },
    /// The worker's lease expired.
    Expire,
    /// The worker says what an attempt came to.
    Report {
        /// Which attempt.
        attempt: i64,
        /// What.
        outcome: Outcome,
        /// When user code started, if it said.
        start_time: Option<Instant>,
        /// How many log lines the attempt wrote, if it said.
        log_lines: Option<u64>,
    },
    /// Somebody wants it stopped.
    Cancel {
        /// Why, in the caller's words.
        reason: String,
        /// How long it may take to stop, where that is not left to the run; never less than a lease.
        grace: Option<Duration>,
    },
    /// A deadline of [`Lifecycle::deadline`] may have passed.
    Deadline,
    /// The job of a run that waits was deleted.
    JobDeleted,
}

/// What an event makes of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The run afterwards.
    pub next: Lifecycle,
    /// The attempt that ended by it without success.
    pub end: Option<AttemptEnd>,
    /// What the run's worker must be told.
    pub tell: Option<Tell>,
}

/// What the worker of an attempt must be told after a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tell {
    /// Stop it and report, and why: see [`Lifecycle::stop_reason`].
    Stop(i64, String),
    /// Its lease is gone, for this reason.
    Revoke(i64, AbandonReason),
}

/// The event does not apply; nothing changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The run is over.
    Over,
    /// The attempt, generation or state it speaks of has passed.
    Stale,
    /// Its time has not come.
    Early,
}

/// What the table needs to know beside the run itself.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The run, for the jitter of its retries.
    pub run: RunId,
    /// What it was promised.
    pub policy: &'a RunPolicy,
    /// The times leases live by.
    pub rules: &'a LeaseRules,
    /// Now.
    pub now: Instant,
    /// No retry begins at this or later: it is when its schedule is due again.
    pub retry_until: Option<Instant>,
    /// Its job was deleted: what is at a worker may come to its end there, and nothing of it starts again.
    pub job_deleted: bool,
}

/// What `event` makes of `run`.
pub fn step(run: &Lifecycle, event: &Event, context: Context<'_>) -> Result<Change, Refusal> {
    if run.state.is_terminal() {
        return Err(Refusal::Over);
    }
    let table = Table { run, context };
    let change = match event {
        Event::Due => table.due(),
        Event::Release { due } => table.release(*due),
        Event::Replace => table.replace(),
        Event::Displace => table.displace(),
        Event::Lease { worker, generation } => table.lease(*worker, *generation),
        Event::Start { attempt, start_time } => table.start(*attempt, *start_time),
        Event::Rejected { attempt } => table.active(*attempt)?.give_back(LossReason::Rejected),
        Event::Silent { attempt } => table.silent(*attempt),
        Event::Unlisted { attempt } => table.unlisted(*attempt),
        Event::Absent { attempt } => table.active(*attempt)?.lose(LossReason::Absent),
        Event::Stalled { attempt } => table.active(*attempt)?.lose(LossReason::HeartbeatTimeout).map(Change::revoking),
        Event::Adopt { attempt, worker } => table.adopt(*attempt, *worker),
        Event::Expire => table.expire(),
        Event::Report { attempt, outcome, start_time, log_lines } => {
            table.report(*attempt, outcome, *start_time, *log_lines)
        }
        Event::Cancel { reason, grace } => table.cancel(reason, *grace),
        Event::Deadline => table.deadline(),
        Event::JobDeleted => table.job_deleted(),
    }?;
    table.unless_deleted(change)
}

impl Change {
    /// The worker of the attempt that ended by it is told so, and why.
    fn revoking(self) -> Self {
        let tell = self.end.as_ref().map(|end| {
            let why = if end.state == AttemptState::TimedOut {
                AbandonReason::TimedOut
            } else if self.next.state.is_terminal() {
                AbandonReason::AlreadyTerminal
            } else if end.state == AttemptState::Returned {
                AbandonReason::Returned
            } else {
                AbandonReason::LeaseExpired
            };
            Tell::Revoke(end.attempt, why)
        });
        Self { tell, ..self }
    }
}

struct Table<'a> {
    run: &'a Lifecycle,
    context: Context<'a>,
}

impl Table<'_> {
    fn due(&self) -> Result<Change, Refusal> {
        match (self.run.state, self.run.wake_time) {
            (RunState::Scheduled | RunState::RetryWait, Some(wake)) if wake <= self.context.now => {
                Ok(self.changed(self.requeued()))
            }
            (RunState::Scheduled | RunState::RetryWait, _) => Err(Refusal::Early),
            _ => Err(Refusal::Stale),
        }
    }

    fn release(&self, due: Instant) -> Result<Change, Refusal> {
        self.run.buffer.ok_or(Refusal::Stale)?;
        if due > self.context.now {
            let next = Lifecycle { buffer: None, wake_time: Some(due), ..self.run.clone() };
            return Ok(self.changed(next));
        }
        Ok(self.changed(self.requeued()))
    }

    fn replace(&self) -> Result<Change, Refusal> {
        self.run.buffer.ok_or(Refusal::Stale)?;
        let mut change = self.cancel("a newer run of the job took its place", None)?;
        change.next.reason = Some(reason::OVERLAPPED.into());
        Ok(change)
    }

    fn displace(&self) -> Result<Change, Refusal> {
        if Holder::of(self.run) != Holder::Waits {
            return Err(Refusal::Stale);
        }
        let mut change = self.cancel("a newer run took its unique key", None)?;
        change.next.reason = Some(reason::REPLACED.into());
        Ok(change)
    }

    fn lease(&self, worker: WorkerId, generation: i64) -> Result<Change, Refusal> {
        if self.run.state != RunState::Queued || self.run.generation != generation {
            return Err(Refusal::Stale);
        }
        let mut next = self.run.clone();
        // The attempt before was lost when its worker's lease expired; only now is it certain that it never comes back.
        let end = self.run.open.map(|lost| {
            next.losses += 1;
            self.ended(lost, AttemptState::Lost, LossReason::Expired)
        });
        next.attempt += 1;
        next.open = Some(next.attempt);
        next.worker = Some(worker);
        next.lease_time = Some(self.context.now);
        next.reason = None;
        // "Started" is committed before the dispatch, or a lost answer could start it twice.
        (next.state, next.start_time) = if self.context.policy.at_most_once() {
            (RunState::Running, Some(self.context.now))
        } else {
            (RunState::Leased, None)
        };
        Ok(Change { next, end, tell: None })
    }

    fn start(&self, attempt: i64, start_time: Instant) -> Result<Change, Refusal> {
        if self.run.open != Some(attempt) || self.run.state != RunState::Leased {
            return Err(Refusal::Stale);
        }
        let mut next = self.run.clone();
        next.state = RunState::Running;
        next.start_time = Some(start_time);
        Ok(self.changed(next))
    }

    /// The open attempt of a run at a worker, or nothing happens.
    fn active(&self, attempt: i64) -> Result<Leaving<'_>, Refusal> {
        if self.run.open == Some(attempt) && self.run.state.is_active() {
            Ok(Leaving { table: self, attempt })
        } else {
            Err(Refusal::Stale)
        }
    }

    fn silent(&self, attempt: i64) -> Result<Change, Refusal> {
        let leaving = self.active(attempt)?;
        if self.context.policy.at_most_once() {
            return leaving.lose(LossReason::Silent).map(Change::revoking);
        }
        if self.run.state != RunState::Leased {
            return Err(Refusal::Stale);
        }
        leaving.give_back(LossReason::Silent).map(Change::revoking)
    }

    fn unlisted(&self, attempt: i64) -> Result<Change, Refusal> {
        let leaving = self.active(attempt)?;
        if self.run.state == RunState::Leased {
            leaving.give_back(LossReason::Unlisted)
        } else {
            leaving.lose(LossReason::Unlisted)
        }
    }

    fn adopt(&self, attempt: i64, worker: WorkerId) -> Result<Change, Refusal> {
        let waits = self.run.state == RunState::Queued;
        if !waits || self.run.open != Some(attempt) || self.run.worker != Some(worker) {
            return Err(Refusal::Stale);
        }
        let mut next = self.run.clone();
        next.state = RunState::Running;
        // The pointer of this stay in the queue is dead, or a lease by it would be taken for the adopted attempt's.
        next.generation += 1;
        next.start_time = next.start_time.or(Some(self.context.now));
        Ok(self.changed(next))
    }

    fn expire(&self) -> Result<Change, Refusal> {
        let leaving = self.active(self.run.open.ok_or(Refusal::Stale)?)?;
        if let Some(folded) = leaving.fold(AttemptState::Lost, LossReason::Expired) {
            return Ok(folded);
        }
        // The last loss decides at once; any other is charged when the run is leased again, so that a worker that
        // comes back before that is adopted for free.
        if self.context.policy.at_most_once() || self.run.losses + 1 >= self.context.policy.retry.max_losses {
            return leaving.lose(LossReason::Expired);
        }
        let mut next = self.requeued();
        next.open = self.run.open;
        Ok(self.changed(next))
    }

    fn report(
        &self,
        attempt: i64,
        outcome: &Outcome,
        start_time: Option<Instant>,
        log_lines: Option<u64>,
    ) -> Result<Change, Refusal> {
        if self.run.open != Some(attempt) {
            return Err(Refusal::Stale);
        }
        let mut heard = self.run.clone();
        heard.start_time = heard.start_time.or(start_time);
        let table = Table { run: &heard, context: self.context };
        let leaving = Leaving { table: &table, attempt };
        let mut change = match outcome {
            Outcome::Succeeded => {
                let mut next = table.over(RunState::Succeeded, None);
                next.decided = Some(attempt);
                next.log_lines = log_lines;
                self.changed(next)
            }
            Outcome::Cancelled if heard.cancel_requested => leaving.cancelled(true),
            Outcome::Cancelled if heard.stop_timeout => leaving.timed_out(true, None),
            Outcome::Cancelled => {
                leaving.failed(&Failure::of_platform("CANCELLED_UNASKED", "the handler stopped although nobody asked"))
            }
            Outcome::Failed(failure) => leaving.failed(failure),
            Outcome::Interrupted => leaving.interrupted()?,
        };
        if let Some(end) = &mut change.end {
            end.log_lines = log_lines;
        }
        Ok(change)
    }

    fn cancel(&self, why: &str, grace: Option<Duration>) -> Result<Change, Refusal> {
        let mut next = self.run.clone();
        next.cancel_time = Some(self.run.cancel_time.unwrap_or(self.context.now));
        next.cancel_reason = Some(self.run.cancel_reason.clone().unwrap_or_else(|| why.into()));
        if !self.run.state.is_active() {
            let table = Table { run: &next, context: self.context };
            return Ok(Change {
                next: table.over(RunState::Cancelled, Some(reason::CANCELLED)),
                end: self.run.open.map(|lost| self.ended(lost, AttemptState::Lost, LossReason::Expired)),
                tell: None,
            });
        }
        let usual = Lifecycle::grace(self.context.policy, self.context.rules);
        let grace = grace.map_or(usual, |grace| grace.max(self.context.rules.lease_ttl));
        let deadline = self.context.now.plus(grace);
        // A stop that was asked for before is not put off.
        next.stop_deadline = Some(self.run.stop_deadline.map_or(deadline, |before| before.min(deadline)));
        next.cancel_requested = true;
        Ok(self.stopping(next))
    }

    fn job_deleted(&self) -> Result<Change, Refusal> {
        if self.run.state.is_active() {
            return Err(Refusal::Stale);
        }
        let mut change = self.cancel("the job was deleted", None)?;
        change.next.reason = Some(reason::JOB_DELETED.into());
        Ok(change)
    }

    /// What would wait for a worker again ends as what waited when its job was deleted.
    fn unless_deleted(&self, change: Change) -> Result<Change, Refusal> {
        if !self.context.job_deleted || change.next.state != RunState::Queued {
            return Ok(change);
        }
        let waits = Table { run: &change.next, context: self.context };
        let Change { mut next, end, tell: _ } = waits.job_deleted()?;
        let end = change.end.or(end);
        next.decided = end.as_ref().and_then(|end| end.reported.then_some(end.attempt));
        Ok(Change { next, end, tell: change.tell })
    }

    fn deadline(&self) -> Result<Change, Refusal> {
        let now = self.context.now;
        if self.run.deadline(self.context.policy).is_none_or(|deadline| deadline > now) {
            return Err(Refusal::Early);
        }
        if let (true, Some(attempt)) = (self.run.state.is_active(), self.run.open) {
            let leaving = Leaving { table: self, attempt };
            if self.run.cancel_requested {
                return Ok(leaving.cancelled(false).revoking());
            }
            if self.run.stop_timeout {
                return Ok(leaving.timed_out(false, None).revoking());
            }
            let mut next = self.run.clone();
            next.stop_timeout = true;
            next.stop_deadline = Some(now.plus(Lifecycle::grace(self.context.policy, self.context.rules)));
            return Ok(self.stopping(next));
        }
        let why = if self.total_passed() { reason::TOTAL_TIMEOUT } else { reason::QUEUE_TIMEOUT };
        Ok(Change {
            next: self.over(RunState::TimedOut, Some(why)),
            end: self.run.open.map(|lost| self.ended(lost, AttemptState::Lost, LossReason::Expired)),
            tell: None,
        })
    }

    fn total_passed(&self) -> bool {
        self.run.total_passed(self.context.policy, self.context.now)
    }

    /// An attempt that is to stop from now on.
    fn stopping(&self, next: Lifecycle) -> Change {
        let why = next.stop_reason(self.context.policy, self.context.now);
        let tell = next.open.zip(why).map(|(attempt, why)| Tell::Stop(attempt, why));
        Change { next, end: None, tell }
    }

    fn changed(&self, next: Lifecycle) -> Change {
        Change { next, end: None, tell: None }
    }

    fn ended(&self, attempt: i64, state: AttemptState, cause: impl Into<Option<LossReason>>) -> AttemptEnd {
        // What never started wrote nothing.
        let log_lines = (state == AttemptState::Returned).then_some(0);
        AttemptEnd { attempt, state, reported: false, cause: cause.into(), failure: None, log_lines }
    }

    /// Back into the queue, with no attempt open.
    fn requeued(&self) -> Lifecycle {
        let mut next = self.run.clone();
        next.state = RunState::Queued;
        next.open = None;
        next.generation += 1;
        next.queue_time = Some(self.context.now);
        next.wake_time = None;
        next.buffer = None;
        next
    }

    /// Over, with no attempt open.
    fn over(&self, state: RunState, why: Option<&str>) -> Lifecycle {
        let mut next = self.run.clone();
        next.state = state;
        next.open = None;
        next.end_time = Some(self.context.now);
        next.wake_time = None;
        next.buffer = None;
        next.stop_deadline = None;
        next.reason = why.map(Into::into);
        next
    }
}

#[cfg(test)]
mod tests;
