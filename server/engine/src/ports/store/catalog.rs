//! Jobs and queues as people define them.

use async_trait::async_trait;

use super::{Moved, RequestKey, StoreResult};
use crate::domain::{
    catch_up::Mode,
    ids::JobUid,
    instant::Instant,
    job::{Job, JobSpec, Pause},
    names::{JobName, QueueName, Scope},
    rate::Rate,
    stop::Running,
    supersede::Pending,
};

/// A job to be created.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// Where.
    pub scope: Scope,
    /// Its identity, if it is created.
    pub uid: JobUid,
    /// Its name.
    pub name: JobName,
    /// Its definition, valid.
    pub spec: JobSpec,
    /// The caller's protection against repeats.
    pub request: Option<RequestKey>,
}

/// What became of it.
#[derive(Clone, Debug)]
pub enum CreateJob {
    /// It was created.
    Created(Job),
    /// The same request had created it before; it is returned as it is now.
    Replayed(Job),
    /// The request id was used with another body.
    RequestReused,
    /// The name is taken.
    NameTaken,
    /// The namespace is full.
    Full(Quota),
}

/// A change of a job's definition.
#[derive(Clone, Debug)]
pub struct UpdateJob {
    /// Where.
    pub scope: Scope,
    /// Which.
    pub name: JobName,
    /// The revision the new definition was made from.
    pub revision: i64,
    /// The new definition, valid.
    pub spec: JobSpec,
    /// What becomes of starts that are pending.
    pub pending: Pending,
    /// Who changes it.
    pub actor: String,
}

/// What became of a change of a job.
#[derive(Clone, Debug)]
pub enum JobChange {
    /// The job as it is now.
    Done(Job),
    /// The same, and these runs of it moved with the change.
    DoneWith(Job, Vec<Moved>),
    /// It was so already.
    Unchanged(Job),
    /// There is no such job.
    Missing,
    /// It has changed since it was read.
    RevisionMismatch,
    /// The namespace is full.
    Full(Quota),
    /// Instants of it are due and not evaluated yet. Evaluate them, then try again: what a change means for an instant
    /// must not depend on who was faster.
    Unsettled,
}

/// What became of bringing back a job.
#[derive(Clone, Debug)]
pub enum Undelete {
    /// It is back.
    Done(Box<Job>),
    /// Nothing of it is kept.
    Missing,
    /// Another job has the name.
    NameTaken,
    /// The namespace is full.
    Full(Quota),
}

/// A definition that a job has, or has had.
#[derive(Clone, Debug, PartialEq)]
pub struct JobVersion {
    /// Its number.
    pub version: i64,
    /// Since when it is, or was, in force.
    pub create_time: Instant,
    /// The definition.
    pub spec: JobSpec,
}

/// How a pause ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// Somebody ends it, and wants this of the instants that passed in it; [`Mode::None`] leaves them PAUSED.
    Asked(Mode),
    /// Its time is over.
    TimeOver,
}

/// What people set on a queue; `None` leaves it.
#[derive(Clone, Debug, Default)]
pub struct QueueSettings {
    /// Paused or not, and why.
    pub paused: Option<(bool, String)>,
    /// At most so many at workers at once; `Some(0)` lifts the limit.
    pub concurrency_limit: Option<u32>,
    /// How fast its runs are released; `Some(None)` lifts that.
    pub rate: Option<Option<Rate>>,
    /// Only if the queue's revision is still this one.
    pub revision: Option<i64>,
    /// The queue is made where there is none.
    pub allow_missing: bool,
    /// Nothing is stored; the answer is the same.
    pub validate_only: bool,
}

/// What became of a change of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueChange {
    /// It is as asked.
    Done,
    /// There is no such queue.
    Missing,
    /// It has changed since it was read.
    RevisionMismatch,
    /// The namespace is full.
    Full(Quota),
}

/// What a namespace may have so many of.
///
/// Names that callers make up become rows, and a caller who makes up new ones for ever must come to an end. What nobody uses
/// goes with retention, and a job that is there fires all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quota {
    /// Queues.
    Queues,
    /// Lanes: job types, each counted in every queue it is in.
    Lanes,
    /// Sinks.
    Sinks,
}

impl Quota {
    /// How many.
    pub const fn limit(self) -> usize {
        match self {
            Self::Queues => 1_000,
            Self::Lanes => 5_000,
            Self::Sinks => 100,
        }
    }
}

/// Jobs and queues.
#[async_trait]
pub trait Catalog: Send + Sync {
    /// Creates a job with version 1, its schedules' cursors at `now` and their next instants. Its queue exists from then on.
    async fn create_job(&self, now: Instant, job: NewJob) -> StoreResult<CreateJob>;

