//! What the rest of the engine, workers and watchers are told after a commit.
//!
//! Every stage passes the runs that a store step moved to [`News::moved`]. From there they become hints: the dispatcher
//! hears of queued runs, the time stages of new instants, workers of stops, watchers of everything. Within this server they
//! are told at once and not lost; other servers are told by signals. Losing one of those costs time; the stage it was meant
//! for polls.

use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;

use super::{
    Core,
    backfill::Backfilled,
    disable::Failing,
    dispatch::Board,
    events::Ring,
    slots::Watched,
    stream::{Hub, WeakHub, held::Told},
};
use crate::{
    domain::{
        attempt::AttemptKey,
        backfill::Backfill,
        event::{Detail, Event, JobChange, SinkChange},
        ids::{NoticeId, RunId, ServerId, WorkerId},
        instant::Instant,
        job::{Job, JobState},
        ledger::Range,
        names::{JobName, Lane, NamespaceName, QueueName, ScheduleName, Scope, SinkName},
        retime::Retiming,
        run::RunState,
        transition::Tell,
        worker::{Drain, WorkerStatus},
    },
    ports::{
        broker::Pointer,
        clock::Jump,
        meter::Meter,
        signals::{Signal, Signals},
        store::{Moved, Waiting},
    },
};

/// Where hints go.
#[derive(Debug)]
pub(crate) struct News {
    ring: Ring,
    signals: Arc<dyn Signals>,
    meter: Arc<dyn Meter>,
    /// The workers of this server, from when there can be any.
    hub: OnceLock<WeakHub>,
    /// What the dispatcher knows of queued runs.
    pub(crate) board: Board,
    /// The jobs whose runs' ends are waited for.
    pub(crate) watched: Watched,
    /// The jobs that are backfilled.
    pub(crate) backfilled: Backfilled,
    /// The jobs of which a run failed.
    pub(crate) failing: Failing,
    /// Something becomes due earlier than the time stages may know.
    pub(crate) due: Notify,
    /// A pause may end, or a job expire, earlier than their keeper knows.
    pub(crate) job_times: Notify,
    /// Sinks may have to be told something.
    pub(crate) deliveries: Notify,
    /// A deadline was set that is earlier than the rescuer may know.
    pub(crate) deadline: Notify,
    /// Other zone data are in force.
    pub(crate) zones: Notify,
}

impl News {
    pub(crate) fn new(signals: Arc<dyn Signals>, meter: Arc<dyn Meter>, server: ServerId) -> Self {
        Self {
            ring: Ring::new(server),
            signals,
            meter,
            hub: OnceLock::new(),
            board: Board::default(),
            watched: Watched::default(),
            backfilled: Backfilled::default(),
            failing: Failing::default(),
            due: Notify::new(),
            job_times: Notify::new(),
            deliveries: Notify::new(),
            deadline: Notify::new(),
            zones: Notify::new(),
        }
    }

    /// The workers of this server are here.
    pub(crate) fn meet(&self, hub: &Hub) {
        // It is called once; a second time would change nothing.
        let _ = self.hub.set(hub.downgrade());
    }

