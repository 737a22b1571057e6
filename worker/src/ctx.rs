//! What a handler can ask and say about its run.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use mainspring_proto::{common::v1::LogLevel as ProtoLevel, worker::v1::Dispatch};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::{
    job_error::{Cancelled, JobError},
    run_log::{apart, within},
};

/// The run a handler works on: what it is, how it is told to stop, and where its log and progress go.
///
/// Cheap to clone. Nothing here ever waits for the network.
#[derive(Clone)]
pub struct Ctx {
    inner: Arc<Inner>,
}

struct Inner {
    facts: Facts,
    stop: Stop,
    reports: Arc<dyn Reports>,
    /// What it said of its progress last.
    told: Mutex<(f64, String)>,
}

/// What is known of a run when its attempt starts.
#[derive(Default)]
pub(crate) struct Facts {
    pub(crate) run_id: String,
    pub(crate) attempt: i64,
    pub(crate) job: String,
    pub(crate) job_version: i64,
    pub(crate) job_type: String,
    pub(crate) queue: String,
    pub(crate) namespace: String,
    pub(crate) idempotency_key: String,
    pub(crate) due_time: Option<SystemTime>,
    pub(crate) nominal_time: Option<SystemTime>,
    pub(crate) previous_success: Option<SystemTime>,
    pub(crate) failures: i32,
    pub(crate) max_attempts: i32,
    pub(crate) execution_timeout: Option<Duration>,
    pub(crate) headers: BTreeMap<String, String>,
}

/// Where a handler's log lines and progress go: to the session, or to a test that has no server.
pub(crate) trait Reports: Send + Sync {
    /// Takes one log line.
    fn log(&self, level: LogLevel, message: String, fields: BTreeMap<String, String>);
    /// Takes the newest progress.
    fn progress(&self, fraction: f64, message: String);
    /// A thread began to work for the attempt; it occupies the slot until the returned guard is dropped.
    fn occupy(&self) -> Box<dyn Send>;
}

/// How a running attempt is told to stop.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop {
    /// Asks the handler.
    asked: CancellationToken,
    reason: Arc<OnceLock<CancelReason>>,
    /// Drops the handler's future.
    killed: CancellationToken,
}

impl Stop {
    /// Asks the handler to stop; the first reason is the one it sees.
    pub(crate) fn ask(&self, reason: CancelReason) {
        self.reason.get_or_init(|| reason);
        self.asked.cancel();
    }

    /// Stops it without asking.
    pub(crate) fn kill(&self, reason: CancelReason) {
        self.ask(reason);
        self.killed.cancel();
    }

    /// Resolves when the handler is to be stopped without asking.
    pub(crate) async fn killed(&self) {
        self.killed.cancelled().await;
    }
}

/// Why a run was told to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CancelReason {
    /// The server asked for it, in its words: somebody cancelled the run, or one of its timeouts passed.
    Requested(String),
    /// The run's execution timeout passed, by this worker's clock.
    ExecutionTimeout,
    /// The worker is leaving, and its time to drain is over. The run goes back to the queue.
    Shutdown,
    /// The lease can no longer be proven, and the job must never overlap with itself.
    LeaseLost,
    /// The attempt no longer counts: its result would be discarded.
    Abandoned,
}

impl fmt::Display for CancelReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requested(reason) if reason.is_empty() => f.write_str("cancelled"),
            Self::Requested(reason) => write!(f, "cancelled: {reason}"),
            Self::ExecutionTimeout => f.write_str("the execution timeout passed"),
            Self::Shutdown => f.write_str("the worker is shutting down"),
            Self::LeaseLost => f.write_str("the lease can no longer be proven"),
            Self::Abandoned => f.write_str("the attempt no longer counts"),
        }
    }
}

/// How serious a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// For whoever debugs the handler.
    Debug,
    /// What happened.
    Info,
    /// Something to look at.
    Warn,
    /// Something failed.
    Error,
}

impl From<LogLevel> for ProtoLevel {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Debug => Self::Debug,
            LogLevel::Info => Self::Info,
            LogLevel::Warn => Self::Warning,
            LogLevel::Error => Self::Error,
        }
    }
}

