//! What a handler can take as arguments.

mod needs;
mod state;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

pub(crate) use self::state::States;
pub use self::{needs::Needs, state::State};

use crate::{ctx::Ctx, job_error::JobError, reason};

/// One attempt as it reaches a handler: its context and its payload. Extractors take what they need from it.
pub struct Run {
    pub(crate) ctx: Ctx,
    pub(crate) content_type: String,
    pub(crate) payload: Vec<u8>,
    /// Why there is no payload to read, if the server sent one this SDK does not understand.
    pub(crate) unreadable: Option<&'static str>,
    /// What the worker was given for its handlers.
    pub(crate) states: Arc<States>,
}

impl Run {
    /// The context.
    pub fn ctx(&self) -> &Ctx {
        &self.ctx
    }

    /// The payload's media type; empty means JSON.
    pub fn content_type(&self) -> &str {
        &self.content_type
    }

    /// The payload's bytes.
    ///
    /// # Errors
    /// If it was sent in a form this SDK does not understand.
    pub fn payload(&self) -> Result<&[u8], JobError> {
        match self.unreadable {
            None => Ok(&self.payload),
            Some(why) => Err(mismatch(format!("the payload of `{}` cannot be read: {why}", self.ctx.job_type()))),
        }
    }

    /// The payload's bytes, where they are meant to be JSON; no payload is `null`.
    pub(crate) fn json(&self) -> Result<&[u8], JobError> {
        let media = self.content_type.split(';').next().unwrap_or_default().trim();
        let is_json = matches!(media, "" | "application/json" | "text/json") || media.ends_with("+json");
        if !is_json {
            let job_type = self.ctx.job_type();
            return Err(mismatch(format!("the payload of `{job_type}` is {media}, and the handler reads JSON")));
        }
        let bytes = self.payload()?;
        Ok(if bytes.is_empty() { b"null" } else { bytes })
    }
}

/// An argument of a handler. Implement it to add your own.
///
/// ```
/// # use mainspring_worker::{FromRun, JobError, Needs, Run, State};
/// struct Clock; // given by Worker::state
///
/// /// When the run became due, as this clock writes it.
/// struct Due(String);
///
/// impl FromRun for Due {
///     fn declare(needs: &mut Needs) {
///         State::<Clock>::declare(needs); // so that a worker without a Clock is refused at its start
///     }
///
///     fn from_run(run: &Run) -> Result<Self, JobError> {
///         let State(_clock) = State::<Clock>::from_run(run)?;
///         Ok(Self(format!("{:?}", run.ctx().due_time())))
///     }
/// }
/// ```
pub trait FromRun: Sized + Send {
    /// Says what the argument needs. Asked once for each handler, before the worker connects.
    fn declare(needs: &mut Needs) {
        let _ = needs;
    }

    /// Takes the argument from the run.
    ///
    /// # Errors
    /// Ends the attempt without calling the handler; use [`JobError::fatal`] where another attempt would not help.
    fn from_run(run: &Run) -> Result<Self, JobError>;
}

impl FromRun for Ctx {
    fn from_run(run: &Run) -> Result<Self, JobError> {
        Ok(run.ctx.clone())
    }
}

/// The run's payload, read from JSON.
///
/// The schema of `T` is announced to the server, which shows it; the doc comment of `T` describes the job type. One that
/// does not match the schema, or cannot be read as a `T`, ends the run without another attempt, with the reason
/// `PAYLOAD_MISMATCH` and a message that names the fields. A run without a payload reads as `null`: take `Payload<()>`
/// or `Payload<Option<T>>`. For JSON of any form take `Payload<serde_json::Value>`, for bytes [`RawPayload`].
#[derive(Clone, Debug)]
pub struct Payload<T>(pub T);

impl<T: DeserializeOwned + JsonSchema + Send> FromRun for Payload<T> {
    fn declare(needs: &mut Needs) {
        needs.input::<T>();
    }

    fn from_run(run: &Run) -> Result<Self, JobError> {
        let job_type = run.ctx.job_type();
        let mut reader = serde_json::Deserializer::from_slice(run.json()?);
        let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
            let path = error.path().to_string();
            let field = if path == "." { String::new() } else { format!("field `{path}`: ") };
            let wanted = std::any::type_name::<T>();
            mismatch(format!("the payload of `{job_type}` does not match {wanted}: {field}{}", error.into_inner()))
        })?;
        reader.end().map_err(|error| mismatch(format!("the payload of `{job_type}` is not JSON: {error}")))?;
        Ok(Self(value))
    }
}

/// The run's payload as it is.
#[derive(Clone, Debug)]
pub struct RawPayload {
    /// Its media type; empty means JSON.
    pub content_type: String,
    /// Its bytes; empty if the run has none.
    pub bytes: Vec<u8>,
}

impl FromRun for RawPayload {
    fn from_run(run: &Run) -> Result<Self, JobError> {
        Ok(Self { content_type: run.content_type.clone(), bytes: run.payload()?.to_vec() })
    }
}

fn mismatch(message: String) -> JobError {
    JobError::failed(reason::PAYLOAD_MISMATCH, message).do_not_retry()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use super::Run;
    use crate::ctx::{Ctx, Facts, LogLevel, Reports, Stop};

    struct Nowhere;

    impl Reports for Nowhere {
        fn log(&self, _: LogLevel, _: String, _: BTreeMap<String, String>) {}
        fn progress(&self, _: f64, _: String) {}
        fn occupy(&self) -> Box<dyn Send> {
            Box::new(())
        }
    }

    impl Run {
        /// A run of `email.send` whose words go nowhere.
        pub(crate) fn of_test(run_id: &str, payload: &str) -> Self {
            let facts = Facts { run_id: run_id.into(), job_type: "email.send".into(), ..Facts::default() };
            let ctx = Ctx::new(facts, Stop::default(), Arc::new(Nowhere));
            let payload = payload.into();
            Self { ctx, content_type: String::new(), payload, unreadable: None, states: Arc::default() }
        }
    }
}
