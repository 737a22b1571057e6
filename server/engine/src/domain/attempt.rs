//! One try of a run on one worker.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{ids::RunId, payload::Failure};

/// Names an attempt. The number counts from 1, grows by one at every lease and at nothing else, and so is the fencing
/// token: a write under an older number changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptKey {
    /// The run.
    pub run: RunId,
    /// The number.
    pub attempt: i64,
}

impl fmt::Display for AttemptKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.run, self.attempt)
    }
}

/// How an attempt stands or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AttemptState {
    /// Given to a worker.
    Leased,
    /// User code is running.
    Running,
    /// The handler finished.
    Succeeded,
    /// The handler failed.
    Failed,
    /// Stopped because somebody cancelled the run.
    Cancelled,
    /// Took too long.
    TimedOut,
    /// Its worker was lost; it may have run.
    Lost,
    /// Handed back before it started.
    Returned,
    /// The worker's shutdown stopped it.
    Interrupted,
}

impl AttemptState {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 9] = [
        Self::Leased,
        Self::Running,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
        Self::TimedOut,
        Self::Lost,
        Self::Returned,
        Self::Interrupted,
    ];

    /// The number that stands for it in columns and on the wire.
    pub const fn code(self) -> i32 {
        match self {
            Self::Leased => 1,
            Self::Running => 2,
            Self::Succeeded => 3,
            Self::Failed => 4,
            Self::Cancelled => 5,
            Self::TimedOut => 6,
            Self::Lost => 7,
            Self::Returned => 8,
            Self::Interrupted => 9,
        }
    }

    /// The state behind a code.
    pub fn from_code(code: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.code() == code)
    }
}

/// Why the platform ended an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LossReason {
    /// Its worker was not heard for a lease.
    Expired,
    /// Its worker no longer listed it in a heartbeat.
    Absent,
    /// Its worker did not answer the dispatch in time.
    Silent,
    /// Its worker handed it back.
    Rejected,
    /// Its worker came back and did not list it.
    Unlisted,
    /// Its worker was shut down.
    WorkerShutdown,
    /// It ran longer than its execution timeout.
    ExecutionTimeout,
    /// It was cancelled, and its worker did not stop it in time.
    Unresponsive,
    /// It gave no sign of life for its heartbeat timeout.
    HeartbeatTimeout,
    /// Its run took longer than its total timeout.
    TotalTimeout,
}

impl LossReason {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 10] = [
        Self::Expired,
        Self::Absent,
        Self::Silent,
        Self::Rejected,
        Self::Unlisted,
        Self::WorkerShutdown,
        Self::ExecutionTimeout,
        Self::Unresponsive,
        Self::HeartbeatTimeout,
        Self::TotalTimeout,
    ];

    /// The number that stands for it on the wire.
    pub const fn code(self) -> i32 {
        match self {
            Self::Expired => 1,
            Self::Absent => 2,
            Self::Silent => 3,
            Self::Rejected => 4,
            Self::Unlisted => 5,
            Self::WorkerShutdown => 6,
            Self::ExecutionTimeout => 7,
            Self::Unresponsive => 8,
            Self::HeartbeatTimeout => 9,
            Self::TotalTimeout => 10,
        }
    }

    /// The name that stands for it in columns.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Expired => "EXPIRED",
            Self::Absent => "ABSENT",
            Self::Silent => "SILENT",
            Self::Rejected => "REJECTED",
            Self::Unlisted => "UNLISTED",
            Self::WorkerShutdown => "WORKER_SHUTDOWN",
            Self::ExecutionTimeout => "EXECUTION_TIMEOUT",
            Self::Unresponsive => "UNRESPONSIVE",
            Self::HeartbeatTimeout => "HEARTBEAT_TIMEOUT",
            Self::TotalTimeout => "TOTAL_TIMEOUT",
        }
    }

    /// The reason behind a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }
}

/// The end of an attempt that did not succeed, as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptEnd {
    /// Which.
    pub attempt: i64,
    /// How it ended.
    pub state: AttemptState,
    /// Whether the worker said so. A repeated report of such an attempt is a DUPLICATE; of any other it is FENCED.
    pub reported: bool,
    /// Why, where the platform ended it.
    pub cause: Option<LossReason>,
    /// What the worker said went wrong.
    pub failure: Option<Failure>,
    /// How many log lines it wrote, where that is known.
    pub log_lines: Option<u64>,
}

/// What a worker says an attempt came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The handler finished; the output is kept beside the run.
    Succeeded,
    /// The handler failed.
    Failed(Failure),
    /// The handler stopped because it was told to.
    Cancelled,
    /// The worker's shutdown stopped it.
    Interrupted,
}
