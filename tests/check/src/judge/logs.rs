//! I10: the log of an attempt is what it wrote: in order, nothing twice, and no gap but what is counted as dropped.
//!
//! Handlers of the test worker number their lines: line 3 of attempt 2 of a run is `RUN 2 3`, and that number is also its
//! offset. So a line tells where it belongs.

use std::collections::BTreeSet;

use crate::{
    database::Log,
    evidence::{Outcome, Target},
    judge::Case,
    verdict::{Kind, Rule},
};

pub(super) fn rules(case: &Case<'_>) -> Vec<Rule> {
    vec![places(case), lines(case), complete(case)]
}

fn logs<'a>(case: &'a Case<'_>) -> impl Iterator<Item = (&'a str, i64, &'a Log)> {
    case.db.logs.iter().flatten().map(|((run, attempt), log)| (run.as_str(), *attempt, log))
}

/// Every batch begins where the one before ended, beyond what was dropped in between, and the attempt stands at the end.
fn places(case: &Case<'_>) -> Rule {
    let mut rule = Rule::new("I10", Kind::Broken, "a log has no gap but what is counted, and no line twice");
    for (run, attempt, log) in logs(case) {
        let mut end = 0;
        for batch in &log.batches {
            let whole = batch.count == batch.messages.len() as i64;
            rule.expect(batch.first - batch.dropped == end && batch.dropped >= 0 && whole, || {
                let (first, dropped, count, held) = (batch.first, batch.dropped, batch.count, batch.messages.len());
                format!("run {run} attempt {attempt}: after {end} lines a batch at {first} of {count} with {held}, {dropped} dropped")
            });
            end = batch.first + batch.count;
        }
        rule.expect(log.next == end, || {
            format!("run {run} attempt {attempt}: it ends at {end} and stands at {}", log.next)
        });
    }
    rule
}

fn lines(case: &Case<'_>) -> Rule {
    let mut rule = Rule::new("I10", Kind::Broken, "a line of a log is the one its attempt wrote there");
    for (run, attempt, log) in logs(case) {
        for batch in &log.batches {
            for (offset, message) in (batch.first..).zip(&batch.messages) {
                rule.expect(*message == format!("{run} {attempt} {offset}"), || {
                    format!("run {run} attempt {attempt}: line {offset} is `{message}`")
                });
            }
        }
    }
    rule
}

/// A worker that was never killed has sent every line of every attempt whose result counted, before it left.
fn complete(case: &Case<'_>) -> Rule {
    let mut rule = Rule::new("I10", Kind::Broken, "a worker that lived delivered every line");
    let Some(logs) = &case.db.logs else { return rule };
    let trail = case.trail;
    let killed: BTreeSet<&str> = trail
        .faults
        .iter()
        .filter(|fault| fault.target == Target::Worker && fault.kind == "KILL")
        .filter_map(|fault| fault.worker.as_deref())
        .collect();
    for (run, start) in trail.all_starts().filter(|(_, start)| !killed.contains(start.worker.as_str())) {
        let key = (run.clone(), start.attempt);
        let Some(end) = trail.ends.get(&key).filter(|end| end.outcome != Outcome::Discarded) else { continue };
        if trail.applied(run, start.attempt).is_none() {
            continue;
        }
        let stands = logs.get(&key).map_or(0, |log| log.next);
        rule.expect(i64::try_from(end.lines) == Ok(stands), || {
            let (attempt, worker, wrote) = (start.attempt, &start.worker, end.lines);
            format!("run {run} attempt {attempt} at {worker}: it wrote {wrote} lines, and its log stands at {stands}")
        });
    }
    rule
}
