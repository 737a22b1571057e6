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
    ports::store::{InstantRange, JobOrder, Listed, Page, StoreError, StoreResult},
};
use sea_orm::{Condition, ConnectionTrait, Value, sea_query::Expr};
use uuid::Uuid;

use super::{
    super::{
        SqliteStore, filter,
        jobs::{SPEC, bare_jobs, jobs, range, schedules},
        rows::{maybe, name, run_state, time},
        statement::{Cells, failed, places, query, query_one, single},
    },
    fitting, limit,
};

/// How many bytes the payload of a job has.
const SIZE: &str = "(SELECT octet_length(job_version.payload) FROM job_version WHERE job_version.job_uid = job.uid \
     AND job_version.version = job.version)";

pub(super) async fn list(
    store: &SqliteStore,
    scope: &Scope,
    filter: &Filter,
    order: JobOrder,
    page: Page,
    detail: bool,
) -> StoreResult<Listed<Job>> {
    let Page { after, limit, bytes } = page;
    let none = || Ok(Listed { entries: Vec::new(), cut: false });
    let Some(namespace) = store.known.lanes.namespace(&scope.0) else { return none() };
    let (key, direction) = match order {
        JobOrder::Name(direction) => ("job.name", direction),
        JobOrder::Age(direction) => ("job.uid", direction),
    };
    let here = "job.namespace_id = ? AND job.delete_time IS NULL";
    let mut wanted = Condition::all().add(Expr::cust_with_values(here, [namespace])).add(filter::jobs(filter)?);
    if let Some(after) = after {
        let after: Value = match order {
            JobOrder::Name(_) => after.into(),
            JobOrder::Age(_) => match after.parse::<JobUid>() {
                Ok(after) => after.uuid().into(),
                Err(_) => return none(),
            },
        };
        wanted = wanted.add(Expr::cust_with_values(format!("{key} {} ?", filter::beyond(direction)), [after]));
    }
    let size = if detail { SIZE } else { "0" };
    let select = filter::select(&format!("job.uid, {size}"), "job", wanted, &[key], direction, limit);
    let rows = store.reads.query_all(&select).await.map_err(failed)?;
    let sized = rows.iter().map(|row| {
        let mut cells = Cells::of(row);
        Ok((cells.next::<Uuid>()?, cells.next::<Option<i64>>()?.unwrap_or_default()))
    });
    let (uids, cut) = fitting(sized.collect::<StoreResult<_>>()?, bytes);
    if uids.is_empty() {
        return none();
    }
    let rest = format!("job.uid IN ({})", places(uids.len()));
    let values = uids.iter().map(|uid| (*uid).into()).collect();
    let found = match detail {
        true => jobs(&store.reads, &store.known, &rest, values).await?,
        false => bare_jobs(&store.reads, &store.known, &rest, values).await?,
    };
    let mut found: HashMap<Uuid, Job> = found.into_iter().map(|job| (job.uid.uuid(), job)).collect();
    Ok(Listed { entries: uids.iter().filter_map(|uid| found.remove(uid)).collect(), cut })
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
        ranges.push((schedule, range(version, first, last, cells.next()?, cells.next()?, &cells.next::<String>()?)?));
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
