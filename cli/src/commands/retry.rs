//! When failed attempts are tried again and how long things may take, as `job create`, `job update`, `trigger` and `submit`
//! take it. What is not said is left as it is, or to the server.

use clap::{Args, ValueEnum};
use mainspring_proto::common::v1::{Delivery, LeaseLossPolicy, RetryPolicy, RetryUntil, Timeouts};

use crate::times::Length;

/// When failed attempts are tried again.
#[derive(Args, Debug, Default)]
pub(super) struct RetryArgs {
    /// Attempts in all; 1 means no retry [default: the server's, 3]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(1..))]
    max_attempts: Option<i32>,
    /// Delay before the second attempt [default: the server's, 5s]
    #[arg(long, value_name = "LENGTH", allow_hyphen_values = true)]
    backoff: Option<Length>,
    /// Each delay is so many times the one before [default: the server's, 2]
    #[arg(long, value_name = "FACTOR", allow_negative_numbers = true)]
    multiplier: Option<f64>,
    /// No delay is longer [default: the server's, 1h]
    #[arg(long, value_name = "LENGTH", allow_hyphen_values = true)]
    max_backoff: Option<Length>,
    /// Share of a delay that is spread, 0 to 1 [default: the server's, 0.1]
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true)]
    backoff_jitter: Option<f64>,
    /// No attempt starts later than this after the run was made [default: no bound]
    #[arg(long, value_name = "LENGTH", allow_hyphen_values = true)]
    max_elapsed: Option<Length>,
    /// Failures of this reason are not tried again; may be repeated, and replaces those there were
    #[arg(long, value_name = "REASON")]
    no_retry_on: Vec<String>,
    /// Whether attempts that took too long are tried again [default: the server's, true]
    #[arg(long, value_name = "BOOL")]
    retry_timeouts: Option<bool>,
    /// Attempts that may be lost with their worker; they cost no retry [default: the server's, 3]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(1..))]
    max_losses: Option<i32>,
    /// Until when attempts that failed are tried again [default: the server's, budget]
    #[arg(long, value_name = "UNTIL")]
    retry_until: Option<RetryUntilArg>,
}

/// [`RetryUntil`] as typed.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum RetryUntilArg {
    /// As often and as long as the rest says.
    Budget,
    /// Before the schedule is due again.
    NextOccurrence,
}

impl From<RetryUntilArg> for RetryUntil {
    fn from(until: RetryUntilArg) -> Self {
        match until {
            RetryUntilArg::Budget => Self::Budget,
            RetryUntilArg::NextOccurrence => Self::NextOccurrence,
        }
    }
}

impl RetryArgs {
    /// A policy with what was said put into it; none where nothing was.
    pub(super) fn over(&self, policy: RetryPolicy) -> Option<RetryPolicy> {
        let Self {
            max_attempts,
            backoff,
            multiplier,
            max_backoff,
            backoff_jitter,
            max_elapsed,
            no_retry_on,
            retry_timeouts,
            max_losses,
            retry_until,
        } = self;
        let length = |length: &Option<Length>| length.map(Length::to_proto);
        let reasons = if no_retry_on.is_empty() { policy.non_retryable_reasons.clone() } else { no_retry_on.clone() };
        let changed = RetryPolicy {
            max_attempts: max_attempts.or(policy.max_attempts),
            initial_backoff: length(backoff).or(policy.initial_backoff),
            multiplier: multiplier.unwrap_or(policy.multiplier),
            max_backoff: length(max_backoff).or(policy.max_backoff),
            jitter: backoff_jitter.or(policy.jitter),
            max_elapsed: length(max_elapsed).or(policy.max_elapsed),
            non_retryable_reasons: reasons,
            retry_timeouts: retry_timeouts.or(policy.retry_timeouts),
            max_losses: max_losses.or(policy.max_losses),
            retry_until: retry_until.map_or(policy.retry_until, |until| RetryUntil::from(until).into()),
        };
        let is_said = max_attempts.is_some()
            || backoff.is_some()
            || multiplier.is_some()
            || max_backoff.is_some()
            || backoff_jitter.is_some()
            || max_elapsed.is_some()
            || !no_retry_on.is_empty()
            || retry_timeouts.is_some()
            || max_losses.is_some()
            || retry_until.is_some();
        is_said.then_some(changed)
    }
}

/// How long things may take.
#[derive(Args, Debug, Default)]
pub(crate) struct TimeoutArgs {
    /// How long an attempt may run; 0s means forever [default: the server's, 1h]
    #[arg(long, value_name = "LENGTH", allow_hyphen_values = true)]
    timeout: Option<Length>,
    /// How long the run may wait for a worker; 0s means forever [default: the server's, forever]
    #[arg(long, value_name = "LENGTH", allow_hyphen_values = true)]
    queue_timeout: Option<Length>,
    /// How long the run may take with all its waits and attempts; 0s means forever [default: the server's, forever]
    #[arg(long, value_name = "LENGTH", allow_hyphen_values = true)]
    total_timeout: Option<Length>,
    /// How long an attempt may take to stop that is told to; never less than a lease [default: the server's]
    #[arg(long, value_name = "LENGTH", allow_hyphen_values = true)]
    stop_grace: Option<Length>,
    /// How long an attempt may be without a sign of life, progress or log lines; 0s means forever [default: the server's, forever]
    #[arg(long, value_name = "LENGTH", allow_hyphen_values = true)]
    heartbeat_timeout: Option<Length>,
}

