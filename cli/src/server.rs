//! The seam between the command line and `mainspring-server`: all that `dev` and `serve` know of the server.

use std::{fs, io, net::SocketAddr, path::Path, path::PathBuf, time::Duration};

use mainspring_server::{
    config::{self, DEFAULT_PORT, ListenConfig, LogConfig, LogFormat},
    wiring::{self, OpenError, StartError},
};
use secrecy::SecretString;

use crate::{exit::Exit, failure::Failure};

/// What a command says about a server to be started. What it does not say is taken from the environment, then from the
/// defaults.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    /// Folder of the database; made where it is missing.
    pub(crate) data: Option<PathBuf>,
    /// What to listen on.
    pub(crate) listen: Listen,
    /// Safe local defaults: public reflection, an administrator's key of its own.
    pub(crate) dev: bool,
}

/// What to listen on.
#[derive(Clone, Debug)]
pub(crate) enum Listen {
    /// As the environment says, else loopback on the usual port; `dev` then takes the next one that is free.
    AsSet,
    /// Loopback on this port.
    Loopback(u16),
    /// These addresses.
    At(Vec<SocketAddr>),
}

/// Everything a server is started with.
#[derive(Clone, Debug)]
pub(crate) struct Settings(config::Config);

impl Settings {
    /// Flag before environment before default.
    pub(crate) fn read(start: Start) -> Result<Self, ServerError> {
        let Start { data, listen, dev } = start;
        let default = config::Config::default();
        let default = config::Config { dev, listen: ListenConfig { next_free: dev, ..default.listen }, ..default };
        let mut settings = default.from_env().map_err(|error| ServerError::Configuration(error.to_string()))?;
        if let Some(data) = data {
            settings.database.data = data;
        }
        match listen {
            Listen::AsSet => {}
            Listen::Loopback(port) => {
                settings.listen = ListenConfig { metrics: settings.listen.metrics, ..ListenConfig::loopback(port) };
            }
            Listen::At(addresses) => {
                settings.listen = ListenConfig { addresses, next_free: false, ..settings.listen };
            }
        }
        Ok(Self(settings))
    }

    /// How it tells what it does.
    pub(crate) fn log(&self) -> &LogConfig {
        &self.0.log
    }

    /// Whether every line of stderr is an object.
    pub(crate) fn log_is_json(&self) -> bool {
        self.0.log.format == LogFormat::Json
    }

    /// Folder of the database.
    pub(crate) fn data(&self) -> &Path {
        &self.0.database.data
    }

    /// Whether it reads zone data from a folder.
    pub(crate) fn reads_zones(&self) -> bool {
        self.0.zones.directory.is_some()
    }

    /// The port it was meant to listen on, where another one would do as well.
    pub(crate) fn usual_port(&self) -> Option<u16> {
        self.0.listen.next_free.then_some(DEFAULT_PORT)
    }
}

/// Why a server did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    /// Its configuration is refused; what to change.
    #[error("the configuration is refused: {0}")]
    Configuration(String),
    /// What it keeps, or where it should, cannot be used; what to do.
    #[error("{0}")]
    Data(String),
    /// Somebody else listens there.
    #[error("port {port} is taken by another program ({address})", port = .0.port(), address = .0)]
    AddressInUse(SocketAddr),
    /// Another server works in the folder.
    #[error("another server works in {}", .0.display())]
    DataInUse(PathBuf),
    /// A part of it broke while it ran.
    #[error("a part of the server broke; its log says which")]
    Broken,
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl From<ServerError> for Failure {
    fn from(error: ServerError) -> Self {
        match &error {
            ServerError::Configuration(_) => Self::new(Exit::ConfigurationRefused, "CONFIGURATION_REFUSED", &error),
            ServerError::Data(_) => Self::new(Exit::ConfigurationRefused, "DATA_REFUSED", &error),
            ServerError::AddressInUse(_) => Self::new(Exit::Conflict, "ADDRESS_IN_USE", &error)
                .hint("stop the other program, or choose another port; 0 takes any free one"),
            ServerError::DataInUse(_) => {
                Self::new(Exit::Conflict, "DATA_IN_USE", &error).hint("stop the other server, or choose another --data")
            }
            ServerError::Broken | ServerError::Other(_) => Self::new(Exit::Failed, "SERVER_FAILED", &error),
        }
    }
}

