//! The plans of hot statements: each finds its rows by an index, whatever the size of the batch and of the table.
//!
//! SQLite's planner falls off a cliff where it takes a batch for large; a statement that scanned `run` would get slower with
//! every run that is kept.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use mainspring_engine::{
    domain::filter::{Filter, Op, Value},
    ports::store::Direction,
};
use sea_orm::sea_query::SqliteQueryBuilder;
use sqlx::{AssertSqlSafe, Row};

use super::{
    super::{
        backfills::{
            OPEN, OTHERS, OTHERS_OF_KEY, ending_sql,
            read::{STAND as RUNS_STAND, UNDER_WAY, had_sql},
        },
        calendars::{BEHIND, HALF_UPDATED},
        claims::{GONE, STAND, claims_sql},
        deliveries,
        due::{NEXT_DUE, due_sql, turn_sql},
        expire::{OVER, held_sql},
        failing, filter,
        fire::instants_sql,
        hello::open_sql,
        hot::{Fence, lease_read_sql, lease_sql, success_read_sql, success_sql},
        insert::there_sql,
        jobs::schedule_sql,
        keys::{LANES, READY, UNUSED, USED, named_sql, parked_sql, unpark_sql, waited_for_sql},
        leases::renew_sql,
        logs::{HOLDING, batches_sql},
        outcomes::{NEXT_DEADLINE, PAST_DEADLINE},
        paces::{GO, NEXT_GO},
        pauses::{EXPIRED, NEXT_END, PAUSES_OVER},
        pending::PENDING,
        release::level_sql,
        retention::delete_sql,
        slots::{WAITING as BUFFERED, WAITING_FOR_KEYS, holders_sql, key_holders_sql},
        standings::{unfinished_of_keys_sql, unfinished_sql},
        statement::{Cells, places},
        steps::{columns, whole_sql},
        stops::{at_workers_sql, waiting_sql},
        successes::{BEFORE, successes_sql},
        told,
        unused::{IDLE, OLD_RUN},
        views::{ledger, queues::PARKED, vitals::WAITING},
        wake::{WAKING, wake_read_sql, wake_sql},
        zones,
    },
    *,
};

/// Tables that grow with what happened.
const LARGE: [&str; 12] = [
    "delivery",
    "run",
    "run_data",
    "attempt_end",
    "schedule",
    "job",
    "job_version",
    "ledger",
    "request",
    "unique_claim",
    "limit_key",
    "worker",
];

/// Every statement of the way of a run, at every size of a piece.
fn hot() -> Vec<String> {
    let mut statements = vec![
        level_sql(),
        format!("SELECT {} {WAKING}", columns()),
        PAST_DEADLINE.to_owned(),
        due_sql(false),
        turn_sql(),
        due_sql(true),
        NEXT_DEADLINE.to_owned(),
        NEXT_DUE.to_owned(),
        OVER.to_owned(),
        held_sql(),
        open_sql(),
        waiting_sql(),
        at_workers_sql(None),
        OPEN.to_owned(),
        OTHERS.to_owned(),
        OTHERS_OF_KEY.to_owned(),
        BEFORE.to_owned(),
        RUNS_STAND.to_owned(),
        UNDER_WAY.to_owned(),
        ending_sql(false),
        ending_sql(true),
        BUFFERED.to_owned(),
        PAUSES_OVER.to_owned(),
        NEXT_END.to_owned(),
        EXPIRED.to_owned(),
        failing::FIRST.to_owned(),
        failing::RESUMED.to_owned(),
        HALF_UPDATED.to_owned(),
        zones::STALE.to_owned(),
        zones::CHANGES.to_owned(),
        told::OPEN.to_owned(),
        told::ALIKE.to_owned(),
        deliveries::WAITING.to_owned(),
        deliveries::DUE.to_owned(),
        deliveries::NEXT.to_owned(),
        BEHIND.to_owned(),
        PENDING.to_owned(),
        WAITING.to_owned(),
        WAITING_FOR_KEYS.to_owned(),
        GONE.to_owned(),
        STAND.to_owned(),
        LANES.to_owned(),
        READY.to_owned(),
        parked_sql(),
        PARKED.to_owned(),
        UNUSED.to_owned(),
        USED.to_owned(),
        GO.to_owned(),
        NEXT_GO.to_owned(),
        "SELECT nominal_time FROM run WHERE origin = 1 AND job_uid = ? AND state = 6 ORDER BY nominal_time DESC LIMIT 1"
            .into(),
    ];
    statements.extend([lease_sql(), success_sql(), there_sql(), wake_read_sql(), wake_sql()]);
    for fence in [Fence::default(), Fence { namespaces: true, queues: true }] {
        statements.extend([lease_read_sql(fence), success_read_sql(fence)]);
    }
    for size in [64, 16, 4, 1] {
        statements.extend([whole_sql(size), schedule_sql(size), renew_sql(size), instants_sql(size)]);
        let places = places(size);
        statements.push(format!("SELECT {} FROM run WHERE id IN ({places})", columns()));
        statements.extend([unfinished_sql(size), holders_sql(size), claims_sql(size)]);
        statements.extend([unfinished_of_keys_sql(size), key_holders_sql(size), successes_sql(size)]);
        statements.extend([waited_for_sql(size), unpark_sql(size), named_sql(size)]);
        statements.extend([delete_sql(size), had_sql(size)]);
        statements.push(format!("SELECT count(*), min(queue_time) FROM run WHERE ready_lane IN ({places})"));
    }
    statements
}

