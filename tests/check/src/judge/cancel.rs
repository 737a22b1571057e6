//! I9: after an acknowledged cancellation nothing new begins, and what runs is told.

use crate::{
    database::{Run, state},
    evidence::RunState,
    judge::Case,
    trail::Cancel,
    verdict::{Kind, Rule},
};

const MILLISECOND: u64 = 1_000_000;
/// How soon a running attempt is told.
const TOLD_WITHIN: u64 = 2_000 * MILLISECOND;
/// How far a moment of the evidence may be from the same moment in the database, in microseconds.
const SLACK: i64 = 2_000;

pub(super) fn rules(case: &Case<'_>) -> Vec<Rule> {
    vec![ends(case), asked(case), leases(case), starts(case), told(case)]
}

/// Runs whose cancellation was acknowledged: when, and how they stood.
fn acknowledged<'a>(case: &'a Case<'_>) -> impl Iterator<Item = (&'a Run, u64, RunState)> {
    case.trail.cancels.iter().filter_map(|(run, Cancel { answer, .. })| {
        let (t, state) = (*answer)?;
        Some((case.db.runs.get(run)?, t, state))
    })
}

/// A run is over when somebody asks, or ends CANCELLED, or had succeeded before it could be stopped.
fn ends(case: &Case<'_>) -> Rule {
    let mut rule = Rule::new("I9", Kind::Broken, "a run that was cancelled failed no more and was tried no more");
    for (run, t, told) in acknowledged(case) {
        let over_before = run.cancel_time.is_none()
            && run.end_time.zip(case.trail.wall(t)).is_some_and(|(end, at)| end <= at + SLACK);
        let ended = run.cancel_time.is_some() && matches!(run.state, state::CANCELLED | state::SUCCEEDED);
        let kept = told != RunState::Cancelled || run.state == state::CANCELLED;
        rule.expect((ended || over_before) && kept, || {
            let (id, state) = (&run.id, state::name(run.state));
            format!(
                "run {id}: its cancellation was answered with {told:?}, its row is {state}, cancelled at {:?}",
                run.cancel_time
            )
        });
    }
    rule
}

fn asked(case: &Case<'_>) -> Rule {
    let mut rule = Rule::new("I9", Kind::Broken, "nothing is CANCELLED that nobody cancelled");
    for run in case.db.runs.values().filter(|run| run.state == state::CANCELLED) {
        let asked = case.trail.cancels.get(&run.id).is_some_and(|cancel| cancel.asked.is_some());
        rule.expect(asked && run.cancel_time.is_some(), || format!("run {}", run.id));
    }
    rule
}

fn leases(case: &Case<'_>) -> Rule {
    let mut rule = Rule::new("I9", Kind::Broken, "no attempt was leased after the cancellation was acknowledged");
    for (run, t, _) in acknowledged(case) {
        let Some(at) = case.trail.wall(t) else { continue };
        let ended =
            case.db.ends.iter().filter(|end| end.run == run.id).filter_map(|end| Some((end.attempt, end.lease_time?)));
        for (attempt, leased) in ended.chain(run.lease_time.map(|leased| (run.attempt, leased))) {
            rule.expect(leased <= at + SLACK, || {
                format!("run {}: attempt {attempt} was leased {} µs after the answer", run.id, leased - at)
            });
        }
    }
    rule
}

/// By the row, which may be CANCELLED long after somebody asked; and by the answer, where it said so.
fn starts(case: &Case<'_>) -> Rule {
    let mut rule = Rule::new("I9", Kind::Broken, "no start once the run was CANCELLED");
    for run in case.db.runs.values().filter(|run| run.state == state::CANCELLED) {
        let answered = case.trail.cancels.get(&run.id).and_then(|cancel| cancel.answer);
        let answered = answered.filter(|(_, state)| *state == RunState::Cancelled).map(|(t, _)| t);
        for start in case.trail.starts.get(&run.id).into_iter().flatten() {
            let before_row = case.trail.wall(start.t).zip(run.end_time).is_none_or(|(at, end)| at <= end + SLACK);
            let before_answer = answered.is_none_or(|t| start.t <= t);
            rule.expect(before_row && before_answer, || {
                format!("run {}: attempt {} started at {} after it was CANCELLED", run.id, start.attempt, start.worker)
            });
        }
    }
    rule
}

/// Where nothing stood between the server and the worker meanwhile, the attempt was told in time, or over.
fn told(case: &Case<'_>) -> Rule {
    let mut rule = Rule::new("I9", Kind::Broken, "a running attempt was told of its cancellation within 2 s");
    let trail = case.trail;
    for (run, answered, _) in acknowledged(case) {
        for start in trail.starts.get(&run.id).into_iter().flatten() {
            let key = (run.id.clone(), start.attempt);
            let end = trail.ends.get(&key).map_or(u64::MAX, |end| end.t);
            let under_way = start.t <= answered && answered < end;
            if !under_way || !trail.in_touch(&start.worker, answered, answered + TOLD_WITHIN) {
                continue;
            }
            let told = trail.told.get(&key).copied().unwrap_or(u64::MAX).min(end);
            rule.expect(told <= answered + TOLD_WITHIN, || {
                let after = told.saturating_sub(answered) / MILLISECOND;
                format!(
                    "run {}: attempt {} at {} was told {after} ms after the answer",
                    run.id, start.attempt, start.worker
                )
            });
        }
    }
    rule
}
