//! Calls a handler as a worker would, without a server: for the tests of people who write handlers.
//!
//! The same code as in a session is between the payload and the handler: the schema is checked, states are found,
//! panics are caught, events of `tracing` become lines. What is missing is time: nothing is tried again, and no lease
//! runs out.

use std::{
    collections::BTreeMap,
    pin::pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    clock,
    ctx::{CancelReason, Ctx, Facts, LogLevel, Reports, Stop},
    extract::{Run, States},
    handler::{Handler, Ready, Unfinished},
    job_error::{JobError, JobFailure, panic_failure},
    panic::{self, Panic},
    perform::perform,
    service::Output,
    state::Lane,
};

/// What a worker gives a handler that was told to stop, where nobody said otherwise.
const GRACE: Duration = Duration::from_secs(30);

/// A run in a test.
///
/// ```
/// # use std::time::Duration;
/// use mainspring_worker::{Ctx, JobError, Payload, State, TestRun};
/// use serde_json::json;
///
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// struct SendEmail { to: String, copies: u64 }
///
/// struct Mailer;
///
/// async fn send_email(ctx: Ctx, State(_): State<Mailer>, Payload(job): Payload<SendEmail>) -> Result<u64, JobError> {
///     for copy in 0..job.copies {
///         ctx.progress(copy + 1, job.copies, "copies")?;
///         tokio::time::sleep(Duration::from_millis(1)).await;
///     }
///     Ok(job.copies)
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let outcome = TestRun::new(json!({"to": "a@b.c", "copies": 2})).state(Mailer).call(send_email).await;
/// assert_eq!(outcome.result.unwrap(), json!(2));
/// assert_eq!(outcome.progress.len(), 2);
///
/// let endless = TestRun::new(json!({"to": "a@b.c", "copies": 1_000_000})).state(Mailer).attempt(2);
/// let outcome = endless.cancel_after(Duration::from_millis(5)).call(send_email).await;
/// assert!(matches!(outcome.result, Err(JobError::Cancelled)));
/// # }
/// ```
#[must_use = "nothing runs until `call` is awaited"]
pub struct TestRun {
    facts: Facts,
    content_type: String,
    payload: Vec<u8>,
    states: States,
    cancel_after: Option<Duration>,
}

/// How a [`TestRun`] went.
#[derive(Debug)]
#[non_exhaustive]
pub struct TestOutcome {
    /// What the handler answered, as JSON, or why it did not. A panic is a failure with the reason `PANIC`, as it is for a
    /// server.
    pub result: Result<Value, JobError>,
    /// The lines of the run's log.
    pub logs: Vec<TestLine>,
    /// Everything it said of its progress; a server hears only the newest of a second.
    pub progress: Vec<TestProgress>,
}

/// A line of a run's log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TestLine {
    /// How serious it is.
    pub level: LogLevel,
    /// The line.
    pub message: String,
    /// More, by name.
    pub fields: BTreeMap<String, String>,
}

/// How far a handler said it was.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TestProgress {
    /// The share that is done, from 0 to 1.
    pub fraction: f64,
    /// The words beside it.
    pub message: String,
}

impl TestRun {
    /// A run with this payload; `null` is none. It is the first attempt of three, of the type `test`.
    pub fn new(payload: impl Into<Value>) -> Self {
        let payload = match payload.into() {
            Value::Null => Vec::new(),
            payload => payload.to_string().into_bytes(),
        };
        Self::with_bytes("", payload)
    }

    /// A run whose payload is of this media type; empty means JSON.
    pub fn with_bytes(content_type: impl Into<String>, payload: impl Into<Vec<u8>>) -> Self {
        let facts = Facts {
            run_id: "00000000-0000-7000-8000-000000000000".into(),
            attempt: 1,
            job_type: "test".into(),
            queue: crate::state::DEFAULT_QUEUE.into(),
            namespace: "default".into(),
            idempotency_key: "test".into(),
            max_attempts: 3,
            ..Facts::default()
        };
        Self {
            facts,
            content_type: content_type.into(),
            payload: payload.into(),
            states: States::default(),
            cancel_after: None,
        }
    }