/// The lines of a plan.
async fn plan<C: ConnectionTrait>(connection: &C, sql: &str) -> Vec<String> {
    let rows = query(connection, format!("EXPLAIN QUERY PLAN {sql}"), Vec::new()).await.unwrap();
    rows.iter().map(|row| Cells::at(row, 3).next().unwrap()).collect()
}

/// Lines of a plan that read a large table from end to end, or all that a job ever did.
async fn scans<C: ConnectionTrait>(connection: &C, sql: &str) -> Vec<String> {
    let lines = plan(connection, sql).await.into_iter();
    lines
        .filter(|line| {
            let scanned = line.strip_prefix("SCAN ").and_then(|rest| rest.split(' ').next());
            // An index that holds only what matters now may be read in its order.
            let whole = scanned.is_some_and(|table| LARGE.contains(&table)) && !line.contains(" USING ");
            whole || line.contains(" run_job ")
        })
        .collect()
}

async fn assert_no_scans(store: &SqliteStore, when: &str) {
    for sql in hot() {
        let found = scans(&store.reads, &sql).await;
        assert!(found.is_empty(), "{when}: {found:?} in {sql}");
    }
}

#[tokio::test]
async fn hot_statements_find_their_rows_by_index() {
    let (store, _home) = store().await;
    assert_no_scans(&store, "empty").await;
    store
        .write(|tx| {
            Box::pin(async move {
                fill(tx).await?;
                Ok(())
            })
        })
        .await
        .unwrap();
    assert_no_scans(&store, "filled").await;
    // Statistics, if somebody makes them, do not change that.
    store.write(|tx| Box::pin(async move { exec(tx, "ANALYZE", Vec::new()).await })).await.unwrap();
    let fresh = open_again(&store).await;
    for sql in hot() {
        let found = scans(&fresh, &sql).await;
        assert!(found.is_empty(), "analyzed: {found:?} in {sql}");
    }
}

/// Some conditions say nothing that another does not say already, and are there for an index that holds few rows of many.
#[tokio::test]
async fn what_is_rare_is_found_by_the_index_that_holds_only_that() {
    let (store, _home) = store().await;
    assert_served(&store.reads, "empty").await;
    store.write(|tx| Box::pin(async move { fill(tx).await })).await.unwrap();
    assert_served(&store.reads, "filled").await;
    store.write(|tx| Box::pin(async move { exec(tx, "ANALYZE", Vec::new()).await })).await.unwrap();
    assert_served(&open_again(&store).await, "analyzed").await;
}

