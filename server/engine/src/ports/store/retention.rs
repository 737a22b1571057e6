//! What may go.

use std::time::Duration;

use async_trait::async_trait;

use super::StoreResult;
use crate::domain::instant::Instant;

/// How long things are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionPolicy {
    /// SUCCEEDED and CANCELLED runs, since their end.
    pub succeeded: Duration,
    /// FAILED and TIMED_OUT runs whose dead letter is no longer open, since their end.
    pub failed: Duration,
    /// Those whose dead letter is open, since their end: nobody has dealt with it, and nobody will.
    pub unresolved: Duration,
    /// Log lines, since they were stored.
    pub logs: Duration,
    /// Ledger ranges, since their last instant.
    pub ledger: Duration,
    /// Jobs that were deleted, since then: so long they can be brought back. Longer where anything is of them.
    pub jobs: Duration,
    /// Request ids.
    pub requests: Duration,
    /// Workers that are LOST or GONE, since they were last heard.
    pub workers: Duration,
    /// What sinks were told, or not, since that came to its end.
    pub deliveries: Duration,
}

impl Default for RetentionPolicy {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        Self {
            succeeded: DAY * 30,
            failed: DAY * 90,
            unresolved: DAY * 365,
            logs: DAY * 14,
            ledger: DAY * 90,
            jobs: DAY * 30,
            requests: DAY,
            workers: DAY * 7,
            deliveries: DAY * 7,
        }
    }
}

/// What one step deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Rows of all kinds.
    pub rows: u64,
    /// There may be more.
    pub more: bool,
}

/// What may go.
#[async_trait]
pub trait Retention: Send + Sync {
    /// Deletes at most `limit` rows of each kind. Beside what is kept for a time, that is what nobody uses any more: job types
    /// that no worker handles, after the time of workers; lanes that no run and no worker is of, after the longest time of
    /// runs, and queues that had no other lane and nothing set. A scheduled run is kept while its nominal time is later than the smallest
    /// cursor of its job's schedules: another schedule of the job may still name the same instant. Runs of a backfill are kept
    /// until it is over, and a backfill is kept as long as any run of it, and as long as runs that succeed.
    async fn sweep(&self, now: Instant, policy: RetentionPolicy, limit: usize) -> StoreResult<Swept>;
}
