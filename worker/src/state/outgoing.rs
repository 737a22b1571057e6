//! What the worker says, and in which order.
//!
//! Nothing is queued as a finished message. The transport asks for the next one when it can take it, and it is composed
//! then: so a heartbeat is never out of date, and never behind more than what the transport itself holds.
//!
//! The order: refusals (a heartbeat that no longer lists an attempt must not overtake the refusal that says why); then
//! the heartbeat; then capacity, replies and results; then progress; then logs.

use mainspring_proto::worker::v1::{
    AttemptPhase, AttemptProgress, CancelReply, Capability, CapacityUpdate, DispatchAccepted, DispatchRejected,
    DispatchReply, Heartbeat, Hello, QueueCapacity, SdkInfo, WorkerState, WorkerStreamRequest, dispatch_reply,
    worker_stream_request::Message,
};

use super::{
    Key, MAX_MESSAGE_BYTES, Machine, Refusal, Urgent,
    attempt::{Attempt, Confirmation, Phase},
    stream::{Stage, StreamId},
    timers::Timer,
};
use crate::clock::Instant;

/// What a stream is to say next.
pub(crate) enum Pull {
    /// This.
    Message(Box<WorkerStreamRequest>),
    /// Nothing yet.
    Nothing,
    /// Nothing any more.
    End,
}

impl Machine {
    /// The next message of a stream, at the moment it is handed to the transport.
    pub(crate) fn pull(&mut self, id: StreamId, now: Instant) -> Pull {
        let Some(stream) = self.streams.get(&id) else { return Pull::End };
        let message = match stream.stage {
            Stage::Opening => Some(Message::Hello(self.hello(id, now))),
            Stage::Greeting => None,
            Stage::Live => self.next_message(id, now),
            Stage::Closing => return Pull::End,
        };
        message.map_or(Pull::Nothing, |message| Pull::Message(Box::new(WorkerStreamRequest { message: Some(message) })))
    }

    /// Whether [`pull`](Self::pull) may have something for the session.
    pub(crate) fn has_something_to_say(&self) -> bool {
        let waiting = !self.refusals.is_empty() || !self.urgent.is_empty() || !self.progress.is_empty();
        let heartbeat = self.streams.values().any(|stream| stream.heartbeat_due || stream.stage == Stage::Closing);
        let drain = self.leaving.as_ref().is_some_and(|leaving| !leaving.announced);
        waiting || heartbeat || drain || self.capacity_changed || self.logs.is_ready()
    }

    fn next_message(&mut self, id: StreamId, now: Instant) -> Option<Message> {
        let carries_all = self.session() == Some(id);
        if carries_all {
            if let Some(notice) = self.drain_notice(now) {
                return Some(Message::Drain(notice));
            }
            if let Some(refusal) = self.refusals.pop_front() {
                return Some(Message::DispatchReply(self.rejected(refusal)));
            }
        }
        if self.streams.get(&id).is_some_and(|stream| stream.heartbeat_due) {
            return Some(Message::Heartbeat(self.heartbeat(id, now)));
        }
        if !carries_all {
            return None;
        }
        if let Some(update) = self.capacity_update() {
            return Some(Message::CapacityUpdate(update));
        }
        while let Some(urgent) = self.urgent.pop_front() {
            if let Some(message) = self.compose(urgent, now) {
                return Some(message);
            }
        }
        while let Some(key) = self.progress.pop_front() {
            if let Some(progress) = self.newest_progress(&key, now) {
                return Some(Message::Progress(progress));
            }
        }
        let (batch, look_again) = self.logs.next_batch(now)?;
        self.timers.set_by(look_again, Timer::LogAck);
        Some(Message::LogBatch(batch))
    }

