//! What a worker is told.

use std::time::Duration;

use mainspring_engine::{
    domain::{attempt::AttemptKey, instant::Instant, rules::LeaseRules, worker::AbandonReason},
    flow::stream::messages::{Directive, Disposition, DrainMode, Remark, Stop, ToWorker, Welcome},
    ports::store::Dispatchable,
};
use mainspring_proto::worker::v1 as wire;
use wire::worker_stream_response::Message;

use super::{payload, policy, run, time};
use crate::grpc::status::Reason;

/// A message of the session. A dispatch names the namespace that the session serves.
pub(crate) fn message(said: ToWorker, namespace: &str) -> Message {
    match said {
        ToWorker::HeartbeatAck { sequence, lease_ttl, directives } => Message::HeartbeatAck(wire::HeartbeatAck {
            sequence,
            lease_ttl: Some(time::duration(lease_ttl)),
            directives: directives.into_iter().map(directive).collect(),
        }),
        ToWorker::Dispatch { attempt, basis_sequence, reply_timeout } => {
            Message::Dispatch(dispatch(*attempt, basis_sequence, reply_timeout, namespace))
        }
        ToWorker::Cancel(key, stop) => {
            Message::Cancel(wire::Cancel { attempt: Some(attempt(key)), cancel: Some(cancel(stop)) })
        }
        ToWorker::ResultAck(key, disposition) => Message::ResultAck(result_ack(key, disposition)),
        ToWorker::LogAck(key, next) => Message::LogAck(wire::LogAck {
            attempt: Some(attempt(key)),
            next_offset: i64::try_from(next).unwrap_or(i64::MAX),
        }),
        ToWorker::Drain { mode, reconnect_delay, close_delay } => Message::Drain(wire::ServerDrain {
            mode: match mode {
                DrainMode::Reconnect => wire::ServerDrainMode::Reconnect,
                DrainMode::Quiesce => wire::ServerDrainMode::Quiesce,
                DrainMode::Terminate => wire::ServerDrainMode::Terminate,
            }
            .into(),
            reconnect_delay: Some(time::duration(reconnect_delay)),
            close_delay: Some(time::duration(close_delay)),
        }),
        ToWorker::Revoke(key, reason) => {
            Message::Revoke(wire::Revoke { attempt: Some(attempt(key)), reason: abandon_reason(reason) })
        }
        ToWorker::Notice { reason, message, attempt: key } => {
            let reason = match reason {
                Remark::LeaseNotOwned => Reason::LeaseNotOwned,
            };
            Message::Notice(notice(reason, message, key))
        }
    }
}

/// A problem that does not end the stream.
pub(crate) fn notice(reason: Reason, message: String, key: Option<AttemptKey>) -> wire::StreamNotice {
    wire::StreamNotice {
        reason: reason.name().into(),
        message,
        metadata: std::collections::BTreeMap::new(),
        attempt: key.map(attempt),
    }
}

/// The rules in force, first on every stream.
pub(crate) fn welcome(
    welcome: Welcome,
    rules: &LeaseRules,
    version: i32,
    capabilities: &[wire::Capability],
    limits: wire::Limits,
    now: Instant,
) -> wire::Welcome {
    let Welcome { session, epoch, directives } = welcome;
    wire::Welcome {
        session_id: session.to_string(),
        session_epoch: epoch,
        protocol_version: version,
        capabilities: capabilities.iter().map(|capability| i32::from(*capability)).collect(),
        server_version: env!("CARGO_PKG_VERSION").into(),
        limits: Some(limits),
        heartbeat_interval: Some(time::duration(rules.heartbeat_interval)),
        lease_ttl: Some(time::duration(rules.lease_ttl)),
        silence_timeout: Some(time::duration(rules.silence_timeout)),
        directives: directives.into_iter().map(directive).collect(),
        server_time: Some(time::timestamp(now)),
        start_window: Some(time::duration(rules.start_window)),
    }
}

/// What became of a result.
pub(crate) fn result_ack(key: AttemptKey, disposition: Disposition) -> wire::ResultAck {
    wire::ResultAck {
        attempt: Some(attempt(key)),
        disposition: match disposition {
            Disposition::Applied => wire::ResultDisposition::Applied,
            Disposition::Duplicate => wire::ResultDisposition::Duplicate,
            Disposition::Fenced => wire::ResultDisposition::Fenced,
            Disposition::Invalid => {
                let why = "the run cannot be read; the server's log tells more";
                return invalid_ack(Some(attempt(key)), why.into());
            }
        }
        .into(),
        message: String::new(),
    }
}

/// A result that can never be kept, and why.
pub(crate) fn invalid_ack(attempt: Option<wire::AttemptRef>, why: String) -> wire::ResultAck {
    wire::ResultAck { attempt, disposition: wire::ResultDisposition::Invalid.into(), message: why }
}

/// Names an attempt.
pub(crate) fn attempt(key: AttemptKey) -> wire::AttemptRef {
    wire::AttemptRef { run_id: key.run.to_string(), attempt: key.attempt }
}

fn dispatch(attempt: Dispatchable, basis_sequence: i64, reply_timeout: Duration, namespace: &str) -> wire::Dispatch {
    let Dispatchable {
        key,
        lane,
        job,
        payload,
        due_time,
        queue_time: _,
        nominal_time,
        previous_success,
        execution_timeout,
        // The worker hears it when it is told to stop.
        stop_grace: _,
        heartbeat_timeout: _,
        lease_loss,
        headers,
        failures,
        max_attempts,
    } = attempt;
    let (job, job_version) = match job {
        Some((_, name, version)) => (String::from(name), version),
        None => (String::new(), 0),
    };
    let count = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    wire::Dispatch {
        attempt: Some(self::attempt(key)),
        job,
        job_type: lane.job_type.into(),
        job_version,
        queue: lane.queue.into(),
        basis_sequence,
        input: payload::to_worker(payload),
        checkpoint: None,
        due_time: Some(time::timestamp(due_time)),
        execution_timeout: execution_timeout.map(time::duration),
        reply_timeout: Some(time::duration(reply_timeout)),
        headers,
        idempotency_key: run::idempotency_key(key.run),
        lease_loss_policy: policy::lease_loss(lease_loss),
        namespace: namespace.into(),
        nominal_time: nominal_time.map(time::timestamp),
        previous_success_time: previous_success.map(time::timestamp),
        failures: count(failures),
        max_attempts: count(max_attempts),
    }
}

fn directive(directive: Directive) -> wire::AttemptDirective {
    use wire::attempt_directive::Directive as Wire;
    let (key, directive) = match directive {
        Directive::Cancel(key, stop) => (key, Wire::Cancel(cancel(stop))),
        Directive::Abandon(key, reason) => {
            (key, Wire::Abandon(wire::AbandonDirective { reason: abandon_reason(reason) }))
        }
    };
    wire::AttemptDirective { attempt: Some(attempt(key)), directive: Some(directive) }
}

fn cancel(stop: Stop) -> wire::CancelDirective {
    let Stop { reason, grace } = stop;
    wire::CancelDirective { note: reason, grace_period: Some(time::duration(grace)) }
}

fn abandon_reason(reason: AbandonReason) -> i32 {
    match reason {
        AbandonReason::LeaseExpired => wire::AbandonReason::LeaseExpired,
        AbandonReason::TimedOut => wire::AbandonReason::TimedOut,
        AbandonReason::AlreadyTerminal => wire::AbandonReason::AlreadyTerminal,
        AbandonReason::UnknownAttempt => wire::AbandonReason::UnknownAttempt,
        AbandonReason::Returned => wire::AbandonReason::Returned,
    }
    .into()
}
