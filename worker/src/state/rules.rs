//! The rules of a session, as Welcome states them.

use std::time::Duration;

use mainspring_proto::worker::v1::{Capability, Limits, Welcome};

/// What the server said last; before its first word, the protocol's defaults.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) heartbeat_interval: Duration,
    pub(super) lease_ttl: Duration,
    pub(super) silence_timeout: Duration,
    pub(super) start_window: Duration,
    pub(super) min_progress_interval: Duration,
    pub(super) max_inline_payload_bytes: usize,
    pub(super) max_log_batch_bytes: usize,
    pub(super) max_log_line_bytes: usize,
    /// Whether the server takes logs.
    pub(super) logs: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            heartbeat_interval: Duration::from_secs(5),
            lease_ttl: Duration::from_secs(30),
            silence_timeout: Duration::from_secs(30),
            start_window: Duration::from_secs(15),
            min_progress_interval: Duration::from_secs(1),
            max_inline_payload_bytes: 1 << 20,
            max_log_batch_bytes: 64 << 10,
            max_log_line_bytes: 16 << 10,
            logs: true,
        }
    }
}

impl Rules {
    pub(super) fn of(welcome: &Welcome) -> Self {
        let default = Self::default();
        let limits = welcome.limits.unwrap_or_default();
        let Limits {
            max_message_bytes,
            max_inline_payload_bytes,
            max_log_batch_bytes,
            min_progress_interval,
            max_log_line_bytes,
        } = limits;
        // A result is more than its payload; leave it room, or the message could never be sent.
        let largest_payload = size(max_message_bytes, super::MAX_MESSAGE_BYTES).min(super::MAX_MESSAGE_BYTES) * 3 / 4;
        Self {
            heartbeat_interval: length(welcome.heartbeat_interval).unwrap_or(default.heartbeat_interval),
            lease_ttl: length(welcome.lease_ttl).unwrap_or(default.lease_ttl),
            silence_timeout: length(welcome.silence_timeout).unwrap_or(default.silence_timeout),
            start_window: length(welcome.start_window).unwrap_or(default.start_window),
            min_progress_interval: length(min_progress_interval).unwrap_or(default.min_progress_interval),
            max_inline_payload_bytes: size(max_inline_payload_bytes, default.max_inline_payload_bytes)
                .min(largest_payload),
            max_log_batch_bytes: size(max_log_batch_bytes, default.max_log_batch_bytes)
                .min(default.max_log_batch_bytes),
            max_log_line_bytes: size(max_log_line_bytes, default.max_log_line_bytes).min(default.max_log_line_bytes),
            logs: welcome.capabilities().any(|capability| capability == Capability::Logs),
        }
    }
}

/// A length that was given and is longer than nothing.
pub(super) fn length(length: Option<prost_types::Duration>) -> Option<Duration> {
    length.and_then(|length| Duration::try_from(length).ok()).filter(|length| !length.is_zero())
}

fn size(bytes: i32, default: usize) -> usize {
    usize::try_from(bytes).ok().filter(|bytes| *bytes > 0).unwrap_or(default)
}
