//! What a worker says.
//!
//! Three kinds of messages are read with three degrees of patience. Hello and heartbeats are the truth: one that cannot be
//! read ends the stream. Replies, progress and logs are hints: one that cannot be read is noticed and forgotten. A result
//! is kept by the worker until it is answered: one that cannot be read fails the attempt, and is answered INVALID.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use mainspring_engine::{
    domain::{
        attempt::{AttemptKey, Outcome},
        event::Progress,
        ids::WorkerId,
        instant::Instant,
        log::{Batch, Level, Line},
        names::{QueueName, Scope},
        payload::{Failure, Payload, RetryHint},
        worker::{Capacity, Handler, Held, Hello, Phase},
    },
    flow::stream::messages::{FromWorker, RejectReason, Reply},
    ports::store::Report,
};
use mainspring_proto::{common::v1::LogLevel, worker::v1 as wire};

use super::{Check, failure, read, time::duration};
use crate::{
    grpc::status::{Reason, Refusal},
    schemas,
};

const MAX_HANDLERS: usize = 1_000;
/// Slots a worker has, at most.
pub(crate) const MAX_IN_FLIGHT: u32 = 5_000;
/// Attempts a worker lists, at most: for each slot one that is at work and one whose result was not acknowledged. The
/// engine gives it no more than that.
pub(crate) const MAX_LISTED: usize = 2 * MAX_IN_FLIGHT as usize;
const MAX_NAME: usize = 128;
const MAX_DESCRIPTION: usize = 4_096;
const MAX_SCHEMA: usize = 256 * 1024;
const MAX_PROGRESS_MESSAGE: usize = 256;
/// A batch of log lines is at most so large; what is beyond is left for the next one, by its offset.
pub(crate) const MAX_LOG_BATCH: usize = 64 * 1024;
/// A log line is at most so long; a longer one is cut.
pub(crate) const MAX_LOG_LINE: usize = 16 * 1024;
/// A message is at most so large where Hello does not say.
pub(crate) const DEFAULT_MESSAGE: usize = 4 << 20;
/// A worker that reads less is refused: there would be little to give to it.
const SMALLEST_MESSAGE: usize = 128 << 10;

/// What a Hello says to the service rather than to the engine.
#[derive(Debug)]
pub(crate) struct Greeting {
    /// For the engine.
    pub(crate) hello: Hello,
    /// Oldest and newest protocol version.
    pub(crate) versions: (i32, i32),
    /// Optional parts the worker can do.
    pub(crate) capabilities: Vec<wire::Capability>,
}

/// Refuses what lists more than a worker can have been given. Not for good: what it lists is the truth about it, and it may
/// list less once its results are acknowledged.
fn bounded(listed: &[wire::AttemptStatus]) -> Result<(), Refusal> {
    if listed.len() <= MAX_LISTED {
        return Ok(());
    }
    let why = format!("{} attempts are listed, and at most {MAX_LISTED} are read; reconnect with fewer", listed.len());
    Err(Refusal::new(Reason::SlowConsumer, why).retry_after(Duration::from_secs(1)))
}

/// A worker's Hello.
pub(crate) fn hello(hello: wire::Hello, credential: String) -> Result<Greeting, Refusal> {
    bounded(&hello.in_flight)?;
    read(|check| check.hello(hello, credential))
}

/// A heartbeat that comes after the one numbered `last`, or first where that is 0.
pub(crate) fn heartbeat(heartbeat: wire::Heartbeat, last: i64) -> Result<FromWorker, Refusal> {
    let wire::Heartbeat { sequence, state, in_flight, capacity } = heartbeat;
    bounded(&in_flight)?;
    read(|check| {
        if sequence <= last {
            check.refuse("sequence", format!("counts from 1 and grows; the last one was {last}"));
        }
        let draining = check.choice("state", state, |value| match value {
            wire::WorkerState::Unspecified => None,
            wire::WorkerState::Active => Some(false),
            wire::WorkerState::Draining => Some(true),
        });
        if draining.is_none() && check.is_clean() {
            check.refuse("state", "must be ACTIVE or DRAINING");
        }
        let in_flight = check.held(in_flight);
        let capacity = check.capacity(capacity);
        Some(FromWorker::Heartbeat { sequence, draining: draining?, in_flight, capacity })
    })
}

