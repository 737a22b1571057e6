//! Time rules: who owns them, what is due, and firing as one atomic step.

use std::sync::Arc;

use async_trait::async_trait;
use mainspring_cron::Zones;

use super::{Moved, StoreResult};
use crate::domain::{
    fire::{Evaluation, Position},
    ids::{JobUid, RunId},
    instant::Instant,
    job::JobSpec,
    keyed::Keys,
    ledger::{FateReason, Range},
    names::{JobName, NamespaceName, ScheduleName},
};

/// The right to fire, with the epoch that proves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardLease {
    /// Grows by one with every owner.
    pub epoch: i64,
    /// Since when this owner is there; instants before passed while nobody could fire them.
    pub since: Instant,
}

/// A schedule with an instant that is due.
#[derive(Clone, Debug)]
pub struct DueSchedule {
    /// Its job.
    pub job: JobUid,
    /// Its job's name.
    pub job_name: JobName,
    /// Its job's namespace.
    pub namespace: NamespaceName,
    /// Which schedule of it.
    pub schedule: ScheduleName,
    /// The definition in force.
    pub spec: Arc<JobSpec>,
    /// The keys of its runs.
    pub keys: Keys,
    /// Where the evaluation stands.
    pub position: Position,
    /// The zone data that the definition counts with.
    pub zones: Zones,
    /// Its next instant was named by others: it is retimed before it is evaluated.
    pub is_stale: bool,
}

/// A schedule that is due and whose definition cannot be read: its job must not hold up the others.
#[derive(Clone, Debug)]
pub struct UnreadableSchedule {
    /// Its job.
    pub job: JobUid,
    /// Its job's name.
    pub job_name: JobName,
    /// Its job's namespace.
    pub namespace: NamespaceName,
    /// Which schedule of it.
    pub schedule: ScheduleName,
    /// Where the evaluation stands.
    pub position: Position,
    /// What is wrong with it.
    pub why: String,
}

/// What is due.
#[derive(Clone, Debug, Default)]
pub struct DueSchedules {
    /// To be evaluated, earliest first.
    pub ready: Vec<DueSchedule>,
    /// To be failed.
    pub unreadable: Vec<UnreadableSchedule>,
}

/// How many schedules are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Of those that are on time.
    pub live: usize,
    /// Of those that are behind.
    pub missed: usize,
}

/// What is due, those that are on time before those that are behind.
#[derive(Clone, Debug, Default)]
pub struct DueInTurn {
    /// All of them.
    pub due: DueSchedules,
    /// There are as many as were asked for of those on time.
    pub more_live: bool,
    /// There are as many as were asked for of those behind, none included.
    pub more_missed: bool,
}

/// One schedule's evaluation, to be committed.
#[derive(Clone, Debug)]
pub struct Firing {
    /// What was evaluated, with the position it was evaluated at.
    pub due: DueSchedule,
    /// What came out, with an id for each run it may make, in order.
    pub evaluation: Evaluation,
    /// Ids for the runs of `evaluation`, one for each [`crate::domain::fire::Entry::Run`].
    pub run_ids: Vec<RunId>,
}

/// What became of a firing.
#[derive(Clone, Debug)]
pub enum Fired {
    /// It is committed; these runs were made.
    Done {
        /// The new runs, QUEUED.
        runs: Vec<Moved>,
        /// The job has no instant left and became COMPLETED.
        completed: bool,
    },
    /// Somebody else evaluated, edited or paused in between; nothing of this firing was committed. Read again.
    Overtaken,
    /// This server's epoch has passed: it fires no more until it owns the shard again. Nothing was committed.
    NotOwner,
}

/// When something will be due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NextDue {
    /// The first schedule.
    pub schedule: Option<Instant>,
    /// The first timed run.
    pub run: Option<Instant>,
}

impl NextDue {
    /// The earlier of both.
    pub fn first(self) -> Option<Instant> {
        [self.schedule, self.run].into_iter().flatten().min()
    }
}

/// Time rules and timed runs.
#[async_trait]
pub trait Due: Send + Sync {
    /// Takes the shard: the epoch grows by one, earlier owners can commit nothing any more.
    async fn take_shard(&self, now: Instant) -> StoreResult<ShardLease>;

    /// Schedules with an unevaluated instant at or before `until`, earliest first. With `job`, only of that one.
    async fn due(&self, until: Instant, job: Option<JobUid>, limit: usize) -> StoreResult<DueSchedules>;

    /// Schedules with an unevaluated instant at or before `until`: first those whose earliest one is after `missed_until`, then
    /// those that are behind, each part earliest first. Nobody who is on time waits for what was missed long ago.
    async fn due_in_turn(&self, missed_until: Instant, until: Instant, most: Shares) -> StoreResult<DueInTurn>;

    /// Commits firings, each atomically with its runs, its ledger entries and its cursor, guarded by the shard's epoch
    /// and by the zone data, and by cursor, version and pause of [`Position`]. In the transaction a `Run` entry becomes
    /// * fate UNITED, where another schedule of the job has made a run for the instant;
    /// * fate SKIPPED_OVERLAP, where the overlap policy is SKIP and a run of the job is not over (a run made earlier in
    ///   the same firing counts);
    /// * a QUEUED run and fate FIRED otherwise.
    async fn fire(&self, now: Instant, shard: ShardLease, firings: Vec<Firing>) -> StoreResult<Vec<Fired>>;

    /// Notes that a schedule cannot be evaluated: the job goes to ERROR, its schedule fires no more until it is edited,
    /// the instant gets fate ERROR, and is answered; none where the schedule has moved. Others are not touched.
    async fn fail_schedule(
        &self,
        now: Instant,
        job: JobUid,
        schedule: &ScheduleName,
        position: &Position,
        why: FateReason,
    ) -> StoreResult<Option<Range>>;

    /// Moves SCHEDULED and RETRY_WAIT runs whose time has come into the queue, earliest first. One that cannot be read stays
    /// where it is.
    async fn wake(&self, now: Instant, limit: usize) -> StoreResult<Vec<Moved>>;

    /// The earliest instants after this one at which [`Due::due`] and [`Due::wake`] will have something more.
    async fn next_due(&self, after: Instant) -> StoreResult<NextDue>;
}
