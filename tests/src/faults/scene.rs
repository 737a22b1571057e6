//! What a case plays on: one server, some workers, some jobs, and the folder of evidence.

use std::{path::PathBuf, time::Duration};

use anyhow::{Result, ensure};
use mainspring_proto::scheduler::v1::Job;
use serde_json::{Value, json};

use crate::harness::{
    client::{Client, every_second},
    host,
    journal::{Evidence, Journal},
    judge::{self, Judgement},
    proxy::Proxy,
    server::{self, Server},
    worker::{self, TestWorker},
};

/// How long a killed worker's run may take to start elsewhere, beyond the lease.
pub(super) const REDISPATCH_GRACE: Duration = Duration::from_secs(2);
/// The server gives its sessions 30 s to leave.
const STOP: Duration = Duration::from_secs(50);

/// A place for a worker: its process is replaced when it dies.
pub(super) struct Place {
    pub(super) worker: TestWorker,
    /// The way to the server that can be broken, where there is one.
    pub(super) proxy: Option<Proxy>,
    slots: u32,
    lives: u32,
}

pub(super) struct Scene {
    pub(super) server: Server,
    pub(super) client: Client,
    pub(super) evidence: Evidence,
    pub(super) places: Vec<Place>,
    pub(super) jobs: Vec<Job>,
    /// What the client did.
    pub(super) diary: Journal,
    /// What was broken.
    nemesis: Journal,
}

impl Scene {
    /// Starts a server with the judge's triggers in its database.
    pub(super) async fn set(lease: Duration) -> Result<Self> {
        let server = Server::start(server::Settings::with_lease(lease)).await?;
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
    pub(super) async fn add_workers(&mut self, count: usize, slots: u32, by_proxy: bool) -> Result<()> {
        for number in self.places.len()..self.places.len() + count {
            let proxy = if by_proxy { Some(Proxy::start(self.server.address()).await?) } else { None };
            let settings = settings(number, 0, slots, proxy.as_ref());
            let worker = TestWorker::start(&self.server, &self.evidence, &settings).await?;
            self.places.push(Place { worker, proxy, slots, lives: 0 });
        }
        Ok(())
    }

    /// Adds jobs that fire every second.
    pub(super) async fn add_jobs(&mut self, count: usize) -> Result<()> {
        for number in 0..count {
            let (job_type, input) =
                if number % 2 == 0 { ("t.noop", json!(null)) } else { ("t.sleep", json!({"ms": 100})) };
            let job = self.client.create_job(every_second(&format!("every-second-{number}"), job_type, &input)).await?;
            self.diary.note(json!({"e": "JOB", "uid": job.uid, "job": job.job, "rule": "* * * * * *"}))?;
            self.jobs.push(job);
        }
        Ok(())
    }

    /// Kills the server, and starts it again after a while.
    pub(super) async fn kill_server(&mut self, down: Duration) -> Result<()> {
        self.nemesis.note(json!({"e": "FAULT", "kind": "KILL", "target": "SERVER"}))?;
        self.server.kill().await?;
        host::pass_time(down, "a dead server is dead for a while").await;
        self.server.restart().await?;
        self.nemesis.note(json!({"e": "BACK", "target": "SERVER"}))?;
        Ok(())
    }

    /// Kills a worker, and starts another in its place.
    pub(super) async fn kill_worker(&mut self, index: usize) -> Result<()> {
        let Some(place) = self.places.get_mut(index) else { return Ok(()) };
        let fault = json!({"e": "FAULT", "kind": "KILL", "target": "WORKER", "worker": place.worker.id()});
        self.nemesis.note(fault)?;
        place.worker.kill().await?;
        place.lives += 1;
        let settings = settings(index, place.lives, place.slots, place.proxy.as_ref());
        place.worker = TestWorker::launch(&self.server, &self.evidence, &settings).await?;
        Ok(())
    }

    /// Notes that a worker's stream was broken, or is whole again.
    pub(super) fn note_stream(&self, index: usize, kind: &str, broken: bool) -> Result<()> {
        let worker = self.places.get(index).map(|place| place.worker.id());
        let event = if broken { "FAULT" } else { "BACK" };
        self.nemesis.note(json!({"e": event, "kind": kind, "target": "STREAM", "worker": worker}))?;
        Ok(())
    }

    /// Waits until every worker has a session, and notes that nothing is broken any more.
    pub(super) async fn heal(&mut self, allowed: Duration) -> Result<Value> {
        for place in &mut self.places {
            place.worker.connected().await?;
        }
        let healed = json!({"e": "HEALED", "wall": host::wall(), "allowed_ms": allowed.as_millis() as u64});
        self.nemesis.note(healed.clone())?;
        Ok(healed)
    }

    /// Stops everything in order: workers first, then the server.
    pub(super) async fn stop(&mut self) -> Result<()> {
        for place in &mut self.places {
            let status = place.worker.terminate(STOP).await?;
            ensure!(status.success(), "worker {} left with {status}", place.worker.id());
        }
        let status = self.server.terminate(STOP).await?;
        ensure!(status.success(), "the server stopped with {status}");
        Ok(())
    }

    /// Lets the judge look at everything.
    pub(super) async fn judge(&self, without: &[&str]) -> Result<Judgement> {
        judge::judge(&self.server.database(), &self.evidence, without, false).await
    }

    /// Keeps the folder, and says where it is.
    pub(super) fn keep(&mut self) -> Option<PathBuf> {
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
