//! Hints between servers. May be lost, doubled or late: everything also happens by polling. The stages of one server tell
//! each other without them.

use std::{fmt::Debug, sync::Arc};

use async_trait::async_trait;

use crate::domain::{
    event::Event,
    ids::{RunId, WorkerId},
    names::Lane,
    transition::Tell,
    worker::Drain,
};

/// Something that another server may want to know at once.
#[derive(Clone, Debug)]
pub enum Signal {
    /// Runs of this lane were queued.
    Queued(Lane),
    /// Something becomes due earlier than was known.
    Due,
    /// A queue was paused, resumed or given another limit.
    QueueChanged,
    /// The worker of an attempt must be told something.
    Tell(WorkerId, RunId, Tell),
    /// An operator drains a worker.
    Drain(WorkerId, Drain),
    /// For watchers.
    Event(Arc<Event>),
}

/// Hints that may be lost.
#[async_trait]
pub trait Signals: Send + Sync + Debug + 'static {
    /// Tells every other server. Never waits and never fails: a hint that cannot be given is dropped.
    fn send(&self, signal: Signal);

    /// A listener of what others send from now on.
    fn listen(&self) -> Box<dyn Listener>;
}

/// Hears signals.
#[async_trait]
pub trait Listener: Send + Debug {
    /// The next signal; `None` where some were lost in between, so that the listener polls.
    async fn next(&mut self) -> Option<Signal>;
}
