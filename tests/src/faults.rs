//! The fault suite: real servers and workers under load, broken by a seed, judged by `mainspring-check`.
//!
//! ```text
//!  scene (server, workers, jobs) ── load (submissions at a rate) ── nemesis (plan: what breaks when)
//!      └─ heal ── rest (everything comes to an end) ── stop in order ── judge (mainspring-check)
//! ```
//! The plan follows from the seed alone. What the machine makes of it does not, so a failing seed is a strong hint and
//! no replay: the evidence of a failed case is kept.

mod kill;
mod load;
mod plan;
mod stream;

use std::time::Duration;

use anyhow::Result;

/// What can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// SIGKILL of the server and of workers.
    Kill,
    /// The streams of workers, for less than a lease.
    Stream,
}

/// How.
#[derive(Clone, Debug)]
pub struct Options {
    /// Faults of each kind.
    pub kills: u32,
    /// Decides what breaks when.
    pub seed: u64,
    /// The lease of a worker.
    pub lease: Duration,
    /// Submissions a second.
    pub rate: u32,
}

/// Runs one case; the answer is the judge's exit code: 0 all held, 1 something did not, 2 nothing can be said.
pub async fn run(case: Case, options: &Options) -> Result<u8> {
    match case {
        Case::Kill => kill::run(options).await,
        Case::Stream => stream::run(options).await,
    }
}
