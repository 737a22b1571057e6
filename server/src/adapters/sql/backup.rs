//! A consistent copy of the database while it is used.

use std::path::Path;

use mainspring_engine::ports::store::{StoreError, StoreResult};

use super::{SqliteStore, open::copy_to, statement::failed};

impl SqliteStore {
    /// Copies the database, as it is at one moment, to a new file that only this user may read; its size in bytes. Log
    /// lines are not in it. Writers go on meanwhile.
    pub(super) async fn copy(&self, path: &Path) -> StoreResult<u64> {
        copy_to(&self.reads, path).await.map_err(failed)?;
        let file = std::fs::metadata(path);
        file.map(|file| file.len()).map_err(|error| StoreError::Unavailable(format!("{}: {error}", path.display())))
    }
}
