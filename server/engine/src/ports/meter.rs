//! What the engine counts, for whoever watches a server from outside.
//!
//! Called after commits, from every stage at once, for every run: an implementation adds to a counter and returns, it never
//! waits and never fails. What it is told is told once; what it forgets is lost, and costs nobody a run.

use std::{fmt::Debug, time::Duration};

use crate::domain::{names::Lane, run::RunState};

/// Counts what happens to runs.
pub trait Meter: Debug + Send + Sync + 'static {
    /// A run was stored.
    fn made(&self, lane: &Lane);

    /// A schedule's instant became a run, so long after the instant.
    fn fired(&self, late: Duration);

    /// A worker was given a run that had waited in its queue for so long.
    fn leased(&self, lane: &Lane, waited: Duration);

    /// The result of an attempt was stored, so long after the worker's code had started.
    fn reported(&self, lane: &Lane, took: Duration);

    /// A run came to its end. The state is a terminal one.
    fn over(&self, lane: &Lane, state: RunState);

    /// So many items share a step of the store.
    fn step(&self, name: &'static str, items: usize);
}

/// Nobody watches.
impl Meter for () {
    fn made(&self, _: &Lane) {}

    fn fired(&self, _: Duration) {}

    fn leased(&self, _: &Lane, _: Duration) {}

    fn reported(&self, _: &Lane, _: Duration) {}

    fn over(&self, _: &Lane, _: RunState) {}

    fn step(&self, _: &'static str, _: usize) {}
}
