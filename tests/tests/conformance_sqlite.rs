//! The store's contract on a real SQLite in a directory of its own.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

use async_trait::async_trait;
use mainspring_engine::domain::{instant::Instant, rules::LeaseRules};
use mainspring_server::adapters::sql::{OpenOptions, open};
use mainspring_tests::conformance::world::{Family, Opened, World, secs, spec};
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