    pub(crate) fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Runs that a committed step moved.
    pub(crate) fn moved<'a>(&self, now: Instant, moved: impl IntoIterator<Item = &'a Moved>) {
        let mut queued: Vec<&Lane> = Vec::new();
        for run in moved.into_iter().flat_map(|run| std::iter::once(run).chain(&run.let_go)) {
            self.count(run);
            self.watched.moved(run);
            self.failing.moved(run);
            self.backfilled.moved(run);
            if run.from.is_some_and(RunState::is_active) && !run.to.is_active() {
                self.board.ended(&run.lane);
            }
            if run.dead.is_some() {
                self.deliveries.notify_one();
            }
            if let Some(place) = &run.place {
                let pointer = Pointer { run: run.run, generation: run.generation };
                self.board.offer(&run.lane, Waiting { pointer, place: place.clone() });
                if !run.lane.selector.is_empty() {
                    self.learn(&run.lane);
                }
                if !queued.contains(&&run.lane) {
                    queued.push(&run.lane);
                }
            }
            if run.wake_time.is_some() {
                self.due.notify_one();
            }
            if run.deadline.is_some() {
                self.deadline.notify_one();
            }
            if let (Some(tell), Some(worker)) = (&run.tell, run.worker) {
                self.tell(worker, run.run, tell);
            }
            // Nobody sees from outside that it was parked.
            if run.was_let_go() {
                continue;
            }
            self.event(
                now,
                &Scope(run.lane.namespace.clone()),
                Detail::Run {
                    run: run.run,
                    job: run.job.clone(),
                    job_type: run.lane.job_type.as_str().into(),
                    queue: run.lane.queue.clone(),
                    state: run.to,
                    attempt: run.attempt,
                    reason: run.reason.clone(),
                    worker: run.worker,
                    dead: run.dead.clone(),
                },
            );
        }
        for lane in queued {
            self.signals.send(Signal::Queued(lane.clone()));
        }
    }

    fn count(&self, run: &Moved) {
        if run.from.is_none() {
            self.meter.made(&run.lane);
        }
        if run.to.is_terminal() && run.from.is_none_or(|from| !from.is_terminal()) {
            self.meter.over(&run.lane, run.to);
        }
    }

    /// The worker of an attempt must be told something, wherever its session is.
    fn tell(&self, worker: WorkerId, run: RunId, tell: &Tell) {
        let hub = self.hub.get().and_then(WeakHub::upgrade);
        if !hub.is_some_and(|hub| hub.tell(worker, run, tell)) {
            self.signals.send(Signal::Tell(worker, run, tell.clone()));
        }
    }

    /// Runs wait for workers with labels.
    fn learn(&self, lane: &Lane) {
        if let Some(hub) = self.hub.get().and_then(WeakHub::upgrade) {
            hub.learn(lane);
        }
    }

    /// A queue was paused, resumed or given another limit.
    pub(crate) fn queue_changed(&self) {
        self.board.look_everywhere();
        self.signals.send(Signal::QueueChanged);
    }

    /// An operator drains a worker, wherever its session is.
    pub(crate) fn drain(&self, worker: WorkerId, drain: Drain) {
        let hub = self.hub.get().and_then(WeakHub::upgrade);
        if !hub.is_some_and(|hub| hub.drain_one(worker, drain)) {
            self.signals.send(Signal::Drain(worker, drain));
        }
    }

    /// A job changed.
    pub(crate) fn job(&self, now: Instant, job: &Job, state: Option<JobState>, change: JobChange) {
        self.due.notify_one();
        self.backfilled.look();
        self.signals.send(Signal::Due);
        if change == JobChange::AutoDisabled || state == Some(JobState::Error) {
            self.deliveries.notify_one();
        }
        let note = job.pause.as_ref().map(|pause| pause.note.clone()).unwrap_or_default();
        let scope = Scope(job.namespace.clone());
        let detail = Detail::Job { job: job.name.clone(), state, version: job.version, change, note };
        self.event(now, &scope, detail);
        if change == JobChange::Updated {
            for schedule in job.starved(now) {
                let (job, schedule) = (job.name.clone(), schedule.clone());
                self.event(now, &scope, Detail::NeverFires { job, schedule });
            }
        }
    }

    /// A schedule brought its job into a state where it fires no more.
    pub(crate) fn stopped_firing(
        &self,
        now: Instant,
        namespace: &NamespaceName,
        job: &JobName,
        version: i64,
        state: JobState,
        change: JobChange,
    ) {
        let detail = Detail::Job { job: job.clone(), state: Some(state), version, change, note: String::new() };
        self.event(now, &Scope(namespace.clone()), detail);
    }

    /// A backfill is over.
    pub(crate) fn backfill_ended(&self, now: Instant, backfill: &Backfill) {
        let (job, version) = (backfill.job_name.clone(), backfill.version);
        let detail = Detail::Job { job, state: None, version, change: JobChange::BackfillEnded, note: String::new() };
        self.event(now, &Scope(backfill.namespace.clone()), detail);
    }

    /// Instants of a schedule were missed for good, or it could not be evaluated.
    pub(crate) fn schedule(
        &self,
        now: Instant,
        namespace: &NamespaceName,
        job: &JobName,
        schedule: &ScheduleName,
        range: Range,
    ) {
        self.deliveries.notify_one();
        let detail = Detail::Schedule { job: job.clone(), schedule: schedule.clone(), range };
        self.event(now, &Scope(namespace.clone()), detail);
    }

    /// Other zone data changed what a schedule will name.
    pub(crate) fn retimed(
        &self,
        now: Instant,
        namespace: &NamespaceName,
        job: &JobName,
        schedule: &ScheduleName,
        retiming: Retiming,
    ) {
        let detail = Detail::Retimed { job: job.clone(), schedule: schedule.clone(), retiming };
        self.event(now, &Scope(namespace.clone()), detail);
    }

    /// A sink was not told something.
    pub(crate) fn sink(
        &self,
        now: Instant,
        scope: &Scope,
        sink: &SinkName,
        change: SinkChange,
        (delivery, attempts, error): (NoticeId, u32, String),
    ) {
        self.event(now, scope, Detail::Sink { sink: sink.clone(), change, delivery, attempts, error });
    }

    /// A queue was paused or resumed.
    pub(crate) fn queue(&self, now: Instant, scope: &Scope, queue: &QueueName, paused: bool) {
        self.event(now, scope, Detail::Queue { queue: queue.clone(), paused });
    }

    /// A worker changed.
    pub(crate) fn worker(&self, now: Instant, scope: &Scope, worker: WorkerId, name: &str, status: WorkerStatus) {
        self.event(now, scope, Detail::Worker { worker, name: name.into(), status });
    }

    /// A running attempt told how far it is.
    pub(crate) fn progress(&self, now: Instant, worker: WorkerId, key: AttemptKey, told: Told) {
        let Told { lane: Lane { namespace, queue, job_type, selector: _ }, job, progress } = told;
        let AttemptKey { run, attempt } = key;
        let job_type = job_type.as_str().into();
        let detail = Detail::Progress { run, job, job_type, queue, attempt, worker, progress };
        self.event(now, &Scope(namespace), detail);
    }

    /// This server's clock jumped.
    pub(crate) fn clock(&self, time: Instant, server: ServerId, jump: Jump) {
        let Jump { from, to } = jump;
        self.share(Event { time, namespace: None, detail: Detail::Clock { server, from, to } });
    }

    /// Log lines of a run were stored.
    pub(crate) fn logs(&self, now: Instant, scope: &Scope, run: RunId) {
        self.event(now, scope, Detail::Logs { run });
    }

    fn event(&self, time: Instant, scope: &Scope, detail: Detail) {
        self.share(Event { time, namespace: Some(scope.0.clone()), detail });
    }

    fn share(&self, event: Event) {
        let event = Arc::new(event);
        self.ring.push(event.clone());
        self.signals.send(Signal::Event(event));
    }
}

/// Hears what other servers signal, and passes it to whom it is for.
pub(crate) fn listen(core: &Arc<Core>, hub: Hub) {
    let mut listener = core.signals.listen();
    let core = core.clone();
    core.tasks.clone().spawn("signals", async move {
        loop {
            let signal = tokio::select! {
                signal = listener.next() => signal,
                () = core.tasks.stopping() => return,
            };
            match signal {
                Some(Signal::Event(event)) => core.news.ring.push(event),
                Some(Signal::Queued(lane)) => {
                    hub.learn(&lane);
                    core.news.board.look_at(&lane);
                }
                Some(Signal::Due) => core.news.due.notify_one(),
                Some(Signal::QueueChanged) => core.news.board.look_everywhere(),
                Some(Signal::Tell(worker, run, tell)) => {
                    hub.tell(worker, run, &tell);
                }
                Some(Signal::Drain(worker, drain)) => {
                    hub.drain_one(worker, drain);
                }
                // Some were lost: whatever they said is found by looking.
                None => {
                    core.news.due.notify_one();
                    core.news.deadline.notify_one();
                    core.news.board.look_everywhere();
                    core.news.ring.lose();
                    hub.hints_were_lost();
                }
            }
        }
    });
}
