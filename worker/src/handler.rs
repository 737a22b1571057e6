//! Any async function of extractors is a handler.

use std::{future::Future, pin::Pin, sync::Arc};

use serde::Serialize;

use crate::{
    extract::{FromRun, Run},
    job_error::JobError,
};

type Answer = Result<Vec<u8>, JobError>;

/// An async function of up to three [extractors](FromRun) that returns `Result<T, JobError>`, `T` being anything that
/// serialises to JSON.
///
/// Implemented for functions and closures; `Args` only keeps the implementations apart.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler",
    note = "a handler is `async fn(…) -> Result<T, JobError>` with at most three arguments, each an extractor such as \
            `Ctx` or `Payload<T>`, and `T: Serialize`"
)]
pub trait Handler<Args>: Send + Sync + 'static {
    /// Calls the handler; the answer is its output as JSON, empty for `null`.
    #[doc(hidden)]
    fn call(&self, run: Run) -> Pin<Box<dyn Future<Output = Answer> + Send>>;
}

/// A handler without its types.
pub(crate) type Erased = Arc<dyn Fn(Run) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync>;

pub(crate) fn erase<Args: 'static>(handler: impl Handler<Args>) -> Erased {
    Arc::new(move |run| handler.call(run))
}

macro_rules! handler_of {
    ($($argument:ident),*) => {
        impl<Function, Work, Output, $($argument,)*> Handler<($($argument,)*)> for Function
        where
            Function: Fn($($argument),*) -> Work + Send + Sync + 'static,
            Work: Future<Output = Result<Output, JobError>> + Send + 'static,
            Output: Serialize,
            $($argument: FromRun,)*
        {
            #[allow(non_snake_case, unused_variables, reason = "the arguments are named after their types")]
            fn call(&self, run: Run) -> Pin<Box<dyn Future<Output = Answer> + Send>> {
                $(let $argument = match $argument::from_run(&run) {
                    Ok(argument) => argument,
                    Err(error) => return Box::pin(std::future::ready(Err(error))),
                };)*
                drop(run);
                let work = self($($argument),*);
                Box::pin(async move { encode(&work.await?) })
            }
        }
    };
}

handler_of!();
handler_of!(A);
handler_of!(A, B);
handler_of!(A, B, C);

fn encode(output: &impl Serialize) -> Answer {
    match serde_json::to_vec(output) {
        Ok(bytes) if bytes == b"null" => Ok(Vec::new()),
        Ok(bytes) => Ok(bytes),
        Err(error) => Err(JobError::fatal(error).reason("OUTPUT_NOT_JSON")),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use serde::{Deserialize, Serialize};

    use super::{Answer, Handler};
    use crate::{
        ctx::{Ctx, Facts, LogLevel, Reports, Stop},
        extract::{Payload, RawPayload, Run},
        job_error::JobError,
    };

    struct Nowhere;

    impl Reports for Nowhere {
        fn log(&self, _: LogLevel, _: String, _: BTreeMap<String, String>) {}
        fn progress(&self, _: f64, _: String) {}
        fn occupy(&self) -> Box<dyn Send> {
            Box::new(())
        }
    }

    #[derive(Deserialize)]
    struct SendEmail {
        to: String,
        #[serde(default)]
        copies: u64,
    }

    #[derive(Serialize)]
    struct Sent {
        id: String,
    }

    async fn nothing() -> Result<(), JobError> {
        Ok(())
    }

    async fn send(ctx: Ctx, Payload(job): Payload<SendEmail>) -> Result<Sent, JobError> {
        Ok(Sent { id: format!("{}-{}-{}", ctx.run_id(), job.to, job.copies) })
    }

    async fn all(_: Ctx, raw: RawPayload, _: Payload<serde_json::Value>) -> Result<usize, JobError> {
        Ok(raw.bytes.len())
    }

    async fn call<Args>(handler: impl Handler<Args>, payload: &str) -> Answer {
        let facts = Facts { run_id: "r1".into(), job_type: "email.send".into(), ..Facts::default() };
        let ctx = Ctx::new(facts, Stop::default(), Arc::new(Nowhere));
        handler.call(Run { ctx, content_type: String::new(), payload: payload.into(), unreadable: None }).await
    }

    fn failure(answer: Answer) -> mainspring_proto::common::v1::Failure {
        answer.unwrap_err().into_failure().unwrap()
    }

    #[tokio::test]
    async fn handlers_take_none_to_three_arguments() {
        assert_eq!(call(nothing, "").await.unwrap(), b"");
        assert_eq!(call(send, r#"{"to":"a"}"#).await.unwrap(), br#"{"id":"r1-a-0"}"#);
        assert_eq!(call(all, r#"{"to":"a"}"#).await.unwrap(), b"10");
        assert_eq!(call(|Payload(())| async { Ok("done") }, "").await.unwrap(), br#""done""#);
    }

    #[tokio::test]
    async fn a_payload_that_does_not_match_is_fatal_and_names_type_and_field() {
        let failure = failure(call(send, r#"{"to":"a","copies":"many"}"#).await);
        assert_eq!(failure.reason, "PAYLOAD_MISMATCH");
        for part in ["`email.send`", "SendEmail", "`copies`", "expected u64"] {
            assert!(failure.message.contains(part), "{part} in {}", failure.message);
        }
        let hint = failure.retry_hint.unwrap();
        assert_eq!(hint.decision(), mainspring_proto::common::v1::RetryDecision::DoNotRetry);
    }

    #[tokio::test]
    async fn a_missing_field_and_a_missing_payload_are_named() {
        assert!(failure(call(send, "{}").await).message.contains("missing field `to`"));
        assert!(failure(call(send, "").await).message.contains("null"));
        assert!(failure(call(send, r#"{"to":"a"} x"#).await).message.contains("not JSON"));
    }
}
