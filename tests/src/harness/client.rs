//! A caller of the API: the generated stubs, the key, and what tests ask all the time.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use mainspring_proto::{
    common::v1::{Payload, RetryPolicy, payload},
    scheduler::v1::{
        CancelRunRequest, CreateJobRequest, Event, EventTopic, GetRunRequest, Job, Overlap, Run, RunState,
        RunSubmission, Schedule, SubmitRunRequest, WaitRunRequest, WatchEventsRequest, WatchEventsResponse,
        admin_service_client::AdminServiceClient, event, queue_service_client::QueueServiceClient, schedule,
        scheduler_service_client::SchedulerServiceClient,
    },
    worker::v1::worker_service_client::WorkerServiceClient,
};
use serde_json::Value;
use tonic::{
    Request, Status, Streaming,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use super::host::{self, PATIENCE};

/// A channel that shows its key.
pub type Authorized = InterceptedService<Channel, Bearer>;

/// Puts the key into every call.
#[derive(Clone, Debug)]
pub struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// A client of one server. Connects when it is first used, and again after the server was away.
#[derive(Clone, Debug)]
pub struct Client {
    endpoint: Endpoint,
    channel: Channel,
    bearer: Bearer,
}

impl Client {
    /// A client of the server at HOST:PORT.
    pub fn new(address: &str, key: &str) -> Result<Self> {
        // Wide windows, so that no test of the server's patience ends at the client's own.
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?
            .initial_connection_window_size(8 << 20)
            .connect_timeout(Duration::from_secs(5));
        let bearer = format!("Bearer {key}").parse().context("a key is ASCII")?;
        Ok(Self { channel: endpoint.connect_lazy(), endpoint, bearer: Bearer(bearer) })
    }

    /// The same with a connection of its own, as another process would have.
    pub fn another(&self) -> Self {
        Self { channel: self.endpoint.connect_lazy(), ..self.clone() }
    }

    /// The channel with the key, for any stub.
    pub fn authorized(&self) -> Authorized {
        InterceptedService::new(self.channel.clone(), self.bearer.clone())
    }

    /// Jobs and runs.
    pub fn scheduler(&self) -> SchedulerServiceClient<Authorized> {
        SchedulerServiceClient::new(self.authorized())
    }

    /// Queues and workers.
    pub fn queues(&self) -> QueueServiceClient<Authorized> {
        QueueServiceClient::new(self.authorized())
    }

    /// The server itself.
    pub fn admin(&self) -> AdminServiceClient<Authorized> {
        AdminServiceClient::new(self.authorized())
    }

    /// The worker's side.
    pub fn worker(&self) -> WorkerServiceClient<Authorized> {
        WorkerServiceClient::new(self.authorized())
    }

    /// Submits a run.
    pub async fn submit(&self, run: RunSubmission) -> Result<String, Status> {
        let request = SubmitRunRequest { namespace: String::new(), run: Some(run) };
        let run = self.scheduler().submit_run(request).await?.into_inner().run;
        Ok(run.unwrap_or_default().run_id)
    }

    /// Cancels a run; the state it is in then, in the words of the contract without their prefix.
    pub async fn cancel(&self, id: &str) -> Result<&'static str, Status> {
        let request = CancelRunRequest { run_id: id.into(), note: "on purpose".into(), ..CancelRunRequest::default() };
        let run = self.scheduler().cancel_run(request).await?.into_inner().run.unwrap_or_default();
        let state = run.state().as_str_name();
        Ok(state.strip_prefix("RUN_STATE_").unwrap_or(state))
    }

    /// The run as it stands.
    pub async fn run(&self, id: &str) -> Result<Run> {
        let request = GetRunRequest { run_id: id.into(), ..GetRunRequest::default() };
        self.scheduler().get_run(request).await?.into_inner().run.context("an answer without a run")
    }

    /// Waits until a run is over, however often the server goes away meanwhile.
    pub async fn over(&self, id: &str, limit: Duration) -> Result<Run> {
        host::within(limit, &format!("the end of run {id}"), async {
            loop {
                let timeout = prost_types::Duration { seconds: 30, nanos: 0 };
                let request = WaitRunRequest { namespace: String::new(), run_id: id.into(), timeout: Some(timeout) };
                match self.scheduler().wait_run(request).await {
                    Ok(answer) => {
                        let answer = answer.into_inner();
                        if answer.done {
                            return answer.run.context("an answer without a run");
                        }
                    }
                    Err(status) if is_away(&status) => {
                        host::pass_time(Duration::from_millis(50), "a server that is away cannot say when it is back")
                            .await;
                    }
                    Err(status) => bail!("run {id}: {status}"),
                }
            }
        })
        .await?
    }

    /// Waits until a run has succeeded.
    pub async fn succeeded(&self, id: &str, limit: Duration) -> Result<Run> {
        let run = self.over(id, limit).await?;
        ensure!(run.state() == RunState::Succeeded, "run {id} ended {}: {run:?}", run.state().as_str_name());
        Ok(run)
    }

    /// Watches events from now on: whatever happens after this returns is in the stream.
    pub async fn watch(&self, topics: &[EventTopic], job: &str, run: &str) -> Result<Watch> {
        let wanted = [("job", job), ("run_id", run)].into_iter().filter(|(_, name)| !name.is_empty());
        let filter: Vec<_> = wanted.map(|(field, name)| format!("{field} = \"{name}\"")).collect();
        let request = WatchEventsRequest {
            topics: topics.iter().map(|topic| i32::from(*topic)).collect(),
            filter: filter.join(" AND "),
            ..WatchEventsRequest::default()
        };
        Ok(Watch(self.scheduler().watch_events(request).await?.into_inner()))
    }

    /// Creates a job.
    pub async fn create_job(&self, job: Job) -> Result<Job> {
        let request = CreateJobRequest { job: Some(job), ..CreateJobRequest::default() };
        self.scheduler().create_job(request).await?.into_inner().job.context("an answer without a job")
    }
}

