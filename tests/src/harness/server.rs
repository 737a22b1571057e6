//! The product's own binary as a server in a folder of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use anyhow::{Context as _, Result};
use mainspring_proto::auth::v1::{CreateApiKeyRequest, RoleBinding, user_service_client::UserServiceClient};
use rustix::process::Signal;
use serde::Deserialize;
use tempfile::TempDir;
use tokio::process::Command;

use super::{client::Client, host::PATIENCE, process::Process, programs};

/// The setting that tells the lease; the other times follow from it.
const LEASE_SETTING: &str = "MAINSPRING_LIMITS__LEASE_TTL";

/// What a server is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The lease of a worker.
    pub lease: Duration,
    /// Further settings, by environment variable.
    pub more: Vec<(String, String)>,
    /// Whether whoever starts it has SIGHUP ignored, as `nohup` does.
    pub nohup: bool,
}

impl Settings {
    /// A lease short enough for a test, and long enough for a busy machine.
    pub fn with_lease(lease: Duration) -> Self {
        Self { lease, more: Vec::new(), nohup: false }
    }
}

/// A server process, and what outlives it: folder, port, key.
#[derive(Debug)]
pub struct Server {
    settings: Settings,
    home: Home,
    address: String,
    key: String,
    /// `None` while it is down.
    process: Option<Process>,
}

/// The folder of a test. Kept where the test fails, so that somebody can look.
#[derive(Debug)]
pub(super) struct Home(Option<TempDir>);

impl Home {
    /// A new one.
    pub(super) fn make() -> Result<Self> {
        Ok(Self(Some(tempfile::Builder::new().prefix("mainspring-scene-").tempdir()?)))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        self.0.as_ref().map_or(Path::new("/nonexistent"), TempDir::path)
    }

    fn keep(&mut self) -> Option<PathBuf> {
        self.0.take().map(TempDir::keep)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(path) = self.keep()
        {
            eprintln!("kept: {}", path.display());
        }
    }
}

/// The first line of stdout.
#[derive(Debug, Deserialize)]
struct Told {
    address: String,
    api_key: String,
}

impl Server {
    /// Starts a server on a free port, in a new folder.
    pub async fn start(settings: Settings) -> Result<Self> {
        let home = Home::make()?;
        let mut server = Self { settings, home, address: String::new(), key: String::new(), process: None };
        let told = server.launch(0).await?;
        server.address = told.address;
        server.key = server.lasting_key(&told.api_key).await.context("a key that survives a restart")?;
        Ok(server)
    }

    async fn launch(&mut self, port: u16) -> Result<Told> {
        // Whoever runs the tests may have it ignored as well, and it would be so here.
        let mut command = Command::new("/usr/bin/env");
        let hangup = if self.settings.nohup { "--ignore-signal=HUP" } else { "--default-signal=HUP" };
        command.arg(hangup).arg(programs::path(programs::MAINSPRING)?);
        command.args(["dev", "--no-open", "--no-demo", "--print-addr", "json"]);
        command.args(["--port", &port.to_string()]).arg("--data").arg(self.data());
        command.env_clear().env("HOME", self.home.path()).env("RUST_BACKTRACE", "1").env("RUST_LOG", "info");
        command.env(LEASE_SETTING, format!("{}ms", self.settings.lease.as_millis()));
        command.envs(self.settings.more.iter().map(|(name, value)| (name, value)));
        let mut process = Process::start("server", self.home.path(), command)?;
        let line = process.line().await.context("the line with the server's address")?;
        let told = serde_json::from_str(&line).with_context(|| format!("what the server said first: {line}"))?;
        self.process = Some(process);
        Ok(told)
    }

    /// The key of `dev` is new at every start; workers and clients of a test outlive their server.
    async fn lasting_key(&self, key: &str) -> Result<String> {
        let client = Client::new(&self.address, key)?;
        let mut users = UserServiceClient::new(client.authorized());
        let bindings = vec![RoleBinding { role: "admin".into(), namespace: String::new() }];
        let request = CreateApiKeyRequest { name: "tests".into(), bindings, ..CreateApiKeyRequest::default() };
        Ok(users.create_api_key(request).await?.into_inner().secret)
    }

    /// Host and port.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// An administrator's key that survives restarts.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The lease of its workers.
    pub fn lease(&self) -> Duration {
        self.settings.lease
    }

    /// A client of it. Good across restarts.
    pub fn client(&self) -> Result<Client> {
        Client::new(&self.address, &self.key)
    }

    /// The folder of everything: data, logs of processes, evidence.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The folder of the database.
    pub fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// The database file.
    pub fn database(&self) -> PathBuf {
        self.data().join("mainspring.db")
    }

    /// The process, while it lives.
    pub fn process(&mut self) -> Result<&mut Process> {
        self.process.as_mut().context("the server is down")
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.as_ref().context("the server is down")?.signal(signal)
    }

    /// SIGKILL.
    pub async fn kill(&mut self) -> Result<()> {
        self.signal(Signal::KILL)?;
        self.died().await
    }

    /// Waits until it is gone.
    pub async fn died(&mut self) -> Result<()> {
        let mut process = self.process.take().context("the server is down")?;
        process.exit(PATIENCE).await?;
        Ok(())
    }

    /// SIGTERM; returns how it ended.
    pub async fn terminate(&mut self, limit: Duration) -> Result<ExitStatus> {
        let mut process = self.process.take().context("the server is down")?;
        process.terminate(limit).await
    }

    /// SIGSTOP: it is there and does nothing.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// SIGCONT.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Starts it again, in the same folder and on the same port.
    pub async fn restart(&mut self) -> Result<()> {
        let (_, port) = self.address.rsplit_once(':').context("an address has a port")?;
        let port = port.parse()?;
        self.launch(port).await?;
        Ok(())
    }

    /// Runs a command of the CLI against this server.
    pub async fn cli(&self, args: &[&str]) -> Result<std::process::Output> {
        let mut command = Command::new(programs::path(programs::MAINSPRING)?);
        command.args(args).env_clear();
        command.env("HOME", self.home.path());
        command.env("MAINSPRING_ADDRESS", &self.address).env("MAINSPRING_API_KEY", &self.key);
        Ok(command.kill_on_drop(true).output().await?)
    }

    /// The ends of its logs.
    pub fn tails(&self) -> String {
        self.process.as_ref().map(Process::tails).unwrap_or_default()
    }

    /// Keeps the folder when the test is over, and says where it is.
    pub fn keep(&mut self) -> Option<PathBuf> {
        self.process = None;
        self.home.keep()
    }

    /// A folder in the home, made where it is missing.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.home.path().join(name);
        fs::create_dir_all(&path)?;
        Ok(path)
    }
}
