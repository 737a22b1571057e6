//! The writer: shared transactions, failures that stay alone, stalls.

use std::task::Poll;

use futures::{future::join_all, poll};

use super::*;

/// Holds the file's write lock, as a checker or a backup may.
struct Stall(SqliteConnection);

impl Stall {
    async fn begin(home: &TempDir) -> Self {
        let path = home.path().join("data/mainspring.db");
        let mut connection = SqliteConnection::connect(&format!("sqlite:{}", path.display())).await.unwrap();
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut connection).await.unwrap();
        Self(connection)
    }

    async fn end(mut self) {
        sqlx::raw_sql("COMMIT").execute(&mut self.0).await.unwrap();
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Batch {
    Works,
    Fails,
    Panics,
}

async fn write(store: &SqliteStore, name: &'static str, batch: Batch) -> StoreResult<()> {
    store
        .write(move |tx| {
            Box::pin(async move {
                exec(tx, "INSERT INTO namespace (name) VALUES (?)", vec![name.into()]).await?;
                match batch {
                    Batch::Works => Ok(()),
                    Batch::Fails => Err(StoreError::Conflict("on purpose".into())),
                    Batch::Panics => panic!("on purpose"),
                }
            })
        })
        .await
}

async fn names(store: &SqliteStore) -> Vec<String> {
    // What is there from the start was not written here.
    let sql = "SELECT name FROM namespace WHERE name <> 'default' ORDER BY name";
    let rows = query(&store.reads, sql, Vec::new()).await.unwrap();
    rows.iter().map(|row| single(row).unwrap()).collect()
}

#[tokio::test]
async fn a_batch_that_fails_takes_only_itself_back() {
    let (store, home) = store().await;
    // Everything after the first batch waits for the file, and then shares one transaction.
    let stall = Stall::begin(&home).await;
    let batches = [
        ("a", Batch::Works),
        ("b", Batch::Fails),
        ("c", Batch::Works),
        ("d", Batch::Works),
        ("e", Batch::Fails),
        ("f", Batch::Panics),
        ("g", Batch::Works),
        ("h", Batch::Fails),
    ];
    let mut writes = Box::pin(join_all(batches.map(|(name, batch)| write(&store, name, batch))));
    assert!(matches!(poll!(&mut writes), Poll::Pending));
    stall.end().await;
    let answers: Vec<_> = writes.await.into_iter().map(|answer| answer.is_ok()).collect();
    assert_eq!(answers, [true, false, true, true, false, false, true, false]);
    assert_eq!(names(&store).await, ["a", "c", "d", "g"]);
    // A batch alone takes itself back all the same; the writer lives on.
    assert!(write(&store, "i", Batch::Panics).await.is_err());
    assert!(write(&store, "j", Batch::Fails).await.is_err());
    assert!(write(&store, "k", Batch::Works).await.is_ok());
    assert_eq!(names(&store).await, ["a", "c", "d", "g", "k"]);
}

#[tokio::test]
async fn nothing_is_answered_before_the_commit() {
    let (store, home) = store().await;
    let stall = Stall::begin(&home).await;
    let mut written = Box::pin(write(&store, "a", Batch::Works));
    for _ in 0..50 {
        assert!(matches!(poll!(&mut written), Poll::Pending));
        tokio::task::yield_now().await;
    }
    assert!(names(&store).await.is_empty(), "readers go on meanwhile");
    stall.end().await;
    written.await.unwrap();
    assert_eq!(names(&store).await, ["a"]);
}

#[tokio::test]
async fn what_a_constraint_refuses_is_corrupt_and_not_tried_again() {
    let (store, _home) = store().await;
    write(&store, "a", Batch::Works).await.unwrap();
    let again = write(&store, "a", Batch::Works).await;
    assert!(matches!(again, Err(StoreError::Corrupt(_))), "{again:?}");
}

#[tokio::test]
async fn what_was_given_before_the_end_is_done() {
    let (store, home) = store().await;
    let stall = Stall::begin(&home).await;
    let mut writes = Box::pin(join_all(["a", "b", "c"].map(|name| write(&store, name, Batch::Works))));
    assert!(matches!(poll!(&mut writes), Poll::Pending));
    let mut end = Box::pin(store.close());
    assert!(matches!(poll!(&mut end), Poll::Pending));
    stall.end().await;
    end.await;
    assert!(writes.await.iter().all(Result::is_ok));
    let late = write(&store, "d", Batch::Works).await;
    assert!(matches!(late, Err(StoreError::Unavailable(_))), "{late:?}");
    drop(store);
    let again = open(OpenOptions::new(home.path().join("data"))).await.unwrap();
    assert_eq!(names(&again).await, ["a", "b", "c"]);
}

#[tokio::test]
async fn the_writer_waits_longer_than_any_stall_worth_surviving() {
    let (store, _home) = store().await;
    let timeout = |connection: DatabaseConnection| async move {
        single::<i64>(&query(&connection, "PRAGMA busy_timeout", Vec::new()).await.unwrap()[0]).unwrap()
    };
    assert!(timeout(store.reads.connection().clone()).await > 15_000);
    let of_writer = store
        .write(|tx| Box::pin(async move { single::<i64>(&query(tx, "PRAGMA busy_timeout", Vec::new()).await?[0]) }))
        .await
        .unwrap();
    assert!(of_writer > 15_000);
}

/// SQLite ends a transaction by itself where the disk is full. What comes later is in the file all the same, for others
/// to see.
#[tokio::test]
async fn a_full_disk_spoils_nothing_that_comes_later() {
    let (store, home) = store().await;
    write(&store, "before", Batch::Works).await.unwrap();
    let full = store
        .write(|tx| {
            Box::pin(async move {
                exec(tx, "PRAGMA max_page_count = 1", Vec::new()).await?;
                let large = "INSERT INTO namespace (name) VALUES (zeroblob(50000000))";
                exec(tx, large, Vec::new()).await
            })
        })
        .await;
    assert!(full.is_err(), "there was room: {full:?}");
    write(&store, "after", Batch::Works).await.unwrap();
    assert!(write(&store, "refused", Batch::Fails).await.is_err());
    write(&store, "at last", Batch::Works).await.unwrap();
    let path = home.path().join("data/mainspring.db");
    let mut other = SqliteConnection::connect(&format!("sqlite:{}", path.display())).await.unwrap();
    let rows: Vec<(String,)> =
        sqlx::query_as("SELECT name FROM namespace ORDER BY id").fetch_all(&mut other).await.unwrap();
    let names: Vec<_> = rows.iter().map(|row| row.0.as_str()).filter(|name| *name != "default").collect();
    assert_eq!(names, ["before", "after", "at last"]);
}
