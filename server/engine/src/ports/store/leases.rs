//! Leases: which attempt of which worker may change a run. See the transition table for what each step means.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;

use super::{Moved, Quota, StoreResult};
use crate::{
    domain::{
        attempt::AttemptKey,
        ids::{JobUid, ServerId, SessionId, WorkerId},
        instant::Instant,
        names::{JobName, Lane, Scope},
        payload::Payload,
        policy::LeaseLossPolicy,
        worker::{AbandonReason, Capacity, Drain, Hello, WorkerStatus},
    },
    ports::broker::Pointer,
};

/// A session as the store knows it: what it does counts only while the worker's epoch is still this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The worker.
    pub worker: WorkerId,
    /// The session's epoch.
    pub epoch: i64,
}

/// What a Hello came to.
#[derive(Clone, Debug)]
pub enum HelloAnswer {
    /// A later stream of the process was there before; this one must end.
    Superseded,
    /// The id is that of another namespace's worker. Nothing was changed.
    Foreign,
    /// The namespace is full, and the worker handles what nobody did before.
    Full(Quota),
    /// The session owns the worker's leases now.
    Welcome {
        /// One verdict per attempt the Hello listed, in order.
        verdicts: Vec<(AttemptKey, Verdict)>,
        /// Runs that the Hello took back or adopted.
        moved: Vec<Moved>,
        /// What an operator asked of the worker before; it stays so.
        drain: Option<Drain>,
    },
}

/// What the server says to an attempt that a worker lists.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It is current: carry on. With what the session needs to keep of it.
    Keep(Box<Dispatchable>),
    /// It is current, and somebody wants it stopped.
    Stop(Box<Dispatchable>, String),
    /// It is not: stop, do not report.
    Abandon(AbandonReason),
}

/// Everything a dispatch carries, and what the session keeps of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Dispatchable {
    /// Which attempt.
    pub key: AttemptKey,
    /// Its lane.
    pub lane: Lane,
    /// Its job.
    pub job: Option<(JobUid, JobName, i64)>,
    /// Input. Empty in a [`Verdict`]: the worker has it.
    pub payload: Payload,
    /// When the run became due.
    pub due_time: Instant,
    /// When the run last began to wait for a worker.
    pub queue_time: Option<Instant>,
    /// The instant the schedule named.
    pub nominal_time: Option<Instant>,
    /// The last instant of the job that had succeeded when the run was made, where the job asks for it.
    pub previous_success: Option<Instant>,
    /// How long the attempt may run.
    pub execution_timeout: Option<Duration>,
    /// How long it may go on after it was told to stop.
    pub stop_grace: Option<Duration>,
    /// One sign of life until the next.
    pub heartbeat_timeout: Option<Duration>,
    /// What to do when the lease cannot be proven.
    pub lease_loss: LeaseLossPolicy,
    /// Trace context and the like.
    pub headers: BTreeMap<String, String>,
    /// Failed attempts so far.
    pub failures: u32,
    /// Attempts that may fail in all.
    pub max_attempts: u32,
}

/// Pointers to be leased to one session.
#[derive(Clone, Debug)]
pub struct LeaseBatch {
    /// For whom.
    pub owner: Owner,
    /// What. Lanes may differ.
    pub pointers: Vec<Pointer>,
}

/// What became of a batch.
#[derive(Clone, Debug)]
pub enum LeaseAnswer {
    /// The session is no longer the worker's; nothing was leased and no pointer is stale. Give the batch to another.
    SessionGone,
    /// One result per pointer, in order.
    Results(Vec<LeaseResult>),
}

/// What became of one pointer. Every answer is final: a repeat of the same batch after an unknown commit says `Leased`
/// for what the first try leased.
#[derive(Clone, Debug)]
pub enum LeaseResult {
    /// The attempt is the session's.
    Leased(Box<Dispatchable>),
    /// The run or its stay in the queue has moved on; drop the pointer.
    Stale,
    /// The queue's limit is reached, or it is paused; the run waits on and will be released again.
    NoRoom,
    /// Its concurrency key is full: it waits on where no lane finds it, and is told of when there is room.
    Parked,
    /// The run's row cannot be what it is; nothing of it changed, and a person must look.
    Unreadable,
}