    /// From here on every older stream's Dispatch is discarded (rule b).
    fn hello(&mut self, id: StreamId, now: Instant) -> Hello {
        self.current = Some(id);
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.stage = Stage::Greeting;
            stream.stamp(now);
        }
        for attempt in self.attempts.values_mut() {
            if attempt.confirmation != Confirmation::Confirmed {
                attempt.confirmation = Confirmation::Listed(id, 0);
            }
        }
        self.announced = self.capacity();
        self.capacity_changed = false;
        Hello {
            worker_instance_id: self.identity.worker_id.clone(),
            worker_name: self.identity.name.clone(),
            min_protocol_version: mainspring_proto::MIN_WORKER_PROTOCOL,
            max_protocol_version: mainspring_proto::MAX_WORKER_PROTOCOL,
            capabilities: vec![
                Capability::Cancellation.into(),
                Capability::Logs.into(),
                Capability::ServerDrain.into(),
            ],
            sdk: Some(SdkInfo {
                name: "mainspring-rust".into(),
                version: env!("CARGO_PKG_VERSION").into(),
                // The name says it; the compiler is not known at run time.
                runtime: String::new(),
            }),
            handlers: self.identity.handlers.clone(),
            capacity: self.wire_capacity(),
            labels: self.identity.labels.clone(),
            build_id: self.identity.build_id.clone(),
            max_receive_message_bytes: i32::try_from(MAX_MESSAGE_BYTES).unwrap_or(i32::MAX),
            in_flight: self.in_flight(),
            namespace: self.identity.namespace.clone(),
            connect_sequence: id.0,
        }
    }

    fn heartbeat(&mut self, id: StreamId, now: Instant) -> Heartbeat {
        let next = now + self.jittered(self.rules.heartbeat_interval);
        self.timers.set(next, Timer::Heartbeat(id));
        let mut sequence = 0;
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.heartbeat_due = false;
            sequence = stream.stamp(now);
        }
        for attempt in self.attempts.values_mut() {
            if attempt.confirmation == Confirmation::Unlisted {
                attempt.confirmation = Confirmation::Listed(id, sequence);
            }
        }
        self.announced = self.capacity();
        self.capacity_changed = false;
        let state = if self.takes_work() { WorkerState::Active } else { WorkerState::Draining };
        Heartbeat { sequence, state: state.into(), in_flight: self.in_flight(), capacity: self.wire_capacity() }
    }

    fn capacity_update(&mut self) -> Option<CapacityUpdate> {
        if !std::mem::take(&mut self.capacity_changed) {
            return None;
        }
        let capacity = self.capacity();
        if capacity == self.announced {
            return None;
        }
        self.announced = capacity;
        Some(CapacityUpdate { capacity: self.wire_capacity() })
    }

    fn wire_capacity(&self) -> Vec<QueueCapacity> {
        self.announced
            .iter()
            .map(|(queue, slots)| QueueCapacity {
                queue: queue.clone(),
                max_in_flight: i32::try_from(*slots).unwrap_or(i32::MAX),
            })
            .collect()
    }

    /// The attempt, if it was held, leaves these hands with this message.
    fn rejected(&mut self, refusal: Refusal) -> DispatchReply {
        let Refusal { key, reason, message } = refusal;
        if matches!(self.attempts.get(&key), Some(Attempt { phase: Phase::Returning(_), .. })) {
            self.let_go(&key);
        }
        let rejected = DispatchRejected { reason: reason.into(), message, retry_delay: None };
        DispatchReply { attempt: Some(key.wire()), outcome: Some(dispatch_reply::Outcome::Rejected(rejected)) }
    }

    fn compose(&mut self, urgent: Urgent, now: Instant) -> Option<Message> {
        match urgent {
            Urgent::Reply(key) => {
                let phase = match self.attempts.get(&key)?.phase {
                    Phase::Waiting(_) | Phase::Starting(_) => AttemptPhase::Reserved,
                    Phase::Running(_) | Phase::Finished(_) => AttemptPhase::Running,
                    Phase::Returning(_) => return None,
                };
                let accepted = DispatchAccepted { phase: phase.into() };
                let outcome = Some(dispatch_reply::Outcome::Accepted(accepted));
                Some(Message::DispatchReply(DispatchReply { attempt: Some(key.wire()), outcome }))
            }
            Urgent::Result(key) => {
                let Some(Attempt { phase: Phase::Finished(finished), .. }) = self.attempts.get_mut(&key) else {
                    return None;
                };
                finished.sent += 1;
                let result = (*finished.result).clone();
                self.timers.set(Self::resend_at(now, finished.sent), Timer::Resend(key));
                Some(Message::Result(result))
            }
            Urgent::LastProgress(key) => self.last_progress(&key).map(Message::Progress),
            Urgent::CancelReply(key, disposition) => {
                let disposition = disposition.into();
                Some(Message::CancelReply(CancelReply { attempt: Some(key.wire()), disposition }))
            }
        }
    }

    fn last_progress(&mut self, key: &Key) -> Option<AttemptProgress> {
        let attempt = self.attempts.get_mut(key)?;
        let (completed_fraction, message) = attempt.progress.latest.take()?;
        let phase = attempt.wire_phase().into();
        Some(AttemptProgress { attempt: Some(key.wire()), phase, completed_fraction, message, checkpoint: None })
    }

    fn newest_progress(&mut self, key: &Key, now: Instant) -> Option<AttemptProgress> {
        let attempt = self.attempts.get_mut(key)?;
        attempt.progress.queued = false;
        let (completed_fraction, message) = attempt.progress.latest.take()?;
        if !matches!(attempt.phase, Phase::Running(_)) {
            return None;
        }
        attempt.progress.sent_at = Some(now);
        let phase = attempt.wire_phase().into();
        Some(AttemptProgress { attempt: Some(key.wire()), phase, completed_fraction, message, checkpoint: None })
    }
}
