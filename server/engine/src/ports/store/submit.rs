//! New runs.

use std::collections::BTreeMap;

use async_trait::async_trait;
use uuid::Uuid;

use super::{Moved, Quota, RunDetail, RunView, StoreResult};
use crate::domain::{
    ids::{JobUid, RunId},
    instant::Instant,
    limit::Concurrency,
    names::{ConcurrencyKey, FairnessKey, JobName, Lane, Scope, UniqueKey},
    overlap::{Buffer, Overlap},
    payload::Payload,
    policy::RunPolicy,
    run::{Lifecycle, RunOrigin},
    unique::{Claim, Unique},
};

/// A caller's protection against repeats, kept 24 h.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestKey {
    /// Which call: ids of different calls do not meet.
    pub call: &'static str,
    /// The caller's id.
    pub id: String,
    /// Hash of the request's body.
    pub body: [u8; 32],
}

/// The job a run is made by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRef {
    /// Its identity.
    pub uid: JobUid,
    /// Its name.
    pub name: JobName,
    /// The version that made the run.
    pub version: i64,
}

/// A run to be stored.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// Its id, if it is stored.
    pub id: RunId,
    /// Its lane.
    pub lane: Lane,
    /// Its job.
    pub job: Option<JobRef>,
    /// How it came to be. Never [`RunOrigin::Schedule`], which firing makes, or [`RunOrigin::Backfill`].
    pub origin: RunOrigin,
    /// When it is due.
    pub due: Instant,
    /// 0 to 9, higher first.
    pub priority: u8,
    /// Runs of one priority take turns by this key.
    pub fairness_key: FairnessKey,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Input.
    pub payload: Payload,
    /// What it is promised.
    pub policy: RunPolicy,
    /// The caller's protection against repeats.
    pub request: Option<RequestKey>,
    /// Why, in the caller's words.
    pub note: String,
    /// The run it was made from.
    pub parent: Option<RunId>,
    /// Trace context and the like, for the worker.
    pub headers: BTreeMap<String, String>,
    /// How it meets runs of its job that are not over; none where it takes no notice of them.
    pub overlap: Option<Overlap>,
    /// It meets the runs of its concurrency key, and not only those of its job.
    pub by_key: bool,
    /// It holds no slot of its job.
    pub apart: bool,
    /// At most so many runs of this key are at workers at once.
    pub concurrency: Option<Concurrency>,
    /// It is made only where nobody holds this key, and holds it then.
    pub unique: Option<Unique>,
}

impl NewRun {
    /// The run as it stands once it was stored at `now`, in its lane or waiting for the slot of its job.
    pub fn stored(self, now: Instant, buffer: Option<Buffer>) -> RunView {
        let life = Lifecycle::made(now, self.due, buffer);
        let Self {
            id,
            lane: Lane { namespace, queue, job_type, selector },
            job,
            origin,
            due,
            priority,
            fairness_key,
            labels,
            payload,
            policy,
            request,
            note,
            parent,
            headers: _,
            overlap: _,
            by_key: _,
            apart: _,
            concurrency,
            unique,
        } = self;
        RunView {
            run: id,
            namespace,
            job,
            schedule: None,
            job_type,
            queue,
            selector,
            origin,
            life,
            labels,
            priority,
            fairness_key,
            concurrency_key: concurrency.map(|concurrency| concurrency.key),
            unique_key: unique.map(|unique| unique.key),
            nominal_time: None,
            zone_data: None,
            backfill: None,
            due_time: due,
            late: false,
            parent,
            request_id: request.map(|request| request.id).unwrap_or_default(),
            note,
            dead: None,
            detail: Some(Box::new(RunDetail { payload, output: None, failure: None, policy })),
        }
    }
}

/// A run that was stored.
#[derive(Clone, Debug)]
pub struct Stored {
    /// For the other stages.
    pub moved: Moved,
    /// For whoever asked for it: what a look would have shown right after the commit, whatever happened since.
    pub run: RunView,
    /// The run that was cancelled, since this one took its unique key.
    pub replaced: Option<Box<Moved>>,
}

/// What became of it.
#[derive(Clone, Debug)]
pub enum Submitted {
    /// It is stored: QUEUED, or SCHEDULED where it is due later or waits for the slot of its job.
    Stored(Box<Stored>),
    /// The same request had made this run before.
    Replayed(RunId),
    /// This run holds the unique key, and is the answer.
    Existing(RunId),
    /// The unique key is held so, and no run was made.
    KeyTaken(UniqueKey, Claim),
    /// The request id was used with another body.
    RequestReused,
    /// This run holds the slot of the job, or of this concurrency key, and the overlap policy lets no further one be made.
    NotIdle(RunId, Option<ConcurrencyKey>),
    /// As many runs wait already as may wait for the slot of the job, or of this concurrency key.
    BufferFull(Option<ConcurrencyKey>),
    /// The job was deleted in the meantime.
    JobGone,
    /// The namespace is full, and this would need a new queue or lane.
    Full(Quota),
}

/// What an earlier request with the same id made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// Hash of its body.
    pub body: [u8; 32],
    /// What it made: a run, a job, an API key.
    pub target: Uuid,
}

/// New runs.
#[async_trait]
pub trait Submit: Send + Sync {
    /// What earlier requests with these keys made, in the order of `keys`; none where there was none. Only a look: what
    /// comes in between is still met by the step that makes something.
    async fn made(&self, scope: &Scope, keys: &[RequestKey]) -> StoreResult<Vec<Option<Made>>>;

    /// Stores runs, one answer each, in order. Two runs of one batch with the same request id: the first is stored, the
    /// second is replayed or refused like any other repeat; so it is with their unique keys. A request that is answered with
    /// the run that holds its key is a repeat of that answer afterwards. Nothing is answered before it is durable.
    async fn submit(&self, now: Instant, runs: Vec<NewRun>) -> StoreResult<Vec<Submitted>>;
}
