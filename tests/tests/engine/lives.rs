//! The lives of jobs in a simulation, and what must have become of each of their instants.

use std::{collections::BTreeSet, time::Duration};

use mainspring_engine::domain::{ids::JobUid, instant::Instant, job::Job, ledger::Fate, supersede::Pending};
use mainspring_tests::engine::Stage;
use sqlx::{Connection as _, Row as _};
use uuid::Uuid;

use crate::{
    chain::{Away, Chain, Known},
    crew::database,
    ledger::{DROPPED, Kept, kept_of},
    rules::{Due, Rule},
};

/// A job, and what its rule was since when.
pub(crate) struct Life {
    pub(crate) job: Job,
    pub(crate) rules: Vec<(Instant, Rule)>,
    pub(crate) deleted: Option<Instant>,
}

/// The jobs of which a run waits for its moment, and was due by its nominal time.
pub(crate) async fn with_pending_starts(stage: &Stage) -> BTreeSet<JobUid> {
    let mut db = database(stage).await;
    let sql = "SELECT DISTINCT job_uid FROM run WHERE state = 1 AND origin = 1 AND job_uid IS NOT NULL";
    let uids: Vec<Vec<u8>> = sqlx::query_scalar(sql).fetch_all(&mut db).await.unwrap();
    db.close().await.unwrap();
    uids.into_iter().map(|uid| JobUid::from_uuid(Uuid::from_slice(&uid).unwrap())).collect()
}

/// What was found of all lives: a simulation in which some of it never happens proves nothing of it.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) fates: BTreeSet<Fate>,
    /// Jobs whose schedule made its last run.
    pub(crate) ended: u32,
    /// Links of chains.
    pub(crate) links: usize,
}

impl Life {
    pub(crate) fn rule(&self) -> &Rule {
        &self.rules.last().unwrap().1
    }

    /// Judges what became of its instants up to an instant.
    pub(crate) async fn judge(&self, stage: &Stage, last: Instant, away: &[Away], findings: &mut Findings) {
        let Self { job, rules, deleted } = self;
        let over = deleted.unwrap_or(last).min(last);
        let untils = rules.iter().skip(1).map(|(from, _)| *from).chain([over]);
        let Kept { ranges, runs, ends, dropped } = kept_of(stage, job.uid).await;
        let named: Vec<_> = rules
            .iter()
            .zip(untils)
            .map(|((from, rule), until)| match rule.due {
                Due::Delay(delay) => (*from, until, rule, ranges.steps(Duration::from_secs(delay), *from, until)),
                Due::Wall(_) | Due::Every(_) => (*from, until, rule, rule.named(*from, until)),
            })
            .collect();
        let instants: Vec<_> = named.iter().flat_map(|(.., instants)| instants.clone()).collect();
        let (found, doubled) = ranges.fates(&instants);
        assert_eq!(doubled, Vec::<Instant>::new(), "{} has instants with two fates: {rules:?}", job.name);
        let known = Known { ends: &ends, away };
        let (mut made, mut superseded, mut chain) = (Vec::new(), BTreeSet::new(), None);
        for (from, until, rule, instants) in named {
            let is_done = |made: &[Instant]| rule.max_runs.is_some_and(|most| made.len() as u64 >= most);
            chain = match rule.due {
                Due::Delay(delay) => Some(Chain::begin(chain, delay, from)),
                Due::Wall(_) | Due::Every(_) => None,
            };
            for at in instants {
                let Some(fate) = found.get(&at).copied() else {
                    assert!(is_done(&made), "{} has an instant without a fate: {at}, {rules:?}", job.name);
                    continue;
                };
                if let Some(chain) = &mut chain {
                    findings.links += 1;
                    let followed = chain.follow(at, fate, &known);
                    assert_eq!(followed, Ok(()), "{}: {rules:?}", job.name);
                }
                // A pause comes before a calendar.
                let is_right = if rule.leaves_out(at) {
                    matches!(fate, Fate::Excluded | Fate::Paused)
                } else {
                    fate != Fate::Excluded
                };
                assert!(is_right, "{} is {fate:?} at {at}, by its calendars: {rules:?}", job.name);
                if matches!(fate, Fate::Fired | Fate::Superseded) {
                    assert!(!is_done(&made), "{} is {fate:?} at {at}, after its last run: {rules:?}", job.name);
                    made.push(at);
                }
                if fate == Fate::Superseded {
                    superseded.insert(at);
                }
            }
            let owes = chain.is_some_and(|chain| chain.owes(until)) && !is_done(&made);
            assert!(!owes, "{} has an instant without a fate up to {until}: {chain:?}, {rules:?}", job.name);
        }
        assert_eq!(runs, made, "the runs of {}", job.name);
        assert_eq!(dropped, superseded, "what edits dropped of {}: {rules:?}", job.name);
        findings.ended += u32::from(found.len() < instants.len());
        findings.fates.extend(found.into_values());
    }

    /// Judges what an edit, which has just been made, made of starts that were pending.
    pub(crate) async fn judge_edit(&self, stage: &Stage, what: Pending, version: i64) {
        let (job, now) = (&self.job, stage.engine.now());
        let sql = "SELECT nominal_time, job_version, state = 1 FROM run WHERE job_uid = ?1 AND origin = 1 \
                   AND (state = 1 OR (end_time = ?2 AND cancel_reason = ?3))";
        let mut db = database(stage).await;
        let uid = job.uid.uuid();
        let starts = sqlx::query(sql).bind(uid.as_bytes().as_slice()).bind(now.as_micros()).bind(DROPPED);
        let starts = starts.fetch_all(&mut db).await.unwrap();
        db.close().await.unwrap();
        for start in starts {
            let (at, by, waits): (_, i64, bool) = (Instant::from_micros(start.get(0)), start.get(1), start.get(2));
            let expected = match what {
                Pending::Keep => waits && by < version,
                Pending::Recompute if self.rule().makes(at) => waits && by == version,
                Pending::Recompute | Pending::Cancel => !waits,
            };
            let is = if waits { "waits" } else { "was dropped" };
            assert!(expected, "{} at {at}, of version {by}, {is} after {what:?}: {:?}", job.name, self.rules);
        }
    }
}
