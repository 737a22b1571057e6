//! What the user promised a run: retries, timeouts, delivery.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    ids::RunId,
    instant::Instant,
    payload::{Failure, reason_of},
};

/// When failed attempts are followed by another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RetryPolicy {
    /// Attempts in all that may fail or time out; 1 means no retry.
    pub max_attempts: u32,
    /// Delay before the second attempt.
    pub initial_backoff: Duration,
    /// Growth of the delay per attempt.
    pub multiplier: f64,
    /// The delay never exceeds this.
    pub max_backoff: Duration,
    /// Share of the delay that is spread.
    pub jitter: f64,
    /// No retry starts later than this after the run was created.
    pub max_elapsed: Option<Duration>,
    /// Failure reasons that end the run at once.
    pub non_retryable_reasons: Vec<String>,
    /// Whether an attempt that timed out is retried.
    pub retry_timeouts: bool,
    /// Attempts that may be lost with their worker.
    pub max_losses: u32,
    /// What else ends the retries.
    pub until: RetryUntil,
}

/// Until when there are retries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryUntil {
    /// As often and as long as the policy says.
    #[default]
    Budget,
    /// None begins at the next instant of the schedule, or after it.
    NextOccurrence,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            initial_backoff: Duration::from_secs(5),
            multiplier: 2.0,
            max_backoff: Duration::from_secs(3600),
            jitter: 0.1,
            max_elapsed: None,
            non_retryable_reasons: Vec::new(),
            retry_timeouts: true,
            max_losses: 3,
            until: RetryUntil::Budget,
        }
    }
}

/// How long things may take; `None` is no limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Timeouts {
    /// QUEUED until LEASED.
    pub queue: Option<Duration>,
    /// Start of an attempt until its result.
    pub execution: Option<Duration>,
    /// Creation until the end, all attempts.
    pub total: Option<Duration>,
    /// Told to stop until ended without the worker; `None` is the server's default.
    pub stop_grace: Option<Duration>,
    /// One sign of life of an attempt until the next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        let execution = Some(Duration::from_secs(3600));
        Self { queue: None, execution, total: None, stop_grace: None, heartbeat: None }
    }
}

/// How often a run may start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// A run whose worker is lost starts again elsewhere.
    #[default]
    AtLeastOnce,
    /// A run starts at most once.
    AtMostOnce,
}

/// What a worker does that can no longer prove its lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaseLossPolicy {
    /// Keep running; the fencing token decides whether the result counts.
    #[default]
    Continue,
    /// Stop before the lease can be given to another worker.
    Stop,
}

/// Everything a run was promised.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunPolicy {
    /// Retries.
    pub retry: RetryPolicy,
    /// Timeouts.
    pub timeouts: Timeouts,
    /// Delivery.
    pub delivery: Delivery,
    /// Lease loss.
    pub lease_loss: LeaseLossPolicy,
}

impl RunPolicy {
    /// Whether the run may start only once.
    pub fn at_most_once(&self) -> bool {
        self.delivery == Delivery::AtMostOnce
    }

    /// What a worker is told to do when it loses the lease.
    pub fn effective_lease_loss(&self) -> LeaseLossPolicy {
        if self.at_most_once() { LeaseLossPolicy::Stop } else { self.lease_loss }
    }
}

impl RetryPolicy {
    /// When the attempt after `failures` failed ones starts, or `None` when there is none.
    ///
    /// `failures` counts the one that just ended. A handler's hint overrules reason and delay, never the cap.
    pub fn next_attempt(
        &self,
        run: RunId,
        failures: u32,
        failure: &Failure,
        created: Instant,
        now: Instant,
    ) -> Option<Instant> {
        let hint = failure.hint;
        let wanted = hint.and_then(|hint| hint.retry).unwrap_or_else(|| !self.rules_out(&failure.reason));
        if !wanted || failures >= self.max_attempts {
            return None;
        }
        let delay = hint.and_then(|hint| hint.delay).unwrap_or_else(|| self.backoff(run, failures));
        let at = now.plus(delay);
        match self.max_elapsed {
            Some(bound) if at > created.plus(bound) => None,
            _ => Some(at),
        }
    }

    /// Whether a failure's reason is one of those, however the policy's author wrote it.
    fn rules_out(&self, reason: &str) -> bool {
        self.non_retryable_reasons.iter().any(|written| written == reason || reason_of(written) == reason)
    }

    /// The delay after `failures` failed attempts, spread by a hash of (run, failures) so that a restart computes the
    /// same one, and so does the next version.
    pub fn backoff(&self, run: RunId, failures: u32) -> Duration {
        let exponent = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
        if self.initial_backoff.is_zero() {
            // However often it is multiplied; zero times infinity would be no number at all.
            return Duration::ZERO;
        }
        let grown = self.initial_backoff.as_secs_f64() * self.multiplier.powi(exponent);
        let capped = grown.min(self.max_backoff.as_secs_f64());
        #[expect(clippy::cast_precision_loss, reason = "a share of the delay needs no 64 bits")]
        let share = (spread(run.uuid(), failures) >> 11) as f64 / (1_u64 << 53) as f64;
        // At the cap there is no room above, and what came there together should not stay together: the whole spread lies below.
        let lowest = capped * (1.0 - self.jitter);
        let highest = (capped * (1.0 + self.jitter)).min(self.max_backoff.as_secs_f64());
        let spread = lowest + share * (highest - lowest);
        Duration::try_from_secs_f64(spread.max(0.0)).map_or(self.max_backoff, |delay| delay.min(self.max_backoff))
    }
}

