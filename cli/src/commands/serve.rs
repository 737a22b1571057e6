//! `serve`: a server, as it is run for real.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::Args;
use secrecy::ExposeSecret as _;
use tokio::select;

use super::examples;
use crate::{
    exit::Exit,
    failure::Failure,
    logging,
    server::{self, Config},
    session::Session,
    signals::{self, Signals},
};

/// How long runs and calls under way may take when the server is asked to stop.
pub(super) const DRAIN_WITHIN: Duration = Duration::from_secs(30);

/// Run a server
#[derive(Args, Debug)]
#[command(before_help = examples![
    "mainspring serve",
    "mainspring serve --data /var/lib/mainspring --listen 127.0.0.1:7420",
    "mainspring serve --config /etc/mainspring/server.toml",
])]
pub(crate) struct ServeArgs {
    /// The server's settings [env: MAINSPRING_SERVER_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of the database
    #[arg(long, value_name = "DIR", default_value = "mainspring-data")]
    data: PathBuf,
    /// What to listen on, may be repeated [default: loopback, port 7420]
    #[arg(long, value_name = "IP:PORT")]
    listen: Vec<SocketAddr>,
}

pub(super) async fn run(args: ServeArgs, session: &Session) -> Result<Exit, Failure> {
    let ServeArgs { config, data, listen } = args;
    logging::start(session, "info");
    let mut signals = Signals::listen()?;
    let file = config.or_else(|| session.environment.server_config.clone());
    let mut running = server::start(Config { data, listen, file, dev: false }).await?;
    for address in running.addresses() {
        session.out.note(format!("listening on http://{address}"));
    }
    if let Some(password) = running.root_password() {
        // stdout, not the log: this is the only time it is ever told.
        session.out.line(&format!("password of root, to be changed at first login: {}", password.expose_secret()))?;
    }
    select! {
        error = running.stopped() => return Err(error.into()),
        () = signals.next() => session.out.note("stopping; a second signal quits at once"),
    }
    select! {
        result = running.shutdown(DRAIN_WITHIN) => result?,
        () = signals.next() => signals::quit(),
    }
    Ok(Exit::Done)
}
