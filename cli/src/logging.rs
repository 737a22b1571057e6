//! The log of `dev` and `serve`, on stderr. Every other command says what it has to say by itself.

use std::io;

use tracing_subscriber::EnvFilter;

use crate::session::Session;

/// Starts the log. `RUST_LOG` says what is in it; else the filter does.
pub(crate) fn start(session: &Session, filter: &str) {
    let asked = session.environment.log_filter.as_deref().unwrap_or(filter);
    let filter = EnvFilter::try_new(asked).unwrap_or_else(|error| {
        session.out.note(format!("note: RUST_LOG is `{asked}`, which is no filter ({error}); using `{filter}`"));
        EnvFilter::new(filter)
    });
    let color = session.environment.color(session.args.color, session.out.is_watched());
    // Tests start several servers in one process; the first one's log is theirs too.
    // A line that cannot be written is lost: telling of that on stderr, where it could not be written, would panic.
    let log = tracing_subscriber::fmt().with_writer(io::stderr).log_internal_errors(false);
    drop(log.with_ansi(color).with_env_filter(filter).try_init());
}
