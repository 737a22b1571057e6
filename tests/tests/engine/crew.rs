//! Simulated workers, which keep the rules of `examples/raw`: they live from step to step, lose their streams, die, and come
//! back. What they see that must never be is a panic here; the rest is for whoever judges a simulation in the end.
//!
//! What an attempt does follows from the seed and from what the attempt is, so that a seed tells the same story again
//! whoever was given which attempt.

use std::{
    collections::{BTreeMap, HashSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::Duration,
};

use mainspring_engine::{
    domain::{
        attempt::{AttemptKey, Outcome},
        ids::{RunId, WorkerId},
        worker::Phase,
    },
    flow::stream::messages::{Directive, Disposition, FromWorker, Reply, ToWorker},
    ports::store::Dispatchable,
};
use mainspring_tests::{
    conformance::world::failure,
    engine::{Stage, Worker},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use sqlx::{Connection as _, Row as _, SqliteConnection, sqlite::SqliteConnectOptions};

const SLOTS: u32 = 2;

/// The database, to be read.
pub(crate) async fn database(stage: &Stage) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(stage.database()).read_only(true);
    SqliteConnection::connect_with(&options).await.unwrap()
}

/// The first column of a question to the database.
pub(crate) async fn numbers(stage: &Stage, sql: &str) -> Vec<i64> {
    let mut db = database(stage).await;
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(&mut db).await.unwrap();
    let numbers = rows.iter().map(|row| row.get(0)).collect();
    db.close().await.unwrap();
    numbers
}

/// The workers of a simulation, and what they saw.
pub(crate) struct Crew {
    places: Vec<Place>,
    pub(crate) seen: Seen,
    /// A heartbeat: the step in which they live.
    unit: Duration,
    pub(crate) step: u64,
}

impl Crew {
    /// Three places.
    pub(crate) fn new(stage: &Stage, seed: u64, unit: Duration) -> Self {
        let places = (0..3).map(|_| Place::new(stage, seed)).collect();
        Self { places, seen: Seen::default(), unit, step: 0 }
    }

    /// One heartbeat's worth of their lives.
    pub(crate) async fn live(&mut self, stage: &Stage) {
        self.step += 1;
        stage.pass(self.unit).await;
        for place in &mut self.places {
            place.live(stage, self.step, &mut self.seen).await;
        }
    }

    /// The same, in which one may die or lose its stream.
    pub(crate) async fn live_dangerously(&mut self, stage: &Stage, rng: &mut StdRng) {
        self.live(stage).await;
        for place in &mut self.places {
            if rng.random_ratio(1, 150) {
                self.seen.deaths += 1;
                place.die(stage, self.step, rng);
            } else if rng.random_ratio(1, 60) {
                self.seen.breaks += 1;
                place.lose_stream(self.step, rng);
            }
        }
    }

    /// The server went: they are connected again at the next step, and hold what they held.
    pub(crate) fn lose_server(&mut self) {
        for session in self.places.iter_mut().filter_map(|place| place.session.take()) {
            session.sever();
        }
    }

    /// In peace until nothing is left to do, which takes so long at most.
    pub(crate) async fn finish(&mut self, stage: &Stage, patience: Duration) {
        // Between two runs of a backfill there may be none for a moment. A pause holds one up for good.
        let unfinished = "SELECT (SELECT count(*) FROM run WHERE end_time IS NULL) \
                          + (SELECT count(*) FROM backfill JOIN job ON job.uid = job_uid WHERE end_time IS NULL \
                             AND (pause_time IS NULL OR json_extract(spec, '$.while_paused')))";
        let until = stage.engine.now().plus(patience);
        while stage.engine.now() < until && numbers(stage, unfinished).await != [0] {
            self.live(stage).await;
        }
        assert_eq!(numbers(stage, unfinished).await, [0], "something is stuck");
        assert!(!stage.is_broken().await);
    }
}

/// What everybody saw.
#[derive(Default)]
pub(crate) struct Seen {
    started: HashSet<AttemptKey>,
    /// Runs whose success was acknowledged, with the attempt.
    pub(crate) over: BTreeMap<RunId, i64>,
    pub(crate) deaths: u32,
    pub(crate) breaks: u32,
}

/// What a worker does with an attempt.
#[derive(Clone)]
enum Work {
    /// Over at this step, by failing or not.
    Until(u64, bool),
    Done(Outcome),
}

/// A place where a worker runs, dies and is started again.
struct Place {
    seed: u64,
    id: WorkerId,
    epoch: i64,
    held: BTreeMap<AttemptKey, Work>,
    session: Option<Worker>,
    /// Without a session until this step.
    away: u64,
}

impl Place {
    fn new(stage: &Stage, seed: u64) -> Self {
        Self { seed, id: WorkerId::new(stage.engine.now()), epoch: 0, held: BTreeMap::new(), session: None, away: 0 }
    }

    /// One heartbeat's worth of its life.
    async fn live(&mut self, stage: &Stage, step: u64, seen: &mut Seen) {
        if self.session.is_none() && step >= self.away {
            self.connect(stage).await;
        }
        self.hear(step, seen);
        for (key, work) in &mut self.held {
            if let Work::Until(end, fails) = *work
                && end <= step
            {
                let outcome = if fails { Outcome::Failed(failure("UNLUCKY")) } else { Outcome::Succeeded };
                *work = Work::Done(outcome.clone());
                if let Some(session) = &self.session {
                    session.report(*key, outcome);
                }
            }
        }
        if let Some(session) = &mut self.session {
            session.heartbeat(&self.held.keys().copied().collect::<Vec<_>>());
        }
    }

    async fn connect(&mut self, stage: &Stage) {
        self.epoch += 1;
        let holds: Vec<_> = self.held.keys().copied().collect();
        let session = stage.connect_as(self.id, self.epoch, SLOTS, &holds).await.unwrap();
        for directive in &session.welcome.directives {
            obey(&mut self.held, directive);
        }
        for (key, work) in &self.held {
            if let Work::Done(outcome) = work {
                session.report(*key, outcome.clone());
            }
        }
        self.session = Some(session);
    }

    /// Takes what was said since the last step.
    fn hear(&mut self, step: u64, seen: &mut Seen) {
        let Some(session) = &mut self.session else { return };
        // A machine that falls asleep between two steps of a session may find it silent when it wakes.
        let over = session.is_over();
        let (seed, held, mut accepted, mut stopped) = (self.seed, &mut self.held, Vec::new(), Vec::new());
        session.take(|message| {
            match message {
                ToWorker::Dispatch { attempt, .. } => {
                    let key = attempt.key;
                    assert!(seen.started.insert(key), "{key} is started twice");
                    assert!(
                        !seen.over.contains_key(&key.run),
                        "{key} is started after the acknowledged end of its run"
                    );
                    held.insert(key, work_of(seed, attempt, step));
                    accepted.push(key);
                }
                ToWorker::ResultAck(key, disposition) => {
                    let work = held.remove(key);
                    if let (Some(Work::Done(Outcome::Succeeded)), Disposition::Applied) = (work, disposition) {
                        assert_eq!(seen.over.insert(key.run, key.attempt), None, "{key} ends an ended run");
                    }
                }
                ToWorker::Revoke(key, _) => drop(held.remove(key)),
                ToWorker::HeartbeatAck { directives, .. } => {
                    stopped.extend(directives.iter().filter_map(|directive| obey(held, directive)));
                }
                ToWorker::Cancel(key, stop) => {
                    stopped.extend(obey(held, &Directive::Cancel(*key, stop.clone())));
                }
                ToWorker::LogAck(..) | ToWorker::Drain { .. } | ToWorker::Notice { .. } => {
                    panic!("nobody asked for {message:?}");
                }
            }
            true
        });
        if over {
            self.session = None;
            self.away = step + 1;
            return;
        }
        for key in accepted {
            session.say(FromWorker::Reply(key, Reply::Accepted(Phase::Running)));
        }
        for key in stopped {
            session.report(key, Outcome::Cancelled);
        }
    }

    /// Its stream breaks; it goes on working, and is back a little before its lease ends, or a little after.
    fn lose_stream(&mut self, step: u64, rng: &mut StdRng) {
        if let Some(session) = self.session.take() {
            session.sever();
            self.away = step + rng.random_range(1..9);
        }
    }

    /// It dies with all that it holds, and another process takes its place.
    fn die(&mut self, stage: &Stage, step: u64, rng: &mut StdRng) {
        if let Some(session) = self.session.take() {
            session.sever();
        }
        *self = Self { away: step + rng.random_range(1..9), ..Self::new(stage, self.seed) };
    }
}

/// What becomes of an attempt, and when.
fn work_of(seed: u64, attempt: &Dispatchable, step: u64) -> Work {
    let mut hasher = DefaultHasher::new();
    let job = attempt.job.as_ref().map(|(_, name, _)| name.to_string());
    (seed, job, attempt.due_time.as_micros(), attempt.key.attempt).hash(&mut hasher);
    let mut rng = StdRng::seed_from_u64(hasher.finish());
    Work::Until(step + rng.random_range(0..12), rng.random_ratio(1, 8))
}

/// Drops what does not count any more, and stops what took too long; the attempt that has an end to report by that.
fn obey(held: &mut BTreeMap<AttemptKey, Work>, directive: &Directive) -> Option<AttemptKey> {
    match directive {
        Directive::Abandon(key, _) => {
            held.remove(key);
            None
        }
        Directive::Cancel(key, _) => {
            let work = held.get_mut(key).filter(|work| matches!(work, Work::Until(..)))?;
            *work = Work::Done(Outcome::Cancelled);
            Some(*key)
        }
    }
}
