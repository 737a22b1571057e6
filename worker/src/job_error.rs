//! How a handler says that it failed, and what it wishes for the next attempt.

use std::{
    error::Error as StdError,
    fmt::{self, Debug, Display},
    io,
    time::Duration,
};

use mainspring_proto::common::v1::{Failure, Payload, RetryDecision, RetryHint, payload};

use crate::{reason, service::HandlerError};

/// The contract: deeper causes are cut.
const MAX_CAUSES: usize = 8;
/// The contract: more is cut by the server.
const MAX_MESSAGE_BYTES: usize = 4 << 10;
const MAX_TRACE_BYTES: usize = 16 << 10;
const MAX_DETAILS_BYTES: usize = 64 << 10;

/// Why a handler did not finish.
///
/// `?` turns any standard error into a failure that the job's retry policy judges. (For that, `JobError` is on purpose
/// not a standard error itself.) Say more with the constructors and methods:
///
/// ```
/// # use std::time::Duration;
/// # use mainspring_worker::JobError;
/// let error = JobError::retryable("the mail server is busy").reason("SMTP_BUSY").retry_after(Duration::from_secs(90));
/// let fatal = JobError::fatal("this address does not exist").reason("NO_SUCH_ADDRESS");
/// # let _ = (error, fatal);
/// ```
#[derive(Clone)]
pub enum JobError {
    /// The handler stopped because it was told to: the run was cancelled or timed out, or the worker is leaving.
    Cancelled,
    /// The handler failed.
    Failed(Box<JobFailure>),
}

/// A handler's failure. Made by the constructors of [`JobError`].
#[derive(Clone)]
pub struct JobFailure(pub(crate) Failure);

impl JobError {
    /// A failure that the job's retry policy judges: usually there is another attempt.
    ///
    /// Takes a string, any standard error, or an `anyhow::Error`.
    pub fn retryable(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::of(&*error.into())
    }

    /// A failure that another attempt would not mend: the run ends FAILED.
    pub fn fatal(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::of(&*error.into()).do_not_retry()
    }

    /// Names the failure, in `UPPER_SNAKE_CASE`. A job's retry policy can list reasons that are not retried.
    #[must_use]
    pub fn reason(self, reason: impl Into<String>) -> Self {
        self.with(|failure| failure.reason = reason.into())
    }

    /// Asks for another attempt even where the policy does not retry this reason; never beyond `max_attempts`.
    #[must_use]
    pub fn retry(self) -> Self {
        self.with(|failure| hint(failure).decision = RetryDecision::Retry.into())
    }

    /// Ends the run: no other attempt.
    #[must_use]
    pub fn do_not_retry(self) -> Self {
        self.with(|failure| hint(failure).decision = RetryDecision::DoNotRetry.into())
    }

    /// Sets the delay before the next attempt, in place of the policy's backoff. Whether there is one stays the policy's
    /// decision (see [`retry`](Self::retry)).
    #[must_use]
    pub fn retry_after(self, delay: Duration) -> Self {
        self.with(|failure| hint(failure).next_retry_delay = prost_types::Duration::try_from(delay).ok())
    }

    /// Attaches data for programs, as JSON. What cannot be written as JSON, or is larger than 64 KiB, is left out.
    #[must_use]
    pub fn details(self, details: &impl serde::Serialize) -> Self {
        let Ok(bytes) = serde_json::to_vec(details) else { return self };
        if bytes.len() > MAX_DETAILS_BYTES {
            return self;
        }
        self.with(|failure| {
            failure.details =
                Some(Payload { content_type: "application/json".into(), data: Some(payload::Data::Inline(bytes)) });
        })
    }

    /// The failure as the contract writes it; `None` for [`Cancelled`](Self::Cancelled).
    pub(crate) fn into_failure(self) -> Option<Failure> {
        match self {
            Self::Cancelled => None,
            Self::Failed(failure) => Some(failure.0),
        }
    }

    pub(crate) fn failed(reason: &str, message: impl Into<String>) -> Self {
        Self::Failed(Box::new(JobFailure(failure(reason, message))))
    }

    /// A [`Cancelled`] anywhere in the chain means that the handler was stopped, however often it was wrapped since; a
    /// [`HandlerError`] is the handler's own word, whatever layer carried it.
    fn of(error: &(dyn StdError + 'static)) -> Self {
        for cause in std::iter::successors(Some(error), |error| inner(*error)) {
            if cause.is::<Cancelled>() {
                return Self::Cancelled;
            }
            if let Some(HandlerError(own)) = cause.downcast_ref() {
                return own.clone();
            }
        }
        Self::Failed(Box::new(JobFailure(describe(error, MAX_CAUSES))))
    }

    fn with(mut self, change: impl FnOnce(&mut Failure)) -> Self {
        if let Self::Failed(failure) = &mut self {
            change(&mut failure.0);
        }
        self
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for JobError {
    fn from(error: E) -> Self {
        Self::of(&error)
    }
}

impl Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled => Display::fmt(&Cancelled, f),
            Self::Failed(failure) => f.write_str(&failure.0.message),
        }
    }
}

