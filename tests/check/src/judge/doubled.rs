//! I2 and I3: one run for one instant and one request, one fate, one end.

use std::collections::BTreeMap;

use crate::{
    database::{FIRED, ORIGIN_SCHEDULE, Run, UNITED, state},
    evidence::Outcome,
    judge::{Case, fired},
    verdict::{Kind, Rule},
};

pub(super) fn rules(case: &Case<'_>) -> Vec<Rule> {
    vec![instants(case), requests(case), answers(case), fates(case), unnamed(case), terminal(case), results(case)]
}

fn instants(case: &Case<'_>) -> Rule {
    let mut rule = Rule::new("I2", Kind::Doubled, "an instant became one run");
    let of_schedules = case.db.runs.values().filter(|run| run.origin == ORIGIN_SCHEDULE);
    one_each(&mut rule, of_schedules.map(|run| (format!("job {:?} instant {:?}", run.job, run.nominal), run)));
    rule
}

fn requests(case: &Case<'_>) -> Rule {
    let mut rule = Rule::new("I2", Kind::Doubled, "a request became one run");
    let runs = case.db.runs.values();
    one_each(&mut rule, runs.filter_map(|run| Some((format!("request {}", run.request.as_ref()?), run))));
    rule
}

fn one_each<'a>(rule: &mut Rule, runs: impl Iterator<Item = (String, &'a Run)>) {
    let mut seen: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (what, run) in runs {
        seen.entry(what).or_default().push(&run.id);
    }
    for (what, ids) in seen {
        rule.expect(ids.len() == 1, || format!("{what}: runs {}", ids.join(", ")));
    }
}

fn answers(case: &Case<'_>) -> Rule {
    let mut rule = Rule::new("I2", Kind::Doubled, "a request was answered with one run");
    for (request, known) in case.trail.requests.iter().filter(|(_, known)| !known.runs.is_empty()) {
        rule.expect(known.runs.len() == 1, || format!("request {request}: {:?}", known.runs));
    }
    rule
}

fn fates(case: &Case<'_>) -> Rule {
    let mut rule = Rule::new("I2", Kind::Doubled, "an instant has one fate");
    for (job, schedule, rhythm) in &case.schedules {
        let mut last = i64::MIN;
        for range in &schedule.ranges {
            rule.expect(range.first > last, || {
                format!("job {}: the range from {} begins before the one that ends at {last}", job.name, range.first)
            });
            let named = rhythm.count(range.first, range.last);
            rule.expect(range.count <= named, || {
                format!(
                    "job {}: {} to {} holds {} fates for {named} instants",
                    job.name, range.first, range.last, range.count
                )
            });
            last = last.max(range.last);
        }
    }
    rule
}

/// A run of a schedule whose instant did not fire, or that no rule names, is a run too many.
fn unnamed(case: &Case<'_>) -> Rule {
    let mut rule = Rule::new("I2", Kind::Doubled, "a run of a schedule has an instant that fired");
    let runs = fired(case);
    for (job, schedule, rhythm) in &case.schedules {
        let with_run: Vec<_> = schedule.ranges.iter().filter(|range| matches!(range.fate, FIRED | UNITED)).collect();
        for instant in runs.get(&job.uid).into_iter().flatten() {
            let after = with_run.partition_point(|range| range.first <= *instant);
            let known = after > 0 && *instant <= with_run[after - 1].last && rhythm.names(*instant);
            rule.expect(known, || format!("job {}: a run for {instant}, which did not fire", job.name));
        }
    }
    rule
}

fn terminal(case: &Case<'_>) -> Rule {
    let mut rule = Rule::new("I3", Kind::Doubled, "a terminal row never changed");
    rule.held(case.db.runs.values().filter(|run| run.over()).count() as u64);
    for seen in case.db.witnessed.iter().flatten().filter(|seen| seen.what == "TERMINAL") {
        rule.violation(|| {
            let (run, before, after) = (&seen.run, &seen.before, &seen.after);
            format!("run {run}: [state, attempt, decided, end, reason] {before} became {after}")
        });
    }
    rule
}

/// A worker that read APPLIED for its success may forget the run: it must have ended that way, by that attempt.
fn results(case: &Case<'_>) -> Rule {
    let mut rule = Rule::new("I3", Kind::Doubled, "an acknowledged success is the end of its run");
    for ((run, attempt), end) in &case.trail.ends {
        if end.outcome != Outcome::Succeeded || case.trail.applied(run, *attempt).is_none() {
            continue;
        }
        let row = case.db.runs.get(run);
        let decided = row.is_some_and(|row| row.state == state::SUCCEEDED && row.decided == Some(*attempt));
        rule.expect(decided, || match row {
            None => format!("run {run}: attempt {attempt} was acknowledged, and there is no row"),
            Some(row) => {
                let (state, decided) = (state::name(row.state), row.decided);
                format!("run {run}: attempt {attempt} was acknowledged; the row is {state}, decided by {decided:?}")
            }
        });
    }
    rule
}
