//! Workers, and the job types they announce.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use mainspring_engine::{
    domain::{
        ids::{ServerId, WorkerId},
        instant::Instant,
        names::{JobType, Scope},
        worker::{Capacity, WorkerStatus},
    },
    ports::store::{JobTypeView, Page, StoreResult, WorkerView},
};
use sea_orm::{QueryResult, Value};
use uuid::Uuid;

use super::{
    super::{
        SqliteStore,
        rows::{name, read_json},
        statement::{Cells, query, query_in},
    },
    limit,
};

const WORKER: &str = "SELECT worker.id, worker.status, worker.server_id, worker.connect_time, worker.heartbeat_time, \
     worker.lease_expire_time, worker_profile.name, worker_profile.labels, worker_profile.sdk, worker_profile.build_id, \
     worker_profile.capacity FROM worker JOIN worker_profile ON worker_profile.worker_id = worker.id";

pub(super) async fn list(
    store: &SqliteStore,
    scope: &Scope,
    include_gone: bool,
    page: Page,
) -> StoreResult<Vec<WorkerView>> {
    let Some(namespace) = store.known.lanes.namespace(&scope.0) else { return Ok(Vec::new()) };
    let alive = if include_gone { "" } else { "AND worker.status IN (1, 2, 3)" };
    let mut values: Vec<Value> = vec![namespace.into()];
    let mut beyond = "";
    if let Some(after) = page.after {
        let Ok(after) = after.parse::<WorkerId>() else { return Ok(Vec::new()) };
        values.push(after.uuid().into());
        beyond = "AND worker.id < ?";
    }
    values.push(limit(page.limit));
    let sql = format!("{WORKER} WHERE worker.namespace_id = ? {alive} {beyond} ORDER BY worker.id DESC LIMIT ?");
    views(store, scope, query(&store.reads, sql, values).await?).await
}

pub(super) async fn one(store: &SqliteStore, scope: &Scope, worker: WorkerId) -> StoreResult<Option<WorkerView>> {
    let Some(namespace) = store.known.lanes.namespace(&scope.0) else { return Ok(None) };
    let sql = format!("{WORKER} WHERE worker.id = ? AND worker.namespace_id = ?");
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

pub(super) async fn job_types(store: &SqliteStore, scope: &Scope, page: Page) -> StoreResult<Vec<JobTypeView>> {
    let Some(namespace) = store.known.lanes.namespace(&scope.0) else { return Ok(Vec::new()) };
    let sql = "SELECT name, description, input_schema, output_schema, queues, announce_time FROM job_type \
         WHERE namespace_id = ? AND name > ? ORDER BY name LIMIT ?";
    let values = vec![namespace.into(), page.after.unwrap_or_default().into(), limit(page.limit)];
    let mut views = Vec::new();
    for row in query(&store.reads, sql, values).await? {
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
    Ok(views)
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
