//! The ledger as people read it: one line per nominal instant.
//!
//! The store keeps ranges; the instants inside one are named again by the version of the rule that named them first. Which
//! run a FIRED instant became is found by `(job, nominal time)`, which is unique. One instant is explained by what the
//! ledger has of it, and where it has nothing by the definition in force.

use std::{collections::BTreeMap, time::Duration};

use super::Core;
use crate::{
    domain::{
        explain::{Beside, Explanation, Met, Subject},
        filter::{Filter, Value},
        instant::Instant,
        job::Job,
        lapse::Lapsed,
        ledger::{Fate, FateReason, InstantView, SkippedWalls},
        names::{JobName, ScheduleName, Scope},
        supersede::DROPPED,
    },
    ports::store::{DroppedRun, InstantRange, LedgerPart, RunView, SkippedRule, StoreResult},
};

/// More schedules than can ever have named one instant: those of a job, and those it had before.
const SCHEDULES: usize = 1_000;
/// Ranges of one schedule read at once.
const RANGES: usize = 128;
/// Edits and deletes, the latest, among which the one is looked for that took an instant.
const LAPSES: usize = 100;

/// No clock goes forward by more.
const GAP: Duration = Duration::from_secs(25 * 3_600);

/// The ledger, as the services read it.
#[derive(Debug)]
pub struct Ledger<'a> {
    core: &'a Core,
}

impl<'a> Ledger<'a> {
    pub(super) fn new(core: &'a Core) -> Self {
        Self { core }
    }

    /// Instants of a job in `[from, to)` that pass a filter of schedule, fate and reason (both by their codes), by nominal
    /// time and schedule, at most `limit`, right after `after`.
    pub async fn list(
        &self,
        job: &Job,
        (from, to): (Instant, Instant),
        filter: &Filter,
        after: Option<InstantKey>,
        limit: usize,
    ) -> StoreResult<Vec<InstantView>> {
        let mut from = after.as_ref().map_or(from, |(nominal, ..)| (*nominal).max(from));
        let mut instants = Vec::new();
        while from < to && instants.len() < limit {
            let LedgerPart { mut ranges, skipped, lapsed, until } =
                self.core.store.ledger(job.uid, from, to, RANGES).await?;
            let most = limit.saturating_add(1);
            let mut superseded = lapses(job, &ranges, &lapsed, (from, until), most);
            superseded.retain(|view| passes(&view.schedule, view.fate, view.reason, filter));
            // What the filter asks for is the same for a whole range.
            ranges.retain(|found| passes(&found.schedule, found.range.fate, found.range.reason, filter));
            let mut part: Vec<_> = ranges.iter().flat_map(|range| expand(range, from, until, most)).collect();
            part.extend(superseded);
            part.extend(skipped.into_iter().map(taken).filter(|view| passes(&view.schedule, view.fate, None, filter)));
            part.sort_by_cached_key(key);
            if let Some(after) = &after {
                part.retain(|instant| key(instant) > *after);
            }
            instants.append(&mut part);
            from = until;
        }
        instants.truncate(limit);
        let named: Vec<_> = instants.iter().filter(|instant| instant.fate.is_a_run()).map(|it| it.nominal).collect();
        let runs = self.core.store.scheduled_runs(job.uid, &named).await?;
        let runs: BTreeMap<_, _> = runs.into_iter().map(|(nominal, run, state)| (nominal, (run, state))).collect();
        let dropped: Vec<_> = instants.iter().filter(|instant| instant.was_dropped()).map(|it| it.nominal).collect();
        let dropped = match &dropped[..] {
            [] => Vec::new(),
            some => self.core.store.dropped_runs(job.uid, some).await?,
        };
        let dropped: BTreeMap<_, _> = dropped.into_iter().map(|run| (run.nominal, run)).collect();
        for instant in &mut instants {
            if instant.fate.is_a_run() {
                instant.run = runs.get(&instant.nominal).copied();
            } else if let Some(DroppedRun { nominal: _, run, dropped }) =
                dropped.get(&instant.nominal).filter(|_| instant.was_dropped())
            {
                instant.run = Some(*run);
                instant.dropped = Some(Box::new(dropped.clone()));
            }
        }
        Ok(instants)
    }

