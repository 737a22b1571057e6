//! `cargo xtask gen`: the pages of docs/reference that come from code.
//!
//! What writes them is a program of its own (`xtask/reference`), because it links what it documents; the task runner
//! does not, so that it starts at once and also in a tree where the server does not compile.

use std::process::ExitCode;

use anyhow::Result;

use crate::{
    report::{Report, Verdict},
    shell::{self, build, capture, command},
};

const WRITER: &str = "mainspring-reference";
const FOLDER: &str = "docs/reference";

/// Writes the pages.
pub(crate) fn run() -> ExitCode {
    let mut report = Report::default();
    report.quiet("gen", || judged(&["--write", FOLDER], "mend what keeps the pages from being written"));
    report.summary()
}

/// Whether the committed pages are those that would be written.
pub(crate) fn is_current() -> Result<Verdict> {
    judged(&["--compare", FOLDER], "run `cargo xtask gen` and commit what it writes")
}

fn judged(args: &[&str], remedy: &str) -> Result<Verdict> {
    let built = capture(&mut build(&[WRITER]))?;
    if !built.success {
        return Ok(Verdict::Failed { output: built.output, remedy: format!("{WRITER} does not compile") });
    }
    let finished = capture(&mut command(shell::built(WRITER)?, args))?;
    Ok(if finished.success {
        Verdict::Passed(finished.output.lines().collect::<Vec<_>>().join(", "))
    } else {
        Verdict::Failed { output: finished.output, remedy: remedy.into() }
    })
}
