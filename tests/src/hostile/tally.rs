//! What came of an attack: answers by rpc and code, and what was wrong.

use std::{collections::BTreeMap, fmt, time::Duration};

/// Findings of a kind that are shown.
const SHOWN: usize = 3;

/// One rpc.
#[derive(Clone, Debug, Default)]
pub struct Line {
    /// Requests by what came of them: a code, or `(open)` for a stream that was still going on.
    pub answers: BTreeMap<&'static str, u64>,
    /// The slowest answer.
    pub slowest: Duration,
    /// How long it took.
    pub took: Duration,
    /// Bytes of the server's memory afterwards.
    pub resident: u64,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let requests: u64 = self.answers.values().sum();
        let answers: Vec<_> = self.answers.iter().map(|(code, count)| format!("{code} {count}")).collect();
        let (slowest, took, resident) = (self.slowest.as_millis(), self.took.as_secs_f64(), self.resident >> 20);
        writeln!(f, "{requests:>6}  {took:>6.1} s  slowest {slowest:>5} ms  server {resident:>4} MiB")?;
        write!(f, "  {}", answers.join(", "))
    }
}

/// Everything.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// By rpc.
    pub lines: BTreeMap<String, Line>,
    /// What was wrong, its kind before a colon, with the request that showed it.
    pub findings: Vec<String>,
    /// How long the rounds of an honest client took meanwhile, shortest first.
    pub honest: Vec<Duration>,
}

impl Tally {
    /// All answers of a kind.
    pub fn sum(&self, answer: &str) -> u64 {
        self.lines.values().filter_map(|line| line.answers.get(answer)).sum()
    }

    fn requests(&self) -> u64 {
        self.lines.values().flat_map(|line| line.answers.values()).sum()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sums = BTreeMap::new();
        for line in self.lines.values() {
            for (code, count) in &line.answers {
                *sums.entry(*code).or_default() += count;
            }
        }
        writeln!(f, "\n{} requests", self.requests())?;
        for (code, count) in &sums {
            let count: &u64 = count;
            writeln!(f, "  {code:<22} {count:>8}")?;
        }
        if let (Some(slowest), middle) = (self.honest.last(), self.honest.len() / 2) {
            let rounds = self.honest.len();
            writeln!(f, "an honest client: {rounds} runs, median {:?}, slowest {slowest:?}", self.honest[middle])?;
        }
        let mut kinds = BTreeMap::<_, Vec<_>>::new();
        for finding in &self.findings {
            let kind = finding.split([':', '\n']).next().unwrap_or_default();
            kinds.entry(kind).or_default().push(finding);
        }
        for (kind, findings) in kinds {
            writeln!(f, "\nFOUND {} times: {kind}", findings.len())?;
            for finding in findings.iter().take(SHOWN) {
                writeln!(f, "- {finding}")?;
            }
        }
        Ok(())
    }
}
