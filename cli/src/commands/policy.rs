//! What `job create`, `trigger` and `submit` say alike: payload, retries, timeouts, labels.

use std::collections::BTreeMap;

use clap::Args;
use mainspring_proto::{
    common::v1::{Payload, RetryPolicy, Timeouts},
    scheduler::v1::RateLimit,
};

use super::retry::{RetryArgs, TimeoutArgs};
use crate::{failure::Failure, payload, rate::Rate};

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
    #[command(flatten)]
    pub(super) retry: RetryArgs,
    #[command(flatten)]
    pub(super) timeouts: TimeoutArgs,
    /// 0 to 9, higher first
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(0..=9))]
    pub(super) priority: Option<i32>,
    /// Within a priority, keys take turns: the many runs of one do not hold up the few of another; may be a template
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    pub(super) fairness_key: Option<String>,
    /// At most as many runs of this key are at workers at once as its limit says; none with ""
    ///
    /// It may be a template: ${payload.FIELD} stands for a field of the run's JSON payload, ${labels.NAME} for a label, $$ for
    /// a dollar sign.
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    pub(super) concurrency_key: Option<String>,
    /// The limit of the key from now on [default: as it is; 1 for a new key, or none where it has a rate]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(1..=1_000_000))]
    pub(super) concurrency_limit: Option<i32>,
    /// Attempts of the key begin no faster from now on: N/LENGTH, like 10/1m, or none [default: as it is]
    #[arg(long, value_name = "RATE")]
    concurrency_rate: Option<Rate>,
    /// So many at once after none began for long [default: 1]
    #[arg(long, value_name = "N", requires = "concurrency_rate", value_parser = clap::value_parser!(i32).range(1..=1_000_000))]
    concurrency_burst: Option<i32>,
    /// A label that a worker must have, may be repeated; on an update of a job KEY= takes one away
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    pub(super) require_label: Vec<(String, String)>,
}

impl PolicyArgs {
    pub(super) fn retry_policy(&self) -> Option<RetryPolicy> {
        self.retry.over(RetryPolicy::default())
    }

    pub(super) fn timeouts(&self) -> Option<Timeouts> {
        self.timeouts.over(Timeouts::default())
    }

    /// What is said of the rate of the key; that it has none is said by an empty one.
    pub(super) fn concurrency_rate(&self) -> Option<RateLimit> {
        self.concurrency_rate.map(|rate| rate.limit(self.concurrency_burst).unwrap_or_default())
    }
}

/// The labels that a worker must have; one without a value is none.
pub(super) fn required(labels: Vec<(String, String)>) -> BTreeMap<String, String> {
    labels.into_iter().filter(|(_, value)| !value.is_empty()).collect()
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
