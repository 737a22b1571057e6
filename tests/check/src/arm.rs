//! Triggers that watch what no later look at the rows can show: a terminal row that changed, a row that went, a token
//! that did not grow by one.
//!
//! The test adds them to the server's database while it runs. They belong to the checker: they stay when the server is
//! killed, they write in the very transaction they watch, and no code of the server knows of them.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use sqlx::{Connection as _, Executor as _, SqliteConnection, sqlite::SqliteConnectOptions};

/// How many triggers make up the watch.
pub(crate) const TRIGGERS: i64 = 3;

/// An adoption or a batch may touch a row without changing it; what counts is what a reader could see.
const WATCH: &str = "
CREATE TABLE IF NOT EXISTS check_witness (
    seq INTEGER PRIMARY KEY,
    what TEXT NOT NULL,
    run BLOB NOT NULL,
    before TEXT NOT NULL,
    after TEXT NOT NULL
);
CREATE TRIGGER IF NOT EXISTS check_terminal AFTER UPDATE ON run
WHEN OLD.state IN (6, 7, 8, 9) AND (
    NEW.state IS NOT OLD.state OR NEW.attempt IS NOT OLD.attempt OR NEW.decided_token IS NOT OLD.decided_token
    OR NEW.open_token IS NOT OLD.open_token OR NEW.end_time IS NOT OLD.end_time OR NEW.reason IS NOT OLD.reason
    OR NEW.failures IS NOT OLD.failures OR NEW.losses IS NOT OLD.losses OR NEW.returns IS NOT OLD.returns
    OR NEW.output IS NOT OLD.output OR NEW.worker_id IS NOT OLD.worker_id
)
BEGIN
    INSERT INTO check_witness (what, run, before, after) VALUES (
        'TERMINAL', OLD.id,
        json_array(OLD.state, OLD.attempt, OLD.decided_token, OLD.end_time, OLD.reason),
        json_array(NEW.state, NEW.attempt, NEW.decided_token, NEW.end_time, NEW.reason)
    );
END;
CREATE TRIGGER IF NOT EXISTS check_deleted AFTER DELETE ON run
BEGIN
    INSERT INTO check_witness (what, run, before, after)
    VALUES ('DELETED', OLD.id, json_array(OLD.state, OLD.attempt), '[]');
END;
CREATE TRIGGER IF NOT EXISTS check_token AFTER UPDATE OF attempt ON run
WHEN NEW.attempt NOT IN (OLD.attempt, OLD.attempt + 1)
BEGIN
    INSERT INTO check_witness (what, run, before, after)
    VALUES ('TOKEN', OLD.id, json_array(OLD.state, OLD.attempt), json_array(NEW.state, NEW.attempt));
END;
";

/// Adds the triggers; twice does no harm.
pub(crate) async fn arm(path: &Path) -> Result<()> {
    ensure!(path.is_file(), "there is no database at {}", path.display());
    // A busy server holds the write lock again and again, for a moment each.
    let patience = std::time::Duration::from_secs(30);
    let options = SqliteConnectOptions::new().filename(path).busy_timeout(patience);
    let mut db =
        SqliteConnection::connect_with(&options).await.with_context(|| format!("cannot open {}", path.display()))?;
    db.execute("BEGIN IMMEDIATE").await?;
    db.execute(WATCH).await.context("the schema of run is not the one the checker knows")?;
    db.execute("COMMIT").await?;
    db.close().await?;
    Ok(())
}
