//! Backfills as rows, and the runs that they, or the instants they are of, have.

use std::{collections::HashMap, sync::Arc};

use mainspring_engine::{
    domain::{
        backfill::{Backfill, BackfillSpec, BackfillState, Had, RunCounts, template::Template},
        ids::{BackfillId, JobUid},
        instant::Instant,
        payload::Payload,
        run::RunState,
    },
    ports::store::{OpenBackfill, StoreError, StoreResult},
};
use sea_orm::{ConnectionTrait, QueryResult, Value};

use super::super::{
    Known,
    rows::{maybe, read_json, readable, run_state, time},
    statement::{Cells, chunks, query, query_one, single, tuples},
    versions,
};

/// The columns of [`read_all`], in order.
pub(super) const COLUMNS: &str = "backfill.id, backfill.namespace_id, backfill.job_uid, backfill.job_version, backfill.spec, \
     backfill.payload_type, backfill.payload, backfill.state, backfill.cursor_time, backfill.is_through, backfill.made, \
     backfill.skipped, backfill.cancel_note, backfill.succeeded, backfill.failed, backfill.cancelled, \
     backfill.create_time, backfill.end_time";

/// How many runs of a backfill are not over.
pub(in super::super) const UNDER_WAY: &str = "SELECT count(*) FROM run WHERE backfill_id = ? AND end_time IS NULL";

/// How the runs of a backfill stand.
pub(in super::super) const STAND: &str = "SELECT state, count(*) FROM run WHERE backfill_id = ? GROUP BY state";

/// The runs that `count` instants of a job have.
pub(in super::super) fn had_sql(count: usize) -> String {
    format!(
        "WITH t(nominal_time) AS (VALUES {}) SELECT t.nominal_time, run.state FROM t CROSS JOIN run \
         ON run.job_uid = ? AND run.nominal_time = t.nominal_time WHERE run.origin = 1 \
         UNION ALL SELECT t.nominal_time, run.state FROM t CROSS JOIN backfill ON backfill.job_uid = ? CROSS JOIN run \
         ON run.backfill_id = backfill.id AND run.nominal_time = t.nominal_time WHERE run.backfill_id IS NOT NULL",
        tuples(count, 1)
    )
}

/// Reads the columns of [`COLUMNS`]; the counts of one that is not over are left out.
pub(super) async fn read_all<C: ConnectionTrait>(
    connection: &C,
    known: &Known,
    rows: &[QueryResult],
) -> StoreResult<Vec<Backfill>> {
    let jobs = rows.iter().map(|row| Ok(JobUid::from_uuid(Cells::at(row, 2).next()?)));
    let names = known.names.resolve(connection, jobs.collect::<StoreResult<Vec<_>>>()?).await?;
    let read = |row: &QueryResult| {
        let mut cells = Cells::of(row);
        let id = BackfillId::from_uuid(cells.next()?);
        let namespace = known.lanes.namespace_name(cells.next()?)?;
        let job = JobUid::from_uuid(cells.next()?);
        let job_name = names.get(&job).cloned().ok_or_else(|| StoreError::Corrupt(format!("job {job} is gone")))?;
        let version = cells.next()?;
        let spec: BackfillSpec = read_json(&cells.next::<String>()?)?;
        let (content_type, data): (Option<String>, Option<Vec<u8>>) = (cells.next()?, cells.next()?);
        let template = content_type.zip(data).map(|(content_type, data)| Payload { content_type, data });
        let state = cells.parse("a backfill's state", |code: &i32| BackfillState::from_code(*code))?;
        let cursor = Instant::from_micros(cells.next()?);
        let (is_through, made, skipped) = (cells.next()?, count(cells.next()?)?, count(cells.next()?)?);
        let cancel_note = cells.next::<Option<String>>()?.unwrap_or_default();
        let mut kept = || count(cells.next::<Option<i64>>()?.unwrap_or(0));
        let runs = RunCounts { open: 0, succeeded: kept()?, failed: kept()?, cancelled: kept()? };
        let create_time = Instant::from_micros(cells.next()?);
        let end_time = maybe(cells.next()?);
        let spec = BackfillSpec { template: template.map(Template::stored), ..spec };
        Ok(Backfill {
            id,
            namespace,
            job,
            job_name,
            version,
            spec,
            state,
            cursor,
            is_through,
            made,
            skipped,
            runs,
            cancel_note,
            create_time,
            end_time,
        })
    };
    rows.iter().map(read).collect()
}

