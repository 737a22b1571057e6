//! `cargo xtask`: the house rules as a program, for CI and for people alike.
//!
//! Each subcommand is a file of that name (`gen` is a keyword, so its file is `generate.rs`). What they share is small:
//! `shell` runs other programs, `tools` finds or installs them, `report` names, times and judges the steps.

mod bench;
mod check;
mod clients;
mod faults;
mod generate;
mod hostile;
mod report;
mod shell;
mod test;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Mainspring's task runner.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Prove the house rules: format, lints, contract, dependencies, file lengths, generated pages.
    Check,
    /// Prove everything CI proves: the rules, a build, all tests and a short fault run.
    Test(test::Args),
    /// Install and build the programs of examples/raw, in a copy, for the tests.
    Clients,
    /// Write the pages of docs/reference that come from code.
    Gen,
    /// Run the fault suite: real processes, killed and healed by a seed, then judged.
    Faults(faults::Args),
    /// Attack a server with random requests by a seed, and judge its answers.
    Hostile(hostile::Args),
    /// Measure the release build: throughput, latency, lateness, memory.
    Bench(bench::Args),
}

fn main() -> ExitCode {
    match Cli::parse().task {
        Task::Check => check::run(),
        Task::Test(args) => test::run(&args),
        Task::Clients => clients::run_all(),
        Task::Gen => generate::run(),
        Task::Faults(args) => faults::run(&args),
        Task::Hostile(args) => hostile::run(&args),
        Task::Bench(args) => bench::run(&args),
    }
}