/// A heartbeat, to be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// Whose.
    pub owner: Owner,
    /// The leases live until then.
    pub expire_time: Instant,
    /// The worker takes no more work, by its own word.
    pub draining: bool,
    /// How much it takes, where that changed since it was last recorded.
    pub capacity: Option<Capacity>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenewalAnswer {
    /// The leases live.
    Alive {
        /// They had been judged over in between: what the worker lists must be compared with the rows. Otherwise what the
        /// session knows of them is true.
        lapsed: bool,
        /// What an operator asked of the worker, so that it hears of it even where the hint was lost.
        drain: Option<Drain>,
    },
    /// A later session owns the worker.
    Superseded,
}

/// A worker that was judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostWorker {
    /// Which.
    pub worker: WorkerId,
    /// Where it serves.
    pub scope: Scope,
    /// Its name.
    pub name: String,
}

/// What judging came to.
#[derive(Clone, Debug, Default)]
pub struct Judged {
    /// Runs that were taken back.
    pub moved: Vec<Moved>,
    /// Workers that were not LOST before, and are now.
    pub lost: Vec<LostWorker>,
    /// There is more to do.
    pub more: bool,
}

/// Leases.
#[async_trait]
pub trait Leases: Send + Sync {
    /// Opens a session, guarded by the worker being of the Hello's namespace or new, and by `hello.epoch` being larger than
    /// any seen; and reconciles in the same transaction:
    /// listed and current → Keep, or adopt and Keep, or Abandon where it would be adopted and its queue's limit is reached;
    /// listed and not current → Abandon; at this worker and not listed →
    /// taken back as `Event::Unlisted`. Stores what the worker says of itself and announces its job types.
    async fn hello(
        &self,
        now: Instant,
        server: ServerId,
        session: SessionId,
        hello: &Hello,
        expire_time: Instant,
    ) -> StoreResult<HelloAnswer>;

    /// Leases, as `Event::Lease` each, with the owner's epoch locked against a Hello at the same time. A pointer that a
    /// former try of the same session leased already answers `Leased` again.
    async fn lease(&self, now: Instant, batches: Vec<LeaseBatch>) -> StoreResult<Vec<LeaseAnswer>>;

    /// Records heartbeats, one answer each.
    async fn renew(&self, now: Instant, renewals: Vec<Renewal>) -> StoreResult<Vec<RenewalAnswer>>;

    /// Compares what a worker lists with the rows, after its leases had lapsed or for attempts the session does not know or
    /// doubts: adopts, keeps or abandons, as in [`Leases::hello`]. `None` where the owner has passed.
    async fn reconcile(
        &self,
        now: Instant,
        owner: Owner,
        listed: Vec<AttemptKey>,
    ) -> StoreResult<Option<(Vec<(AttemptKey, Verdict)>, Vec<Moved>)>>;

    /// Attempts of these owners that somebody wants stopped, with the reason: the poll that makes cancel hints lossless.
    async fn stops(&self, now: Instant, owners: &[Owner]) -> StoreResult<Vec<(Owner, AttemptKey, String)>>;

    /// Notes how a worker stands now; ignored under an old epoch. A worker that was judged stays LOST until it is heard
    /// again, unless it left in order. The leases of one that is GONE end now.
    async fn set_status(&self, now: Instant, owner: Owner, status: WorkerStatus) -> StoreResult<()>;

    /// Notes that an operator drains a worker; one that was asked to leave is never asked to stay. `false` where there is
    /// none, or it is gone.
    async fn drain_worker(&self, now: Instant, scope: &Scope, worker: WorkerId, drain: Drain) -> StoreResult<bool>;

    /// Ends the leases of workers whose expiry lies before `before`: the workers become LOST (GONE ones stay GONE), their
    /// attempts `Event::Expire`. At most `limit` runs a call, with whether there is more: repeated, it comes to an end,
    /// since a run that cannot be read stays where it is and counts as judged.
    async fn expire(&self, now: Instant, before: Instant, limit: usize) -> StoreResult<Judged>;
}
