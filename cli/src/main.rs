//! The one binary: read what was typed, do it, tell how it ended.

use std::{env, io, process::ExitCode};

use mainspring_cli::Environment;
use tokio::runtime::Builder;

fn main() -> io::Result<ExitCode> {
    let environment = Environment::of_process();
    let cli = match mainspring_cli::read(env::args_os(), &environment) {
        Ok(cli) => cli,
        Err(exit) => return Ok(exit.into()),
    };
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let exit = runtime.block_on(mainspring_cli::run(cli, environment));
    // Whatever had to be finished was awaited. A thread that still blocks, on a file or a busy database, would hold the
    // process where nobody listens for signals any more.
    runtime.shutdown_background();
    Ok(exit.into())
}
