//! The signals that end a server or a worker: the first asks, the second insists. A server that reads a folder reads it again
//! on SIGHUP, which ends it only where its terminal is gone.

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
    /// `None` where whoever started the process wants it ignored, as `nohup` does, and nothing is read again.
    hangup: Option<unix::Signal>,
    /// Whoever started the process wants it to survive its terminal.
    survives: bool,
    is_asked: bool,
    /// SIGHUP asks to read again, and not to end.
    rereads: bool,
    /// It was heard before anybody could read again.
    is_pending: bool,
    /// There was a terminal that can be closed.
    had_terminal: bool,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// To end.
    Stop,
    /// To read again what was read from outside.
    Reread,
}

#[cfg(unix)]
impl Signals {
    /// Takes them over from the default, which is to die.
    pub(crate) fn listen() -> io::Result<Self> {
        let hangup = SignalKind::hangup();
        let survives = is_ignored(hangup);
        Ok(Self {
            hangup: if survives { None } else { Some(unix::signal(hangup)?) },
            survives,
            interrupt: unix::signal(SignalKind::interrupt())?,
            terminate: unix::signal(SignalKind::terminate())?,
            quit: unix::signal(SignalKind::quit())?,
            is_asked: false,
            rereads: false,
            is_pending: false,
            had_terminal: has_terminal(),
        })
    }

    /// From now on SIGHUP asks to read again, also where it was ignored: it ends nothing there.
    pub(crate) fn reread(&mut self) -> io::Result<()> {
        self.rereads = true;
        if self.hangup.is_none() {
            self.hangup = Some(unix::signal(SignalKind::hangup())?);
        }
        Ok(())
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) -> Asked {
        if std::mem::take(&mut self.is_pending) {
            return Asked::Reread;
        }
        let Self { interrupt, terminate, hangup, survives, quit, is_asked, rereads, is_pending: _, had_terminal } =
            self;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = quit.recv() => {}
            // A terminal that is closed says so more than once, through the shell and by itself. Nobody insists there.
            () = heard(hangup), if !*is_asked => {
                if *rereads && (*survives || *had_terminal == has_terminal()) {
                    return Asked::Reread;
                }
            }
        }
        *is_asked = true;
        Asked::Stop
    }
}

/// Whether the process belongs to a terminal that is there.
#[cfg(unix)]
fn has_terminal() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
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
pub(crate) struct Signals {
    is_pending: bool,
}

#[cfg(not(unix))]
impl Signals {
    /// Takes it over from the default, which is to die.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self { is_pending: false })
    }

    /// There is no signal that asks to read again.
    pub(crate) fn reread(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) -> Asked {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
        Asked::Stop
    }
}

impl Signals {
    /// Does the work, unless a signal to end comes first: then the work is dropped where it stands, and there is nothing. Whoever
    /// asks to read again meanwhile is answered afterwards.
    pub(crate) async fn unless_heard<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let mut reread = false;
        let mut work = std::pin::pin!(work);
        let done = loop {
            tokio::select! {
                done = &mut work => break Some(done),
                asked = self.next() => match asked {
                    Asked::Stop => break None,
                    Asked::Reread => reread = true,
                },
            }
        };
        self.is_pending = reread;
        done
    }

    /// Waits for one to end.
    pub(crate) async fn stop(&mut self) {
        while self.next().await == Asked::Reread {}
    }
}

/// Ends the process at once: somebody insisted, and tasks that hang must not keep it.
pub(crate) fn quit() -> ! {
    std::process::exit(Exit::Interrupted.number().into())
}
