//! Jobs, their ledgers and their scheduled runs.

use std::{collections::HashMap, sync::Arc};

use mainspring_engine::{
    domain::{
        filter::Filter,
        ids::{JobUid, RunId},
        instant::Instant,
        job::{Job, JobSpec},
        ledger::Range,
        names::{ScheduleName, Scope},
        run::RunState,
    },
    ports::store::{InstantRange, Page, StoreError, StoreResult},
};
use sea_orm::{
    Condition, ConnectionTrait,
    sea_query::{Alias, Expr, Query},
};

use super::{
    super::{
        SqliteStore, filter,
        jobs::{SPEC, jobs, range, schedules},
        rows::{maybe, name, run_state, time},
        statement::{Cells, failed, places, query, query_one, single},
    },
    limit,
};

pub(super) async fn list(store: &SqliteStore, scope: &Scope, filter: &Filter, page: Page) -> StoreResult<Vec<Job>> {
    let Some(namespace) = store.known.lanes.namespace(&scope.0) else { return Ok(Vec::new()) };
    let here = "job.namespace_id = ? AND job.delete_time IS NULL AND job.name > ?";
    let after = page.after.unwrap_or_default();
    let wanted = Condition::all()
        .add(Expr::cust_with_values(here, [sea_orm::Value::from(namespace), after.into()]))
        .add(filter::jobs(filter)?);
    let select = Query::select()
        .expr(Expr::cust("job.uid"))
        .from(Alias::new("job"))
        .cond_where(wanted)
        .order_by_expr(Expr::cust("job.name"), sea_orm::Order::Asc)
        .limit(page.limit as u64)
        .take();
    let rows = store.reads.query_all(&select).await.map_err(failed)?;
    let uids = rows.iter().map(single::<uuid::Uuid>).collect::<StoreResult<Vec<_>>>()?;
    if uids.is_empty() {
        return Ok(Vec::new());
    }
    let rest = format!("job.uid IN ({}) ORDER BY job.name", places(uids.len()));
    jobs(&store.reads, &store.known, &rest, uids.into_iter().map(Into::into).collect()).await
}

pub(super) async fn ledger(
    store: &SqliteStore,
    job: JobUid,
    from: Instant,
    to: Instant,
) -> StoreResult<Vec<InstantRange>> {
    let mut ranges: Vec<(ScheduleName, Range)> = Vec::new();
    let sql = "SELECT schedule, version, first_time, last_time, count, fate, reason FROM ledger \
         WHERE job_uid = ? AND first_time < ? AND last_time >= ?";
    for row in query(&store.reads, sql, vec![job.uuid().into(), time(to), time(from)]).await? {
        let mut cells = Cells::of(&row);
        let schedule = name(cells.next()?)?;
        let (version, first, last) = (cells.next()?, cells.next()?, cells.next()?);
        ranges.push((schedule, range(version, first, last, cells.next()?, cells.next()?, cells.next()?)?));
    }
    for row in schedules(&store.reads, &[job.uuid()]).await? {
        let reaches = |range: &Range| range.first < to && range.last >= from;
        ranges.extend(row.open.filter(reaches).map(|range| (row.name, range)));
    }
    ranges.sort_by(|(a, one), (b, other)| (one.first, a).cmp(&(other.first, b)));
    let specs = specs(store, job).await?;
    ranges
        .into_iter()
        .map(|(schedule, range)| {
            let spec = specs.get(&range.version).cloned();
            let spec =
                spec.ok_or_else(|| StoreError::Corrupt(format!("job {job} has no version {}", range.version)))?;
            Ok(InstantRange { schedule, range, spec })
        })
        .collect()
}

async fn specs(store: &SqliteStore, job: JobUid) -> StoreResult<HashMap<i64, Arc<JobSpec>>> {
    let sql = format!("SELECT job_version.version, {SPEC} FROM job_version WHERE job_uid = ?");
    let mut specs = HashMap::new();
    for row in query(&store.reads, sql, vec![job.uuid().into()]).await? {
        let mut cells = Cells::of(&row);
        specs.insert(cells.next()?, store.known.specs.read(&mut cells)?);
    }
    Ok(specs)
}

pub(super) async fn scheduled_runs(
    store: &SqliteStore,
    job: JobUid,
    from: Instant,
    to: Instant,
    most: usize,
) -> StoreResult<Vec<(Instant, RunId, RunState)>> {
    let sql = "SELECT nominal_time, id, state FROM run WHERE origin = 1 AND job_uid = ? AND nominal_time >= ? \
         AND nominal_time <= ? ORDER BY nominal_time LIMIT ?";
    let rows = query(&store.reads, sql, vec![job.uuid().into(), time(from), time(to), limit(most)]).await?;
    rows.iter()
        .map(|row| {
            let mut cells = Cells::of(row);
            Ok((Instant::from_micros(cells.next()?), RunId::from_uuid(cells.next()?), run_state(&mut cells)?))
        })
        .collect()
}

pub(super) async fn last_success(store: &SqliteStore, job: JobUid) -> StoreResult<Option<Instant>> {
    let sql = "SELECT nominal_time FROM run WHERE origin = 1 AND job_uid = ? AND state = 6 \
         ORDER BY nominal_time DESC LIMIT 1";
    let row = query_one(&store.reads, sql, vec![job.uuid().into()]).await?;
    Ok(maybe(row.map(|row| single(&row)).transpose()?))
}
