//! `cargo xtask faults`: builds the fault suite and hands it the arguments.
//!
//! The suite starts real servers and workers, kills them by a seed and lets `mainspring-check` judge what is left. It
//! finds these programs beside itself, so all are built with it.

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use crate::{
    report::Verdict,
    shell::{self, build, command},
};

const SUITE: &str = "mainspring-faults";

/// What the suite is asked to do.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Passed on as they are: `--cases kill --kills N --seed S`, and also `--lease 3s`, `--rate 50`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    args: Vec<String>,
}

/// Runs the suite; its exit code is ours, and 2 means that it was not run.
pub(crate) fn run(args: &Args) -> ExitCode {
    let args: Vec<_> = args.args.iter().map(String::as_str).collect();
    match suite(&args) {
        Ok(Some(code)) => ExitCode::from(code),
        Ok(None) => {
            eprintln!("there is no {SUITE} in this workspace yet: nothing was run");
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Short runs, as one step of `cargo xtask test`.
pub(crate) fn smoke() -> Result<Verdict> {
    for (case, kills) in [("kill", "10"), ("due", "20")] {
        let args = ["--cases", case, "--kills", kills, "--seed", "1"];
        match suite(&args)? {
            None => return Ok(Verdict::Skipped(format!("there is no {SUITE} in this workspace yet"))),
            Some(0) => {}
            Some(_) => {
                let remedy = format!("read what it found above; again with `cargo xtask faults {}`", args.join(" "));
                return Ok(Verdict::Failed { output: String::new(), remedy });
            }
        }
    }
    Ok(Verdict::Passed(String::new()))
}

/// The suite's exit code; `None` where there is no suite.
fn suite(args: &[&str]) -> Result<Option<u8>> {
    if !exists()? {
        return Ok(None);
    }
    if !build(&[SUITE, "mainspring", "mainspring-check", "mainspring-test-worker"]).status()?.success() {
        bail!("{SUITE} does not compile");
    }
    let status = command(shell::built(SUITE)?, args).status().with_context(|| format!("cannot run {SUITE}"))?;
    // No code: a signal ended it.
    Ok(Some(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}

fn exists() -> Result<bool> {
    let output = command("cargo", &["metadata", "--no-deps", "--format-version", "1"]).output()?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).context("what cargo metadata says")?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let mut targets = packages.flat_map(|package| package["targets"].as_array().into_iter().flatten());
    Ok(targets.any(|target| target["name"] == SUITE))
}
