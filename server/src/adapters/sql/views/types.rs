//! Job types, and who announces which schemas for them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use mainspring_engine::{
    domain::{
        filter::Filter,
        ids::WorkerId,
        instant::Instant,
        names::{JobType, Scope},
        worker::WorkerStatus,
    },
    ports::store::{Announcement, Announcer, Direction, JobTypeView, Listed, Page, StoreResult},
};
use sea_orm::{Condition, ConnectionTrait, sea_query::Expr};
use uuid::Uuid;

use super::{
    super::{
        SqliteStore, filter,
        rows::{name, read_json},
        statement::{Cells, failed, query, query_in, query_one, single},
    },
    fitting,
};

/// Workers that are shown of those that announce the same.
const SHOWN: usize = 10;

pub(super) async fn list(
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
    let sizes = "job_type.name, octet_length(job_type.input_schema) + octet_length(job_type.output_schema) \
         + (SELECT coalesce(sum(octet_length(announced.input_schema) + octet_length(announced.output_schema)), 0) \
         FROM announced WHERE announced.namespace_id = job_type.namespace_id AND announced.job_type = job_type.name \
         AND (announced.input_schema <> job_type.input_schema OR announced.output_schema <> job_type.output_schema))";
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
        let there = there(store, namespace, &job_type).await?;
        views.push(JobTypeView {
            namespace: scope.0.clone(),
            description: cells.next()?,
            input_schema: cells.next()?,
            output_schema: cells.next()?,
            queues: read_json(&cells.next::<String>()?)?,
            connected_workers: there.connected,
            announce_time: Instant::from_micros(cells.next()?),
            announcements: announcements(store, namespace, &job_type, there).await?,
            job_type,
        });
    }
    Ok(Listed { entries: views, cut })
}

/// Workers whose leases live, by what they announce.
#[derive(Default)]
struct There {
    connected: u32,
    by_schemas: HashMap<Vec<u8>, BTreeMap<WorkerId, Announcer>>,
}

async fn there(store: &SqliteStore, namespace: i32, job_type: &JobType) -> StoreResult<There> {
    let lanes = store.known.lanes.ids(|lane| lane.namespace == namespace && lane.lane.job_type == *job_type);
    let head = "SELECT worker_handler.schemas, worker.id, worker.status, worker.connect_time, worker_profile.name, \
         worker_profile.build_id, worker_profile.sdk FROM worker_handler JOIN worker \
         ON worker.id = worker_handler.worker_id JOIN worker_profile ON worker_profile.worker_id = worker.id \
         WHERE worker.status IN (1, 2, 3) AND worker_handler.lane_id IN";
    let (mut there, mut connected) = (There::default(), BTreeSet::new());
    for row in query_in(&store.reads, head, &lanes, "").await? {
        let mut cells = Cells::of(&row);
        let schemas = cells.next::<Vec<u8>>()?;
        let worker = WorkerId::from_uuid(cells.next::<Uuid>()?);
        let status = cells.parse("a worker's status", |code: &i32| WorkerStatus::from_code(*code))?;
        let connect_time = Instant::from_micros(cells.next()?);
        let announcer =
            Announcer { worker, name: cells.next()?, build_id: cells.next()?, sdk: cells.next()?, connect_time };
        there.by_schemas.entry(schemas).or_default().insert(worker, announcer);
        if matches!(status, WorkerStatus::Connected | WorkerStatus::Draining) {
            connected.insert(worker);
        }
    }
    there.connected = u32::try_from(connected.len()).unwrap_or(u32::MAX);
    Ok(there)
}

async fn announcements(
    store: &SqliteStore,
    namespace: i32,
    job_type: &JobType,
    mut there: There,
) -> StoreResult<Vec<Announcement>> {
    let sql = "SELECT schemas, announce_time, input_schema, output_schema FROM announced \
         WHERE namespace_id = ? AND job_type = ? ORDER BY announce_time DESC, schemas";
    let mut announcements = Vec::new();
    for row in query(&store.reads, sql, vec![namespace.into(), job_type.as_str().into()]).await? {
        let mut cells = Cells::of(&row);
        let schemas = cells.next::<Vec<u8>>()?;
        let Some(workers) = there.by_schemas.remove(&schemas) else { continue };
        announcements.push(Announcement {
            fingerprint: schemas.iter().take(6).map(|byte| format!("{byte:02x}")).collect(),
            announce_time: Instant::from_micros(cells.next()?),
            input_schema: cells.next()?,
            output_schema: cells.next()?,
            worker_count: u32::try_from(workers.len()).unwrap_or(u32::MAX),
            workers: workers.into_values().rev().take(SHOWN).collect(),
        });
    }
    Ok(announcements)
}

pub(super) async fn input_schemas(store: &SqliteStore, scope: &Scope, job_type: &JobType) -> StoreResult<Vec<String>> {
    let Some(namespace) = store.known.lanes.namespace(&scope.0) else { return Ok(Vec::new()) };
    let lanes = store.known.lanes.ids(|lane| lane.namespace == namespace && lane.lane.job_type == *job_type);
    let head = "SELECT DISTINCT worker_handler.schemas FROM worker_handler JOIN worker \
         ON worker.id = worker_handler.worker_id WHERE worker.status IN (1, 2, 3) AND worker_handler.lane_id IN";
    let rows = query_in(&store.reads, head, &lanes, "").await?;
    let named = rows.iter().map(single::<Vec<u8>>).collect::<StoreResult<BTreeSet<_>>>()?;
    let key = || vec![namespace.into(), job_type.as_str().into()];
    let sql = "SELECT schemas, input_schema FROM announced WHERE namespace_id = ? AND job_type = ? \
         ORDER BY announce_time DESC, schemas";
    let mut texts: Vec<String> = Vec::new();
    for row in query(&store.reads, sql, key()).await? {
        let mut cells = Cells::of(&row);
        if !named.contains(&cells.next::<Vec<u8>>()?) {
            continue;
        }
        let text = cells.next()?;
        // They may differ in their outputs alone.
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    if texts.is_empty() {
        let sql = "SELECT input_schema FROM job_type WHERE namespace_id = ? AND name = ?";
        let row = query_one(&store.reads, sql, key()).await?;
        texts.extend(row.map(|row| single::<String>(&row)).transpose()?);
    }
    Ok(texts)
}
