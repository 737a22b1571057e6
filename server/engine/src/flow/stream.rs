//! Stream: attempts go to workers and are watched there. Fourth stage of the way of a run.
//!
//! ```text
//!  broker ──pointers──► leaser ──lease──► store          (one batched compare-and-set, broker settled after the commit)
//!                          │
//!                          ▼
//!  worker ◄──outbox── session ◄──inbox── worker          (hints; the heartbeat is the truth)
//! ```
//!
//! A worker process has one live session on one server. The session knows which attempts it holds, so capacity is counted
//! where it is used; the leases themselves belong to the worker and live on in the store when the stream breaks. The
//! reader of a stream only pushes into the [`Inbox`] and never waits; the session's own task asks the store.
//!
//! * [`held`] decides, without effects: what a message means for what the session holds;
//! * [`session`] carries it out; [`leaser`] brings new attempts; [`messages`] are the words.

pub mod held;
mod inbox;
mod leaser;
pub mod messages;
mod session;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};

pub use inbox::Inbox;

use self::{
    held::Held,
    messages::{DrainMode, SessionEnd, ToWorker, Welcome},
    session::Live,
};
use super::{Core, batch::Batcher, logs::LogWriter, outcome::Settler};
use crate::{
    domain::{
        attempt::AttemptKey,
        event::Progress,
        ids::{RunId, SessionId, WorkerId},
        names::{Lane, Scope},
        transition::Tell,
        worker::{Hello, WorkerStatus},
    },
    ports::{
        broker::Broker,
        store::{HelloAnswer, Owner, Renewal, RenewalAnswer},
    },
};

/// Sessions that may wait for a heartbeat's commit at once.
const RENEWALS: usize = 16_384;
/// Messages that may wait for a worker beyond two per slot.
const OUTBOX: usize = 1_024;
/// A session that is asked to reconnect waits at most so long before it does.
const SPREAD: Duration = Duration::from_secs(2);

/// A session, as the transport drives it.
#[derive(Debug)]
pub struct Session {
    /// What the worker says goes in here; never waits.
    pub inbox: Inbox,
    /// What goes to the worker comes out here; `None` once the session is over.
    pub outbox: mpsc::Receiver<ToWorker>,
    /// The first message.
    pub welcome: Welcome,
}

/// The sessions of this server.
#[derive(Clone, Debug)]
pub struct Hub(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    core: Arc<Core>,
    outcome: Settler,
    logs: LogWriter,
    renewals: Batcher<Renewal, RenewalAnswer>,
    sessions: Mutex<Sessions>,
    /// Slots may have become free, for the leaser.
    slots: Notify,
    /// Sessions came or went, for the leaser's subscriptions.
    lanes: Notify,
    /// Somebody may want something stopped, for the poll.
    stops: Notify,
    draining: AtomicBool,
}

#[derive(Debug, Default)]
struct Sessions {
    by_worker: HashMap<WorkerId, Arc<Live>>,
    by_lane: HashMap<Lane, Vec<Arc<Live>>>,
    /// Lanes the broker delivers. What is released for others would be lost.
    subscribed: HashSet<Lane>,
}

impl Hub {
    pub(crate) fn start(core: &Arc<Core>, broker: &Arc<dyn Broker>, outcome: Settler, logs: LogWriter) -> Self {
        let stage = core.clone();
        let renew = move |renewals| {
            let core = stage.clone();
            Box::pin(async move { core.store.renew(core.now(), renewals).await }) as _
        };
        let hub = Self(Arc::new(Inner {
            core: core.clone(),
            outcome,
            logs,
            renewals: Batcher::start(&core.tasks, "renew", RENEWALS, Box::new(renew)),
            sessions: Mutex::default(),
            slots: Notify::new(),
            lanes: Notify::new(),
            stops: Notify::new(),
            draining: AtomicBool::new(false),
        }));
        leaser::start(&hub, broker.clone());
        session::poll_stops(&hub);
        hub
    }

    /// Opens a session: the store decides whose leases are whose, then the session's task runs until its end.
    pub(crate) async fn open(&self, hello: Hello) -> Result<Session, SessionEnd> {
        let core = &self.0.core;
        if self.0.draining.load(Ordering::Acquire) {
            return Err(SessionEnd::Draining(self.spread(hello.worker)));
        }
        let now = core.now();
        let id = SessionId::new(now);
        let expire = now.plus(core.rules.lease_ttl);
        let answer = core.store.hello(now, core.server, id, &hello, expire).await;
        let (verdicts, moved, draining) = match answer {
            Ok(HelloAnswer::Welcome { verdicts, moved, draining }) => (verdicts, moved, draining),
            Ok(HelloAnswer::Superseded) => return Err(SessionEnd::Superseded),
            Err(error) => {
                tracing::warn!(%error, worker = %hello.worker, "a worker cannot be welcomed for now");
                return Err(SessionEnd::StoreAway);
            }
        };
        core.news.moved(now, &moved);
        let lanes: BTreeSet<_> = hello
            .handlers
            .iter()
            .map(|handler| Lane {
                namespace: hello.namespace.clone(),
                queue: handler.queue.clone(),
                job_type: handler.job_type.clone(),
            })
            .collect();
        let slots: u32 = hello.capacity.values().fold(0, |sum, slots| sum.saturating_add(*slots));
        let (outgoing, outbox) = mpsc::channel(OUTBOX + 2 * usize::try_from(slots.min(100_000)).unwrap_or(0));
        let mut held = Held::new(hello.capacity.clone(), now);
        if draining {
            held.take_no_more();
        }
        let directives = held.welcome(verdicts, core.rules.stop_grace);
        let owner = Owner { worker: hello.worker, epoch: hello.epoch };
        let scope = Scope(hello.namespace.clone());
        let live = Arc::new(Live::new(owner, scope.clone(), hello.name.clone(), lanes, held, outgoing));
        let inbox = Inbox::new(live.clone());
        if let Some(older) = self.add(&live) {
            older.end(SessionEnd::Superseded);
        }
        core.news.worker(now, &scope, hello.worker, &hello.name, WorkerStatus::Connected);
        tracing::info!(worker = %hello.worker, name = %hello.name, session = %id, epoch = hello.epoch, "worker connected");
        if draining {
            live.send(ToWorker::Drain {
                mode: DrainMode::Quiesce,
                reconnect_delay: Duration::ZERO,
                close_delay: Duration::ZERO,
            });
        }
        session::start(self, live);
        Ok(Session { inbox, outbox, welcome: Welcome { session: id, epoch: hello.epoch, directives } })
    }

