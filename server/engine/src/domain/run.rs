//! One execution: the part of a run that rules decide on.

pub mod reason;

use super::{ids::WorkerId, instant::Instant, overlap::Buffer, policy::RunPolicy, rules::LeaseRules};

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RunState {
    /// Waits for its time.
    Scheduled,
    /// Waits for a worker.
    Queued,
    /// Given to a worker.
    Leased,
    /// A worker runs it.
    Running,
    /// An attempt failed; the next waits for its time.
    RetryWait,
    /// Over: the handler finished.
    Succeeded,
    /// Over: no attempt is left.
    Failed,
    /// Over: somebody cancelled it.
    Cancelled,
    /// Over: it took too long.
    TimedOut,
}

impl RunState {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 9] = [
        Self::Scheduled,
        Self::Queued,
        Self::Leased,
        Self::Running,
        Self::RetryWait,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
        Self::TimedOut,
    ];

    /// The number that stands for it in columns and on the wire.
    pub const fn code(self) -> i32 {
        match self {
            Self::Scheduled => 1,
            Self::Queued => 2,
            Self::Leased => 3,
            Self::Running => 4,
            Self::RetryWait => 5,
            Self::Succeeded => 6,
            Self::Failed => 7,
            Self::Cancelled => 8,
            Self::TimedOut => 9,
        }
    }

    /// The state behind a code.
    pub fn from_code(code: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.code() == code)
    }

    /// The name in filters and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scheduled => "SCHEDULED",
            Self::Queued => "QUEUED",
            Self::Leased => "LEASED",
            Self::Running => "RUNNING",
            Self::RetryWait => "RETRY_WAIT",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
            Self::TimedOut => "TIMED_OUT",
        }
    }

    /// Whether it never changes again.
    pub const fn is_terminal(self) -> bool {
        match self {
            Self::Succeeded | Self::Failed | Self::Cancelled | Self::TimedOut => true,
            Self::Scheduled | Self::Queued | Self::Leased | Self::Running | Self::RetryWait => false,
        }
    }

    /// Whether it is at a worker.
    pub const fn is_active(self) -> bool {
        match self {
            Self::Leased | Self::Running => true,
            Self::Scheduled
            | Self::Queued
            | Self::RetryWait
            | Self::Succeeded
            | Self::Failed
            | Self::Cancelled
            | Self::TimedOut => false,
        }
    }
}

/// How a run came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RunOrigin {
    /// A schedule fired.
    Schedule,
    /// Somebody triggered a job.
    Trigger,
    /// Somebody submitted a run without a job.
    Submit,
    /// Somebody asked for a finished run again.
    Retry,
    /// Somebody had runs made of instants that have passed.
    Backfill,
    /// Somebody had dead letters made again.
    Redrive,
}

impl RunOrigin {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 6] =
        [Self::Schedule, Self::Trigger, Self::Submit, Self::Retry, Self::Backfill, Self::Redrive];

    /// The number that stands for it in columns and on the wire.
    pub const fn code(self) -> i32 {
        match self {
            Self::Schedule => 1,
            Self::Trigger => 2,
            Self::Submit => 3,
            Self::Retry => 4,
            Self::Backfill => 5,
            Self::Redrive => 6,
        }
    }

    /// The origin behind a code.
    pub fn from_code(code: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|origin| origin.code() == code)
    }
}

/// The part of a run's row that the transition table reads and writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lifecycle {
    /// Where it stands.
    pub state: RunState,
    /// Attempts given out so far: the number of the last one, and the fencing token.
    pub attempt: i64,
    /// The attempt that may still change the run; none between attempts and after the end. Only the expiry of a
    /// lease leaves it set in QUEUED, so that a worker that comes back in time keeps its attempt.
    pub open: Option<i64>,
    /// The attempt whose result ended the run.
    pub decided: Option<i64>,
    /// The worker of the last attempt.
    pub worker: Option<WorkerId>,
    /// Grows at every entry into QUEUED and every adoption out of it, so that pointers and in-doubt leases of an
    /// earlier stay in the queue die.
    pub generation: i64,
    /// Somebody asked to stop it, and it is, or was when it ended, at a worker.
    pub cancel_requested: bool,
    /// A timeout asked to stop it; the same.
    pub stop_timeout: bool,
    /// When the attempt is ended without the worker.
    pub stop_deadline: Option<Instant>,
    /// Attempts that failed or timed out.
    pub failures: u32,
    /// Attempts lost with their worker.
    pub losses: u32,
    /// Attempts handed back unstarted.
    pub returns: u32,
    /// Why it stands there.
    pub reason: Option<String>,
    /// When it was made.
    pub create_time: Instant,
    /// When it last began to wait for a worker.
    pub queue_time: Option<Instant>,
    /// When the last attempt was given out.
    pub lease_time: Option<Instant>,
    /// When the last attempt started.
    pub start_time: Option<Instant>,
    /// When it was over.
    pub end_time: Option<Instant>,
    /// When it leaves SCHEDULED or RETRY_WAIT; none while it waits for the slot of its job.
    pub wake_time: Option<Instant>,
    /// It waits, in SCHEDULED, until runs of its job are over.
    pub buffer: Option<Buffer>,
    /// When somebody asked to cancel it.
    pub cancel_time: Option<Instant>,
    /// Why, in the caller's words.
    pub cancel_reason: Option<String>,
    /// How many log lines the attempt that succeeded wrote, where its worker said. Of any other attempt,
    /// [`AttemptEnd`](super::attempt::AttemptEnd) tells.
    pub log_lines: Option<u64>,
}

