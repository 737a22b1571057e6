//! What edits and deletes took from schedules, as rows.
//!
//! Written by [`super::catalog`] in the transaction of the edit or the delete, and read where somebody asks for instants; nothing
//! that fires looks here. One row stands for however many instants: the rule of its version names them.

use std::collections::HashMap;

use mainspring_engine::{
    domain::{
        ids::{JobUid, RunId},
        instant::Instant,
        job::{Job, JobSpec},
        lapse::{Ending, Lapse, Lapsed},
        names::ScheduleName,
        run::RunState,
        schedule::ScheduleSpec,
    },
    ports::store::{StoreError, StoreResult},
};
use sea_orm::{ConnectionTrait, QueryResult};

use super::{
    Known,
    jobs::ScheduleRow,
    rows::{maybe, maybe_time, name, run_state, time},
    statement::{Cells, exec, insert, query},
    views::{ledger::specs, limit},
    writer::Tx,
};

const COLUMNS: &str = "schedule, version, to_version, lapse_time, actor, first_time, shown_time, end_time";

/// Who changes a job, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct By<'a> {
    pub(super) now: Instant,
    /// Empty where nobody does it by hand.
    pub(super) actor: &'a str,
}

/// Keeps what is lost with the schedules of a job, by another definition and where its schedules stand by that.
pub(super) async fn replaced(
    tx: &Tx,
    by: By<'_>,
    job: &Job,
    rows: &[ScheduleRow],
    (spec, wanted): (&JobSpec, &[ScheduleRow]),
) -> StoreResult<()> {
    let ending = Ending::Edit { version: job.version + 1 };
    let next = |rule: &ScheduleSpec| {
        let same = spec.schedules.iter().any(|other| other == rule);
        let next = wanted.iter().find(|row| row.name == rule.name).and_then(|row| row.next);
        (!same).then_some(next)
    };
    keep(tx, by, job, rows, ending, next).await
}

/// Keeps what is lost with the schedules of a job that is deleted.
pub(super) async fn deleted(tx: &Tx, by: By<'_>, job: &Job, rows: &[ScheduleRow]) -> StoreResult<()> {
    keep(tx, by, job, rows, Ending::Delete, |_| Some(None)).await
}

/// `next`: the first instant of what replaces a schedule; none at all where it goes on as it is.
async fn keep(
    tx: &Tx,
    By { now, actor }: By<'_>,
    job: &Job,
    rows: &[ScheduleRow],
    ending: Ending,
    next: impl Fn(&ScheduleSpec) -> Option<Option<Instant>>,
) -> StoreResult<()> {
    let mut lapses = Vec::new();
    for row in rows {
        let rule = job.spec.schedules.iter().find(|rule| rule.name == row.name);
        let Some((rule, next)) = rule.and_then(|rule| Some((rule, next(rule)?))) else { continue };
        // What came before in its place ends to be told of here.
        let sql = "UPDATE lapsed SET shown_time = CASE WHEN first_time > ? THEN first_time ELSE ? END \
             WHERE job_uid = ? AND schedule = ? AND shown_time > ?";
        let values = vec![time(now), time(now), job.uid.uuid().into(), row.name.as_str().into(), time(now)];
        exec(tx, sql, values).await?;
        if let Some(first) = row.next.filter(|first| *first > now) {
            lapses.push(Lapse::of(rule, (row.version, ending), (now, actor), (first, row.made), next));
        }
    }
    let values = lapses.into_iter().map(|lapse| {
        let Lapse { schedule, version, by, time: at, actor, first, shown, end } = lapse;
        let to = match by {
            Ending::Edit { version } => Some(version),
            Ending::Delete => None,
        };
        [
            job.uid.uuid().into(),
            schedule.as_str().into(),
            version.into(),
            to.into(),
            time(at),
            actor.into(),
            time(first),
            time(shown),
            maybe_time(end),
        ]
    });
    let into = format!("lapsed (job_uid, {COLUMNS})");
    insert(tx, &into, values.collect(), "").await.map(drop)
}

/// A job is back: what its delete took from now on is its own again, and what it took until now is told of one by one.
pub(super) async fn undeleted(tx: &Tx, now: Instant, job: JobUid, delete_time: Instant) -> StoreResult<()> {
    let of = "WHERE job_uid = ? AND lapse_time = ? AND to_version IS NULL";
    let of_it = || vec![job.uuid().into(), time(delete_time)];
    exec(tx, format!("DELETE FROM lapsed {of} AND first_time > ?"), [of_it(), vec![time(now)]].concat()).await?;
    let sql = format!("UPDATE lapsed SET end_time = ? {of} AND (end_time IS NULL OR end_time > ?)");
    exec(tx, sql, [vec![time(now)], of_it(), vec![time(now)]].concat()).await?;
    exec(tx, format!("UPDATE lapsed SET shown_time = end_time {of}"), of_it()).await.map(drop)
}

/// What was taken in `[from, to)` and is told of one by one.
pub(super) const SHOWN: &str = "SELECT schedule, version, to_version, lapse_time, actor, first_time, shown_time, end_time \
     FROM lapsed WHERE job_uid = ? AND first_time < ? AND shown_time >= ? ORDER BY lapse_time, version, schedule";

