//! A server that does what a test tells it: the generated stubs on port 0, and every session in the test's hands.

use std::{collections::VecDeque, pin::Pin, sync::Arc, time::Duration};

use mainspring_proto::worker::v1::{
    AttemptDirective, AttemptRef, AttemptResult, Capability, Dispatch, DispatchReply, Heartbeat, HeartbeatAck, Hello,
    ReportAttemptResultRequest, ReportAttemptResultResponse, ResultAck, ResultDisposition, Welcome,
    WorkerStreamRequest, WorkerStreamResponse,
    worker_service_server::{WorkerService, WorkerServiceServer},
    worker_stream_request::Message as Said,
    worker_stream_response::Message as Heard,
};
use tokio::{
    net::TcpListener,
    sync::{Mutex, mpsc},
    task::JoinHandle,
};
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::{Request, Response, Status, Streaming};

/// Far more than anything here takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

type Outgoing = mpsc::UnboundedSender<Result<WorkerStreamResponse, Status>>;

pub(crate) struct Server {
    pub(crate) address: String,
    sessions: mpsc::UnboundedReceiver<Session>,
    reports: mpsc::UnboundedReceiver<AttemptResult>,
    refusal: Arc<Mutex<Option<Status>>>,
    refused: mpsc::UnboundedReceiver<Option<String>>,
    report_refusal: Arc<Mutex<Option<Status>>>,
    task: JoinHandle<()>,
}

/// A stream that a worker has opened.
pub(crate) struct Session {
    incoming: Streaming<WorkerStreamRequest>,
    outgoing: Outgoing,
    pub(crate) authorization: Option<String>,
    /// Heartbeats are acknowledged as they are read.
    pub(crate) acks_heartbeats: bool,
    /// Directives for the next acknowledgement.
    pub(crate) directives: Vec<AttemptDirective>,
    /// What was read while waiting for something else.
    skipped: VecDeque<Said>,
}

/// The rules a test's Welcome states: quick heartbeats, and leases long enough for a loaded machine.
pub(crate) struct Rules {
    pub(crate) heartbeat: Duration,
    pub(crate) lease: Duration,
    pub(crate) silence: Duration,
    pub(crate) start_window: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(50),
            lease: Duration::from_secs(20),
            silence: Duration::from_secs(20),
            start_window: Duration::from_secs(10),
        }
    }
}

struct Service {
    sessions: mpsc::UnboundedSender<Session>,
    reports: mpsc::UnboundedSender<AttemptResult>,
    refusal: Arc<Mutex<Option<Status>>>,
    refused: mpsc::UnboundedSender<Option<String>>,
    report_refusal: Arc<Mutex<Option<Status>>>,
}

#[tonic::async_trait]
impl WorkerService for Service {
    type WorkerStreamStream = Pin<Box<dyn futures::Stream<Item = Result<WorkerStreamResponse, Status>> + Send>>;

    async fn worker_stream(
        &self,
        request: Request<Streaming<WorkerStreamRequest>>,
    ) -> Result<Response<Self::WorkerStreamStream>, Status> {
        let authorization =
            request.metadata().get("authorization").and_then(|value| value.to_str().ok()).map(str::to_owned);
        if let Some(status) = self.refusal.lock().await.clone() {
            let _ = self.refused.send(authorization);
            return Err(status);
        }
        let (outgoing, responses) = mpsc::unbounded_channel();
        let session = Session {
            incoming: request.into_inner(),
            outgoing,
            authorization,
            acks_heartbeats: true,
            directives: Vec::new(),
            skipped: VecDeque::new(),
        };
        self.sessions.send(session).map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(responses))))
    }

    async fn report_attempt_result(
        &self,
        request: Request<ReportAttemptResultRequest>,
    ) -> Result<Response<ReportAttemptResultResponse>, Status> {
        if let Some(status) = self.report_refusal.lock().await.clone() {
            return Err(status);
        }
        let result = request.into_inner().result.unwrap_or_default();
        let ack = result_ack(result.attempt.clone(), ResultDisposition::Applied);
        let _ = self.reports.send(result);
        Ok(Response::new(ReportAttemptResultResponse { ack: Some(ack) }))
    }
}