/// FNV-1a with a last mix: a hash that is the same in every build, which the standard library's is not.
pub(super) fn spread(id: uuid::Uuid, failures: u32) -> u64 {
    let bytes = id.into_bytes().into_iter().chain(failures.to_be_bytes());
    let hash =
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let mixed = (hash ^ hash >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ mixed >> 33
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::{Failure, Instant, RetryPolicy, RunId};
    use crate::domain::payload::RetryHint;

    fn failed(reason: &str) -> Failure {
        Failure::of_platform(reason, "")
    }

    #[test]
    fn delays_grow_to_the_cap() {
        let policy = RetryPolicy { jitter: 0.0, max_backoff: Duration::from_secs(15), ..RetryPolicy::default() };
        let run = RunId::new(Instant::EPOCH);
        let delays = [1, 2, 3, 4, 400].map(|failures| policy.backoff(run, failures).as_secs());
        assert_eq!(delays, [5, 10, 15, 15, 15]);
    }

    #[test]
    fn no_backoff_stays_none_however_often_it_grows() {
        let policy = RetryPolicy {
            initial_backoff: Duration::ZERO,
            multiplier: f64::MAX,
            jitter: 1.0,
            ..RetryPolicy::default()
        };
        let run = RunId::new(Instant::EPOCH);
        for failures in [1, 2, 1_000, u32::MAX] {
            assert_eq!(policy.backoff(run, failures), Duration::ZERO);
        }
    }

    #[test]
    fn delays_are_spread_the_same_in_every_build() {
        let policy = RetryPolicy { jitter: 0.5, ..RetryPolicy::default() };
        let delay = |run, failures| policy.backoff(RunId::from_uuid(uuid::Uuid::from_u128(run)), failures).as_millis();
        assert_eq!([delay(1, 1), delay(2, 1), delay(1, 2)], [4_434, 6_237, 5_429]);
        // Over all runs, nothing but the whole range.
        let delays: Vec<_> = (0..1_000).map(|run| delay(run, 1)).collect();
        assert!(delays.iter().all(|delay| (2_500..=7_500).contains(delay)));
        let low = delays.iter().filter(|delay| **delay < 5_000).count();
        assert!((400..600).contains(&low), "{low} of 1000 are below the middle");
    }

    #[test]
    fn what_has_come_to_the_cap_is_spread_as_well() {
        let policy = RetryPolicy { jitter: 0.2, max_backoff: Duration::from_secs(100), ..RetryPolicy::default() };
        let delay = |run| policy.backoff(RunId::from_uuid(uuid::Uuid::from_u128(run)), 30).as_secs();
        let mut tenths = [0; 10];
        (0..1_000).for_each(|run| tenths[usize::try_from((delay(run) - 80) / 2).unwrap()] += 1);
        assert!(tenths.iter().all(|tenth| (60..150).contains(tenth)), "{tenths:?}");
    }

    #[test]
    fn a_hint_overrules_reason_and_delay_but_not_the_cap() {
        let policy = RetryPolicy { non_retryable_reasons: vec!["BAD".into()], ..RetryPolicy::default() };
        let (run, now) = (RunId::new(Instant::EPOCH), Instant::from_micros(10));
        let next = |failures, failure: &Failure| policy.next_attempt(run, failures, failure, Instant::EPOCH, now);
        assert_eq!(next(1, &failed("BAD")), None);
        let written = RetryPolicy { non_retryable_reasons: vec!["SmtpBusy".into()], ..RetryPolicy::default() };
        assert_eq!(written.next_attempt(run, 1, &failed("SMTP_BUSY"), Instant::EPOCH, now), None);
        let again = RetryHint { retry: Some(true), delay: Some(Duration::from_secs(1)) };
        let hinted = Failure { hint: Some(again), ..failed("BAD") };
        assert_eq!(next(1, &hinted), Some(now.plus(Duration::from_secs(1))));
        assert_eq!(next(3, &hinted), None);
        let never = Failure { hint: Some(RetryHint { retry: Some(false), delay: None }), ..failed("X") };
        assert_eq!(next(1, &never), None);
    }

    proptest! {
        #[test]
        fn delays_are_bounded_and_repeatable(failures in 1_u32..200, jitter in 0.0..1.0_f64, seed in 0_i64..1_000_000) {
            let policy = RetryPolicy { jitter, ..RetryPolicy::default() };
            let run = RunId::new(Instant::from_micros(seed));
            let delay = policy.backoff(run, failures);
            prop_assert!(delay <= policy.max_backoff);
            prop_assert_eq!(delay, policy.backoff(run, failures));
        }
    }
}