impl Debug for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled => f.write_str("Cancelled"),
            Self::Failed(failure) => Debug::fmt(&failure, f),
        }
    }
}

impl Debug for JobFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Failed({}: {:?})", self.0.reason, self.0.message)
    }
}

impl JobFailure {
    /// The reason, in `UPPER_SNAKE_CASE`.
    pub fn reason(&self) -> &str {
        &self.0.reason
    }

    /// The sentence for people.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Whether the handler ruled out another attempt.
    pub fn is_fatal(&self) -> bool {
        self.0.retry_hint.as_ref().is_some_and(|hint| hint.decision() == RetryDecision::DoNotRetry)
    }
}

/// The run was told to stop. Pass it on with `?`: it becomes [`JobError::Cancelled`], however it is wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the run was told to stop")]
pub struct Cancelled;

/// Makes an error end the run: for what another attempt cannot mend.
///
/// ```
/// # use mainspring_worker::{JobError, OrFatal};
/// fn port(text: &str) -> Result<u16, JobError> {
///     let port = text.parse::<u16>().or_fatal()?;
///     Ok(port)
/// }
/// # assert!(port("seven").is_err());
/// ```
pub trait OrFatal<T> {
    /// The value, or a [`JobError::fatal`].
    ///
    /// # Errors
    /// The error, as one that is not retried.
    fn or_fatal(self) -> Result<T, JobError>;
}

impl<T, E: Into<Box<dyn StdError + Send + Sync>>> OrFatal<T> for Result<T, E> {
    fn or_fatal(self) -> Result<T, JobError> {
        self.map_err(JobError::fatal)
    }
}

/// A failure that the platform's side of the worker reports, not the handler.
pub(crate) fn failure(reason: &str, message: impl Into<String>) -> Failure {
    Failure { reason: reason.into(), message: cut(message.into(), MAX_MESSAGE_BYTES), ..Failure::default() }
}

/// The same, and not to be retried.
pub(crate) fn fatal_failure(reason: &str, message: impl Into<String>) -> Failure {
    let mut failure = failure(reason, message);
    hint(&mut failure).decision = RetryDecision::DoNotRetry.into();
    failure
}

/// The failure of a handler that panicked.
pub(crate) fn panic_failure(message: String, trace: String) -> Failure {
    Failure { stack_trace: cut(trace, MAX_TRACE_BYTES), ..failure(reason::PANIC, message) }
}

/// Cuts `text` to at most `limit` bytes at a character's edge.
pub(crate) fn cut(mut text: String, limit: usize) -> String {
    text.truncate(text.floor_char_boundary(limit));
    text
}

fn describe(error: &(dyn StdError + 'static), causes_left: usize) -> Failure {
    let mut failure = failure(reason::HANDLER_ERROR, error.to_string());
    if causes_left > 0 {
        failure.cause = error.source().map(|cause| Box::new(describe(cause, causes_left - 1)));
    }
    failure
}

/// The next error inwards. An I/O error names as its source not what it wraps, but the source of that.
fn inner<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    wrapped.map(|wrapped| wrapped as &(dyn StdError + 'static)).or_else(|| error.source())
}

fn hint(failure: &mut Failure) -> &mut RetryHint {
    failure.retry_hint.get_or_insert_default()
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::{Cancelled, JobError, OrFatal, cut};

    fn failed(error: JobError) -> super::JobFailure {
        match error {
            JobError::Failed(failure) => *failure,
            JobError::Cancelled => panic!("a failure was expected"),
        }
    }

    #[test]
    fn any_error_is_left_to_the_policy_with_its_causes() {
        let inner = io::Error::other("disk full");
        let outer = io::Error::other(inner);
        let failure = failed(JobError::from(outer));
        assert_eq!((failure.reason(), failure.message(), failure.is_fatal()), ("HANDLER_ERROR", "disk full", false));
        assert!(failure.0.retry_hint.is_none());
    }

    #[test]
    fn a_wrapped_cancellation_is_a_cancellation() {
        assert!(matches!(JobError::from(Cancelled), JobError::Cancelled));
        assert!(matches!(JobError::from(io::Error::other(Cancelled)), JobError::Cancelled));
        assert!(matches!(Err::<(), _>(Cancelled).or_fatal(), Err(JobError::Cancelled)));
    }

    #[test]
    fn fatal_rules_out_another_attempt() {
        let failure = failed("x".parse::<u16>().or_fatal().unwrap_err().reason("BAD_PORT"));
        assert!(failure.is_fatal());
        assert_eq!(failure.reason(), "BAD_PORT");
    }

    #[test]
    fn a_message_has_the_length_the_contract_allows() {
        assert_eq!(failed(JobError::retryable("x".repeat(5_000))).message().len(), 4_096);
    }

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(cut("aß".into(), 2), "a");
        assert_eq!(cut("aß".into(), 3), "aß");
    }
}
