//! Hints between servers, and between stages of one. May be lost, doubled or late: everything also happens by polling.

use std::fmt::Debug;

use async_trait::async_trait;

use crate::domain::{
    event::Event,
    ids::{RunId, ServerId, WorkerId},
    names::{Lane, Scope},
    transition::Tell,
};

/// Something that another part may want to know at once.
#[derive(Clone, Debug)]
pub enum Signal {
    /// Runs of this lane were queued, by this server: its own dispatcher knows them already.
    Queued(ServerId, Lane),
    /// Something becomes due earlier than was known.
    Due,
    /// A queue was paused, resumed or given another limit.
    QueueChanged(Scope),
    /// The worker of an attempt must be told something.
    Tell(WorkerId, RunId, Tell),
    /// An operator drains a worker; with `true` it also leaves.
    Drain(WorkerId, bool),
    /// For watchers.
    Event(Event),
}

/// Hints that may be lost.
#[async_trait]
pub trait Signals: Send + Sync + Debug + 'static {
    /// Tells everybody. Never waits and never fails: a hint that cannot be given is dropped.
    fn send(&self, signal: Signal);

    /// A listener of what is sent from now on.
    fn listen(&self) -> Box<dyn Listener>;
}

/// Hears signals.
#[async_trait]
pub trait Listener: Send + Debug {
    /// The next signal; `None` where some were lost in between, so that the listener polls.
    async fn next(&mut self) -> Option<Signal>;
}
