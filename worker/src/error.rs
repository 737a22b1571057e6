//! Why a worker could not start, or had to stop. What goes wrong inside a handler is a [`JobError`](crate::JobError).

use std::{fmt, path::PathBuf};

use crate::context::ContextError;

/// Why a worker could not start, or had to stop.
///
/// A lost connection is not among these: it is mended in the background for as long as it takes.
///
/// Its `Debug` is its sentence: that is what a `main` that returns it prints.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Two handlers have the same job type and queue.
    #[error("two handlers for the job type `{job_type}` from the queue `{queue}`: there is one for each")]
    DuplicateHandler {
        /// The job type.
        job_type: String,
        /// The queue.
        queue: String,
    },
    /// A handler takes a state that the worker was not given.
    #[error("the handler of `{job_type}` takes State<{state}>, and the worker has none: call `.state(…)`")]
    MissingState {
        /// The job type.
        job_type: String,
        /// The type of the state.
        state: &'static str,
    },
    /// The schema of what a handler takes or gives cannot be used.
    #[error("the schema of the {which} of `{job_type}`: {problem}")]
    Schema {
        /// The job type.
        job_type: String,
        /// `input` or `output`.
        which: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The worker was given two states of one type.
    #[error("two states of the type {0}: a handler could not tell them apart; wrap one in a type of its own")]
    DuplicateState(&'static str),
    /// There is nothing the worker could do.
    #[error("the worker has no handler: call `.handle(\"type\", handler)`")]
    NoHandler,
    /// A setting does not make sense.
    #[error("{name}: {problem}")]
    Setting {
        /// The setting, as its environment variable or builder method is called.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The environment and the CLI's contexts do not say where the server is.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// The server does not let this worker in, and trying again would not change that.
    #[error("the server refused this worker: {}{}{}", refusal.message, refusal.hint(), undelivered.too())]
    Refused {
        /// What the server said.
        refusal: Box<Refusal>,
        /// The results of finished runs that it would not take either.
        undelivered: Undelivered,
    },
    /// The worker has left, and the server could not be told how these runs ended.
    #[error("left with {0}")]
    ResultsUndelivered(Undelivered),
    /// The result journal cannot be used.
    #[error("the result journal: {}: {problem}", path.display())]
    Journal {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The worker was started outside a Tokio runtime.
    #[error("a worker runs its handlers on a Tokio runtime, and there is none here")]
    NoRuntime,
    /// The thread that holds the session could not be started or broke down.
    #[error("the session thread: {0}")]
    SessionThread(String),
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a server said when it refused a worker.
#[derive(Debug)]
#[non_exhaustive]
pub struct Refusal {
    /// The gRPC status code.
    pub code: tonic::Code,
    /// The machine-readable reason, such as `TOKEN_INVALID`; empty if the server gave none.
    pub reason: String,
    /// The server's sentence for people.
    pub message: String,
}

impl Refusal {
    /// The name to look it up by, and what to do about it.
    fn hint(&self) -> String {
        let reason = if self.reason.is_empty() { format!("{:?}", self.code) } else { self.reason.clone() };
        match self.advice() {
            None => format!(" ({reason})"),
            Some(advice) => format!(" ({reason}; {advice})"),
        }
    }

    fn advice(&self) -> Option<&'static str> {
        match (self.code, self.reason.as_str()) {
            (tonic::Code::Unauthenticated, "TOKEN_MISSING") => Some(
                "no key was sent: set MAINSPRING_API_KEY; `mainspring admin key create NAME --role worker` makes one",
            ),
            (tonic::Code::Unauthenticated, "TOKEN_REVOKED" | "TOKEN_EXPIRED") => Some(
                "the key no longer counts: set MAINSPRING_API_KEY to another one; `mainspring admin key create NAME --role worker` makes it",
            ),
            (tonic::Code::Unauthenticated, _) => Some(
                "is MAINSPRING_API_KEY right, and of this server? `mainspring admin key create NAME --role worker` makes another",
            ),
            (tonic::Code::PermissionDenied, "PASSWORD_CHANGE_REQUIRED") => {
                Some("a worker shows an API key, not a person's sign-in")
            }
            (tonic::Code::PermissionDenied, _) => Some(
                "the key needs the permission worker.serve: `mainspring admin key create NAME --role worker` makes one that has it",
            ),
            (tonic::Code::Unimplemented, _) => Some("is there a Mainspring server at this address?"),
            _ => None,
        }
    }
}

/// Results that the server never acknowledged. It will hand their runs out again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Undelivered {
    /// How many.
    pub count: usize,
    /// Where they are kept, if there is a [journal](crate::Worker::journal): the next worker with it delivers them.
    pub journal: Option<PathBuf>,
}

impl Undelivered {
    fn too(&self) -> String {
        if self.count == 0 { String::new() } else { format!("; it left with {self}") }
    }
}

impl fmt::Display for Undelivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, journal } = self;
        write!(f, "{count} results the server never acknowledged: their runs will be executed again")?;
        match journal {
            None => Ok(()),
            Some(path) => write!(f, ", unless a worker with the journal {} delivers them first", path.display()),
        }
    }
}

impl Error {
    pub(crate) fn setting(name: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Setting { name: name.into(), problem: problem.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_main_that_returns_it_prints_a_sentence() {
        let refusal =
            Refusal { code: tonic::Code::Unauthenticated, reason: "TOKEN_INVALID".into(), message: "no".into() };
        let undelivered = Undelivered { count: 0, journal: None };
        let told = format!("{:?}", Error::Refused { refusal: Box::new(refusal), undelivered });
        assert!(
            told.starts_with("the server refused this worker: no (TOKEN_INVALID; is MAINSPRING_API_KEY right"),
            "{told}"
        );
    }
}
