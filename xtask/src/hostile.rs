//! `cargo xtask hostile`: builds the product and the attack on it, and hands the attack the arguments.

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use crate::shell;

const ATTACK: &str = "mainspring-hostile";

/// What is sent.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Attack the build that is shipped.
    #[arg(long)]
    release: bool,
    /// Passed on as they are: `--requests N --hashed N --seed S --only RPC --number N`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    args: Vec<String>,
}

/// Runs the attack; its exit code is ours, and 2 means that it was not run.
pub(crate) fn run(args: &Args) -> ExitCode {
    match attack(args) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn attack(args: &Args) -> Result<u8> {
    let mut build = shell::build(&["mainspring", ATTACK]);
    if args.release {
        build.arg("--release");
    }
    if !build.status()?.success() {
        bail!("{ATTACK} does not compile");
    }
    let profile = if args.release { "release" } else { "debug" };
    let program = shell::target()?.join(profile).join(ATTACK).with_extension(std::env::consts::EXE_EXTENSION);
    let args: Vec<_> = args.args.iter().map(String::as_str).collect();
    let status = shell::command(&program, &args).status();
    let status = status.with_context(|| format!("cannot run {}", program.display()))?;
    // No code: a signal ended it.
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}
