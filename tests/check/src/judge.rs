//! The rules, one file for each way of breaking the promise.

mod after_ack;
mod cancel;
mod doubled;
mod logs;
mod lost;
mod redispatch;
mod room;
mod slots;
mod stuck;
mod tokens;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};

use crate::{
    database::{Database, Schedule},
    evidence::{Outcome, Target},
    rule::Rhythm,
    trail::{Job, Trail},
    verdict::{Facts, Verdict},
};

/// What the rules look at.
pub(crate) struct Case<'a> {
    pub(crate) db: &'a Database,
    pub(crate) trail: &'a Trail,
    /// Schedules of the jobs the test made, with their rhythm.
    pub(crate) schedules: Vec<(&'a Job, &'a Schedule, Rhythm)>,
}

/// What a judgement needs. A test without faults asks for less.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Needs {
    pub(crate) faults: bool,
    pub(crate) submissions: bool,
    pub(crate) jobs: bool,
    pub(crate) cancels: bool,
}

pub(crate) fn judge(db: &Database, trail: &Trail, needs: Needs) -> Result<Verdict> {
    let mut schedules = Vec::new();
    for job in &trail.jobs {
        let rhythm = Rhythm::parse(&job.rule).with_context(|| format!("job {}", job.name))?;
        schedules.extend(db.schedules.iter().filter(|schedule| schedule.job == job.uid).map(|s| (job, s, rhythm)));
    }
    let case = Case { db, trail, schedules };
    let mut rules = lost::rules(&case);
    rules.extend(doubled::rules(&case));
    rules.extend(after_ack::rules(&case));
    rules.extend(stuck::rules(&case));
    rules.extend(tokens::rules(&case));
    let room = room::Room::of(&case);
    rules.push(slots::rule(&room));
    rules.extend(cancel::rules(&case));
    rules.extend(logs::rules(&case));
    let (rule, redispatch) = redispatch::rule(&case, &room);
    rules.push(rule);
    Ok(Verdict::of(rules, facts(&case), redispatch, missing(&case, needs)))
}

fn facts(case: &Case<'_>) -> Facts {
    let Case { db, trail, schedules } = case;
    let faults = |target| trail.faults.iter().filter(|fault| fault.target == target).count() as u64;
    let repeats: Vec<_> =
        trail.starts.iter().flat_map(|(run, s)| s.windows(2).map(move |pair| (run, &pair[0]))).collect();
    let failed = |run: &str, attempt| {
        trail.ends.get(&(run.to_owned(), attempt)).is_some_and(|end| end.outcome == Outcome::Failed)
    };
    Facts {
        evidence_files: trail.files as u64,
        runs: db.runs.len() as u64,
        acknowledged: trail.acked,
        unknown: trail.unknown,
        refused: trail.refused,
        instants: schedules.iter().flat_map(|(_, s, _)| &s.ranges).map(|range| range.count.unsigned_abs()).sum(),
        attempts: db.runs.values().map(|run| run.attempt.unsigned_abs()).sum(),
        starts: trail.all_starts().count() as u64,
        repeated: repeats.len() as u64,
        repeated_after_loss: repeats.iter().filter(|(run, before)| !failed(run, before.attempt)).count() as u64,
        sessions: trail.sessions,
        cancelled: trail.cancels.values().filter(|cancel| cancel.answer.is_some()).count() as u64,
        log_lines: db
            .logs
            .iter()
            .flatten()
            .flat_map(|(_, log)| &log.batches)
            .map(|batch| batch.messages.len() as u64)
            .sum(),
        server_faults: faults(Target::Server),
        worker_faults: faults(Target::Worker),
        stream_faults: faults(Target::Stream),
    }
}

/// A judgement over nothing is none: what was not there cannot have been right.
fn missing(case: &Case<'_>, needs: Needs) -> Vec<String> {
    let Case { db, trail, .. } = case;
    let mut missing = Vec::new();
    let mut need = |there: bool, what: &str| {
        if !there {
            missing.push(what.to_owned());
        }
    };
    need(db.witnessed.is_some(), "the triggers (mainspring-check arm)");
    need(trail.lease_ms > 0, "SETUP, which tells the lease");
    need(trail.healed.is_some(), "HEALED, the moment after which everything must come to rest");
    need(!trail.starts.is_empty(), "a START of any worker");
    need(!trail.ends.is_empty(), "an END of any worker");
    need(!trail.acks.is_empty(), "an ACK of any worker");
    need(!needs.faults || !trail.faults.is_empty(), "a fault");
    need(!needs.submissions || trail.acked > 0, "an acknowledged submission");
    need(!needs.jobs || !trail.jobs.is_empty(), "a job of the test's own");
    need(
        !needs.cancels || trail.cancels.values().any(|cancel| cancel.answer.is_some()),
        "an acknowledged cancellation",
    );
    need(db.logs.is_some(), "the file of logs beside the database");
    need(trail.ends.values().any(|end| end.lines > 0), "a log line of any worker");
    missing
}

/// The nominal instants that became runs, by job.
fn fired(case: &Case<'_>) -> BTreeMap<String, BTreeSet<i64>> {
    let mut fired: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
    for run in case.db.runs.values().filter(|run| run.origin == crate::database::ORIGIN_SCHEDULE) {
        if let (Some(job), Some(nominal)) = (&run.job, run.nominal) {
            fired.entry(job.clone()).or_default().insert(nominal);
        }
    }
    fired
}
