//! Any async function of extractors is a handler. What its arguments need is asked before the worker connects.

use std::{
    future::{Future, ready},
    pin::Pin,
    sync::Arc,
};

use mainspring_proto::worker::v1::HandlerSpec;
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    error::Error,
    extract::{FromRun, Needs, Run, States},
    job_error::JobError,
    reason,
    schema::{Check, Schema},
    service::{HandlerService, Output},
    state::Lane,
};

type Answer = Result<Vec<u8>, JobError>;
type Work = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// An async function of up to five [extractors](FromRun) that returns `Result<T, JobError>`.
///
/// `T` is anything that serialises to JSON and has a schema: `#[derive(serde::Serialize, schemars::JsonSchema)]`.
///
/// Implemented for functions and closures; `Args` only keeps the implementations apart.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler",
    note = "a handler is `async fn(…) -> Result<T, JobError>` with at most five arguments, each an extractor such as \
            `Ctx`, `State<S>` or `Payload<T>`, and `T` both `Serialize` and `JsonSchema`"
)]
pub trait Handler<Args>: Send + Sync + 'static {
    /// Calls the handler; the answer is its output as JSON, empty for `null`.
    #[doc(hidden)]
    fn call(&self, run: Run) -> Work;

    /// Says what its arguments need and what it answers with.
    #[doc(hidden)]
    fn declare(needs: &mut Needs);
}

/// A handler that has all it needs.
pub(crate) struct Ready {
    pub(crate) service: HandlerService,
    /// As it is announced.
    pub(crate) spec: HandlerSpec,
}

/// A handler in the making: not yet given what it needs.
pub(crate) struct Unfinished {
    needs: Needs,
    call: Box<dyn Fn(Run) -> Work + Send + Sync>,
}

impl Unfinished {
    pub(crate) fn new<Args: 'static, H: Handler<Args>>(handler: H) -> Self {
        let mut needs = Needs::default();
        H::declare(&mut needs);
        Self { needs, call: Box::new(move |run| handler.call(run)) }
    }

    /// Gives it what it needs.
    pub(crate) fn finish(self, lane: &Lane, states: &Arc<States>) -> Result<Ready, Error> {
        let Self { needs, call } = self;
        let Lane { queue, job_type } = lane.clone();
        if let Some((_, state)) = needs.states().iter().find(|(id, _)| !states.has(*id)) {
            return Err(Error::MissingState { job_type, state });
        }
        let wrong = |which, problem| Error::Schema { job_type: job_type.clone(), which, problem };
        let text = |schema: Option<&Schema>| schema.map_or(Ok(String::new()), Schema::canonical);
        let (input, output) = needs.schemas();
        let spec = HandlerSpec {
            queue,
            description: input.map(Schema::description).unwrap_or_default(),
            input_schema: text(input).map_err(|problem| wrong("input", problem))?,
            output_schema: text(output).map_err(|problem| wrong("output", problem))?,
            job_type: job_type.clone(),
        };
        let check = input.map(Schema::check).transpose().map_err(|problem| wrong("input", problem))?;
        let states = states.clone();
        let service = HandlerService::new(move |run| {
            let answer = match check.as_ref().map_or(Ok(()), |check| matches(check, &run)) {
                Ok(()) => call(Run { states: states.clone(), ..run }),
                Err(error) => Box::pin(ready(Err(error))),
            };
            Box::pin(async { Ok(Output(answer.await?)) })
        });
        Ok(Ready { service, spec })
    }
}

/// What is no JSON at all is left to the extractor, which says why.
fn matches(check: &Check, run: &Run) -> Result<(), JobError> {
    match serde_json::from_slice(run.json()?) {
        Ok(payload) => check.payload(run.ctx().job_type(), &payload),
        Err(_) => Ok(()),
    }
}

macro_rules! handler_of {
    ($($argument:ident),*) => {
        impl<Function, Future, Out, $($argument,)*> Handler<($($argument,)*)> for Function
        where
            Function: Fn($($argument),*) -> Future + Send + Sync + 'static,
            Future: std::future::Future<Output = Result<Out, JobError>> + Send + 'static,
            Out: Serialize + JsonSchema,
            $($argument: FromRun,)*
        {
            #[allow(non_snake_case, unused_variables, reason = "the arguments are named after their types")]
            fn call(&self, run: Run) -> Work {
                $(let $argument = match $argument::from_run(&run) {
                    Ok(argument) => argument,
                    Err(error) => return Box::pin(ready(Err(error))),
                };)*
                drop(run);
                let work = self($($argument),*);
                Box::pin(async move { encode(&work.await?) })
            }

            #[allow(unused_variables, reason = "there may be no arguments")]
            fn declare(needs: &mut Needs) {
                $($argument::declare(needs);)*
                needs.output::<Out>();
            }
        }
    };
}

handler_of!();
handler_of!(A);
handler_of!(A, B);
handler_of!(A, B, C);
handler_of!(A, B, C, D);
handler_of!(A, B, C, D, E);

