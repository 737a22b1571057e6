//! A worker made of bare stubs, driven message by message: for tests of the protocol itself, and of workers that do
//! what no SDK does.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use mainspring_proto::{
    common::v1::Failure,
    worker::v1::{
        AttemptFailed, AttemptPhase, AttemptRef, AttemptResult, AttemptStatus, AttemptSucceeded, Capability, Dispatch,
        DispatchAccepted, DispatchRejected, DispatchReply, HandlerSpec, Heartbeat, HeartbeatAck, Hello, QueueCapacity,
        RejectReason, ResultAck, Welcome, WorkerState, WorkerStreamRequest, WorkerStreamResponse, attempt_result,
        dispatch_reply, worker_stream_request::Message as Say, worker_stream_response::Message as Heard,
    },
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{
    client::Client,
    host::{self, PATIENCE},
};

/// A worker process as the server sees it: one id, any number of sessions, one at a time.
#[derive(Clone, Debug)]
pub struct BareWorker {
    /// Owns the leases.
    pub instance: String,
    /// The types it handles, all from the queue `default`.
    pub job_types: Vec<String>,
    /// How many attempts it holds at once.
    pub slots: i32,
    /// What it says of itself.
    pub labels: BTreeMap<String, String>,
    connects: i64,
}

impl BareWorker {
    /// A worker that has never connected.
    pub fn new(job_types: &[&str], slots: i32) -> Self {
        let job_types = job_types.iter().map(|job_type| (*job_type).to_owned()).collect();
        Self { instance: uuid::Uuid::now_v7().to_string(), job_types, slots, labels: BTreeMap::new(), connects: 0 }
    }

    /// The Hello of its next session.
    pub fn hello(&mut self, in_flight: Vec<AttemptStatus>) -> Hello {
        self.connects += 1;
        let handler = |job_type: &String| HandlerSpec { job_type: job_type.clone(), ..HandlerSpec::default() };
        Hello {
            worker_instance_id: self.instance.clone(),
            worker_name: "bare".into(),
            min_protocol_version: 1,
            max_protocol_version: 1,
            capabilities: vec![
                Capability::Cancellation.into(),
                Capability::Logs.into(),
                Capability::ServerDrain.into(),
            ],
            handlers: self.job_types.iter().map(handler).collect(),
            capacity: self.capacity(),
            in_flight,
            connect_sequence: self.connects,
            labels: self.labels.clone(),
            ..Hello::default()
        }
    }

    fn capacity(&self) -> Vec<QueueCapacity> {
        vec![QueueCapacity { queue: String::new(), max_in_flight: self.slots }]
    }

    /// Opens a session that lists nothing, and reads the Welcome.
    pub async fn connect(&mut self, client: &Client) -> Result<Session> {
        self.connect_holding(client, Vec::new()).await
    }

    /// Opens a session that lists what the worker still holds, and reads the Welcome.
    pub async fn connect_holding(&mut self, client: &Client, in_flight: Vec<AttemptStatus>) -> Result<Session> {
        let hello = self.hello(in_flight);
        let mut session = Session::open(client, Say::Hello(hello)).await?;
        session.capacity = self.capacity();
        match session.next().await? {
            Heard::Welcome(welcome) => session.welcome = welcome,
            other => bail!("heard {other:?} instead of a Welcome"),
        }
        Ok(session)
    }
}

/// One stream.
#[derive(Debug)]
pub struct Session {
    /// The rules in force.
    pub welcome: Welcome,
    capacity: Vec<QueueCapacity>,
    sequence: i64,
    say: Option<mpsc::Sender<WorkerStreamRequest>>,
    hear: Streaming<WorkerStreamResponse>,
    /// What was heard while something else was waited for.
    passed_over: VecDeque<Heard>,
}

impl Session {
    /// Opens a stream with this first message, whatever it is.
    pub async fn open(client: &Client, first: Say) -> Result<Self> {
        Self::begin(client, Some(first)).await
    }

    /// Opens a stream and says nothing.
    pub async fn open_silently(client: &Client) -> Result<Self> {
        Self::begin(client, None).await
    }

    async fn begin(client: &Client, first: Option<Say>) -> Result<Self> {
        let (say, messages) = mpsc::channel(64);
        // Before the call, as by clients that are not told of the stream before the server has answered something.
        if first.is_some() {
            say.send(WorkerStreamRequest { message: first }).await?;
        }
        let call = async { client.worker().worker_stream(ReceiverStream::new(messages)).await };
        let hear = host::within(PATIENCE, "the stream to open", call).await??.into_inner();
        let (welcome, capacity, passed_over) = (Welcome::default(), Vec::new(), VecDeque::new());
        Ok(Self { welcome, capacity, sequence: 0, say: Some(say), hear, passed_over })
    }

    /// Whether this is the Welcome, for [`Session::until`].
    pub fn is_welcome(heard: &Heard) -> Option<()> {
        matches!(heard, Heard::Welcome(_)).then_some(())
    }

    /// Says something.
    pub async fn say(&self, message: Say) -> Result<()> {
        let say = self.say.as_ref().context("this side was closed")?;
        host::within(PATIENCE, "room on the stream", say.send(WorkerStreamRequest { message: Some(message) }))
            .await?
            .context("the stream has ended")
    }

    /// This worker's mouth, for whoever speaks while somebody else listens.
    pub fn sender(&self) -> Result<mpsc::Sender<WorkerStreamRequest>> {
        self.say.clone().context("this side was closed")
    }

