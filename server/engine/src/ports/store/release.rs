//! What waits for a worker, best first.

use async_trait::async_trait;

use super::StoreResult;
use crate::{
    domain::{
        names::{FairnessKey, Lane, NamespaceName, QueueName, Scope},
        place::Place,
        rate::Rate,
    },
    ports::broker::Pointer,
};

/// A run that waits for a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Which, and of which stay.
    pub pointer: Pointer,
    /// Where.
    pub place: Place,
}

/// How far the keys of a priority have taken turns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Of this priority.
    pub priority: u8,
    /// The key whose turn was last.
    pub last: FairnessKey,
}

/// What is asked of a lane.
#[derive(Clone, Debug)]
pub struct Look {
    /// Which.
    pub lane: Lane,
    /// So many at most.
    pub limit: usize,
    /// Whose turn was last, by priority. One that is not here begins its round anew.
    pub turns: Vec<Turn>,
    /// What the caller knows already; passed over.
    pub known: Vec<Pointer>,
}

/// The best that wait in a lane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// In the order of release, without a gap.
    pub runs: Vec<Waiting>,
    /// Others may wait behind them.
    pub more: bool,
}

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
    /// How fast its runs are released; none where that is not limited.
    pub rate: Option<Rate>,
}

/// Reading what waits. Nothing here writes: what was released is the dispatcher's memory, and the lease's guard drops
/// what was released twice.
#[async_trait]
pub trait Release: Send + Sync {
    /// The first QUEUED runs of each lane, in the order in which they are to be released. The highest priority first. Inside a
    /// priority, rounds: each takes of every fairness key that has a run left the one that is due first, then by id; and goes
    /// through the keys in the order of their bytes, the first round from behind the key whose turn was last, round to that
    /// key. One answer per look, in order. It may hold fewer than were asked for though more wait, but none only where
    /// none waits; what it costs follows from what is asked for, not from what waits.
    async fn queued(&self, looks: &[Look]) -> StoreResult<Vec<Head>>;

    /// The lanes of a namespace that ask for labels: whoever has them is to take their work.
    async fn selective(&self, namespace: &NamespaceName) -> StoreResult<Vec<Lane>>;

    /// The queues that are paused or limited, by number or by rate; all others are open.
    async fn restricted_queues(&self) -> StoreResult<Vec<Queued>>;
}
