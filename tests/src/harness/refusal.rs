//! What a refused call was told, in the contract's form: code, reason, details, advice.

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// A refusal, taken apart.
#[derive(Debug)]
pub struct Told {
    /// The canonical code.
    pub code: Code,
    /// The reason of `ErrorInfo`.
    pub reason: String,
    /// What it is for people.
    pub message: String,
    /// What `ErrorInfo` says beside the reason.
    pub metadata: HashMap<String, String>,
    /// When to try again.
    pub retry_after: Option<Duration>,
}

impl Told {
    /// Takes a status apart, which must be in the contract's form.
    #[track_caller]
    pub fn of(status: &Status) -> Self {
        let info = status.get_details_error_info();
        let info = info.unwrap_or_else(|| panic!("a status without ErrorInfo: {status:?}"));
        assert_eq!(info.domain, "mainspring.dev", "{status:?}");
        Self {
            code: status.code(),
            reason: info.reason,
            message: status.message().to_owned(),
            metadata: info.metadata,
            retry_after: status.get_details_retry_info().and_then(|retry| retry.retry_delay),
        }
    }

    /// It is this refusal.
    #[track_caller]
    pub fn is(&self, code: Code, reason: &str) {
        assert_eq!((self.code, self.reason.as_str()), (code, reason), "{self:?}");
    }

    /// It tells programs this.
    #[track_caller]
    pub fn has(&self, key: &str, value: &str) {
        assert_eq!(self.metadata.get(key).map(String::as_str), Some(value), "{self:?}");
    }

    /// It tells people this.
    #[track_caller]
    pub fn advises(&self, advice: &str) {
        assert!(self.message.contains(advice), "`{advice}` is not in {self:?}");
    }

    /// It says that trying again is worth it, and when.
    #[track_caller]
    pub fn is_passing(&self) {
        assert!(self.retry_after.is_some_and(|delay| !delay.is_zero()), "no RetryInfo: {self:?}");
    }
}
