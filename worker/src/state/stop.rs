//! How attempts are stopped: because the server asks, a timeout passed, the lease is gone, or they no longer count.

use std::{sync::Arc, time::Duration};

use mainspring_proto::worker::v1::{AttemptCancelled, AttemptResult, CancelDirective, RejectReason, attempt_result};

use super::{
    Effect, Key, Machine, Refusal, Urgent,
    attempt::{Attempt, Finished, Phase, Return, Running, Stopping},
    rules::length,
    timers::Timer,
};
use crate::{clock::Instant, ctx::CancelReason};

/// The grace of a stop whose length nobody stated.
const DEFAULT_GRACE: Duration = Duration::from_secs(30);
/// What does not stop is dropped a tenth of its grace before the server gives up on it, and at most this long.
const MOST_AHEAD: Duration = Duration::from_secs(2);

impl Machine {
    /// The server asks to stop an attempt. It gives up on it when the grace is over by its own clock, which began before the
    /// directive was read; so what does not stop by itself is dropped a little earlier, and its end is still in time.
    pub(super) fn cancel(&mut self, key: &Key, directive: &CancelDirective, now: Instant) {
        let grace = length(directive.grace_period).unwrap_or(DEFAULT_GRACE);
        let ahead = (grace / 10).min(MOST_AHEAD);
        self.stop(key, CancelReason::Requested(directive.note.clone()), grace.saturating_sub(ahead), now);
    }

    /// Tells an attempt to stop, and drops it after `grace`. What has not started ends here.
    pub(super) fn stop(&mut self, key: &Key, why: CancelReason, grace: Duration, now: Instant) {
        let Some(attempt) = self.attempts.get_mut(key) else { return };
        let kill_at = now + grace;
        match &mut attempt.phase {
            Phase::Waiting(_) | Phase::Starting(_) => {
                let outcome = attempt_result::Outcome::Cancelled(AttemptCancelled::default());
                let result = AttemptResult { outcome: Some(outcome), attempt: Some(key.wire()), ..Default::default() };
                attempt.phase = Phase::Finished(Finished { result: Arc::new(result), released: true, sent: 0 });
                attempt.reply_owed = false;
                self.slots.leave(&attempt.queue, key);
                self.urgent.push_back(Urgent::Result(key.clone()));
            }
            Phase::Running(Running { stop, stopping, .. }) => {
                match stopping {
                    None => {
                        self.effects.push(Effect::Ask(stop.clone(), why.clone()));
                        *stopping = Some(Stopping { why, kill_at, killed: false });
                    }
                    Some(stopping) => {
                        // What the server asked for decides what is reported.
                        if matches!(why, CancelReason::Requested(_)) {
                            stopping.why = why;
                        }
                        if stopping.kill_at <= kill_at {
                            return;
                        }
                        stopping.kill_at = kill_at;
                    }
                }
                self.timers.set(kill_at, Timer::Kill(key.clone()));
            }
            Phase::Returning(_) | Phase::Finished(_) => {}
        }
    }

    pub(super) fn kill_overdue(&mut self, key: &Key, now: Instant) {
        let Some(Attempt { phase: Phase::Running(running), .. }) = self.attempts.get_mut(key) else { return };
        let Some(stopping) = running.stopping.as_mut().filter(|stopping| !stopping.killed && stopping.kill_at <= now)
        else {
            return;
        };
        stopping.killed = true;
        self.effects.push(Effect::Kill(running.stop.clone(), stopping.why.clone()));
    }

    pub(super) fn execution_timed_out(&mut self, key: &Key, now: Instant) {
        if let Some(Attempt { phase: Phase::Running(Running { stopping: None, .. }), .. }) = self.attempts.get(key) {
            self.stop(key, CancelReason::ExecutionTimeout, DEFAULT_GRACE, now);
        }
    }

    /// Rule (c), and the policy of attempts that must not overlap: the lease can no longer be proven.
    pub(super) fn fence(&mut self, now: Instant) {
        if !self.lease.fence(now) {
            return;
        }
        let grace = self.lease.stop_grace();
        let must_stop: Vec<Key> = self
            .attempts
            .iter()
            .filter(|(_, attempt)| attempt.stop_on_lease_loss && matches!(attempt.phase, Phase::Running(_)))
            .map(|(key, _)| key.clone())
            .collect();
        tracing::warn!(
            running = self.running(),
            stopping = must_stop.len(),
            "the lease can no longer be proven: nothing new starts"
        );
        self.hand_back_unstarted(RejectReason::Stale, "the lease could not be proven in time");
        for key in must_stop {
            self.stop(&key, CancelReason::LeaseLost, grace, now);
        }
    }

    /// Rule (d): what has not started goes back and never will.
    pub(super) fn hand_back_unstarted(&mut self, reason: RejectReason, message: &'static str) {
        self.slots.leave_all();
        for (key, attempt) in &mut self.attempts {
            if attempt.is_unstarted() {
                attempt.phase = Phase::Returning(Return { reason, message });
                self.refusals.push_back(Refusal { key: key.clone(), reason, message: message.into() });
            }
        }
    }

    /// The attempt no longer counts: stop it, say nothing.
    pub(super) fn abandon(&mut self, key: &Key) {
        if let Some(attempt) = self.let_go(key) {
            tracing::debug!(run_id = %key.run_id, attempt = key.attempt, "the attempt no longer counts");
            self.slots.leave(&attempt.queue, key);
            self.slot_is_lost(key);
            if let Phase::Running(running) = attempt.phase {
                self.effects.push(Effect::Kill(running.stop, CancelReason::Abandoned));
            }
        }
        self.logs.forget(key);
    }

    /// A later attempt of the run was leased, so the earlier ones no longer count: stop those that run. Their results, if
    /// there are any, still wait for an answer.
    pub(super) fn abandon_earlier(&mut self, key: &Key) {
        let first = Key { run_id: key.run_id.clone(), attempt: i64::MIN };
        let earlier: Vec<Key> = self
            .attempts
            .range(first..key.clone())
            .filter(|(_, attempt)| !matches!(attempt.phase, Phase::Finished(_)))
            .map(|(key, _)| key.clone())
            .collect();
        for key in earlier {
            self.abandon(&key);
        }
    }
}
