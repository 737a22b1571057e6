//! How attempts end: what is reported of them, and how long that is kept.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use mainspring_proto::{
    common::v1::{Failure, Payload, payload},
    worker::v1::{
        AttemptCancelled, AttemptFailed, AttemptInterrupted, AttemptResult, AttemptSucceeded, ResultDisposition,
        attempt_result,
    },
};

use super::{
    Effect, Key, Machine, Urgent,
    attempt::{Attempt, Finished, Phase},
    timers::Timer,
};
use crate::{
    clock::Instant,
    ctx::CancelReason,
    job_error::{failure, fatal_failure},
    observe::{Disposition, Observed, Outcome},
    reason,
};

/// A result that stays without an answer on a live stream is sent again after this long, then after twice as long …
const RESEND_AFTER: Duration = Duration::from_secs(10);
const LONGEST_RESEND: Duration = Duration::from_secs(60);

/// How user code ended.
pub(crate) enum End {
    /// It returned a value, as JSON; empty for none.
    Returned(Vec<u8>),
    /// It failed.
    Failed(Failure),
    /// It said that it stopped because it was told to.
    Stopped,
    /// It was dropped.
    Dropped,
}

impl Machine {
    /// User code has ended, and its future is gone. Answers what that means; the result goes out with
    /// [`release`](Self::release).
    pub(crate) fn conclude(&mut self, key: &Key, end: End, now: Instant, wall: SystemTime) -> Outcome {
        let outcome = self.settle(key, end, Some(wall));
        self.vacate(key, now);
        // A thread may still be there.
        self.slot_is_lost(key);
        outcome
    }

    /// Makes the result of a running attempt; any other has none to make.
    pub(super) fn settle(&mut self, key: &Key, end: End, finish: Option<SystemTime>) -> Outcome {
        let next_log_offset = self.logs.next_offset(key);
        let Some(attempt) = self.attempts.get_mut(key) else { return Outcome::Discarded };
        let Phase::Running(running) = &attempt.phase else { return Outcome::Discarded };
        let why = running.stopping.as_ref().map(|stopping| &stopping.why);
        let outcome = judge(end, why, self.rules.max_inline_payload_bytes);
        let observed = observed(&outcome);
        let result = AttemptResult {
            attempt: Some(key.wire()),
            outcome: Some(outcome),
            start_time: Some(running.start_time.into()),
            finish_time: finish.map(Into::into),
            next_log_offset: Some(next_log_offset),
        };
        attempt.phase = Phase::Finished(Finished { result: Arc::new(result), released: false, sent: 0 });
        self.timers.unset(Timer::Execution(key.clone()));
        self.timers.unset(Timer::Kill(key.clone()));
        self.logs.close(key);
        observed
    }

    /// The result of a concluded attempt may go out.
    pub(crate) fn release(&mut self, key: &Key) {
        if let Some(Attempt { phase: Phase::Finished(finished), progress, .. }) = self.attempts.get_mut(key)
            && !finished.released
        {
            finished.released = true;
            if progress.latest.is_some() {
                self.urgent.push_back(Urgent::LastProgress(key.clone()));
            }
            self.urgent.push_back(Urgent::Result(key.clone()));
        }
    }

    pub(super) fn resend(&mut self, key: Key) {
        if matches!(self.attempts.get(&key), Some(Attempt { phase: Phase::Finished(_), .. })) {
            self.urgent.push_back(Urgent::Result(key));
        }
    }

    /// When a result that has now been sent `sent` times on this stream is sent again.
    pub(super) fn resend_at(now: Instant, sent: u32) -> Instant {
        now + LONGEST_RESEND.min(RESEND_AFTER * 2u32.saturating_pow(sent.saturating_sub(1).min(8)))
    }

    /// Rule (f): any disposition lets the worker forget a result.
    pub(crate) fn acked(&mut self, key: &Key, disposition: ResultDisposition, message: &str) {
        if !matches!(self.attempts.get(key), Some(Attempt { phase: Phase::Finished(_), .. })) {
            return;
        }
        let disposition = match disposition {
            ResultDisposition::Unspecified => return,
            ResultDisposition::Applied => Disposition::Applied,
            ResultDisposition::Duplicate => Disposition::Duplicate,
            ResultDisposition::Fenced => Disposition::Fenced,
            ResultDisposition::Invalid => Disposition::Invalid,
        };
        match disposition {
            Disposition::Applied | Disposition::Duplicate => {}
            Disposition::Fenced => {
                tracing::info!(run_id = %key.run_id, attempt = key.attempt, "the result came too late and was discarded");
                self.logs.forget(key);
            }
            Disposition::Invalid => {
                tracing::warn!(run_id = %key.run_id, attempt = key.attempt, "the server could not accept a result: {message}");
            }
        }
        self.let_go(key);
        let (run_id, attempt) = (key.run_id.to_string(), key.attempt);
        self.effects.push(Effect::Observe(Observed::Acked { run_id, attempt, disposition }));
    }
}

/// What is reported of an attempt that ended like this, having been told to stop for that.
fn judge(end: End, why: Option<&CancelReason>, max_output_bytes: usize) -> attempt_result::Outcome {
    let failed = |failure| attempt_result::Outcome::Failed(AttemptFailed { failure: Some(failure) });
    match (end, why) {
        (End::Returned(output), _) if output.len() > max_output_bytes => failed(fatal_failure(
            reason::OUTPUT_TOO_LARGE,
            format!("the output has {} bytes, and the server takes {max_output_bytes}", output.len()),
        )),
        (End::Returned(output), _) => attempt_result::Outcome::Succeeded(AttemptSucceeded { output: json(output) }),
        (End::Failed(failure), _) => failed(failure),
        (End::Stopped | End::Dropped, Some(CancelReason::Requested(_))) | (End::Stopped, None) => {
            attempt_result::Outcome::Cancelled(AttemptCancelled::default())
        }
        (End::Stopped | End::Dropped, Some(CancelReason::ExecutionTimeout)) => {
            failed(failure(reason::EXECUTION_TIMEOUT, "the execution timeout passed"))
        }
        (
            End::Stopped | End::Dropped,
            Some(CancelReason::Shutdown | CancelReason::LeaseLost | CancelReason::Abandoned),
        )
        | (End::Dropped, None) => attempt_result::Outcome::Interrupted(AttemptInterrupted::default()),
    }
}

fn json(output: Vec<u8>) -> Option<Payload> {
    let is_something = !output.is_empty();
    is_something.then(|| Payload { content_type: "application/json".into(), data: Some(payload::Data::Inline(output)) })
}

fn observed(outcome: &attempt_result::Outcome) -> Outcome {
    match outcome {
        attempt_result::Outcome::Succeeded(_) => Outcome::Succeeded,
        attempt_result::Outcome::Failed(AttemptFailed { failure }) => {
            Outcome::Failed { reason: failure.as_ref().map(|failure| failure.reason.clone()).unwrap_or_default() }
        }
        attempt_result::Outcome::Cancelled(_) => Outcome::Cancelled,
        attempt_result::Outcome::Interrupted(_) => Outcome::Interrupted,
    }
}
