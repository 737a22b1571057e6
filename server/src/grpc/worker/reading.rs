//! The half of a worker's stream that listens. It turns messages into the engine's words and pushes them; it never waits
//! for anything but the next message, since a reader that stalls gets its connection killed by the client's own small
//! frames.

use std::{collections::HashMap, sync::Arc};

use mainspring_engine::{
    domain::{attempt::AttemptKey, names::Scope},
    flow::stream::{
        Inbox,
        messages::{FromWorker, SessionEnd},
    },
};
use mainspring_proto::worker::v1 as wire;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};
use wire::{worker_stream_request::Message, worker_stream_response::Message as Response};

use crate::grpc::{
    Api,
    convert::{
        from_worker::{self, Heard},
        to_worker::{invalid_ack, notice},
    },
    layer::wire::of_the_wire,
    status::{Reason, Refusal, session_end},
};

/// What both halves of a stream know.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Results that could not be kept, with the reason: their answer says INVALID, whatever the engine says.
    invalid: Mutex<HashMap<AttemptKey, String>>,
    /// Why the listening half ended the stream.
    verdict: Mutex<Option<Refusal>>,
}

impl Shared {
    /// Why a result was invalid; asked once.
    pub(super) fn invalid(&self, key: AttemptKey) -> Option<String> {
        self.invalid.lock().remove(&key)
    }

    /// Why the listening half ended the stream.
    pub(super) fn verdict(&self) -> Option<Refusal> {
        self.verdict.lock().take()
    }
}

/// The listening half.
pub(super) struct Reader {
    pub(super) api: Api,
    pub(super) requests: Streaming<wire::WorkerStreamRequest>,
    pub(super) inbox: Inbox,
    pub(super) scope: Scope,
    pub(super) shared: Arc<Shared>,
    /// What is answered without asking the engine.
    pub(super) aside: mpsc::Sender<Response>,
    /// The number of the last heartbeat.
    pub(super) beat: i64,
}

/// What a message comes to.
enum Meaning {
    /// For the engine.
    Said(FromWorker),
    /// Nothing.
    Nothing,
    /// The worker is told that it was not understood.
    Aside(Box<Response>),
}

impl Reader {
    /// Listens until the stream ends, or the session does.
    pub(super) async fn listen(mut self) {
        let session = self.inbox.clone();
        let mut over = std::pin::pin!(session.ended());
        let in_order = loop {
            let next = tokio::select! {
                next = self.requests.message() => next,
                // The client may keep its half open for ever, and with it the connection.
                _ = &mut over => break false,
            };
            match next {
                Ok(Some(message)) => match self.understand(message) {
                    Ok(Meaning::Said(said)) => {
                        // The session is over; its other half says why.
                        if self.inbox.push(said).is_err() {
                            break false;
                        }
                    }
                    Ok(Meaning::Nothing) => {}
                    Ok(Meaning::Aside(aside)) => {
                        // A worker that does not read loses notices; the answer to a result it must have, or it would send
                        // the result for ever.
                        let must = matches!(*aside, Response::ResultAck(_));
                        if self.aside.try_send(*aside).is_err() && must {
                            let end = SessionEnd::SlowConsumer("it does not read what it is sent");
                            *self.shared.verdict.lock() = session_end(&end);
                            break false;
                        }
                    }
                    Err(refusal) => {
                        *self.shared.verdict.lock() = Some(refusal);
                        break false;
                    }
                },
                Ok(None) => break true,
                Err(status) => {
                    *self.shared.verdict.lock() = malformed(&status);
                    break false;
                }
            }
        };
        self.inbox.close(in_order);
    }

    fn understand(&mut self, request: wire::WorkerStreamRequest) -> Result<Meaning, Refusal> {
        let now = self.api.now();
        let Some(message) = request.message else {
            let why = "this server does not know the message; it may be older than the worker".to_owned();
            return Ok(aside(Response::Notice(notice(Reason::UnsupportedMessage, why, None))));
        };
        Ok(match message {
            Message::Hello(_) => {
                return Err(Refusal::new(Reason::HelloRequired, "Hello comes once, as the first message of a stream"));
            }
            // The truth: what cannot be read ends the stream.
            Message::Heartbeat(heartbeat) => {
                let sequence = heartbeat.sequence;
                let said = from_worker::heartbeat(heartbeat, self.beat)?;
                self.beat = sequence;
                Meaning::Said(said)
            }
            Message::CapacityUpdate(update) => Meaning::Said(from_worker::capacity(update)?),
            Message::Drain(_) => Meaning::Said(FromWorker::Drain),
            Message::Result(result) => self.result(result),
            // Hints: what cannot be read is told and forgotten.
            Message::DispatchReply(reply) => hint(reply.attempt.clone(), from_worker::reply(reply)),
            Message::Progress(progress) => hint(progress.attempt.clone(), from_worker::progress(progress, now)),
            Message::LogBatch(batch) => hint(batch.attempt.clone(), from_worker::logs(batch, now)),
            Message::CancelReply(reply) => match from_worker::cancel_reply(&reply) {
                Ok(Some(said)) => Meaning::Said(said),
                Ok(None) => Meaning::Nothing,
                Err(refusal) => not_understood(reply.attempt.as_ref(), &refusal),
            },
        })
    }

    /// A result is always answered, or the worker would send it for ever.
    fn result(&self, result: wire::AttemptResult) -> Meaning {
        let attempt = result.attempt.clone();
        match from_worker::result(result, &self.scope, self.api.limits.max_inline_payload_bytes) {
            Ok(Heard { report, invalid }) => {
                if let Some(why) = invalid {
                    self.shared.invalid.lock().insert(report.key, why);
                }
                Meaning::Said(FromWorker::Result(Box::new(report)))
            }
            Err(refusal) => aside(Response::ResultAck(invalid_ack(attempt, refusal.message().into()))),
        }
    }
}

fn hint(attempt: Option<wire::AttemptRef>, read: Result<FromWorker, Refusal>) -> Meaning {
    match read {
        Ok(said) => Meaning::Said(said),
        Err(refusal) => not_understood(attempt.as_ref(), &refusal),
    }
}

fn aside(response: Response) -> Meaning {
    Meaning::Aside(Box::new(response))
}

fn not_understood(attempt: Option<&wire::AttemptRef>, refusal: &Refusal) -> Meaning {
    let key = from_worker::attempt(attempt).ok();
    aside(Response::Notice(notice(refusal.reason(), refusal.message().into(), key)))
}

/// Why the stream could not be read on; none where it simply broke.
pub(super) fn malformed(status: &Status) -> Option<Refusal> {
    of_the_wire(status)
}