    /// Gives the handler a state, as [`Worker::state`](crate::Worker::state) does. One that is given again replaces the
    /// one before.
    pub fn state<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        self.states.insert(value);
        self
    }

    /// Sets [`Ctx::attempt`], and as many [failures](Ctx::failures) as that many attempts come from.
    pub fn attempt(mut self, attempt: u32) -> Self {
        self.facts.attempt = attempt.into();
        self.failures(attempt.saturating_sub(1))
    }

    /// Sets [`Ctx::failures`].
    pub fn failures(mut self, failures: u32) -> Self {
        self.facts.failures = i32::try_from(failures).unwrap_or(i32::MAX);
        self
    }

    /// Sets [`Ctx::max_attempts`].
    pub fn max_attempts(mut self, max_attempts: u32) -> Self {
        self.facts.max_attempts = i32::try_from(max_attempts).unwrap_or(i32::MAX);
        self
    }

    /// Sets [`Ctx::job_type`].
    pub fn job_type(mut self, job_type: impl Into<String>) -> Self {
        self.facts.job_type = job_type.into();
        self
    }

    /// Sets [`Ctx::job`], in its first version.
    pub fn job(mut self, job: impl Into<String>) -> Self {
        self.facts.job = job.into();
        self.facts.job_version = 1;
        self
    }

    /// Sets [`Ctx::idempotency_key`].
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.facts.idempotency_key = key.into();
        self
    }

    /// Sets [`Ctx::previous_success`].
    pub fn previous_success(mut self, time: SystemTime) -> Self {
        self.facts.previous_success = Some(time);
        self
    }

    /// Sets [`Ctx::nominal_time`] and [`Ctx::due_time`].
    pub fn nominal_time(mut self, time: SystemTime) -> Self {
        self.facts.nominal_time = Some(time);
        self.facts.due_time = Some(time);
        self
    }

    /// Adds one of [`Ctx::headers`].
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.facts.headers.insert(name.into(), value.into());
        self
    }

    /// Cancels the run after this long, as somebody does who says "enough". A handler that does not stop by itself is
    /// dropped after 30 s.
    pub fn cancel_after(mut self, after: Duration) -> Self {
        self.cancel_after = Some(after);
        self
    }

    /// Calls the handler.
    ///
    /// # Panics
    /// If the handler takes a state that was not given, or a type whose schema cannot be used: what keeps a worker from
    /// starting.
    pub async fn call<Args: 'static, H: Handler<Args>>(self, handler: H) -> TestOutcome {
        let Self { facts, content_type, payload, states, cancel_after } = self;
        panic::install_hook();
        let lane = Lane::of(&facts.queue, &facts.job_type);
        let Ready { service, .. } = match Unfinished::new(handler).finish(&lane, &Arc::new(states)) {
            Ok(ready) => ready,
            Err(error) => panic!("{error}"),
        };
        let said = Arc::new(Said::default());
        let stop = Stop::default();
        let ctx = Ctx::new(facts, stop.clone(), said.clone());
        let run = Run { ctx, content_type, payload, unreadable: None, states: Arc::default() };
        let mut work = pin!(perform(&service, run));
        let result = tokio::select! {
            biased;
            result = &mut work => Some(result),
            () = wait(cancel_after) => {
                stop.ask(CancelReason::Requested("enough".into()));
                clock::within(GRACE, work).await
            }
        };
        let result = result.map_or(Err(JobError::Cancelled), judge);
        let Said { lines, progress } = &*said;
        TestOutcome { result, logs: std::mem::take(&mut lines.lock()), progress: std::mem::take(&mut progress.lock()) }
    }
}

impl TestOutcome {
    /// What the handler answered, read as a `T`.
    ///
    /// # Errors
    /// What the handler failed with, or that its answer is no `T`.
    pub fn output<T: DeserializeOwned>(&self) -> Result<T, JobError> {
        serde_json::from_value(self.result.clone()?).map_err(JobError::from)
    }

    /// The messages of the log, without what is beside them.
    pub fn messages(&self) -> Vec<&str> {
        self.logs.iter().map(|line| line.message.as_str()).collect()
    }
}

async fn wait(after: Option<Duration>) {
    match after {
        Some(after) => clock::sleep_until(clock::now() + after).await,
        None => std::future::pending().await,
    }
}

fn judge(result: Result<Result<Output, JobError>, Panic>) -> Result<Value, JobError> {
    match result {
        Ok(Ok(Output(json))) if json.is_empty() => Ok(Value::Null),
        Ok(Ok(Output(json))) => serde_json::from_slice(&json).map_err(JobError::from),
        Ok(Err(error)) => Err(error),
        Err(panic) => {
            let (message, trace) = panic.into_parts();
            Err(JobError::Failed(Box::new(JobFailure(panic_failure(message, trace)))))
        }
    }
}

/// What the handler said.
#[derive(Default)]
struct Said {
    lines: Mutex<Vec<TestLine>>,
    progress: Mutex<Vec<TestProgress>>,
}

impl Reports for Said {
    fn log(&self, level: LogLevel, message: String, fields: BTreeMap<String, String>) {
        self.lines.lock().push(TestLine { level, message, fields });
    }