/// Events as they come.
#[derive(Debug)]
pub struct Watch(Streaming<WatchEventsResponse>);

impl Watch {
    /// The next event.
    pub async fn next(&mut self) -> Result<Event> {
        let event = host::within(PATIENCE, "an event", self.0.message()).await??;
        event.context("the events have ended")?.event.context("an answer without an event")
    }

    /// Waits until an event of a run fits.
    pub async fn run(&mut self, mut fits: impl FnMut(&event::Detail) -> bool) -> Result<Event> {
        host::within(PATIENCE, "an event that fits", async {
            loop {
                let event = self.next().await?;
                if event.detail.as_ref().is_some_and(&mut fits) {
                    return Ok(event);
                }
            }
        })
        .await?
    }

    /// Waits until any run is in a state.
    pub async fn any_state(&mut self, state: RunState) -> Result<Event> {
        let fits = |detail: &event::Detail| matches!(detail, event::Detail::Run(event) if event.state() == state);
        self.run(fits).await.with_context(|| format!("a run: {}", state.as_str_name()))
    }

    /// Waits until a run is in a state.
    pub async fn state(&mut self, run: &str, state: RunState) -> Result<Event> {
        let fits = |detail: &event::Detail| matches!(detail, event::Detail::Run(event) if event.run_id == run && event.state() == state);
        self.run(fits).await.with_context(|| format!("run {run}: {}", state.as_str_name()))
    }
}

/// Whether a call failed because the server, or the way to it, is away: what it did is not known.
pub fn is_away(status: &Status) -> bool {
    use tonic::Code;

    matches!(
        status.code(),
        Code::Unavailable | Code::Unknown | Code::Cancelled | Code::DeadlineExceeded | Code::Internal | Code::Aborted
    )
}

/// A payload of JSON.
pub fn json(value: &Value) -> Payload {
    Payload { content_type: "application/json".into(), data: Some(payload::Data::Inline(value.to_string().into())) }
}

/// A run to submit: retried soon, because tests have little time.
pub fn work(job_type: &str, input: &Value) -> RunSubmission {
    RunSubmission {
        job_type: job_type.into(),
        payload: Some(json(input)),
        retry_policy: Some(soon()),
        ..RunSubmission::default()
    }
}

/// A job that fires every second, whatever its runs do.
pub fn every_second(name: &str, job_type: &str, input: &Value) -> Job {
    Job {
        job: name.into(),
        job_type: job_type.into(),
        payload: Some(json(input)),
        schedules: vec![Schedule { rule: Some(schedule::Rule::Cron("* * * * * *".into())), ..Schedule::default() }],
        overlap: Overlap::Allow.into(),
        retry_policy: Some(soon()),
        ..Job::default()
    }
}

fn soon() -> RetryPolicy {
    RetryPolicy {
        max_attempts: Some(3),
        initial_backoff: Some(prost_types::Duration { seconds: 0, nanos: 200_000_000 }),
        multiplier: 1.0,
        max_losses: Some(3),
        ..RetryPolicy::default()
    }
}
