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
//! * [`session`] carries it out on a [`live`] session; [`leaser`] brings new attempts; [`messages`] are the words;
//! * [`demand`] knows how many slots are free in each lane; [`stops`] looks for what workers should have been told and may not have heard.

mod demand;
pub mod held;
mod inbox;
mod leaser;
mod live;
pub mod messages;
mod session;
mod stops;

use std::{
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};

pub use inbox::Inbox;

use self::{
    demand::{Demand, SessionNumber, Share},
    held::Held,
    live::Live,
    messages::{DrainMode, SessionEnd, ToWorker, Welcome},
};
use super::{Core, batch::Batcher, logs::LogWriter, outcome::Settler};
use crate::{
    domain::{
        attempt::AttemptKey,
        event::Progress,
        ids::{RunId, SessionId, WorkerId},
        names::{Lane, Scope},
        transition::Tell,
        worker::{Drain, Hello, WorkerStatus},
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
    demand: Arc<Demand>,
    /// Slots may have become free, for the leaser.
    slots: Notify,
    /// Sessions came or went, for the leaser's subscriptions.
    lanes: Notify,
    /// Lanes that ask for labels, as far as they are known: each session of theirs has them, or gets them when it comes.
    selective: Mutex<HashSet<Lane>>,
    /// Somebody may want something stopped, for the poll.
    stops: Notify,
    draining: AtomicBool,
}

#[derive(Debug, Default)]
struct Sessions {
    by_worker: HashMap<WorkerId, Arc<Live>>,
    by_number: HashMap<SessionNumber, Arc<Live>>,
    /// Lanes the broker delivers. What is released for others would be lost.
    subscribed: HashSet<Lane>,
}

/// How the sessions of this server stand to a lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Sessions that take its work and answer what they are sent.
    pub answering: u32,
    /// Sessions that take its work, and did not answer the last time.
    pub silent: u32,
    /// Free slots of those that answer.
    pub free: usize,
}

impl Hub {
    pub(crate) fn start(core: &Arc<Core>, broker: &Arc<dyn Broker>, outcome: Settler, logs: LogWriter) -> Self {
        let renew = |core: Arc<Core>, renewals| async move { core.store.renew(core.now(), renewals).await };
        let hub = Self(Arc::new(Inner {
            core: core.clone(),
            outcome,
            logs,
            renewals: Batcher::of(core, "renew", RENEWALS, renew),
            sessions: Mutex::default(),
            demand: Arc::default(),
            slots: Notify::new(),
            lanes: Notify::new(),
            selective: Mutex::default(),
            stops: Notify::new(),
            draining: AtomicBool::new(false),
        }));
        leaser::start(&hub, broker.clone());
        stops::start(&hub);
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
        let selective = core.store.selective(&hello.namespace).await;
        let (verdicts, moved, drain) = match answer {
            Ok(HelloAnswer::Welcome { verdicts, moved, drain }) => (verdicts, moved, drain),
            Ok(HelloAnswer::Superseded) => return Err(SessionEnd::Superseded),
            Ok(HelloAnswer::Foreign) => return Err(SessionEnd::Foreign),
            Ok(HelloAnswer::Full(quota)) => return Err(SessionEnd::Full(quota)),
            Err(error) => {
                put_off!(error, worker = %hello.worker, "a worker cannot be welcomed for now");
                return Err(SessionEnd::StoreAway(error));
            }
        };
        let selective = match selective {
            Ok(lanes) => lanes,
            Err(error) => {
                put_off!(error, worker = %hello.worker, "a worker cannot be welcomed for now");
                return Err(SessionEnd::StoreAway(error));
            }
        };
        core.news.moved(now, &moved);
        let slots: u32 = hello.capacity.values().fold(0, |sum, slots| sum.saturating_add(*slots));
        let (outgoing, outbox) = mpsc::channel(OUTBOX + 2 * usize::try_from(slots.min(100_000)).unwrap_or(0));
        let mut held = Held::new(hello.capacity.clone(), now);
        let directives = held.welcome(verdicts, core.rules.stop_grace, now);
        let owner = Owner { worker: hello.worker, epoch: hello.epoch };
        let scope = Scope(hello.namespace.clone());
        let share = Share::new(&self.0.demand, hello.lanes());
        let live = Arc::new(Live::new(owner, scope.clone(), &hello, share, held, outgoing));
        let inbox = Inbox::new(live.clone());
        if drain.is_some() {
            live.held().take_no_more();
        }
        match self.add(&live) {
            Added::First => {}
            Added::Instead(older) => older.end(SessionEnd::Superseded),
            Added::TooLate => return Err(SessionEnd::Superseded),
        }
        self.know(&live, selective);
        core.news.worker(now, &scope, hello.worker, &hello.name, WorkerStatus::Connected);
        tracing::info!(worker = %hello.worker, name = %hello.name, session = %id, epoch = hello.epoch, "worker connected");
        if let Some(drain) = drain {
            self.drain_session(&live, drain);
        }
        session::start(self, live, hello.capacity);
        Ok(Session { inbox, outbox, welcome: Welcome { session: id, epoch: hello.epoch, directives } })
    }

