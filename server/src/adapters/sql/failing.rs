//! Whether a job keeps failing, by the ends of its runs.
//!
//! Ends that are failures have an index by job; of those that are none, only the newest are looked at, and only where
//! enough have failed. Runs of backfills do not count: they are tried again and again by somebody who looks on.

use mainspring_engine::{
    domain::{auto_disable::Looks, ids::JobUid, instant::Instant, job::Job},
    ports::store::StoreResult,
};
use sea_orm::ConnectionTrait;

use super::{
    rows::{maybe, time},
    statement::{query_one, single},
};

/// When the first of so many failures ended.
pub(super) const FIRST: &str = "SELECT end_time FROM run WHERE dead_time IS NOT NULL AND backfill_id IS NULL \
     AND job_uid = ? AND end_time > ? \
     ORDER BY end_time DESC LIMIT 1 OFFSET ?";

/// Whether a run succeeded after that, among the newest: of a job that keeps failing there is none, and nobody wants to read
/// all it ever had to find that out.
pub(super) const SUCCEEDED: &str = "SELECT EXISTS (SELECT 1 FROM (SELECT state, end_time FROM run WHERE job_uid = ? \
     AND backfill_id IS NULL ORDER BY id DESC LIMIT 1000) WHERE state = 6 AND end_time > ?)";

/// When a job was resumed last.
pub(super) const RESUMED: &str = "SELECT resume_time FROM job WHERE uid = ?";

/// How many runs of a job have failed in a row, where they are as many as pause it.
pub(super) async fn failing<C: ConnectionTrait>(connection: &C, now: Instant, job: &Job) -> StoreResult<Option<u32>> {
    if job.pause.is_some() {
        return Ok(None);
    }
    let resumed = query_one(connection, RESUMED, vec![job.uid.uuid().into()]).await?;
    let resumed = maybe(resumed.map(|row| single(&row)).transpose()?.flatten());
    let Some(looks) = job.spec.auto_disable.looks(now, resumed) else { return Ok(None) };
    let fails = in_a_row(connection, job.uid, looks).await?;
    Ok(fails.then_some(looks.failures.get()))
}

async fn in_a_row<C: ConnectionTrait>(connection: &C, job: JobUid, looks: Looks) -> StoreResult<bool> {
    let Looks { failures, after } = looks;
    let values = vec![job.uuid().into(), time(after), i64::from(failures.get() - 1).into()];
    let Some(first) = query_one(connection, FIRST, values).await? else { return Ok(false) };
    let first: i64 = single(&first)?;
    let row = query_one(connection, SUCCEEDED, vec![job.uuid().into(), first.into()]).await?;
    let succeeded = row.map(|row| single::<bool>(&row)).transpose()?;
    Ok(succeeded == Some(false))
}
