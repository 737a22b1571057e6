//! Pauses of jobs: set, ended, and caught up with; and what else comes to a job by itself, its end.
//!
//! Called by [`super::catalog`] with a job that it has read in the transaction and whose instants are all evaluated.

use mainspring_engine::{
    domain::{
        catch_up::Mode,
        fire::Resumed,
        instant::Instant,
        job::{Job, Pause},
        ledger::Fate,
        names::{JobName, Scope},
    },
    ports::store::StoreResult,
};
use sea_orm::ConnectionTrait;

use super::{
    Known,
    jobs::{ScheduleRow, write_schedules},
    rows::{maybe, maybe_time, name, time},
    statement::{Cells, exec, query, query_one},
    writer::Tx,
};

/// Jobs whose pause is over by itself.
pub(super) const PAUSES_OVER: &str = "SELECT namespace_id, name FROM job WHERE pause_until IS NOT NULL \
     AND pause_until <= ? AND delete_time IS NULL ORDER BY pause_until LIMIT ?";

/// When the next pause is over, or the next job expires.
pub(super) const NEXT_END: &str = "SELECT (SELECT min(pause_until) FROM job WHERE pause_until IS NOT NULL AND \
     delete_time IS NULL), (SELECT min(expire_time) FROM job WHERE expire_time IS NOT NULL AND expire_time > ? \
     AND delete_time IS NULL)";

/// Jobs that are to be deleted, and have no run that is not over.
pub(super) const EXPIRED: &str = "SELECT namespace_id, name, revision FROM job WHERE expire_time IS NOT NULL \
     AND expire_time <= ? AND delete_time IS NULL AND NOT EXISTS (SELECT 1 FROM run WHERE run.job_uid = job.uid \
     AND run.end_time IS NULL) AND NOT EXISTS (SELECT 1 FROM backfill WHERE backfill.job_uid = job.uid \
     AND backfill.end_time IS NULL) ORDER BY expire_time LIMIT ?";

/// Jobs whose pause is over by itself.
pub(super) async fn over<C: ConnectionTrait>(
    connection: &C,
    known: &Known,
    now: Instant,
    limit: usize,
) -> StoreResult<Vec<(Scope, JobName)>> {
    let values = vec![time(now), i64::try_from(limit).unwrap_or(i64::MAX).into()];
    let rows = query(connection, PAUSES_OVER, values).await?;
    let named = rows.iter().map(|row| {
        let mut cells = Cells::of(row);
        Ok((Scope(known.lanes.namespace_name(cells.next()?)?), name(cells.next()?)?))
    });
    named.collect()
}

/// Jobs that have come to their end, and at which revision.
pub(super) async fn expired<C: ConnectionTrait>(
    connection: &C,
    known: &Known,
    now: Instant,
    limit: usize,
) -> StoreResult<Vec<(Scope, JobName, i64)>> {
    let values = vec![time(now), i64::try_from(limit).unwrap_or(i64::MAX).into()];
    let rows = query(connection, EXPIRED, values).await?;
    let named = rows.iter().map(|row| {
        let mut cells = Cells::of(row);
        Ok((Scope(known.lanes.namespace_name(cells.next()?)?), name(cells.next()?)?, cells.next()?))
    });
    named.collect()
}

/// When the next pause ends by itself, or the next job expires.
pub(super) async fn next_end<C: ConnectionTrait>(connection: &C, after: Instant) -> StoreResult<Option<Instant>> {
    let Some(row) = query_one(connection, NEXT_END, vec![time(after)]).await? else { return Ok(None) };
    let mut cells = Cells::of(&row);
    let (pause, expiry) = (maybe(cells.next()?), maybe(cells.next()?));
    Ok([pause, expiry].into_iter().flatten().min())
}

/// Pauses a job and its schedules, or ends that. `by_itself`: since its runs failed.
pub(super) async fn set(tx: &Tx, now: Instant, job: &Job, pause: Option<Pause>, by_itself: bool) -> StoreResult<()> {
    let paused = pause.is_some();
    let resumed = (!paused).then_some(now);
    let (since, note, actor, until) = match pause {
        Some(Pause { note, actor, time, until }) => (Some(time), Some(note), Some(actor), until),
        None => (None, None, None, None),
    };
    let uid = job.uid.uuid();
    let values = vec![
        maybe_time(since),
        note.into(),
        actor.into(),
        maybe_time(until),
        by_itself.into(),
        maybe_time(resumed),
        time(now),
        uid.into(),
    ];
    let sql = "UPDATE job SET revision = revision + 1, pause_time = ?, pause_note = ?, pause_actor = ?, pause_until = ?, \
         auto_disabled = ?, resume_time = coalesce(?, resume_time), update_time = ? WHERE uid = ?";
    exec(tx, sql, values).await?;
    let sql = "UPDATE schedule SET paused = ?, pause_until = ? WHERE job_uid = ?";
    exec(tx, sql, vec![paused.into(), maybe_time(until), uid.into()]).await?;
    Ok(())
}

/// Puts the cursors of a job back to before its pause, as far as the rule in force named the instants that passed in it,
/// and says how they are to be judged. Nothing became of them but the fate that they lose here.
pub(super) async fn catch_up(tx: &Tx, now: Instant, job: &Job, rows: Vec<ScheduleRow>, mode: Mode) -> StoreResult<()> {
    let mut changed = Vec::new();
    for row in rows {
        let Some(open) = row.open.as_ref().filter(|open| open.fate == Fate::Paused && open.version == row.version)
        else {
            continue;
        };
        let spec = job.spec.schedules.iter().find(|schedule| schedule.name == row.name);
        let cursor = spec.map_or(row.cursor, |spec| spec.cursor_before(open.first));
        let next = spec.and_then(|spec| spec.next_due(cursor, row.made));
        let resumed = Some(Resumed { until: now, mode });
        let was = row.cursor;
        changed.push((ScheduleRow { paused: false, pause_until: None, cursor, next, resumed, open: None, ..row }, was));
    }
    write_schedules(tx, &changed).await.map(drop)
}
