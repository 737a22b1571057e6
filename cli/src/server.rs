//! The seam between the command line and `mainspring-server`: all that `dev` and `serve` know of the server.

use std::{fs, io, net::SocketAddr, path::Path, path::PathBuf, time::Duration};

use mainspring_server::{
    config,
    wiring::{self, OpenError, StartError},
};
use secrecy::SecretString;

use crate::{exit::Exit, failure::Failure};

/// What a server is started with. What is not said here is taken from the environment, then from the defaults.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Folder of the database; made where it is missing.
    pub(crate) data: Option<PathBuf>,
    /// What to listen on. Empty means what the environment or the default says: loopback, port 7420.
    pub(crate) listen: Vec<SocketAddr>,
    /// Safe local defaults: public reflection, an administrator's key of its own.
    pub(crate) dev: bool,
}

/// Why a server did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    /// Its configuration is refused; what to change.
    #[error("the configuration is refused: {0}")]
    Configuration(String),
    /// Somebody else listens there.
    #[error("{0} is taken by another program")]
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
            ServerError::AddressInUse(_) => Self::new(Exit::Conflict, "ADDRESS_IN_USE", &error)
                .hint("choose another port, or stop the other program"),
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
            StartError::Listen { address, source } if source.kind() == io::ErrorKind::AddrInUse => {
                Self::AddressInUse(address)
            }
            StartError::Store(OpenError::Locked { path }) => Self::DataInUse(path),
            error @ (StartError::Store(_)
            | StartError::Secret(_)
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
pub(crate) async fn start(config: Config) -> Result<Running, ServerError> {
    let Config { data, listen, dev } = config;
    let mut settings =
        config::Config::default().from_env().map_err(|error| ServerError::Configuration(error.to_string()))?;
    settings.dev = dev;
    if let Some(data) = data {
        settings.database.data = data;
    }
    if !listen.is_empty() {
        settings.listen.addresses = listen;
    }
    let drain = settings.limits.drain_deadline;
    Ok(Running { server: wiring::start(settings).await?, drain })
}

impl Running {
    /// What it listens on.
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        self.server.addresses()
    }

    /// An administrator's key, where it was started for `dev`.
    pub(crate) fn dev_api_key(&self) -> Option<&SecretString> {
        self.server.dev_api_key()
    }

    /// The password of root, where this start has just made it. It is shown once and stored nowhere.
    pub(crate) fn root_password(&self) -> Option<&SecretString> {
        self.server.one_time_root_password()
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

/// The files a server keeps in its data folder, by the beginnings of their names.
const FILES: &[&str] = &["mainspring.db", "logs.db", "mainspring.lock", "dev-api-key", "page-key", "signing-key"];

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
