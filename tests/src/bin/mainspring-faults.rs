//! `mainspring-faults`: breaks a running Mainspring by a seed and has the judge look at what is left. Reached as
//! `cargo xtask faults`.
//!
//! Exit code 0: everything held; 1: something did not; 2: nothing can be said.

use std::{process::ExitCode, time::Duration};

use anyhow::{Result, anyhow, ensure};
use clap::{Parser, ValueEnum};
use mainspring_tests::faults::{self, Options};

#[derive(Parser)]
#[command(version, about = "Breaks a running Mainspring by a seed, and judges what is left")]
struct Args {
    /// What to break
    #[arg(long, value_delimiter = ',', default_value = "kill")]
    cases: Vec<Case>,
    /// Faults of each kind
    #[arg(long, value_name = "N", default_value_t = 10)]
    kills: u32,
    /// Decides what breaks when
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Lease of the workers
    #[arg(long, value_name = "LENGTH", default_value = "3s", value_parser = length)]
    lease: Duration,
    /// Submissions a second
    #[arg(long, value_name = "N", default_value_t = 50)]
    rate: u32,
    /// Keep the evidence even if everything held
    #[arg(long)]
    keep: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Case {
    /// SIGKILL of the server and of workers
    Kill,
    /// SIGKILL of the server near instants at which fifty jobs are due
    Due,
    /// The streams of workers, for less than a lease
    Stream,
    /// Workers, which stand still for longer than a lease
    Pause,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let Args { cases, kills, seed, lease, rate, keep } = Args::parse();
    let options = Options { kills, seed, lease, rate, keep };
    let mut worst = 0;
    for case in cases {
        let (name, case) = match case {
            Case::Kill => ("kill", faults::Case::Kill),
            Case::Due => ("due", faults::Case::Due),
            Case::Stream => ("stream", faults::Case::Stream),
            Case::Pause => ("pause", faults::Case::Pause),
        };
        // What went wrong has been told already.
        let code = faults::run(case, &options).await.unwrap_or(2);
        if code != 0 {
            let lease = lease.as_millis();
            println!(
                "again: cargo xtask faults --cases {name} --kills {kills} --seed {seed} --lease {lease}ms --rate {rate}"
            );
        }
        worst = worst.max(code);
    }
    ExitCode::from(worst)
}

fn length(text: &str) -> Result<Duration> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 1),
        None => (text.strip_suffix('s').ok_or_else(|| anyhow!("a length is like 3s or 500ms"))?, 1_000),
    };
    let length = Duration::from_millis(number.parse::<u64>()? * unit);
    ensure!(length >= Duration::from_secs(1), "the server takes no lease under 1 s");
    Ok(length)
}
