//! What people look at: lists and counts, as plain structs that never pass through the domain.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;

use super::{JobRef, StoreResult};
use crate::domain::{
    attempt::{AttemptState, LossReason},
    dead::DeadLetter,
    explain::InTheWay,
    filter::Filter,
    ids::{BackfillId, JobUid, RunId, ServerId, WorkerId},
    instant::Instant,
    job::{Job, JobSpec},
    lapse::Lapsed,
    ledger::{Range, SkippedWalls},
    names::{ConcurrencyKey, FairnessKey, JobType, NamespaceName, QueueName, ScheduleName, Scope, UniqueKey},
    payload::{Failure, Payload},
    policy::RunPolicy,
    rate::Rate,
    run::{Lifecycle, RunOrigin, RunState},
    selector::Selector,
    supersede::Dropped,
    worker::{Capacity, WorkerStatus},
};

/// A part of a list: keyset paging, never offsets.
#[derive(Clone, Debug)]
pub struct Page {
    /// Right after the entry with this key; none for the first page.
    pub after: Option<String>,
    /// At most so many.
    pub limit: usize,
    /// Of what is large, at most about so many bytes are read.
    pub bytes: usize,
}

impl Page {
    /// The one attempt of this number, of the attempts of a run.
    pub fn of_attempt(number: i64) -> Self {
        Self { after: Some(number.saturating_sub(1).to_string()), limit: 1, bytes: usize::MAX }
    }
}

/// Which way a list goes along its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Smallest first; oldest first where the key is an id.
    Up,
    /// Largest first; newest first where the key is an id.
    Down,
}

/// What a list of jobs goes by, and with it what [`Page::after`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobOrder {
    /// Names.
    Name(Direction),
    /// Identities, which sort by creation.
    Age(Direction),
}

/// A part of a list whose entries may be large: it ends where it holds as many bytes as it may, with one entry at least.
#[derive(Clone, Debug)]
pub struct Listed<T> {
    /// The entries.
    pub entries: Vec<T>,
    /// It ended early: there are more, however many were asked for.
    pub cut: bool,
}

/// A run as lists show it.
#[derive(Clone, Debug, PartialEq)]
pub struct RunView {
    /// Which.
    pub run: RunId,
    /// Where.
    pub namespace: NamespaceName,
    /// The job that made it, which may be deleted by now.
    pub job: Option<JobRef>,
    /// The schedule that fired it.
    pub schedule: Option<ScheduleName>,
    /// Its type.
    pub job_type: JobType,
    /// Labels that a worker must have to be given it.
    pub selector: Selector,
    /// Its queue.
    pub queue: QueueName,
    /// How it came to be.
    pub origin: RunOrigin,
    /// What the transition table knows.
    pub life: Lifecycle,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// 0 to 9.
    pub priority: u8,
    /// Its fairness key.
    pub fairness_key: FairnessKey,
    /// Its concurrency key.
    pub concurrency_key: Option<ConcurrencyKey>,
    /// The unique key it was made under.
    pub unique_key: Option<UniqueKey>,
    /// The instant the schedule named.
    pub nominal_time: Option<Instant>,
    /// The version of the zone data that named it.
    pub zone_data: Option<Arc<str>>,
    /// The backfill that made it.
    pub backfill: Option<BackfillId>,
    /// When it became due, or will.
    pub due_time: Instant,
    /// It stands for missed instants.
    pub late: bool,
    /// The run it was made from.
    pub parent: Option<RunId>,
    /// The caller's id of the request that made it.
    pub request_id: String,
    /// Why, in the caller's words.
    pub note: String,
    /// How it is dead; none where it is not.
    pub dead: Option<DeadLetter>,
    /// What lists leave out; only where asked for.
    pub detail: Option<Box<RunDetail>>,
}

/// What lists leave out.
#[derive(Clone, Debug, PartialEq)]
pub struct RunDetail {
    /// Input.
    pub payload: Payload,
    /// What the handler returned.
    pub output: Option<Payload>,
    /// Why the last attempt failed.
    pub failure: Option<Failure>,
    /// What it was promised.
    pub policy: RunPolicy,
}

