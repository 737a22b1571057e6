//! What `job create`, `trigger` and `submit` say alike: payload, retries, timeouts, labels.

use std::collections::BTreeMap;

use clap::Args;
use mainspring_proto::common::v1::{Payload, RetryPolicy, Timeouts};

use crate::{failure::Failure, payload, times::Length};

/// Input of a run.
#[derive(Args, Debug)]
pub(crate) struct PayloadArgs {
    /// Payload: KEY=TEXT, KEY:=JSON, @FILE, - (stdin) or a whole JSON value; may be repeated
    ///
    /// A text that begins with `{`, `[` or `"` is JSON, and so is one without `=` that can be read as JSON: 5, true, null.
    /// Fields after an object are put into it.
    #[arg(short, long = "data", value_name = "DATA", allow_hyphen_values = true)]
    data: Vec<String>,
}

impl PayloadArgs {
    pub(super) fn payload(&self) -> Result<Option<Payload>, Failure> {
        payload::from_arguments(&self.data).map_err(Failure::usage)
    }
}

/// Retries and timeouts of a run.
#[derive(Args, Debug)]
pub(crate) struct PolicyArgs {
    /// Attempts in all; 1 means no retry [default: the server's, 3]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(1..))]
    max_attempts: Option<i32>,
    /// Delay before the second attempt, then doubled [default: the server's, 5s]
    #[arg(long, value_name = "LENGTH", allow_hyphen_values = true)]
    backoff: Option<Length>,
    /// How long an attempt may run; 0s means forever [default: the server's, 1h]
    #[arg(long, value_name = "LENGTH", allow_hyphen_values = true)]
    timeout: Option<Length>,
    /// 0 to 9, higher first
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(0..=9))]
    pub(super) priority: Option<i32>,
    /// Within a priority, keys take turns: the many runs of one do not hold up the few of another
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    pub(super) fairness_key: Option<String>,
    /// At most as many runs of this key are at workers at once as its limit says; none with ""
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    pub(super) concurrency_key: Option<String>,
    /// The limit of the key from now on [default: as it is, 1 for a new key]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(1..=1_000_000))]
    pub(super) concurrency_limit: Option<i32>,
}

impl PolicyArgs {
    pub(super) fn retry_policy(&self) -> Option<RetryPolicy> {
        (self.max_attempts.is_some() || self.backoff.is_some()).then(|| RetryPolicy {
            max_attempts: self.max_attempts,
            initial_backoff: self.backoff.map(Length::to_proto),
            ..RetryPolicy::default()
        })
    }

    pub(super) fn timeouts(&self) -> Option<Timeouts> {
        self.timeout.map(|length| Timeouts { execution: Some(length.to_proto()), ..Timeouts::default() })
    }
}

/// A label as typed.
pub(super) fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.into(), value.into())),
        Some(_) | None => Err("a label is KEY=VALUE".into()),
    }
}

/// The labels, the last of a key wins.
pub(super) fn labels(labels: Vec<(String, String)>) -> BTreeMap<String, String> {
    labels.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::PolicyArgs;

    #[test]
    fn a_policy_is_sent_only_where_something_was_said() {
        let mut args = PolicyArgs {
            max_attempts: None,
            backoff: None,
            timeout: None,
            priority: None,
            fairness_key: None,
            concurrency_key: None,
            concurrency_limit: None,
        };
        assert!(args.retry_policy().is_none() && args.timeouts().is_none());
        args.backoff = Some("250ms".parse().unwrap());
        args.timeout = Some("0s".parse().unwrap());
        let policy = args.retry_policy().unwrap();
        assert_eq!((policy.max_attempts, policy.initial_backoff.unwrap().nanos), (None, 250_000_000));
        assert_eq!(args.timeouts().unwrap().execution.unwrap().seconds, 0);
    }
}