    fn progress(&self, fraction: f64, message: String) {
        self.progress.lock().push(TestProgress { fraction, message });
    }

    fn occupy(&self) -> Box<dyn Send> {
        Box::new(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use serde_json::json;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::TestRun;
    use crate::{CancelReason, Ctx, JobError, LogLevel, Payload, RawPayload, RunLog, State};

    #[tokio::test]
    async fn a_handler_sees_what_the_test_says() {
        let told = async |ctx: Ctx, State(suffix): State<String>, raw: RawPayload| {
            assert_eq!((ctx.attempt(), ctx.failures(), ctx.max_attempts()), (2, 1, 2));
            assert!(ctx.is_last_attempt());
            assert_eq!((ctx.job(), ctx.job_type(), ctx.idempotency_key()), (Some("nightly"), "email.send", "k"));
            assert_eq!(ctx.previous_success(), Some(SystemTime::UNIX_EPOCH));
            assert_eq!((ctx.nominal_time(), ctx.headers()["a"].as_str()), (Some(SystemTime::UNIX_EPOCH), "b"));
            Ok::<_, JobError>(format!("{}{suffix}", String::from_utf8_lossy(&raw.bytes)))
        };
        let run = TestRun::with_bytes("text/plain", "hel").state("old".to_owned()).state("lo".to_owned());
        let run = run.attempt(2).max_attempts(2).job("nightly").job_type("email.send").idempotency_key("k");
        let run = run.previous_success(SystemTime::UNIX_EPOCH);
        let outcome = run.nominal_time(SystemTime::UNIX_EPOCH).header("a", "b").call(told).await;
        assert_eq!(outcome.output::<String>().unwrap(), "hello");
        assert!(outcome.output::<u8>().is_err());
    }

    #[tokio::test]
    async fn what_it_says_is_there_in_order() {
        let _listening = tracing::subscriber::set_default(tracing_subscriber::registry().with(RunLog::new()));
        let talking = async |ctx: Ctx, _: Payload<()>| {
            ctx.info("one");
            tracing::warn!(target: "user", n = 2, "two");
            ctx.progress(1, 2, "half")?;
            ctx.progress(2, 2, "done")?;
            ctx.heartbeat()?;
            Ok::<_, JobError>(())
        };
        let outcome = TestRun::new(()).call(talking).await;
        assert_eq!((outcome.messages(), outcome.result.clone().unwrap()), (vec!["one", "two"], json!(null)));
        assert_eq!((outcome.logs[1].level, outcome.logs[1].fields["n"].as_str()), (LogLevel::Warn, "2"));
        let progress: Vec<_> = outcome.progress.iter().map(|it| (it.fraction, it.message.as_str())).collect();
        assert_eq!(progress, [(0.5, "half"), (1.0, "done"), (1.0, "done")]);
    }

    #[tokio::test]
    async fn failures_are_what_a_server_would_hear_of() {
        let reason = |result| match result {
            Err(JobError::Failed(failure)) => (failure.reason().to_owned(), failure.is_fatal()),
            other => panic!("not failed but {other:?}"),
        };
        let typed = async |Payload(number): Payload<u8>| Ok::<_, JobError>(number);
        assert_eq!(reason(TestRun::new("x").call(typed).await.result), ("PAYLOAD_MISMATCH".into(), true));
        let panics = async || if std::hint::black_box(true) { panic!("no luck") } else { Ok::<_, JobError>(()) };
        assert_eq!(reason(TestRun::new(()).call(panics).await.result), ("PANIC".into(), false));
    }

    #[tokio::test]
    async fn a_cancel_is_seen_and_what_is_done_all_the_same_counts() {
        let stops = async |ctx: Ctx| {
            ctx.cancelled().await;
            assert_eq!(ctx.cancel_reason(), Some(&CancelReason::Requested("enough".into())));
            Err::<(), _>(JobError::Cancelled)
        };
        let soon = Duration::from_millis(1);
        assert!(matches!(TestRun::new(()).cancel_after(soon).call(stops).await.result, Err(JobError::Cancelled)));
        let finishes = async |ctx: Ctx| {
            ctx.cancelled().await;
            Ok::<_, JobError>("done")
        };
        assert_eq!(TestRun::new(()).cancel_after(soon).call(finishes).await.result.unwrap(), json!("done"));
    }

    #[tokio::test]
    #[should_panic(expected = "takes State<u8>")]
    async fn a_state_that_was_not_given_is_told() {
        TestRun::new(()).call(async |_: State<u8>| Ok::<_, JobError>(())).await;
    }
}
