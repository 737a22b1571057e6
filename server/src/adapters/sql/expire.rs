//! Expiry: judging workers that were not heard, run by run.
//!
//! A worker is marked before its runs are taken back, in as many steps as it takes. A heartbeat in between clears the
//! mark and learns by it ([`RenewalAnswer::Lapsed`](mainspring_engine::ports::store::RenewalAnswer)) that some of what its
//! session believes is no longer true.

use std::sync::Arc;

use mainspring_engine::{
    domain::{ids::WorkerId, instant::Instant, names::Scope, transition::Event, worker::WorkerStatus},
    ports::store::{Judged, LostWorker, StoreResult},
};

use super::{
    Known, keys,
    rows::time,
    statement::{Cells, exec, query, query_one, single},
    steps::{Steps, columns},
    writer::Tx,
};

/// Workers looked at in one step.
const WORKERS: i64 = 1_000;

/// Workers whose lease is over and that were not judged, the longest silent first.
pub(super) const OVER: &str = "SELECT id, namespace_id, status FROM worker WHERE judged < 2 AND lease_expire_time < ? \
     ORDER BY lease_expire_time LIMIT ?";

/// What a worker is called.
const NAME: &str = "SELECT name FROM worker_profile WHERE worker_id = ?";

/// Attempts at a worker behind one.
pub(super) fn held_sql() -> String {
    format!(
        "SELECT {} FROM run WHERE worker_id = ? AND open_token IS NOT NULL AND id > ? AND state IN (3, 4) \
         ORDER BY id LIMIT ?",
        columns()
    )
}

/// One step.
pub(super) async fn expire(
    tx: &Tx,
    known: &Arc<Known>,
    now: Instant,
    before: Instant,
    limit: usize,
) -> StoreResult<Judged> {
    let over = query(tx, OVER, vec![time(before), WORKERS.into()]).await?;
    let mut judged = Judged { more: over.len() as i64 == WORKERS, ..Judged::default() };
    let mut steps = Steps::begin(tx, known, now).await?;
    let (gone, lost) = (WorkerStatus::Gone.code(), WorkerStatus::Lost.code());
    for row in &over {
        let mut cells = Cells::of(row);
        let (worker, namespace, status) = (WorkerId::from_uuid(cells.next()?), cells.next()?, cells.next::<i32>()?);
        let room = limit.saturating_sub(judged.moved.len());
        let (taken, left) = steps.apply_to(tx, &held_sql(), worker.uuid(), &Event::Expire, room).await?;
        judged.moved.extend(taken);
        // A namespace that cannot be named keeps nobody from being judged.
        if status != gone
            && status != lost
            && let Ok(namespace) = known.lanes.namespace_name(namespace)
        {
            let profile = query_one(tx, NAME, vec![worker.uuid().into()]).await?;
            let name = profile.as_ref().map(single).transpose()?.unwrap_or_default();
            judged.lost.push(LostWorker { worker, scope: Scope(namespace), name });
        }
        let mark = if left { 1 } else { 2 };
        let values = vec![mark.into(), gone.into(), gone.into(), lost.into(), worker.uuid().into()];
        let sql = "UPDATE worker SET judged = ?, status = CASE WHEN status = ? THEN ? ELSE ? END WHERE id = ?";
        exec(tx, sql, values).await?;
        if left {
            judged.more = true;
            break;
        }
    }
    let free = steps.save(tx).await?;
    keys::tell(&mut judged.moved, free);
    Ok(judged)
}
