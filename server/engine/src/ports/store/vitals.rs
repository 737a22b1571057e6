//! How the store is, for whoever watches a server from outside.

use async_trait::async_trait;

use super::{Obstacle, StoreResult};
use crate::domain::{
    instant::Instant,
    names::{NamespaceName, QueueName},
};

/// What a queue holds now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueLevel {
    /// Where.
    pub namespace: NamespaceName,
    /// Which.
    pub queue: QueueName,
    /// Runs that wait.
    pub depth: u64,
    /// Since when the oldest waits.
    pub oldest: Option<Instant>,
    /// Runs at workers.
    pub in_flight: u64,
}

/// Signs of life.
#[async_trait]
pub trait Vitals: Send + Sync {
    /// Answers when a step that changes nothing has been committed, behind all that waited to be written before: as long as
    /// it does not, nothing that anybody asks for is done. A store that has no room for what is written is not one that
    /// answers: it fails with [`StoreError::Unwritable`](super::StoreError::Unwritable) until there is some.
    async fn answers(&self) -> StoreResult<()>;

    /// Answers at the first write that is refused for want of room, and at once until [`answers`](Self::answers) finds room
    /// again: whoever asks that from time to time need not wait for the next time to know.
    async fn refuses(&self) -> Obstacle;

    /// How many batches wait for the next commit.
    fn waiting_batches(&self) -> usize;

    /// Every queue of every namespace in which a run waits or of which one is at a worker, by name. By indexes alone; costs
    /// what waits, not what there is.
    async fn queue_levels(&self) -> StoreResult<Vec<QueueLevel>>;
}
