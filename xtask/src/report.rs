//! Named, timed steps, each with a verdict; a failing one does not stop the next.
//!
//! A skipped step is never counted as passed: it is shown where it happens and again on the last line.

use std::{
    fmt,
    io::{self, Write as _},
    process::ExitCode,
    time::Duration,
};

use anyhow::Result;

/// How a step ended.
pub(crate) enum Verdict {
    /// It holds; the note says what was looked at, and may be empty.
    Passed(String),
    /// It could not be asked, for this reason.
    Skipped(String),
    /// It does not hold.
    Failed {
        /// What the step printed; empty where it was already shown.
        output: String,
        /// What to do about it.
        remedy: String,
    },
}

/// The steps so far.
#[derive(Default)]
pub(crate) struct Report {
    steps: Vec<Step>,
}

struct Step {
    name: &'static str,
    outcome: Outcome,
    note: String,
    took: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Ok,
    Skipped,
    Failed,
}

impl Report {
    /// Runs a step that keeps its output to itself: one line when it passes, everything when it fails.
    pub(crate) fn quiet(&mut self, name: &'static str, act: impl FnOnce() -> Result<Verdict>) {
        print!("{name:<14}");
        let _ = io::stdout().flush();
        self.judge(name, act);
    }

    /// Runs a step whose output is shown as it comes, its verdict below it.
    pub(crate) fn loud(&mut self, name: &'static str, act: impl FnOnce() -> Result<Verdict>) {
        println!("\n--- {name}");
        self.judge(name, act);
    }

    /// Whether the step of this name failed.
    pub(crate) fn failed(&self, name: &str) -> bool {
        self.steps.iter().any(|step| step.name == name && step.outcome == Outcome::Failed)
    }

    fn judge(&mut self, name: &'static str, act: impl FnOnce() -> Result<Verdict>) {
        let start = now();
        let verdict = act().unwrap_or_else(|error| Verdict::Failed {
            output: String::new(),
            remedy: error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": "),
        });
        let (outcome, note, output) = match verdict {
            Verdict::Passed(note) => (Outcome::Ok, note, String::new()),
            Verdict::Skipped(reason) => (Outcome::Skipped, reason, String::new()),
            Verdict::Failed { output, remedy } => (Outcome::Failed, remedy, output),
        };
        let took = start.elapsed();
        // The note of a failure is its remedy, and belongs below the output that it explains.
        let shown = if outcome == Outcome::Failed { "" } else { note.as_str() };
        println!("{outcome:<8}{:>9}  {shown}", Seconds(took).to_string());
        if outcome == Outcome::Failed {
            for line in output.trim_end().lines() {
                println!("    {line}");
            }
            println!("    to do: {note}");
        }
        self.steps.push(Step { name, outcome, note, took });
    }

    /// Prints every step once more, and the verdict on the whole.
    pub(crate) fn summary(self) -> ExitCode {
        println!("\n--- summary");
        for step in &self.steps {
            let reason = if step.outcome == Outcome::Ok { "" } else { step.note.as_str() };
            println!("{:<14}{:<8}{:>9}  {reason}", step.name, step.outcome, Seconds(step.took).to_string());
        }
        let named = |outcome| {
            let names: Vec<_> = self.steps.iter().filter(|s| s.outcome == outcome).map(|s| s.name).collect();
            (names.len(), names.join(", "))
        };
        let (failed, which_failed) = named(Outcome::Failed);
        let (skipped, which_skipped) = named(Outcome::Skipped);
        if skipped > 0 {
            println!("NOT PROVEN, {skipped} skipped: {which_skipped}");
        }
        if failed > 0 {
            println!("FAILED, {failed} of {} steps: {which_failed}", self.steps.len());
            return ExitCode::FAILURE;
        }
        println!("{} of {} steps hold", self.steps.len() - skipped, self.steps.len());
        ExitCode::SUCCESS
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Skipped => "SKIPPED",
            Self::Failed => "FAILED",
        })
    }
}

/// A length of time as a person reads it.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.0.as_secs();
        if whole < 60 {
            write!(f, "{:.1} s", self.0.as_secs_f64())
        } else {
            write!(f, "{} m {:02} s", whole / 60, whole % 60)
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a task runner times its steps; the Clock port belongs to the product")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Seconds;

    #[test]
    fn times_read_well_on_both_sides_of_a_minute() {
        assert_eq!(Seconds(Duration::from_millis(640)).to_string(), "0.6 s");
        assert_eq!(Seconds(Duration::from_secs(64)).to_string(), "1 m 04 s");
    }
}
