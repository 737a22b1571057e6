//! Secrets as they are typed or piped: never an argument, never shown.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use secrecy::SecretString;
use tokio::{select, signal, task::spawn_blocking};

use crate::{exit::Exit, failure::Failure};

/// The lines of stdin that secrets are on.
#[derive(Debug)]
pub(crate) struct Lines(Vec<SecretString>);

impl Lines {
    /// Reads stdin to its end, which is where a pipe ends.
    pub(crate) fn read() -> Result<Self, Failure> {
        let lines: Result<Vec<String>, _> = io::stdin().lock().lines().collect();
        let mut lines: Vec<SecretString> = lines?.into_iter().map(SecretString::from).collect();
        lines.reverse();
        Ok(Self(lines))
    }

    /// The next one; none where there are no more.
    pub(crate) fn next(&mut self) -> Option<SecretString> {
        self.0.pop()
    }
}

/// Asks at the terminal; what is typed is not shown. Where nobody sits there, nobody is asked.
pub(crate) async fn hidden(question: &str) -> Result<SecretString, Failure> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Failure::usage("a password is asked for at a terminal, and there is none")
            .hint("`mainspring login --password-stdin` reads it from a pipe"));
    }
    let echo = Echo::off()?;
    write!(io::stderr(), "{question}: ")?;
    io::stderr().flush()?;
    let typed = spawn_blocking(|| {
        let mut line = String::new();
        io::stdin().read_line(&mut line).map(|_| line)
    });
    let typed = select! {
        typed = typed => typed,
        // Otherwise the terminal would stay mute.
        _ = signal::ctrl_c() => {
            drop(echo);
            return Err(Failure::new(Exit::Interrupted, "INTERRUPTED", "nothing was changed"));
        }
    };
    drop(echo);
    let line = typed.map_err(|_| Failure::new(Exit::Failed, "IO_FAILED", "the terminal cannot be read"))??;
    match line.trim_end_matches(['\r', '\n']) {
        "" => Err(Failure::usage("no password was typed")),
        typed => Ok(typed.into()),
    }
}

/// A terminal that does not show what is typed, for as long as this lives.
#[cfg(unix)]
struct Echo(rustix::termios::Termios);

#[cfg(unix)]
impl Echo {
    fn off() -> io::Result<Self> {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        // The end of the line is shown, so that the cursor moves on.
        silent.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
        Ok(Self(before))
    }
}

#[cfg(unix)]
impl Drop for Echo {
    fn drop(&mut self) {
        use rustix::termios::{OptionalActions, tcsetattr};

        // The terminal may be gone.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

#[cfg(not(unix))]
struct Echo;

#[cfg(not(unix))]
impl Echo {
    fn off() -> Result<Self, Failure> {
        Err(Failure::usage("this system's terminal cannot hide what is typed").hint("use --password-stdin"))
    }
}