    /// What there is to say of one instant of a job, or of the one that had its name last; none where neither is kept.
    pub async fn explain(&self, scope: &Scope, name: &JobName, at: Instant) -> StoreResult<Option<Explanation>> {
        let store = &self.core.store;
        let (job, delete_time) = match store.job(scope, name).await? {
            Some(job) => (job, None),
            None => match store.deleted_job(scope, name).await? {
                Some((job, deleted)) => (job, Some(deleted)),
                None => return Ok(None),
            },
        };
        let whole = (at, at.plus(Duration::from_micros(1)));
        let mut decided = self.list(&job, whole, &Filter::All, None, SCHEDULES).await?;
        // Whoever asks for the instant of a clock change asks for what fired then.
        decided.retain(|view| view.walls.is_none() && view.lapse.is_none());
        if decided.is_empty() {
            decided.extend(self.kept(scope, &job, at).await?);
        }
        let lapses = store.lapses(job.uid, at, LAPSES).await?;
        let backfilled = store.backfilled_runs(job.uid, at).await?;
        let overlap = match decided.iter().any(|view| view.fate == Fate::SkippedOverlap) {
            true => Some(self.met(scope, &job, whole).await?),
            false => None,
        };
        let skipped = self.skipped(&job, at).await?;
        let now = self.core.now();
        let subject = Subject { job: &job, delete_time, now };
        let beside = Beside { lapses, backfilled, overlap, skipped, kept: Some(now.minus(self.core.retention.ledger)) };
        Ok(Some(subject.explain(at, decided, beside)))
    }
}

impl Ledger<'_> {
    /// What an instant became of which the ledger has nothing any more, by its run: that may be kept for longer.
    async fn kept(&self, scope: &Scope, job: &Job, at: Instant) -> StoreResult<Option<InstantView>> {
        let Some((_, run, state)) = self.core.store.scheduled_runs(job.uid, &[at]).await?.pop() else {
            return Ok(None);
        };
        let Some(RunView { schedule: Some(schedule), life, .. }) = self.core.store.run(scope, run).await? else {
            return Ok(None);
        };
        let mut dropped = None;
        if life.cancel_reason.as_deref() == Some(DROPPED) {
            dropped = self.core.store.dropped_runs(job.uid, &[at]).await?.pop().map(|run| Box::new(run.dropped));
        }
        let fate = if dropped.is_some() { Fate::Superseded } else { Fate::Fired };
        Ok(Some(InstantView { run: Some((run, state)), dropped, ..InstantView::new(schedule, at, fate) }))
    }

    /// What a clock change took from a job that is meant by an instant, by the definition that named it.
    async fn skipped(&self, job: &Job, at: Instant) -> StoreResult<Option<(ScheduleName, SkippedWalls)>> {
        let (from, to) = (at.minus(GAP), at.plus(Duration::from_micros(1)));
        let taken = self.core.store.skipped_walls(job.uid, from, to).await?;
        let meant = taken.into_iter().find_map(|SkippedRule { schedule, walls, spec }| {
            let rule = spec.schedules.iter().find(|rule| rule.name == schedule)?;
            let meant = rule.skips(at).filter(|meant| meant.change == walls.change)?;
            (walls.first <= meant.first && meant.first <= walls.last).then_some((schedule, meant))
        });
        Ok(meant)
    }

    /// What an instant met, by the definition that judged it.
    async fn met(&self, scope: &Scope, job: &Job, (at, to): (Instant, Instant)) -> StoreResult<Met> {
        let LedgerPart { ranges, .. } = self.core.store.ledger(job.uid, at, to, RANGES).await?;
        let judged = ranges.into_iter().find(|found| found.range.fate == Fate::SkippedOverlap).map(|found| found.spec);
        let keys = judged.filter(|spec| spec.overlaps_by_key()).and_then(|spec| spec.keys(&spec.payload).ok());
        let key = keys.and_then(|keys| keys.concurrency).map(|concurrency| concurrency.key);
        let run = self.core.store.overlapping_run(scope, job.uid, key.as_ref(), at).await?;
        Ok(Met { key, run })
    }
}

