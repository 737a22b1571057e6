//! Concurrency keys whose rate lets nobody go before an instant.

use async_trait::async_trait;

use super::{Moved, StoreResult};
use crate::domain::instant::Instant;

/// What a look at such keys came to.
#[derive(Clone, Debug, Default)]
pub struct Paced {
    /// Runs that were parked and wait in their lanes from now on.
    pub moved: Vec<Moved>,
    /// When the next of any key may go; none where only other steps make room.
    pub next: Option<Instant>,
}

/// Room that comes back to keys by itself. All other room is given out by the step that makes it.
#[async_trait]
pub trait Paces: Send + Sync {
    /// Lets go runs of the keys of which the next may go by `now`, of at most `limit` keys. Costs nothing as long as no
    /// key is one of those.
    async fn pace(&self, now: Instant, limit: usize) -> StoreResult<Paced>;

    /// Answers once a step of this server has made a key one that is to be looked at, or earlier than before; at once where
    /// it has since the last answer. A hint: it may come for nothing, and not for steps of other servers.
    async fn pace_changed(&self);
}