impl Ctx {
    pub(crate) fn new(facts: Facts, stop: Stop, reports: Arc<dyn Reports>) -> Self {
        Self { inner: Arc::new(Inner { facts, stop, reports, told: Mutex::default() }) }
    }

    pub(crate) fn reports(&self) -> &Arc<dyn Reports> {
        &self.inner.reports
    }

    /// The run's id, a UUID in text.
    pub fn run_id(&self) -> &str {
        &self.inner.facts.run_id
    }

    /// The number of this attempt, from 1. It grows with every attempt of the run and with nothing else, so it is a
    /// **fencing token**: a store that remembers the highest number it saw can refuse a late writer.
    pub fn attempt(&self) -> i64 {
        self.inner.facts.attempt
    }

    /// The job, unless the run was submitted without one.
    pub fn job(&self) -> Option<&str> {
        Some(self.inner.facts.job.as_str()).filter(|job| !job.is_empty())
    }

    /// The version of the job, unless the run was submitted without one.
    pub fn job_version(&self) -> Option<i64> {
        self.job().map(|_| self.inner.facts.job_version)
    }

    /// The job type that named this handler.
    pub fn job_type(&self) -> &str {
        &self.inner.facts.job_type
    }

    /// The queue the run came from.
    pub fn queue(&self) -> &str {
        &self.inner.facts.queue
    }

    /// The run's namespace.
    pub fn namespace(&self) -> &str {
        &self.inner.facts.namespace
    }

    /// The instant the schedule named, however late the start is; `None` where no schedule fired.
    pub fn nominal_time(&self) -> Option<SystemTime> {
        self.inner.facts.nominal_time
    }

    /// The last instant of the run's job that had succeeded when the run was made: what lies between it and
    /// [`nominal_time`](Self::nominal_time) may be left to do. `None` unless the job asks for it (`previous_success`).
    pub fn previous_success(&self) -> Option<SystemTime> {
        self.inner.facts.previous_success
    }

    /// When the run became due.
    pub fn due_time(&self) -> Option<SystemTime> {
        self.inner.facts.due_time
    }

    /// The same for every attempt of the run: hand it to systems that can recognise a repeated request.
    pub fn idempotency_key(&self) -> &str {
        &self.inner.facts.idempotency_key
    }

    /// How many attempts of this run have failed so far.
    pub fn failures(&self) -> u32 {
        self.inner.facts.failures.try_into().unwrap_or(0)
    }

    /// How many attempts of this run may fail in all.
    pub fn max_attempts(&self) -> u32 {
        self.inner.facts.max_attempts.try_into().unwrap_or(0)
    }

    /// Whether the run ends FAILED if this attempt fails.
    pub fn is_last_attempt(&self) -> bool {
        self.failures() + 1 >= self.max_attempts()
    }

    /// How long the attempt may run, if there is a limit.
    pub fn execution_timeout(&self) -> Option<Duration> {
        self.inner.facts.execution_timeout
    }

    /// The caller's headers, W3C trace context among them.
    pub fn headers(&self) -> &BTreeMap<String, String> {
        &self.inner.facts.headers
    }

    /// Writes a line to the run's log, for whoever debugs the handler.
    pub fn debug(&self, message: impl Into<String>) {
        self.log(LogLevel::Debug, message, BTreeMap::new());
    }

    /// Writes a line to the run's log: what happened. (Events of `tracing` get there, too, by [`RunLog`](crate::RunLog).)
    pub fn info(&self, message: impl Into<String>) {
        self.log(LogLevel::Info, message, BTreeMap::new());
    }

    /// Writes a line to the run's log: something to look at.
    pub fn warn(&self, message: impl Into<String>) {
        self.log(LogLevel::Warn, message, BTreeMap::new());
    }

    /// Writes a line to the run's log: something failed.
    pub fn error(&self, message: impl Into<String>) {
        self.log(LogLevel::Error, message, BTreeMap::new());
    }

    /// Writes a line with named fields to the run's log.
    ///
    /// Lines are kept in order, sent in the background and sent again after a reconnect. All runs of a worker share a
    /// buffer of 4 MiB; when it is full the oldest lines go, and the log says how many. A line is cut at the server's
    /// limit (16 KiB). What is written after the handler returned is dropped.
    pub fn log(&self, level: LogLevel, message: impl Into<String>, fields: BTreeMap<String, String>) {
        apart(|| self.inner.reports.log(level, message.into(), fields));
    }