    /// One job by its identity, deleted or not.
    async fn job_by_uid(&self, scope: &Scope, uid: JobUid) -> StoreResult<Option<Job>>;

    /// One job.
    async fn job(&self, scope: &Scope, name: &JobName) -> StoreResult<Option<Job>>;

    /// The one of this name that was deleted last, with when; none where nothing of it is kept.
    async fn deleted_job(&self, scope: &Scope, name: &JobName) -> StoreResult<Option<(Job, Instant)>>;

    /// Brings the one of this name back that was deleted last: revision + 1, its schedules' cursors at `now`, so that nothing was
    /// missed meanwhile; what the delete took meanwhile stays taken. A job that was COMPLETED stays so, and is there to stay. [`StoreError::Conflict`](super::StoreError::Conflict) while its runs
    /// are still being ended.
    async fn undelete_job(&self, now: Instant, scope: &Scope, name: &JobName) -> StoreResult<Undelete>;

    /// A definition that a job has had, with its payload.
    async fn job_version(&self, job: JobUid, version: i64) -> StoreResult<Option<JobSpec>>;

    /// The definitions of a job before a version, without their payloads, the newest first.
    async fn job_versions(&self, job: JobUid, before: Option<i64>, limit: usize) -> StoreResult<Vec<JobVersion>>;

    /// Replaces the definition: version and revision + 1. A schedule of the same name keeps its cursor, closed ledger and
    /// open range; its next instant is computed by the new rule from `now` on. A schedule that is gone keeps its ledger.
    /// A definition equal to the one in force changes nothing. A job that was COMPLETED or in ERROR becomes ACTIVE. Its
    /// queue exists from then on. Starts that are pending, which are SCHEDULED runs of its schedules, stay as they are, or with
    /// [`Pending::Cancel`] end CANCELLED, their instants SUPERSEDED; with [`Pending::Recompute`] those whose instant the
    /// schedule of the same name still names are made anew under the same id, by the new definition. What the old definition named
    /// and was not due is kept as what this edit took ([`Lapse`](crate::domain::lapse::Lapse)).
    async fn update_job(&self, now: Instant, update: UpdateJob) -> StoreResult<JobChange>;

    /// Pauses: revision + 1. Pausing a paused job replaces the note and the end.
    async fn pause_job(&self, now: Instant, scope: &Scope, name: &JobName, pause: Pause) -> StoreResult<JobChange>;

    /// Resumes: revision + 1. `Unchanged` where it was not paused, or where the pause is not over that has ended by itself.
    /// Where it is asked to, the instants of the pause come before the cursors again, and the next evaluation judges them
    /// as missed ones; those before the last edit do not.
    async fn resume_job(&self, now: Instant, scope: &Scope, name: &JobName, resume: Resume) -> StoreResult<JobChange>;

    /// Whether a job fails so that it is to be paused by itself, by its definition and by how its runs ended. Cheap where few
    /// have failed.
    async fn is_failing(&self, now: Instant, scope: &Scope, name: &JobName) -> StoreResult<bool>;

    /// Pauses a job that is failing, as [`Catalog::pause_job`] does, until its cooldown is over: `AUTO_DISABLED`. `Unchanged`
    /// where it is not failing, or paused already.
    async fn disable_job(&self, now: Instant, scope: &Scope, name: &JobName) -> StoreResult<JobChange>;

    /// Jobs whose pause ends by itself at or before `now`, earliest first.
    async fn pauses_over(&self, now: Instant, limit: usize) -> StoreResult<Vec<(Scope, JobName)>>;

    /// Jobs that are COMPLETED, and by their definition deleted so long after, which is over at `now`; none of them has a run
    /// that is not over. Each with its revision, earliest first.
    async fn expired_jobs(&self, now: Instant, limit: usize) -> StoreResult<Vec<(Scope, JobName, i64)>>;

    /// When the next pause ends by itself, or the next job is to be deleted after this.
    async fn next_end(&self, after: Instant) -> StoreResult<Option<Instant>>;

    /// Deletes: the name is free, the schedules fire no more, runs keep pointing at the uid. Runs that wait are left to
    /// [`super::Outcomes::cancel_waiting`], and so are those at workers where they are to stop; its backfills are CANCELLING.
    /// With `revision`, only if the job is still that one. What its schedules named and was not due is kept as what this took, by
    /// `actor`. Answers the job as it was.
    async fn delete_job(
        &self,
        now: Instant,
        scope: &Scope,
        name: &JobName,
        revision: Option<i64>,
        running: Running,
        actor: &str,
    ) -> StoreResult<JobChange>;

    /// Sets what people set on a queue.
    async fn update_queue(
        &self,
        now: Instant,
        scope: &Scope,
        queue: &QueueName,
        settings: QueueSettings,
    ) -> StoreResult<QueueChange>;
}
