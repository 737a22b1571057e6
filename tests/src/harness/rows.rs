//! The rows of a server's database, read while it runs: for waiting on everything that is not over, which no call of
//! the API lists without pages. And the lock that keeps the server from writing them.

use std::path::Path;

use anyhow::Result;
use sqlx::{Connection as _, Executor as _, Row as _, SqliteConnection, sqlite::SqliteConnectOptions};
use uuid::Uuid;

use super::host::PATIENCE;

/// The runs that are not over.
pub async fn unfinished(database: &Path) -> Result<Vec<String>> {
    let options = SqliteConnectOptions::new().filename(database).read_only(true);
    let mut db = SqliteConnection::connect_with(&options).await?;
    let rows = sqlx::query("SELECT id FROM run WHERE end_time IS NULL ORDER BY due_time").fetch_all(&mut db).await?;
    let ids = rows.iter().map(|row| Ok(Uuid::from_slice(row.get(0))?.to_string())).collect();
    db.close().await?;
    ids
}

/// The one right to write, held by somebody who does not.
#[derive(Debug)]
pub struct WriteLock(SqliteConnection);

impl WriteLock {
    /// Takes it, between two commits of the server.
    pub async fn take(database: &Path) -> Result<Self> {
        let options = SqliteConnectOptions::new().filename(database).busy_timeout(PATIENCE);
        let mut db = SqliteConnection::connect_with(&options).await?;
        db.execute("BEGIN IMMEDIATE").await?;
        Ok(Self(db))
    }

    /// Gives it back.
    pub async fn release(mut self) -> Result<()> {
        self.0.execute("ROLLBACK").await?;
        self.0.close().await?;
        Ok(())
    }
}