/// An attempt as lists show it.
#[derive(Clone, Debug)]
pub struct AttemptView {
    /// Its number.
    pub attempt: i64,
    /// How it stands or ended.
    pub state: AttemptState,
    /// Its worker.
    pub worker: Option<WorkerId>,
    /// The worker's name.
    pub worker_name: String,
    /// When it was given out.
    pub lease_time: Option<Instant>,
    /// When user code started.
    pub start_time: Option<Instant>,
    /// When it was over.
    pub end_time: Option<Instant>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// Why the platform ended it.
    pub cause: Option<LossReason>,
    /// How many log lines it wrote; none where nobody said, or it is not over.
    pub log_lines: Option<u64>,
}

/// A queue as lists show it.
#[derive(Clone, Debug)]
pub struct QueueView {
    /// Where.
    pub namespace: NamespaceName,
    /// Which.
    pub queue: QueueName,
    /// Nothing is released.
    pub paused: bool,
    /// Why.
    pub pause_note: String,
    /// At most so many at workers; 0 is no limit.
    pub concurrency_limit: u32,
    /// How fast its runs are released.
    pub rate: Option<Rate>,
    /// Runs that wait.
    pub depth: u64,
    /// Since when the oldest waits.
    pub oldest_queue_time: Option<Instant>,
    /// Runs at workers.
    pub in_flight: u64,
    /// For the etag.
    pub revision: i64,
}

/// A worker as lists show it.
#[derive(Clone, Debug)]
pub struct WorkerView {
    /// Which.
    pub worker: WorkerId,
    /// Its name.
    pub name: String,
    /// Where.
    pub namespace: NamespaceName,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its SDK.
    pub sdk: String,
    /// Its build.
    pub build_id: String,
    /// The server that holds its stream.
    pub server: Option<ServerId>,
    /// How it stands.
    pub status: WorkerStatus,
    /// The types it handles.
    pub job_types: Vec<JobType>,
    /// Its capacity.
    pub capacity: Capacity,
    /// Attempts it holds, by queue.
    pub in_flight: Capacity,
    /// When its stream was opened.
    pub connect_time: Instant,
    /// When it was last heard.
    pub last_heartbeat_time: Instant,
    /// When its leases end.
    pub lease_expire_time: Instant,
}

/// A job type as lists show it.
#[derive(Clone, Debug)]
pub struct JobTypeView {
    /// Where.
    pub namespace: NamespaceName,
    /// Which.
    pub job_type: JobType,
    /// One sentence.
    pub description: String,
    /// JSON Schema of the input.
    pub input_schema: String,
    /// JSON Schema of the output.
    pub output_schema: String,
    /// Queues it is taken from.
    pub queues: Vec<QueueName>,
    /// Connected workers that handle it.
    pub connected_workers: u32,
    /// When it was last announced.
    pub announce_time: Instant,
    /// What workers announce whose leases live, the newest first. More than one: they have drifted apart.
    pub announcements: Vec<Announcement>,
}

/// A pair of schemas that workers announce for a type.
#[derive(Clone, Debug)]
pub struct Announcement {
    /// The beginning of the hash of both, in hexadecimal digits.
    pub fingerprint: String,
    /// Since when it was announced without a break.
    pub announce_time: Instant,
    /// JSON Schema of the input.
    pub input_schema: String,
    /// JSON Schema of the output.
    pub output_schema: String,
    /// How many workers announce it.
    pub worker_count: u32,
    /// The first of them, the youngest process first.
    pub workers: Vec<Announcer>,
}

/// A worker that announces something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcer {
    /// Which.
    pub worker: WorkerId,
    /// Its name for people.
    pub name: String,
    /// Build identity of the user's code.
    pub build_id: String,
    /// Name and version of its SDK.
    pub sdk: String,
    /// When its stream was opened.
    pub connect_time: Instant,
}

/// Counts.
#[derive(Clone, Debug, Default)]
pub struct StatsView {
    /// Runs made in the range, by the state they are in now.
    pub runs: Vec<(RunState, u64)>,
    /// Jobs.
    pub jobs: u64,
    /// Connected workers.
    pub connected_workers: u64,
    /// Runs that wait.
    pub queued: u64,
    /// Runs at workers.
    pub in_flight: u64,
}

