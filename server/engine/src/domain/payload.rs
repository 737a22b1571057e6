//! User data and user failures: carried, stored and shown, never interpreted.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Input or output of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payload {
    /// IANA media type.
    pub content_type: String,
    /// The bytes.
    pub data: Vec<u8>,
}

/// Why user code, or an attempt at it, failed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// UPPER_SNAKE_CASE.
    pub reason: String,
    /// One line for a person.
    pub message: String,
    /// Where it happened.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stack_trace: String,
    /// More, for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<FailureDetails>,
    /// The handler's wish about the next attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<RetryHint>,
    /// What led to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Box<Failure>>,
}

impl Failure {
    /// About how many bytes it takes, with what led to it.
    pub fn weight(&self) -> usize {
        let Self { reason, message, stack_trace, details, hint: _, cause } = self;
        let details = details.as_ref().map_or(0, |details| details.data.len());
        let cause = cause.as_ref().map_or(0, |cause| cause.weight());
        reason.len() + message.len() + stack_trace.len() + details + cause
    }

    /// A failure that the platform itself tells of.
    pub fn of_platform(reason: &str, message: impl Into<String>) -> Self {
        Self { reason: reason.into(), message: message.into(), ..Self::default() }
    }
}

/// Details of a failure, as the handler wrote them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureDetails {
    /// IANA media type.
    pub content_type: String,
    /// The bytes.
    pub data: Vec<u8>,
}

/// A handler's wish about the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryHint {
    /// `Some(true)`: retry even where the reason says not to. `Some(false)`: never. `None`: the policy decides.
    pub retry: Option<bool>,
    /// Instead of the policy's delay, for the next attempt only.
    pub delay: Option<Duration>,
}