impl Server {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (session, sessions) = mpsc::unbounded_channel();
        let (report, reports) = mpsc::unbounded_channel();
        let (tell_refused, refused) = mpsc::unbounded_channel();
        let refusal = Arc::new(Mutex::new(None));
        let report_refusal = Arc::new(Mutex::new(None));
        let service = Service {
            sessions: session,
            reports: report,
            refusal: refusal.clone(),
            refused: tell_refused,
            report_refusal: report_refusal.clone(),
        };
        let task = spawn(async move {
            tonic::transport::Server::builder()
                .initial_connection_window_size(8 << 20)
                .initial_stream_window_size(1 << 20)
                .tcp_nodelay(true)
                .add_service(WorkerServiceServer::new(service))
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
                .unwrap();
        });
        Self { address, sessions, reports, refusal, refused, report_refusal, task }
    }

    /// The next stream a worker opens.
    pub(crate) async fn stream(&mut self) -> Session {
        soon("a stream", self.sessions.recv()).await.unwrap()
    }

    /// The next session: its Hello, read, and a Welcome, sent.
    pub(crate) async fn session(&mut self) -> (Session, Hello) {
        let mut session = self.stream().await;
        let hello = session.hello().await;
        session.welcome(&hello, &Rules::default());
        (session, hello)
    }

    /// The next result that comes as a call.
    pub(crate) async fn report(&mut self) -> AttemptResult {
        soon("a reported result", self.reports.recv()).await.unwrap()
    }

    /// Answers every stream that is opened from now on with this status; `None` lets them in again.
    pub(crate) async fn refuse(&self, status: Option<Status>) {
        *self.refusal.lock().await = status;
    }

    /// The credential of the next stream that is refused.
    pub(crate) async fn refused(&mut self) -> Option<String> {
        soon("a stream to refuse", self.refused.recv()).await.unwrap()
    }

    /// Answers every result that comes as a call from now on with this status.
    pub(crate) async fn refuse_reports(&self, status: Option<Status>) {
        *self.report_refusal.lock().await = status;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Session {
    /// The next message, or `None` once the worker has half-closed the stream.
    pub(crate) async fn next(&mut self) -> Option<Said> {
        if let Some(said) = self.skipped.pop_front() {
            return Some(said);
        }
        self.read().await
    }

    /// The same, where the stream may break.
    pub(crate) async fn try_next(&mut self) -> Result<Option<WorkerStreamRequest>, Status> {
        self.incoming.message().await
    }

    async fn read(&mut self) -> Option<Said> {
        let request = soon("a message", self.incoming.message()).await.expect("the stream broke");
        let said = request?.message.expect("an arm this version knows");
        if let Said::Heartbeat(heartbeat) = &said
            && self.acks_heartbeats
        {
            let directives = std::mem::take(&mut self.directives);
            self.say(Heard::HeartbeatAck(HeartbeatAck { sequence: heartbeat.sequence, lease_ttl: None, directives }));
        }
        Some(said)
    }

    /// The first message `pick` takes; what comes before it is kept for later, but heartbeats.
    pub(crate) async fn wait_for<T>(&mut self, pick: impl Fn(&Said) -> Option<T>) -> T {
        soon("a certain message", self.read_until(pick)).await
    }

    async fn read_until<T>(&mut self, pick: impl Fn(&Said) -> Option<T>) -> T {
        for index in 0..self.skipped.len() {
            if let Some(picked) = pick(&self.skipped[index]) {
                self.skipped.remove(index);
                return picked;
            }
        }
        loop {
            let said = self.read().await.expect("the worker closed the stream");
            if let Some(picked) = pick(&said) {
                return picked;
            }
            if !matches!(said, Said::Heartbeat(_)) {
                self.skipped.push_back(said);
            }
        }
    }

    pub(crate) async fn hello(&mut self) -> Hello {
        match self.next().await {
            Some(Said::Hello(hello)) => hello,
            other => panic!("no Hello first, but {other:?}"),
        }
    }

    pub(crate) async fn reply(&mut self) -> DispatchReply {
        self.wait_for(|said| if let Said::DispatchReply(reply) = said { Some(reply.clone()) } else { None }).await
    }

    pub(crate) async fn result(&mut self) -> AttemptResult {
        self.wait_for(|said| if let Said::Result(result) = said { Some(result.clone()) } else { None }).await
    }

    pub(crate) async fn heartbeat(&mut self) -> Heartbeat {
        self.wait_for(|said| if let Said::Heartbeat(heartbeat) = said { Some(heartbeat.clone()) } else { None }).await
    }

    /// Whether something `pick` takes was read and not asked for so far.
    pub(crate) fn has_skipped(&self, pick: impl Fn(&Said) -> bool) -> bool {
        self.skipped.iter().any(pick)
    }

    pub(crate) fn say(&self, message: Heard) {
        // A worker that is gone does not hear it.
        let _ = self.outgoing.send(Ok(WorkerStreamResponse { message: Some(message) }));
    }

    pub(crate) fn welcome(&self, hello: &Hello, rules: &Rules) {
        let length = |length: Duration| prost_types::Duration::try_from(length).ok();
        self.say(Heard::Welcome(Welcome {
            session_id: format!("session-{}", hello.connect_sequence),
            session_epoch: hello.connect_sequence,
            protocol_version: 1,
            capabilities: vec![Capability::Cancellation.into(), Capability::Logs.into()],
            heartbeat_interval: length(rules.heartbeat),
            lease_ttl: length(rules.lease),
            silence_timeout: length(rules.silence),
            start_window: length(rules.start_window),
            ..Welcome::default()
        }));
    }

    pub(crate) fn dispatch(&self, run: &str, job_type: &str, payload: &str) {
        self.say(Heard::Dispatch(dispatch(run, job_type, payload)));
    }

    pub(crate) fn ack(&self, result: &AttemptResult, disposition: ResultDisposition) {
        self.say(Heard::ResultAck(result_ack(result.attempt.clone(), disposition)));
    }

    /// Ends the stream with a status.
    pub(crate) fn fail(self, status: Status) {
        let _ = self.outgoing.send(Err(status));
    }
}

pub(crate) fn dispatch(run: &str, job_type: &str, payload: &str) -> Dispatch {
    use mainspring_proto::common::v1::{Payload, payload::Data};
    Dispatch {
        attempt: Some(AttemptRef { run_id: run.into(), attempt: 1 }),
        job: "nightly".into(),
        job_type: job_type.into(),
        queue: "default".into(),
        namespace: "default".into(),
        input: Some(Payload { content_type: String::new(), data: Some(Data::Inline(payload.into())) }),
        idempotency_key: format!("key-{run}"),
        max_attempts: 3,
        ..Dispatch::default()
    }
}

pub(crate) fn attempt(run: &str) -> Option<AttemptRef> {
    Some(AttemptRef { run_id: run.into(), attempt: 1 })
}

fn result_ack(attempt: Option<AttemptRef>, disposition: ResultDisposition) -> ResultAck {
    ResultAck { attempt, disposition: disposition.into(), message: String::new() }
}

/// What `work` yields, unless a test's patience ends first.
#[expect(clippy::disallowed_methods, reason = "what a test waits for is bounded")]
pub(crate) async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(value) => value,
        Err(_) => panic!("waited too long for {what}"),
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place where these tests start tasks")]
pub(crate) fn spawn<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(work)
}