    /// A session that has come takes work of the lanes that ask for its labels: those that are there, and those that came
    /// while it did.
    fn know(&self, live: &Live, lanes: Vec<Lane>) {
        let mut selective = self.0.selective.lock();
        selective.extend(lanes);
        selective.iter().for_each(|lane| live.learn(lane));
        drop(selective);
        self.0.lanes.notify_one();
    }

    /// Runs may wait in a lane that asks for labels, which may be new: whoever has them takes its work from now on.
    pub(crate) fn learn(&self, lane: &Lane) {
        if !lane.selector.is_empty() && self.0.selective.lock().insert(lane.clone()) {
            self.all().iter().for_each(|live| live.learn(lane));
            self.0.lanes.notify_one();
        }
    }

    /// Free slots by lane, of sessions that take work.
    pub(crate) fn demand(&self) -> HashMap<Lane, usize> {
        if self.0.draining.load(Ordering::Acquire) {
            return HashMap::new();
        }
        let mut demand = self.0.demand.lanes();
        let sessions = self.0.sessions.lock();
        demand.retain(|lane, _| sessions.subscribed.contains(lane));
        demand
    }

    /// How the sessions stand to a lane, for people: it looks at all of them.
    pub(crate) fn room(&self, lane: &Lane) -> Room {
        self.all().iter().filter_map(|live| live.room(lane)).fold(
            Room::default(),
            |room, (free, answers)| match answers {
                true => Room { answering: room.answering + 1, free: room.free.saturating_add(free), ..room },
                false => Room { silent: room.silent + 1, ..room },
            },
        )
    }

    /// Sessions that are open.
    pub(crate) fn sessions(&self) -> usize {
        self.0.sessions.lock().by_worker.len()
    }

    /// What a running attempt of a worker last told.
    pub(crate) fn progress(&self, worker: WorkerId, key: AttemptKey) -> Option<Progress> {
        let live = self.session(worker)?;
        live.held().progress(key)
    }

    fn session(&self, worker: WorkerId) -> Option<Arc<Live>> {
        self.0.sessions.lock().by_worker.get(&worker).cloned()
    }

    fn all(&self) -> Vec<Arc<Live>> {
        self.0.sessions.lock().by_worker.values().cloned().collect()
    }

    /// The worker of an attempt must be told something; `false` where it has no session here.
    pub(crate) fn tell(&self, worker: WorkerId, run: RunId, tell: &Tell) -> bool {
        let Some(live) = self.session(worker) else { return false };
        let core = &self.0.core;
        live.tell(run, tell, core.rules.stop_grace, core.now());
        self.0.slots.notify_one();
        true
    }

    /// Hints were lost: look in the store for attempts to be stopped, and compare what workers hold with the rows.
    pub(crate) fn hints_were_lost(&self) {
        self.0.stops.notify_one();
        self.all().iter().for_each(|live| live.doubt());
    }

    /// An operator drains a worker; `false` where it has no session here.
    pub(crate) fn drain_one(&self, worker: WorkerId, drain: Drain) -> bool {
        let Some(live) = self.session(worker) else { return false };
        self.drain_session(&live, drain);
        true
    }

    fn drain_session(&self, live: &Live, drain: Drain) {
        if live.drain(drain) {
            let core = &self.0.core;
            core.news.worker(core.now(), &live.scope, live.owner.worker, &live.name, WorkerStatus::Draining);
        }
    }

