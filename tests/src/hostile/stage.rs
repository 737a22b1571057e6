//! A server process with something of everything in it, credentials of every role, and clients on connections of their
//! own.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use mainspring_proto::{
    auth::v1::{
        CreateApiKeyRequest, LoginRequest, RoleBinding, auth_service_client::AuthServiceClient,
        user_service_client::UserServiceClient,
    },
    common::v1::Timeouts,
    scheduler::v1::{
        BackfillJobRequest, Calendar, CreateCalendarRequest, CreateJobRequest, CreateSinkRequest, DeleteJobRequest,
        Interval, Job, ListDeliveriesRequest, ListJobsRequest, ListRunsRequest, Queue, RunSubmission, Schedule, Sink,
        UpdateQueueRequest, schedule::Rule,
    },
};
use serde_json::json;
use tonic::transport::{Channel, Endpoint};

use super::{
    call,
    known::{Known, PASSWORDS, TOLD},
    request::{Caller, GARBAGE, Request},
};
use crate::harness::{
    client::{Authorized, Client, work},
    host::PATIENCE,
    server::{Server, Settings},
    session::{BareWorker, Session},
};

/// Connections of the attacker.
const CONNECTIONS: usize = 4;
const ROLES: [&str; 4] = ["admin", "operator", "viewer", "worker"];
/// Things of each kind.
const FEW: usize = 8;
/// Things that are used up.
const MANY: usize = 200;
/// Long: the worker that may be drained never says a word, and is there to the end.
const LEASE: Duration = Duration::from_secs(1_800);

/// The server under attack.
pub(super) struct Stage {
    pub(super) server: Server,
    pub(super) known: Known,
    channels: Vec<Channel>,
    keys: Vec<(&'static str, String)>,
    access_token: String,
    /// May be drained by anybody.
    _worker: Session,
}

impl Stage {
    pub(super) async fn set() -> Result<Self> {
        let more = [
            ("MAINSPRING_ROOT_PASSWORD", PASSWORDS[0]),
            // Refusals are told at info, and there will be many.
            ("RUST_LOG", "warn"),
        ];
        let more = more.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let server = Server::start(Settings { more, ..Settings::with_lease(LEASE) }).await?;
        let client = server.client()?;
        let mut worker = BareWorker::new(&["greet"], 3);
        let session = worker.connect(&client).await?;
        let mut known = Known { workers: vec![worker.instance], ..Known::default() };
        known.folder = server.folder("copies")?.to_str().context("a folder has a name")?.to_owned();
        for number in 0..FEW {
            let queue = Queue { queue: format!("q-{number}"), ..Queue::default() };
            let request = UpdateQueueRequest { queue: Some(queue), allow_missing: true, ..Default::default() };
            let queue = client.queues().update_queue(request).await?.into_inner().queue.context("a queue")?;
            known.queues.push(queue.queue);
        }
        for number in 0..MANY {
            let run = client.submit(work("nobody", &json!(null))).await?;
            if number % 2 == 0 {
                client.cancel(&run).await?;
            }
            known.runs.push(run);
        }
        let runs = ListRunsRequest { page_size: 1, ..Default::default() };
        known.page_tokens.push(client.scheduler().list_runs(runs).await?.into_inner().next_page_token);
        let jobs = ListJobsRequest { page_size: 1, ..Default::default() };
        known.page_tokens.push(client.scheduler().list_jobs(jobs).await?.into_inner().next_page_token);
        let mut keys = Vec::new();
        for role in ROLES {
            keys.push((role, key(&client.authorized(), role).await?.1));
        }
        for _ in 0..MANY {
            known.keys.push(key(&client.authorized(), "viewer").await?.0);
        }
        let address = format!("http://{}", server.address());
        let endpoint = Endpoint::from_shared(address)?;
        let channels = (0..CONNECTIONS).map(|_| endpoint.connect_lazy()).collect();
        let mut stage = Self { server, known, channels, keys, access_token: String::new(), _worker: session };
        for _ in 0..FEW {
            stage.sign_in().await?;
        }
        stage.restock().await?;
        for number in 0..FEW {
            let at = |seconds: i64| Some(prost_types::Timestamp { seconds, nanos: 0 });
            let job = format!("kept-{number}");
            let (from_time, to_time) = (at(1_700_000_000), at(1_701_000_000));
            let request = BackfillJobRequest { job, from_time, to_time, ..BackfillJobRequest::default() };
            let begun = client.scheduler().backfill_job(request).await?.into_inner().backfill.context("a backfill")?;
            stage.known.backfills.push(begun.backfill_id);
        }
        Ok(stage)
    }

