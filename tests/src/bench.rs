//! The benchmark: how fast, how late, how large. Reached as `cargo xtask bench`.
//!
//! ```text
//!  scenario ── stage (server, worker, load: a process each, of the release build) ── figures ── table and JSON lines
//! ```
//! The work is that of the usual job queue benchmark, so that rows can be laid beside other systems' figures: a handler
//! that does nothing, about 100 bytes of payload, history kept. Every repetition has a server and a database of its own.
//! A figure without the machine it came from says nothing, so each line carries the load average and the time that a
//! flush of the disk took in the same minute.
//!
//! Nothing here fails for being slow: a benchmark measures, tests judge.

pub mod load;
pub mod worker;

mod backlog;
mod figures;
mod machine;
mod scenario;
mod stage;

pub use figures::Percentiles;
pub use scenario::Scenario;

use std::{collections::BTreeMap, fs::File, io::Write as _, path::PathBuf};

use anyhow::{Context as _, Result};
use serde::Serialize;

use figures::Spread;
use machine::Machine;

/// How scenarios are run.
#[derive(Clone, Debug)]
pub struct Options {
    /// How often; the table shows medians.
    pub repeat: u32,
    /// A hundredth of the work: shows that everything runs, and measures nothing.
    pub smoke: bool,
    /// What the server promises of a commit: `full` and `normal`.
    pub synchronous: Vec<String>,
    /// Where the JSON lines go, beside the table.
    pub json: Option<PathBuf>,
}

/// One line of the result.
#[derive(Debug, Serialize)]
struct Line {
    scenario: &'static str,
    family: &'static str,
    synchronous: String,
    smoke: bool,
    version: &'static str,
    machine: Machine,
    figures: BTreeMap<&'static str, Spread>,
}

/// Runs scenarios one after the other, and tells what came out.
pub async fn run(scenarios: &[Scenario], options: &Options) -> Result<()> {
    let mut json = match &options.json {
        Some(path) => Some(
            File::options()
                .create(true)
                .append(true)
                .open(path)
                .with_context(|| format!("cannot write {}", path.display()))?,
        ),
        None => None,
    };
    if options.smoke {
        println!("a smoke run: a hundredth of the work, and figures that mean nothing");
    }
    println!("{:<16} {:<7} {:<28} {:>12}  of {} runs", "scenario", "sync", "figure", "median", options.repeat);
    for scenario in scenarios {
        // What reads, or waits for the clock, is not decided by the flush.
        let every = if scenario.flushes() { &options.synchronous[..] } else { &options.synchronous[..1] };
        for synchronous in every {
            let line = repeat(*scenario, synchronous, options).await?;
            tell(&line);
            if let Some(file) = &mut json {
                writeln!(file, "{}", serde_json::to_string(&line)?)?;
            }
        }
    }
    Ok(())
}

async fn repeat(scenario: Scenario, synchronous: &str, options: &Options) -> Result<Line> {
    let mut samples: BTreeMap<&'static str, Vec<f64>> = BTreeMap::new();
    let machine = Machine::now()?;
    for _ in 0..options.repeat {
        let figures = scenario.play(synchronous, options.smoke).await;
        for (name, value) in figures.with_context(|| format!("scenario {}", scenario.name()))? {
            samples.entry(name).or_default().push(value);
        }
    }
    Ok(Line {
        scenario: scenario.name(),
        family: "embedded",
        synchronous: synchronous.into(),
        smoke: options.smoke,
        version: env!("CARGO_PKG_VERSION"),
        machine,
        figures: samples.into_iter().map(|(name, values)| (name, Spread::of(values))).collect(),
    })
}

fn tell(line: &Line) {
    let Line { scenario, synchronous, machine, figures, .. } = line;
    for (name, spread) in figures {
        println!(
            "{scenario:<16} {synchronous:<7} {name:<28} {:>12}  {} to {}",
            figures::shown(spread.median),
            figures::shown(spread.least),
            figures::shown(spread.most),
        );
    }
    println!("{:<24} (load {:.1}, a flush {:.2} ms)", "", machine.load_average, machine.flush_ms);
}
