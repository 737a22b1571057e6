//! The test worker as a process: the SDK, a handful of handlers, and a file of what it really did.
//!
//! The program is `src/bin/mainspring-test-worker.rs`. Its stdout tells what a test waits for: `id ID` first, then
//! `up SESSION` and `down SESSION`.

use std::{process::ExitStatus, time::Duration};

use anyhow::Result;
use tokio::process::Command;

use super::{journal::Evidence, process::Process, programs, server::Server};

/// What a worker is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Tells it from others, in files and logs.
    pub name: String,
    /// How many runs it executes at once.
    pub slots: u32,
    /// Where it connects; the server itself, or a proxy.
    pub address: Option<String>,
}

impl Settings {
    /// A worker that connects to the server itself.
    pub fn new(name: &str, slots: u32) -> Self {
        Self { name: name.into(), slots, address: None }
    }

    /// The same by way of a proxy.
    pub fn through(self, address: String) -> Self {
        Self { address: Some(address), ..self }
    }
}

/// A worker process.
#[derive(Debug)]
pub struct TestWorker {
    process: Process,
    id: String,
    connected: bool,
}

impl TestWorker {
    /// Starts a worker of a server. It may not have a session yet.
    pub async fn launch(server: &Server, evidence: &Evidence, settings: &Settings) -> Result<Self> {
        let Settings { name, slots, address } = settings;
        let address = address.as_deref().unwrap_or_else(|| server.address());
        let mut command = Command::new(programs::path(programs::TEST_WORKER)?);
        command.args(["--slots", &slots.to_string(), "--evidence"]).arg(evidence.path(&format!("worker-{name}")));
        command.env_clear().env("HOME", server.home()).env("RUST_BACKTRACE", "1").env("RUST_LOG", "info");
        command.env("MAINSPRING_ADDRESS", format!("http://{address}")).env("MAINSPRING_API_KEY", server.key());
        command.env("MAINSPRING_WORKER_NAME", name);
        let mut process = Process::start(&format!("worker-{name}"), &server.folder("workers")?, command)?;
        let id = process.line_after("id ").await?;
        Ok(Self { process, id, connected: false })
    }

    /// Starts a worker and waits until it has a session.
    pub async fn start(server: &Server, evidence: &Evidence, settings: &Settings) -> Result<Self> {
        let mut worker = Self::launch(server, evidence, settings).await?;
        worker.up().await?;
        Ok(worker)
    }

    /// The id it has for the server.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Waits until the next session begins.
    pub async fn up(&mut self) -> Result<String> {
        let session = self.process.line_after("up ").await?;
        self.connected = true;
        Ok(session)
    }

    /// Waits until the next session ends.
    pub async fn down(&mut self) -> Result<String> {
        let session = self.process.line_after("down ").await?;
        self.connected = false;
        Ok(session)
    }

    /// Waits until it has a session, however many it had before.
    pub async fn connected(&mut self) -> Result<()> {
        while let Some(line) = self.process.said() {
            self.connected = match line.split(' ').next() {
                Some("up") => true,
                Some("down") => false,
                _ => self.connected,
            };
        }
        if !self.connected {
            self.up().await?;
        }
        Ok(())
    }

    /// SIGKILL.
    pub async fn kill(&mut self) -> Result<()> {
        self.process.kill().await
    }

    /// SIGTERM; returns how it ended.
    pub async fn terminate(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.process.terminate(limit).await
    }
}
