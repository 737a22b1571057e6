//! `cargo xtask test`: what CI runs, and what proves a change before it is sent.

use std::{
    io::{self, BufRead as _, BufReader},
    process::ExitCode,
};

use anyhow::Result;

use crate::{
    check, clients, faults,
    report::{Report, Verdict},
    shell::command,
    tools::Tools,
};

/// What to prove.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leave out the house rules (`cargo xtask check`).
    #[arg(long)]
    skip_check: bool,
    /// Passed on to `cargo test`, for example a test's name; the fault run is then left out.
    #[arg(last = true, value_name = "ARGS")]
    args: Vec<String>,
}

/// Runs everything, and says in the end what held.
pub(crate) fn run(args: &Args) -> ExitCode {
    println!("This checks the house rules, builds everything once, runs every test and then a short fault run.");
    println!("Tools that lack are installed first; nothing is tried twice.\n");
    let mut report = Report::default();
    if args.skip_check {
        report.quiet("check", || Ok(Verdict::Skipped("--skip-check".into())));
    } else {
        let tools = Tools::ensure(&mut report);
        check::steps(&mut report, &tools);
    }
    clients::steps(&mut report);
    report.loud("build", build);
    if report.failed("build") {
        return report.summary();
    }
    report.loud("test", || test(&args.args));
    if args.args.is_empty() {
        report.loud("faults", faults::smoke);
    } else {
        report.loud("faults", || Ok(Verdict::Skipped("only some tests were asked for".into())));
    }
    report.summary()
}

/// One build for programs and tests, because the tests start the programs.
fn build() -> Result<Verdict> {
    let status = command("cargo", &["build", "--workspace", "--all-targets"]).status()?;
    Ok(if status.success() {
        Verdict::Passed(String::new())
    } else {
        Verdict::Failed { output: String::new(), remedy: "mend what the compiler says above".into() }
    })
}

fn test(args: &[String]) -> Result<Verdict> {
    let mut test = command("cargo", &["test", "--workspace", "--no-fail-fast"]);
    // One pipe for both streams, or the names of the programs would not stand above their tests.
    let (lines, writer) = io::pipe()?;
    test.args(args).env("RUST_BACKTRACE", "1").stdout(writer.try_clone()?).stderr(writer);
    let mut child = test.spawn()?;
    // The command holds the writing ends; the reader waits for as long as any is open.
    drop(test);
    let mut sum = Sum::default();
    for line in BufReader::new(lines).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        sum.add(&line);
    }
    let success = child.wait()?.success();
    println!("\n{} passed, {} failed, {} skipped", sum.passed, sum.failed, sum.ignored);
    let note = format!("{} tests in {} programs", sum.passed, sum.programs);
    Ok(match (success, sum.passed) {
        (true, 0) => Verdict::Failed { output: String::new(), remedy: "no test ran: mend the filter".into() },
        (true, _) => Verdict::Passed(note),
        (false, _) => Verdict::Failed { output: String::new(), remedy: "read the failures above".into() },
    })
}

/// What the closing lines of all test programs add up to.
#[derive(Default, Debug, PartialEq, Eq)]
struct Sum {
    programs: u32,
    passed: u32,
    failed: u32,
    ignored: u32,
}

impl Sum {
    /// Adds a line like `test result: ok. 3 passed; 0 failed; 1 ignored; …`; any other counts for nothing.
    fn add(&mut self, line: &str) {
        let Some((_, counts)) = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". ")) else {
            return;
        };
        self.programs += 1;
        for count in counts.split("; ") {
            let Some((number, what)) = count.split_once(' ') else { continue };
            let number = number.parse().unwrap_or(0);
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Sum;

    #[test]
    fn closing_lines_add_up_and_other_lines_do_not() {
        let mut sum = Sum::default();
        sum.add("test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s");
        sum.add("test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s");
        sum.add("test rules_are_found_by_path ... ok");
        assert_eq!(sum, Sum { programs: 2, passed: 5, failed: 1, ignored: 1 });
    }
}
