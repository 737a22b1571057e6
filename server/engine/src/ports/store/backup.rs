//! A copy of the database, beside everything else that goes on.

use std::path::Path;

use async_trait::async_trait;

/// How far a copy is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackupProgress {
    /// Pages written so far.
    pub copied_pages: u64,
    /// Pages there are to write, about.
    pub total_pages: u64,
}

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The family's database has tools of its own.
    #[error("the database is not embedded; use its own tools")]
    Unsupported,
    /// A copy never overwrites anything.
    #[error("the file exists")]
    FileExists,
    /// The file cannot be made or written.
    #[error("{0}")]
    File(String),
    /// The database cannot be read.
    #[error(transparent)]
    Store(#[from] super::StoreError),
}

/// Copies of the database.
#[async_trait]
pub trait Backup: Send + Sync {
    /// Writes a consistent copy of the database, as it is at one moment, to a new file that only this user may read; its
    /// size in bytes. `tell` is called with growing progress from within. Writers go on meanwhile. A future that is dropped
    /// stops the copy, and whatever ends it early removes the unfinished file.
    async fn backup(&self, path: &Path, tell: &(dyn Fn(BackupProgress) + Send + Sync)) -> Result<u64, BackupError>;
}