/// The capacity, sooner than the next heartbeat.
pub(crate) fn capacity(update: wire::CapacityUpdate) -> Result<FromWorker, Refusal> {
    read(|check| Some(FromWorker::Capacity(check.capacity(update.capacity))))
}

/// Answer to a dispatch.
pub(crate) fn reply(reply: wire::DispatchReply) -> Result<FromWorker, Refusal> {
    let wire::DispatchReply { attempt, outcome } = reply;
    read(|check| {
        let key = check.attempt(attempt.as_ref());
        let reply = match outcome {
            Some(wire::dispatch_reply::Outcome::Accepted(wire::DispatchAccepted { phase })) => {
                let phase = check.phase(phase);
                if phase.is_some_and(|phase| !matches!(phase, Phase::Reserved | Phase::Running)) {
                    check.refuse("accepted.phase", "must be RESERVED or RUNNING");
                }
                phase.map(Reply::Accepted)
            }
            Some(wire::dispatch_reply::Outcome::Rejected(rejected)) => {
                let wire::DispatchRejected { reason, message: _, retry_delay } = rejected;
                let delay = check.length("rejected.retry_delay", retry_delay);
                Some(Reply::Rejected(reject_reason(reason), delay))
            }
            None => {
                check.refuse("outcome", "must be `accepted` or `rejected`");
                None
            }
        };
        Some(FromWorker::Reply(key?, reply?))
    })
}

/// A number that this server does not know rejects all the same.
fn reject_reason(reason: i32) -> RejectReason {
    match wire::RejectReason::try_from(reason) {
        Ok(wire::RejectReason::NoCapacity) => RejectReason::NoCapacity,
        Ok(wire::RejectReason::Draining) => RejectReason::Draining,
        Ok(wire::RejectReason::UnknownJobType) => RejectReason::UnknownJobType,
        Ok(wire::RejectReason::UnreadablePayload) => RejectReason::UnreadablePayload,
        Ok(wire::RejectReason::Stale) => RejectReason::Stale,
        Ok(wire::RejectReason::Unspecified) | Err(_) => RejectReason::Unspecified,
    }
}

/// How far user code is. A checkpoint is not stored by this version.
pub(crate) fn progress(progress: wire::AttemptProgress, now: Instant) -> Result<FromWorker, Refusal> {
    let wire::AttemptProgress { attempt, phase, completed_fraction, message, checkpoint: _ } = progress;
    read(|check| {
        let key = check.attempt(attempt.as_ref());
        let phase = check.phase(phase);
        let fraction = if completed_fraction.is_nan() { 0.0 } else { completed_fraction.clamp(0.0, 1.0) };
        let message = match message.char_indices().nth(MAX_PROGRESS_MESSAGE) {
            Some((at, _)) => message[..at].to_owned(),
            None => message,
        };
        Some(FromWorker::Progress(key?, phase?, Progress { fraction, message, time: now }))
    })
}

/// Log lines: long ones are cut, and lines beyond the batch's limit are left for the worker to send again.
pub(crate) fn logs(batch: wire::LogBatch, now: Instant) -> Result<FromWorker, Refusal> {
    let wire::LogBatch { attempt, first_offset, entries, dropped_count } = batch;
    read(|check| {
        let key = check.attempt(attempt.as_ref());
        // Whatever the offsets come to is kept as a number of the same size.
        let count = i64::try_from(entries.len()).unwrap_or(i64::MAX);
        let within = |number: i64| u64::try_from(number).ok().filter(|_| number.checked_add(count).is_some());
        let (first_offset, dropped) = (within(first_offset), within(dropped_count));
        if first_offset.is_none() {
            check.refuse("first_offset", "must not be negative, nor beyond what can be counted");
        }
        if dropped.is_none() {
            check.refuse("dropped_count", "must not be negative, nor beyond what can be counted");
        }
        let mut room = MAX_LOG_BATCH;
        let mut lines = Vec::new();
        for entry in entries {
            let line = line(entry, now);
            let weight = usize::try_from(line.weight()).unwrap_or(usize::MAX);
            if weight > room && !lines.is_empty() {
                break;
            }
            room = room.saturating_sub(weight);
            lines.push(line);
        }
        Some(FromWorker::Logs(Batch { key: key?, first_offset: first_offset?, lines, dropped: dropped? }))
    })
}

