//! What a worker and a session say to each other, in the engine's words.
//!
//! `grpc/worker.rs` turns these into the wire's messages and back; nothing here knows Protobuf. Messages about attempts
//! are hints: the heartbeat, which carries the full state, repairs whatever was lost.

use std::time::Duration;

use crate::{
    domain::{
        attempt::AttemptKey,
        event::Progress,
        log,
        worker::{AbandonReason, Capacity, Drain, Held, Phase},
    },
    ports::store::{Dispatchable, Quota, Report, ReportAnswer, StoreError},
};

/// What a worker says after its Hello.
#[derive(Clone, Debug)]
pub enum FromWorker {
    /// Its full state.
    Heartbeat {
        /// Counts from 1 on each stream.
        sequence: i64,
        /// It takes no more work.
        draining: bool,
        /// Everything it holds.
        in_flight: Vec<Held>,
        /// How much it takes.
        capacity: Capacity,
    },
    /// How much it takes, sooner.
    Capacity(Capacity),
    /// Answer to a dispatch.
    Reply(AttemptKey, Reply),
    /// How far user code is.
    Progress(AttemptKey, Phase, Progress),
    /// Log lines.
    Logs(log::Batch),
    /// The end of an attempt.
    Result(Box<Report>),
    /// Answer to a cancel.
    CancelReply(AttemptKey),
    /// It is shutting down.
    Drain,
}

impl FromWorker {
    /// About how many bytes it is held in memory with, where that may be many.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Heartbeat { in_flight, .. } => in_flight.len() * size_of::<Held>(),
            Self::Result(report) => report.weight(),
            Self::Capacity(_)
            | Self::Reply(..)
            | Self::Progress(..)
            | Self::Logs(_)
            | Self::CancelReply(_)
            | Self::Drain => 0,
        }
    }
}

/// Whether a worker takes an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It does, and is so far.
    Accepted(Phase),
    /// It does not; user code was not started.
    Rejected(RejectReason, Option<Duration>),
}

/// Why a worker hands an attempt back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectReason {
    /// Not told.
    Unspecified,
    /// No slot is free.
    NoCapacity,
    /// It is shutting down.
    Draining,
    /// It has no handler for the type.
    UnknownJobType,
    /// It could not decode the payload.
    UnreadablePayload,
    /// The start window had passed.
    Stale,
}

/// What a session says after its Welcome.
#[derive(Clone, Debug)]
pub enum ToWorker {
    /// The lease was renewed.
    HeartbeatAck {
        /// The heartbeat it answers.
        sequence: i64,
        /// Counted from when the worker sent it.
        lease_ttl: Duration,
        /// Repeated until the worker's state reflects them.
        directives: Vec<Directive>,
    },
    /// An attempt to run.
    Dispatch {
        /// What.
        attempt: Box<Dispatchable>,
        /// The highest heartbeat the session had read before the lease began.
        basis_sequence: i64,
        /// Answer within this.
        reply_timeout: Duration,
    },
    /// Stop an attempt.
    Cancel(AttemptKey, Stop),
    /// What became of a result.
    ResultAck(AttemptKey, Disposition),
    /// The attempt's log is stored up to this offset.
    LogAck(AttemptKey, u64),
    /// Reconnect, take no more, or leave.
    Drain {
        /// Which of these.
        mode: DrainMode,
        /// Wait this long before opening a new stream.
        reconnect_delay: Duration,
        /// The server closes this stream after this long.
        close_delay: Duration,
    },
    /// The lease of one attempt is gone.
    Revoke(AttemptKey, AbandonReason),
    /// A problem that does not end the stream.
    Notice {
        /// Which.
        reason: Remark,
        /// What to do about it.
        message: String,
        /// What it is about.
        attempt: Option<AttemptKey>,
    },
}

/// A problem that does not end a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remark {
    /// The worker spoke of an attempt that it never had.
    LeaseNotOwned,
}

/// What the server wants of one attempt.
#[derive(Clone, Debug, PartialEq)]
pub enum Directive {
    /// Stop it and report.
    Cancel(AttemptKey, Stop),
    /// Stop it and do not report.
    Abandon(AttemptKey, AbandonReason),
}

/// How an attempt is asked to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// Why, for people.
    pub reason: String,
    /// How long it has.
    pub grace: Duration,
}

/// What became of a result. Any lets the worker forget it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// It decided the attempt.
    Applied,
    /// It had been applied before.
    Duplicate,
    /// The attempt no longer counted.
    Fenced,
    /// It can never be applied: what it is about cannot be read.
    Invalid,
}

impl From<&ReportAnswer> for Disposition {
    fn from(answer: &ReportAnswer) -> Self {
        match answer {
            ReportAnswer::Applied(_) => Self::Applied,
            ReportAnswer::Duplicate => Self::Duplicate,
            ReportAnswer::Fenced => Self::Fenced,
        }
    }
}

/// What a drain asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainMode {
    /// Open a replacement stream, then half-close this one.
    Reconnect,
    /// Take no new work.
    Quiesce,
    /// Take no new work, finish, exit.
    Terminate,
}

impl From<Drain> for DrainMode {
    fn from(drain: Drain) -> Self {
        match drain {
            Drain::Quiesce => Self::Quiesce,
            Drain::Terminate => Self::Terminate,
        }
    }
}

/// What a session tells first.
#[derive(Clone, Debug)]
pub struct Welcome {
    /// The session.
    pub session: crate::domain::ids::SessionId,
    /// Its epoch.
    pub epoch: i64,
    /// Verdicts on what the Hello listed that are not simply "carry on".
    pub directives: Vec<Directive>,
}

/// Why a session ended from the server's side.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionEnd {
    /// A newer stream of the process owns its leases.
    #[error("a newer stream of this worker process took over")]
    Superseded,
    /// The worker's id belongs to another namespace.
    #[error("this worker_instance_id cannot be used in this namespace")]
    Foreign,
    /// Nothing was heard for the silence timeout.
    #[error("nothing was heard from the worker for {0:?}")]
    Silent(Duration),
    /// The worker does not read, or sends more than it may.
    #[error("the worker reads too slowly or sends too much ({0})")]
    SlowConsumer(&'static str),
    /// The server is going away.
    #[error("the server is shutting down")]
    Draining(Duration),
    /// The worker handles what nobody did before, and the namespace is full.
    #[error("the namespace has as many queues, or job types in queues, as it may")]
    Full(Quota),
    /// The store did not do what a session begins with.
    #[error("{0}")]
    StoreAway(StoreError),
    /// The worker said that it leaves, and closed its half in order with nothing in its hands: it does not come back.
    #[error("the worker left")]
    Left,
    /// Its stream ended in any other way; it may come back.
    #[error("the worker's stream ended")]
    Closed,
}
