//! The way of a run: submit, due, dispatch, stream, outcome, rescue, retain.
//!
//! ```text
//!  submit ──► due ──► dispatch ──► stream ──► outcome
//!  (API,      (time    (release     (lease,     (terminal | retry_wait)
//!   trigger)   rules)   by lane)     push,
//!                                    heartbeat)    + rescue (expired leases, deadlines)  + retain (old rows)
//! ```
//!
//! Each stage is a file here, a task name and a test file of the same name. A stage collects what is ready, asks the store
//! for one batched step, and passes the [`Moved`] runs on: to the dispatcher, to the worker, to whoever watches. These
//! tellings are hints; every stage also polls the store.
//!
//! [`Engine`] is the face of all that to the services: what they may ask, in the engine's words.

/// Tells the log that a stage has to try again later. A store that cannot be written tells that itself, once for all stages
/// and not as often as each of them tries.
macro_rules! put_off {
    ($error:ident, $($told:tt)+) => {
        match &$error {
            $crate::ports::store::StoreError::Unwritable { .. } => tracing::debug!(error = %$error, $($told)+),
            $crate::ports::store::StoreError::Unavailable(_)
            | $crate::ports::store::StoreError::Conflict(_)
            | $crate::ports::store::StoreError::TooSlow
            | $crate::ports::store::StoreError::Corrupt(_) => tracing::warn!(error = %$error, $($told)+),
        }
    };
}

mod backfill;
pub mod batch;
pub mod calendars;
mod dead;
mod disable;
pub mod dispatch;
pub mod due;
pub mod events;
pub mod instants;
pub mod jobs;
pub mod logs;
mod news;
mod notify;
pub mod outcome;
mod paces;
pub mod rescue;
pub mod retain;
pub mod sinks;
pub mod slots;
pub mod stream;
pub mod submit;
mod zones;

use std::{sync::Arc, time::Duration};

use mainspring_cron::Zones;
use parking_lot::Mutex;

use crate::{
    domain::{
        attempt::AttemptKey,
        backfill::Backfill,
        event::Progress,
        ids::{BackfillId, RunId, ServerId, WorkerId},
        instant::Instant,
        log::{Level, Position},
        names::{Lane, QueueName, Scope},
        rate::Rate,
        rules::LeaseRules,
        run::RunState,
        worker::{Drain, Hello},
    },
    ports::{
        broker::Broker,
        clock::SharedClock,
        courier::Courier,
        meter::Meter,
        signals::Signals,
        store::{
            CancelBackfill, CreateBackfill, NewBackfill, NewRun, QueueChange, QueueSettings, Report, ReportAnswer,
            RetentionPolicy, RunView, Settled, ShardLease, SharedStore, StoreResult, Submitted,
        },
    },
    tasks::Tasks,
};
use logs::tail::Tail;
use news::News;
pub use notify::TIMEOUT as DELIVERY_TIMEOUT;

/// How long a stage trusts hints where they may be lost.
pub const LOOK: Duration = Duration::from_secs(1);

/// Everything an engine stands on.
#[derive(Debug)]
pub struct Parts {
    /// The truth.
    pub store: SharedStore,
    /// Carries pointers.
    pub broker: Arc<dyn Broker>,
    /// Carries hints.
    pub signals: Arc<dyn Signals>,
    /// The only now and the only sleep.
    pub clock: SharedClock,
    /// Counts what happens to runs.
    pub meter: Arc<dyn Meter>,
    /// Tells sinks what goes wrong.
    pub courier: Arc<dyn Courier>,
    /// The times leases live by.
    pub rules: LeaseRules,
    /// How long things are kept.
    pub retention: RetentionPolicy,
    /// How many runs a second are made of what was missed.
    pub late_runs: u32,
    /// This process.
    pub server: ServerId,
    /// Where loops run.
    pub tasks: Tasks,
    /// Every stage looks at the store at least so often, whatever it was told: [`LOOK`], or longer where hints cannot be
    /// lost and nobody else writes to the store.
    pub look: Duration,
    /// Seeds what is spread at random: reconnects of drained sessions.
    pub seed: u64,
}

/// The engine, running. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Engine {
    core: Arc<Core>,
    submit: submit::Submitter,
    outcome: outcome::Settler,
    stream: stream::Hub,
}