fn line(entry: wire::LogEntry, now: Instant) -> Line {
    let wire::LogEntry { log_time, level, message, fields } = entry;
    let level = match LogLevel::try_from(level) {
        Ok(LogLevel::Debug) => Level::Debug,
        Ok(LogLevel::Warning) => Level::Warning,
        Ok(LogLevel::Error) => Level::Error,
        Ok(LogLevel::Info | LogLevel::Unspecified) | Err(_) => Level::Info,
    };
    let message = failure::cut(message, MAX_LOG_LINE);
    let mut room = MAX_LOG_LINE.saturating_sub(message.len());
    let mut kept = BTreeMap::new();
    for (name, value) in fields {
        let name = failure::cut(name, MAX_NAME);
        let Some(left) = room.checked_sub(name.len()) else { break };
        let value = failure::cut(value, left.max(failure::CUT.len()));
        room = left.saturating_sub(value.len());
        kept.insert(name, value);
    }
    // A worker without a clock is no reason to lose its line.
    let time = Check::default().instant("log_time", log_time).unwrap_or(now);
    Line { time, level, message, fields: kept }
}

/// The answer to a cancel; none where it says nothing.
pub(crate) fn cancel_reply(reply: &wire::CancelReply) -> Result<Option<FromWorker>, Refusal> {
    let wire::CancelReply { attempt, disposition } = reply;
    read(|check| {
        let key = check.attempt(attempt.as_ref())?;
        Some(match wire::CancelDisposition::try_from(*disposition) {
            Ok(
                wire::CancelDisposition::Cancelling
                | wire::CancelDisposition::Unsupported
                | wire::CancelDisposition::NotRunning,
            ) => Some(FromWorker::CancelReply(key)),
            Ok(wire::CancelDisposition::Unspecified) | Err(_) => None,
        })
    })
}

/// The attempt that a message names.
pub(crate) fn attempt(attempt: Option<&wire::AttemptRef>) -> Result<AttemptKey, Refusal> {
    read(|check| check.attempt(attempt))
}

/// A result, and what was wrong with it.
#[derive(Debug)]
pub(crate) struct Heard {
    /// For the engine: what the worker said, or a failure in its stead.
    pub(crate) report: Report,
    /// Why it is answered INVALID.
    pub(crate) invalid: Option<String>,
}

/// The end of an attempt. Only an attempt that is not named cannot be answered.
pub(crate) fn result(result: wire::AttemptResult, scope: &Scope, max_payload: usize) -> Result<Heard, Refusal> {
    let wire::AttemptResult { attempt, outcome, start_time, finish_time: _, next_log_offset } = result;
    let key = self::attempt(attempt.as_ref())?;
    let (outcome, output, invalid) = match outcome {
        Some(wire::attempt_result::Outcome::Succeeded(wire::AttemptSucceeded { output })) => {
            match read(|check| check.any_payload("output", output, max_payload)) {
                Ok(output) => (Outcome::Succeeded, Some(output).filter(|output| *output != Payload::default()), None),
                Err(refusal) if refusal.reason() == Reason::PayloadTooLarge => {
                    invalid("OUTPUT_TOO_LARGE", refusal.message())
                }
                Err(refusal) => invalid("RESULT_INVALID", refusal.message()),
            }
        }
        Some(wire::attempt_result::Outcome::Failed(wire::AttemptFailed { failure })) => {
            (Outcome::Failed(failure::from_worker(failure.unwrap_or_default(), max_payload)), None, None)
        }
        Some(wire::attempt_result::Outcome::Cancelled(_)) => (Outcome::Cancelled, None, None),
        Some(wire::attempt_result::Outcome::Interrupted(_)) => (Outcome::Interrupted, None, None),
        None => invalid("RESULT_INVALID", "the result carries no outcome that this server knows"),
    };
    let start_time = Check::default().instant("start_time", start_time);
    // A number that cannot be is as good as none: nobody's result is lost over it.
    let log_lines = next_log_offset.and_then(|next| u64::try_from(next).ok());
    Ok(Heard { report: Report { scope: scope.clone(), key, outcome, output, start_time, log_lines }, invalid })
}

