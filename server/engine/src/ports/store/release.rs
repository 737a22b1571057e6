//! What waits for a worker, best first.

use async_trait::async_trait;

use super::StoreResult;
use crate::{
    domain::names::{Lane, QueueName, Scope},
    ports::broker::Pointer,
};

/// What a dispatcher needs to know of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    /// Where.
    pub scope: Scope,
    /// Which.
    pub queue: QueueName,
    /// Nothing is released from it.
    pub paused: bool,
    /// How many more may be at workers at once; none where there is no limit.
    pub room: Option<u32>,
}

/// Reading what waits. Nothing here writes: what was released is the dispatcher's memory, and the lease's guard drops
/// what was released twice.
#[async_trait]
pub trait Release: Send + Sync {
    /// The first `limit` QUEUED runs of each lane: priority, then the fairness key that was served longest ago is left to
    /// the caller (runs of one priority come grouped by key), then due time, then id. One answer per lane, in order.
    async fn queued(&self, lanes: &[(Lane, usize)]) -> StoreResult<Vec<Vec<Pointer>>>;

    /// The queues that are paused or limited; all others are open.
    async fn restricted_queues(&self) -> StoreResult<Vec<Queued>>;
}
