//! The half of a worker's stream that speaks: handshake, then what the engine says, then why it ended.

use std::{collections::HashSet, pin::Pin, sync::Arc, time::Duration};

use futures::stream;
use mainspring_engine::{
    domain::{
        attempt::{AttemptKey, Outcome},
        names::Scope,
        payload::{Failure, RetryHint},
    },
    flow::stream::{
        Inbox, Session,
        messages::{Directive, FromWorker, SessionEnd, ToWorker},
    },
    ports::store::Report,
};
use mainspring_proto::{MAX_WORKER_PROTOCOL, MIN_WORKER_PROTOCOL, worker::v1 as wire};
use prost::Message as _;
use tokio::sync::mpsc;
use tonic::Streaming;
use wire::{Capability, worker_stream_request::Message as Request, worker_stream_response::Message};

use super::{
    Said,
    reading::{Reader, Shared, malformed},
};
use crate::{
    auth::{Caller, Standing},
    grpc::{
        Api,
        convert::{
            from_worker::{self, Greeting},
            to_worker,
        },
        draining,
        status::{Reason, Refusal, session_end},
    },
};

/// How long a worker may take to say Hello.
const HELLO: Duration = Duration::from_secs(10);
/// Notices that may wait for a worker.
const ASIDES: usize = 64;
/// Optional parts of the protocol that this server can do.
const CAPABILITIES: [Capability; 3] = [Capability::Cancellation, Capability::Logs, Capability::ServerDrain];

/// A worker stream's answers.
pub(super) type Stream = Pin<Box<dyn futures::Stream<Item = Said> + Send>>;

/// The answers to a stream of requests. Nothing happens before the first one is asked for.
pub(super) fn open(api: Api, caller: Caller, requests: Streaming<wire::WorkerStreamRequest>) -> Stream {
    let start = State::Greeting(Box::new((api, caller, requests)));
    Box::pin(stream::unfold(start, |state| async move {
        match state {
            State::Greeting(parts) => {
                let (api, caller, requests) = *parts;
                match greet(api, caller, requests).await {
                    Ok((speaker, welcome)) => {
                        Some((said(Message::Welcome(welcome)), State::Speaking(Box::new(speaker))))
                    }
                    Err(Some(refusal)) => Some((Err(refusal.into()), State::Over)),
                    Err(None) => None,
                }
            }
            State::Speaking(mut speaker) => match speaker.next().await {
                Ok(message) => Some((said(message), State::Speaking(speaker))),
                Err(Some(refusal)) => Some((Err(refusal.into()), State::Over)),
                Err(None) => None,
            },
            State::Over => None,
        }
    }))
}

enum State {
    Greeting(Box<(Api, Caller, Streaming<wire::WorkerStreamRequest>)>),
    Speaking(Box<Speaker>),
    Over,
}

fn said(message: Message) -> Said {
    Ok(wire::WorkerStreamResponse { message: Some(message) })
}

/// Why a stream ends; none is in order.
type End = Option<Refusal>;

