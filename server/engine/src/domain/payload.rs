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

impl Payload {
    /// Whether it says that it is JSON, as workers read it: what has no media type is.
    pub fn is_json(&self) -> bool {
        let media = self.content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        matches!(media.as_str(), "" | "application/json" | "text/json") || media.ends_with("+json")
    }
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

/// A failure reason is at most so long.
const MAX_REASON: usize = 128;

/// The reason that is meant by a text, in UPPER_SNAKE_CASE: `SmtpBusy` and `smtp busy` are `SMTP_BUSY`.
///
/// A worker may write what its language calls an error, and its result is not refused over it. What is of this form
/// already stays.
pub fn reason_of(text: &str) -> String {
    let is_reason = text.starts_with(|c: char| c.is_ascii_uppercase())
        && text.bytes().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == b'_');
    let mut reason = if is_reason { text.into() } else { snake(text) };
    if reason.starts_with(|c: char| c.is_ascii_digit()) {
        reason.insert_str(0, "FAILED_");
    }
    // All of it is ASCII.
    reason.truncate(MAX_REASON);
    if reason.is_empty() { "FAILED".into() } else { reason }
}

fn snake(text: &str) -> String {
    let mut reason = String::new();
    let mut before: Option<char> = None;
    let mut rest = text.chars().peekable();
    // No more than could be kept is looked at.
    while let Some(c) = rest.next().filter(|_| reason.len() <= MAX_REASON) {
        let begins = c.is_ascii_uppercase()
            && before.is_some_and(|before| {
                let ends_acronym = before.is_ascii_uppercase() && rest.peek().is_some_and(char::is_ascii_lowercase);
                before.is_ascii_lowercase() || before.is_ascii_digit() || ends_acronym
            });
        if (begins || !c.is_ascii_alphanumeric()) && !reason.is_empty() && !reason.ends_with('_') {
            reason.push('_');
        }
        if c.is_ascii_alphanumeric() {
            reason.push(c.to_ascii_uppercase());
        }
        before = Some(c);
    }
    reason.trim_end_matches('_').into()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_brought_into_their_form() {
        for (text, reason) in [
            ("SMTP_BUSY", "SMTP_BUSY"),
            ("A__B_", "A__B_"),
            ("smtp busy", "SMTP_BUSY"),
            ("SmtpBusy", "SMTP_BUSY"),
            ("HTTPError", "HTTP_ERROR"),
            ("java.lang.NullPointerException", "JAVA_LANG_NULL_POINTER_EXCEPTION"),
            ("no-luck!", "NO_LUCK"),
            ("_x", "X"),
            ("404", "FAILED_404"),
            ("größe\n\u{1b}[m", "GR_E_M"),
            ("", "FAILED"),
            ("…", "FAILED"),
        ] {
            assert_eq!(reason_of(text), reason, "{text}");
            assert_eq!(reason_of(reason), reason);
        }
        assert_eq!(reason_of(&"X".repeat(1_000)), "X".repeat(128));
        assert_eq!(reason_of(&"x".repeat(1_000)), "X".repeat(128));
        assert!(reason_of(&"1".repeat(1_000)).len() == 128);
    }

    #[test]
    fn what_has_no_media_type_is_json() {
        for (media, is_json) in [
            ("", true),
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/vnd.api+json", true),
            ("application/octet-stream", false),
            ("text/plain", false),
        ] {
            assert_eq!(Payload { content_type: media.into(), data: Vec::new() }.is_json(), is_json, "{media}");
        }
    }
}
