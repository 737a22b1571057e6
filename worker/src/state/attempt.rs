//! One attempt in the worker's hands, from its Dispatch to the acknowledgement of its result.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use mainspring_proto::worker::v1::{AttemptPhase, AttemptRef, AttemptResult, Dispatch, RejectReason};

use super::stream::StreamId;
use crate::{
    clock::Instant,
    ctx::{CancelReason, Stop},
};

/// The name of an attempt. All attempts of a run stand together, in the order of their numbers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) run_id: Arc<str>,
    pub(crate) attempt: i64,
}

impl Key {
    /// The key a message names; `None` if it names none.
    pub(crate) fn of(attempt: Option<&AttemptRef>) -> Option<Self> {
        let attempt = attempt.filter(|attempt| !attempt.run_id.is_empty())?;
        Some(Self { run_id: attempt.run_id.as_str().into(), attempt: attempt.attempt })
    }

    pub(crate) fn wire(&self) -> AttemptRef {
        AttemptRef { run_id: self.run_id.to_string(), attempt: self.attempt }
    }
}

/// What the worker holds of one attempt.
pub(super) struct Attempt {
    pub(super) queue: String,
    /// Whether it must stop once the lease can no longer be proven.
    pub(super) stop_on_lease_loss: bool,
    pub(super) execution_timeout: Option<Duration>,
    /// Without a confirmation it may start only before this moment.
    pub(super) start_before: Instant,
    pub(super) confirmation: Confirmation,
    /// Whether the server still waits for the `DispatchReply`.
    pub(super) reply_owed: bool,
    pub(super) progress: Progress,
    pub(super) phase: Phase,
}

/// How far an attempt is.
pub(super) enum Phase {
    /// It waits for a slot, or for the lease to be proven again.
    Waiting(Box<Dispatch>),
    /// A task was asked for; user code has not begun.
    Starting(Box<Dispatch>),
    /// It goes back to the server. It never starts.
    Returning(Return),
    /// User code runs.
    Running(Running),
    /// User code has ended; the result waits for its acknowledgement.
    Finished(Finished),
}

/// Why an attempt goes back.
#[derive(Clone)]
pub(super) struct Return {
    pub(super) reason: RejectReason,
    pub(super) message: &'static str,
}

pub(super) struct Running {
    pub(super) start_time: SystemTime,
    pub(super) stop: Stop,
    pub(super) stopping: Option<Stopping>,
}

/// A running attempt that was told to stop.
pub(super) struct Stopping {
    pub(super) why: CancelReason,
    /// When it is dropped if it has not stopped by itself.
    pub(super) kill_at: Instant,
    pub(super) killed: bool,
}

pub(super) struct Finished {
    pub(super) result: Arc<AttemptResult>,
    /// Whether the end of user code has been told to observers, so that the result may go out.
    pub(super) released: bool,
    /// How often it was sent on the present stream.
    pub(super) sent: u32,
}

/// Whether the server has said, after it had handed the attempt out, that it still counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Confirmation {
    /// No message has listed it yet.
    Unlisted,
    /// This message was the first to list it on its stream.
    Listed(StreamId, i64),
    /// A message that listed it was acknowledged, and nothing was said against it.
    Confirmed,
}

/// The newest progress that was not sent, and when the last one was.
#[derive(Default)]
pub(super) struct Progress {
    pub(super) latest: Option<(f64, String)>,
    pub(super) sent_at: Option<Instant>,
    /// Whether a timer or the outbox has it already.
    pub(super) queued: bool,
}

impl Attempt {
    /// User code has not begun, and still may.
    pub(super) fn is_unstarted(&self) -> bool {
        match self.phase {
            Phase::Waiting(_) | Phase::Starting(_) => true,
            Phase::Returning(_) | Phase::Running(_) | Phase::Finished(_) => false,
        }
    }

    /// The phase as the server is told.
    pub(super) fn wire_phase(&self) -> AttemptPhase {
        match &self.phase {
            Phase::Waiting(_) | Phase::Starting(_) | Phase::Returning(_) => AttemptPhase::Reserved,
            Phase::Running(Running { stopping: None, .. }) => AttemptPhase::Running,
            Phase::Running(Running { stopping: Some(_), .. }) => AttemptPhase::Cancelling,
            Phase::Finished(_) => AttemptPhase::ResultPending,
        }
    }
}