    /// For those whom the hub itself knows.
    pub(crate) fn downgrade(&self) -> WeakHub {
        WeakHub(Arc::downgrade(&self.0))
    }

    /// The server goes away: nothing new is leased, workers are asked to reconnect, and are let go after `patience`. Whoever
    /// holds nothing is let go as soon as all had the time to find another server: where there is none, nobody would leave.
    pub(crate) async fn drain(&self, patience: Duration) {
        self.0.draining.store(true, Ordering::Release);
        let core = &self.0.core;
        let begin = core.now();
        let sessions = self.all();
        for live in &sessions {
            live.held().take_no_more();
            let reconnect_delay = self.spread(live.owner.worker);
            live.send(ToWorker::Drain { mode: DrainMode::Reconnect, reconnect_delay, close_delay: patience });
        }
        let (mut spread, mut end) = (core.clock.timer("drain"), core.clock.timer("drain"));
        let let_go = async |live: &Arc<Live>| {
            live.empty_handed().await;
            live.end(SessionEnd::Draining(self.spread(live.owner.worker)));
        };
        tokio::select! {
            () = async {
                if sessions.iter().any(|live| live.ended().is_none()) {
                    spread.sleep_until(begin.plus(SPREAD)).await;
                }
                join_all(sessions.iter().map(let_go)).await;
            } => {}
            () = end.sleep_until(begin.plus(patience)) => {}
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

    fn add(&self, live: &Arc<Live>) -> Added {
        let added = self.0.sessions.lock().add(live);
        self.0.lanes.notify_one();
        added
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

/// A hub that may be gone with its engine.
#[derive(Clone, Debug)]
pub(crate) struct WeakHub(Weak<Inner>);

impl WeakHub {
    pub(crate) fn upgrade(&self) -> Option<Hub> {
        self.0.upgrade().map(Hub)
    }
}

/// What became of a session that was added.
#[derive(Debug)]
enum Added {
    /// The worker had none.
    First,
    /// It takes the place of this one.
    Instead(Arc<Live>),
    /// A later stream of the worker is here: two Hellos may be committed together, and be answered in any order.
    TooLate,
}

impl Sessions {
    fn add(&mut self, live: &Arc<Live>) -> Added {
        let worker = live.owner.worker;
        if self.by_worker.get(&worker).is_some_and(|other| other.owner.epoch > live.owner.epoch) {
            return Added::TooLate;
        }
        let older = self.by_worker.insert(worker, live.clone());
        if let Some(older) = &older {
            self.forget(older);
        }
        self.by_number.insert(live.number, live.clone());
        live.join();
        older.map_or(Added::First, Added::Instead)
    }

    /// A session gets no more work.
    fn forget(&mut self, live: &Live) {
        live.leave();
        self.by_number.remove(&live.number);
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use tokio::sync::mpsc;

    use super::{Added, Held, Live, Owner, Sessions, Share, WorkerId, live::tests::hello};
    use crate::domain::instant::Instant;

    fn session(worker: WorkerId, epoch: i64) -> Arc<Live> {
        let held = Held::new(BTreeMap::new(), Instant::EPOCH);
        let (owner, share) = (Owner { worker, epoch }, Share::new(&Arc::default(), []));
        Arc::new(Live::new(owner, Default::default(), &hello(worker, epoch), share, held, mpsc::channel(1).0))
    }

    #[test]
    fn the_latest_stream_of_a_worker_stays_in_whatever_order_they_are_answered() {
        let worker = WorkerId::new(Instant::EPOCH);
        let [first, second, third] = [1, 2, 3].map(|epoch| session(worker, epoch));
        let mut sessions = Sessions::default();
        assert!(matches!(sessions.add(&second), Added::First));
        assert!(matches!(sessions.add(&first), Added::TooLate));
        assert!(Arc::ptr_eq(&sessions.by_worker[&worker], &second));
        assert!(matches!(sessions.add(&third), Added::Instead(older) if Arc::ptr_eq(&older, &second)));
        let that_take_work: Vec<_> = sessions.by_number.values().map(|live| live.owner.epoch).collect();
        assert_eq!(that_take_work, [3]);
    }
}
