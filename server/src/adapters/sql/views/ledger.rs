//! Ledgers of jobs, and the runs that instants became.
//!
//! The ranges of one schedule follow each other and never overlap, so a part of them is found by the key, wherever it lies
//! and however many there are. The open range of a schedule comes after all that are closed; they are read at one moment, or a
//! range that closes between two reads would be in neither.

use std::{collections::HashMap, sync::Arc};

use mainspring_engine::{
    domain::{
        explain::InTheWay,
        ids::{JobUid, RunId},
        instant::Instant,
        job::JobSpec,
        ledger::Range,
        names::{ConcurrencyKey, ScheduleName, Scope},
        run::RunState,
        supersede::Dropped,
    },
    ports::store::{DroppedRun, InstantRange, LedgerPart, SkippedRule, StoreError, StoreResult},
};
use sea_orm::{ConnectionTrait, Value};
use uuid::Uuid;

use super::{
    super::{
        Known, SqliteStore, calendars,
        jobs::{SPEC, range, schedules},
        lapsed,
        rows::{first_id, maybe, name, run_state, time},
        skipped,
        statement::{Cells, chunks, places, query, query_one, single},
        zones::Changes,
    },
    limit,
};

/// The schedules that a job's ledger has ranges of, those that are gone among them: from one name to the next, without
/// reading what lies between.
pub(in super::super) const NAMED: &str = "WITH RECURSIVE named(name) AS (SELECT min(schedule) FROM ledger \
     WHERE job_uid = ? UNION ALL SELECT (SELECT min(ledger.schedule) FROM ledger WHERE ledger.job_uid = ? \
     AND ledger.schedule > named.name) FROM named WHERE named.name IS NOT NULL) \
     SELECT name FROM named WHERE name IS NOT NULL";

/// Closed ranges of a schedule that reach into a stretch of time, from the one that may lie across its beginning.
pub(in super::super) const RANGES: &str = "SELECT version, first_time, last_time, count, fate, reason FROM ledger \
     WHERE job_uid = ? AND schedule = ? AND first_time >= coalesce((SELECT max(across.first_time) FROM ledger AS across \
     WHERE across.job_uid = ? AND across.schedule = ? AND across.first_time <= ?), ?) \
     AND first_time < ? AND last_time >= ? ORDER BY first_time LIMIT ?";

pub(super) async fn part(
    store: &SqliteStore,
    job: JobUid,
    from: Instant,
    to: Instant,
    most: usize,
) -> StoreResult<LedgerPart> {
    let mut ranges: Vec<(ScheduleName, Range)> = Vec::new();
    let mut until = to;
    let uid: Value = job.uuid().into();
    let reads = store.reads.snapshot().await?;
    for row in query(&reads, NAMED, vec![uid.clone(), uid.clone()]).await? {
        let schedule: ScheduleName = name(single(&row)?)?;
        let text: Value = schedule.as_str().into();
        let mut values = vec![uid.clone(), text.clone(), uid.clone(), text, time(from), time(from)];
        values.extend([time(to), time(from), limit(most)]);
        let rows = query(&reads, RANGES, values).await?;
        for row in &rows {
            let mut cells = Cells::of(row);
            let (version, first, last) = (cells.next()?, cells.next()?, cells.next()?);
            let found = range(version, first, last, cells.next()?, cells.next()?, &cells.next::<String>()?)?;
            ranges.push((schedule.clone(), found));
        }
        if let Some((_, last)) = ranges.last().filter(|_| rows.len() == most) {
            until = until.min(Instant::from_micros(last.last.as_micros().saturating_add(1)));
        }
    }
    for row in schedules(&reads, &[job.uuid()]).await? {
        let reaches = |range: &Range| range.first < until && range.last >= from;
        ranges.extend(row.open.filter(reaches).map(|range| (row.name, range)));
    }
    ranges.sort_by(|(a, one), (b, other)| (one.first, a).cmp(&(other.first, b)));
    let versions = ranges.iter().map(|(_, range)| range.version);
    let specs = specs(&reads, &store.known, job, versions).await?;
    let changes = Changes::of(&reads, job).await?;
    let mut found = Vec::with_capacity(ranges.len());
    for (schedule, range) in ranges {
        let spec = specs.get(&range.version).cloned();
        let spec = spec.ok_or_else(|| StoreError::Corrupt(format!("job {job} has no version {}", range.version)))?;
        let spec = changes.named_by(&reads, &store.known, (&schedule, &range), spec).await?;
        found.push(InstantRange { schedule, range, spec });
    }
    let skipped = skipped::taken(&reads, job, from, until).await?;
    let skipped = skipped.into_iter().map(|(schedule, _, walls)| (schedule, walls)).collect();
    let lapsed = lapsed::shown(&reads, &store.known, job, (from, until)).await?;
    Ok(LedgerPart { ranges: found, skipped, lapsed, until })
}

