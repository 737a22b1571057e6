//! The seam between the command line and `mainspring-server`: all that `dev` and `serve` know of the server.
//!
//! CONNECT: the bodies of [`start`] and of [`Running`]'s methods, each to the function of the same name in
//! `mainspring_server`; nothing else in this crate names it. What the types here promise is what `dev` and `serve`
//! rely on.

use std::{fs, io, net::SocketAddr, path::Path, path::PathBuf, time::Duration};

use secrecy::SecretString;

use crate::{exit::Exit, failure::Failure};

/// What a server is started with.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Folder of the database; made where it is missing.
    pub(crate) data: PathBuf,
    /// What to listen on. Empty means what the file or the default says: loopback, port 7420.
    pub(crate) listen: Vec<SocketAddr>,
    /// The server's configuration file; never looked for, only named.
    pub(crate) file: Option<PathBuf>,
    /// Safe local defaults: public reflection, an administrator's key of its own for every start.
    pub(crate) dev: bool,
}

/// Why a server did not start, or stopped.
#[derive(Debug, thiserror::Error)]
#[expect(dead_code, reason = "CONNECT: made by `start` from mainspring_server::StartError")]
pub(crate) enum ServerError {
    /// Its configuration is refused; every finding.
    #[error("the configuration is refused: {}", .0.join("; "))]
    Configuration(Vec<String>),
    /// Somebody else listens there.
    #[error("{0} is taken by another program")]
    AddressInUse(SocketAddr),
    /// Another server works in the folder.
    #[error("another server works in {}", .0.display())]
    DataInUse(PathBuf),
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
            ServerError::Other(_) => Self::new(Exit::Failed, "SERVER_FAILED", &error),
        }
    }
}

/// A server that listens.
#[derive(Debug)]
pub(crate) struct Running {
    addresses: Vec<SocketAddr>,
    dev_api_key: Option<SecretString>,
    root_password: Option<SecretString>,
}

/// Starts a server in this process; it answers when this returns.
#[expect(clippy::unused_async, reason = "CONNECT: mainspring_server::start(config).await")]
pub(crate) async fn start(config: Config) -> Result<Running, ServerError> {
    let Config { data, listen, file, dev } = config;
    tracing::debug!(?data, ?listen, ?file, dev, "a server was asked for");
    Err(ServerError::Other("this build has no server yet".into()))
}

impl Running {
    /// What it listens on.
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// An administrator's key, where it was started for `dev`.
    pub(crate) fn dev_api_key(&self) -> Option<&SecretString> {
        self.dev_api_key.as_ref()
    }

    /// The password of root, where this start has just made it. It is shown once and stored nowhere.
    pub(crate) fn root_password(&self) -> Option<&SecretString> {
        self.root_password.as_ref()
    }

    /// Waits until it stops by itself, which it does only when it cannot go on. May be dropped and called again.
    pub(crate) async fn stopped(&mut self) -> ServerError {
        std::future::pending().await
    }

    /// Takes no more work, lets what is under way finish until the deadline, closes the database.
    #[expect(clippy::unused_async, reason = "CONNECT: running.shutdown(deadline).await")]
    pub(crate) async fn shutdown(self, deadline: Duration) -> Result<(), ServerError> {
        tracing::debug!(?deadline, "the server stops");
        Ok(())
    }
}

/// The files a server keeps in its data folder, by the beginnings of their names.
///
/// CONNECT: keep in step with what `mainspring_server` writes there.
const FILES: &[&str] = &["mainspring.db", "logs.db", "mainspring.lock"];

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