/// What every stage shares.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) store: SharedStore,
    pub(crate) clock: SharedClock,
    pub(crate) signals: Arc<dyn Signals>,
    pub(crate) meter: Arc<dyn Meter>,
    pub(crate) courier: Arc<dyn Courier>,
    pub(crate) rules: LeaseRules,
    pub(crate) server: ServerId,
    pub(crate) tasks: Tasks,
    pub(crate) news: News,
    /// The right to fire, while this server has it.
    pub(crate) shard: Mutex<Option<ShardLease>>,
    /// Up to here nobody looked at what was due, though this server had the right: its machine slept, or its store was away.
    pub(crate) away_until: Mutex<Instant>,
    pub(crate) start_time: Instant,
    pub(crate) look: Duration,
    pub(crate) retention: RetentionPolicy,
    pub(crate) seed: u64,
}

impl Core {
    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }
}

impl Engine {
    /// Starts every stage. Nothing fires and nobody is judged before its time: the reaper waits one lease first.
    pub fn start(parts: Parts) -> Self {
        let Parts {
            store,
            broker,
            signals,
            clock,
            meter,
            courier,
            rules,
            retention,
            late_runs,
            server,
            tasks,
            look,
            seed,
        } = parts;
        let start_time = clock.now();
        let news = News::new(signals.clone(), meter.clone(), server);
        let (shard, away_until) = (Mutex::new(None), Mutex::new(Instant::MIN));
        let core = Arc::new(Core {
            store,
            clock,
            signals,
            meter,
            courier,
            rules,
            server,
            tasks,
            news,
            shard,
            away_until,
            start_time,
            look,
            retention,
            seed,
        });
        let submit = submit::Submitter::start(&core);
        let outcome = outcome::Settler::start(&core);
        let logs = logs::LogWriter::start(&core);
        let stream = stream::Hub::start(&core, &broker, outcome.clone(), logs);
        dispatch::start(&core, broker, stream.clone());
        due::start(&core, late_runs);
        slots::start(&core, outcome.clone());
        paces::start(&core);
        backfill::start(&core);
        jobs::keep_times(&core);
        disable::start(&core);
        zones::start(&core);
        notify::start(&core);
        rescue::start(&core, outcome.clone());
        retain::start(&core);
        core.news.meet(&stream);
        news::listen(&core, stream.clone());
        Self { core, submit, outcome, stream }
    }

    /// Now.
    pub fn now(&self) -> Instant {
        self.core.now()
    }

    /// The clock.
    pub fn clock(&self) -> &SharedClock {
        &self.core.clock
    }

    /// The store, for reading and for what needs no stage: identity, views.
    pub fn store(&self) -> &SharedStore {
        &self.core.store
    }

    /// The times leases live by.
    pub fn rules(&self) -> &LeaseRules {
        &self.core.rules
    }

    /// This process.
    pub fn server(&self) -> ServerId {
        self.core.server
    }

    /// Since when it runs.
    pub fn start_time(&self) -> Instant {
        self.core.start_time
    }

    /// Where loops run.
    pub fn tasks(&self) -> &Tasks {
        &self.core.tasks
    }

    /// Stores runs, one answer each, in order; callers at the same time share a commit. Answered when durable.
    pub async fn submit(&self, runs: Vec<NewRun>) -> StoreResult<Vec<Submitted>> {
        self.submit.submit(runs).await
    }

    /// Stores runs that are made of dead letters, one answer each; none where somebody has settled one already.
    pub async fn redrive(&self, runs: Vec<NewRun>, by: Settled) -> StoreResult<Vec<Option<Submitted>>> {
        dead::redrive(&self.core, runs, by).await
    }

