//! `mainspring-hostile`: sends a server what no honest client would. Reached as `cargo xtask hostile`.
//!
//! Exit code 0: every answer was the contract's; 1: some was not; 2: nothing can be said.

use std::process::ExitCode;

use clap::Parser;
use mainspring_tests::hostile::{self, Options};

#[derive(Parser)]
#[command(version, about = "Sends a server what no honest client would, and judges the answers")]
struct Args {
    /// Requests to each rpc
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    requests: u64,
    /// Requests to each rpc that takes a password
    #[arg(long, value_name = "N", default_value_t = 500)]
    hashed: u64,
    /// Decides what is sent
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Only rpcs with this in their name, as in SchedulerService/CreateJob
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Only the request of this number, to see it again
    #[arg(long, value_name = "N")]
    number: Option<u64>,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let Args { requests, hashed, seed, only, number } = Args::parse();
    match hostile::run(&Options { requests, hashed, seed, only, number }).await {
        Ok(tally) => {
            print!("{tally}");
            ExitCode::from(u8::from(!tally.findings.is_empty()))
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}