/// Hello and Welcome.
async fn greet(
    api: Api,
    caller: Caller,
    mut requests: Streaming<wire::WorkerStreamRequest>,
) -> Result<(Speaker, wire::Welcome), End> {
    let hello = hello(&api, &mut requests).await?;
    let Greeting { hello, versions, capabilities } = from_worker::hello(hello, caller.subject())?;
    let version = negotiated(versions)?;
    let capabilities: Vec<_> = CAPABILITIES.into_iter().filter(|ours| capabilities.contains(ours)).collect();
    let scope = Scope(hello.namespace.clone());
    api.namespace(&scope).await?;
    let max_message = hello.max_message.min(api.limits.max_message_bytes);
    let opened = api.unless_draining(api.engine.open_session(hello)).await?;
    let Session { inbox, outbox, mut welcome } = opened.map_err(|end| session_end(&end))?;
    api.schemas.announced();
    if !capabilities.contains(&Capability::Cancellation) {
        welcome.directives.retain(|directive| !matches!(directive, Directive::Cancel(..)));
    }
    let limits = from_worker::limits(api.limits.max_message_bytes, api.limits.max_inline_payload_bytes);
    let welcome = to_worker::welcome(welcome, api.engine.rules(), version, &capabilities, limits, api.now());
    let shared = Arc::new(Shared::default());
    let (aside, asides) = mpsc::channel(ASIDES);
    let reader = Reader {
        api: api.clone(),
        requests,
        inbox: inbox.clone(),
        scope: scope.clone(),
        shared: shared.clone(),
        aside: aside.clone(),
        beat: 0,
    };
    let standing = api.auth.stand(&caller);
    api.engine.tasks().spawn("worker-reader", reader.listen());
    let speaker = Speaker {
        scope,
        cancels: capabilities.contains(&Capability::Cancellation),
        drains: capabilities.contains(&Capability::ServerDrain),
        max_message,
        inbox,
        outbox,
        asides,
        aside,
        held_back: HashSet::new(),
        standing,
        shared,
    };
    Ok((speaker, welcome))
}

/// The first message, in time.
async fn hello(api: &Api, requests: &mut Streaming<wire::WorkerStreamRequest>) -> Result<wire::Hello, End> {
    let mut timer = api.engine.clock().timer("hello");
    let until = api.now().plus(HELLO);
    let first = tokio::select! {
        first = requests.message() => first,
        () = timer.sleep_until(until) => {
            let why = format!("no Hello came within {HELLO:?}; send it as the first message of the stream");
            return Err(Some(Refusal::new(Reason::HelloTimeout, why)));
        }
        () = api.draining.cancelled() => return Err(Some(draining())),
    };
    match first {
        Ok(Some(wire::WorkerStreamRequest { message: Some(Request::Hello(hello)) })) => Ok(hello),
        Ok(_) => Err(Some(Refusal::new(Reason::HelloRequired, "the first message of a worker stream is Hello"))),
        // A stream that broke has nobody left to hear why.
        Err(status) => Err(malformed(&status)),
    }
}

/// The newest version that both speak.
fn negotiated((min, max): (i32, i32)) -> Result<i32, Refusal> {
    let version = max.min(MAX_WORKER_PROTOCOL);
    if version >= min.max(MIN_WORKER_PROTOCOL) {
        return Ok(version);
    }
    let message = format!(
        "the worker speaks protocol {min} to {max}, this server {MIN_WORKER_PROTOCOL} to {MAX_WORKER_PROTOCOL}; upgrade \
         the older one"
    );
    Err(Refusal::new(Reason::ProtocolVersionUnsupported, message)
        .with("min_protocol_version", MIN_WORKER_PROTOCOL)
        .with("max_protocol_version", MAX_WORKER_PROTOCOL)
        .because_of("PROTOCOL_VERSION", "mainspring.worker.v1"))
}

/// The half that speaks.
struct Speaker {
    scope: Scope,
    /// The worker understands being told to stop an attempt.
    cancels: bool,
    /// The worker understands being told to reconnect.
    drains: bool,
    /// The largest message the worker reads, and this server sends.
    max_message: usize,
    inbox: Inbox,
    outbox: mpsc::Receiver<ToWorker>,
    asides: mpsc::Receiver<Message>,
    aside: mpsc::Sender<Message>,
    /// Attempts whose dispatch was too large to be sent.
    held_back: HashSet<AttemptKey>,
    standing: Standing,
    shared: Arc<Shared>,
}

impl Speaker {
    /// The next message, or why there is none.
    async fn next(&mut self) -> Result<Message, End> {
        loop {
            let message = tokio::select! {
                biased;
                // First, or a stream that always has something to say would outlive its credential.
                denied = self.standing.ended() => return Err(Some(denied.into())),
                next = self.outbox.recv() => match next {
                    Some(next) => self.message(next),
                    None => return Err(self.end().await),
                },
                Some(aside) = self.asides.recv() => Some(aside),
                end = self.inbox.ended() => {
                    // What the engine said before it ended the session still goes out, the drain above all.
                    self.outbox.close();
                    match self.outbox.try_recv() {
                        Ok(last) => self.message(last),
                        Err(_) => return Err(self.why(&end)),
                    }
                }
            };
            if let Some(message) = message {
                return Ok(message);
            }
        }
    }

