//! The [`Retention`] role.

use async_trait::async_trait;
use mainspring_engine::{
    domain::instant::Instant,
    ports::store::{Retention, RetentionPolicy, StoreResult, Swept},
};

use super::SqliteStore;

/// Where the round through the runs stands.
#[derive(Debug, Default)]
pub(super) struct Round {}

#[async_trait]
impl Retention for SqliteStore {
    async fn sweep(&self, _now: Instant, _policy: RetentionPolicy, _limit: usize) -> StoreResult<Swept> {
        let _ = &self.round;
        Ok(Swept::default())
    }
}
