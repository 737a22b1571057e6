//! A server that says to a worker what a test tells it, for what the real one does at moments that no test can choose.

use std::{pin::Pin, time::Duration};

use anyhow::{Context as _, Result, bail};
use mainspring_proto::{
    common::v1::{LeaseLossPolicy, Payload, payload::Data},
    worker::v1::{
        AttemptRef, Capability, Dispatch, HeartbeatAck, Hello, Limits, ReportAttemptResultRequest,
        ReportAttemptResultResponse, Welcome, WorkerStreamRequest, WorkerStreamResponse,
        worker_service_server::{WorkerService, WorkerServiceServer},
        worker_stream_request::Message as Said,
        worker_stream_response::Message as Heard,
    },
};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::{Request, Response, Status, Streaming};

use super::host::{self, PATIENCE, Task};

type Answers = mpsc::UnboundedSender<Result<WorkerStreamResponse, Status>>;

/// The server.
#[derive(Debug)]
pub struct Script {
    address: String,
    streams: mpsc::UnboundedReceiver<Stream>,
    _task: Task<()>,
}

/// A stream that a worker has opened.
#[derive(Debug)]
pub struct Stream {
    requests: Streaming<WorkerStreamRequest>,
    answers: Answers,
    renews: bool,
}

struct Service(mpsc::UnboundedSender<Stream>);

#[tonic::async_trait]
impl WorkerService for Service {
    type WorkerStreamStream = Pin<Box<dyn futures::Stream<Item = Result<WorkerStreamResponse, Status>> + Send>>;

    async fn worker_stream(
        &self,
        request: Request<Streaming<WorkerStreamRequest>>,
    ) -> Result<Response<Self::WorkerStreamStream>, Status> {
        let (answers, said) = mpsc::unbounded_channel();
        let stream = Stream { requests: request.into_inner(), answers, renews: true };
        self.0.send(stream).map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(said))))
    }

    async fn report_attempt_result(
        &self,
        _: Request<ReportAttemptResultRequest>,
    ) -> Result<Response<ReportAttemptResultResponse>, Status> {
        Err(Status::unimplemented("results come on the stream"))
    }
}

impl Script {
    /// Listens on a free port.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let (opened, streams) = mpsc::unbounded_channel();
        let server = tonic::transport::Server::builder().add_service(WorkerServiceServer::new(Service(opened)));
        let task = host::spawn(async move {
            // Whoever waits for a stream finds out that there is no server any more.
            let _ = server.serve_with_incoming(TcpListenerStream::new(listener)).await;
        });
        Ok(Self { address, streams, _task: task })
    }

    /// Host and port.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The next stream that is opened, and its Hello.
    pub async fn stream(&mut self) -> Result<(Stream, Hello)> {
        let mut stream = host::within(PATIENCE, "a stream", self.streams.recv()).await?.context("no server")?;
        match stream.heard().await? {
            Some(Said::Hello(hello)) => Ok((stream, hello)),
            other => bail!("no Hello first, but {other:?}"),
        }
    }
}

impl Stream {
    /// Accepts it, with quick heartbeats and long leases.
    pub fn welcome(&self, hello: &Hello, start_window: Duration) {
        self.say(Heard::Welcome(terms(hello, start_window, PATIENCE)));
    }

    /// Accepts it for one lease: no heartbeat is acknowledged.
    pub fn welcome_for(&mut self, hello: &Hello, lease: Duration) {
        self.renews = false;
        self.say(Heard::Welcome(terms(hello, PATIENCE, lease)));
    }

    /// Says something.
    pub fn say(&self, message: Heard) {
        // A worker that is gone does not hear it.
        let _ = self.answers.send(Ok(WorkerStreamResponse { message: Some(message) }));
    }

    /// Hands out the first attempt of a run, leased after Hello was read.
    pub fn dispatch(&self, run: &str, job_type: &str, input: &str) {
        self.dispatch_by(LeaseLossPolicy::Continue, run, job_type, input);
    }

    /// The same, with what the end of its lease means for it.
    pub fn dispatch_by(&self, policy: LeaseLossPolicy, run: &str, job_type: &str, input: &str) {
        let input = Payload { content_type: "application/json".into(), data: Some(Data::Inline(input.into())) };
        self.say(Heard::Dispatch(Dispatch {
            attempt: Some(first(run)),
            job_type: job_type.into(),
            input: Some(input),
            lease_loss_policy: policy.into(),
            ..Dispatch::default()
        }));
    }

    /// The next message, or `None` once the worker has closed its half. Heartbeats are acknowledged, where they renew.
    pub async fn heard(&mut self) -> Result<Option<Said>> {
        let Some(request) = host::within(PATIENCE, "a message of the worker", self.requests.message()).await?? else {
            return Ok(None);
        };
        if let Some(Said::Heartbeat(heartbeat)) = &request.message
            && self.renews
        {
            let sequence = heartbeat.sequence;
            let lease_ttl = prost_types::Duration::try_from(PATIENCE).ok();
            self.say(Heard::HeartbeatAck(HeartbeatAck { sequence, lease_ttl, directives: Vec::new() }));
        }
        Ok(Some(request.message.context("a message that the contract does not have")?))
    }

    /// The first message that is of interest; others are passed over.
    pub async fn until<T>(&mut self, what: &str, find: impl Fn(Said) -> Option<T>) -> Result<T> {
        host::within(PATIENCE, what, async {
            loop {
                let said = self.heard().await?.context("the worker closed its half")?;
                if let Some(found) = find(said) {
                    return Ok(found);
                }
            }
        })
        .await?
    }

    /// Ends it, as a server does that is in trouble.
    pub fn fail(self) {
        let _ = self.answers.send(Err(Status::unavailable("on purpose")));
    }
}

/// What a Welcome says, with quick heartbeats.
fn terms(hello: &Hello, start_window: Duration, lease: Duration) -> Welcome {
    let length = |length: Duration| prost_types::Duration::try_from(length).ok();
    Welcome {
        session_id: format!("session-{}", hello.connect_sequence),
        session_epoch: hello.connect_sequence,
        protocol_version: 1,
        capabilities: vec![Capability::Cancellation.into(), Capability::Logs.into()],
        limits: Some(Limits { max_inline_payload_bytes: 1 << 20, ..Limits::default() }),
        heartbeat_interval: length(Duration::from_millis(100)),
        lease_ttl: length(lease),
        silence_timeout: length(PATIENCE),
        start_window: length(start_window),
        ..Welcome::default()
    }
}

/// The first attempt of a run.
pub fn first(run: &str) -> AttemptRef {
    AttemptRef { run_id: run.into(), attempt: 1 }
}
