//! Log lines of attempts. A writer of its own: a full or slow log never delays a lease.

use async_trait::async_trait;

use super::StoreResult;
use crate::domain::{
    attempt::AttemptKey,
    ids::RunId,
    instant::Instant,
    log::{Batch, Level, Position, Reach, Stored},
    names::Scope,
};

/// Log lines.
#[async_trait]
pub trait Logs: Send + Sync {
    /// Appends batches; answers, per batch, the offset up to which the attempt's log is complete. What is there already is
    /// dropped by offset; a batch that begins after the end without saying that lines were dropped is refused, by
    /// answering the end. Over the attempt's limits one marker line is kept, and further lines are only counted.
    async fn append(&self, now: Instant, batches: Vec<Batch>) -> StoreResult<Vec<u64>>;

    /// Lines of a run after `after`, by attempt and offset, at least as serious as `level`.
    async fn read(
        &self,
        scope: &Scope,
        run: RunId,
        attempt: Option<i64>,
        after: Option<Position>,
        level: Level,
        limit: usize,
    ) -> StoreResult<Vec<Stored>>;

    /// How far an attempt's log has come; none where nothing of it ever came, or it was deleted. A later `read` finds at
    /// least the lines before that.
    async fn reach(&self, scope: &Scope, key: AttemptKey) -> StoreResult<Option<Reach>>;
}