/// Definitions of a job by their versions.
pub(in super::super) async fn specs<C: ConnectionTrait>(
    connection: &C,
    known: &Known,
    job: JobUid,
    versions: impl Iterator<Item = i64>,
) -> StoreResult<HashMap<i64, Arc<JobSpec>>> {
    let mut versions: Vec<i64> = versions.collect();
    versions.sort_unstable();
    versions.dedup();
    let mut specs = HashMap::new();
    let zones = known.zones.current();
    for piece in chunks(&versions) {
        let places = places(piece.len());
        let sql =
            format!("SELECT job_version.version, {SPEC} FROM job_version WHERE job_uid = ? AND version IN ({places})");
        let values = std::iter::once(job.uuid().into()).chain(piece.iter().map(|version| (*version).into()));
        for row in query(connection, sql, values.collect()).await? {
            let mut cells = Cells::of(&row);
            let version = cells.next()?;
            let mut spec = known.specs.read(&mut cells, &zones)?;
            calendars::fill_shared(connection, known, &zones, (job, version), &mut spec).await?;
            specs.insert(version, spec);
        }
    }
    Ok(specs)
}

/// The runs that `count` instants of a job became.
pub(in super::super) fn runs_sql(count: usize) -> String {
    let places = places(count);
    format!("SELECT nominal_time, id, state FROM run WHERE origin = 1 AND job_uid = ? AND nominal_time IN ({places})")
}

pub(super) async fn runs(
    store: &SqliteStore,
    job: JobUid,
    instants: &[Instant],
) -> StoreResult<Vec<(Instant, RunId, RunState)>> {
    let mut runs = Vec::new();
    for piece in chunks(instants) {
        let values = std::iter::once(job.uuid().into()).chain(piece.iter().map(|at| time(*at)));
        for row in query(&store.reads, runs_sql(piece.len()), values.collect()).await? {
            let mut cells = Cells::of(&row);
            let nominal = Instant::from_micros(cells.next()?);
            runs.push((nominal, RunId::from_uuid(cells.next()?), run_state(&mut cells)?));
        }
    }
    Ok(runs)
}

/// The runs of `count` instants of a job that an edit cancelled, and the edit: the version that was made when the run ended, and who
/// made it, where that took instants as well.
pub(in super::super) fn dropped_sql(count: usize) -> String {
    let places = places(count);
    format!(
        "SELECT nominal_time, id, state, job_version, end_time, (SELECT version FROM job_version AS made \
         WHERE made.job_uid = run.job_uid AND made.version > run.job_version AND made.create_time = run.end_time \
         ORDER BY made.version LIMIT 1), (SELECT actor FROM lapsed WHERE lapsed.job_uid = run.job_uid \
         AND lapsed.lapse_time = run.end_time LIMIT 1) FROM run WHERE origin = 1 AND job_uid = ? AND nominal_time IN ({places})"
    )
}

pub(super) async fn dropped(store: &SqliteStore, job: JobUid, instants: &[Instant]) -> StoreResult<Vec<DroppedRun>> {
    let mut runs = Vec::new();
    for piece in chunks(instants) {
        let values = std::iter::once(job.uuid().into()).chain(piece.iter().map(|at| time(*at)));
        for row in query(&store.reads, dropped_sql(piece.len()), values.collect()).await? {
            let mut cells = Cells::of(&row);
            let nominal = Instant::from_micros(cells.next()?);
            let run = (RunId::from_uuid(cells.next()?), run_state(&mut cells)?);
            let (version, end, by) = (cells.next()?, maybe(cells.next()?), cells.next::<Option<i64>>()?);
            let actor = cells.next::<Option<String>>()?.unwrap_or_default();
            runs.push(DroppedRun { nominal, run, dropped: Dropped { version, by: by.zip(end), actor } });
        }
    }
    Ok(runs)
}

