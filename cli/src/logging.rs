//! The log of `dev` and `serve`, on stderr. Every other command says what it has to say by itself.

use std::io::{self, Write};

use mainspring_server::config::{LogConfig, LogFormat};
use tracing_subscriber::EnvFilter;

use crate::{exit::Exit, failure::Failure, session::Session};

/// Starts the log. The setting says what is in it, else `RUST_LOG`, else the command's own filter.
pub(crate) fn start(session: &Session, log: &LogConfig, filter: &str) -> Result<(), Failure> {
    let LogConfig { format, filter: set } = log;
    let filter = match (set, &session.environment.log_filter) {
        // A setting that cannot be is refused like any other.
        (Some(set), _) => EnvFilter::try_new(set).map_err(|error| {
            let message = format!("MAINSPRING_LOG__FILTER: `{set}` is no filter: {error}");
            Failure::new(Exit::ConfigurationRefused, "CONFIGURATION_REFUSED", message)
        })?,
        (None, Some(asked)) => EnvFilter::try_new(asked).unwrap_or_else(|error| {
            session.out.note(format!("note: RUST_LOG is `{asked}`, which is no filter ({error}); using `{filter}`"));
            EnvFilter::new(filter)
        }),
        (None, None) => EnvFilter::new(filter),
    };
    let color = session.environment.color(session.args.color, session.out.is_watched());
    // The subscriber would tell of a line it could not write on stderr, where it could not write it.
    let builder = tracing_subscriber::fmt().with_writer(|| Stderr).with_env_filter(filter).log_internal_errors(false);
    // Tests start several servers in one process; the first one's log is theirs too.
    drop(match format {
        LogFormat::Text => builder.with_ansi(color).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_span_list(false).try_init(),
    });
    Ok(())
}

/// stderr, which may be closed: a server does not stop because nobody reads its log.
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        drop(io::stderr().lock().write_all(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
