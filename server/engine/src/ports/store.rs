//! The truth. Each method is one atomic domain step on a batch, guarded by the state it expects.
//!
//! No transaction handle, query builder or row type appears in a signature. `now` is always an argument: a store never
//! reads a clock. Items of a batch fail one by one; a whole call fails only when the store is away ([`StoreError`]).
//! Methods on namespaced rows take a [`Scope`](crate::domain::names::Scope); another namespace's rows do not exist for
//! them.

use std::{fmt::Debug, sync::Arc};

mod backfills;
mod backup;
mod calendars;
mod catalog;
mod dead;
mod due;
mod identity;
mod leases;
mod logs;
mod namespaces;
mod outcomes;
mod paces;
mod release;
mod retention;
mod sinks;
mod slots;
mod submit;
mod views;
mod vitals;
mod zones;

pub use backfills::{
    Advanced, BackfillStep, Backfills, CancelBackfill, CreateBackfill, EndedRuns, NewBackfill, OpenBackfill,
};
pub use backup::{Backup, BackupError, BackupProgress};
pub use calendars::{CalendarChange, CalendarUser, Calendars, NewCalendar, Pinned, UpdateCalendar};
pub use catalog::{
    Catalog, CreateJob, JobChange, JobVersion, NewJob, QueueChange, QueueSettings, Quota, Resume, Undelete, UpdateJob,
};
pub use dead::{DeadGroup, DeadLetters, Settled};
pub use due::{
    Due, DueInTurn, DueSchedule, DueSchedules, Fired, Firing, NextDue, ShardLease, Shares, UnreadableSchedule,
};
pub use identity::{
    ApiKeyRecord, CreateKey, Identity, NewPassword, NewSession, RefreshAnswer, RefreshUse, RootUser, SessionRecord,
    UserRecord,
};
pub use leases::{
    Dispatchable, HelloAnswer, Judged, LeaseAnswer, LeaseBatch, LeaseResult, Leases, LostWorker, Owner, Renewal,
    RenewalAnswer, Verdict,
};
pub use logs::Logs;
pub use namespaces::{NamespaceChange, Namespaces};
pub use outcomes::{Applied, Apply, Outcomes, Report, ReportAnswer};
pub use paces::{Paced, Paces};
pub use release::{Head, Look, Queued, Release, Turn, Waiting};
pub use retention::{Retention, RetentionPolicy, Swept};
pub use sinks::{Deliveries, NewSink, Noted, SinkChange, Sinks, UpdateSink};
pub use slots::{JobSlot, KeySlot, Slots};
pub use submit::{JobRef, Made, NewRun, RequestKey, Stored, Submit, Submitted};
pub use views::{
    Announcement, Announcer, AttemptView, Direction, DroppedRun, FullKey, InstantRange, JobOrder, JobTypeView,
    LedgerPart, Listed, PacedKey, Page, QueueView, RunDetail, RunView, SkippedRule, StatsView, Views, WaitFacts,
    WorkerView,
};
pub use vitals::{QueueLevel, Vitals};
pub use zones::{Retimed, RetimedSchedule, Told, ZoneData};

use crate::domain::{
    dead::Death,
    ids::{RunId, WorkerId},
    instant::Instant,
    names::{JobName, Lane},
    place::Place,
    run::RunState,
    transition::Tell,
};

/// What keeps the store's files from being written. A person has to act; nothing that was committed is lost by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// There is no room.
    #[error("the disk is full")]
    Full,
    /// It was mounted, or went, read-only.
    #[error("the disk can only be read")]
    ReadOnly,
    /// This process may not write there.
    #[error("the server may not write its files")]
    Forbidden,
    /// It answers with errors.
    #[error("the disk fails")]
    Failing,
    /// They were removed, renamed or replaced while they were in use.
    #[error("the database's files are no longer where they were opened")]
    Gone,
    /// They hold what no database can.
    #[error("the database is damaged")]
    Damaged,
}

/// Why a whole call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The store is away, or too slow to answer. Whether the step was committed is unknown: repeating it is safe,
    /// assuming that it was not done is not.
    #[error("the store is away: {0}")]
    Unavailable(String),
    /// The store cannot be written, and says so itself in the log, once. Otherwise like [`Self::Unavailable`].
    #[error("{obstacle}")]
    Unwritable {
        /// Why.
        obstacle: Obstacle,
        /// Where its files are, if that is known.
        place: Option<Arc<str>>,
    },
    /// Another transaction was in the way more often than was tried again; nothing was committed.
    #[error("the store is contended: {0}")]
    Conflict(String),
    /// A question took longer than a question may; it was broken off. Steps are never broken off.
    #[error("the question took too long")]
    TooSlow,
    /// A row cannot be what it is. Nothing was committed; a person must look.
    #[error("the store holds a row that cannot be: {0}")]
    Corrupt(String),
}

/// Short for what every method returns.
pub type StoreResult<T> = Result<T, StoreError>;

/// Every role at once: what an adapter implements and the wiring holds.
pub trait Store:
    Catalog
    + Calendars
    + Namespaces
    + Backfills
    + Submit
    + Due
    + Slots
    + Paces
    + Release
    + Leases
    + Outcomes
    + DeadLetters
    + Logs
    + Retention
    + Sinks
    + Deliveries
    + Identity
    + Views
    + Vitals
    + ZoneData
    + Backup
    + Debug
    + 'static
{
}

impl<T> Store for T where
    T: Catalog
        + Calendars
        + Namespaces
        + Backfills
        + Submit
        + Due
        + Slots
        + Paces
        + Release
        + Leases
        + Outcomes
        + DeadLetters
        + Logs
        + Retention
        + Sinks
        + Deliveries
        + Identity
        + Views
        + Vitals
        + ZoneData
        + Backup
        + Debug
        + 'static
{
}

/// A store shared by every stage.
pub type SharedStore = Arc<dyn Store>;

/// A run that changed its state: what other stages, workers and watchers are told after the commit.
#[derive(Clone, Debug, PartialEq)]
pub struct Moved {
    /// Which.
    pub run: RunId,
    /// Its lane.
    pub lane: Lane,
    /// Its job.
    pub job: Option<JobName>,
    /// What it was; none where it is new.
    pub from: Option<RunState>,
    /// What it is.
    pub to: RunState,
    /// Its stay in the queue.
    pub generation: i64,
    /// Its last attempt.
    pub attempt: i64,
    /// The worker of that attempt.
    pub worker: Option<WorkerId>,
    /// Why.
    pub reason: String,
    /// It is a dead letter from now on.
    pub dead: Option<Box<Death>>,
    /// When it leaves SCHEDULED or RETRY_WAIT; none where it waits for the slot of its job. Of one that is over: from when on
    /// what follows from its end may be due.
    pub wake_time: Option<Instant>,
    /// When its stop, execution or waiting ends by time.
    pub deadline: Option<Instant>,
    /// What its worker must be told.
    pub tell: Option<Tell>,
    /// Where it waits, while QUEUED; none while it is parked, since its concurrency key is full.
    pub place: Option<Place>,
    /// Runs that were parked and wait in their lanes from now on, since there is room under their key.
    pub let_go: Vec<Moved>,
}

impl Moved {
    /// Whether it waits until other runs of its job are over.
    pub fn is_buffered(&self) -> bool {
        self.to == RunState::Scheduled && self.wake_time.is_none()
    }

    /// Whether it waited before and waits on, in its lane.
    pub fn was_let_go(&self) -> bool {
        self.from == Some(RunState::Queued) && self.to == RunState::Queued
    }
}
