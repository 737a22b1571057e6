//! What a worker says of itself, as the engine decides on it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    attempt::AttemptKey,
    ids::WorkerId,
    names::{JobType, Lane, NamespaceName, QueueName},
    selector::Selector,
};

/// A worker's Hello: everything it is and holds.
#[derive(Clone, Debug)]
pub struct Hello {
    /// The process.
    pub worker: WorkerId,
    /// Counts the streams of the process; becomes the session's epoch.
    pub epoch: i64,
    /// Its name for people.
    pub name: String,
    /// The namespace it serves.
    pub namespace: NamespaceName,
    /// Labels for people.
    pub labels: BTreeMap<String, String>,
    /// Name, version and runtime of its SDK.
    pub sdk: String,
    /// Build identity of the user's code.
    pub build_id: String,
    /// The types it handles.
    pub handlers: Vec<Handler>,
    /// How many attempts it will hold at once, per queue.
    pub capacity: Capacity,
    /// Everything it still holds.
    pub in_flight: Vec<Held>,
    /// The largest message it can decode.
    pub max_message: usize,
    /// Whether the credential behind it is known under this name.
    pub credential: String,
}

impl Hello {
    /// The lanes it takes work from whatever its labels are, one for each handler, in order.
    pub fn lanes(&self) -> impl Iterator<Item = Lane> {
        self.handlers.iter().map(|handler| Lane {
            namespace: self.namespace.clone(),
            queue: handler.queue.clone(),
            job_type: handler.job_type.clone(),
            selector: Selector::default(),
        })
    }
}

/// One job type a worker handles.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handler {
    /// The type.
    pub job_type: JobType,
    /// The queue it takes it from.
    pub queue: QueueName,
    /// One sentence.
    pub description: String,
    /// JSON Schema of the input; empty means none.
    pub input_schema: String,
    /// JSON Schema of the output; empty means none.
    pub output_schema: String,
}

/// Attempts a worker will hold at once, per queue. Absolute, never a change.
pub type Capacity = BTreeMap<QueueName, u32>;

/// One attempt as the worker sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Which.
    pub key: AttemptKey,
    /// How far it is.
    pub phase: Phase,
}

/// How far an attempt is at the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Accepted, waiting for a local slot; user code has not started.
    Reserved,
    /// User code is running.
    Running,
    /// User code was told to stop.
    Cancelling,
    /// Finished; its result was not acknowledged yet.
    ResultPending,
}

/// How a worker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WorkerStatus {
    /// It has a stream.
    Connected,
    /// Its stream is gone; its leases live on for a while.
    Disconnected,
    /// It takes no more work.
    Draining,
    /// Its leases ended.
    Lost,
    /// It left in order.
    Gone,
}

impl WorkerStatus {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 5] = [Self::Connected, Self::Disconnected, Self::Draining, Self::Lost, Self::Gone];

    /// The number that stands for it in columns and on the wire.
    pub const fn code(self) -> i32 {
        match self {
            Self::Connected => 1,
            Self::Disconnected => 2,
            Self::Draining => 3,
            Self::Lost => 4,
            Self::Gone => 5,
        }
    }

    /// The status behind a code.
    pub fn from_code(code: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.code() == code)
    }
}

/// What an operator asks of a worker. One way: the greater wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Drain {
    /// Take no more work.
    Quiesce,
    /// Take no more work, finish, exit.
    Terminate,
}

impl Drain {
    /// The number that stands for it in columns; 0 is none.
    pub const fn code(self) -> i32 {
        match self {
            Self::Quiesce => 1,
            Self::Terminate => 2,
        }
    }

    /// What is behind a code.
    pub fn from_code(code: i32) -> Option<Self> {
        [Self::Quiesce, Self::Terminate].into_iter().find(|drain| drain.code() == code)
    }
}

/// Why an attempt no longer counts, as the worker is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbandonReason {
    /// The lease was given to another attempt, or may be.
    LeaseExpired,
    /// The attempt timed out.
    TimedOut,
    /// The run is over.
    AlreadyTerminal,
    /// The server never gave this attempt to this worker.
    UnknownAttempt,
    /// It was not accepted in time and went back to the queue.
    Returned,
}