    async fn end(&mut self) -> End {
        let end = self.inbox.ended().await;
        self.why(&end)
    }

    /// What the listening half found is more telling than that it stopped listening.
    fn why(&self, end: &SessionEnd) -> End {
        self.shared.verdict().or_else(|| session_end(end))
    }

    /// The message, where this worker understands it.
    fn message(&mut self, next: ToWorker) -> Option<Message> {
        match next {
            // Its dispatch was held back: the worker does not know of it.
            ToWorker::ResultAck(key, _) if self.held_back.remove(&key) => return None,
            ToWorker::Cancel(..) if !self.cancels => return None,
            ToWorker::Drain { .. } if !self.drains => return None,
            ToWorker::HeartbeatAck { sequence, lease_ttl, mut directives } if !self.cancels => {
                directives.retain(|directive| !matches!(directive, Directive::Cancel(..)));
                return Some(to_worker::message(
                    ToWorker::HeartbeatAck { sequence, lease_ttl, directives },
                    self.scope.0.as_str(),
                ));
            }
            ToWorker::ResultAck(key, disposition) => {
                return Some(Message::ResultAck(match self.shared.invalid(key) {
                    Some(why) => to_worker::invalid_ack(Some(to_worker::attempt(key)), why),
                    None => to_worker::result_ack(key, disposition),
                }));
            }
            ToWorker::Dispatch { attempt, basis_sequence, reply_timeout } => {
                let key = attempt.key;
                let dispatch = ToWorker::Dispatch { attempt, basis_sequence, reply_timeout };
                let message = to_worker::message(dispatch, self.scope.0.as_str());
                return self.readable(message, key);
            }
            ToWorker::HeartbeatAck { .. }
            | ToWorker::Cancel(..)
            | ToWorker::LogAck(..)
            | ToWorker::Drain { .. }
            | ToWorker::Revoke(..)
            | ToWorker::Notice { .. } => {}
        }
        Some(to_worker::message(next, self.scope.0.as_str()))
    }

    /// A dispatch that the worker could not decode would end its stream, and the next one's: the run fails in its stead.
    fn readable(&mut self, message: Message, key: AttemptKey) -> Option<Message> {
        let response = wire::WorkerStreamResponse { message: Some(message) };
        let bytes = response.encoded_len();
        if bytes <= self.max_message {
            return response.message;
        }
        let why = format!("its dispatch takes {bytes} bytes, and the worker reads {}", self.max_message);
        let failure = Failure {
            hint: Some(RetryHint { retry: Some(false), delay: None }),
            ..Failure::of_platform("PAYLOAD_TOO_LARGE", why.clone())
        };
        let report = Report {
            scope: self.scope.clone(),
            key,
            outcome: Outcome::Failed(failure),
            output: None,
            start_time: None,
            log_lines: Some(0),
        };
        self.held_back.insert(key);
        // Where the session is over, the attempt goes back with it.
        let _ = self.inbox.push(FromWorker::Result(Box::new(report)));
        let _ = self.aside.try_send(Message::Notice(to_worker::notice(Reason::DispatchTooLarge, why, Some(key))));
        None
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        // Nobody reads any more. Where the stream ended in order this changes nothing.
        self.inbox.close(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_common_version_is_spoken() {
        assert_eq!(negotiated((1, 1)).ok(), Some(1));
        assert_eq!(negotiated((1, 9)).ok(), Some(MAX_WORKER_PROTOCOL));
        let refusal = negotiated((MAX_WORKER_PROTOCOL + 1, MAX_WORKER_PROTOCOL + 2)).unwrap_err();
        assert_eq!(refusal.reason(), Reason::ProtocolVersionUnsupported);
        assert!(refusal.metadata().contains_key("max_protocol_version"));
    }
}
