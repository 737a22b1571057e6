//! Where a repetition plays: a server of its own, and beside it the worker and the load as processes.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result};
use serde::de::DeserializeOwned;
use sqlx::{Connection as _, Row as _, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::process::Command;

use super::{load::Report, machine, worker::Handled};
use crate::harness::{
    host::{self, PATIENCE},
    process::Process,
    programs,
    server::{Server, Settings},
};

/// The lease of a server that nobody breaks.
const LEASE: Duration = Duration::from_secs(15);

/// A server, measured from outside.
pub(super) struct Stage {
    pub(super) server: Server,
}

impl Stage {
    pub(super) async fn set(synchronous: &str) -> Result<Self> {
        let mut settings = Settings::with_lease(LEASE);
        settings.more = vec![("MAINSPRING_DATABASE__SYNCHRONOUS".into(), synchronous.into())];
        Ok(Self { server: Server::start(settings).await? })
    }

    /// The server's process.
    pub(super) fn pid(&mut self) -> Result<u32> {
        self.server.process()?.pid().context("the server has ended")
    }

    /// The server's memory, in MiB.
    pub(super) fn memory(&mut self) -> Result<f64> {
        Ok(machine::mebi(self.server.process()?.resident()?))
    }

    /// A worker with a session, that will handle so many runs.
    pub(super) async fn worker(&self, slots: u32, expected: u64) -> Result<Worker> {
        let mut process = self.part("worker", &[("slots", slots.into()), ("expected", expected)])?;
        process.line_after("up").await?;
        Ok(Worker(process))
    }

    /// Plays a load to its end.
    pub(super) async fn load(&self, kind: &str, count: u64, more: &[(&str, u64)]) -> Result<Report> {
        let mut load = self.start_load(kind, count, more)?;
        report(&mut load).await
    }

    /// Starts a load.
    pub(super) fn start_load(&self, kind: &str, count: u64, more: &[(&str, u64)]) -> Result<Process> {
        let mut numbers = vec![("count", count)];
        numbers.extend(more);
        self.part(kind, &numbers)
    }

    fn part(&self, role: &str, numbers: &[(&str, u64)]) -> Result<Process> {
        let mut command = Command::new(programs::path(programs::BENCH)?);
        command.args(["part", role]);
        command.args(numbers.iter().map(|(name, number)| format!("--{name}={number}")));
        command.env_clear().env("HOME", self.server.home()).env("RUST_LOG", "warn");
        command.env("MAINSPRING_ADDRESS", format!("http://{}", self.server.address()));
        command.env("MAINSPRING_API_KEY", self.server.key());
        Process::start(role, self.server.home(), command)
    }

    /// Waits until every run is over in the database, and says when that was.
    pub(super) async fn all_over(&self) -> Result<i64> {
        let database = self.server.database();
        host::within(PATIENCE, "the last outcome in the database", async {
            while !nothing_open(&database).await? {
                host::pass_time(Duration::from_millis(5), "the database is read from outside, and tells nobody").await;
            }
            Ok(host::wall())
        })
        .await?
    }
}

/// The worker's process.
pub(super) struct Worker(Process);

impl Worker {
    /// Ends it in order: what it holds is over, and what it was sent goes back.
    pub(super) async fn leave(mut self) -> Result<()> {
        self.0.terminate(PATIENCE).await?;
        Ok(())
    }

    /// Waits until it has handled all it was started for.
    pub(super) async fn handled(&mut self) -> Result<Handled> {
        loop {
            // A long scenario says nothing for longer than anybody would wait for one line.
            if let Ok(line) = self.0.line().await
                && let Some(json) = line.strip_prefix("handled ")
            {
                return Ok(serde_json::from_str(json)?);
            }
            self.0.pid().context("the worker has ended")?;
        }
    }
}

/// What a load says at its end.
pub(super) async fn report<T: DeserializeOwned>(load: &mut Process) -> Result<T> {
    loop {
        if let Ok(line) = load.line().await
            && let Some(json) = line.strip_prefix("report ")
        {
            return Ok(serde_json::from_str(json)?);
        }
        load.pid().with_context(|| load.tails())?;
    }
}

impl Stage {
    /// The number that a question to the database is answered with.
    pub(super) async fn ask(&self, sql: &'static str) -> Result<i64> {
        let options = SqliteConnectOptions::new().filename(self.server.database()).read_only(true);
        let mut db = SqliteConnection::connect_with(&options).await?;
        let answer = sqlx::query(sql).fetch_one(&mut db).await?.get(0);
        db.close().await?;
        Ok(answer)
    }
}

async fn nothing_open(database: &Path) -> Result<bool> {
    let options = SqliteConnectOptions::new().filename(database).read_only(true);
    let mut db = SqliteConnection::connect_with(&options).await?;
    let row = sqlx::query("SELECT count(*) FROM run WHERE end_time IS NULL").fetch_one(&mut db).await?;
    let open: i64 = row.get(0);
    db.close().await?;
    Ok(open == 0)
}
