//! An engine without a socket: the embedded family's own store, broker and signals, a clock that the test moves, and
//! workers that are sessions of it.
//!
//! For what follows from time, or from a store that is damaged or away for a moment: a test moves the clock from event to
//! event, and [`Stage::sql`] does to the database what a disk, a newer version or a person might.

use std::{collections::VecDeque, path::PathBuf, sync::Arc, time::Duration};

use mainspring_engine::{
    domain::{
        attempt::{AttemptKey, Outcome},
        budget::LATE_RUNS_A_SECOND,
        ids::{JobUid, RunId, ServerId, WorkerId},
        instant::Instant,
        job::{Job, JobSpec},
        names::{Lane, Scope},
        rules::LeaseRules,
        run::RunState,
        worker::{Capacity, Held, Hello, Phase},
    },
    flow::{
        Engine, Parts,
        stream::{
            Session,
            messages::{Directive, Disposition, FromWorker, Reply, SessionEnd, ToWorker, Welcome},
        },
    },
    ports::{
        clock::Clock as _,
        meter::Meter,
        store::{CreateJob, Dispatchable, NewJob, NewRun, Report, RetentionPolicy, RunView, Submitted},
    },
    tasks::Tasks,
};
use mainspring_server::{
    adapters::{
        http::{HttpCourier, Reach, SealKey},
        inproc::{InprocBroker, InprocSignals},
        sql::{OpenOptions, SqliteStore, open},
    },
    config::WebhooksConfig,
};
use parking_lot::Mutex;
use sqlx::{Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};
use tempfile::TempDir;

use crate::{
    conformance::world::{World, lane},
    harness::host::{self, PATIENCE},
    manual_clock::ManualClock,
};

/// A running engine and everything it stands on.
#[derive(Debug)]
pub struct Stage {
    /// The only now it has.
    pub clock: ManualClock,
    /// The engine.
    pub engine: Engine,
    /// Its store.
    pub store: Arc<SqliteStore>,
    /// The times leases live by.
    pub rules: LeaseRules,
    /// What another server would tell this one.
    pub others: InprocSignals,
    /// How many runs shared each step that leased.
    pub leases: Arc<Leases>,
    look: Duration,
    retention: RetentionPolicy,
    late_runs: u32,
    tasks: StopTasks,
    home: TempDir,
}

/// A meter that notes how large steps of the store are that lease.
#[derive(Debug, Default)]
pub struct Leases(Mutex<Vec<usize>>);

impl Leases {
    /// The sizes so far.
    pub fn sizes(&self) -> Vec<usize> {
        self.0.lock().clone()
    }
}

impl Meter for Leases {
    fn made(&self, _: &Lane) {}

    fn fired(&self, _: Duration) {}

    fn leased(&self, _: &Lane, _: Duration) {}

    fn reported(&self, _: &Lane, _: Duration) {}

    fn over(&self, _: &Lane, _: RunState) {}

    fn step(&self, name: &'static str, items: usize) {
        if name == "lease" {
            self.0.lock().push(items);
        }
    }
}

/// Stops the loops when a test is over, however it ends.
#[derive(Debug)]
struct StopTasks(Tasks);

impl Drop for StopTasks {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl Stage {
    /// An engine over an empty store, with the default rules. Nobody is judged yet: see [`Stage::judging`].
    pub async fn set() -> Self {
        Self::set_with(LeaseRules::default(), Duration::from_secs(1)).await
    }

    /// The same by other rules, and with every stage looking at the store this often. What is to last for days looks
    /// seldom, and so depends on what it is told.
    pub async fn set_with(rules: LeaseRules, look: Duration) -> Self {
        Self::set_to(rules, look, LATE_RUNS_A_SECOND).await
    }

    /// The same with so many runs a second of what was missed.
    pub async fn set_to(rules: LeaseRules, look: Duration, late_runs: u32) -> Self {
        let home = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(Instant::from_micros(1_800_000_000_000_000));
        let stage = Self::start(home, clock, rules, look, RetentionPolicy::default(), late_runs).await;
        stage.clock.settled().await;
        stage
    }

