//! What a test of faults plays on: one server, some workers, some jobs, and the folder of evidence.

use std::{path::PathBuf, time::Duration};

use anyhow::{Result, ensure};
use mainspring_proto::scheduler::v1::{Job, RunSubmission};
use rustix::process::Signal;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    client::{Client, every_second},
    host,
    journal::{Evidence, Journal},
    judge::{self, Judgement},
    proxy::Proxy,
    server::{self, Server},
    worker::{self, TestWorker},
};

/// How long a killed worker's run may take to start elsewhere, beyond the lease.
pub const REDISPATCH_GRACE: Duration = Duration::from_secs(2);
/// The server gives its sessions 30 s to leave.
const STOP: Duration = Duration::from_secs(50);

/// A place for a worker: its process is replaced when it dies.
#[derive(Debug)]
pub struct Place {
    /// The process that holds it now.
    pub worker: TestWorker,
    /// The way to the server that can be broken, where there is one.
    pub proxy: Option<Proxy>,
    slots: u32,
    lives: u32,
}

#[derive(Debug)]
pub struct Scene {
    /// The server; killed and started again, it is still this one.
    pub server: Server,
    /// A client of it.
    pub client: Client,
    /// What everybody wrote down.
    pub evidence: Evidence,
    /// The workers.
    pub places: Vec<Place>,
    /// Jobs that fire every second.
    pub jobs: Vec<Job>,
    /// What the client did.
    pub diary: Journal,
    /// What was broken.
    nemesis: Journal,
}

impl Scene {
    /// Starts a server with the judge's triggers in its database.
    pub async fn set(lease: Duration) -> Result<Self> {
        Self::set_with(server::Settings::with_lease(lease)).await
    }

    /// The same with further settings.
    pub async fn set_with(settings: server::Settings) -> Result<Self> {
        let lease = settings.lease;
        let server = Server::start(settings).await?;
        judge::arm(&server.database()).await?;
        let evidence = Evidence::create(server.folder("evidence")?)?;
        let (diary, nemesis) = (evidence.journal("client")?, evidence.journal("nemesis")?);
        let setup = json!({
            "e": "SETUP", "lease_ms": lease.as_millis() as u64, "redispatch_grace_ms": REDISPATCH_GRACE.as_millis() as u64,
        });
        nemesis.note(setup)?;
        let client = server.client()?;
        Ok(Self { server, client, evidence, places: Vec::new(), jobs: Vec::new(), diary, nemesis })
    }

    /// Adds workers, each by a proxy of its own if so asked.
    pub async fn add_workers(&mut self, count: usize, slots: u32, by_proxy: bool) -> Result<()> {
        for number in self.places.len()..self.places.len() + count {
            let proxy = if by_proxy { Some(Proxy::start(self.server.address()).await?) } else { None };
            let settings = settings(number, 0, slots, proxy.as_ref());
            let worker = TestWorker::start(&self.server, &self.evidence, &settings).await?;
            self.places.push(Place { worker, proxy, slots, lives: 0 });
        }
        Ok(())
    }

    /// Adds jobs that fire every second.
    pub async fn add_jobs(&mut self, count: usize) -> Result<()> {
        for number in 0..count {
            let (job_type, input) =
                if number % 2 == 0 { ("t.noop", json!(null)) } else { ("t.sleep", json!({"ms": 100})) };
            let job = self.client.create_job(every_second(&format!("every-second-{number}"), job_type, &input)).await?;
            self.diary.note(json!({"e": "JOB", "uid": job.uid, "job": job.job, "rule": "* * * * * *"}))?;
            self.jobs.push(job);
        }
        Ok(())
    }

    /// Kills the server, and returns at once.
    pub fn strike_server(&self) -> Result<()> {
        self.nemesis.note(json!({"e": "FAULT", "kind": "KILL", "target": "SERVER"}))?;
        self.server.signal(Signal::KILL)
    }

    /// Kills the server, and starts it again after a while.
    pub async fn kill_server(&mut self, down: Duration) -> Result<()> {
        self.strike_server()?;
        self.revive_server(down).await
    }

    /// Starts the server again, a while after it died.
    pub async fn revive_server(&mut self, down: Duration) -> Result<()> {
        self.server.died().await?;
        host::pass_time(down, "a dead server is dead for a while").await;
        self.server.restart().await?;
        self.nemesis.note(json!({"e": "BACK", "target": "SERVER"}))?;
        Ok(())
    }