/// What may have been taken in `[from, to)`, the latest first.
pub(super) const WITHIN: &str = "SELECT schedule, version, to_version, lapse_time, actor, first_time, shown_time, end_time \
     FROM lapsed WHERE job_uid = ? AND first_time < ? AND (end_time IS NULL OR end_time >= ?) \
     ORDER BY lapse_time DESC, version DESC, schedule LIMIT ?";

/// Of later edits and deletes so many are looked at for the one that took an instant last.
const LATER: usize = 100;

/// What may have named one instant.
pub(super) const AROUND: &str = "SELECT schedule, version, to_version, lapse_time, actor, first_time, shown_time, end_time \
     FROM lapsed WHERE job_uid = ? AND first_time <= ? AND (end_time IS NULL OR end_time >= ?) \
     ORDER BY lapse_time DESC, version DESC, schedule LIMIT ?";

/// What was taken in `[from, to)` and is told of one by one, and what may have been taken again of it since, by when that was: as
/// much as there were edits.
pub(super) async fn shown<C: ConnectionTrait>(
    connection: &C,
    known: &Known,
    job: JobUid,
    (from, to): (Instant, Instant),
) -> StoreResult<Vec<Lapsed>> {
    let rows = query(connection, SHOWN, vec![job.uuid().into(), time(to), time(from)]).await?;
    let mut found = rows.iter().map(lapse).collect::<StoreResult<Vec<_>>>()?;
    let Some(earliest) = found.iter().map(|lapse| lapse.time).min() else { return Ok(Vec::new()) };
    let rows = query(connection, WITHIN, vec![job.uuid().into(), time(to), time(from), limit(LATER)]).await?;
    for row in &rows {
        let other = lapse(row)?;
        let names = found.iter().any(|shown| shown.schedule == other.schedule);
        if names && other.time > earliest && !found.contains(&other) {
            found.push(other);
        }
    }
    found.sort_by(|a, b| (a.time, a.version, &a.schedule).cmp(&(b.time, b.version, &b.schedule)));
    with_specs(connection, known, job, found).await
}

/// What may have taken one instant, the latest first.
pub(super) async fn around<C: ConnectionTrait>(
    connection: &C,
    known: &Known,
    job: JobUid,
    at: Instant,
    most: usize,
) -> StoreResult<Vec<Lapsed>> {
    let rows = query(connection, AROUND, vec![job.uuid().into(), time(at), time(at), limit(most)]).await?;
    let lapses = rows.iter().map(lapse).collect::<StoreResult<_>>()?;
    with_specs(connection, known, job, lapses).await
}

async fn with_specs<C: ConnectionTrait>(
    connection: &C,
    known: &Known,
    job: JobUid,
    lapses: Vec<Lapse>,
) -> StoreResult<Vec<Lapsed>> {
    let after = |lapse: &Lapse| match lapse.by {
        Ending::Edit { version } => Some(version),
        Ending::Delete => None,
    };
    let versions = lapses.iter().map(|lapse| lapse.version).chain(lapses.iter().filter_map(after));
    let specs: HashMap<_, _> = specs(connection, known, job, versions).await?;
    let find = |version| specs.get(&version).cloned();
    let missing = |version| StoreError::Corrupt(format!("job {job} has no version {version}"));
    let found = lapses.into_iter().map(|lapse| {
        let spec = find(lapse.version).ok_or_else(|| missing(lapse.version))?;
        Ok(Lapsed { spec, successor: after(&lapse).and_then(find), lapse })
    });
    found.collect()
}

fn lapse(row: &QueryResult) -> StoreResult<Lapse> {
    let mut cells = Cells::of(row);
    let schedule: ScheduleName = name(cells.next()?)?;
    let (version, to) = (cells.next()?, cells.next::<Option<i64>>()?);
    Ok(Lapse {
        schedule,
        version,
        by: to.map_or(Ending::Delete, |version| Ending::Edit { version }),
        time: Instant::from_micros(cells.next()?),
        actor: cells.next()?,
        first: Instant::from_micros(cells.next()?),
        shown: Instant::from_micros(cells.next()?),
        end: maybe(cells.next()?),
    })
}

/// Runs that the latest backfills of a job made of an instant.
pub(super) const BACKFILLED: &str = "SELECT run.id, run.state FROM (SELECT id FROM backfill WHERE job_uid = ? \
     ORDER BY id DESC LIMIT 100) AS latest JOIN run ON run.backfill_id = latest.id AND run.nominal_time = ? \
     WHERE run.backfill_id IS NOT NULL ORDER BY run.id DESC";

/// Runs that the latest backfills of a job made of an instant, the latest first.
pub(super) async fn backfilled<C: ConnectionTrait>(
    connection: &C,
    job: JobUid,
    at: Instant,
) -> StoreResult<Vec<(RunId, RunState)>> {
    let rows = query(connection, BACKFILLED, vec![job.uuid().into(), time(at)]).await?;
    let read = rows.iter().map(|row| {
        let mut cells = Cells::of(row);
        Ok((RunId::from_uuid(cells.next()?), run_state(&mut cells)?))
    });
    read.collect()
}
