//! `dev`: `serve` with safe local defaults, signed in, with something to look at. The same code path as `serve` beyond
//! [`server::start`](crate::server::start).

mod banner;
mod login;

use std::{
    fs::Permissions,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use tempfile::TempDir;
use tokio::select;

use self::{banner::Banner, login::Login};
use super::examples;
use crate::{
    address::Address,
    demo::Demo,
    exit::Exit,
    failure::Failure,
    logging,
    server::{self, Listen, Running, Settings, Start},
    session::Session,
    signals::{self, Asked, Signals},
};

/// Start a local server with demo jobs, and sign in to it
#[derive(Args, Debug)]
#[command(before_help = examples![
    "mainspring dev",
    "mainspring dev --ephemeral --no-demo",
    "mainspring dev --ephemeral --port 0 --print-addr json",
])]
pub(crate) struct DevArgs {
    /// Folder of the database [env: MAINSPRING_DATABASE__DATA] [default: mainspring-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Keep nothing: the database is in a temporary folder
    #[arg(long, conflicts_with_all = ["data", "reset"])]
    ephemeral: bool,
    /// Delete the database before starting
    #[arg(long)]
    reset: bool,
    /// Port to listen on, 0 for any free one [env: MAINSPRING_LISTEN__ADDRESSES] [default: 7420, or the next free one]
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Leave out the demo jobs and their worker
    #[arg(long)]
    no_demo: bool,
    /// Leave out the lines about finished demo runs
    #[arg(short, long)]
    quiet: bool,
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
    // Before there is a folder that would be left behind.
    let mut signals = Signals::listen()?;
    let ephemeral = if args.ephemeral { Some(folder_for_now()?) } else { None };
    let settings = Settings::read(Start {
        data: ephemeral.as_ref().map(|folder| folder.path().into()).or_else(|| args.data.clone()),
        listen: args.port.map_or(Listen::AsSet, Listen::Loopback),
        dev: true,
    })?;
    if settings.reads_zones() {
        signals.reread()?;
    }
    logging::start(session, settings.log(), "warn")?;
    if args.reset {
        server::forget(settings.data())?;
    }
    let Some(started) = signals.unless_heard(server::start(settings.clone())).await else {
        session.out.note("stopped before it had started");
        return Ok(Exit::Interrupted);
    };
    let running = started?;

    let mut demo = None;
    let ended = {
        let mut presented = std::pin::pin!(present(&args, &running, &settings, &mut demo, session));
        loop {
            select! {
                error = running.stopped() => return Err(error.into()),
                Err(failure) = &mut presented => break Err(failure),
                asked = signals.next() => match asked {
                    Asked::Reread => session.out.note(server::zones_told(&running.reread_zones().await)),
                    Asked::Stop => break Ok(Exit::Done),
                },
            }
        }
    };
    if ended.is_ok() {
        session.out.note("stopping; a second Ctrl-C quits at once");
    }
    let stop = async {
        if let Some(demo) = demo {
            demo.stop().await;
        }
        running.shutdown().await;
    };
    select! {
        () = stop => {}
        () = signals.stop() => {
            drop(ephemeral);
            signals::quit()
        }
    }
    ended
}

/// Tells where everything is, starts the demo, and stays; it ends only where a script cannot be told.
async fn present(
    args: &DevArgs,
    running: &Running,
    settings: &Settings,
    demo: &mut Option<Demo>,
    session: &Session,
) -> Result<std::convert::Infallible, Failure> {
    let address = address(running)?;
    let key = running.dev_api_key().ok_or_else(|| failed("the server made no key for dev"))?;
    if let Some(usual) = settings.usual_port().filter(|usual| *usual != address.port()) {
        session.out.note(format!("note: port {usual} is taken, using {}", address.port()));
    }
    let login = match args.print_addr {
        Some(PrintAddr::Json) => {
            let data = std::path::absolute(settings.data())?;
            session.out.line(&told(&address, key, &data).to_string())?;
            None
        }
        None => Some(Login::save(&session.environment, &address, key).await),
    };
    // Who reads the address reads nothing else; who was shown a banner is shown what happens.
    let lines = (login.is_some() && !args.quiet).then(|| session.out.clone());
    if !args.no_demo {
        *demo = self::demo(&address, key, session).await;
    }
    if let Some(login) = &login {
        let data = settings.data();
        let banner = Banner { address: &address, data, ephemeral: args.ephemeral, login, demo: demo.is_some() };
        session.out.tell(&banner.to_string());
    }
    match (demo, lines) {
        (Some(demo), Some(out)) => demo.show(&out).await,
        _ => std::future::pending().await,
    }
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

/// The IPv4 one: every client can dial it.
fn address(running: &Running) -> Result<Address, Failure> {
    let all = running.addresses();
    let dialled = all.iter().find(|address| address.is_ipv4()).or(all.first());
    dialled.and_then(|address| address.to_string().parse().ok()).ok_or_else(|| failed("the server listens nowhere"))
}

fn told(address: &Address, key: &SecretString, data: &Path) -> serde_json::Value {
    json!({"address": address.host_and_port(), "api_key": key.expose_secret(), "data": data})
}

fn failed(message: &str) -> Failure {
    Failure::new(Exit::Failed, "SERVER_FAILED", message)
}

/// A folder that is deleted when this is dropped.
fn folder_for_now() -> Result<TempDir, Failure> {
    Ok(tempfile::Builder::new().prefix("mainspring-").permissions(Permissions::from_mode(0o700)).tempdir()?)
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
