//! Backfills: runs that are made of instants that have passed.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;

use super::{Moved, RequestKey, StoreResult};
use crate::domain::{
    backfill::{Backfill, BackfillSpec, Had, Named},
    ids::{BackfillId, JobUid, RunId},
    instant::Instant,
    job::JobSpec,
    names::Scope,
};

/// A backfill to be begun.
#[derive(Clone, Debug)]
pub struct NewBackfill {
    /// Where.
    pub scope: Scope,
    /// Its identity, if it is begun.
    pub id: BackfillId,
    /// The job.
    pub job: JobUid,
    /// The version of its definition that the runs are made by.
    pub version: i64,
    /// What is asked for, valid.
    pub spec: BackfillSpec,
    /// The caller's protection against repeats.
    pub request: Option<RequestKey>,
}

/// What became of it.
#[derive(Clone, Debug)]
pub enum CreateBackfill {
    /// It is there, and has made nothing yet.
    Created(Box<Backfill>),
    /// The same request had begun it before; as it is now.
    Replayed(Box<Backfill>),
    /// The request id was used with another body.
    RequestReused,
    /// The job was deleted in the meantime.
    JobGone,
    /// As many are under way in the namespace as may be.
    Full,
}

/// A backfill that is not over, and what it goes on with.
#[derive(Clone, Debug)]
pub struct OpenBackfill {
    /// As it is.
    pub backfill: Backfill,
    /// The definition that it makes runs by; none where it cannot be read.
    pub definition: Option<Arc<JobSpec>>,
    /// Its job is paused.
    pub is_paused: bool,
}

/// The next instants of a backfill.
#[derive(Clone, Debug)]
pub struct BackfillStep {
    /// As it was read.
    pub open: OpenBackfill,
    /// What comes behind its cursor, in its order.
    pub instants: Vec<Named>,
    /// Nothing comes behind those.
    pub all: bool,
    /// One for each instant.
    pub run_ids: Vec<RunId>,
}

/// What became of a step.
#[derive(Clone, Debug)]
pub enum Advanced {
    /// It is done.
    Done {
        /// The runs it made.
        runs: Vec<Moved>,
        /// The backfill has more to do, and nothing to wait for.
        again: bool,
        /// It is over by this step.
        over: bool,
    },
    /// The backfill has moved since it was read, or is there no more; nothing was done.
    Overtaken,
}

/// Runs of a backfill that was cancelled, as they were ended.
#[derive(Clone, Debug)]
pub struct EndedRuns {
    /// The runs.
    pub runs: Vec<Moved>,
    /// There are more to be ended now.
    pub more: bool,
    /// The backfill is over by this step.
    pub over: bool,
}

/// How a backfill is cancelled.
#[derive(Clone, Debug)]
pub struct CancelBackfill {
    /// Why, in the caller's words.
    pub note: String,
    /// What is at workers is asked to stop.
    pub workers: bool,
}

/// Backfills.
#[async_trait]
pub trait Backfills: Send + Sync {
    /// Begins a backfill.
    async fn create_backfill(&self, now: Instant, backfill: NewBackfill) -> StoreResult<CreateBackfill>;

    /// One backfill.
    async fn backfill(&self, scope: &Scope, id: BackfillId) -> StoreResult<Option<Backfill>>;

    /// Backfills before one, of all jobs or of one, the newest first.
    async fn backfills(
        &self,
        scope: &Scope,
        job: Option<JobUid>,
        before: Option<BackfillId>,
        limit: usize,
    ) -> StoreResult<Vec<Backfill>>;

    /// The runs that instants of a job have already, by its schedules or by backfills of it; those without are not there.
    async fn had_runs(&self, job: JobUid, instants: &[Instant]) -> StoreResult<HashMap<Instant, Had>>;

    /// Backfills that are not over, by age. Cheap where there are none.
    async fn open_backfills(&self) -> StoreResult<Vec<OpenBackfill>>;

    /// Goes on with a backfill that is RUNNING and stands where it was read: makes runs of its instants, in order, as many as
    /// it may have under way, and passes over those that are to become none; its cursor moves with them. A run is due at
    /// once, by the definition of its version, has the origin BACKFILL and the nominal time, and no instant has two of one
    /// backfill. Where its runs wait for others of the job, none is made while one of those is not over. Makes nothing while
    /// the job is paused, unless it goes on then. Is COMPLETED once nothing is left and all its runs are over.
    async fn advance_backfill(&self, now: Instant, step: BackfillStep) -> StoreResult<Advanced>;

    /// Cancels: a backfill that is RUNNING is CANCELLING, and makes no more runs. One that is cancelled already is asked once
    /// more about what is at workers, and one that is over stays as it is. None where there is none.
    async fn cancel_backfill(
        &self,
        now: Instant,
        scope: &Scope,
        id: BackfillId,
        cancel: CancelBackfill,
    ) -> StoreResult<Option<Backfill>>;

    /// Ends runs of a backfill that is CANCELLING: those that wait, as `Event::Cancel`, and where that was asked for those at
    /// workers, too. It is CANCELLED once all its runs are over.
    async fn end_backfill(&self, now: Instant, id: BackfillId, limit: usize) -> StoreResult<EndedRuns>;
}