impl From<StartError> for ServerError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Config(error) => Self::Configuration(error.to_string()),
            StartError::Zones(error) => {
                Self::Configuration(format!("MAINSPRING_ZONES__DIRECTORY: {}", with_causes(&error)))
            }
            StartError::Listen { address, source } if source.kind() == io::ErrorKind::AddrInUse => {
                Self::AddressInUse(address)
            }
            StartError::Store(OpenError::Locked { path }) => Self::DataInUse(path),
            // Of no use before a person has done something: another program, a backup, another folder, its rights.
            error @ (StartError::Store(
                OpenError::Newer { .. }
                | OpenError::Damaged { .. }
                | OpenError::OtherLog { .. }
                | OpenError::Foreign { .. }
                | OpenError::Files { .. }
                | OpenError::Migrate { .. },
            )
            | StartError::Secret(_)) => Self::Data(with_causes(&error)),
            error @ (StartError::Store(
                OpenError::Copy { .. } | OpenError::Unwritable { .. } | OpenError::Database { .. },
            )
            | StartError::Bootstrap(_)
            | StartError::Listen { .. }
            | StartError::Reflection(_)) => Self::Other(with_causes(&error)),
        }
    }
}

/// An error and what led to it, as one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        line = format!("{line}: {next}");
        cause = next.source();
    }
    line
}

/// A server that listens.
#[derive(Debug)]
pub(crate) struct Running {
    server: wiring::Running,
    drain: Duration,
}

/// Starts a server in this process; it answers when this returns.
pub(crate) async fn start(Settings(settings): Settings) -> Result<Running, ServerError> {
    let drain = settings.limits.drain_deadline;
    Ok(Running { server: wiring::start(settings).await?, drain })
}

impl Running {
    /// What it listens on.
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        self.server.addresses()
    }

    /// Where the page of metrics is.
    pub(crate) fn metrics(&self) -> &[SocketAddr] {
        self.server.metrics()
    }

    /// An administrator's key, where it was started for `dev`.
    pub(crate) fn dev_api_key(&self) -> Option<&SecretString> {
        self.server.dev_api_key()
    }

    /// The password of root, where this start has just made it. It is shown once and stored nowhere.
    pub(crate) fn root_password(&self) -> Option<&SecretString> {
        self.server.one_time_root_password()
    }

    /// Reads its folder of zone data again; the version that is in force then, where it has one.
    pub(crate) async fn reread_zones(&self) -> Option<String> {
        self.server.reread_zones().await.map(|zones| zones.version().to_owned())
    }

    /// Waits until it stops by itself, which it does only when it cannot go on. May be dropped and called again.
    pub(crate) async fn stopped(&self) -> ServerError {
        self.server.stopped().await;
        ServerError::Broken
    }

    /// Takes no more work, lets what is under way finish within the drain deadline, closes the database.
    pub(crate) async fn shutdown(self) {
        self.server.shutdown(self.drain).await;
    }
}

/// What is told after the folder of zone data was read again.
pub(crate) fn zones_told(version: &Option<String>) -> String {
    format!("zone data in force: {}", version.as_deref().unwrap_or("those built in"))
}

/// The files a server keeps in its data folder, by the beginnings of their names.
const FILES: &[&str] = &["mainspring.db", "logs.db", "mainspring.lock", "dev-api-key", "signing-key"];

/// Deletes what a server stored in a folder, and nothing else that may lie there.
pub(crate) fn forget(data: &Path) -> Result<(), Failure> {
    let entries = match fs::read_dir(data) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    // The lock is the operating system's: it ends with the process that holds it, whatever is in the file.
    if let Ok(lock) = fs::File::open(data.join("mainspring.lock"))
        && let Err(fs::TryLockError::WouldBlock) = lock.try_lock()
    {
        return Err(ServerError::DataInUse(data.into()).into());
    }
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let ours = FILES.iter().any(|file| name.to_string_lossy().starts_with(file));
        if ours && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::forget;

    #[test]
    fn a_reset_takes_the_servers_files_and_leaves_the_rest() {
        let data = TempDir::new().unwrap();
        for name in ["mainspring.db", "mainspring.db-wal", "logs.db", "mainspring.lock", "thesis.txt"] {
            fs::write(data.path().join(name), "").unwrap();
        }
        forget(data.path()).unwrap();
        let left: Vec<_> = fs::read_dir(data.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["thesis.txt"]);
        forget(&data.path().join("nothing")).unwrap();
    }

    #[test]
    fn a_folder_in_use_is_not_reset() {
        let data = TempDir::new().unwrap();
        fs::write(data.path().join("mainspring.db"), "").unwrap();
        let lock = fs::File::create(data.path().join("mainspring.lock")).unwrap();
        lock.lock().unwrap();
        let failure = forget(data.path()).unwrap_err();
        assert_eq!((failure.reason(), failure.exit().number()), ("DATA_IN_USE", 5));
        assert!(data.path().join("mainspring.db").exists());
    }
}
