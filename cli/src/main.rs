//! The one binary: parse what was typed, do it, tell how it ended.

use std::process::ExitCode;

use clap::Parser as _;
use mainspring_cli::{Cli, Environment};

#[tokio::main]
async fn main() -> ExitCode {
    mainspring_cli::run(Cli::parse(), Environment::of_process()).await.into()
}