/// Another attempt would come to the same: it is not retried.
fn invalid(reason: &str, message: &str) -> (Outcome, Option<Payload>, Option<String>) {
    let hint = Some(RetryHint { retry: Some(false), delay: None });
    let failure = Failure { hint, ..Failure::of_platform(reason, message) };
    (Outcome::Failed(failure), None, Some(message.to_owned()))
}

impl Check {
    fn hello(&mut self, hello: wire::Hello, credential: String) -> Option<Greeting> {
        let wire::Hello {
            worker_instance_id,
            worker_name,
            min_protocol_version,
            max_protocol_version,
            capabilities,
            sdk,
            handlers,
            capacity,
            labels,
            build_id,
            max_receive_message_bytes,
            in_flight,
            namespace,
            connect_sequence,
        } = hello;
        let worker = self.required::<WorkerId>("worker_instance_id", &worker_instance_id);
        if worker.is_some_and(|worker| worker.uuid().get_version_num() != 7) {
            self.refuse("worker_instance_id", "must be a UUIDv7: it sorts by when the process began");
        }
        if min_protocol_version < 1 || max_protocol_version < min_protocol_version {
            self.refuse("max_protocol_version", "must be at least min_protocol_version, which counts from 1");
        }
        if connect_sequence < 1 {
            self.refuse("connect_sequence", "counts from 1");
        }
        let max_message = match max_receive_message_bytes {
            0 => DEFAULT_MESSAGE,
            bytes => usize::try_from(bytes).ok().filter(|bytes| *bytes >= SMALLEST_MESSAGE).unwrap_or_else(|| {
                let why = format!("must be at least {SMALLEST_MESSAGE}, or 0 for {DEFAULT_MESSAGE}");
                self.refuse("max_receive_message_bytes", why);
                DEFAULT_MESSAGE
            }),
        };
        let name = self.line("worker_name", worker_name, MAX_NAME);
        let labels = self.labels("labels", labels);
        let build_id = self.line("build_id", build_id, MAX_NAME);
        let sdk = sdk.map_or_else(String::new, |sdk| {
            let wire::SdkInfo { name, version, runtime } = sdk;
            let parts = [name, version, runtime];
            let text = parts.iter().filter(|part| !part.is_empty()).map(String::as_str).collect::<Vec<_>>().join(" ");
            self.line("sdk", text, 3 * MAX_NAME)
        });
        let handlers = self.handlers(handlers);
        let capacity = self.capacity(capacity);
        let in_flight = self.held(in_flight);
        let namespace = self.or_default("namespace", &namespace);
        let hello = Hello {
            worker: worker?,
            epoch: connect_sequence,
            name,
            namespace,
            labels,
            sdk,
            build_id,
            handlers,
            capacity,
            in_flight,
            max_message,
            credential,
        };
        let capabilities = capabilities.into_iter().filter_map(|number| wire::Capability::try_from(number).ok());
        Some(Greeting {
            hello,
            versions: (min_protocol_version, max_protocol_version),
            capabilities: capabilities.collect(),
        })
    }

    fn handlers(&mut self, handlers: Vec<wire::HandlerSpec>) -> Vec<Handler> {
        if !(1..=MAX_HANDLERS).contains(&handlers.len()) {
            self.refuse("handlers", format!("must be 1 to {MAX_HANDLERS}"));
            return Vec::new();
        }
        let mut seen = BTreeSet::new();
        self.each("handlers", handlers, |check, handler| {
            let wire::HandlerSpec { job_type, queue, description, input_schema, output_schema } = handler;
            let job_type = check.required("job_type", &job_type);
            let queue = check.or_default("queue", &queue);
            let description = check.text("description", description, MAX_DESCRIPTION);
            let input_schema = check.schema("input_schema", input_schema);
            let output_schema = check.schema("output_schema", output_schema);
            let handler = Handler { job_type: job_type?, queue, description, input_schema, output_schema };
            if !seen.insert((handler.job_type.clone(), handler.queue.clone())) {
                check
                    .refuse("job_type", format!("`{}` is named twice for queue `{}`", handler.job_type, handler.queue));
            }
            Some(handler)
        })
    }