    /// The same, and nothing is deleted for being old: for whoever judges in the end.
    pub async fn set_for_years(rules: LeaseRules, look: Duration, late_runs: u32) -> Self {
        const LONG: Duration = Duration::from_secs(1_000 * 366 * 86_400);
        let mut stage = Self::set_to(rules, look, late_runs).await;
        stage.retention = RetentionPolicy {
            succeeded: LONG,
            failed: LONG,
            unresolved: LONG,
            logs: LONG,
            ledger: LONG,
            requests: LONG,
            jobs: LONG,
            workers: LONG,
            deliveries: LONG,
        };
        stage.outage(Duration::ZERO).await
    }

    /// An engine over an empty store that keeps what there is for so long.
    pub async fn set_keeping(retention: RetentionPolicy) -> Self {
        let mut stage = Self::set().await;
        stage.retention = retention;
        stage.outage(Duration::ZERO).await
    }

    async fn start(
        home: TempDir,
        clock: ManualClock,
        rules: LeaseRules,
        look: Duration,
        retention: RetentionPolicy,
        late_runs: u32,
    ) -> Self {
        let store = open(OpenOptions { rules, ..OpenOptions::new(home.path().join("data")) }).await.unwrap();
        let tasks = Tasks::default();
        let others = InprocSignals::default();
        let leases = Arc::new(Leases::default());
        let webhooks = WebhooksConfig { allow_loopback: true, ..WebhooksConfig::default() };
        let courier = HttpCourier::new(Reach::from(&webhooks), SealKey::new(&[7; 32]));
        let engine = Engine::start(Parts {
            look,
            courier: Arc::new(courier),
            store: store.clone(),
            broker: Arc::new(InprocBroker::default()),
            signals: Arc::new(others.another()),
            clock: Arc::new(clock.clone()),
            meter: leases.clone(),
            rules,
            retention,
            late_runs,
            server: ServerId::new(clock.now()),
            tasks: tasks.clone(),
            seed: 0,
        });
        Self { clock, engine, store, rules, others, leases, look, retention, late_runs, tasks: StopTasks(tasks), home }
    }

    /// The server goes, is away for so long, and another one has looked at its data when this returns. Sessions are over,
    /// and must have been dropped.
    pub async fn outage(self, length: Duration) -> Self {
        let Self { clock, engine, store, rules, look, retention, late_runs, tasks, home, .. } = self;
        tasks.0.stop();
        drop(engine);
        host::within(PATIENCE, "every loop to end", tasks.0.ended()).await.unwrap();
        store.close().await;
        drop(store);
        clock.jump(length);
        let stage = Self::start(home, clock, rules, look, retention, late_runs).await;
        stage.asleep("due").await;
        stage.pass(Duration::ZERO).await;
        stage
    }

    /// The same after the first lease time, in which a server judges nobody.
    pub async fn judging() -> Self {
        let stage = Self::set().await;
        stage.pass(stage.rules.lease_ttl + Duration::from_secs(2)).await;
        stage
    }

    /// Lets time pass, timer by timer.
    pub async fn pass(&self, length: Duration) {
        let passed = async {
            self.clock.advance(length).await;
            self.clock.settled().await;
        };
        let at_work = || self.clock.at_work();
        host::within(PATIENCE, "every loop to be asleep", passed).await.unwrap_or_else(|_| panic!("{:?}", at_work()));
    }

    /// Waits until a loop's timer is asleep: a step that failed waits for its next try.
    pub async fn asleep(&self, timer: &str) {
        host::within(PATIENCE, &format!("timer {timer} to be asleep"), self.clock.asleep(timer)).await.unwrap();
    }

    /// The machine sleeps: time passes for everybody else.
    pub async fn sleep(&self, length: Duration) {
        self.clock.jump(length);
        self.clock.settled().await;
    }

    /// Whether a task panicked.
    pub async fn is_broken(&self) -> bool {
        host::within(Duration::ZERO, "nothing", self.tasks.0.broken()).await.is_ok()
    }

