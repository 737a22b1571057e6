//! `serve`: a server, as it is run for real.

use std::{net::SocketAddr, path::PathBuf};

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

/// Run a server
#[derive(Args, Debug)]
#[command(before_help = examples![
    "mainspring serve",
    "mainspring serve --data /var/lib/mainspring --listen 127.0.0.1:7420",
])]
pub(crate) struct ServeArgs {
    /// Folder of the database [env: MAINSPRING_DATABASE__DATA] [default: mainspring-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// What to listen on, may be repeated [default: loopback, port 7420]
    #[arg(long, value_name = "IP:PORT")]
    listen: Vec<SocketAddr>,
}

pub(super) async fn run(args: ServeArgs, session: &Session) -> Result<Exit, Failure> {
    let ServeArgs { data, listen } = args;
    logging::start(session, "info");
    let mut signals = Signals::listen()?;
    let running = server::start(Config { data, listen, dev: false }).await?;
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
        () = running.shutdown() => {}
        () = signals.next() => signals::quit(),
    }
    Ok(Exit::Done)
}