    fn schema(&mut self, field: &str, schema: String) -> String {
        if schema.len() > MAX_SCHEMA {
            self.refuse(field, format!("must be at most {MAX_SCHEMA} bytes"));
        } else if !schema.is_empty()
            && let Some(wrong) = schemas::wrong(&schema)
        {
            self.refuse(field, wrong);
        }
        schema
    }

    fn capacity(&mut self, capacity: Vec<wire::QueueCapacity>) -> Capacity {
        let mut read = Capacity::new();
        for (at, wire::QueueCapacity { queue, max_in_flight }) in capacity.into_iter().enumerate() {
            self.under(&format!("capacity[{at}]"), |check| {
                let queue: QueueName = check.or_default("queue", &queue);
                match u32::try_from(max_in_flight) {
                    Ok(max) if read.insert(queue, max).is_none() => {}
                    Ok(_) => check.refuse("queue", "is named twice"),
                    Err(_) => check.refuse("max_in_flight", "must not be negative"),
                }
            });
        }
        if read.values().fold(0_u32, |sum, max| sum.saturating_add(*max)) > MAX_IN_FLIGHT {
            self.refuse("capacity", format!("must be at most {MAX_IN_FLIGHT} in all; start another worker for more"));
        }
        read
    }

    fn held(&mut self, in_flight: Vec<wire::AttemptStatus>) -> Vec<Held> {
        let mut seen = BTreeSet::new();
        self.each("in_flight", in_flight, |check, status| {
            let wire::AttemptStatus { attempt, phase, next_log_offset: _ } = status;
            let key = check.attempt(attempt.as_ref());
            let phase = check.phase(phase);
            let held = Held { key: key?, phase: phase? };
            if !seen.insert(held.key) {
                check.refuse("attempt", "is listed twice");
            }
            Some(held)
        })
    }

    /// The attempt that a message names.
    pub(crate) fn attempt(&mut self, attempt: Option<&wire::AttemptRef>) -> Option<AttemptKey> {
        let Some(wire::AttemptRef { run_id, attempt }) = attempt else {
            self.refuse("attempt", "is required");
            return None;
        };
        self.under("attempt", |check| {
            let run = check.required("run_id", run_id);
            if *attempt < 1 {
                check.refuse("attempt", "counts from 1");
            }
            Some(AttemptKey { run: run?, attempt: *attempt })
        })
    }

    fn phase(&mut self, phase: i32) -> Option<Phase> {
        match wire::AttemptPhase::try_from(phase) {
            Ok(wire::AttemptPhase::Reserved) => Some(Phase::Reserved),
            Ok(wire::AttemptPhase::Running) => Some(Phase::Running),
            Ok(wire::AttemptPhase::Cancelling) => Some(Phase::Cancelling),
            Ok(wire::AttemptPhase::ResultPending) => Some(Phase::ResultPending),
            Ok(wire::AttemptPhase::Unspecified) | Err(_) => {
                self.refuse("phase", "must be RESERVED, RUNNING, CANCELLING or RESULT_PENDING");
                None
            }
        }
    }
}

/// The limits in force, as a Welcome tells them.
pub(crate) fn limits(max_message: usize, max_payload: usize) -> wire::Limits {
    let bytes = |size: usize| i32::try_from(size).unwrap_or(i32::MAX);
    wire::Limits {
        max_message_bytes: bytes(max_message),
        max_inline_payload_bytes: bytes(max_payload),
        max_log_batch_bytes: bytes(MAX_LOG_BATCH),
        min_progress_interval: Some(duration(Duration::from_secs(1))),
        max_log_line_bytes: bytes(MAX_LOG_LINE),
    }
}

#[cfg(test)]
mod tests;