    /// The shapes of the conformance suite, at this time.
    pub fn world(&self) -> World {
        World::over(self.store.clone(), self.clock.now(), Box::new(()))
    }

    /// The database file.
    pub fn database(&self) -> PathBuf {
        self.home.path().join("data").join("mainspring.db")
    }

    /// Does something to the database behind the server's back.
    pub async fn sql(&self, statement: impl Into<String>) {
        let options = SqliteConnectOptions::new().filename(self.database()).busy_timeout(PATIENCE);
        let mut db = SqliteConnection::connect_with(&options).await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement.into())).execute(&mut db).await.unwrap();
        db.close().await.unwrap();
    }

    /// Submits one run.
    pub async fn submit(&self, run: NewRun) -> RunId {
        match self.engine.submit(vec![run]).await.unwrap().remove(0) {
            Submitted::Stored(stored) => stored.moved.run,
            other => panic!("{other:?}"),
        }
    }

    /// Submits one run that is due now.
    pub async fn submit_one(&self) -> RunId {
        self.submit(self.world().new_run()).await
    }

    /// Creates a job as a caller does.
    pub async fn create(&self, name: &str, spec: JobSpec) -> Job {
        let uid = JobUid::new(self.clock.now());
        let job = NewJob { scope: Scope::default(), uid, name: name.parse().unwrap(), spec, request: None };
        match self.engine.jobs().create(job).await.unwrap() {
            CreateJob::Created(job) => job,
            other => panic!("{other:?}"),
        }
    }

    /// A run as it stands.
    pub async fn run(&self, run: RunId) -> RunView {
        self.engine.store().run(&Scope::default(), run).await.unwrap().unwrap()
    }

    /// How a run stands.
    pub async fn state(&self, run: RunId) -> RunState {
        self.run(run).await.life.state
    }

    /// Waits until a run is in a state, without moving the clock.
    pub async fn until(&self, run: RunId, state: RunState) {
        let mut watch = self.engine.events().watch(None).unwrap();
        let reached = async {
            while self.state(run).await != state {
                watch.next().await.unwrap();
            }
        };
        host::within(PATIENCE, &format!("run {run} to be {}", state.name()), reached).await.unwrap();
    }

    /// A worker of the conformance suite's lane, connected.
    pub async fn connect(&self, slots: u32) -> Worker {
        self.connect_as(WorkerId::new(self.clock.now()), 1, slots, &[]).await.unwrap()
    }

    /// A session of a worker that lists what it holds.
    pub async fn connect_as(
        &self,
        worker: WorkerId,
        epoch: i64,
        slots: u32,
        holds: &[AttemptKey],
    ) -> Result<Worker, SessionEnd> {
        let capacity = Capacity::from([(lane().queue, slots)]);
        let hello = Hello { capacity, ..self.world().hello(worker, epoch, holds) };
        self.connect_with(hello).await
    }

    /// A session that begins with this Hello.
    pub async fn connect_with(&self, hello: Hello) -> Result<Worker, SessionEnd> {
        let (id, epoch, capacity) = (hello.worker, hello.epoch, hello.capacity.clone());
        let Session { inbox, outbox, welcome } = self.engine.open_session(hello).await?;
        Ok(Worker { id, epoch, capacity, welcome, inbox, outbox, sequence: 0, passed_over: VecDeque::new() })
    }
}

/// A worker with a session.
#[derive(Debug)]
pub struct Worker {
    /// The process.
    pub id: WorkerId,
    /// The number of this session.
    pub epoch: i64,
    /// What it will hold at once.
    pub capacity: Capacity,
    /// What it was told first.
    pub welcome: Welcome,
    /// What it says goes in here.
    pub inbox: mainspring_engine::flow::stream::Inbox,
    outbox: tokio::sync::mpsc::Receiver<ToWorker>,
    sequence: i64,
    /// What was heard while something else was waited for.
    passed_over: VecDeque<ToWorker>,
}

impl Worker {
    /// Says something.
    pub fn say(&self, message: FromWorker) {
        self.inbox.push(message).unwrap();
    }

