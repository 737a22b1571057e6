//! Workers, and the job types they announce.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use mainspring_engine::{
    domain::{
        filter::Filter,
        ids::{ServerId, WorkerId},
        instant::Instant,
        names::{JobType, Scope},
        worker::{Capacity, WorkerStatus},
    },
    ports::store::{Direction, JobTypeView, Listed, Page, StoreResult, WorkerView},
};
use sea_orm::{
    Condition, ConnectionTrait, QueryResult,
    sea_query::{Alias, Expr},
};
use uuid::Uuid;

use super::{
    super::{
        SqliteStore, filter,
        rows::{name, read_json},
        statement::{Cells, failed, query, query_in},
    },
    fitting,
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

pub(super) async fn job_types(
    store: &SqliteStore,
    scope: &Scope,
    filter: &Filter,
    direction: Direction,
    page: Page,
) -> StoreResult<Listed<JobTypeView>> {
    let Page { after, limit, bytes } = page;
    let Some(namespace) = store.known.lanes.namespace(&scope.0) else {
        return Ok(Listed { entries: Vec::new(), cut: false });
    };
    let here = Expr::cust_with_values("job_type.namespace_id = ?", [namespace]);
    let mut wanted = Condition::all().add(here).add(filter::job_types(filter)?);
    if let Some(after) = after {
        let beyond = format!("job_type.name {} ?", filter::beyond(direction));
        wanted = wanted.add(Expr::cust_with_values(beyond, [after]));
    }
    // Schemas may be large: they are read once they are known to fit.
    let sizes = "job_type.name, octet_length(job_type.input_schema) + octet_length(job_type.output_schema)";
    let select = filter::select(sizes, "job_type", wanted.clone(), &["job_type.name"], direction, limit);
    let rows = store.reads.query_all(&select).await.map_err(failed)?;
    let sized = rows.iter().map(|row| {
        let mut cells = Cells::of(row);
        Ok((cells.next::<String>()?, cells.next::<i64>()?))
    });
    let (names, cut) = fitting(sized.collect::<StoreResult<_>>()?, bytes);
    let columns = "name, description, input_schema, output_schema, queues, announce_time";
    let select = filter::select(columns, "job_type", wanted, &["job_type.name"], direction, names.len());
    let mut views = Vec::with_capacity(names.len());
    for row in store.reads.query_all(&select).await.map_err(failed)? {
        let mut cells = Cells::of(&row);
        let job_type: JobType = name(cells.next()?)?;
        let lanes = store.known.lanes.ids(|lane| lane.namespace == namespace && lane.lane.job_type == job_type);
        let (connected_workers, schema_drift) = connected(store, &lanes).await?;
        views.push(JobTypeView {
            namespace: scope.0.clone(),
            job_type,
            description: cells.next()?,
            input_schema: cells.next()?,
            output_schema: cells.next()?,
            queues: read_json(&cells.next::<String>()?)?,
            connected_workers,
            announce_time: Instant::from_micros(cells.next()?),
            schema_drift,
        });
    }
    Ok(Listed { entries: views, cut })
}

/// Connected workers that handle a type, and whether they disagree about its schemas.
async fn connected(store: &SqliteStore, lanes: &[i32]) -> StoreResult<(u32, bool)> {
    let head = "SELECT worker.id, worker_handler.schemas FROM worker_handler JOIN worker \
         ON worker.id = worker_handler.worker_id WHERE worker.status IN (1, 3) AND worker_handler.lane_id IN";
    let (mut workers, mut schemas) = (HashSet::new(), HashSet::new());
    for row in query_in(&store.reads, head, lanes, "").await? {
        let mut cells = Cells::of(&row);
        workers.insert(cells.next::<Uuid>()?);
        schemas.insert(cells.next::<Vec<u8>>()?);
    }
    Ok((u32::try_from(workers.len()).unwrap_or(u32::MAX), schemas.len() > 1))
}
