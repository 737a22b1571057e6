//! When the decisions want to be asked again.
//!
//! A timer is never taken back: whoever handles it looks whether there is still something to do, and sets it anew where
//! the moment has moved. So renewing a lease or hearing from the server costs nothing here.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::{attempt::Key, stream::StreamId};
use crate::clock::Instant;

/// What may be due.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A stream's Welcome is overdue.
    Handshake(StreamId),
    Heartbeat(StreamId),
    Silence(StreamId),
    /// The self-fence.
    Fence,
    /// A `DispatchReply` must not wait for the task any longer.
    Reply(Key),
    Progress(Key),
    /// The local mirror of the execution timeout.
    Execution(Key),
    /// A stopping attempt's grace is over.
    Kill(Key),
    /// A result was not acknowledged.
    Resend(Key),
    /// Log lines have lingered long enough.
    LogLinger,
    /// A log batch was not acknowledged.
    LogAck,
    /// The time to drain is over.
    DrainStop,
    /// What was stopped at the end of the drain has not stopped.
    DrainGiveUp,
    /// The worker leaves, whatever is left.
    Leave,
}

#[derive(Default)]
pub(super) struct Timers(BinaryHeap<Reverse<(Instant, Timer)>>);

impl Timers {
    pub(super) fn set(&mut self, at: Instant, timer: Timer) {
        self.0.push(Reverse((at, timer)));
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.0.peek().map(|Reverse((at, _))| *at)
    }

    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        self.0.pop().map(|Reverse((_, timer))| timer)
    }
}
