//! The signals that end a server or a worker: the first asks, the second insists.

use std::io;

#[cfg(unix)]
use tokio::signal::unix::{self, SignalKind};

use crate::exit::Exit;

/// SIGINT and SIGTERM, SIGHUP and SIGQUIT, from now on.
#[cfg(unix)]
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    quit: unix::Signal,
    /// `None` where whoever started the process wants it ignored, as `nohup` does.
    hangup: Option<unix::Signal>,
    is_asked: bool,
}

#[cfg(unix)]
impl Signals {
    /// Takes them over from the default, which is to die.
    pub(crate) fn listen() -> io::Result<Self> {
        let hangup = SignalKind::hangup();
        Ok(Self {
            hangup: if is_ignored(hangup) { None } else { Some(unix::signal(hangup)?) },
            interrupt: unix::signal(SignalKind::interrupt())?,
            terminate: unix::signal(SignalKind::terminate())?,
            quit: unix::signal(SignalKind::quit())?,
            is_asked: false,
        })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        let Self { interrupt, terminate, hangup, quit, is_asked } = self;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = quit.recv() => {}
            // A terminal that is closed says so more than once, through the shell and by itself. Nobody insists there.
            () = heard(hangup), if !*is_asked => {}
        }
        *is_asked = true;
    }
}

#[cfg(unix)]
async fn heard(signal: &mut Option<unix::Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Whether the process was started with this signal ignored. To listen for it would undo that. Only Linux tells.
#[cfg(unix)]
fn is_ignored(kind: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    mask >> (kind.as_raw_value() - 1) & 1 == 1
}

/// Ctrl-C, from now on.
#[cfg(not(unix))]
#[derive(Debug)]
pub(crate) struct Signals {}

#[cfg(not(unix))]
impl Signals {
    /// Takes it over from the default, which is to die.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {})
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}

impl Signals {
    /// Does the work, unless a signal comes first: then the work is dropped where it stands, and there is nothing.
    pub(crate) async fn unless_heard<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = work => Some(done),
            () = self.next() => None,
        }
    }
}

/// Ends the process at once: somebody insisted, and tasks that hang must not keep it.
pub(crate) fn quit() -> ! {
    std::process::exit(Exit::Interrupted.number().into())
}
