//! How attempts and runs end, and every step that is not on the hot path.

use async_trait::async_trait;

use super::{Moved, Owner, StoreResult};
use crate::domain::{
    attempt::{AttemptKey, Outcome},
    ids::{JobUid, RunId},
    instant::Instant,
    names::Scope,
    payload::Payload,
    transition::{Event, Refusal},
};

/// What a worker says an attempt came to.
#[derive(Clone, Debug)]
pub struct Report {
    /// The namespace the worker's credential serves; a run of another one does not exist for it.
    pub scope: Scope,
    /// Which attempt.
    pub key: AttemptKey,
    /// What it came to.
    pub outcome: Outcome,
    /// What the handler returned.
    pub output: Option<Payload>,
    /// When user code started, by the worker.
    pub start_time: Option<Instant>,
    /// How many log lines the attempt wrote, those included that were dropped; none where the worker does not say.
    pub log_lines: Option<u64>,
}

impl Report {
    /// About how many bytes the worker's own data in it take.
    pub fn weight(&self) -> usize {
        let output = self.output.as_ref().map_or(0, |output| output.data.len());
        let failure = match &self.outcome {
            Outcome::Failed(failure) => failure.weight(),
            Outcome::Succeeded | Outcome::Cancelled | Outcome::Interrupted => 0,
        };
        output + failure
    }
}

/// What became of it.
#[derive(Clone, Debug)]
pub enum ReportAnswer {
    /// It decided the attempt.
    Applied(Box<Moved>),
    /// It had been applied before.
    Duplicate,
    /// The attempt no longer counted; nothing changed.
    Fenced,
}

/// One event for one run.
#[derive(Clone, Debug)]
pub struct Apply {
    /// Which run.
    pub run: RunId,
    /// What happened.
    pub event: Event,
    /// Only while this session owns the worker.
    pub owner: Option<Owner>,
    /// Only if the run is in this namespace.
    pub scope: Option<Scope>,
}

/// What became of it.
#[derive(Clone, Debug)]
pub enum Applied {
    /// The run changed.
    Changed(Box<Moved>),
    /// The table refused; nothing changed.
    Refused(Refusal),
    /// The session no longer owns the worker; nothing changed.
    OwnerGone,
    /// There is no such run here.
    Missing,
}

/// Ends and other steps.
#[async_trait]
pub trait Outcomes: Send + Sync {
    /// Applies results as `Event::Report`, one answer each, in order.
    async fn report(&self, now: Instant, reports: Vec<Report>) -> StoreResult<Vec<ReportAnswer>>;

    /// Applies any events by the transition table, one answer each, in order. Two events for one run in one batch apply
    /// one after the other.
    async fn apply(&self, now: Instant, steps: Vec<Apply>) -> StoreResult<Vec<Applied>>;

    /// Runs whose `Lifecycle::deadline` lies at or before `now`, earliest first.
    async fn past_deadline(&self, now: Instant, limit: usize) -> StoreResult<Vec<RunId>>;

    /// The earliest deadline of any run.
    async fn next_deadline(&self) -> StoreResult<Option<Instant>>;

    /// Ends runs of a deleted job that wait, as `Event::JobDeleted`, and asks those at workers to stop where its delete says
    /// so; with whether there are more. Where there are not, the delete is done. One that cannot be read stays, and is no
    /// reason for more.
    async fn cancel_waiting(&self, now: Instant, job: JobUid, limit: usize) -> StoreResult<(Vec<Moved>, bool)>;

    /// Ends runs of a job that wait, as `Event::Cancel`, and asks those at workers to stop where that is wanted; but for those
    /// of backfills. With whether there are more.
    async fn cancel_paused(
        &self,
        now: Instant,
        job: JobUid,
        workers: bool,
        limit: usize,
    ) -> StoreResult<(Vec<Moved>, bool)>;

    /// Jobs that were deleted before `before` and whose delete is not done. Cheap where there are none.
    async fn half_deleted(&self, before: Instant, limit: usize) -> StoreResult<Vec<JobUid>>;
}