    /// Makes the jobs, calendars and sinks again that are not there: the attack may have deleted them.
    pub(super) async fn restock(&mut self) -> Result<()> {
        let client = self.server.client()?;
        let mut scheduler = client.scheduler();
        for number in 0..FEW {
            let calendar = Calendar { calendar: format!("days-{number}"), ..Calendar::default() };
            let request = CreateCalendarRequest { calendar: Some(calendar.clone()), ..Default::default() };
            match client.admin().create_calendar(request).await {
                Ok(_) => self.known.calendars.push(calendar.calendar),
                Err(status) if status.code() == tonic::Code::AlreadyExists => {}
                Err(status) => bail!("no calendar: {status}"),
            }
            let name = format!("ops-{number}");
            let sink = Sink { sink: name.clone(), url: "https://localhost/".into(), ..Sink::default() };
            let request = CreateSinkRequest { sink: Some(sink), ..CreateSinkRequest::default() };
            match client.admin().create_sink(request).await {
                Ok(_) => self.known.sinks.push(name),
                Err(status) if status.code() == tonic::Code::AlreadyExists => {}
                Err(status) => bail!("no sink: {status}"),
            }
            let every = Some(prost_types::Duration { seconds: 10 * 86_400, nanos: 0 });
            let rule = Some(Rule::Interval(Interval { every, ..Interval::default() }));
            let schedules = vec![Schedule { rule, ..Schedule::default() }];
            let job = Job { job: format!("kept-{number}"), job_type: "nobody".into(), schedules, ..Job::default() };
            let request = CreateJobRequest { job: Some(job), ..CreateJobRequest::default() };
            match scheduler.create_job(request).await {
                Ok(answer) => {
                    let job = answer.into_inner().job.context("a job")?;
                    self.known.jobs.push(job.job);
                    self.known.etags.push(job.etag);
                }
                Err(status) if status.code() == tonic::Code::AlreadyExists => {}
                Err(status) => bail!("no job: {status}"),
            }
            let gone = format!("gone-{number}");
            let job = Job { job: gone.clone(), job_type: "nobody".into(), ..Job::default() };
            let request = CreateJobRequest { job: Some(job), ..CreateJobRequest::default() };
            // One that the attack brought back is deleted again.
            drop(scheduler.create_job(request).await);
            let request = DeleteJobRequest { job: gone.clone(), ..DeleteJobRequest::default() };
            scheduler.delete_job(request).await.context("a job to be brought back")?;
            self.known.gone.push(gone);
        }
        if self.known.deliveries.is_empty() {
            self.tell(&client).await?;
        }
        Ok(())
    }

    /// A run that nobody takes in time, of which a sink is told.
    async fn tell(&mut self, client: &Client) -> Result<()> {
        let sink = Sink { sink: TOLD.into(), url: "https://localhost/".into(), ..Sink::default() };
        client.admin().create_sink(CreateSinkRequest { sink: Some(sink), ..Default::default() }).await?;
        let queue = Some(prost_types::Duration { seconds: 0, nanos: 1_000_000 });
        let timeouts = Some(Timeouts { queue, ..Timeouts::default() });
        let run = RunSubmission { job_type: "nobody".into(), timeouts, ..RunSubmission::default() };
        let run = client.submit(run).await?;
        client.over(&run, PATIENCE).await?;
        let request = ListDeliveriesRequest { sink: TOLD.into(), ..ListDeliveriesRequest::default() };
        let told = client.admin().list_deliveries(request).await?.into_inner().deliveries;
        self.known.deliveries = told.into_iter().map(|one| one.delivery_id).collect();
        Ok(())
    }

    /// Signs `root` in, whichever its password is now: what is about the caller may have ended the session.
    pub(super) async fn sign_in(&mut self) -> Result<()> {
        let mut auth = AuthServiceClient::new(self.channels[0].clone());
        for password in PASSWORDS {
            let login = LoginRequest { username: "root".into(), password: password.into(), client_name: "t".into() };
            match auth.login(login).await {
                Ok(answer) => {
                    let tokens = answer.into_inner().tokens.context("tokens")?;
                    self.access_token = tokens.access_token;
                    self.known.refresh_tokens.push(tokens.refresh_token);
                    return Ok(());
                }
                Err(status) if status.code() == tonic::Code::Unauthenticated => {}
                Err(status) => bail!("no login: {status}"),
            }
        }
        bail!("`root` has another password than the attacker gave it")
    }

    /// Sends a request over one of the connections.
    pub(super) async fn send(
        &self,
        path: &str,
        request: Request,
        connection: usize,
        patience: Duration,
    ) -> Result<call::Answer> {
        let authorization = match request.caller {
            Caller::Key(role) => {
                let key = self.keys.iter().find(|(name, _)| *name == role).map(|(_, key)| key.as_str());
                key.map(|key| format!("Bearer {key}"))
            }
            Caller::Session => Some(format!("Bearer {}", self.access_token)),
            Caller::Anonymous => None,
            Caller::Garbage(number) => GARBAGE.get(number).map(|text| (*text).to_owned()),
        };
        let headers = call::headers(authorization.as_deref(), &request.headers);
        let channel = &self.channels[connection % CONNECTIONS];
        call::call(channel, path, headers, request.body, request.stays_open, patience).await
    }
}

/// A key with a role, and its id.
async fn key(authorized: &Authorized, role: &str) -> Result<(String, String)> {
    let bindings = vec![RoleBinding { role: role.into(), namespace: String::new() }];
    let request = CreateApiKeyRequest { name: role.into(), bindings, ..CreateApiKeyRequest::default() };
    let made = UserServiceClient::new(authorized.clone()).create_api_key(request).await?.into_inner();
    Ok((made.api_key.context("a key")?.key_id, made.secret))
}
