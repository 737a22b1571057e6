//! I7: after the last fault everything comes to rest, in time.

use crate::{
    database::state,
    judge::Case,
    verdict::{Kind, Rule},
};

pub(super) fn rules(case: &Case<'_>) -> Vec<Rule> {
    vec![unfinished(case), late(case), behind(case)]
}

fn unfinished(case: &Case<'_>) -> Rule {
    let mut rule = Rule::new("I7", Kind::Stuck, "every run is over");
    for run in case.db.runs.values() {
        rule.expect(run.over() && run.end_time.is_some(), || {
            format!("run {} is {}, attempt {}", run.id, state::name(run.state), run.attempt)
        });
    }
    rule
}

/// A run that was due before the faults ended has the allowed time from then on, a later one from its own due time.
fn late(case: &Case<'_>) -> Rule {
    let mut rule = Rule::new("I7", Kind::Stuck, "every run was over in time after the last fault");
    let Some(healed) = case.trail.healed else { return rule };
    let allowed = i64::try_from(healed.allowed_ms).unwrap_or(i64::MAX / 1_000) * 1_000;
    for run in case.db.runs.values() {
        let from = healed.wall.max(run.due_time).max(run.create_time);
        let Some(end) = run.end_time else { continue };
        rule.expect(end - from <= allowed, || {
            let (late, allowed) = ((end - from) / 1_000, allowed / 1_000);
            format!("run {} was over {late} ms after the last fault or its own due time, allowed are {allowed}", run.id)
        });
    }
    rule
}

fn behind(case: &Case<'_>) -> Rule {
    let mut rule = Rule::new("I7", Kind::Stuck, "every schedule was evaluated past the last fault");
    let Some(healed) = case.trail.healed else { return rule };
    for (job, schedule, rhythm) in &case.schedules {
        rule.expect(rhythm.after(schedule.cursor) > healed.wall, || {
            format!(
                "job {}: its cursor is at {}, the last fault was over at {}",
                job.name, schedule.cursor, healed.wall
            )
        });
    }
    rule
}
