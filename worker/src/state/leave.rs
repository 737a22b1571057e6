//! How a worker leaves: it takes nothing new, hands back what it has not started, lets the rest finish, stops what does
//! not, and goes when the server has heard how everything ended.

use std::time::Duration;

use mainspring_proto::worker::v1::{RejectReason, WorkerDrain};

use super::{
    Effect, Key, Machine,
    attempt::{Attempt, Phase},
    result::End,
    timers::Timer,
};
use crate::{clock::Instant, ctx::CancelReason};

/// How long dropped code may take to be gone. What computes without a pause cannot be dropped; it is reported as
/// interrupted, which the end of the process will make true.
const DROP_WITHIN: Duration = Duration::from_secs(1);
/// How long the last results may take to be acknowledged.
const DELIVER_WITHIN: Duration = Duration::from_secs(15);
/// How long the last log lines may take.
const LOGS_WITHIN: Duration = Duration::from_secs(3);

pub(super) struct Leaving {
    pub(super) reason: String,
    /// Whether the present session was told.
    pub(super) announced: bool,
    stop_at: Instant,
    leave_at: Instant,
    /// Since when nothing is held.
    idle_since: Option<Instant>,
}

/// How a worker left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Farewell {
    /// Everything is settled.
    Settled,
    /// Time is up, and so many results were never acknowledged.
    Undelivered(usize),
}

impl Machine {
    /// Takes no more work, for good; stays connected.
    pub(super) fn quiesce(&mut self) {
        self.quiesced = true;
        self.capacity_changed = true;
    }

    /// Begins to leave. Once begun, it is not begun again.
    pub(crate) fn leave(&mut self, reason: &str, now: Instant) {
        if self.leaving.is_some() {
            return;
        }
        let stop_at = now + self.drain_within;
        let give_up_at = stop_at + self.stop_within + DROP_WITHIN;
        let leave_at = give_up_at + DELIVER_WITHIN;
        self.leaving = Some(Leaving { reason: reason.into(), announced: false, stop_at, leave_at, idle_since: None });
        self.capacity_changed = true;
        self.timers.set(stop_at, Timer::DrainStop);
        self.timers.set(give_up_at, Timer::DrainGiveUp);
        self.timers.set(leave_at, Timer::Leave);
        self.hand_back_unstarted(RejectReason::Draining, "the worker is leaving");
    }

    /// Leaves at once the work that is running: the server will have no more of this worker.
    pub(crate) fn leave_now(&mut self, reason: &str, now: Instant) {
        self.drain_within = Duration::ZERO;
        self.leave(reason, now);
    }

    /// The worker is gone: nothing more is reported. What has ended stays as it is: it may be kept elsewhere.
    pub(crate) fn kill_all(&mut self) {
        let unfinished = |attempt: &Attempt| !matches!(attempt.phase, Phase::Finished(_));
        let keys = self.attempts.iter().filter(|(_, attempt)| unfinished(attempt)).map(|(key, _)| key.clone());
        for key in keys.collect::<Vec<_>>() {
            self.abandon(&key);
        }
    }

    /// The announcement, if the present session has not heard it.
    pub(super) fn drain_notice(&mut self, now: Instant) -> Option<WorkerDrain> {
        let leaving = self.leaving.as_mut().filter(|leaving| !leaving.announced)?;
        leaving.announced = true;
        let deadline = prost_types::Duration::try_from(leaving.stop_at.since(now)).ok();
        Some(WorkerDrain { note: leaving.reason.clone(), deadline })
    }

    /// The time to drain is over: what runs is told to stop.
    pub(super) fn stop_all(&mut self, now: Instant) {
        for key in self.running_keys() {
            self.stop(&key, CancelReason::Shutdown, self.stop_within, now);
        }
    }

    /// What was told to stop, and dropped, and still is not gone.
    pub(super) fn give_up_on_stuck(&mut self) {
        for key in self.running_keys() {
            tracing::warn!(run_id = %key.run_id, attempt = key.attempt, "does not stop; left behind");
            self.settle(&key, End::Dropped, None);
            self.slot_is_lost(&key);
            self.effects.push(Effect::Keep(key));
        }
    }

    fn running_keys(&self) -> Vec<Key> {
        let running = |attempt: &Attempt| matches!(attempt.phase, Phase::Running(_));
        self.attempts.iter().filter(|(_, attempt)| running(attempt)).map(|(key, _)| key.clone()).collect()
    }

    /// Whether the worker can go, and how.
    pub(crate) fn farewell(&mut self, now: Instant) -> Option<Farewell> {
        let has_session = self.session().is_some();
        let leaving = self.leaving.as_mut()?;
        if self.attempts.is_empty() {
            let idle_since = *leaving.idle_since.get_or_insert_with(|| {
                self.timers.set_by(now + LOGS_WITHIN, Timer::Leave);
                now
            });
            let told = leaving.announced && self.refusals.is_empty();
            let settled = told && self.logs.is_empty();
            if !has_session || settled || idle_since + LOGS_WITHIN <= now {
                return Some(Farewell::Settled);
            }
        } else {
            leaving.idle_since = None;
        }
        if leaving.leave_at > now {
            return None;
        }
        match self.unacked_results().len() {
            0 => Some(Farewell::Settled),
            count => Some(Farewell::Undelivered(count)),
        }
    }
}
