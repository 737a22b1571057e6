//! Pauses of jobs: set, ended, and caught up with.
//!
//! Called by [`super::catalog`] with a job that it has read in the transaction and whose instants are all evaluated.

use std::time::Duration;

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
    statement::{Cells, exec, query, query_one, single},
    writer::Tx,
};

/// Jobs whose pause is over by itself.
pub(super) const PAUSES_OVER: &str = "SELECT namespace_id, name FROM job WHERE pause_until IS NOT NULL \
     AND pause_until <= ? AND delete_time IS NULL ORDER BY pause_until LIMIT ?";

/// When the next pause is.
pub(super) const NEXT_PAUSE_END: &str =
    "SELECT min(pause_until) FROM job WHERE pause_until IS NOT NULL AND delete_time IS NULL";

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

/// When the next pause ends by itself.
pub(super) async fn next_end<C: ConnectionTrait>(connection: &C) -> StoreResult<Option<Instant>> {
    let row = query_one(connection, NEXT_PAUSE_END, Vec::new()).await?;
    Ok(maybe(row.map(|row| single(&row)).transpose()?.flatten()))
}

/// Pauses a job and its schedules, or ends that.
pub(super) async fn set(tx: &Tx, now: Instant, job: &Job, pause: Option<Pause>) -> StoreResult<()> {
    let paused = pause.is_some();
    let (since, note, actor, until) = match pause {
        Some(Pause { note, actor, time, until }) => (Some(time), Some(note), Some(actor), until),
        None => (None, None, None, None),
    };
    let uid = job.uid.uuid();
    let values = vec![maybe_time(since), note.into(), actor.into(), maybe_time(until), time(now), uid.into()];
    let sql = "UPDATE job SET revision = revision + 1, pause_time = ?, pause_note = ?, pause_actor = ?, pause_until = ?, \
         update_time = ? WHERE uid = ?";
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
        let cursor = open.first.minus(Duration::from_micros(1));
        let next = spec.and_then(|spec| spec.next_after(cursor));
        let resumed = Some(Resumed { until: now, mode });
        let was = row.cursor;
        changed.push((ScheduleRow { paused: false, pause_until: None, cursor, next, resumed, open: None, ..row }, was));
    }
    write_schedules(tx, &changed).await.map(drop)
}
