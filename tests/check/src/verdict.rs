//! What was found, and how it is told.

use std::fmt::Write as _;

use serde::Serialize;

/// How many counter-examples are told of each rule.
const TOLD: usize = 5;

/// The words of the promise that a violation breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// An acknowledged submission without a row, an instant without a fate.
    Lost,
    /// Two runs for one instant or one request, or a terminal state that changed.
    Doubled,
    /// A start after the run's result was acknowledged.
    AfterAck,
    /// Not over in time after the last fault.
    Stuck,
    /// Any other invariant.
    Broken,
}

/// One rule, what it looked at, and what it did not like.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Rule {
    pub(crate) id: &'static str,
    pub(crate) kind: Kind,
    pub(crate) name: &'static str,
    pub(crate) checked: u64,
    pub(crate) violations: u64,
    pub(crate) examples: Vec<String>,
}

impl Rule {
    pub(crate) fn new(id: &'static str, kind: Kind, name: &'static str) -> Self {
        Self { id, kind, name, checked: 0, violations: 0, examples: Vec::new() }
    }

    /// Looks at one thing.
    pub(crate) fn expect(&mut self, holds: bool, example: impl FnOnce() -> String) {
        self.checked += 1;
        if !holds {
            self.violation(example);
        }
    }

    /// Looks at several things that all hold.
    pub(crate) fn held(&mut self, count: u64) {
        self.checked += count;
    }

    /// Names something that does not hold and was counted elsewhere.
    pub(crate) fn violation(&mut self, example: impl FnOnce() -> String) {
        self.violations += 1;
        if self.examples.len() < TOLD {
            self.examples.push(example());
        }
    }
}

/// How long runs waited for another worker after theirs was killed, in milliseconds.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Redispatch {
    /// A lease and the grace.
    pub(crate) promised: u64,
    /// Nothing stood in the way meanwhile; these are judged.
    pub(crate) clean: Spread,
    /// All of them.
    pub(crate) all: Spread,
}

#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Spread {
    pub(crate) count: u64,
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) max: u64,
}

impl Spread {
    pub(crate) fn of(mut values: Vec<u64>) -> Self {
        values.sort_unstable();
        let at = |share: usize| {
            let rank = (values.len() * share).div_ceil(100).max(1) - 1;
            values.get(rank).copied().unwrap_or(0)
        };
        Self { count: values.len() as u64, p50: at(50), p99: at(99), max: at(100) }
    }
}

/// What the test was made of.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Facts {
    pub(crate) evidence_files: u64,
    pub(crate) runs: u64,
    pub(crate) acknowledged: u64,
    pub(crate) unknown: u64,
    pub(crate) refused: u64,
    pub(crate) instants: u64,
    pub(crate) attempts: u64,
    pub(crate) starts: u64,
    /// Starts beyond the first of their run.
    pub(crate) repeated: u64,
    /// Of these, after an attempt that had not failed: its worker was lost. Allowed, and counted.
    pub(crate) repeated_after_loss: u64,
    pub(crate) sessions: u64,
    /// Cancellations that were acknowledged.
    pub(crate) cancelled: u64,
    /// Lines in the logs of all attempts.
    pub(crate) log_lines: u64,
    pub(crate) server_faults: u64,
    pub(crate) worker_faults: u64,
    pub(crate) stream_faults: u64,
}

/// The judgement.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Verdict {
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) after_ack: u64,
    pub(crate) stuck: u64,
    pub(crate) broken: u64,
    /// What would have to be there for a judgement, and is not.
    pub(crate) missing: Vec<String>,
    pub(crate) facts: Facts,
    pub(crate) redispatch: Redispatch,
    pub(crate) rules: Vec<Rule>,
}

impl Verdict {
    pub(crate) fn of(rules: Vec<Rule>, facts: Facts, redispatch: Redispatch, missing: Vec<String>) -> Self {
        let sum = |kind| rules.iter().filter(|rule| rule.kind == kind).map(|rule| rule.violations).sum();
        Self {
            lost: sum(Kind::Lost),
            doubled: sum(Kind::Doubled),
            after_ack: sum(Kind::AfterAck),
            stuck: sum(Kind::Stuck),
            broken: sum(Kind::Broken),
            missing,
            facts,
            redispatch,
            rules,
        }
    }

    /// 0 all held, 1 something did not, 2 nothing can be said.
    pub(crate) fn exit_code(&self) -> u8 {
        if self.rules.iter().any(|rule| rule.violations > 0) {
            1
        } else if self.missing.is_empty() {
            0
        } else {
            2
        }
    }

    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        let facts = &self.facts;
        let _ = writeln!(
            text,
            "runs {}   submissions acknowledged {}, unknown {}, refused {}   instants {}",
            facts.runs, facts.acknowledged, facts.unknown, facts.refused, facts.instants
        );
        let _ = writeln!(
            text,
            "attempts {}   starts {}, repeated {} ({} after a lost worker)   sessions {}",
            facts.attempts, facts.starts, facts.repeated, facts.repeated_after_loss, facts.sessions
        );
        let _ = writeln!(text, "cancellations acknowledged {}   log lines {}", facts.cancelled, facts.log_lines);
        let _ = writeln!(
            text,
            "faults: server {}, worker {}, stream {}",
            facts.server_faults, facts.worker_faults, facts.stream_faults
        );
        for (name, spread) in [("judged", &self.redispatch.clean), ("all", &self.redispatch.all)] {
            let Spread { count, p50, p99, max } = spread;
            let _ = writeln!(
                text,
                "redispatch after a worker's death, {name}: {count}, p50 {p50} ms, p99 {p99} ms, max {max} ms"
            );
        }
        let _ = writeln!(text, "promised to those judged: {} ms", self.redispatch.promised);
        let width = self.rules.iter().map(|rule| rule.name.chars().count()).max().unwrap_or(0);
        let _ = writeln!(text, "\n{:<4} {:<width$} {:>9} {:>10}", "", "rule", "checked", "violations");
        for rule in &self.rules {
            let Rule { id, name, checked, violations, examples, .. } = rule;
            let _ = writeln!(text, "{id:<4} {name:<width$} {checked:>9} {violations:>10}");
            for example in examples {
                let _ = writeln!(text, "       {example}");
            }
            if *violations > examples.len() as u64 {
                let _ = writeln!(text, "       … and {} more", *violations - examples.len() as u64);
            }
        }
        for missing in &self.missing {
            let _ = writeln!(text, "missing evidence: {missing}");
        }
        let Self { lost, doubled, after_ack, stuck, broken, .. } = self;
        let _ = writeln!(
            text,
            "\nlost {lost}, doubled {doubled}, after-ack {after_ack}, stuck {stuck}, other invariants {broken}"
        );
        text
    }
}

#[cfg(test)]
mod tests {
    use super::Spread;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let Spread { count, p50, p99, max } = Spread::of((1..=200).rev().collect());
        assert_eq!((count, p50, p99, max), (200, 100, 198, 200));
        let Spread { count, p50, p99, max } = Spread::of(vec![7]);
        assert_eq!((count, p50, p99, max), (1, 7, 7, 7));
        assert_eq!(Spread::of(Vec::new()).max, 0);
    }
}
