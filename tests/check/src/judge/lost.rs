//! I1: what was promised is there.

use crate::{
    database::{FIRED, UNITED},
    judge::{Case, fired},
    verdict::{Kind, Rule},
};

pub(super) fn rules(case: &Case<'_>) -> Vec<Rule> {
    vec![submissions(case), jobs(case), instants(case), runs_of_instants(case), deleted(case)]
}

fn submissions(case: &Case<'_>) -> Rule {
    let mut rule = Rule::new("I1", Kind::Lost, "an acknowledged submission has its row");
    for (request, known) in &case.trail.requests {
        for run in &known.runs {
            let row = case.db.runs.get(run);
            let is_its_own = row.is_some_and(|row| row.request.as_ref() == Some(request));
            rule.expect(is_its_own, || match row {
                None => format!("request {request} was answered with run {run}, which does not exist"),
                Some(row) => {
                    format!("request {request} was answered with run {run}, whose request is {:?}", row.request)
                }
            });
        }
    }
    rule
}

fn jobs(case: &Case<'_>) -> Rule {
    let mut rule = Rule::new("I1", Kind::Lost, "an acknowledged job has its row and its schedule");
    for job in &case.trail.jobs {
        let there = case.db.jobs.contains(&job.uid) && case.db.schedules.iter().any(|s| s.job == job.uid);
        rule.expect(there, || format!("job {} ({})", job.name, job.uid));
    }
    rule
}

/// Every instant the rule names from the job's creation to the cursor is in exactly the ranges of the ledger; that no
/// two overlap is judged elsewhere.
fn instants(case: &Case<'_>) -> Rule {
    let mut rule = Rule::new("I1", Kind::Lost, "a due instant has a fate");
    for (job, schedule, rhythm) in &case.schedules {
        // An instant at the very microsecond of creation may be named or not.
        let mut expected = rhythm.after(schedule.create_time);
        let gap = |from: i64, to: i64, rule: &mut Rule| {
            let mut instant = from;
            while instant < to {
                rule.expect(false, || format!("job {} schedule {}: {instant} has no fate", job.name, schedule.name));
                instant += rhythm.period;
            }
        };
        for range in &schedule.ranges {
            gap(expected, range.first, &mut rule);
            let named = rhythm.count(range.first, range.last);
            rule.held(named.min(range.count).unsigned_abs());
            if range.count < named {
                rule.violation(|| {
                    let name = &job.name;
                    format!(
                        "job {name}: {} to {} holds {} fates for {named} instants",
                        range.first, range.last, range.count
                    )
                });
            }
            expected = expected.max(range.last + rhythm.period);
        }
        gap(expected, rhythm.after(schedule.cursor), &mut rule);
    }
    rule
}

fn runs_of_instants(case: &Case<'_>) -> Rule {
    let mut rule = Rule::new("I1", Kind::Lost, "an instant that fired has its run");
    let runs = fired(case);
    for (job, schedule, rhythm) in &case.schedules {
        let own = runs.get(&job.uid);
        for range in schedule.ranges.iter().filter(|range| matches!(range.fate, FIRED | UNITED)) {
            let mut instant = range.first;
            while instant <= range.last {
                let there = own.is_some_and(|own| own.contains(&instant));
                rule.expect(there, || {
                    format!("job {}: the ledger says that {instant} fired, and no run has it", job.name)
                });
                instant += rhythm.period;
            }
        }
    }
    rule
}

fn deleted(case: &Case<'_>) -> Rule {
    let mut rule = Rule::new("I1", Kind::Lost, "no row was deleted");
    rule.held(case.db.runs.len() as u64);
    for seen in case.db.witnessed.iter().flatten().filter(|seen| seen.what == "DELETED") {
        rule.violation(|| format!("run {} with [state, attempt] {}", seen.run, seen.before));
    }
    rule
}