/// A part of a job's ledger, with the rule that named its instants.
#[derive(Clone, Debug)]
pub struct InstantRange {
    /// Which schedule.
    pub schedule: ScheduleName,
    /// The range.
    pub range: Range,
    /// The definition of `range.version`.
    pub spec: Arc<JobSpec>,
}

/// A run of an instant that an edit cancelled before it began.
#[derive(Clone, Debug, PartialEq)]
pub struct DroppedRun {
    /// The instant.
    pub nominal: Instant,
    /// The run, as it stands now.
    pub run: (RunId, RunState),
    /// The edit, as far as it is known.
    pub dropped: Dropped,
}

/// What a clock change took from a schedule, with the rule that named it.
#[derive(Clone, Debug)]
pub struct SkippedRule {
    /// Which schedule.
    pub schedule: ScheduleName,
    /// What was taken.
    pub walls: SkippedWalls,
    /// The definition that was in force.
    pub spec: Arc<JobSpec>,
}

/// The beginning of what was asked for of a ledger.
#[derive(Clone, Debug)]
pub struct LedgerPart {
    /// What there is, by first instant.
    pub ranges: Vec<InstantRange>,
    /// What clock changes took meanwhile, by the time of the change.
    pub skipped: Vec<(ScheduleName, SkippedWalls)>,
    /// What edits and deletes took meanwhile, as far as the ledger tells of it, and what later ones, the latest of them, may have
    /// taken of that again; by when they were.
    pub lapsed: Vec<Lapsed>,
    /// Of the instants before this, none is missing. The end of what was asked for, unless there was too much.
    pub until: Instant,
}

/// Why a run that waits may be waiting.
#[derive(Clone, Debug, Default)]
pub struct WaitFacts {
    /// Its queue is paused.
    pub queue_paused: bool,
    /// Its queue's limit, if it is reached.
    pub limit_reached: Option<u32>,
    /// Connected workers that handle its type from its queue.
    pub handlers: u32,
    /// Of these, how many drain.
    pub draining: u32,
    /// Connected workers that handle its type from its queue, and have not the labels that it requires.
    pub unlike: u32,
    /// Its concurrency key, if that is full.
    pub key_full: Option<FullKey>,
    /// Its concurrency key, if that has gone as fast as it may.
    pub key_paced: Option<PacedKey>,
}

/// A concurrency key that has reached its limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FullKey {
    /// The key.
    pub key: ConcurrencyKey,
    /// So many of its runs may be at workers.
    pub limit: u32,
    /// So many are, or may come back.
    pub in_flight: u32,
}

/// A concurrency key that has gone as fast as it may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacedKey {
    /// The key.
    pub key: ConcurrencyKey,
    /// How fast that is.
    pub rate: Rate,
    /// When the next of its runs may go.
    pub next: Instant,
}

/// Lists and counts.
#[async_trait]
pub trait Views: Send + Sync {
    /// One run, with everything.
    async fn run(&self, scope: &Scope, run: RunId) -> StoreResult<Option<RunView>>;

    /// What the transition table knows of a run, and nothing that is large: for whoever looks again and again.
    async fn lifecycle(&self, scope: &Scope, run: RunId) -> StoreResult<Option<Lifecycle>>;

    /// Runs that pass a filter, by id. With `detail`, with everything, and no more of it than the page's bytes.
    async fn runs(
        &self,
        scope: &Scope,
        filter: &Filter,
        direction: Direction,
        page: Page,
        detail: bool,
    ) -> StoreResult<Listed<RunView>>;

    /// The ids of runs that pass a filter, the smallest first, after one: for whoever does something to each of them.
    async fn run_ids(
        &self,
        scope: &Scope,
        filter: &Filter,
        after: Option<RunId>,
        limit: usize,
    ) -> StoreResult<Vec<RunId>>;

    /// Attempts of a run, by number, after the number of `page`; none where there is no such run.
    async fn attempts(&self, scope: &Scope, run: RunId, page: Page) -> StoreResult<Option<Listed<AttemptView>>>;

