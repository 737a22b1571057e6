//! The one binary: parse what was typed, do it, tell how it ended.

use std::{io, process::ExitCode};

use clap::Parser as _;
use mainspring_cli::{Cli, Environment};
use tokio::runtime::Builder;

fn main() -> io::Result<ExitCode> {
    let cli = Cli::parse();
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let exit = runtime.block_on(mainspring_cli::run(cli, Environment::of_process()));
    // Whatever had to be finished was awaited. A thread that still blocks, on a file or a busy database, would hold the
    // process where nobody listens for signals any more.
    runtime.shutdown_background();
    Ok(exit.into())
}
