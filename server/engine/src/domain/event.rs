//! What watchers are told. Hints: rows are the truth.

use super::{
    dead::Death,
    ids::{NoticeId, RunId, ServerId, WorkerId},
    instant::Instant,
    job::JobState,
    ledger::Range,
    names::{JobName, NamespaceName, QueueName, ScheduleName, SinkName},
    retime::Retiming,
    run::RunState,
    worker::WorkerStatus,
};

/// Something that changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When.
    pub time: Instant,
    /// Where; none is everywhere, since it is about a server.
    pub namespace: Option<NamespaceName>,
    /// What.
    pub detail: Detail,
}

/// What changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Detail {
    /// A run changed its state.
    Run {
        /// Which.
        run: RunId,
        /// Its job.
        job: Option<JobName>,
        /// Its type.
        job_type: String,
        /// Its queue.
        queue: QueueName,
        /// Its new state.
        state: RunState,
        /// Its last attempt.
        attempt: i64,
        /// Why.
        reason: String,
        /// The worker.
        worker: Option<WorkerId>,
        /// It is a dead letter from now on.
        dead: Option<Box<Death>>,
    },
    /// A running attempt told its progress.
    Progress {
        /// Which run.
        run: RunId,
        /// Its job.
        job: Option<JobName>,
        /// Its type.
        job_type: String,
        /// Its queue.
        queue: QueueName,
        /// Which attempt.
        attempt: i64,
        /// At which worker.
        worker: WorkerId,
        /// How far.
        progress: Progress,
    },
    /// New log lines of a run are stored.
    Logs {
        /// Which run.
        run: RunId,
    },
    /// A job changed.
    Job {
        /// Which.
        job: JobName,
        /// Its state; none after it was deleted, or where something else of it changed.
        state: Option<JobState>,
        /// Its version.
        version: i64,
        /// What was done to it.
        change: JobChange,
        /// Why, where it was paused.
        note: String,
    },
    /// A sink was not told what it should be.
    Sink {
        /// Which.
        sink: SinkName,
        /// What happened to it.
        change: SinkChange,
        /// What it was not told.
        delivery: NoticeId,
        /// How often that was tried.
        attempts: u32,
        /// Why the last try failed.
        error: String,
    },
    /// Instants of a schedule that no run stands for: missed, or not to be evaluated.
    Schedule {
        /// Of which job.
        job: JobName,
        /// Which.
        schedule: ScheduleName,
        /// The instants, with their fate.
        range: Range,
    },
    /// What its calendars leave of a schedule never fires, by the definition that has just come into force.
    NeverFires {
        /// Of which job.
        job: JobName,
        /// Which.
        schedule: ScheduleName,
    },
    /// Other zone data changed what a schedule will name.
    Retimed {
        /// Of which job.
        job: JobName,
        /// Which.
        schedule: ScheduleName,
        /// What was announced, and what will be.
        retiming: Retiming,
    },
    /// A worker changed.
    Worker {
        /// Which.
        worker: WorkerId,
        /// Its name.
        name: String,
        /// How it stands.
        status: WorkerStatus,
    },
    /// The clock of a server jumped: it was set, or the machine slept.
    Clock {
        /// Of which server.
        server: ServerId,
        /// What it would have said.
        from: Instant,
        /// What it said.
        to: Instant,
    },
    /// A queue changed.
    Queue {
        /// Which.
        queue: QueueName,
        /// Whether it is paused.
        paused: bool,
    },
}

/// What was done to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobChange {
    /// It was created.
    Created,
    /// Its definition was changed.
    Updated,
    /// It was paused.
    Paused,
    /// It was resumed.
    Resumed,
    /// Its schedules have no instant left.
    Completed,
    /// One of its schedules could not be evaluated.
    Failed,
    /// It was deleted.
    Deleted,
    /// Undeleted.
    Undeleted,
    /// It was paused by itself, since its runs failed.
    AutoDisabled,
    /// A backfill of it is over.
    BackfillEnded,
}

/// What happened to a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinkChange {
    /// A delivery was tried as often as one is.
    DeliveryFailed,
    /// Its receiver said that it is gone for good, and nothing is sent to it any more.
    Disabled,
}

/// What a running attempt last told.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// Share done, 0 to 1.
    pub fraction: f64,
    /// One line for people.
    pub message: String,
    /// When it was told.
    pub time: Instant,
}
