//! What the server says.

use mainspring_proto::worker::v1::{
    AttemptDirective, CancelDisposition, HeartbeatAck, ServerDrain, ServerDrainMode, Welcome, WorkerStreamResponse,
    attempt_directive::Directive, worker_stream_response::Message,
};

use super::{
    Effect, Key, Machine, Urgent,
    attempt::{Confirmation, Phase, Running},
    logs::Logs,
    rules::{Rules, length},
    stream::{Stage, StreamId},
    timers::Timer,
};
use crate::{clock::Instant, observe::Observed};

impl Machine {
    /// A message was read from a stream.
    pub(crate) fn read(&mut self, id: StreamId, message: WorkerStreamResponse, now: Instant) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.heard = now;
        match (stream.stage, message.message) {
            (Stage::Opening | Stage::Greeting, Some(Message::Welcome(welcome))) => self.welcomed(id, &welcome, now),
            (Stage::Opening | Stage::Greeting, _) => {
                self.effects.push(Effect::Close(id, "the server said something before its Welcome"));
            }
            (Stage::Live | Stage::Closing, Some(message)) => self.understood(id, message, now),
            (Stage::Live | Stage::Closing, None) => {
                tracing::warn!("the server said something this version does not understand; ignored");
            }
        }
    }

    fn understood(&mut self, id: StreamId, message: Message, now: Instant) {
        match message {
            Message::Welcome(_) => tracing::warn!("a second Welcome on one stream; ignored"),
            Message::HeartbeatAck(ack) => self.heartbeat_acked(id, &ack, now),
            // Rule (b).
            Message::Dispatch(dispatch) if self.current == Some(id) => self.dispatched(id, dispatch, now),
            Message::Dispatch(_) => tracing::debug!("a dispatch of an older stream; discarded"),
            Message::Cancel(cancel) => {
                let Some(key) = Key::of(cancel.attempt.as_ref()) else { return };
                self.cancel(&key, &cancel.cancel.unwrap_or_default(), now);
                let disposition = match self.attempts.get(&key).map(|attempt| &attempt.phase) {
                    Some(Phase::Running(Running { stopping: Some(_), .. })) => CancelDisposition::Cancelling,
                    // Not started, and it will not be; or finished. The result says the rest, and goes first.
                    Some(_) | None => CancelDisposition::NotRunning,
                };
                self.urgent.push_back(Urgent::CancelReply(key, disposition));
            }
            Message::ResultAck(ack) => {
                if let Some(key) = Key::of(ack.attempt.as_ref()) {
                    self.acked(&key, ack.disposition(), &ack.message);
                }
            }
            Message::LogAck(ack) => {
                if let Some(key) = Key::of(ack.attempt.as_ref()) {
                    self.logs.ack(&key, ack.next_offset);
                }
            }
            Message::Drain(drain) => self.asked_to_drain(id, drain, now),
            Message::Revoke(revoke) => {
                if let Some(key) = Key::of(revoke.attempt.as_ref()) {
                    self.abandon(&key);
                }
            }
            Message::Notice(notice) => {
                tracing::warn!(reason = notice.reason, "the server remarks: {}", notice.message);
            }
        }
    }

    fn welcomed(&mut self, id: StreamId, welcome: &Welcome, now: Instant) {
        let spoken = mainspring_proto::MIN_WORKER_PROTOCOL..=mainspring_proto::MAX_WORKER_PROTOCOL;
        if !spoken.contains(&welcome.protocol_version) || welcome.session_epoch != id.0 {
            self.effects.push(Effect::Close(id, "the server's Welcome does not answer this worker's Hello"));
            return;
        }
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.stage = Stage::Live;
        stream.was_welcomed = true;
        stream.session_id = welcome.session_id.clone();
        let hello_sent_at = stream.sent_at(0);
        // The new stream takes over; older ones are closed from this side.
        let older: Vec<StreamId> = self.streams.range(..id).map(|(older, _)| *older).collect();
        for older in older {
            self.half_close(older);
        }
        self.rules = Rules::of(welcome);
        if self.rules.logs {
            self.logs.limit(self.rules.max_log_batch_bytes, self.rules.max_log_line_bytes);
            self.logs.start_over();
        } else {
            self.logs = Logs::new();
        }
        if let Some(leaving) = &mut self.leaving {
            leaving.announced = false;
        }
        self.effects.push(Effect::Observe(Observed::Session {
            up: true,
            worker_id: self.identity.worker_id.clone(),
            session_id: welcome.session_id.clone(),
        }));
        let first_heartbeat = now + self.jittered(self.rules.heartbeat_interval);
        self.timers.set(first_heartbeat, Timer::Heartbeat(id));
        self.timers.set(now + self.rules.silence_timeout, Timer::Silence(id));
        // What no longer counts goes first, so that its result is not sent again.
        self.follow(&welcome.directives, now);
        self.start_over();
        if let Some(sent_at) = hello_sent_at {
            self.lease.renew(sent_at, self.rules.lease_ttl, now);
        }
        self.confirm(id, 0);
        self.arm_fence(now);
        self.start_all_waiting(now);
    }

    fn heartbeat_acked(&mut self, id: StreamId, ack: &HeartbeatAck, now: Instant) {
        let Some(sent_at) = self.streams.get(&id).and_then(|stream| stream.sent_at(ack.sequence)) else { return };
        self.follow(&ack.directives, now);
        self.lease.renew(sent_at, length(ack.lease_ttl).unwrap_or(self.rules.lease_ttl), now);
        if self.current == Some(id) {
            self.confirm(id, ack.sequence);
        }
        self.arm_fence(now);
        self.start_all_waiting(now);
    }

    /// What a message up to `sequence` listed has been confirmed by its acknowledgement (and nothing was said against it,
    /// or it would be gone by now).
    fn confirm(&mut self, id: StreamId, sequence: i64) {
        for attempt in self.attempts.values_mut() {
            if matches!(attempt.confirmation, Confirmation::Listed(stream, first) if stream == id && first <= sequence)
            {
                attempt.confirmation = Confirmation::Confirmed;
            }
        }
    }

    fn follow(&mut self, directives: &[AttemptDirective], now: Instant) {
        for directive in directives {
            let Some(key) = Key::of(directive.attempt.as_ref()) else { continue };
            match &directive.directive {
                Some(Directive::Cancel(cancel)) => self.cancel(&key, cancel, now),
                Some(Directive::Abandon(_)) => self.abandon(&key),
                None => tracing::warn!("a directive this version does not understand; ignored"),
            }
        }
    }

    fn asked_to_drain(&mut self, id: StreamId, drain: ServerDrain, now: Instant) {
        match drain.mode() {
            ServerDrainMode::Reconnect if self.session() == Some(id) => {
                let delay = length(drain.reconnect_delay).unwrap_or_default();
                self.effects.push(Effect::Reconnect(delay));
            }
            ServerDrainMode::Quiesce => {
                tracing::info!("the server asks for no more work here");
                self.quiesce();
            }
            ServerDrainMode::Terminate => {
                tracing::info!("the server asks this worker to leave");
                self.leave("asked by the server", now);
            }
            ServerDrainMode::Reconnect | ServerDrainMode::Unspecified => {}
        }
    }
}
