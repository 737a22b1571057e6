//! A server inside the test's own process, whose clock stands still until the test moves it: what happens over its socket
//! while nobody moves the clock did not happen by waiting.

use anyhow::{Context as _, Result};
use mainspring_engine::domain::instant::Instant;
use mainspring_server::{
    config::{Config, ListenConfig},
    wiring::{self, Running},
};
use tempfile::TempDir;

use super::client::Client;
use crate::manual_clock::ManualClock;

/// A running server with the default lease, and its clock. It ends with the test.
#[derive(Debug)]
pub struct StillServer {
    /// The only now it has.
    pub clock: ManualClock,
    running: Running,
    key: String,
    _home: TempDir,
}

impl StillServer {
    /// Starts it in a folder of its own, on a free port.
    pub async fn start() -> Result<Self> {
        Self::with(|_| {}).await
    }

    /// Starts one with other settings.
    pub async fn with(change: impl FnOnce(&mut Config)) -> Result<Self> {
        let home = tempfile::tempdir()?;
        let mut config = Config { dev: true, listen: ListenConfig::loopback(0), ..Config::default() };
        config.database.data = home.path().join("data");
        change(&mut config);
        let clock = ManualClock::at(Instant::from_micros(1_800_000_000_000_000));
        let running = wiring::start_on(std::sync::Arc::new(clock.clone()), config).await?;
        let key = std::fs::read_to_string(home.path().join("data").join("dev-api-key"))?;
        Ok(Self { clock, running, key, _home: home })
    }

    /// A client of it that may do everything.
    pub fn client(&self) -> Result<Client> {
        self.client_with(&self.key)
    }

    /// A client that shows this credential.
    pub fn client_with(&self, credential: &str) -> Result<Client> {
        let address = self.running.addresses().first().context("a server listens somewhere")?;
        Client::new(&address.to_string(), credential)
    }
}
