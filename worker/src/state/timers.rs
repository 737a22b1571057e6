//! When the decisions want to be asked again.
//!
//! Each timer stands for one moment at most, and goes with what it is about: an attempt that is let go takes its timers
//! with it, so what is kept here is bounded by what is held, however long an execution timeout is. Whoever handles a
//! timer still looks whether there is something to do, and sets it anew where the moment has moved.

use std::collections::{BTreeSet, HashMap};

use super::{attempt::Key, stream::StreamId};
use crate::clock::Instant;

/// What may be due.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
pub(super) struct Timers {
    order: BTreeSet<(Instant, Timer)>,
    moments: HashMap<Timer, Instant>,
}

impl Timers {
    /// Sets a timer, wherever it stood before.
    pub(super) fn set(&mut self, at: Instant, timer: Timer) {
        if let Some(before) = self.moments.insert(timer.clone(), at) {
            self.order.remove(&(before, timer.clone()));
        }
        self.order.insert((at, timer));
    }

    /// Sets a timer that many things wait for, unless it is due sooner already.
    pub(super) fn set_by(&mut self, at: Instant, timer: Timer) {
        if self.moments.get(&timer).is_none_or(|before| at < *before) {
            self.set(at, timer);
        }
    }

    /// Takes a timer back, if it is set.
    pub(super) fn unset(&mut self, timer: Timer) {
        if let Some(at) = self.moments.remove(&timer) {
            self.order.remove(&(at, timer));
        }
    }

    /// Nothing more will be due for this attempt.
    pub(super) fn forget(&mut self, key: &Key) {
        for timer in [Timer::Reply, Timer::Progress, Timer::Execution, Timer::Kill, Timer::Resend] {
            self.unset(timer(key.clone()));
        }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }

    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        let (_, timer) = self.order.pop_first()?;
        self.moments.remove(&timer);
        Some(timer)
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.order.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Key, Timer, Timers};
    use crate::clock::Instant;

    fn at(second: u64) -> Instant {
        Instant::at(Duration::from_secs(second))
    }

    #[test]
    fn a_timer_stands_for_one_moment() {
        let mut timers = Timers::default();
        timers.set(at(1), Timer::Fence);
        timers.set(at(3), Timer::Fence);
        timers.set_by(at(5), Timer::Fence);
        assert_eq!((timers.next(), timers.pop_due(at(2))), (Some(at(3)), None));
        timers.set_by(at(2), Timer::Fence);
        assert_eq!((timers.pop_due(at(2)), timers.pop_due(at(9))), (Some(Timer::Fence), None));
    }

    #[test]
    fn an_attempt_takes_its_timers_with_it() {
        let key = |run: &str| Key { run_id: run.into(), attempt: 1 };
        let mut timers = Timers::default();
        for timer in [Timer::Reply, Timer::Progress, Timer::Execution, Timer::Kill, Timer::Resend] {
            timers.set(at(1), timer(key("gone")));
        }
        timers.set(at(2), Timer::Kill(key("held")));
        timers.forget(&key("gone"));
        assert_eq!((timers.count(), timers.pop_due(at(9))), (1, Some(Timer::Kill(key("held")))));
    }
}