impl TimeoutArgs {
    /// Timeouts with what was said put into them; none where nothing was.
    pub(super) fn over(&self, timeouts: Timeouts) -> Option<Timeouts> {
        let Self { timeout, queue_timeout, total_timeout, stop_grace, heartbeat_timeout } = self;
        let or = |said: &Option<Length>, stored| said.map(Length::to_proto).or(stored);
        let changed = Timeouts {
            queue: or(queue_timeout, timeouts.queue),
            execution: or(timeout, timeouts.execution),
            total: or(total_timeout, timeouts.total),
            stop_grace: or(stop_grace, timeouts.stop_grace),
            heartbeat: or(heartbeat_timeout, timeouts.heartbeat),
        };
        let said = [timeout, queue_timeout, total_timeout, stop_grace, heartbeat_timeout];
        said.into_iter().any(Option::is_some).then_some(changed)
    }
}

/// How often a run may start.
#[derive(Args, Debug, Default)]
pub(super) struct DeliveryArgs {
    /// Whether a run whose worker is lost starts again [default: at-least-once]
    #[arg(long, value_name = "HOW")]
    delivery: Option<DeliveryArg>,
    /// What a worker does that can no longer prove its lease [default: continue; with at-most-once: stop]
    #[arg(long, value_name = "WHAT")]
    lease_loss: Option<LeaseLossArg>,
}

/// [`Delivery`] as typed.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum DeliveryArg {
    /// It starts again elsewhere.
    AtLeastOnce,
    /// It starts once, or not at all.
    AtMostOnce,
}

/// [`LeaseLossPolicy`] as typed.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum LeaseLossArg {
    /// It goes on; the result may be refused.
    Continue,
    /// It stops before another worker can begin.
    Stop,
}

impl DeliveryArgs {
    /// For the wire.
    pub(super) fn delivery(&self) -> Option<Delivery> {
        self.delivery.map(|delivery| match delivery {
            DeliveryArg::AtLeastOnce => Delivery::AtLeastOnce,
            DeliveryArg::AtMostOnce => Delivery::AtMostOnce,
        })
    }

    /// For the wire.
    pub(super) fn lease_loss(&self) -> Option<LeaseLossPolicy> {
        self.lease_loss.map(|policy| match policy {
            LeaseLossArg::Continue => LeaseLossPolicy::Continue,
            LeaseLossArg::Stop => LeaseLossPolicy::Stop,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        retry: RetryArgs,
        #[command(flatten)]
        timeouts: TimeoutArgs,
        #[command(flatten)]
        delivery: DeliveryArgs,
    }

    fn line(words: &[&str]) -> Line {
        Line::try_parse_from(["line"].iter().chain(words)).unwrap()
    }

    #[test]
    fn nothing_is_sent_where_nothing_was_said() {
        let Line { retry, timeouts, delivery } = line(&[]);
        assert_eq!((retry.over(RetryPolicy::default()), timeouts.over(Timeouts::default())), (None, None));
        assert_eq!((delivery.delivery(), delivery.lease_loss()), (None, None));
    }

    #[test]
    fn what_was_said_is_put_into_what_there_was() {
        let stored = RetryPolicy {
            max_attempts: Some(9),
            jitter: Some(0.5),
            non_retryable_reasons: vec!["OLD".into()],
            ..RetryPolicy::default()
        };
        let said =
            line(&["--max-losses", "2", "--multiplier", "3", "--max-backoff", "1m", "--retry-timeouts", "false"]);
        let policy = said.retry.over(stored.clone()).unwrap();
        assert_eq!((policy.max_attempts, policy.jitter, policy.max_losses), (Some(9), Some(0.5), Some(2)));
        assert_eq!((policy.multiplier, policy.max_backoff.unwrap().seconds), (3.0, 60));
        assert_eq!((policy.retry_timeouts, policy.non_retryable_reasons), (Some(false), vec!["OLD".to_owned()]));
        let said = line(&["--no-retry-on", "A", "--no-retry-on", "B", "--max-elapsed", "1h", "--backoff", "250ms"]);
        let policy = said.retry.over(stored).unwrap();
        assert_eq!(policy.non_retryable_reasons, ["A", "B"]);
        assert_eq!((policy.max_elapsed.unwrap().seconds, policy.initial_backoff.unwrap().nanos), (3_600, 250_000_000));
        let said = line(&["--timeout", "0s", "--queue-timeout", "5m", "--total-timeout", "1h", "--stop-grace", "10s"]);
        let told = said.timeouts.over(Timeouts::default()).unwrap();
        let seconds = [told.execution, told.queue, told.total, told.stop_grace].map(|length| length.unwrap().seconds);
        assert_eq!(seconds, [0, 300, 3_600, 10]);
        let said = line(&["--delivery", "at-most-once", "--lease-loss", "stop"]).delivery;
        assert_eq!((said.delivery(), said.lease_loss()), (Some(Delivery::AtMostOnce), Some(LeaseLossPolicy::Stop)));
    }
}
