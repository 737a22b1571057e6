//! What the conformance suite cannot see from outside: the writer, the plans, upgrades.

use mainspring_engine::ports::store::{StoreError, StoreResult};
use sea_orm::{ConnectionTrait, DatabaseConnection};
use sqlx::{Connection, SqliteConnection};
use tempfile::TempDir;

use super::{
    OpenOptions, SqliteStore, open,
    statement::{exec, query, single},
};

mod guards;
mod patience;
mod plans;
mod sheets;
mod upgrade;
mod writer;

/// A fresh store, and the directory that it goes with.
async fn store() -> (std::sync::Arc<SqliteStore>, TempDir) {
    let home = tempfile::tempdir().unwrap();
    (open(OpenOptions::new(home.path().join("data"))).await.unwrap(), home)
}
