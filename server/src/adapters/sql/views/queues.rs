//! Queues with what waits in them and what is at workers.

use std::collections::HashMap;

use mainspring_engine::{
    domain::{
        filter::Filter,
        instant::Instant,
        names::{QueueName, Scope},
    },
    ports::store::{Direction, Page, QueueView, StoreResult},
};
use sea_orm::{Condition, ConnectionTrait, QueryResult, Value, sea_query::Expr};

use super::super::{
    SqliteStore, filter,
    rows::{maybe, name, rate},
    statement::{Cells, failed, query, query_in},
};

const COLUMNS: &str = "id, name, paused, note, concurrency_limit, rate_count, rate_per, rate_burst, revision";

pub(super) async fn list(
    store: &SqliteStore,
    scope: &Scope,
    filter: &Filter,
    direction: Direction,
    page: Page,
) -> StoreResult<Vec<QueueView>> {
    let Some(namespace) = store.known.lanes.namespace(&scope.0) else { return Ok(Vec::new()) };
    let here = Expr::cust_with_values("queue.namespace_id = ?", [namespace]);
    let mut wanted = Condition::all().add(here).add(filter::queues(filter)?);
    if let Some(after) = page.after {
        let beyond = format!("queue.name {} ?", filter::beyond(direction));
        wanted = wanted.add(Expr::cust_with_values(beyond, [after]));
    }
    let select = filter::select(COLUMNS, "queue", wanted, &["queue.name"], direction, page.limit);
    views(store, scope, store.reads.query_all(&select).await.map_err(failed)?).await
}

pub(super) async fn one(store: &SqliteStore, scope: &Scope, queue: &QueueName) -> StoreResult<Option<QueueView>> {
    let Some(namespace) = store.known.lanes.namespace(&scope.0) else { return Ok(None) };
    let sql = format!("SELECT {COLUMNS} FROM queue WHERE namespace_id = ? AND name = ?");
    let rows = query(&store.reads, sql, vec![namespace.into(), queue.as_str().into()]).await?;
    Ok(views(store, scope, rows).await?.pop())
}

/// What a lane holds.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    depth: u64,
    oldest: Option<Instant>,
    in_flight: u64,
}

async fn views(store: &SqliteStore, scope: &Scope, rows: Vec<QueryResult>) -> StoreResult<Vec<QueueView>> {
    let mut views = Vec::with_capacity(rows.len());
    let (in_flight, parked) = (in_flight(store).await?, parked(store).await?);
    for row in rows {
        let mut cells = Cells::of(&row);
        let id: i32 = cells.next()?;
        let held = held(store, &store.known.lanes.ids(|lane| lane.queue == id), &in_flight, &parked).await?;
        views.push(QueueView {
            namespace: scope.0.clone(),
            queue: name(cells.next()?)?,
            paused: cells.next()?,
            pause_note: cells.next()?,
            concurrency_limit: cells.parse("a limit", |limit: &i64| u32::try_from(*limit).ok())?,
            rate: rate(&mut cells)?,
            depth: held.depth,
            oldest_queue_time: held.oldest,
            in_flight: held.in_flight,
            revision: cells.next()?,
        });
    }
    Ok(views)
}

/// What waits in lanes, since when. All from the index of what waits.
async fn held(
    store: &SqliteStore,
    lanes: &[i32],
    in_flight: &HashMap<i32, u64>,
    parked: &HashMap<i32, (u64, Option<Instant>)>,
) -> StoreResult<Held> {
    let mut held = Held::default();
    let head = "SELECT count(*), min(queue_time) FROM run WHERE ready_lane IN";
    for row in query_in(&store.reads, head, lanes, "").await? {
        let mut cells = Cells::of(&row);
        held.depth += cells.parse("a count", |count: &i64| u64::try_from(*count).ok())?;
        held.oldest = [held.oldest, maybe(cells.next()?)].into_iter().flatten().min();
    }
    for (depth, oldest) in lanes.iter().filter_map(|lane| parked.get(lane)) {
        held.depth += depth;
        held.oldest = [held.oldest, *oldest].into_iter().flatten().min();
    }
    held.in_flight = lanes.iter().filter_map(|lane| in_flight.get(lane)).sum();
    Ok(held)
}

/// What waits for room under concurrency keys, by lane.
pub(in super::super) const PARKED: &str =
    "SELECT lane_id, count(*), min(queue_time) FROM run WHERE parked_key IS NOT NULL GROUP BY lane_id";

/// What waits for room under concurrency keys, by lane, and since when.
pub(super) async fn parked(store: &SqliteStore) -> StoreResult<HashMap<i32, (u64, Option<Instant>)>> {
    let mut counts = HashMap::new();
    for row in query(&store.reads, PARKED, Vec::<Value>::new()).await? {
        let mut cells = Cells::of(&row);
        let lane = cells.next()?;
        let count = cells.parse("a count", |count: &i64| u64::try_from(*count).ok())?;
        counts.insert(lane, (count, maybe(cells.next()?)));
    }
    Ok(counts)
}

/// Runs at workers, by lane.
pub(super) async fn in_flight(store: &SqliteStore) -> StoreResult<HashMap<i32, u64>> {
    let sql = "SELECT lane_id, count(*) FROM run WHERE open_token IS NOT NULL AND state IN (3, 4) GROUP BY lane_id";
    let mut counts = HashMap::new();
    for row in query(&store.reads, sql, Vec::<Value>::new()).await? {
        let mut cells = Cells::of(&row);
        counts.insert(cells.next()?, cells.parse("a count", |count: &i64| u64::try_from(*count).ok())?);
    }
    Ok(counts)
}
