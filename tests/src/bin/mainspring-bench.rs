//! `mainspring-bench`: measures the product from outside, in processes of their own. Reached as `cargo xtask bench`.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum as _};
use mainspring_tests::{
    bench::{self, Options, Scenario, load, worker},
    harness::{client::Client, host},
};

#[derive(Parser)]
#[command(
    version,
    about = "Measures how fast, how late and how large Mainspring is",
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(subcommand)]
    part: Option<Command>,
    #[command(flatten)]
    run: Run,
}

#[derive(Args)]
struct Run {
    /// What to measure; everything where none is named
    scenarios: Vec<Scenario>,
    /// How often each; figures are medians
    #[arg(long, value_name = "N", default_value_t = 3)]
    repeat: u32,
    /// What the server promises of a commit
    #[arg(long, value_delimiter = ',', default_value = "full,normal")]
    synchronous: Vec<String>,
    /// Add a JSON line for each scenario to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// A hundredth of the work, to see that everything runs
    #[arg(long)]
    smoke: bool,
}

#[derive(Subcommand)]
enum Command {
    /// One of the processes of a scenario
    #[command(subcommand, hide = true)]
    Part(Part),
}

#[derive(Subcommand)]
enum Part {
    Worker {
        #[arg(long)]
        slots: u32,
        #[arg(long)]
        expected: u64,
    },
    Batch(Count),
    Far(Count),
    List(Count),
    Single {
        #[command(flatten)]
        count: Count,
        #[arg(long)]
        callers: usize,
    },
    Paced {
        #[command(flatten)]
        count: Count,
        #[arg(long)]
        rate: u64,
    },
    Due {
        #[command(flatten)]
        count: Count,
        #[arg(long)]
        apart_ms: u64,
    },
    Backlog(Count),
    Urgent {
        #[command(flatten)]
        count: Count,
        #[arg(long)]
        rate: u64,
    },
    Streams {
        #[command(flatten)]
        count: Count,
        #[arg(long)]
        streams: usize,
    },
}

#[derive(Args)]
struct Count {
    #[arg(long)]
    count: u64,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let result = match Cli::parse() {
        Cli { part: Some(Command::Part(part)), run: _ } => play(part).await,
        Cli { part: None, run } => measure(run).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(run: Run) -> Result<()> {
    let Run { scenarios, repeat, synchronous, json, smoke } = run;
    ensure!(!cfg!(debug_assertions) || smoke, "a debug build is not worth measuring: use `cargo xtask bench`");
    let scenarios = if scenarios.is_empty() { Scenario::value_variants().to_vec() } else { scenarios };
    bench::run(&scenarios, &Options { repeat: repeat.max(1), smoke, synchronous, json }).await
}

async fn play(part: Part) -> Result<()> {
    host::end_with_parent();
    let (kind, count) = match part {
        Part::Worker { slots, expected } => return worker::run(slots, expected).await,
        Part::Batch(count) => (load::Kind::Batch, count),
        Part::Far(count) => (load::Kind::Far, count),
        Part::List(count) => (load::Kind::List, count),
        Part::Single { count, callers } => (load::Kind::Single { callers }, count),
        Part::Paced { count, rate } => (load::Kind::Paced { rate }, count),
        Part::Due { count, apart_ms } => (load::Kind::Due { apart: Duration::from_millis(apart_ms) }, count),
        Part::Backlog(count) => (load::Kind::Backlog, count),
        Part::Urgent { count, rate } => (load::Kind::Urgent { rate }, count),
        Part::Streams { count, streams } => (load::Kind::Streams { streams }, count),
    };
    let report = load::run(&client()?, kind, count.count).await?;
    println!("report {}", serde_json::to_string(&report)?);
    Ok(())
}

/// A client with the environment names of the product.
#[expect(clippy::disallowed_methods, reason = "a program of the tests, told by its stage where to go")]
fn client() -> Result<Client> {
    let named = |name: &str| std::env::var(name).with_context(|| format!("{name} is not set"));
    let address = named("MAINSPRING_ADDRESS")?;
    Client::new(address.trim_start_matches("http://"), &named("MAINSPRING_API_KEY")?)
}