    /// Free slots by lane, of sessions that take work.
    pub(crate) fn demand(&self) -> HashMap<Lane, usize> {
        if self.0.draining.load(Ordering::Acquire) {
            return HashMap::new();
        }
        let sessions = self.0.sessions.lock();
        let free =
            |lane: &Lane, sessions: &[Arc<Live>]| sessions.iter().map(|live| live.held().free(&lane.queue)).sum();
        sessions
            .by_lane
            .iter()
            .filter(|(lane, _)| sessions.subscribed.contains(*lane))
            .map(|(lane, sessions)| (lane.clone(), free(lane, sessions)))
            .collect()
    }

    /// What a running attempt last told.
    pub(crate) fn progress(&self, run: RunId) -> Option<Progress> {
        let sessions: Vec<_> = self.0.sessions.lock().by_worker.values().cloned().collect();
        sessions.iter().find_map(|live| live.held().progress(run))
    }

    /// The worker of an attempt must be told something.
    pub(crate) fn tell(&self, worker: WorkerId, key: AttemptKey, tell: Tell, reason: String) {
        let live = self.0.sessions.lock().by_worker.get(&worker).cloned();
        if let Some(live) = live {
            live.tell(key, tell, reason, self.0.core.rules.stop_grace);
            self.0.slots.notify_one();
        }
    }

    /// Hints were lost: look in the store for attempts to be stopped.
    pub(crate) fn look_for_stops(&self) {
        self.0.stops.notify_one();
    }

    /// An operator drains a worker.
    pub(crate) fn drain_one(&self, worker: WorkerId, terminate: bool) {
        let live = self.0.sessions.lock().by_worker.get(&worker).cloned();
        if let Some(live) = live {
            live.held().take_no_more();
            let mode = if terminate { DrainMode::Terminate } else { DrainMode::Quiesce };
            live.send(ToWorker::Drain { mode, reconnect_delay: Duration::ZERO, close_delay: Duration::ZERO });
        }
    }

    /// The server goes away: nothing new is leased, workers are asked to reconnect, and are let go after `patience`.
    pub(crate) async fn drain(&self, patience: Duration) {
        self.0.draining.store(true, Ordering::Release);
        let core = &self.0.core;
        let sessions: Vec<_> = self.0.sessions.lock().by_worker.values().cloned().collect();
        for live in &sessions {
            live.held().take_no_more();
            let reconnect_delay = self.spread(live.owner.worker);
            live.send(ToWorker::Drain { mode: DrainMode::Reconnect, reconnect_delay, close_delay: patience });
        }
        let mut timer = core.clock.timer("drain");
        let until = core.now().plus(patience);
        tokio::select! {
            () = async { for live in &sessions { live.settled().await } } => {}
            () = timer.sleep_until(until) => {}
        }
        for live in sessions {
            live.end(SessionEnd::Draining(self.spread(live.owner.worker)));
        }
    }

    /// How long a worker waits before it comes back, so that not all come at once; the same for the same worker.
    fn spread(&self, worker: WorkerId) -> Duration {
        let mut hasher = DefaultHasher::new();
        (worker, self.0.core.seed).hash(&mut hasher);
        let most = u64::try_from(SPREAD.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(hasher.finish() % most.max(1))
    }

    fn add(&self, live: &Arc<Live>) -> Option<Arc<Live>> {
        let mut sessions = self.0.sessions.lock();
        let older = sessions.by_worker.insert(live.owner.worker, live.clone());
        if let Some(older) = &older {
            sessions.forget(older);
        }
        for lane in &live.lanes {
            sessions.by_lane.entry(lane.clone()).or_default().push(live.clone());
        }
        drop(sessions);
        self.0.lanes.notify_one();
        older
    }

    fn remove(&self, live: &Arc<Live>) {
        let mut sessions = self.0.sessions.lock();
        sessions.forget(live);
        if sessions.by_worker.get(&live.owner.worker).is_some_and(|current| Arc::ptr_eq(current, live)) {
            sessions.by_worker.remove(&live.owner.worker);
        }
        drop(sessions);
        self.0.lanes.notify_one();
    }
}

impl Sessions {
    fn forget(&mut self, live: &Arc<Live>) {
        for lane in &live.lanes {
            if let Some(others) = self.by_lane.get_mut(lane) {
                others.retain(|other| !Arc::ptr_eq(other, live));
                if others.is_empty() {
                    self.by_lane.remove(lane);
                }
            }
        }
    }
}
