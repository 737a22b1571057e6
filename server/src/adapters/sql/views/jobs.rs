//! Jobs as lists show them.

use std::collections::HashMap;

use mainspring_engine::{
    domain::{filter::Filter, ids::JobUid, instant::Instant, job::Job, names::Scope},
    ports::store::{JobOrder, Listed, Page, StoreResult},
};
use sea_orm::{Condition, ConnectionTrait, Value, sea_query::Expr};
use uuid::Uuid;

use super::{
    super::{
        SqliteStore, filter,
        jobs::{bare_jobs, jobs},
        rows::maybe,
        statement::{Cells, failed, places, query_one, single},
    },
    fitting,
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

pub(super) async fn last_success(store: &SqliteStore, job: JobUid) -> StoreResult<Option<Instant>> {
    let sql = "SELECT nominal_time FROM run WHERE origin = 1 AND job_uid = ? AND state = 6 \
         ORDER BY nominal_time DESC LIMIT 1";
    let row = query_one(&store.reads, sql, vec![job.uuid().into()]).await?;
    Ok(maybe(row.map(|row| single(&row)).transpose()?))
}
