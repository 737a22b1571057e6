//! The store's contract on a real SQLite in a directory of its own.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

use std::num::NonZeroU32;

use async_trait::async_trait;
use mainspring_engine::{
    domain::{
        instant::Instant,
        limit::{Concurrency, Pace},
        rate::Rate,
        rules::LeaseRules,
        run::RunState,
        worker::{Drain, WorkerStatus},
    },
    ports::store::{NewRun, Owner},
};
use mainspring_server::adapters::sql::{OpenOptions, open};
use mainspring_tests::conformance::world::{Family, Opened, World, lane, secs, spec};
use sqlx::{Connection as _, SqliteConnection};

/// The embedded family.
#[derive(Debug)]
struct Sqlite;

#[async_trait]
impl Family for Sqlite {
    async fn fresh(&self, rules: LeaseRules) -> Opened {
        let home = tempfile::tempdir().unwrap();
        let options = OpenOptions { rules, ..OpenOptions::new(home.path().join("data")) };
        Opened { store: open(options).await.unwrap(), home: Box::new(home) }
    }
}

mainspring_tests::conformance!(Sqlite);

#[tokio::test]
async fn workers_are_away_until_they_say_hello_to_the_next_server() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let store = open(OpenOptions::new(&data)).await.unwrap();
    let mut world = World::over(store.clone(), Instant::EPOCH.plus(secs(1_000_000_000)), Box::new(()));
    let (one, drained, gone) = (world.connect().await, world.connect().await, world.connect().await);
    let key = world.leased(one).await;
    world.store.drain_worker(world.now, &world.scope, drained.worker, Drain::Quiesce).await.unwrap();
    world.store.set_status(world.now, gone, WorkerStatus::Gone).await.unwrap();
    let before = world.store.worker(&world.scope, one.worker).await.unwrap().unwrap();
    world.store = open(OpenOptions::new(home.path().join("other"))).await.unwrap();
    store.close().await;
    drop(store);

    world.store = open(OpenOptions::new(&data)).await.unwrap();
    let view =
        async |world: &World, owner: Owner| world.store.worker(&world.scope, owner.worker).await.unwrap().unwrap();
    let away = view(&world, one).await;
    assert_eq!((away.status, away.server), (WorkerStatus::Disconnected, None));
    assert_eq!(away.lease_expire_time, before.lease_expire_time, "its lease is what it was");
    assert_eq!(view(&world, drained).await.status, WorkerStatus::Disconnected);
    assert_eq!(view(&world, gone).await.status, WorkerStatus::Gone);
    let life = world.store.run(&world.scope, key.run).await.unwrap().unwrap().life;
    assert_eq!((life.state, life.open, life.worker), (RunState::Leased, Some(1), Some(one.worker)));
    world.reconnect(one.worker, 2, &[key]).await;
    assert_eq!(view(&world, one).await.status, WorkerStatus::Connected);
    world.reconnect(drained.worker, 2, &[]).await;
    assert_eq!(view(&world, drained).await.status, WorkerStatus::Draining, "it is still asked to leave");
}

#[tokio::test]
async fn a_rate_is_kept_from_one_server_to_the_next() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let store = open(OpenOptions::new(&data)).await.unwrap();
    let mut world = World::over(store.clone(), Instant::EPOCH.plus(secs(1_000_000_000)), Box::new(()));
    let number = |number| NonZeroU32::new(number).unwrap();
    let pace = Pace::At(Rate { count: number(1), per: secs(60), burst: number(2) });
    let concurrency = Some(Concurrency { key: "api".parse().unwrap(), limit: None, pace });
    let new = |world: &World| NewRun { concurrency: concurrency.clone(), ..world.new_run() };
    let runs = world.submit((0..4).map(|_| new(&world)).collect()).await;
    let owner = world.connect().await;
    for _ in 0..2 {
        let next = world.queued(&lane()).await.remove(0);
        world.lease(owner, next).await;
        world.pass(secs(1));
    }
    world.store = open(OpenOptions::new(home.path().join("other"))).await.unwrap();
    store.close().await;
    drop(store);

    world.store = open(OpenOptions::new(&data)).await.unwrap();
    let due = world.now.plus(secs(58));
    let early = world.store.pace(world.now, 10).await.unwrap();
    assert_eq!((early.moved, early.next), (vec![], Some(due)));
    world.submit(vec![new(&world)]).await;
    assert_eq!(world.queued(&lane()).await, []);
    world.now = due;
    let late = world.store.pace(world.now, 10).await.unwrap();
    assert_eq!((late.moved[0].run, late.moved.len(), late.next), (runs[2].run, 1, None));
}

/// A version that a transaction read of itself may be rolled back, and its number be given to another definition.
#[tokio::test]
async fn a_definition_is_remembered_by_its_text() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let store = open(OpenOptions::new(&data)).await.unwrap();
    let world = World::over(store, Instant::EPOCH.plus(secs(1_000_000_000)), Box::new(()));
    world.create("report", spec(Vec::new())).await;
    assert_eq!(world.job("report").await.unwrap().spec.payload.data, b"{\"a\":1}");
    let file = format!("sqlite:{}", data.join("mainspring.db").display());
    let mut other = SqliteConnection::connect(&file).await.unwrap();
    sqlx::raw_sql("UPDATE job_version SET payload = CAST('{\"a\":2}' AS BLOB)").execute(&mut other).await.unwrap();
    assert_eq!(world.job("report").await.unwrap().spec.payload.data, b"{\"a\":2}");
}
