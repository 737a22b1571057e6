//! Heartbeats that come, that do not, and that come again: what watchers hear of it, and what it leaves behind.

use std::{collections::BTreeMap, time::Duration};

use mainspring_engine::{
    domain::{attempt::Outcome, event::Detail, ids::WorkerId, worker::WorkerStatus},
    flow::{events::Watch, stream::Room},
};
use mainspring_tests::{
    conformance::world::lane,
    engine::Stage,
    harness::host::{self, PATIENCE},
};
use sqlx::{Connection as _, Row as _, SqliteConnection, sqlite::SqliteConnectOptions};

const SECOND: Duration = Duration::from_secs(1);

/// What is told of a worker, up to this.
async fn told(watch: &mut Watch, worker: WorkerId, last: WorkerStatus) -> Vec<WorkerStatus> {
    let mut told = Vec::new();
    let heard = async {
        while told.last() != Some(&last) {
            let (_, event) = watch.next().await.unwrap();
            match &event.detail {
                Detail::Worker { worker: of, name, status } if *of == worker => {
                    assert_eq!((name.as_str(), event.namespace.clone()), ("w", Some(Default::default())));
                    told.push(*status);
                }
                _ => {}
            }
        }
    };
    host::within(PATIENCE, &format!("a worker to be {last:?}"), heard).await.unwrap();
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_hear_that_a_worker_is_lost_and_that_it_is_back() {
    let stage = Stage::judging().await;
    let mut watch = stage.engine.events().watch(None).unwrap();
    let (id, epoch) = stage.connect(1).await.sever();
    use WorkerStatus::{Connected, Disconnected, Lost};
    assert_eq!(told(&mut watch, id, Disconnected).await, [Connected, Disconnected]);
    stage.pass(stage.rules.lease_ttl + SECOND * 2).await;
    assert_eq!(told(&mut watch, id, Lost).await, [Lost], "once");
    let mut back = stage.connect_as(id, epoch + 1, 1, &[]).await.unwrap();
    assert_eq!(told(&mut watch, id, Connected).await, [Connected]);
    // Another server judges it, whom its heartbeats did not reach; the next one comes here.
    let now = stage.engine.now();
    let judged = stage.engine.store().expire(now, now.plus(SECOND * 3_600), 10).await.unwrap();
    assert_eq!(judged.lost.len(), 1);
    back.renew(&[]).await;
    assert_eq!(told(&mut watch, id, Connected).await, [Connected]);
    let (before, after) = (stage.engine.events().cursor(), back.renew(&[]).await);
    assert_eq!((after.len(), stage.engine.events().cursor()), (0, before), "who was not lost is not back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_answers_nothing_is_told_from_who_is_busy() {
    let stage = Stage::judging().await;
    let room = || stage.engine.room(&lane());
    assert_eq!(room(), Room::default());
    let mut worker = stage.connect(2).await;
    worker.renew(&[]).await;
    assert_eq!(room(), Room { answering: 1, silent: 0, free: 2 });
    stage.submit_one().await;
    stage.submit_one().await;
    worker.dispatch().await;
    worker.dispatch().await;
    assert_eq!(room(), Room { answering: 1, silent: 0, free: 0 }, "it has both, and may still answer");
    // It lives, and says nothing of what it was sent.
    for _ in 0..2 {
        stage.pass(stage.rules.reply_timeout / 2 + SECOND).await;
        worker.renew(&[]).await;
    }
    assert_eq!(room(), Room { answering: 0, silent: 1, free: 0 });
    let key = worker.accepted().await;
    worker.renew(&[key]).await;
    let Room { answering, silent, .. } = room();
    assert_eq!((answering, silent), (1, 0));
}

/// How many rows each table has.
async fn rows(stage: &Stage) -> BTreeMap<String, i64> {
    let options = SqliteConnectOptions::new().filename(stage.database()).read_only(true);
    let mut db = SqliteConnection::connect_with(&options).await.unwrap();
    let tables = sqlx::query("SELECT name FROM sqlite_master WHERE type = 'table'").fetch_all(&mut db).await.unwrap();
    let mut rows = BTreeMap::new();
    for table in tables {
        let table: String = table.get(0);
        let count = format!("SELECT count(*) FROM \"{table}\"");
        let count = sqlx::query(sqlx::AssertSqlSafe(count)).fetch_one(&mut db).await.unwrap();
        rows.insert(table, count.get(0));
    }
    db.close().await.unwrap();
    rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_heartbeats_leave_nothing_behind() {
    let stage = Stage::judging().await;
    let mut worker = stage.connect(2).await;
    stage.submit_one().await;
    let done = worker.accepted().await;
    worker.reported(done, Outcome::Succeeded).await;
    stage.submit_one().await;
    let held = worker.accepted().await;
    for _ in 0..10 {
        stage.pass(SECOND).await;
        worker.renew(&[held]).await;
    }
    // Whatever an engine keeps in memory shows in what it prints: sessions, what they hold, events, boards, timers.
    let kept = || format!("{:?}", stage.engine).len();
    let (kept_before, rows_before) = (kept(), rows(&stage).await);
    for _ in 0..1_000 {
        stage.pass(SECOND / 100).await;
        assert_eq!(worker.renew(&[held]).await, []);
    }
    stage.pass(SECOND).await;
    assert_eq!(rows(&stage).await, rows_before);
    let kept_after = kept();
    assert!(kept_after < kept_before + 1_000, "{kept_before} bytes became {kept_after}");
}