fn encode(output: &impl Serialize) -> Answer {
    match serde_json::to_vec(output) {
        Ok(bytes) if bytes == b"null" => Ok(Vec::new()),
        Ok(bytes) => Ok(bytes),
        Err(error) => Err(JobError::fatal(error).reason(reason::OUTPUT_NOT_JSON)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};

    use super::{Answer, Handler, Output, Ready, Unfinished};
    use crate::{
        ctx::Ctx,
        error::Error,
        extract::{Payload, RawPayload, Run, State, States},
        job_error::JobError,
        state::Lane,
    };

    /// Send one e-mail.
    #[derive(Deserialize, JsonSchema)]
    struct SendEmail {
        to: String,
        #[serde(default)]
        copies: u64,
    }

    #[derive(Serialize, JsonSchema)]
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

    struct Suffix(&'static str);

    async fn five(
        ctx: Ctx,
        State(suffix): State<Suffix>,
        State(number): State<u8>,
        Payload(job): Payload<SendEmail>,
        raw: RawPayload,
    ) -> Result<String, JobError> {
        Ok(format!("{} {} {number} {} {}", ctx.run_id(), suffix.0, job.to, raw.bytes.len()))
    }

    fn finish<Args: 'static>(handler: impl Handler<Args>, states: States) -> Result<Ready, Error> {
        Unfinished::new(handler).finish(&Lane::of("", "email.send"), &Arc::new(states))
    }

    async fn call<Args: 'static>(handler: impl Handler<Args>, payload: &str) -> Answer {
        let mut states = States::default();
        assert!(states.insert(Suffix("end")) && states.insert(7u8));
        let handler = finish(handler, states).unwrap_or_else(|error| panic!("{error}")).service;
        handler.run(Run::of_test("r1", payload)).await.map(|Output(bytes)| bytes)
    }

    fn failure(answer: Answer) -> mainspring_proto::common::v1::Failure {
        answer.unwrap_err().into_failure().unwrap()
    }

    #[tokio::test]
    async fn handlers_take_none_to_five_arguments() {
        assert_eq!(call(nothing, "").await.unwrap(), b"");
        assert_eq!(call(send, r#"{"to":"a"}"#).await.unwrap(), br#"{"id":"r1-a-0"}"#);
        assert_eq!(call(all, r#"{"to":"a"}"#).await.unwrap(), b"10");
        assert_eq!(call(five, r#"{"to":"a"}"#).await.unwrap(), br#""r1 end 7 a 10""#);
        assert_eq!(call(|Payload(())| async { Ok("done") }, "").await.unwrap(), br#""done""#);
    }

    #[tokio::test]
    async fn a_payload_that_does_not_match_is_fatal_and_names_the_field() {
        // A whole number to JSON Schema, and none to serde.
        for (payload, parts) in [
            (r#"{"to":"a","copies":"many"}"#, ["does not match its schema", "`copies`", "integer"]),
            (r#"{"to":"a","copies":1.0}"#, ["SendEmail", "field `copies`", "expected u64"]),
        ] {
            let failure = failure(call(send, payload).await);
            assert_eq!(failure.reason, "PAYLOAD_MISMATCH");
            for part in parts.into_iter().chain(["`email.send`"]) {
                assert!(failure.message.contains(part), "{part} in {}", failure.message);
            }
            let hint = failure.retry_hint.unwrap();
            assert_eq!(hint.decision(), mainspring_proto::common::v1::RetryDecision::DoNotRetry);
        }
    }

    #[test]
    fn schemas_and_description_are_announced() {
        let spec = finish(send, States::default()).unwrap_or_else(|error| panic!("{error}")).spec;
        assert_eq!((spec.job_type.as_str(), spec.queue.as_str()), ("email.send", "default"));
        assert_eq!(spec.description, "Send one e-mail.");
        assert!(spec.input_schema.contains(r#""copies":{"#) && spec.input_schema.contains(r#""required":["to"]"#));
        assert!(spec.output_schema.contains(r#""id":{"type":"string"}"#), "{}", spec.output_schema);
        let spec = finish(nothing, States::default()).unwrap_or_else(|error| panic!("{error}")).spec;
        assert_eq!((spec.description.as_str(), spec.input_schema.as_str()), ("", ""));
    }

    #[test]
    fn a_state_that_is_not_there_is_told_before_anything_runs() {
        let mut states = States::default();
        states.insert(Suffix("end"));
        let Err(error) = finish(five, states) else { panic!("finished") };
        assert_eq!(
            error.to_string(),
            "the handler of `email.send` takes State<u8>, and the worker has none: call `.state(…)`"
        );
    }

    #[tokio::test]
    async fn a_missing_field_and_a_missing_payload_are_named() {
        assert!(failure(call(send, "{}").await).message.contains("`to`: is required"));
        assert!(failure(call(send, "").await).message.contains("null"));
        assert!(failure(call(send, r#"{"to":"a"} x"#).await).message.contains("not JSON"));
    }
}
