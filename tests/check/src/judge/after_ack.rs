//! I4: nothing starts once the end of its run was acknowledged.

use std::collections::BTreeMap;

use crate::{
    evidence::Outcome,
    judge::Case,
    verdict::{Kind, Rule},
};

pub(super) fn rules(case: &Case<'_>) -> Vec<Rule> {
    vec![after_ack(case), after_end(case)]
}

/// The end of a run is acknowledged when a worker reads that its deciding result counted: a success by what the worker
/// itself wrote down, anything else by what the row says.
fn after_ack(case: &Case<'_>) -> Rule {
    let mut rule = Rule::new("I4", Kind::AfterAck, "no start after the acknowledged end of the run");
    let trail = case.trail;
    let mut over: BTreeMap<&str, (u64, i64)> = BTreeMap::new();
    let mut add = |run, attempt: i64| {
        if let Some(t) = trail.applied(run, attempt) {
            let earliest = over.entry(run).or_insert((t, attempt));
            *earliest = (*earliest).min((t, attempt));
        }
    };
    for ((run, attempt), end) in &trail.ends {
        if end.outcome == Outcome::Succeeded {
            add(run, *attempt);
        }
    }
    for run in case.db.runs.values().filter(|run| run.over()) {
        if let Some(attempt) = run.decided {
            add(&run.id, attempt);
        }
    }
    for (run, start) in trail.all_starts() {
        let Some((t, decided)) = over.get(run.as_str()) else {
            rule.held(1);
            continue;
        };
        rule.expect(start.t <= *t, || {
            let late = (start.t - t) / 1_000;
            let (attempt, worker) = (start.attempt, &start.worker);
            format!("run {run}: attempt {attempt} started at {worker} {late} µs after the end by attempt {decided} was acknowledged")
        });
    }
    rule
}

/// The same without clocks: numbers grow with every lease, so a start with a higher number than the attempt that
/// succeeded came from a lease after the end.
fn after_end(case: &Case<'_>) -> Rule {
    let mut rule = Rule::new("I4", Kind::AfterAck, "no start with a later number than the deciding attempt's");
    for (run, start) in case.trail.all_starts() {
        let decided = case.db.runs.get(run).and_then(|row| row.decided);
        let holds = decided.is_none_or(|decided| start.attempt <= decided);
        rule.expect(holds, || format!("run {run}: attempt {} started, attempt {decided:?} decided", start.attempt));
    }
    rule
}
