//! Runs of a job that are ended with it, or for a while: it was deleted, or paused.
//!
//! What waits ends at once; what is at a worker is asked to stop, where that is wanted. Which a run does is seen in the
//! transaction that does it.

use std::sync::Arc;

use mainspring_engine::{
    domain::{ids::JobUid, instant::Instant, stop::Running, transition::Event},
    ports::store::{Moved, StoreResult},
};

use super::{
    Known, keys,
    statement::{Cells, exec, query_one},
    steps::{Steps, columns},
    writer::Tx,
};

/// For the handlers that are to stop, and for people.
const DELETED: &str = "the job was deleted";

/// At no worker.
const WAITING: &str = "state IN (1, 2, 5)";
/// A backfill goes on while its job is paused, or is held up, by what it says itself.
const BUT_BACKFILLS: &str = "backfill_id IS NULL";

/// Runs of a job that are at no worker, behind one.
pub(super) fn waiting_sql() -> String {
    of_job(WAITING)
}

/// Runs of a job that are at workers and may stop earlier than by `deadline`, behind one.
pub(super) fn at_workers_sql(deadline: Option<Instant>) -> String {
    let later = deadline.map(|deadline| format!(" OR stop_deadline > {}", deadline.as_micros())).unwrap_or_default();
    of_job(&format!("state IN (3, 4) AND (NOT cancel_requested{later})"))
}

fn of_job(which: &str) -> String {
    format!(
        "SELECT {} FROM run WHERE job_uid = ? AND end_time IS NULL AND id > ? AND {which} ORDER BY id LIMIT ?",
        columns()
    )
}

/// Ends runs of a job that was deleted, as its delete says.
pub(super) async fn of_deleted(
    tx: &Tx,
    known: &Arc<Known>,
    now: Instant,
    job: JobUid,
    limit: usize,
) -> StoreResult<(Vec<Moved>, bool)> {
    let sql = "SELECT delete_stop FROM job WHERE uid = ? AND delete_time IS NOT NULL";
    let row = query_one(tx, sql, vec![job.uuid().into()]).await?;
    let running = match &row {
        Some(row) => Cells::of(row).parse("how runs are stopped", |code: &Option<i32>| Running::from_code(*code))?,
        None => Running::Detach,
    };
    let mut steps = Steps::begin(tx, known, now).await?;
    let (mut moved, mut more) = steps.apply_to(tx, &waiting_sql(), job.uuid(), &Event::JobDeleted, limit).await?;
    let grace = match running {
        Running::Detach => None,
        Running::Cancel => Some(None),
        Running::Terminate => Some(Some(known.rules.lease_ttl)),
    };
    if let Some(grace) = grace.filter(|_| !more) {
        let left = limit.saturating_sub(moved.len());
        let event = Event::Cancel { reason: DELETED.into(), grace };
        let sql = at_workers_sql(grace.map(|grace| now.plus(grace)));
        let (stopped, others) = steps.apply_to(tx, &sql, job.uuid(), &event, left).await?;
        moved.extend(stopped);
        more = others;
    }
    let free = steps.save(tx).await?;
    keys::tell(&mut moved, free);
    if !more {
        let sql = "UPDATE job SET half_deleted = FALSE WHERE uid = ? AND half_deleted";
        exec(tx, sql, vec![job.uuid().into()]).await?;
    }
    Ok((moved, more))
}

/// Cancels runs of a job that was paused: those that wait, and those at workers where that is wanted. Backfills of it go on
/// as they say themselves.
pub(super) async fn of_paused(
    tx: &Tx,
    known: &Arc<Known>,
    now: Instant,
    job: JobUid,
    workers: bool,
    limit: usize,
) -> StoreResult<(Vec<Moved>, bool)> {
    let event = Event::Cancel { reason: "the job was paused".into(), grace: None };
    let mut steps = Steps::begin(tx, known, now).await?;
    let waiting = of_job(&format!("{WAITING} AND {BUT_BACKFILLS}"));
    let (mut moved, mut more) = steps.apply_to(tx, &waiting, job.uuid(), &event, limit).await?;
    if workers && !more {
        let left = limit.saturating_sub(moved.len());
        let at_workers = of_job(&format!("state IN (3, 4) AND NOT cancel_requested AND {BUT_BACKFILLS}"));
        let (stopped, others) = steps.apply_to(tx, &at_workers, job.uuid(), &event, left).await?;
        moved.extend(stopped);
        more = others;
    }
    let free = steps.save(tx).await?;
    keys::tell(&mut moved, free);
    Ok((moved, more))
}