impl Lifecycle {
    /// A run that is made at `now` and due at `due`.
    pub fn new(now: Instant, due: Instant) -> Self {
        let waits = due > now;
        Self {
            state: if waits { RunState::Scheduled } else { RunState::Queued },
            attempt: 0,
            open: None,
            decided: None,
            worker: None,
            generation: if waits { 0 } else { 1 },
            cancel_requested: false,
            stop_timeout: false,
            stop_deadline: None,
            failures: 0,
            losses: 0,
            returns: 0,
            reason: None,
            create_time: now,
            queue_time: (!waits).then_some(now),
            lease_time: None,
            start_time: None,
            end_time: None,
            wake_time: waits.then_some(due),
            buffer: None,
            cancel_time: None,
            cancel_reason: None,
            log_lines: None,
        }
    }

    /// The same, or one that waits for the slot of its job first.
    pub fn made(now: Instant, due: Instant, buffer: Option<Buffer>) -> Self {
        let made = Self::new(now, due);
        if buffer.is_none() {
            return made;
        }
        Self { state: RunState::Scheduled, generation: 0, queue_time: None, wake_time: None, buffer, ..made }
    }

    /// When time alone will change this run, apart from `wake_time`: the instant to send `Event::Deadline`.
    pub fn deadline(&self, policy: &RunPolicy) -> Option<Instant> {
        let total = policy.timeouts.total.map(|length| self.create_time.plus(length));
        match self.state {
            RunState::Queued => {
                let queue = policy.timeouts.queue.and_then(|length| Some(self.queue_time?.plus(length)));
                earliest(queue, total)
            }
            RunState::Leased | RunState::Running if self.cancel_requested || self.stop_timeout => self.stop_deadline,
            // An attempt that has not started is bounded by the reply timeout and the lease, not by its execution.
            RunState::Leased | RunState::Scheduled | RunState::RetryWait => total,
            RunState::Running => {
                let execution = policy.timeouts.execution.and_then(|length| Some(self.start_time?.plus(length)));
                earliest(execution, total)
            }
            RunState::Succeeded | RunState::Failed | RunState::Cancelled | RunState::TimedOut => None,
        }
    }

    /// Why its attempt is to stop, for the handler and for people; none where nobody wants that.
    pub fn stop_reason(&self, policy: &RunPolicy, now: Instant) -> Option<String> {
        if self.cancel_requested {
            let words = self.cancel_reason.as_deref().filter(|words| !words.is_empty());
            return Some(words.unwrap_or(reason::CANCELLED).into());
        }
        let why = if self.total_passed(policy, now) { reason::TOTAL_TIMEOUT } else { reason::EXECUTION_TIMEOUT };
        self.stop_timeout.then(|| why.into())
    }

    /// Whether it has taken longer than it may, from its creation on.
    pub(crate) fn total_passed(&self, policy: &RunPolicy, now: Instant) -> bool {
        policy.timeouts.total.is_some_and(|length| self.create_time.plus(length) <= now)
    }

    /// How long an attempt of this run may go on after it was told to stop. Never less than a lease: a worker that
    /// is not heard must have lost its lease before somebody says that the attempt is over.
    pub(crate) fn grace(policy: &RunPolicy, rules: &LeaseRules) -> std::time::Duration {
        policy.timeouts.stop_grace.unwrap_or(rules.stop_grace).max(rules.lease_ttl)
    }
}

fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}