    /// Kills a worker, and starts another in its place.
    pub async fn kill_worker(&mut self, index: usize) -> Result<()> {
        let Some(place) = self.places.get_mut(index) else { return Ok(()) };
        let fault = json!({"e": "FAULT", "kind": "KILL", "target": "WORKER", "worker": place.worker.id()});
        self.nemesis.note(fault)?;
        place.worker.kill().await?;
        place.lives += 1;
        let settings = settings(index, place.lives, place.slots, place.proxy.as_ref());
        place.worker = TestWorker::launch(&self.server, &self.evidence, &settings).await?;
        Ok(())
    }

    /// Stops a worker for a while, without ending it.
    pub async fn pause_worker(&mut self, index: usize, length: Duration) -> Result<()> {
        let Some(place) = self.places.get_mut(index) else { return Ok(()) };
        let id = place.worker.id().to_owned();
        self.nemesis.note(json!({"e": "FAULT", "kind": "PAUSE", "target": "WORKER", "worker": id}))?;
        place.worker.process().signal(Signal::STOP)?;
        host::pass_time(length, "how long a worker stands still decides what becomes of its leases").await;
        place.worker.process().signal(Signal::CONT)?;
        self.nemesis.note(json!({"e": "BACK", "kind": "PAUSE", "target": "WORKER", "worker": id}))?;
        Ok(())
    }

    /// Notes that a worker's stream was broken, or is whole again.
    pub fn note_stream(&self, index: usize, kind: &str, broken: bool) -> Result<()> {
        let worker = self.places.get(index).map(|place| place.worker.id());
        let event = if broken { "FAULT" } else { "BACK" };
        self.nemesis.note(json!({"e": event, "kind": kind, "target": "STREAM", "worker": worker}))?;
        Ok(())
    }

    /// Waits until every worker has a session, and notes that nothing is broken any more.
    pub async fn heal(&mut self, allowed: Duration) -> Result<Value> {
        for place in &mut self.places {
            place.worker.connected().await?;
        }
        let (t, wall) = host::both();
        let healed = json!({"e": "HEALED", "t": t, "wall": wall, "allowed_ms": allowed.as_millis() as u64});
        self.nemesis.note(healed.clone())?;
        Ok(healed)
    }

    /// Stops everything in order: workers first, then the server.
    pub async fn stop(&mut self) -> Result<()> {
        for place in &mut self.places {
            let status = place.worker.terminate(STOP).await?;
            ensure!(status.success(), "worker {} left with {status}", place.worker.id());
        }
        let status = self.server.terminate(STOP).await?;
        ensure!(status.success(), "the server stopped with {status}");
        Ok(())
    }

    /// Lets the judge look at everything.
    pub async fn judge(&self, without: &[&str]) -> Result<Judgement> {
        judge::judge(&self.server.database(), &self.evidence, without, false).await
    }

    /// Stops everything in order, and fails unless the judge finds that everything held. Returns what it counted.
    pub async fn acquit(&mut self, without: &[&str]) -> Result<Value> {
        self.stop().await?;
        judge::acquit(&self.server.database(), &self.evidence, without).await
    }

    /// Submits a run as a client that keeps a diary.
    pub async fn submit(&self, run: RunSubmission) -> Result<String> {
        let run = match run.request_id.as_str() {
            "" => RunSubmission { request_id: format!("r-{}", Uuid::now_v7()), ..run },
            _ => run,
        };
        let request = run.request_id.clone();
        self.diary.note(json!({"e": "SENT", "request": request, "max_attempts": 3, "max_losses": 3}))?;
        match self.client.submit(run).await {
            Ok(id) => {
                self.diary.note(json!({"e": "ACKED", "request": request, "run": id}))?;
                Ok(id)
            }
            Err(status) => {
                self.diary.note(json!({"e": "UNKNOWN", "request": request, "error": status.to_string()}))?;
                Err(status.into())
            }
        }
    }

    /// Keeps the folder, and says where it is.
    pub fn keep(&mut self) -> Option<PathBuf> {
        self.places.clear();
        self.server.keep()
    }
}

fn settings(number: usize, life: u32, slots: u32, proxy: Option<&Proxy>) -> worker::Settings {
    let settings = worker::Settings::new(&format!("{number}-{life}"), slots);
    match proxy {
        Some(proxy) => settings.through(proxy.address()),
        None => settings,
    }
}
