//! A process and everything it starts, as one group: told to stop together, and ended together.
//!
//! The id of a group is the pid of its leader. It is safe to signal only while the leader is not reaped: afterwards the
//! system may give the number to somebody else. So the leader's end is looked at without reaping it (`WNOWAIT`), the rest
//! of the group is killed, and only then the leader is waited for. Whoever leaves the group (`setsid`) is not followed.

use std::{
    collections::HashSet,
    io,
    process::ExitStatus,
    sync::{Arc, Mutex, PoisonError},
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::{
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    signal::unix::{self, SignalKind},
};

/// The groups that are at work, to be killed by whoever must leave at once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Groups(Arc<Mutex<HashSet<Pid>>>);

impl Groups {
    /// Kills all of them.
    pub(crate) fn kill(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(|leader| kill(*leader));
    }

    fn change(&self, change: impl FnOnce(&mut HashSet<Pid>)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// A group; what is left of it is killed when this is dropped.
#[derive(Debug)]
pub(super) struct Group {
    child: Child,
    leader: Pid,
    /// Some child of ours changed its state.
    children: unix::Signal,
    groups: Groups,
    is_over: bool,
}

/// The ends of the pipes that are ours.
#[derive(Debug)]
pub(super) struct Pipes {
    pub(super) stdin: Option<ChildStdin>,
    pub(super) stdout: Option<ChildStdout>,
    pub(super) stderr: Option<ChildStderr>,
}

impl Group {
    /// Starts a process that leads a group.
    pub(super) fn start(mut command: Command, groups: &Groups) -> io::Result<(Self, Pipes)> {
        // Before there is a child whose end could be missed.
        let children = unix::signal(SignalKind::child())?;
        let mut child = command.process_group(0).spawn()?;
        let leader = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let leader = leader.ok_or_else(|| io::Error::other("the process has no id"))?;
        let pipes = Pipes { stdin: child.stdin.take(), stdout: child.stdout.take(), stderr: child.stderr.take() };
        groups.change(|groups| {
            groups.insert(leader);
        });
        Ok((Self { child, leader, children, groups: groups.clone(), is_over: false }, pipes))
    }

    /// Waits until the leader has ended. It stays a zombie, which keeps its number.
    pub(super) async fn leader_ended(&mut self) -> io::Result<()> {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        while waitid(WaitId::Pid(self.leader), look)?.is_none() {
            self.children.recv().await;
        }
        Ok(())
    }

    /// Asks all of it to stop.
    pub(super) fn terminate(&self) {
        // Where nobody is left there is nobody to ask.
        let _ = kill_process_group(self.leader, Signal::TERM);
    }

    /// Ends all of it.
    pub(super) fn kill(&self) {
        kill(self.leader);
    }

    /// Waits for the leader's end, then ends the rest.
    pub(super) async fn end(&mut self) -> io::Result<ExitStatus> {
        self.leader_ended().await?;
        self.close();
        self.child.wait().await
    }

    fn close(&mut self) {
        if !self.is_over {
            self.is_over = true;
            self.kill();
            self.groups.change(|groups| {
                groups.remove(&self.leader);
            });
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The leader is reaped by tokio, in the background.
        self.close();
    }
}

fn kill(leader: Pid) {
    // Where nobody is left there is nobody to end.
    let _ = kill_process_group(leader, Signal::KILL);
}