pub(super) fn count(number: i64) -> StoreResult<u64> {
    u64::try_from(number).map_err(|_| StoreError::Corrupt(format!("a count cannot be {number}")))
}

pub(super) async fn one<C: ConnectionTrait>(
    connection: &C,
    known: &Known,
    id: BackfillId,
) -> StoreResult<Option<Backfill>> {
    let sql = format!("SELECT {COLUMNS} FROM backfill WHERE id = ?");
    let rows = query(connection, sql, vec![id.uuid().into()]).await?;
    let Some(mut backfill) = read_all(connection, known, &rows).await?.pop() else { return Ok(None) };
    if backfill.end_time.is_none() {
        backfill.runs = counts(connection, id).await?;
    }
    Ok(Some(backfill))
}

pub(super) async fn counts<C: ConnectionTrait>(connection: &C, id: BackfillId) -> StoreResult<RunCounts> {
    let mut counts = RunCounts::default();
    for row in query(connection, STAND, vec![id.uuid().into()]).await? {
        let mut cells = Cells::of(&row);
        let state = run_state(&mut cells)?;
        let of = match state {
            RunState::Scheduled | RunState::Queued | RunState::Leased | RunState::Running | RunState::RetryWait => {
                &mut counts.open
            }
            RunState::Succeeded => &mut counts.succeeded,
            RunState::Failed | RunState::TimedOut => &mut counts.failed,
            RunState::Cancelled => &mut counts.cancelled,
        };
        *of += count(cells.next()?)?;
    }
    Ok(counts)
}

/// How many runs of a backfill are not over.
pub(super) async fn under_way<C: ConnectionTrait>(connection: &C, id: BackfillId) -> StoreResult<u64> {
    let row = query_one(connection, UNDER_WAY, vec![id.uuid().into()]).await?;
    row.map(|row| single(&row)).transpose()?.map_or(Ok(0), count)
}

pub(super) async fn open<C: ConnectionTrait>(
    connection: &C,
    known: &Known,
    id: BackfillId,
) -> StoreResult<Option<OpenBackfill>> {
    let sql = format!("SELECT {COLUMNS} FROM backfill WHERE id = ? AND end_time IS NULL");
    let rows = query(connection, sql, vec![id.uuid().into()]).await?;
    let Some(mut backfill) = read_all(connection, known, &rows).await?.pop() else { return Ok(None) };
    backfill.runs.open = under_way(connection, id).await?;
    let sql = "SELECT pause_time IS NOT NULL FROM job WHERE uid = ?";
    let row = query_one(connection, sql, vec![backfill.job.uuid().into()]).await?;
    let is_paused = row.map(|row| single(&row)).transpose()?.unwrap_or(false);
    let definition = match readable(versions::one(connection, known, backfill.job, backfill.version).await)? {
        Ok(definition) => definition.map(Arc::new),
        Err(why) => {
            tracing::error!(backfill = %id, why, "the definition of a backfill cannot be read");
            None
        }
    };
    Ok(Some(OpenBackfill { backfill, definition, is_paused }))
}

/// The runs that instants of a job have already.
pub(super) async fn had_runs<C: ConnectionTrait>(
    connection: &C,
    job: JobUid,
    instants: &[Instant],
) -> StoreResult<HashMap<Instant, Had>> {
    let mut found: HashMap<Instant, Had> = HashMap::new();
    for piece in chunks(instants) {
        let job = Value::from(job.uuid());
        let values = piece.iter().map(|at| time(*at)).chain([job.clone(), job]).collect();
        for row in query(connection, had_sql(piece.len()), values).await? {
            let mut cells = Cells::of(&row);
            let had = found.entry(Instant::from_micros(cells.next()?)).or_default();
            let state = run_state(&mut cells)?;
            had.any = true;
            had.open |= !state.is_terminal();
            had.succeeded |= state == RunState::Succeeded;
        }
    }
    Ok(found)
}