    /// Says how far the handler is. Call it as often as you like: only the newest is sent, about once a second.
    ///
    /// # Errors
    /// [`Cancelled`] once the run was told to stop; pass it on with `?`.
    pub fn progress(&self, done: u64, total: u64, message: impl Into<String>) -> Result<(), Cancelled> {
        if self.is_cancelled() {
            return Err(Cancelled);
        }
        #[expect(clippy::cast_precision_loss, reason = "a share for people")]
        let fraction = if total == 0 { 0.0 } else { (done as f64 / total as f64).min(1.0) };
        let message = message.into();
        *self.inner.told.lock() = (fraction, message.clone());
        self.inner.reports.progress(fraction, message);
        Ok(())
    }

    /// Says that the handler lives, where there is nothing new to say. A run with a heartbeat timeout is given up that says
    /// nothing for so long; progress and log lines say it as well. Call it as often as you like: it is sent about once a second.
    ///
    /// # Errors
    /// [`Cancelled`] once the run was told to stop; pass it on with `?`.
    pub fn heartbeat(&self) -> Result<(), Cancelled> {
        if self.is_cancelled() {
            return Err(Cancelled);
        }
        let (fraction, message) = self.inner.told.lock().clone();
        self.inner.reports.progress(fraction, message);
        Ok(())
    }

    /// Resolves once the run was told to stop. Made for `tokio::select!`; afterwards return [`JobError::Cancelled`], or
    /// the result if the work is done: what the handler returns is what is reported.
    pub async fn cancelled(&self) {
        self.inner.stop.asked.cancelled().await;
    }

    /// Whether the run was told to stop.
    pub fn is_cancelled(&self) -> bool {
        self.inner.stop.asked.is_cancelled()
    }

    /// Why the run was told to stop, once it was.
    pub fn cancel_reason(&self) -> Option<&CancelReason> {
        self.inner.stop.reason.get()
    }

    /// Runs blocking or CPU-bound code on a thread of its own, so that it does not hold up other handlers.
    ///
    /// A thread cannot be stopped from outside: look at [`is_cancelled`](Self::is_cancelled) in long loops. The slot
    /// stays occupied until `work` returns, even if the run is over by then. A panic inside goes on in the handler.
    ///
    /// # Errors
    /// If the runtime is shutting down and `work` never ran.
    pub async fn spawn_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JobError> {
        let slot = self.inner.reports.occupy();
        let (reports, span) = (self.inner.reports.clone(), tracing::Span::current());
        let thread = tokio::task::spawn_blocking(move || {
            let _slot = slot;
            crate::panic::remember(|| span.in_scope(|| within(&reports, work)))
        });
        match thread.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(panic)) => crate::panic::resume(panic),
            Err(_) => Err(JobError::Cancelled),
        }
    }
}

impl fmt::Debug for Ctx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ctx")
            .field("run_id", &self.inner.facts.run_id)
            .field("attempt", &self.inner.facts.attempt)
            .field("job_type", &self.inner.facts.job_type)
            .finish_non_exhaustive()
    }
}

impl Facts {
    /// The facts a Dispatch carries.
    pub(crate) fn of(dispatch: &mut Dispatch) -> Self {
        let attempt = dispatch.attempt.clone().unwrap_or_default();
        let time = |time: Option<prost_types::Timestamp>| time.and_then(|time| SystemTime::try_from(time).ok());
        Self {
            run_id: attempt.run_id,
            attempt: attempt.attempt,
            job: std::mem::take(&mut dispatch.job),
            job_version: dispatch.job_version,
            job_type: dispatch.job_type.clone(),
            queue: dispatch.queue.clone(),
            namespace: std::mem::take(&mut dispatch.namespace),
            idempotency_key: std::mem::take(&mut dispatch.idempotency_key),
            due_time: time(dispatch.due_time),
            nominal_time: time(dispatch.nominal_time),
            previous_success: time(dispatch.previous_success_time),
            failures: dispatch.failures,
            max_attempts: dispatch.max_attempts,
            execution_timeout: dispatch.execution_timeout.and_then(|length| Duration::try_from(length).ok()),
            headers: std::mem::take(&mut dispatch.headers),
        }
    }
}