async fn assert_served<C: ConnectionTrait>(connection: &C, when: &str) {
    let served = [
        ("run_wake (wake_time>? AND wake_time<?)", format!("SELECT {} {WAKING}", columns())),
        ("run_wake", NEXT_DUE.to_owned()),
        ("schedule_next", NEXT_DUE.to_owned()),
        ("run_deadline (deadline_time>? AND deadline_time<?)", PAST_DEADLINE.to_owned()),
        ("run_deadline", NEXT_DEADLINE.to_owned()),
        ("run_job_dead (job_uid=? AND end_time>?)", failing::FIRST.to_owned()),
        ("worker_expiry (lease_expire_time<?)", OVER.to_owned()),
        ("run_open (worker_id=? AND id>?)", held_sql()),
        ("run_open (worker_id=?)", open_sql()),
        ("run_unfinished (job_uid=? AND end_time=? AND id>?)", waiting_sql()),
        ("run_unfinished (job_uid=? AND end_time=?)", unfinished_sql(4)),
        ("run_unfinished (job_uid=? AND end_time=?)", OTHERS.to_owned()),
        ("run_key_unfinished (key_id=? AND end_time=?)", OTHERS_OF_KEY.to_owned()),
        ("run_backfill_open (backfill_id=? AND end_time=?)", UNDER_WAY.to_owned()),
        ("run_backfill_open (backfill_id=? AND end_time=? AND id>?)", ending_sql(false)),
        ("run_backfill (backfill_id=?)", RUNS_STAND.to_owned()),
        ("run_backfill (backfill_id=? AND nominal_time=?)", had_sql(4)),
        ("run_instant (job_uid=? AND nominal_time=?)", had_sql(4)),
        ("run_unfinished (job_uid=? AND end_time=?)", holders_sql(4)),
        ("run_key_unfinished (key_id=? AND end_time=?)", unfinished_of_keys_sql(4)),
        ("run_key_unfinished (key_id=? AND end_time=?)", key_holders_sql(4)),
        ("run_buffered_key (slot_key>?)", WAITING_FOR_KEYS.to_owned()),
        ("run_instant (job_uid=?)", successes_sql(4)),
        ("run_instant (job_uid=? AND nominal_time<?)", BEFORE.to_owned()),
        ("run_backfill (backfill_id=? AND nominal_time<?)", BEFORE.to_owned()),
        ("backfill_job (job_uid=?)", BEFORE.to_owned()),
        ("run_buffered (job_uid>?)", BUFFERED.to_owned()),
        ("run_instant (job_uid=? AND nominal_time=?)", instants_sql(1)),
        ("run_instant (job_uid=? AND nominal_time=?)", ledger::runs_sql(4)),
        ("unique_claim_look (look_time<?)", GONE.to_owned()),
        ("unique_claim_look (look_time<?)", STAND.to_owned()),
        ("run_parked (parked_key=?)", LANES.to_owned()),
        ("run_parked (parked_key=? AND lane_id>?)", LANES.to_owned()),
        ("run_parked (parked_key=? AND lane_id=?)", parked_sql()),
        ("run_parked (parked_key=?)", waited_for_sql(4)),
        ("run_parked", PARKED.to_owned()),
        ("run_key (key_id=? AND ready_lane=?)", READY.to_owned()),
        ("run_key (key_id=?)", UNUSED.to_owned()),
        ("limit_key_look (look_time<?)", UNUSED.to_owned()),
        ("limit_key_look (look_time<?)", USED.to_owned()),
        ("limit_key_go (go_time>? AND go_time<?)", GO.to_owned()),
        ("limit_key_go", NEXT_GO.to_owned()),
        ("worker_handler_lane (lane_id=?)", IDLE.to_owned()),
    ];
    for (index, sql) in served {
        let lines = plan(connection, &sql).await;
        let found = lines.iter().any(|line| line.contains(&format!(" INDEX {index}")));
        assert!(found, "{when}: {index} in {lines:?} of {sql}");
    }
}

/// The ring of keys is walked by a seek for each key, and no key is read further than it must.
#[tokio::test]
async fn what_waits_is_found_key_by_key() {
    let (store, _home) = store().await;
    store.write(|tx| Box::pin(async move { fill(tx).await })).await.unwrap();
    store.write(|tx| Box::pin(async move { exec(tx, "ANALYZE", Vec::new()).await })).await.unwrap();
    for connection in [store.reads.connection(), &open_again(&store).await] {
        let mut lines = plan(connection, &level_sql()).await;
        assert!(!lines.iter().any(|line| line.contains("TEMP B-TREE")), "{lines:?}");
        lines.retain(|line| line.contains(" run "));
        let seeks = [
            "ready_lane=? AND priority<?",
            "ready_lane=? AND priority=? AND fairness_key>?",
            "ready_lane=? AND priority=? AND fairness_key=?",
            "ready_lane=? AND priority=?",
        ];
        let seeks = seeks.map(|key| format!("SEARCH run USING COVERING INDEX run_ready ({key})"));
        for line in &lines {
            assert!(seeks.contains(line), "{lines:?}");
        }
        assert!(seeks.iter().all(|seek| lines.contains(seek)), "{lines:?}");
    }
}

