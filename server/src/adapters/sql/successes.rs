//! The last instants of jobs that succeeded, for handlers that are told.
//!
//! Asked in the transaction that makes a run, and only for the jobs that ask for it; what was found goes with the run, so
//! that all of its attempts are told the same. To a schedule's run it is the last at all, and to a backfill's the last before
//! its own instant.

use std::collections::HashMap;

use mainspring_engine::{
    domain::{ids::JobUid, instant::Instant},
    ports::store::StoreResult,
};
use uuid::Uuid;

use super::{
    rows::{maybe, time},
    statement::{Cells, chunks, query, query_one, single},
    writer::Tx,
};

/// The last of its last 1,000 instants at which each of `count` jobs succeeded: one that never does is no long search.
pub(super) fn successes_sql(count: usize) -> String {
    let of_one = "SELECT * FROM (SELECT job_uid, nominal_time FROM (SELECT job_uid, nominal_time, state FROM run \
                  WHERE job_uid = ? AND origin = 1 ORDER BY nominal_time DESC LIMIT 1000) WHERE state = 6 \
                  ORDER BY nominal_time DESC LIMIT 1)";
    vec![of_one; count].join(" UNION ALL ")
}

/// The last instant of a job before one at which a run of its schedules or of its backfills succeeded, of the last 1,000 runs of
/// each.
pub(super) const BEFORE: &str = "SELECT max(nominal_time) FROM (SELECT * FROM (SELECT nominal_time FROM (SELECT nominal_time, \
     state FROM run WHERE job_uid = ?1 AND origin = 1 AND nominal_time < ?2 ORDER BY nominal_time DESC LIMIT 1000) \
     WHERE state = 6 ORDER BY nominal_time DESC LIMIT 1) \
     UNION ALL SELECT (SELECT nominal_time FROM (SELECT nominal_time, state FROM run WHERE backfill_id = backfill.id \
     AND nominal_time < ?2 ORDER BY nominal_time DESC LIMIT 1000) WHERE state = 6 ORDER BY nominal_time DESC LIMIT 1) \
     FROM backfill WHERE job_uid = ?1)";

/// The last instant of a job before `at` that succeeded: what the run of a backfill is told, which comes to it out of turn.
pub(super) async fn before(tx: &Tx, job: JobUid, at: Instant) -> StoreResult<Option<Instant>> {
    let row = query_one(tx, BEFORE, vec![job.uuid().into(), time(at)]).await?;
    Ok(maybe(row.map(|row| single(&row)).transpose()?.flatten()))
}

/// The last instants of jobs that succeeded, as far as there are any.
pub(super) async fn last(tx: &Tx, mut jobs: Vec<JobUid>) -> StoreResult<HashMap<JobUid, Instant>> {
    jobs.sort_unstable();
    jobs.dedup();
    let mut found = HashMap::new();
    for piece in chunks(&jobs) {
        let values = piece.iter().map(|job| job.uuid().into()).collect();
        for row in query(tx, successes_sql(piece.len()), values).await? {
            let mut cells = Cells::of(&row);
            found.insert(JobUid::from_uuid(cells.next::<Uuid>()?), Instant::from_micros(cells.next()?));
        }
    }
    Ok(found)
}
