//! What nobody uses any more: job types that no worker handles, lanes that no run and no worker is of, their queues.
//!
//! There is no index of runs by their lane: every run would pay for what is asked a few times a day. But a lane that was
//! not named for longer than runs are kept has at most runs that are older than that, and of those only what never ended is
//! still there. So it is enough to look at the old end of the table, where there is next to nothing.

use mainspring_engine::{
    domain::instant::Instant,
    ports::store::{RetentionPolicy, StoreResult},
};
use uuid::Uuid;

use super::{
    SqliteStore,
    lanes::NOTED_EVERY,
    rows::{ID_SLACK, first_id, time},
    statement::{Cells, exec, query, query_one},
    writer::Tx,
};

/// Lanes looked at in one step.
const LANES: usize = 16;

/// A lane that may go, and when it was noted that it is named.
pub(super) type Idle = (i32, Instant);

/// Where the round through the lanes stands: behind the last one that was looked at.
pub(super) type LaneRound = i32;

/// Lanes that no worker handles and that were not named for a long time, behind one.
pub(super) const IDLE: &str = "SELECT id, use_time FROM lane WHERE id > ? AND use_time < ? \
     AND NOT EXISTS (SELECT 1 FROM worker_handler WHERE worker_handler.lane_id = lane.id) ORDER BY id LIMIT ?";

/// A run of a lane at the old end of the table.
pub(super) const OLD_RUN: &str = "SELECT 1 FROM run WHERE id < ? AND lane_id = ? LIMIT 1";

/// The next lanes that may go; the round begins anew at its end.
pub(super) async fn lanes(
    store: &SqliteStore,
    now: Instant,
    policy: RetentionPolicy,
    round: &mut LaneRound,
) -> StoreResult<Vec<Idle>> {
    let kept = policy.succeeded.max(policy.failed).max(policy.unresolved).max(policy.workers);
    let before = now.minus(kept + 2 * NOTED_EVERY);
    let values = vec![(*round).into(), time(before), i64::try_from(LANES).unwrap_or(i64::MAX).into()];
    let rows = query(&store.reads, IDLE, values).await?;
    let mut idle = Vec::with_capacity(rows.len());
    for row in &rows {
        let mut cells = Cells::of(row);
        let (id, used): (i32, _) = (cells.next()?, Instant::from_micros(cells.next()?));
        let youngest: Uuid = first_id(used.plus(NOTED_EVERY + ID_SLACK));
        if query_one(&store.reads, OLD_RUN, vec![youngest.into(), id.into()]).await?.is_none() {
            idle.push((id, used));
        }
        *round = id;
    }
    if rows.len() < LANES {
        *round = 0;
    }
    Ok(idle)
}

/// Deletes lanes that were found idle and were not named since, and job types that nobody handles; how many rows, and which
/// lanes.
pub(super) async fn sweep(
    tx: &Tx,
    now: Instant,
    policy: RetentionPolicy,
    idle: Vec<Idle>,
    limit: i64,
) -> StoreResult<(u64, Vec<Idle>)> {
    let types = "DELETE FROM job_type WHERE (namespace_id, name) IN (SELECT namespace_id, name FROM job_type \
         WHERE announce_time < ? AND (namespace_id, name) NOT IN (SELECT lane.namespace_id, lane.job_type \
         FROM worker_handler JOIN lane ON lane.id = worker_handler.lane_id) LIMIT ?)";
    let mut rows = exec(tx, types, vec![time(now.minus(policy.workers)), limit.into()]).await?;
    let mut gone = Vec::with_capacity(idle.len());
    for (id, used) in idle {
        let lane = "DELETE FROM lane WHERE id = ? AND use_time = ? \
             AND NOT EXISTS (SELECT 1 FROM worker_handler WHERE worker_handler.lane_id = lane.id) RETURNING queue_id";
        let Some(row) = query_one(tx, lane, vec![id.into(), time(used)]).await? else { continue };
        let queue: i32 = Cells::of(&row).next()?;
        rows += 1;
        gone.push((id, used));
        // A queue that somebody has set something on, or that a job will use, stays.
        let queues = "DELETE FROM queue WHERE id = ? AND NOT paused AND concurrency_limit = 0 AND rate_count IS NULL AND revision = 1 \
             AND NOT EXISTS (SELECT 1 FROM lane WHERE lane.queue_id = queue.id) AND NOT EXISTS (SELECT 1 FROM job \
             WHERE job.namespace_id = queue.namespace_id AND job.queue = queue.name AND job.delete_time IS NULL)";
        rows += exec(tx, queues, vec![queue.into()]).await?;
    }
    Ok((rows, gone))
}