/// Where a list of instants goes on: nominal time and schedule; what a clock change took comes after an instant of its own.
pub type InstantKey = (Instant, ScheduleName, bool);

/// The key of an instant.
pub fn key(view: &InstantView) -> InstantKey {
    (view.nominal, view.schedule.clone(), view.walls.is_some())
}

fn passes(schedule: &ScheduleName, fate: Fate, reason: Option<FateReason>, filter: &Filter) -> bool {
    filter.passes(&|field| match field {
        "schedule" => Some(Value::Text(schedule.as_str().into())),
        "fate" => Some(Value::Number(fate.code().into())),
        "reason" => Some(Value::Number(reason.map_or(0, FateReason::code).into())),
        _ => None,
    })
}

/// What a clock change took, among instants.
fn taken((schedule, walls): (ScheduleName, SkippedWalls)) -> InstantView {
    InstantView { walls: Some(walls), ..InstantView::new(schedule, walls.change, Fate::DstSkipped) }
}

/// What edits and deletes took in `[from, until)`, but for what another definition of the schedule named again; at most
/// `limit` of each.
fn lapses(
    job: &Job,
    ranges: &[InstantRange],
    lapsed: &[Lapsed],
    (from, until): (Instant, Instant),
    limit: usize,
) -> Vec<InstantView> {
    let last = Instant::from_micros(until.as_micros() - 1);
    let mut found: BTreeMap<InstantKey, InstantView> = BTreeMap::new();
    // Of several that took one instant from a schedule the latest counts, whichever tells of it; they come by when that was.
    for (place, shown) in lapsed.iter().enumerate() {
        let later = &lapsed[place..];
        for at in shown.shown(from, last, limit) {
            let took = |other: &&Lapsed| other.lapse.schedule == shown.lapse.schedule && other.took(at);
            let lapse = &later.iter().rev().find(took).unwrap_or(shown).lapse;
            let is_kept = ranges.iter().any(|range| {
                range.schedule == lapse.schedule && !expand(range, at, at.plus(Duration::from_micros(1)), 1).is_empty()
            });
            if is_kept || is_to_come(job, &lapse.schedule, at) {
                continue;
            }
            let view = lapse.view(at);
            found.insert(key(&view), view);
        }
    }
    found.into_values().collect()
}

/// Whether the definition in force has this instant of a schedule still to come.
fn is_to_come(job: &Job, schedule: &ScheduleName, at: Instant) -> bool {
    let mut standing = job.spec.schedules.iter().zip(&job.next_times).filter(|(rule, _)| rule.name == *schedule);
    standing.any(|(rule, next)| {
        next.is_some_and(|next| next == at || next < at && rule.delay().is_none() && rule.names(at))
    })
}

/// The first instants of a range that lie in `[from, to)`.
fn expand(found: &InstantRange, from: Instant, to: Instant, limit: usize) -> Vec<InstantView> {
    let InstantRange { schedule, range, spec } = found;
    let view =
        |nominal| InstantView { reason: range.reason, ..InstantView::new(schedule.clone(), nominal, range.fate) };
    let last = Instant::from_micros(to.as_micros() - 1);
    if range.first.max(from) > range.last.min(last) {
        return Vec::new();
    }
    let rule = spec.schedules.iter().find(|candidate| candidate.name == *schedule);
    let view = |nominal| {
        let excluded = rule.filter(|_| range.fate == Fate::Excluded).and_then(|rule| rule.excluded(nominal));
        InstantView { calendar: excluded.map(|exclusion| exclusion.name.clone()), ..view(nominal) }
    };
    if range.count == 1 {
        return vec![view(range.first)];
    }
    rule.map(|rule| rule.of_range(range, from, last, limit).into_iter().map(view).collect()).unwrap_or_default()
}
