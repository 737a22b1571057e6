//! What clock changes took from schedules, as rows.
//!
//! A cursor may cross a change twice, where a pause is caught up with: what is told once is not told again.

use mainspring_engine::{
    domain::{ids::JobUid, instant::Instant, job::Job, ledger::SkippedWalls, names::ScheduleName},
    ports::store::{StoreError, StoreResult},
};
use sea_orm::ConnectionTrait;

use super::{
    jobs::ScheduleRow,
    rows::{name, time},
    statement::{Cells, insert, query},
    writer::Tx,
};

/// What a clock change took, of which job, schedule and version.
pub(super) type Taken = (JobUid, ScheduleName, i64, SkippedWalls);

/// Keeps what was taken.
pub(super) async fn keep(tx: &Tx, taken: Vec<Taken>) -> StoreResult<()> {
    let mut rows = Vec::with_capacity(taken.len());
    for (job, schedule, version, walls) in taken {
        let SkippedWalls { change, first, last, count } = walls;
        rows.push([
            job.uuid().into(),
            schedule.as_str().into(),
            time(change),
            version.into(),
            first.to_string().into(),
            last.to_string().into(),
            i64::try_from(count).unwrap_or(i64::MAX).into(),
        ]);
    }
    let into = "skipped_wall (job_uid, schedule, change_time, version, first_wall, last_wall, count)";
    insert(tx, into, rows, "ON CONFLICT DO NOTHING").await.map(drop)
}

/// Keeps what was taken since the schedules of a job were evaluated: their rules come to an end.
pub(super) async fn keep_rest(tx: &Tx, now: Instant, job: &Job, rows: &[ScheduleRow]) -> StoreResult<()> {
    let taken = rows.iter().flat_map(|row| {
        let spec = job.spec.schedules.iter().find(|spec| spec.name == row.name && !spec.is_done(row.made));
        let walls = spec.map(|spec| spec.skipped(row.cursor, now)).unwrap_or_default();
        walls.into_iter().map(|walls| (row.job, row.name.clone(), row.version, walls))
    });
    keep(tx, taken.collect()).await
}

/// What was taken from a job in `[from, to)`, by the time of the change.
pub(super) const TAKEN: &str = "SELECT schedule, version, change_time, first_wall, last_wall, count FROM skipped_wall \
     WHERE job_uid = ? AND change_time >= ? AND change_time < ? ORDER BY change_time, schedule";

/// What was taken from a job in `[from, to)`, and from which version of it, by the time of the change: a few a year.
pub(super) async fn taken<C: ConnectionTrait>(
    connection: &C,
    job: JobUid,
    from: Instant,
    to: Instant,
) -> StoreResult<Vec<(ScheduleName, i64, SkippedWalls)>> {
    let rows = query(connection, TAKEN, vec![job.uuid().into(), time(from), time(to)]).await?;
    let read = rows.iter().map(|row| {
        let mut cells = Cells::of(row);
        let schedule = name(cells.next()?)?;
        let version = cells.next()?;
        let change = Instant::from_micros(cells.next()?);
        let mut wall = || cells.parse("a time of the wall clock", |text: &String| text.parse().ok());
        let (first, last) = (wall()?, wall()?);
        let count = cells.parse("a count", |count: &i64| u64::try_from(*count).ok())?;
        Ok::<_, StoreError>((schedule, version, SkippedWalls { change, first, last, count }))
    });
    read.collect()
}
