//! A window for tests and for evidence: what this worker really did, in the order it did it.

/// Something that happened. See [`Worker::observe`](crate::Worker::observe).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Observed {
    /// User code is about to start: the very next thing is the call of the handler.
    Start {
        /// The run.
        run_id: String,
        /// The attempt.
        attempt: i64,
    },
    /// User code has ended: its future is gone, and the result has not been sent yet.
    End {
        /// The run.
        run_id: String,
        /// The attempt.
        attempt: i64,
        /// How it ended.
        outcome: Outcome,
    },
    /// The result is in the [journal](crate::Worker::journal), on the disk, and has not been sent yet.
    Kept {
        /// The run.
        run_id: String,
        /// The attempt.
        attempt: i64,
    },
    /// The server's answer to a result was read.
    Acked {
        /// The run.
        run_id: String,
        /// The attempt.
        attempt: i64,
        /// What became of the result.
        disposition: Disposition,
    },
    /// A session began (the server's Welcome was read) or ended (its stream did).
    Session {
        /// Whether it began.
        up: bool,
        /// The id this process has for the server, as in `mainspring worker list`.
        worker_id: String,
        /// The session.
        session_id: String,
    },
}

/// How user code ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The handler returned a value.
    Succeeded,
    /// The handler failed, with this reason.
    Failed {
        /// The reason, such as `HANDLER_ERROR` or `PANIC`.
        reason: String,
    },
    /// The handler stopped because the run was cancelled.
    Cancelled,
    /// The worker stopped it for reasons of its own; the run goes back to the queue.
    Interrupted,
    /// The attempt no longer counted; nothing is reported.
    Discarded,
}

/// What the server made of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Disposition {
    /// It decided the attempt.
    Applied,
    /// It had been applied before.
    Duplicate,
    /// The attempt no longer held the lease; the result was discarded.
    Fenced,
    /// The server could not accept it.
    Invalid,
}
