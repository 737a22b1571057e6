//! `cargo xtask bench`: builds the product as it is shipped, and the benchmark, and hands it the arguments.

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use crate::shell::{self, command};

const BENCH: &str = "mainspring-bench";

/// What is to be measured.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Passed on as they are: names of scenarios, and `--repeat N`, `--synchronous full,normal`, `--json FILE`, `--smoke`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    args: Vec<String>,
}

/// Runs the benchmark; its exit code is ours.
pub(crate) fn run(args: &Args) -> ExitCode {
    match measure(args) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn measure(args: &Args) -> Result<u8> {
    if !shell::build(&["mainspring", BENCH]).arg("--release").status()?.success() {
        bail!("{BENCH} does not compile");
    }
    // xtask itself lies in the folder of its own profile, beside the one of releases.
    let program = shell::built(BENCH)?;
    let folder = program.parent().and_then(|folder| folder.parent()).context("a profile lies in the target folder")?;
    let program = folder.join("release").join(program.file_name().unwrap_or_default());
    let args: Vec<_> = args.args.iter().map(String::as_str).collect();
    let status = command(&program, &args).status().with_context(|| format!("cannot run {}", program.display()))?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}
