//! Definitions that jobs have had, and jobs that are brought back with theirs.

use std::sync::Arc;

use mainspring_engine::{
    domain::{
        ids::JobUid,
        instant::Instant,
        job::{JobSpec, JobState},
        names::JobName,
    },
    ports::store::{JobVersion, StoreError, StoreResult, Undelete},
};
use sea_orm::ConnectionTrait;
use uuid::Uuid;

use super::{
    Known, calendars,
    catalog::{DELETED, NAMED, by_uid, define, fresh, named},
    jobs::{base_state, insert_schedules, jobs, read_spec},
    lapsed::{self, By},
    rows::time,
    statement::{Cells, exec, query, query_one},
    views::ledger::specs,
    writer::Tx,
    zones::keep_files,
};

/// The definitions of a job before a version.
const VERSIONS: &str = "SELECT version, create_time, spec FROM job_version WHERE job_uid = ? AND version < ? \
     ORDER BY version DESC LIMIT ?";

/// One definition, with its payload.
pub(super) async fn one<C: ConnectionTrait>(
    connection: &C,
    known: &Known,
    job: JobUid,
    version: i64,
) -> StoreResult<Option<JobSpec>> {
    let mut found = specs(connection, known, job, std::iter::once(version)).await?;
    Ok(found.remove(&version).map(Arc::unwrap_or_clone))
}

/// Definitions without their payloads, the newest first.
pub(super) async fn list<C: ConnectionTrait>(
    connection: &C,
    known: &Known,
    job: JobUid,
    before: Option<i64>,
    limit: usize,
) -> StoreResult<Vec<JobVersion>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let values = vec![job.uuid().into(), before.unwrap_or(i64::MAX).into(), limit.into()];
    let rows = query(connection, VERSIONS, values).await?;
    let zones = known.zones.current().zones;
    let read = rows.iter().map(|row| {
        let mut cells = Cells::of(row);
        let (version, create_time) = (cells.next()?, Instant::from_micros(cells.next()?));
        Ok(JobVersion { version, create_time, spec: read_spec(&cells.next::<String>()?, &zones)? })
    });
    read.collect()
}

/// Brings back the job of a name that was deleted last.
pub(super) async fn undelete(
    tx: &Tx,
    known: &Known,
    now: Instant,
    namespace: i32,
    name: &JobName,
) -> StoreResult<Undelete> {
    if !jobs(tx, known, NAMED, named(namespace, name)).await?.is_empty() {
        return Ok(Undelete::NameTaken);
    }
    let Some(row) = query_one(tx, DELETED, named(namespace, name)).await? else { return Ok(Undelete::Missing) };
    let mut cells = Cells::of(&row);
    let (uid, delete_time): (Uuid, _) = (cells.next()?, Instant::from_micros(cells.next()?));
    let job = by_uid(tx, known, JobUid::from_uuid(uid)).await?;
    let row = query_one(tx, "SELECT state, half_deleted FROM job WHERE uid = ?", vec![uid.into()]).await?;
    let row = row.ok_or_else(|| StoreError::Corrupt(format!("job {uid} is gone")))?;
    let mut cells = Cells::of(&row);
    let (state, half_deleted) = (base_state(&mut cells)?, cells.next::<bool>()?);
    if half_deleted {
        return Err(StoreError::Conflict(format!("the runs of job {name} are still being ended")));
    }
    let completed = state == JobState::Completed;
    // Its completion has deleted it once, or somebody has: whoever wants it back wants it to stay.
    let sql =
        "UPDATE job SET revision = revision + 1, delete_time = NULL, expire_time = NULL, update_time = ? WHERE uid = ?";
    exec(tx, sql, vec![time(now), uid.into()]).await?;
    lapsed::undeleted(tx, now, job.uid, delete_time).await?;
    // Its calendars may have changed while it was gone: that is an edit as any other.
    let mut spec = job.spec.clone();
    calendars::pin(tx, &mut spec).await?;
    let zones = known.zones.current();
    spec.count_with(&zones.zones);
    let mut rows = fresh(job.uid, job.version, job.pause.as_ref(), now, (&spec, zones.id));
    if completed {
        // It has had its last instant, or made its last run.
        for (row, rule) in rows.iter_mut().zip(&spec.schedules) {
            row.made = rule.max_runs.filter(|_| row.next.is_some()).unwrap_or(row.made);
            row.next = None;
        }
    }
    let by = By { now, actor: "" };
    match (spec == job.spec, completed) {
        (true, _) => {
            keep_files(tx, &zones, &spec).await?;
            insert_schedules(tx, &rows).await?;
        }
        // An edit goes on from where its schedules stand: at their end.
        (false, true) => {
            insert_schedules(tx, &rows).await?;
            define(tx, by, &job, rows, (&spec, &zones)).await?;
        }
        (false, false) => define(tx, by, &job, Vec::new(), (&spec, &zones)).await?,
    }
    by_uid(tx, known, job.uid).await.map(Box::new).map(Undelete::Done)
}
