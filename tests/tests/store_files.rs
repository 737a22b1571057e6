//! The data directory of the embedded family: rights, the lock, crashes, backups.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    sync::Arc,
};

use mainspring_engine::{
    domain::{
        attempt::AttemptKey,
        ids::RunId,
        instant::Instant,
        log::{Batch, Level, Line},
        names::Scope,
    },
    ports::store::{Backup as _, Logs, StoreError, Views},
};
use mainspring_server::adapters::sql::{OpenError, OpenOptions, SqliteStore, open};
use mainspring_tests::conformance::world::World;
use sqlx::{ConnectOptions as _, Connection as _, sqlite::SqliteConnectOptions};

async fn at(path: &Path) -> Arc<SqliteStore> {
    open(OpenOptions::new(path)).await.unwrap()
}

fn world(store: &Arc<SqliteStore>) -> World {
    World::over(Arc::clone(store) as _, Instant::from_micros(1_800_000_000_000_000), Box::new(()))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn only_the_owner_may_read_the_files() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("deep/data");
    let store = at(&data).await;
    world(&store).submit_one().await;
    assert_eq!(mode(&data), 0o700);
    let mut names = Vec::new();
    for entry in fs::read_dir(&data).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        names.push(path.file_name().unwrap().to_string_lossy().into_owned());
    }
    names.sort();
    for name in ["logs.db", "mainspring.db", "mainspring.db-shm", "mainspring.db-wal", "mainspring.lock"] {
        assert!(names.iter().any(|there| there == name), "{name} among {names:?}");
    }
}

#[tokio::test]
async fn a_second_server_is_refused_until_the_first_is_gone() {
    let home = tempfile::tempdir().unwrap();
    let store = at(home.path()).await;
    let refused = open(OpenOptions::new(home.path())).await.unwrap_err();
    assert!(matches!(refused, OpenError::Locked { .. }), "{refused:?}");
    assert!(refused.to_string().contains("another server uses"), "{refused}");
    store.close().await;
    drop(store);
    at(home.path()).await;
}

/// People remove lock files that look stale, and data moves behind links.
#[tokio::test]
async fn a_second_server_is_refused_however_it_comes_to_the_database() {
    let home = tempfile::tempdir().unwrap();
    let at_home = |name: &str| home.path().join(name);
    let store = at(&at_home("first")).await;
    let database = at_home("first").join("mainspring.db");
    for name in ["symbolic", "hard"] {
        fs::create_dir(at_home(name)).unwrap();
        let link = at_home(name).join("mainspring.db");
        if name == "hard" { fs::hard_link(&database, link) } else { symlink(&database, link) }.unwrap();
        let refused = open(OpenOptions::new(at_home(name))).await.unwrap_err();
        assert!(matches!(refused, OpenError::Locked { .. }), "{name}: {refused:?}");
    }
    fs::remove_file(at_home("first").join("mainspring.lock")).unwrap();
    let refused = open(OpenOptions::new(at_home("first"))).await.unwrap_err();
    assert!(matches!(refused, OpenError::Locked { .. }), "{refused:?}");
    store.close().await;
}

#[tokio::test]
async fn a_path_that_cannot_be_a_directory_is_told() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("file");
    fs::write(&file, "x").unwrap();
    let refused = open(OpenOptions::new(file.join("data"))).await.unwrap_err();
    assert!(matches!(refused, OpenError::Files { .. }), "{refused:?}");
    let refused = open(OpenOptions::new(&file)).await.unwrap_err();
    assert!(refused.to_string().contains("choose another data directory"), "{refused}");
    for nowhere in [file.clone(), file.join("data"), "/dev/null".into()] {
        let refused = open(OpenOptions::new(&nowhere)).await.unwrap_err().to_string();
        let told = format!("cannot use {}: it is no directory", nowhere.display());
        assert!(refused.starts_with(&told) && !refused.contains("right to read"), "{refused}");
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_told() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("mainspring.db"), "this is no database, but it is long enough to be read as one")
        .unwrap();
    let refused = open(OpenOptions::new(home.path())).await.unwrap_err();
    assert!(matches!(refused, OpenError::Damaged { .. }), "{refused:?}");
    assert!(refused.to_string().contains("restore a backup"), "{refused}");
}

#[tokio::test]
async fn what_was_answered_survives_the_end_of_the_process() {
    let home = tempfile::tempdir().unwrap();
    let store = at(&home.path().join("data")).await;
    let w = world(&store);
    let owner = w.connect().await;
    let key = w.leased(owner).await;
    // What the disk holds now is what a process that is killed now leaves behind.
    let left = home.path().join("left");
    fs::create_dir(&left).unwrap();
    for name in ["mainspring.db", "mainspring.db-wal"] {
        fs::copy(home.path().join("data").join(name), left.join(name)).unwrap();
    }
    let found = at(&left).await;
    let run = found.run(&w.scope, key.run).await.unwrap().unwrap();
    assert_eq!((run.life.open, run.life.worker), (Some(1), Some(owner.worker)));
}

