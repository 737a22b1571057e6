//! The fault suite: real servers and workers under load, broken by a seed, judged by `mainspring-check`.
//!
//! ```text
//!  scene (server, workers, jobs) ── load (submissions at a rate) ── nemesis (plan: what breaks when)
//!      └─ heal ── rest (everything comes to an end) ── stop in order ── judge (mainspring-check)
//! ```
//! The plan follows from the seed alone. What the machine makes of it does not, so a failing seed is a strong hint and
//! no replay: the evidence of a failed case is kept.

mod due;
mod kill;
mod load;
mod pause;
mod plan;
mod stream;

use std::time::Duration;

use anyhow::Result;

use crate::harness::scene::Scene;

/// What can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// SIGKILL of the server and of workers.
    Kill,
    /// SIGKILL of the server near instants at which many jobs are due.
    Due,
    /// The streams of workers, for less than a lease.
    Stream,
    /// Workers, which stand still for longer than a lease.
    Pause,
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
    /// Keep the evidence in any case.
    pub keep: bool,
}

/// Runs one case; the answer is the judge's exit code: 0 all held, 1 something did not, 2 nothing can be said.
pub async fn run(case: Case, options: &Options) -> Result<u8> {
    let mut scene = Scene::set(options.lease).await?;
    let result = match case {
        Case::Kill => kill::play(&mut scene, options).await,
        Case::Due => due::play(&mut scene, options).await,
        Case::Stream => stream::play(&mut scene, options).await,
        Case::Pause => pause::play(&mut scene, options).await,
    };
    if let Err(error) = &result {
        println!("\nthe case could not be played to its end: {error:#}\n{}", scene.server.tails());
    }
    if (options.keep || !matches!(result, Ok(0)))
        && let Some(folder) = scene.keep()
    {
        println!("evidence: {}", folder.display());
    }
    result
}

/// Stops everything and lets the judge speak; then whatever went wrong before, or while it stopped, counts too.
async fn conclude(scene: &mut Scene, rest: Result<()>, without: &[&str]) -> Result<u8> {
    let stopped = scene.stop().await;
    let judgement = scene.judge(without).await?;
    println!("\n{}", judgement.text);
    let code = u8::try_from(judgement.code).unwrap_or(1);
    match rest.and(stopped) {
        Ok(()) => Ok(code),
        Err(error) => {
            println!("not everything came to its end: {error:#}");
            Ok(1)
        }
    }
}