    /// Jobs: create, update, pause, resume, delete.
    pub fn jobs(&self) -> jobs::Jobs<'_> {
        jobs::Jobs::new(&self.core)
    }

    /// Calendars: create, update, delete.
    pub fn calendars(&self) -> calendars::Calendars<'_> {
        calendars::Calendars::new(&self.core)
    }

    /// Begins a backfill; its runs are made from then on.
    pub async fn backfill(&self, backfill: NewBackfill) -> StoreResult<CreateBackfill> {
        backfill::create(&self.core, backfill).await
    }

    /// Cancels a backfill as a whole; none where there is none.
    pub async fn cancel_backfill(
        &self,
        scope: &Scope,
        id: BackfillId,
        cancel: CancelBackfill,
    ) -> StoreResult<Option<Backfill>> {
        backfill::cancel(&self.core, scope, id, cancel).await
    }

    /// The zone data in force.
    pub fn zones(&self) -> Zones {
        self.core.store.zones()
    }

    /// Puts other zone data in force. Schedules that they move follow; whatever is due meanwhile is not held up.
    pub async fn use_zones(&self, zones: Zones) -> StoreResult<()> {
        self.core.store.use_zones(zones).await?;
        self.core.news.zones.notify_one();
        Ok(())
    }

    /// Sinks: create, update, delete, try.
    pub fn sinks(&self) -> sinks::Sinks<'_> {
        sinks::Sinks::new(&self.core)
    }

    /// The ledger, as instants.
    pub fn ledger(&self) -> instants::Ledger<'_> {
        instants::Ledger::new(&self.core)
    }

    /// Cancels a run, or asks its worker to stop; `false` where there is no such run. A run that is over stays as it is.
    pub async fn cancel(&self, scope: &Scope, run: RunId, reason: String) -> StoreResult<bool> {
        self.outcome.cancel(scope, run, reason).await
    }

    /// Cancels runs; where each stands that changed by it.
    pub async fn cancel_many(&self, scope: &Scope, runs: &[RunId], reason: &str) -> StoreResult<Vec<Option<RunState>>> {
        self.outcome.cancel_many(scope, runs, reason).await
    }

    /// A result that came by itself, not on a stream.
    pub async fn report(&self, report: Report) -> StoreResult<ReportAnswer> {
        self.outcome.report(report).await
    }

    /// Returns once the run is over, or `timeout` has passed; none where there is no such run.
    pub async fn wait(&self, scope: &Scope, run: RunId, timeout: Duration) -> StoreResult<Option<RunView>> {
        outcome::wait(&self.core, scope, run, timeout).await
    }

    /// Follows the log of a run, from right after a line or from the first.
    pub fn tail(&self, scope: Scope, run: RunId, after: Option<Position>, level: Level) -> Tail {
        Tail::new(&self.core, scope, run, after, level)
    }

    /// What a running attempt last told, if its worker has its session here.
    pub fn progress(&self, worker: WorkerId, key: AttemptKey) -> Option<Progress> {
        self.stream.progress(worker, key)
    }

    /// Events as they happen.
    pub fn events(&self) -> &events::Ring {
        self.core.news.ring()
    }

    /// Sets what people set on a queue.
    pub async fn update_queue(
        &self,
        scope: &Scope,
        queue: &QueueName,
        settings: QueueSettings,
    ) -> StoreResult<QueueChange> {
        let paused = settings.paused.as_ref().map(|(paused, _)| *paused);
        let only_asked = settings.validate_only;
        let change = self.core.store.update_queue(self.now(), scope, queue, settings).await?;
        if change == QueueChange::Done && !only_asked {
            self.core.news.queue_changed();
            if let Some(paused) = paused {
                self.core.news.queue(self.now(), scope, queue, paused);
            }
        }
        Ok(change)
    }

    /// Tells a worker to take no more work, or to leave as well; `false` where there is none.
    pub async fn drain_worker(&self, scope: &Scope, worker: WorkerId, drain: Drain) -> StoreResult<bool> {
        let known = self.core.store.drain_worker(self.now(), scope, worker, drain).await?;
        if known {
            self.core.news.drain(worker, drain);
        }
        Ok(known)
    }

    /// Opens a session for a worker that said Hello. See [`stream::Session`] for how it is driven.
    pub async fn open_session(&self, hello: Hello) -> Result<stream::Session, stream::messages::SessionEnd> {
        self.stream.open(hello).await
    }

    /// How the workers here stand to a lane.
    pub fn room(&self, lane: &Lane) -> stream::Room {
        self.stream.room(lane)
    }

    /// When the next run of a lane may go, where its queue has gone as fast as it may; and how fast that is.
    pub fn paced(&self, lane: &Lane) -> Option<(Instant, Rate)> {
        self.core.news.board.paced(lane, self.now())
    }

    /// Worker streams that are open here.
    pub fn sessions(&self) -> usize {
        self.stream.sessions()
    }

    /// The server goes away: no new sessions, no new leases, workers are asked to reconnect elsewhere. Returns once they
    /// have left or `patience` has passed.
    pub async fn drain(&self, patience: Duration) {
        self.stream.drain(patience).await;
    }
}
