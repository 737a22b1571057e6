//! Workers.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use mainspring_engine::{
    domain::{
        filter::Filter,
        ids::{ServerId, WorkerId},
        instant::Instant,
        names::{JobType, Scope},
        worker::{Capacity, WorkerStatus},
    },
    ports::store::{Direction, Page, StoreResult, WorkerView},
};
use sea_orm::{
    Condition, ConnectionTrait, QueryResult,
    sea_query::{Alias, Expr},
};
use uuid::Uuid;

use super::super::{
    SqliteStore, filter,
    rows::read_json,
    statement::{Cells, failed, query, query_in},
};

const WORKER: &str = "worker.id, worker.status, worker.server_id, worker.connect_time, worker.heartbeat_time, \
     worker.lease_expire_time, worker_profile.name, worker_profile.labels, worker_profile.sdk, worker_profile.build_id, \
     worker_profile.capacity";
const PROFILE: &str = "worker_profile.worker_id = worker.id";

pub(super) async fn list(
    store: &SqliteStore,
    scope: &Scope,
    include_gone: bool,
    filter: &Filter,
    direction: Direction,
    page: Page,
) -> StoreResult<Vec<WorkerView>> {
    let Some(namespace) = store.known.lanes.namespace(&scope.0) else { return Ok(Vec::new()) };
    let here = Expr::cust_with_values("worker.namespace_id = ?", [namespace]);
    let mut wanted = Condition::all().add(here).add(filter::workers(filter)?);
    if !include_gone {
        wanted = wanted.add(Expr::cust("worker.status IN (1, 2, 3)"));
    }
    if let Some(after) = page.after {
        let Ok(after) = after.parse::<WorkerId>() else { return Ok(Vec::new()) };
        let beyond = format!("worker.id {} ?", filter::beyond(direction));
        wanted = wanted.add(Expr::cust_with_values(beyond, [after.uuid()]));
    }
    let mut select = filter::select(WORKER, "worker", wanted, &["worker.id"], direction, page.limit);
    select.inner_join(Alias::new("worker_profile"), Expr::cust(PROFILE));
    views(store, scope, store.reads.query_all(&select).await.map_err(failed)?).await
}

pub(super) async fn one(store: &SqliteStore, scope: &Scope, worker: WorkerId) -> StoreResult<Option<WorkerView>> {
    let Some(namespace) = store.known.lanes.namespace(&scope.0) else { return Ok(None) };
    let sql = format!(
        "SELECT {WORKER} FROM worker JOIN worker_profile ON {PROFILE} WHERE worker.id = ? AND worker.namespace_id = ?"
    );
    let rows = query(&store.reads, sql, vec![worker.uuid().into(), namespace.into()]).await?;
    Ok(views(store, scope, rows).await?.pop())
}

async fn views(store: &SqliteStore, scope: &Scope, rows: Vec<QueryResult>) -> StoreResult<Vec<WorkerView>> {
    let mut views = rows.iter().map(|row| view(scope, row)).collect::<StoreResult<Vec<_>>>()?;
    let ids: Vec<Uuid> = views.iter().map(|view| view.worker.uuid()).collect();
    let places: HashMap<WorkerId, usize> = views.iter().enumerate().map(|(at, view)| (view.worker, at)).collect();
    let mut types: HashMap<WorkerId, BTreeSet<JobType>> = HashMap::new();
    let head = "SELECT worker_id, lane_id FROM worker_handler WHERE worker_id IN";
    for row in query_in(&store.reads, head, &ids, "").await? {
        let mut cells = Cells::of(&row);
        let worker = WorkerId::from_uuid(cells.next()?);
        types.entry(worker).or_default().insert(store.known.lanes.of(cells.next()?)?.lane.job_type.clone());
    }
    for (worker, types) in types {
        views[places[&worker]].job_types = types.into_iter().collect();
    }
    let head = "SELECT worker_id, lane_id, count(*) FROM run WHERE open_token IS NOT NULL AND state IN (3, 4) \
         AND worker_id IN";
    for row in query_in(&store.reads, head, &ids, "GROUP BY worker_id, lane_id").await? {
        let mut cells = Cells::of(&row);
        let worker = WorkerId::from_uuid(cells.next()?);
        let queue = store.known.lanes.of(cells.next()?)?.lane.queue.clone();
        let count = cells.parse("a count", |count: &i64| u32::try_from(*count).ok())?;
        *views[places[&worker]].in_flight.entry(queue).or_default() += count;
    }
    Ok(views)
}

fn view(scope: &Scope, row: &QueryResult) -> StoreResult<WorkerView> {
    let mut cells = Cells::of(row);
    let worker = WorkerId::from_uuid(cells.next()?);
    let status = cells.parse("a worker's status", |code: &i32| WorkerStatus::from_code(*code))?;
    let server = ServerId::from_uuid(cells.next()?);
    let held = matches!(status, WorkerStatus::Connected | WorkerStatus::Draining);
    Ok(WorkerView {
        worker,
        namespace: scope.0.clone(),
        server: held.then_some(server),
        status,
        connect_time: Instant::from_micros(cells.next()?),
        last_heartbeat_time: Instant::from_micros(cells.next()?),
        lease_expire_time: Instant::from_micros(cells.next()?),
        name: cells.next()?,
        labels: read_json::<BTreeMap<String, String>>(&cells.next::<String>()?)?,
        sdk: cells.next()?,
        build_id: cells.next()?,
        capacity: read_json::<Capacity>(&cells.next::<String>()?)?,
        job_types: Vec::new(),
        in_flight: Capacity::new(),
    })
}