    /// The next message, or how the stream ended.
    pub async fn hear(&mut self, limit: Duration) -> Result<Result<Option<Heard>, Status>> {
        let answer = host::within(limit, "a message of the server", self.hear.message()).await?;
        Ok(answer.map(|message| message.and_then(|message| message.message)))
    }

    /// The next message, which must come.
    pub async fn next(&mut self) -> Result<Heard> {
        match self.hear(PATIENCE).await? {
            Ok(Some(message)) => Ok(message),
            Ok(None) => bail!("the stream ended"),
            Err(status) => bail!("the stream ended with {status}"),
        }
    }

    /// Waits for the end of the stream.
    pub async fn end(&mut self, limit: Duration) -> Result<Result<(), Status>> {
        host::within(limit, "the end of the stream", async {
            loop {
                match self.hear.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => return Ok(()),
                    Err(status) => return Err(status),
                }
            }
        })
        .await
    }

    /// The first message that is of interest. Others are kept for whoever asks for them.
    pub async fn until<T>(&mut self, what: &str, find: impl Fn(&Heard) -> Option<T>) -> Result<T> {
        let known = self.passed_over.iter().enumerate().find_map(|(at, heard)| Some((at, find(heard)?)));
        if let Some((at, found)) = known {
            self.passed_over.remove(at);
            return Ok(found);
        }
        host::within(PATIENCE, what, async {
            loop {
                let heard = self.next().await?;
                match find(&heard) {
                    Some(found) => return Ok(found),
                    None => self.passed_over.push_back(heard),
                }
            }
        })
        .await?
    }

    /// The next attempt.
    pub async fn dispatch(&mut self) -> Result<Dispatch> {
        let find = |heard: &Heard| if let Heard::Dispatch(dispatch) = heard { Some(dispatch.clone()) } else { None };
        self.until("a Dispatch", find).await
    }

    /// The next attempt, where one comes in time.
    pub async fn dispatch_within(&mut self, limit: Duration) -> Result<Option<Dispatch>> {
        host::within(limit, "a Dispatch", self.dispatch()).await.ok().transpose()
    }

    /// The answer to a result.
    pub async fn result_ack(&mut self, attempt: &AttemptRef) -> Result<ResultAck> {
        let find = |heard: &Heard| match heard {
            Heard::ResultAck(ack) if ack.attempt.as_ref() == Some(attempt) => Some(ack.clone()),
            _ => None,
        };
        self.until("a ResultAck", find).await
    }

    /// Says that it lives and holds this; returns the number of the heartbeat.
    pub async fn heartbeat(&mut self, in_flight: Vec<AttemptStatus>) -> Result<i64> {
        self.sequence += 1;
        let capacity = self.capacity.clone();
        let state = WorkerState::Active.into();
        self.say(Say::Heartbeat(Heartbeat { sequence: self.sequence, state, in_flight, capacity })).await?;
        Ok(self.sequence)
    }

    /// A heartbeat and its answer.
    pub async fn renew(&mut self, in_flight: Vec<AttemptStatus>) -> Result<HeartbeatAck> {
        let sequence = self.heartbeat(in_flight).await?;
        let find = |heard: &Heard| match heard {
            Heard::HeartbeatAck(ack) if ack.sequence >= sequence => Some(ack.clone()),
            _ => None,
        };
        self.until("a HeartbeatAck", find).await
    }

    /// Takes an attempt.
    pub async fn accept(&self, attempt: &AttemptRef) -> Result<()> {
        let accepted = DispatchAccepted { phase: AttemptPhase::Running.into() };
        self.reply(attempt, dispatch_reply::Outcome::Accepted(accepted)).await
    }

    /// Hands an attempt back.
    pub async fn reject(&self, attempt: &AttemptRef, reason: RejectReason) -> Result<()> {
        let rejected = DispatchRejected { reason: reason.into(), ..DispatchRejected::default() };
        self.reply(attempt, dispatch_reply::Outcome::Rejected(rejected)).await
    }

    async fn reply(&self, attempt: &AttemptRef, outcome: dispatch_reply::Outcome) -> Result<()> {
        self.say(Say::DispatchReply(DispatchReply { attempt: Some(attempt.clone()), outcome: Some(outcome) })).await
    }

    /// Reports a success.
    pub async fn succeed(&self, attempt: &AttemptRef) -> Result<()> {
        self.report(attempt, attempt_result::Outcome::Succeeded(AttemptSucceeded::default())).await
    }

    /// Reports a failure.
    pub async fn fail(&self, attempt: &AttemptRef, reason: &str) -> Result<()> {
        let failure = Failure { reason: reason.into(), ..Failure::default() };
        self.report(attempt, attempt_result::Outcome::Failed(AttemptFailed { failure: Some(failure) })).await
    }

    async fn report(&self, attempt: &AttemptRef, outcome: attempt_result::Outcome) -> Result<()> {
        let attempt = Some(attempt.clone());
        self.say(Say::Result(AttemptResult { attempt, outcome: Some(outcome), ..AttemptResult::default() })).await
    }

    /// Says no more; the server ends the stream when it has said all.
    pub fn half_close(&mut self) {
        self.say = None;
    }
}

/// An attempt as a heartbeat lists it.
pub fn held(attempt: &AttemptRef, phase: AttemptPhase) -> AttemptStatus {
    AttemptStatus { attempt: Some(attempt.clone()), phase: phase.into(), next_log_offset: 0 }
}
