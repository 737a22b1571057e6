//! `cargo xtask check`: the house rules, one step each.

mod contract;
mod dependencies;
mod lines;

use std::process::ExitCode;

use crate::{
    generate,
    report::Report,
    shell::{command, expect_success},
    tools::Tools,
};

/// Runs every rule, on its own.
pub(crate) fn run() -> ExitCode {
    let mut report = Report::default();
    let tools = Tools::ensure(&mut report);
    steps(&mut report, &tools);
    report.summary()
}

/// Runs every rule as part of something larger.
pub(crate) fn steps(report: &mut Report, tools: &Tools) {
    report
        .quiet("fmt", || expect_success(&mut command("cargo", &["fmt", "--all", "--check"]), "run `cargo fmt --all`"));
    report.quiet("clippy", || {
        let args = ["clippy", "--quiet", "--keep-going", "--workspace", "--all-targets", "--", "-D", "warnings"];
        expect_success(
            &mut command("cargo", &args),
            "mend what clippy says; `#[expect(lint, reason = \"…\")]` where it errs",
        )
    });
    report.quiet("buf lint", || contract::lint(tools));
    report.quiet("buf breaking", || contract::breaking(tools));
    report.quiet("deny", || dependencies::rules(tools));
    report.quiet("advisories", || dependencies::advisories(tools));
    report.quiet("lines", lines::rule);
    report.quiet("generated", generate::is_current);
}
