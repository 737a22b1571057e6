//! What the rest of the engine, workers and watchers are told after a commit.
//!
//! Every stage passes the runs that a store step moved to [`News::moved`]. From there they become hints: the dispatcher
//! hears of queued runs, the time stages of new instants, workers of stops, watchers of everything. Losing one costs time;
//! the stage it was meant for polls.

use std::sync::Arc;

use tokio::sync::Notify;

use super::{Core, dispatch::Board, events::Ring, stream::Hub};
use crate::{
    domain::{
        attempt::AttemptKey,
        event::{Detail, Event, Progress},
        ids::{RunId, ServerId, WorkerId},
        instant::Instant,
        job::{Job, JobState},
        names::{QueueName, Scope},
        run::RunState,
        worker::WorkerStatus,
    },
    ports::{
        broker::Pointer,
        signals::{Signal, Signals},
        store::{DueSchedule, Moved},
    },
};

/// Where hints go.
#[derive(Debug)]
pub(crate) struct News {
    server: ServerId,
    ring: Ring,
    signals: Arc<dyn Signals>,
    /// What the dispatcher knows of queued runs.
    pub(crate) board: Board,
    /// Something becomes due earlier than the time stages may know.
    pub(crate) due: Notify,
    /// A deadline was set that is earlier than the rescuer may know.
    pub(crate) deadline: Notify,
}

impl News {
    pub(crate) fn new(signals: Arc<dyn Signals>, server: ServerId) -> Self {
        Self {
            server,
            ring: Ring::new(server),
            signals,
            board: Board::default(),
            due: Notify::new(),
            deadline: Notify::new(),
        }
    }

    pub(crate) fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Runs that a committed step moved.
    pub(crate) fn moved<'a>(&self, now: Instant, moved: impl IntoIterator<Item = &'a Moved>) {
        for run in moved {
            if run.to == RunState::Queued {
                self.board.offer(&run.lane, Pointer { run: run.run, generation: run.generation });
                self.signals.send(Signal::Queued(self.server, run.lane.clone()));
            }
            if run.wake_time.is_some() {
                self.due.notify_one();
            }
            if run.deadline.is_some() {
                self.deadline.notify_one();
            }
            if let (Some(tell), Some(worker)) = (&run.tell, run.worker) {
                self.signals.send(Signal::Tell(worker, run.run, tell.clone()));
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
                },
            );
        }
    }

    /// A job changed.
    pub(crate) fn job(&self, now: Instant, job: &Job, state: Option<JobState>, change: &'static str) {
        self.due.notify_one();
        self.signals.send(Signal::Due);
        let detail = Detail::Job { job: job.name.clone(), state, version: job.version, change };
        self.event(now, &Scope(job.namespace.clone()), detail);
    }

    /// A schedule brought its job into a state where it fires no more.
    pub(crate) fn stopped_firing(&self, now: Instant, due: &DueSchedule, state: JobState, change: &'static str) {
        let detail =
            Detail::Job { job: due.job_name.clone(), state: Some(state), version: due.position.version, change };
        self.event(now, &Scope(due.namespace.clone()), detail);
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
    pub(crate) fn progress(&self, now: Instant, scope: &Scope, key: AttemptKey, progress: Progress) {
        self.event(now, scope, Detail::Progress { run: key.run, attempt: key.attempt, progress });
    }

    /// Log lines of a run were stored.
    pub(crate) fn logs(&self, now: Instant, scope: &Scope, run: RunId) {
        self.event(now, scope, Detail::Logs { run });
    }

    fn event(&self, time: Instant, scope: &Scope, detail: Detail) {
        self.signals.send(Signal::Event(Event { time, namespace: scope.0.clone(), detail }));
    }
}

/// Hears signals, of this server and of others, and passes them to whom they are for.
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
                Some(Signal::Queued(server, lane)) => {
                    if server != core.server {
                        core.news.board.look_at(&lane);
                    }
                }
                Some(Signal::Due) => core.news.due.notify_one(),
                Some(Signal::QueueChanged(_)) => core.news.board.look_everywhere(),
                Some(Signal::Tell(worker, run, tell)) => hub.tell(worker, run, tell),
                Some(Signal::Drain(worker, terminate)) => hub.drain_one(worker, terminate),
                // Some were lost: whatever they said is found by looking.
                None => {
                    core.news.due.notify_one();
                    core.news.deadline.notify_one();
                    core.news.board.look_everywhere();
                    hub.look_for_stops();
                }
            }
        }
    });
}
