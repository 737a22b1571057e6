//! Counts, and why a run may be waiting.

use std::num::NonZeroU32;

use mainspring_engine::{
    domain::{
        ids::RunId,
        instant::Instant,
        limit,
        names::{ConcurrencyKey, Scope},
        run::RunState,
        worker::WorkerStatus,
    },
    ports::store::{FullKey, PacedKey, StatsView, StoreResult, WaitFacts},
};
use sea_orm::Value;

use super::{
    super::{
        SqliteStore,
        keys::{SAID, Said},
        rows::{ID_SLACK, first_id, name, read_labels, run_state, time},
        statement::{Cells, query, query_in, query_one, single},
    },
    queues::{in_flight, parked},
};

pub(super) async fn counts(store: &SqliteStore, scope: &Scope, from: Instant, to: Instant) -> StoreResult<StatsView> {
    let Some(namespace) = store.known.lanes.namespace(&scope.0) else { return Ok(StatsView::default()) };
    let lanes = store.known.lanes.ids(|lane| lane.namespace == namespace);
    let count = async |sql: &str| -> StoreResult<u64> {
        let row = query_one(&store.reads, sql, vec![namespace.into()]).await?;
        let count = row.map(|row| single::<i64>(&row)).transpose()?.unwrap_or_default();
        Ok(u64::try_from(count).unwrap_or_default())
    };
    let mut queued = 0;
    for row in query_in(&store.reads, "SELECT count(*) FROM run WHERE ready_lane IN", &lanes, "").await? {
        queued += u64::try_from(single::<i64>(&row)?).unwrap_or_default();
    }
    let waits = parked(store).await?;
    queued += lanes.iter().filter_map(|lane| Some(waits.get(lane)?.0)).sum::<u64>();
    let at_workers = in_flight(store).await?;
    Ok(StatsView {
        runs: made(store, namespace, from, to).await?,
        jobs: count("SELECT count(*) FROM job WHERE namespace_id = ? AND delete_time IS NULL").await?,
        connected_workers: count("SELECT count(*) FROM worker WHERE status IN (1, 3) AND namespace_id = ?").await?,
        queued,
        in_flight: lanes.iter().filter_map(|lane| at_workers.get(lane)).sum(),
    })
}

/// Runs made in a range, by state. The range of ids narrows what is read; `create_time` decides.
async fn made(store: &SqliteStore, namespace: i32, from: Instant, to: Instant) -> StoreResult<Vec<(RunState, u64)>> {
    let here = if store.known.lanes.has_other_than(namespace) {
        "AND lane_id IN (SELECT lane.id FROM lane WHERE lane.namespace_id = ?)"
    } else {
        "AND ? IS NOT NULL"
    };
    let sql = format!(
        "SELECT state, count(*) FROM run WHERE id >= ? AND id < ? AND create_time >= ? AND create_time < ? {here} \
         GROUP BY state ORDER BY state"
    );
    let values: Vec<Value> = vec![
        first_id(from.minus(ID_SLACK)).into(),
        first_id(to.plus(ID_SLACK)).into(),
        time(from),
        time(to),
        namespace.into(),
    ];
    let rows = query(&store.reads, sql, values).await?;
    rows.iter()
        .map(|row| {
            let mut cells = Cells::of(row);
            let state = run_state(&mut cells)?;
            Ok((state, cells.parse("a count", |count: &i64| u64::try_from(*count).ok())?))
        })
        .collect()
}

pub(super) async fn wait_facts(store: &SqliteStore, scope: &Scope, run: RunId) -> StoreResult<WaitFacts> {
    let sql = format!(
        "SELECT lane_id, limit_key.key, limit_key.in_flight, {SAID} FROM run \
         LEFT JOIN limit_key ON limit_key.id = run.key_id WHERE run.id = ?"
    );
    let Some(row) = query_one(&store.reads, sql, vec![run.uuid().into()]).await? else {
        return Ok(WaitFacts::default());
    };
    let mut cells = Cells::of(&row);
    let lane = cells.next()?;
    let key = cells.next::<Option<String>>()?.map(name::<ConcurrencyKey>).transpose()?;
    let in_flight = cells.next::<Option<i64>>()?.unwrap_or_default();
    let said = Said::read(&mut cells)?;
    let lane = store.known.lanes.of(lane)?;
    if lane.lane.namespace != scope.0 {
        return Ok(WaitFacts::default());
    }
    let mut facts = WaitFacts::default();
    let small = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
    if let Some(key) = key {
        let rate = said.bucket.map(|bucket| bucket.rate());
        // As it stood when something last went, or came back.
        let next = said.bucket.and_then(|mut bucket| bucket.next(bucket.keep().1));
        facts.key_paced = rate.zip(next).map(|(rate, next)| PacedKey { key: key.clone(), rate, next });
        let limit = limit::at_once(said.limit, rate).map(NonZeroU32::get);
        let full = limit.filter(|limit| in_flight >= i64::from(*limit));
        facts.key_full = full.map(|limit| FullKey { key, limit, in_flight: small(in_flight) });
    }
    let sql = "SELECT paused, concurrency_limit, in_flight FROM queue WHERE id = ?";
    if let Some(row) = query_one(&store.reads, sql, vec![lane.queue.into()]).await? {
        let mut cells = Cells::of(&row);
        facts.queue_paused = cells.next()?;
        let (limit, in_flight): (i64, i64) = (cells.next()?, cells.next()?);
        facts.limit_reached = (limit > 0 && in_flight >= limit).then(|| u32::try_from(limit).unwrap_or(u32::MAX));
    }
    // Workers are known by the lanes that ask for no labels.
    let Some(common) = store.known.lanes.find(&lane.lane.for_all()) else { return Ok(facts) };
    let sql = "SELECT worker.status, worker_profile.labels, count(*) FROM worker_handler \
         JOIN worker ON worker.id = worker_handler.worker_id \
         JOIN worker_profile ON worker_profile.worker_id = worker.id \
         WHERE worker_handler.lane_id = ? AND worker.status IN (1, 3) GROUP BY worker.status, worker_profile.labels";
    for row in query(&store.reads, sql, vec![common.id.into()]).await? {
        let mut cells = Cells::of(&row);
        let status: i32 = cells.next()?;
        let labels = read_labels(Some(cells.next()?))?;
        let count = cells.parse("a count", |count: &i64| u32::try_from(*count).ok())?;
        if !lane.lane.selector.is_met_by(&labels) {
            facts.unlike += count;
            continue;
        }
        facts.handlers += count;
        if status == WorkerStatus::Draining.code() {
            facts.draining += count;
        }
    }
    Ok(facts)
}
