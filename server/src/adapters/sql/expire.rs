//! Expiry: judging workers that were not heard, run by run.
//!
//! A worker is marked before its runs are taken back, in as many steps as it takes. A heartbeat in between clears the
//! mark and learns by it ([`RenewalAnswer::Lapsed`](mainspring_engine::ports::store::RenewalAnswer)) that some of what its
//! session believes is no longer true.

use std::sync::Arc;

use mainspring_engine::{
    domain::{ids::WorkerId, instant::Instant, transition::Event, worker::WorkerStatus},
    ports::store::{Moved, StoreResult},
};

use super::{
    Known,
    rows::time,
    statement::{exec, query, single},
    steps::{Steps, columns},
    writer::Tx,
};

/// Workers looked at in one step.
const WORKERS: i64 = 1_000;

/// Workers whose lease is over and that were not judged, the longest silent first.
pub(super) const OVER: &str =
    "SELECT id FROM worker WHERE judged < 2 AND lease_expire_time < ? ORDER BY lease_expire_time LIMIT ?";

/// Attempts at a worker behind one.
pub(super) fn held_sql() -> String {
    format!(
        "SELECT {} FROM run WHERE worker_id = ? AND open_token IS NOT NULL AND id > ? AND state IN (3, 4) \
         ORDER BY id LIMIT ?",
        columns()
    )
}

/// One step; with whether there is more to do.
pub(super) async fn expire(
    tx: &Tx,
    known: &Arc<Known>,
    now: Instant,
    before: Instant,
    limit: usize,
) -> StoreResult<(Vec<Moved>, bool)> {
    let rows = query(tx, OVER, vec![time(before), WORKERS.into()]).await?;
    let workers: Vec<WorkerId> =
        rows.iter().map(|row| single(row).map(WorkerId::from_uuid)).collect::<Result<_, _>>()?;
    let mut more = workers.len() as i64 == WORKERS;
    let mut steps = Steps::begin(tx, known, now).await?;
    let mut moved = Vec::new();
    for worker in workers {
        let room = limit.saturating_sub(moved.len());
        let (taken, left) = steps.apply_to(tx, &held_sql(), worker.uuid(), &Event::Expire, room).await?;
        moved.extend(taken);
        let (gone, lost) = (WorkerStatus::Gone.code(), WorkerStatus::Lost.code());
        let judged = if left { 1 } else { 2 };
        let values = vec![judged.into(), gone.into(), gone.into(), lost.into(), worker.uuid().into()];
        let sql = "UPDATE worker SET judged = ?, status = CASE WHEN status = ? THEN ? ELSE ? END WHERE id = ?";
        exec(tx, sql, values).await?;
        if left {
            more = true;
            break;
        }
    }
    steps.save(tx).await?;
    Ok((moved, more))
}
