//! The signals that end a server: the first asks, the second insists.

use std::io;

use crate::exit::Exit;

/// SIGINT and SIGTERM, from now on.
#[cfg(unix)]
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    /// Takes them over from the default, which is to die.
    pub(crate) fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};

        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
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
