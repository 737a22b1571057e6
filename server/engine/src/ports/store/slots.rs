//! Slots of jobs and of concurrency keys: runs that wait for others to be over.

use async_trait::async_trait;

use super::StoreResult;
use crate::domain::{
    ids::JobUid,
    names::{JobName, NamespaceName},
    overlap::Slot,
};

/// The slot of one job, and whose it is.
#[derive(Clone, Debug)]
pub struct JobSlot {
    /// The job.
    pub job: JobUid,
    /// Where it is.
    pub namespace: NamespaceName,
    /// Its name.
    pub name: JobName,
    /// Who waits for it, and who holds it.
    pub slot: Slot,
}

/// The slot of one concurrency key.
#[derive(Clone, Debug)]
pub struct KeySlot {
    /// The key, by its number: what a list goes on after.
    pub key: i32,
    /// Who waits for it, and who holds it.
    pub slot: Slot,
}

/// Reading slots. What is done about them are steps of runs ([`super::Outcomes::apply`]).
#[async_trait]
pub trait Slots: Send + Sync {
    /// The slots that somebody waits for, of jobs after `after`, by job; for about `limit` runs that wait, all those of a
    /// job at once. With whether there are more. Cheap where there are none.
    async fn waited_for(&self, after: Option<JobUid>, limit: usize) -> StoreResult<(Vec<JobSlot>, bool)>;

    /// The same of concurrency keys, after the key of this number. Whoever waits for a key waits for no job, and runs of any
    /// job, and of none, may hold it.
    async fn keys_waited_for(&self, after: Option<i32>, limit: usize) -> StoreResult<(Vec<KeySlot>, bool)>;
}