    /// Jobs that pass a filter. With `detail`, with their payloads, and no more of them than the page's bytes.
    async fn jobs(
        &self,
        scope: &Scope,
        filter: &Filter,
        order: JobOrder,
        page: Page,
        detail: bool,
    ) -> StoreResult<Listed<Job>>;

    /// Ledger ranges of a job that reach into `[from, to)`, by first instant: of each schedule the first `limit` (two at
    /// least). Costs what it answers, however long the ledger is and wherever in it that lies.
    async fn ledger(&self, job: JobUid, from: Instant, to: Instant, limit: usize) -> StoreResult<LedgerPart>;

    /// Which runs these instants of a job became: (nominal time, run, state), in no order. An instant without one is not
    /// there.
    async fn scheduled_runs(&self, job: JobUid, instants: &[Instant]) -> StoreResult<Vec<(Instant, RunId, RunState)>>;

    /// The runs of these instants of a job, each of which an edit cancelled before it began, in no order.
    async fn dropped_runs(&self, job: JobUid, instants: &[Instant]) -> StoreResult<Vec<DroppedRun>>;

    /// What clock changes in `[from, to)` took from schedules of a job, by the time of the change.
    async fn skipped_walls(&self, job: JobUid, from: Instant, to: Instant) -> StoreResult<Vec<SkippedRule>>;

    /// What edits and deletes took from schedules of a job that may have named this instant, the latest `limit` of them, the
    /// latest first.
    async fn lapses(&self, job: JobUid, at: Instant, limit: usize) -> StoreResult<Vec<Lapsed>>;

    /// The runs that backfills of a job, the latest of them, made of this instant, the latest first.
    async fn backfilled_runs(&self, job: JobUid, at: Instant) -> StoreResult<Vec<(RunId, RunState)>>;

    /// A run that an instant of a job met, as it stands now: of the job, or of a concurrency key of its namespace, made before and
    /// not over at that time. None where it is not known any more: of a key's runs that are over only those made shortly before are.
    async fn overlapping_run(
        &self,
        scope: &Scope,
        job: JobUid,
        key: Option<&ConcurrencyKey>,
        at: Instant,
    ) -> StoreResult<Option<InTheWay>>;

    /// Queues that exist and pass a filter, by name.
    async fn queues(
        &self,
        scope: &Scope,
        filter: &Filter,
        direction: Direction,
        page: Page,
    ) -> StoreResult<Vec<QueueView>>;

    /// One queue.
    async fn queue(&self, scope: &Scope, queue: &QueueName) -> StoreResult<Option<QueueView>>;

    /// Workers that pass a filter, by id.
    async fn workers(
        &self,
        scope: &Scope,
        include_gone: bool,
        filter: &Filter,
        direction: Direction,
        page: Page,
    ) -> StoreResult<Vec<WorkerView>>;

    /// One worker.
    async fn worker(&self, scope: &Scope, worker: WorkerId) -> StoreResult<Option<WorkerView>>;

    /// Job types that pass a filter, by name; no more of their schemas than the page's bytes.
    async fn job_types(
        &self,
        scope: &Scope,
        filter: &Filter,
        direction: Direction,
        page: Page,
    ) -> StoreResult<Listed<JobTypeView>>;

    /// Input schemas that a payload of a type is held against, the newest first: those that workers announce whose leases
    /// live; where there are none, the last word on the type. None where nobody ever announced it. Empty texts among them
    /// mean that a worker takes anything.
    async fn input_schemas(&self, scope: &Scope, job_type: &JobType) -> StoreResult<Vec<String>>;

    /// Counts of runs made in `[from, to)`, and of what is there now.
    async fn stats(&self, scope: &Scope, from: Instant, to: Instant) -> StoreResult<StatsView>;

    /// Why a QUEUED run may be waiting.
    async fn wait_facts(&self, scope: &Scope, run: RunId) -> StoreResult<WaitFacts>;

    /// Nominal time of a job's last success, for dispatches.
    async fn last_success(&self, job: JobUid) -> StoreResult<Option<Instant>>;
}
