//! `dev`: `serve` with safe local defaults, signed in, with something to look at. The same code path as `serve` beyond
//! [`server::start`](crate::server::start).

mod banner;
mod port;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use tempfile::TempDir;
use tokio::select;

use self::{banner::Banner, port::Ports};
use super::examples;
use crate::{
    address::Address,
    context::Saved,
    demo::Demo,
    exit::Exit,
    failure::Failure,
    logging,
    server::{self, Config, Running, ServerError},
    session::Session,
    signals::{self, Signals},
};

/// The context `dev` owns.
const CONTEXT: &str = "dev";

/// Start a local server with demo jobs, and sign in to it
#[derive(Args, Debug)]
#[command(before_help = examples![
    "mainspring dev",
    "mainspring dev --ephemeral --no-demo",
    "mainspring dev --ephemeral --port 0 --print-addr json",
])]
pub(crate) struct DevArgs {
    /// Folder of the database
    #[arg(long, value_name = "DIR", default_value = "./mainspring-data")]
    data: PathBuf,
    /// Keep nothing: the database is in a temporary folder
    #[arg(long, conflicts_with_all = ["data", "reset"])]
    ephemeral: bool,
    /// Delete the database before starting
    #[arg(long)]
    reset: bool,
    /// Port to listen on, 0 for any free one [default: 7420, or the next free one]
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Leave out the demo jobs and their worker
    #[arg(long)]
    no_demo: bool,
    /// Do not open a browser (there is nothing to open yet)
    #[arg(long)]
    no_open: bool,
    /// For scripts: the first line of stdout tells address, key and data; no file of yours is touched
    #[arg(long, value_name = "FORMAT")]
    print_addr: Option<PrintAddr>,
}

/// How the address is told to a script.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum PrintAddr {
    /// {"address": …, "api_key": …, "data": …}
    Json,
}

pub(super) async fn run(args: DevArgs, session: &Session) -> Result<Exit, Failure> {
    logging::start(session, "warn");
    let mut signals = Signals::listen()?;
    let data = Data::prepare(&args)?;
    let running = start(args.port, data.path(), session).await?;
    let address = address(&running)?;
    let key = running.dev_api_key().cloned().ok_or_else(|| failed("the server made no key for dev"))?;

    let saved = match args.print_addr {
        Some(PrintAddr::Json) => {
            let data = std::path::absolute(data.path())?;
            session.out.line(&told(&address, &key, &data).to_string())?;
            None
        }
        None => Some(sign_in(session, &address, &key)),
    };
    let demo = if args.no_demo { None } else { demo(&address, &key, session).await };
    if let Some(login) = &saved {
        let banner =
            Banner { address: &address, data: data.path(), ephemeral: args.ephemeral, login, demo: demo.is_some() };
        session.out.line(&banner.to_string())?;
    }

    select! {
        error = running.stopped() => return Err(error.into()),
        () = signals.next() => session.out.note("stopping; a second Ctrl-C quits at once"),
    }
    let stop = async {
        if let Some(demo) = demo {
            demo.stop().await;
        }
        running.shutdown().await;
    };
    select! {
        () = stop => {}
        () = signals.next() => signals::quit(),
    }
    Ok(Exit::Done)
}

/// The demo is something to look at; without it there is still a server.
async fn demo(address: &Address, key: &SecretString, session: &Session) -> Option<Demo> {
    match Demo::start(address, key).await {
        Ok(demo) => Some(demo),
        Err(failure) => {
            session.out.note(format!("note: no demo jobs: {} ({})", failure.message(), failure.reason()));
            None
        }
    }
}

/// What became of the context that leads to this server.
#[derive(Debug)]
enum Login {
    /// It was written.
    Saved(Saved, PathBuf),
    /// It could not be; the server runs all the same.
    NotSaved(String),
}

fn sign_in(session: &Session, address: &Address, key: &SecretString) -> Login {
    let Some(folder) = session.environment.folder() else {
        return Login::NotSaved("neither MAINSPRING_CONFIG, XDG_CONFIG_HOME nor HOME is set".into());
    };
    match folder.save(CONTEXT, &address.to_string(), key) {
        Ok(saved) => Login::Saved(saved, session.environment.shortened(folder.credentials())),
        Err(failure) => Login::NotSaved(failure.message().into()),
    }
}

/// Starts on the port that was asked for, or on the first that is free. Another program may take a port between the
/// look and the start; then the next one is tried.
async fn start(asked: Option<u16>, data: &Path, session: &Session) -> Result<Running, Failure> {
    let mut ports = Ports::new(asked);
    loop {
        let listen = ports.next_free()?;
        let config = Config { data: Some(data.into()), listen: listen.clone(), dev: true };
        match server::start(config).await {
            Err(ServerError::AddressInUse(_)) if ports.may_move() => {}
            Err(error) => return Err(error.into()),
            Ok(running) => {
                if let Some(note) = ports.moved() {
                    session.out.note(note);
                }
                return Ok(running);
            }
        }
    }
}

/// The IPv4 one: every client can dial it.
fn address(running: &Running) -> Result<Address, Failure> {
    let port = running.addresses().iter().find(|address| address.is_ipv4()).map(|address| address.port());
    port.map(Address::local).ok_or_else(|| failed("the server does not listen on 127.0.0.1"))
}

fn told(address: &Address, key: &SecretString, data: &Path) -> serde_json::Value {
    json!({"address": address.host_and_port(), "api_key": key.expose_secret(), "data": data})
}

fn failed(message: &str) -> Failure {
    Failure::new(Exit::Failed, "SERVER_FAILED", message)
}

/// The folder of the database.
#[derive(Debug)]
enum Data {
    Kept(PathBuf),
    /// Deleted when this is dropped.
    Ephemeral(TempDir),
}

impl Data {
    fn prepare(args: &DevArgs) -> Result<Self, Failure> {
        if args.ephemeral {
            return Ok(Self::Ephemeral(tempfile::Builder::new().prefix("mainspring-").tempdir()?));
        }
        if args.reset {
            server::forget(&args.data)?;
        }
        Ok(Self::Kept(args.data.clone()))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Ephemeral(folder) => folder.path(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::told;
    use crate::address::Address;

    #[test]
    fn a_script_reads_one_line() {
        let line = told(&Address::local(7421), &"k".to_owned().into(), Path::new("/tmp/d")).to_string();
        assert_eq!(line, r#"{"address":"127.0.0.1:7421","api_key":"k","data":"/tmp/d"}"#);
    }
}