/// What clock changes took, with the definitions that named it.
pub(super) async fn skipped_walls(
    store: &SqliteStore,
    job: JobUid,
    from: Instant,
    to: Instant,
) -> StoreResult<Vec<SkippedRule>> {
    let taken = skipped::taken(&store.reads, job, from, to).await?;
    let specs = specs(&store.reads, &store.known, job, taken.iter().map(|(_, version, _)| *version)).await?;
    let found = taken.into_iter().map(|(schedule, version, walls)| {
        let spec = specs.get(&version).cloned();
        let spec = spec.ok_or_else(|| StoreError::Corrupt(format!("job {job} has no version {version}")))?;
        Ok(SkippedRule { schedule, walls, spec })
    });
    found.collect()
}

/// A run of a key that is not over.
pub(in super::super) const MET_OF_KEY: &str = "SELECT run.id, run.state, run.job_uid, job.name FROM run \
     LEFT JOIN job ON job.uid = run.job_uid WHERE key_id = (SELECT id FROM limit_key WHERE namespace_id = ? AND key = ?) \
     AND key_id IS NOT NULL AND run.end_time IS NULL AND run.id < ? AND NOT apart LIMIT 1";

/// A run of a key, of the latest of anybody's before an instant, that was over after it: the runs of a key are in no order.
pub(in super::super) const MET_OF_KEY_THEN: &str = "SELECT latest.id, latest.state, latest.job_uid, job.name FROM \
     (SELECT id, state, job_uid, key_id, end_time, apart FROM run WHERE id < ? ORDER BY id DESC LIMIT 2000) AS latest \
     LEFT JOIN job ON job.uid = latest.job_uid WHERE latest.key_id = (SELECT id FROM limit_key WHERE namespace_id = ? AND key = ?) \
     AND latest.end_time >= ? AND NOT apart LIMIT 1";

/// A run of a job, of the latest before an instant, that was not over then.
pub(in super::super) const MET: &str = "SELECT id, state, job_uid, NULL FROM (SELECT id, state, job_uid, end_time, apart FROM run \
     WHERE job_uid = ? AND id < ? ORDER BY id DESC LIMIT 1000) AS latest WHERE (end_time IS NULL OR end_time >= ?) AND NOT apart LIMIT 1";

/// A run that an instant met.
pub(super) async fn met(
    store: &SqliteStore,
    scope: &Scope,
    job: JobUid,
    key: Option<&ConcurrencyKey>,
    at: Instant,
) -> StoreResult<Option<InTheWay>> {
    let before: Value = first_id(at).into();
    let mut row = None;
    if let (Some(namespace), Some(key)) = (store.known.lanes.namespace(&scope.0), key) {
        let (namespace, key): (Value, Value) = (namespace.into(), key.as_str().into());
        let values = vec![namespace.clone(), key.clone(), before.clone()];
        row = query_one(&store.reads, MET_OF_KEY, values).await?;
        if row.is_none() {
            row = query_one(&store.reads, MET_OF_KEY_THEN, vec![before.clone(), namespace, key, time(at)]).await?;
        }
    }
    if row.is_none() {
        row = query_one(&store.reads, MET, vec![job.uuid().into(), before, time(at)]).await?;
    }
    let read = row.map(|row| {
        let mut cells = Cells::of(&row);
        let (run, state) = (RunId::from_uuid(cells.next()?), run_state(&mut cells)?);
        let of = cells.next::<Option<Uuid>>()?;
        let other = cells.next::<Option<String>>()?.filter(|_| of != Some(job.uuid()));
        Ok(InTheWay { run, state, job: other.map(name).transpose()? })
    });
    read.transpose()
}