/// What a killed server leaves is in its log for the most part, and SQLite believes the log of any file.
#[tokio::test]
async fn a_log_is_not_taken_for_that_of_another_file() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let store = at(&data).await;
    let w = world(&store);
    let run = w.submit_one().await.run;
    let copy = home.path().join("copy.db");
    store.backup(&copy, &|_| {}).await.unwrap();
    for (name, other) in [("missing", None), ("empty", Some(Vec::new())), ("replaced", Some(fs::read(&copy).unwrap()))]
    {
        let left = home.path().join(name);
        fs::create_dir(&left).unwrap();
        let (database, log) = (left.join("mainspring.db"), left.join("mainspring.db-wal"));
        fs::copy(data.join("mainspring.db-wal"), &log).unwrap();
        if let Some(other) = other {
            fs::write(&database, other).unwrap();
        }
        let before = fs::read(&log).unwrap();
        for _ in 0..2 {
            let refused = open(OpenOptions::new(&left)).await.unwrap_err();
            assert!(matches!(refused, OpenError::OtherLog { .. }), "{name}: {refused:?}");
            assert!(refused.to_string().contains("put that file back"), "{name}: {refused}");
        }
        assert_eq!(fs::read(&log).unwrap(), before, "{name}");
        fs::copy(data.join("mainspring.db"), &database).unwrap();
        assert!(at(&left).await.run(&w.scope, run).await.unwrap().is_some(), "{name}");
    }
    // A backup by itself has no log.
    let restored = home.path().join("restored");
    fs::create_dir(&restored).unwrap();
    fs::copy(&copy, restored.join("mainspring.db")).unwrap();
    assert!(at(&restored).await.run(&w.scope, run).await.unwrap().is_some());
}

#[tokio::test]
async fn a_database_of_another_program_is_left_alone() {
    let home = tempfile::tempdir().unwrap();
    let theirs = home.path().join("mainspring.db");
    let options = SqliteConnectOptions::new().filename(&theirs).create_if_missing(true);
    let mut connection = options.connect().await.unwrap();
    sqlx::query("CREATE TABLE theirs (a TEXT)").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let refused = open(OpenOptions::new(home.path())).await.unwrap_err();
    assert!(matches!(refused, OpenError::Foreign { .. }), "{refused:?}");
    let mut connection = SqliteConnectOptions::new().filename(&theirs).connect().await.unwrap();
    let tables: Vec<String> =
        sqlx::query_scalar("SELECT name FROM sqlite_master").fetch_all(&mut connection).await.unwrap();
    assert_eq!(tables, ["theirs"]);
}

#[tokio::test]
async fn a_store_opens_again_where_it_was() {
    let home = tempfile::tempdir().unwrap();
    let store = at(home.path()).await;
    let run = world(&store).submit_one().await.run;
    store.close().await;
    drop(store);
    let again = at(home.path()).await;
    let w = world(&again);
    assert!(again.run(&w.scope, run).await.unwrap().is_some());
    // Numbers of lanes are read, not given out again.
    let owner = w.connect().await;
    w.leased(owner).await;
}

#[tokio::test]
async fn a_closed_store_is_whole_in_its_files() {
    let home = tempfile::tempdir().unwrap();
    let store = at(home.path()).await;
    let w = world(&store);
    let run = w.submit_one().await.run;
    // Both files have been read, over connections of their own.
    store.run(&w.scope, run).await.unwrap().unwrap();
    store.read(&w.scope, run, None, None, Level::Info, 1).await.unwrap();
    store.close().await;
    let mut left: Vec<_> = fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["logs.db", "mainspring.db", "mainspring.lock"]);
    // Calls that come too late are told so, and open nothing again.
    assert!(matches!(store.run(&w.scope, run).await, Err(StoreError::Unavailable(_))));
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 3);
}

fn line(w: &World, run: RunId) -> Batch {
    let line = Line { time: w.now, level: Level::Info, message: "x".into(), fields: Default::default() };
    Batch { key: AttemptKey { run, attempt: 1 }, first_offset: 0, lines: vec![line], dropped: 0 }
}

async fn logged(store: &SqliteStore, run: RunId) -> usize {
    store.read(&Scope::default(), run, None, None, Level::Debug, 10).await.unwrap().len()
}

#[tokio::test]
async fn a_backup_is_a_database_of_one_moment() {
    let home = tempfile::tempdir().unwrap();
    let store = at(&home.path().join("data")).await;
    let w = world(&store);
    let run = w.submit_one().await.run;
    store.append(w.now, vec![line(&w, run)]).await.unwrap();
    let copy = home.path().join("restored");
    fs::create_dir(&copy).unwrap();
    let path = copy.join("mainspring.db");
    store.backup(&path, &|_| {}).await.unwrap();
    let later = w.submit_one().await.run;
    let restored = at(&copy).await;
    assert!(restored.run(&w.scope, run).await.unwrap().is_some());
    assert!(restored.run(&w.scope, later).await.unwrap().is_none());
    // Log lines have a file of their own, which is begun anew.
    assert_eq!(logged(&store, run).await, 1);
    assert_eq!(logged(&restored, run).await, 0);
    let there = world(&restored);
    there.store.append(w.now, vec![line(&w, run)]).await.unwrap();
    assert_eq!((logged(&store, run).await, logged(&restored, run).await), (1, 1));
}
