//! I5 and I6: numbers of attempts only grow, one attempt is one start at one worker, and the budgets add up.

use std::collections::BTreeMap;

use crate::{
    database::{AttemptEnd, Run, state},
    judge::Case,
    verdict::{Kind, Rule},
};

/// States of an attempt that ended, as the column has them.
const FAILED: i64 = 4;
const TIMED_OUT: i64 = 6;
const LOST: i64 = 7;
const RETURNED: i64 = 8;
const INTERRUPTED: i64 = 9;

pub(super) fn rules(case: &Case<'_>) -> Vec<Rule> {
    vec![grow(case), known(case), once(case), sums(case), budgets(case)]
}

fn grow(case: &Case<'_>) -> Rule {
    let mut rule = Rule::new("I5", Kind::Broken, "a token grew by one or not at all");
    rule.held(case.db.runs.values().map(|run| run.attempt.unsigned_abs()).sum());
    for seen in case.db.witnessed.iter().flatten().filter(|seen| seen.what == "TOKEN") {
        rule.violation(|| format!("run {}: [state, attempt] {} became {}", seen.run, seen.before, seen.after));
    }
    rule
}

/// Whatever a worker was given, the row must know: a number above the row's own was never leased, or forgotten.
fn known(case: &Case<'_>) -> Rule {
    let mut rule = Rule::new("I5", Kind::Broken, "a started or ended attempt has a number its row has reached");
    let started = case.trail.all_starts().map(|(run, start)| (run, start.attempt, "started"));
    let ended = case.db.ends.iter().map(|end| (&end.run, end.attempt, "ended"));
    let decided = case.db.runs.values().filter_map(|run| Some((&run.id, run.decided?, "decided")));
    for (run, attempt, what) in started.chain(ended).chain(decided) {
        let reached = case.db.runs.get(run).map_or(0, |row| row.attempt);
        rule.expect((1..=reached).contains(&attempt), || {
            format!("run {run}: attempt {attempt} {what}, and its row is at {reached}")
        });
    }
    rule
}

fn once(case: &Case<'_>) -> Rule {
    let mut rule = Rule::new("I5", Kind::Broken, "an attempt started once, at one worker");
    let mut starts: BTreeMap<(&str, i64), Vec<&str>> = BTreeMap::new();
    for (run, start) in case.trail.all_starts() {
        starts.entry((run, start.attempt)).or_default().push(&start.worker);
    }
    for ((run, attempt), workers) in starts {
        rule.expect(workers.len() == 1, || format!("run {run}: attempt {attempt} at {}", workers.join(", ")));
    }
    rule
}

/// Every attempt before the last left a row that says how it ended, and the counters are the sums of these rows.
fn sums(case: &Case<'_>) -> Rule {
    let mut rule = Rule::new("I6", Kind::Broken, "the ends of attempts add up to the counters of their run");
    let mut ends: BTreeMap<&str, Vec<&AttemptEnd>> = BTreeMap::new();
    for end in &case.db.ends {
        ends.entry(&end.run).or_default().push(end);
    }
    for run in case.db.runs.values() {
        let counted = [run.failures, run.losses, run.returns];
        let own = ends.get(run.id.as_str()).map_or(&[][..], Vec::as_slice);
        let mut found = charged(own.iter().copied());
        if run.state == state::CANCELLED && found != counted {
            // The attempt that was stopped, or lost while somebody wanted it stopped, costs nothing.
            found = charged(own.iter().copied().filter(|end| end.attempt != run.attempt));
        }
        // A run that was cancelled or ran out of time while it waited may have left an attempt open.
        let all = match run.state {
            state::SUCCEEDED => Some(run.attempt - 1),
            state::FAILED => Some(run.attempt),
            _ => None,
        };
        let complete = all.is_none_or(|all| found.iter().sum::<i64>() == all);
        rule.expect(counted == found && complete, || {
            let (id, state, attempt) = (&run.id, state::name(run.state), run.attempt);
            format!("run {id}: {state} at attempt {attempt}, [failures, losses, returns] {counted:?}, ends of attempts {found:?}")
        });
    }
    rule
}

/// Failures, losses and returns among ends of attempts.
fn charged<'a>(ends: impl Iterator<Item = &'a AttemptEnd>) -> [i64; 3] {
    let [mut failures, mut losses, mut returns] = [0; 3];
    for end in ends {
        match end.state {
            FAILED | TIMED_OUT => failures += 1,
            LOST | INTERRUPTED => losses += 1,
            RETURNED => returns += 1,
            _ => {}
        }
    }
    [failures, losses, returns]
}

fn budgets(case: &Case<'_>) -> Rule {
    let mut rule = Rule::new("I6", Kind::Broken, "a submission's failures and losses are within its policy");
    for (request, known) in &case.trail.requests {
        for run in known.runs.iter().filter_map(|run| case.db.runs.get(run)) {
            let Run { id, failures, losses, .. } = run;
            let within = *failures <= known.max_attempts && *losses <= known.max_losses;
            rule.expect(within, || {
                let (attempts, most) = (known.max_attempts, known.max_losses);
                format!("request {request}, run {id}: {failures} failures of {attempts}, {losses} losses of {most}")
            });
        }
    }
    rule
}