    /// The first message that is of interest. Others are kept for whoever asks for them.
    pub async fn until<T>(&mut self, what: &str, mut find: impl FnMut(&ToWorker) -> Option<T>) -> T {
        for at in 0..self.passed_over.len() {
            if let Some(found) = find(&self.passed_over[at]) {
                self.passed_over.remove(at);
                return found;
            }
        }
        let heard = async {
            while let Some(message) = self.outbox.recv().await {
                match find(&message) {
                    Some(found) => return Some(found),
                    None => self.passed_over.push_back(message),
                }
            }
            None
        };
        let heard = host::within(PATIENCE, what, heard).await.unwrap();
        heard.unwrap_or_else(|| panic!("the session ended before {what}"))
    }

    /// Whether a message of interest has been said so far.
    pub fn heard(&mut self, find: impl FnMut(&ToWorker) -> bool) -> bool {
        while let Ok(message) = self.outbox.try_recv() {
            self.passed_over.push_back(message);
        }
        self.passed_over.iter().any(find)
    }

    /// Forgets the messages of interest that have been said so far; how many.
    pub fn take(&mut self, mut find: impl FnMut(&ToWorker) -> bool) -> usize {
        while let Ok(message) = self.outbox.try_recv() {
            self.passed_over.push_back(message);
        }
        let before = self.passed_over.len();
        self.passed_over.retain(|message| !find(message));
        before - self.passed_over.len()
    }

    /// The next attempt.
    pub async fn dispatch(&mut self) -> Box<Dispatchable> {
        self.until("a Dispatch", |message| match message {
            ToWorker::Dispatch { attempt, .. } => Some(attempt.clone()),
            _ => None,
        })
        .await
    }

    /// The next attempt, taken.
    pub async fn accepted(&mut self) -> AttemptKey {
        let key = self.dispatch().await.key;
        self.say(FromWorker::Reply(key, Reply::Accepted(Phase::Running)));
        key
    }

    /// Says that it lives and holds this; the number of the heartbeat.
    pub fn heartbeat(&mut self, holds: &[AttemptKey]) -> i64 {
        self.sequence += 1;
        let in_flight = holds.iter().map(|key| Held { key: *key, phase: Phase::Running }).collect();
        let capacity = self.capacity.clone();
        self.say(FromWorker::Heartbeat { sequence: self.sequence, draining: false, in_flight, capacity });
        self.sequence
    }

    /// A heartbeat, and what its answer asks for.
    pub async fn renew(&mut self, holds: &[AttemptKey]) -> Vec<Directive> {
        let wanted = self.heartbeat(holds);
        self.until("a HeartbeatAck", |message| match message {
            ToWorker::HeartbeatAck { sequence, directives, .. } if *sequence >= wanted => Some(directives.clone()),
            _ => None,
        })
        .await
    }

    /// Reports an attempt.
    pub fn report(&self, key: AttemptKey, outcome: Outcome) {
        let report =
            Report { scope: Scope::default(), key, outcome, output: None, start_time: None, log_lines: Some(0) };
        self.say(FromWorker::Result(Box::new(report)));
    }

    /// Reports an attempt; what became of it.
    pub async fn reported(&mut self, key: AttemptKey, outcome: Outcome) -> Disposition {
        self.report(key, outcome);
        self.result_ack(key).await
    }

    /// What became of a result.
    pub async fn result_ack(&mut self, key: AttemptKey) -> Disposition {
        self.until("a ResultAck", |message| match message {
            ToWorker::ResultAck(of, disposition) if *of == key => Some(*disposition),
            _ => None,
        })
        .await
    }

    /// Whether the session is over; what it said before may still be heard.
    pub fn is_over(&self) -> bool {
        self.outbox.is_closed()
    }

    /// Why the session ended.
    pub async fn ended(&self) -> SessionEnd {
        host::within(PATIENCE, "the end of a session", self.inbox.ended()).await.unwrap()
    }

    /// Its connection breaks.
    pub fn sever(self) -> (WorkerId, i64) {
        self.inbox.close(false);
        (self.id, self.epoch)
    }
}
