//! People's questions are broken off when they take too long, and nothing else is.

use std::time::Duration;

use mainspring_engine::{
    domain::{
        filter::{Filter, Op, Value},
        names::Scope,
    },
    ports::store::{Direction, Listed, Outcomes, Page, RunView, Views},
};

use super::{plans::fill, *};

/// Twenty thousand runs, and so long for a question.
async fn store_with(patience: Duration) -> (std::sync::Arc<SqliteStore>, TempDir) {
    let home = tempfile::tempdir().unwrap();
    let store = open(OpenOptions { patience, ..OpenOptions::new(home.path().join("data")) }).await.unwrap();
    store.write(|tx| Box::pin(async move { fill(tx).await })).await.unwrap();
    (store, home)
}

/// No run passes, and no index knows: all of them are looked at.
async fn slow(store: &SqliteStore) -> StoreResult<Listed<RunView>> {
    let never = Filter::Test { field: "priority", op: Op::Greater, value: Value::Number(9) };
    let page = Page { after: None, limit: 50, bytes: 1 << 20 };
    store.runs(&Scope::default(), &never, Direction::Down, page, false).await
}

#[tokio::test]
async fn a_question_that_takes_too_long_is_broken_off() {
    let (store, _home) = store_with(Duration::ZERO).await;
    // More often than there are connections: each is good again for what is asked next.
    for _ in 0..6 {
        let answer = slow(&store).await;
        assert!(matches!(answer, Err(StoreError::TooSlow)), "{answer:?}");
        let row = query(&store.reads, "SELECT count(*) FROM queue", Vec::new()).await.unwrap();
        assert_eq!(single::<i64>(&row[0]).unwrap(), 1);
    }
    // What the engine reads and writes has all the time it takes.
    let count = "SELECT count(*) FROM run WHERE priority > 9";
    assert_eq!(single::<i64>(&query(&store.stage_reads, count, Vec::new()).await.unwrap()[0]).unwrap(), 0);
    store.write(move |tx| Box::pin(async move { query(tx, count, Vec::new()).await.map(drop) })).await.unwrap();
    assert_eq!(store.next_deadline().await.unwrap(), None);
}

#[tokio::test]
async fn time_counts_from_the_question_on() {
    let (store, _home) = store_with(Duration::from_secs(3_600)).await;
    for _ in 0..6 {
        assert!(slow(&store).await.unwrap().entries.is_empty());
    }
}
