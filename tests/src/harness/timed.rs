//! A server in the test's own process, reached over a real socket like any other, whose clock the test moves.
//!
//! For what follows from time alone: a jump of hours costs nothing, and nobody has to guess how long to wait. What is
//! about processes, their signals and their files is shown with [`super::server`] instead.

use std::{fs, net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};
use mainspring_engine::domain::instant::Instant;
use mainspring_server::{
    config::{Config, ListenConfig},
    wiring::{self, Running},
};
use tempfile::TempDir;

use super::{
    client::Client,
    host::{self, PATIENCE},
};
use crate::manual_clock::ManualClock;

/// Some day, in microseconds. Ids are made of it, so it is not the epoch.
const START: i64 = 1_800_000_000_000_000;

/// The server of `dev`, by a clock that stands still.
#[derive(Debug)]
pub struct TimedServer {
    clock: ManualClock,
    running: Running,
    _data: TempDir,
}

impl TimedServer {
    /// Starts a server on a free port, with the defaults but for what is changed.
    pub async fn start(change: impl FnOnce(&mut Config)) -> Result<Self> {
        let data = TempDir::new()?;
        let mut config = Config { dev: true, listen: ListenConfig::loopback(0), ..Config::default() };
        config.database.data = data.path().join("data");
        change(&mut config);
        let clock = ManualClock::at(Instant::from_micros(START));
        let running = wiring::start_by(config, std::sync::Arc::new(clock.clone())).await?;
        Ok(Self { clock, running, _data: data })
    }

    /// A client with the key of `dev`.
    pub fn client(&self) -> Result<Client> {
        self.client_with(fs::read_to_string(self.running.data().join("dev-api-key"))?.trim())
    }

    /// A client with another credential.
    pub fn client_with(&self, credential: &str) -> Result<Client> {
        let address = self.running.addresses().first().context("a server has an address")?;
        Client::new(&address.to_string(), credential)
    }

    /// Where the page of metrics is, in a server that was told to have one.
    pub fn metrics(&self) -> SocketAddr {
        self.running.metrics()[0]
    }

    /// The database file.
    pub fn database(&self) -> PathBuf {
        self.running.data().join("mainspring.db")
    }

    /// What time it is there.
    pub fn now(&self) -> Instant {
        use mainspring_engine::ports::clock::Clock as _;

        self.clock.now()
    }

    /// Lets time pass there: every timer in between wakes at its own time and does its work. Minutes, not days: some
    /// wake every second.
    pub async fn pass(&self, length: Duration) -> Result<()> {
        let passed = async {
            self.clock.advance(length).await;
            self.clock.settled().await;
        };
        let passed = host::within(PATIENCE, "every timer to settle", passed).await;
        passed.with_context(|| format!("it is {}, and still at work are {:?}", self.now(), self.clock.at_work()))
    }

    /// The machine sleeps for so long: every timer that is due meanwhile wakes afterwards, and late.
    pub async fn sleep(&self, length: Duration) -> Result<()> {
        self.clock.jump(length);
        host::within(PATIENCE, "every timer to settle", self.clock.settled()).await
    }

    /// Waits until a timer of this name has gone to sleep: what it measures has begun.
    pub async fn asleep(&self, timer: &str) -> Result<()> {
        host::within(PATIENCE, &format!("timer `{timer}`"), self.clock.asleep(timer)).await
    }
}
