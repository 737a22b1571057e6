//! `serve`: a server, as it is run for real.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;
use secrecy::ExposeSecret as _;
use tokio::select;

use super::{examples, help};
use crate::{
    exit::Exit,
    failure::Failure,
    logging,
    server::{self, Listen, Settings, Start},
    session::Session,
    signals::{self, Asked, Signals},
};

/// Run a server
#[derive(Args, Debug)]
#[command(before_help = examples![
    "mainspring serve",
    "mainspring serve --data /var/lib/mainspring --listen 127.0.0.1:7420",
], after_help = "Settings are environment variables: `mainspring help settings`.", after_long_help = help::settings())]
pub(crate) struct ServeArgs {
    /// Folder of the database [env: MAINSPRING_DATABASE__DATA] [default: mainspring-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// What to listen on, may be repeated [env: MAINSPRING_LISTEN__ADDRESSES] [default: loopback, port 7420]
    #[arg(long, value_name = "IP:PORT")]
    listen: Vec<SocketAddr>,
}

pub(super) async fn run(args: ServeArgs, session: &Session) -> Result<Exit, Failure> {
    let ServeArgs { data, listen } = args;
    let listen = if listen.is_empty() { Listen::AsSet } else { Listen::At(listen) };
    let settings = Settings::read(Start { data, listen, dev: false })?;
    logging::start(session, settings.log(), "info")?;
    // Where every line is an object, the log says the same.
    let tell = |text: String| if settings.log_is_json() { tracing::info!("{text}") } else { session.out.note(text) };
    let mut signals = Signals::listen()?;
    if settings.reads_zones() {
        signals.reread()?;
    }
    let Some(started) = signals.unless_heard(server::start(settings.clone())).await else {
        tell("stopped before it had started".into());
        return Ok(Exit::Interrupted);
    };
    let running = started?;
    for address in running.addresses() {
        tell(format!("listening on http://{address}"));
    }
    for address in running.metrics() {
        tell(format!("metrics on http://{address}/metrics"));
    }
    if let Some(password) = running.root_password() {
        // stdout, not the log: this is the only time it is ever told.
        let line = format!("password of root, to be changed at first login: {}", password.expose_secret());
        if session.out.line(&line).is_err() {
            tell("note: the password of root could not be shown; the next start makes and shows another one".into());
        }
    }
    loop {
        select! {
            error = running.stopped() => return Err(error.into()),
            asked = signals.next() => match asked {
                Asked::Reread => tell(server::zones_told(&running.reread_zones().await)),
                Asked::Stop => break,
            },
        }
    }
    tell("stopping; a second signal quits at once".into());
    select! {
        () = running.shutdown() => {}
        () = signals.stop() => signals::quit(),
    }
    Ok(Exit::Done)
}
