//! Schedules that count from the ends of their runs: an end says when their next instant is, in its own transaction.
//!
//! Called by [`super::steps`] with the runs that a batch ended and whose ends do more than end them (`plain_end`). A schedule
//! waits for one run (`open_run`): the end of any other, since an edit or a delete came between, changes nothing.

use std::sync::Arc;

use mainspring_engine::{
    domain::{
        ids::{JobUid, RunId},
        instant::Instant,
        names::ScheduleName,
    },
    ports::store::StoreResult,
};
use uuid::Uuid;

use super::{
    Known,
    jobs::{ScheduleRow, schedules, write_schedules},
    rows::readable,
    views::ledger::specs,
    writer::Tx,
};

/// A run that is over, and the schedule that counts from there.
pub(super) type Over = (JobUid, ScheduleName, RunId);

/// Lets schedules go on from the ends of their runs.
pub(super) async fn go_on(tx: &Tx, known: &Arc<Known>, now: Instant, over: Vec<Over>) -> StoreResult<()> {
    if over.is_empty() {
        return Ok(());
    }
    let mut jobs: Vec<Uuid> = over.iter().map(|(job, ..)| job.uuid()).collect();
    jobs.sort_unstable();
    jobs.dedup();
    let mut changed = Vec::new();
    for row in schedules(tx, &jobs).await? {
        let waits_for =
            |(job, schedule, run): &Over| *job == row.job && *schedule == row.name && row.open_run == Some(*run);
        if !over.iter().any(waits_for) {
            continue;
        }
        let (was, cursor) = (row.cursor, row.cursor.max(now));
        // With nothing left it is due at once: whoever evaluates it finds that it is done, or cannot be read.
        let next = next(tx, known, &row, cursor).await?.unwrap_or(cursor);
        changed.push((ScheduleRow { cursor, next: Some(next), open_run: None, ..row }, was));
    }
    write_schedules(tx, &changed).await.map(drop)
}

async fn next(tx: &Tx, known: &Arc<Known>, row: &ScheduleRow, cursor: Instant) -> StoreResult<Option<Instant>> {
    let found = match readable(specs(tx, known, row.job, std::iter::once(row.version)).await)? {
        Ok(mut found) => found.remove(&row.version),
        Err(_) => None,
    };
    let schedule = found.as_ref().and_then(|spec| spec.schedules.iter().find(|schedule| schedule.name == row.name));
    Ok(schedule.and_then(|schedule| schedule.next_due(cursor, row.made)))
}
