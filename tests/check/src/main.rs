//! The judge of every fault test: reads the database and what the processes wrote down, and says whether the promise
//! was kept. It shares no code with what it judges, down to the reading of ids and time rules.
//!
//! `arm` adds triggers to a live database, `judge` reads everything afterwards. Exit code 0: all held; 1: something did
//! not; 2: nothing can be said, because evidence is missing (a run without faults or starts proves nothing).

mod arm;
mod database;
mod evidence;
mod judge;
mod rule;
mod trail;
mod verdict;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::{database::Database, evidence::Evidence, judge::Needs, trail::Trail};

#[derive(Parser)]
#[command(version, about)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Add the triggers to a database, while its server runs
    Arm {
        /// The database file
        database: PathBuf,
    },
    /// Judge a database and the evidence beside it
    Judge {
        /// The database file
        #[arg(long, value_name = "FILE")]
        database: PathBuf,
        /// The folder of the evidence files, *.jsonl
        #[arg(long, value_name = "DIR")]
        evidence: PathBuf,
        /// Print the judgement as JSON
        #[arg(long)]
        json: bool,
        /// Do without faults, submissions, jobs or cancellations: their absence is not missing evidence
        #[arg(long, value_name = "WHAT", value_parser = ["faults", "submissions", "jobs", "cancels"])]
        without: Vec<String>,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Args::parse().command).await {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

async fn run(command: Command) -> Result<u8> {
    match command {
        Command::Arm { database } => {
            arm::arm(&database).await?;
            Ok(0)
        }
        Command::Judge { database, evidence, json, without } => {
            let db = Database::read(&database).await?;
            let trail = Trail::of(Evidence::read(&evidence)?);
            let needs = |what: &str| !without.iter().any(|other| other == what);
            let needs = Needs {
                faults: needs("faults"),
                submissions: needs("submissions"),
                jobs: needs("jobs"),
                cancels: needs("cancels"),
            };
            let verdict = judge::judge(&db, &trail, needs)?;
            if json {
                println!("{}", serde_json::to_string_pretty(&verdict)?);
            } else {
                print!("{}", verdict.table());
            }
            Ok(verdict.exit_code())
        }
    }
}