/// What a look costs follows from what it asks for: a plan does not show where an aggregate reads on to the end.
#[tokio::test]
async fn a_look_is_no_longer_where_more_waits() {
    let (store, home) = store().await;
    let path = home.path().join("data/mainspring.db");
    let mut connection = SqliteConnection::connect(&format!("sqlite:{}", path.display())).await.unwrap();
    let mut steps = Vec::new();
    for (first, last) in [(1, 1_000), (1_001, 50_000)] {
        let sql = format!(
            "WITH RECURSIVE n(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i < {last}) \
             INSERT INTO run (id, lane_id, state, generation, create_time, ready_lane, priority, fairness_key, due_time, origin, \
             payload_type) SELECT CAST(printf('%016d', i) AS BLOB), 1, 2, 1, 0, 1, i % 10, i % 100, i, 3, '' FROM n"
        );
        store.write(|tx| Box::pin(async move { exec(tx, &sql, Vec::new()).await })).await.unwrap();
        let counted = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&counted);
        let step = move || {
            count.fetch_add(1, Ordering::Relaxed);
            true
        };
        connection.lock_handle().await.unwrap().set_progress_handler(1, step);
        let look = sqlx::query(AssertSqlSafe(level_sql())).bind(1).bind(10).bind("[]").bind(10).bind("[]");
        let row = look.fetch_one(&mut connection).await.unwrap();
        assert!(row.get::<String, _>(0).starts_with("[9,10,1,[["));
        steps.push(counted.load(Ordering::Relaxed));
    }
    let [few, many] = steps[..] else { panic!("{steps:?}") };
    assert!(few > 100 && many <= few * 2, "{steps:?}");
}

/// The statement of a list, as text.
async fn list_sql(store: &SqliteStore, filter: &Filter) -> String {
    let wanted = filter::runs(&store.reads, 1, filter).await.unwrap();
    let select = filter::select("run.id", "run", wanted, &["run.id"], Direction::Down, 51);
    select.to_string(SqliteQueryBuilder)
}

/// What people ask for by itself, among many runs, is found without reading the others and without sorting.
#[tokio::test]
async fn what_is_rare_is_found_by_its_index_in_the_order_of_the_list() {
    let (store, _home) = store().await;
    store.write(|tx| Box::pin(async move { fill(tx).await })).await.unwrap();
    store.write(|tx| Box::pin(async move { exec(tx, "ANALYZE", Vec::new()).await })).await.unwrap();
    let worker = "019ab000-0000-7000-8000-000000000000";
    for (field, text, wanted) in [
        ("reason", "QUEUE_TIMEOUT", "SEARCH run USING COVERING INDEX run_reason (reason=?)"),
        ("job_uid", worker, "SEARCH run USING COVERING INDEX run_job (job_uid=?)"),
        ("at_worker", worker, "SEARCH run USING INDEX run_open (worker_id=?)"),
    ] {
        let sql = list_sql(&store, &Filter::Test { field, op: Op::Equal, value: Value::Text(text.into()) }).await;
        for connection in [store.reads.connection(), &open_again(&store).await] {
            assert_eq!(plan(connection, &sql).await, [wanted], "{sql}");
        }
    }
}

/// What may have been let go of is looked for at the old end of the table alone.
#[tokio::test]
async fn old_runs_of_a_lane_are_found_without_the_young_ones() {
    let (store, _home) = store().await;
    store.write(|tx| Box::pin(async move { fill(tx).await })).await.unwrap();
    assert_eq!(plan(&store.reads, OLD_RUN).await, ["SEARCH run USING PRIMARY KEY (id<?)"]);
}

/// What is told of one instant costs what it answers.
#[tokio::test]
async fn an_instant_is_explained_without_a_look_at_all_runs() {
    let (store, _home) = store().await;
    store.write(|tx| Box::pin(async move { fill(tx).await })).await.unwrap();
    for (sql, key) in [
        (ledger::dropped_sql(3), "SEARCH run USING INDEX run_instant (job_uid=? AND nominal_time=?"),
        (ledger::MET_OF_KEY.into(), "SEARCH run USING INDEX run_key_unfinished (key_id=? AND end_time=?"),
        (ledger::MET_OF_KEY_THEN.into(), "SEARCH run USING PRIMARY KEY (id<?"),
        (ledger::MET.into(), "SEARCH run USING INDEX run_job (job_uid=? AND id<?"),
    ] {
        let found = plan(&store.reads, &sql).await;
        assert!(found.iter().any(|line| line.starts_with(key)), "{sql}: {found:#?}");
        assert!(!found.iter().any(|line| line.starts_with("SCAN run") || line.starts_with("SCAN job")), "{found:#?}");
    }
}

/// A page costs what is on it, wherever it begins.
#[tokio::test]
async fn ledgers_and_logs_are_read_from_where_a_page_begins() {
    let (store, _home) = store().await;
    let ranges = plan(&store.reads, ledger::RANGES).await;
    for (table, key) in [("ledger", "first_time>? AND first_time<?"), ("across", "first_time<?")] {
        let line = format!("SEARCH {table} USING PRIMARY KEY (job_uid=? AND schedule=? AND {key})");
        assert!(ranges.contains(&line), "{ranges:?}");
    }
    assert!(!ranges.iter().any(|line| line.contains("TEMP B-TREE")), "{ranges:?}");
    for line in plan(&store.reads, ledger::NAMED).await.iter().filter(|line| line.contains("ledger")) {
        assert!(line.starts_with("SEARCH ledger USING PRIMARY KEY (job_uid=?"), "{line}");
    }
    for (sql, key) in [
        (batches_sql(false), "(run_id=? AND (attempt,first_offset)>(?,?))"),
        (batches_sql(true), "(run_id=? AND attempt=? AND first_offset>?)"),
    ] {
        let found = plan(&store.logs.reads, &sql).await;
        assert_eq!(found, [format!("SEARCH log_batch USING INDEX log_batch_place {key}")], "{sql}");
    }
    let found = plan(&store.logs.reads, HOLDING).await;
    let key = "(run_id=? AND attempt=? AND first_offset<?)";
    assert!(found.contains(&format!("SEARCH log_batch USING COVERING INDEX log_batch_place {key}")), "{found:?}");
}

/// A connection that reads the statistics that are there now.
async fn open_again(store: &SqliteStore) -> DatabaseConnection {
    let row =
        query(&store.reads, "SELECT file FROM pragma_database_list WHERE name = 'main'", Vec::new()).await.unwrap();
    let path: String = single(&row[0]).unwrap();
    sea_orm::Database::connect(format!("sqlite:{path}")).await.unwrap()
}

/// Twenty thousand runs of every kind; nearly all are of one job, and nearly all of those are over.
pub(super) async fn fill<C: ConnectionTrait>(tx: &C) -> StoreResult<()> {
    for sql in [
        "INSERT INTO queue (id, namespace_id, name) VALUES (1, 1, 'default')",
        "INSERT INTO lane (id, namespace_id, queue_id, job_type, use_time) VALUES (1, 1, 1, 't', 0), (2, 1, 1, 'u', 0)",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) \
         INSERT INTO run (id, lane_id, state, attempt, open_token, worker_id, generation, create_time, end_time, wake_time, \
         ready_lane, dead_time, fingerprint, resolution, priority, fairness_key, due_time, origin, payload_type, job_uid, job_version) \
         SELECT CAST(printf('%016d', i) AS BLOB), 1 + i % 2, 1 + i % 9, 1, CASE WHEN 1 + i % 9 IN (3, 4) THEN 1 END, \
         CAST(printf('%016d', i % 50) AS BLOB), 1, i, CASE WHEN 1 + i % 9 >= 6 THEN i END, \
         CASE WHEN 1 + i % 9 IN (1, 5) THEN i END, CASE WHEN 1 + i % 9 = 2 THEN 1 + i % 2 END, \
         CASE WHEN 1 + i % 9 IN (7, 9) THEN i END, CASE WHEN 1 + i % 9 IN (7, 9) THEN printf('%016d', i % 7) END, \
         CASE WHEN 1 + i % 9 IN (7, 9) THEN 1 END, 5, '', i, 3, '', CASE WHEN 1 + i % 9 >= 6 THEN x'01' END, \
         CASE WHEN 1 + i % 9 >= 6 THEN 1 END FROM n",
    ] {
        exec(tx, sql, Vec::new()).await?;
    }
    Ok(())
}
