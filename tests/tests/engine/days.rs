//! Days in seconds: schedules, and workers that die, lose their streams and come back, on a clock that jumps from event to
//! event, with nights in which the whole machine sleeps.
//!
//! Everything random follows from a seed, and a simulated worker keeps the rules of `examples/raw`. What is judged in the
//! end is what the workers saw and what the database holds, by arithmetic of its own.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use mainspring_engine::domain::worker::Phase;
use mainspring_engine::{
    domain::{
        attempt::{AttemptKey, Outcome},
        catch_up::{CatchUp, Mode},
        ids::{RunId, WorkerId},
        instant::Instant,
        job::JobSpec,
        overlap::Overlap,
        rules::LeaseRules,
    },
    flow::stream::messages::{Directive, Disposition, FromWorker, Reply, ToWorker},
};
use mainspring_tests::{
    conformance::world::{every, failure, spec},
    engine::{Stage, Worker},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use sqlx::{Connection as _, Row as _, SqliteConnection, sqlite::SqliteConnectOptions};

const LEASE: Duration = Duration::from_secs(600);
/// A heartbeat: the step in which workers live.
const STEP: Duration = Duration::from_secs(100);
const DAYS: u64 = 2;
const STEPS: u64 = DAYS * 86_400 / STEP.as_secs();
const SLOTS: u32 = 2;
/// Name, period in seconds, and what else is special.
const JOBS: [(&str, u64, Overlap, Mode); 3] = [
    ("often", 420, Overlap::Allow { max: None }, Mode::Latest),
    ("alone", 600, Overlap::Skip, Mode::Latest),
    ("hourly", 3_600, Overlap::Allow { max: None }, Mode::None),
];

/// What everybody saw.
#[derive(Default)]
struct Seen {
    started: HashSet<AttemptKey>,
    /// Runs whose success was acknowledged, with the attempt.
    over: BTreeMap<RunId, i64>,
    deaths: u32,
    breaks: u32,
    sleeps: u32,
}

/// What a worker does with an attempt.
#[derive(Clone)]
enum Work {
    Until(u64),
    Done(Outcome),
}

/// A place where a worker runs, dies and is started again.
struct Place {
    id: WorkerId,
    epoch: i64,
    held: BTreeMap<AttemptKey, Work>,
    session: Option<Worker>,
    /// Without a session until this step.
    away: u64,
}

impl Place {
    fn new(stage: &Stage) -> Self {
        Self { id: WorkerId::new(stage.engine.now()), epoch: 0, held: BTreeMap::new(), session: None, away: 0 }
    }

    /// One heartbeat's worth of its life.
    async fn live(&mut self, stage: &Stage, step: u64, rng: &mut StdRng, seen: &mut Seen) {
        if self.session.is_none() && step >= self.away {
            self.connect(stage).await;
        }
        self.hear(step, rng, seen);
        for (key, work) in &mut self.held {
            if matches!(work, Work::Until(end) if *end <= step) {
                let fails = rng.random_ratio(1, 8);
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
    fn hear(&mut self, step: u64, rng: &mut StdRng, seen: &mut Seen) {
        let Some(session) = &mut self.session else { return };
        // A machine that falls asleep between two steps of a session may find it silent when it wakes.
        let over = session.is_over();
        let (held, mut accepted, mut stopped) = (&mut self.held, Vec::new(), Vec::new());
        session.take(|message| {
            match message {
                ToWorker::Dispatch { attempt, .. } => {
                    let key = attempt.key;
                    assert!(seen.started.insert(key), "{key} is started twice");
                    assert!(
                        !seen.over.contains_key(&key.run),
                        "{key} is started after the acknowledged end of its run"
                    );
                    held.insert(key, Work::Until(step + rng.random_range(0..12)));
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
        *self = Self { away: step + rng.random_range(1..9), ..Self::new(stage) };
    }
}

/// Drops what does not count any more, and stops what took too long; the attempt that has an end to report by that.
fn obey(held: &mut BTreeMap<AttemptKey, Work>, directive: &Directive) -> Option<AttemptKey> {
    match directive {
        Directive::Abandon(key, _) => {
            held.remove(key);
            None
        }
        Directive::Cancel(key, _) => {
            let work = held.get_mut(key).filter(|work| matches!(work, Work::Until(_)))?;
            *work = Work::Done(Outcome::Cancelled);
            Some(*key)
        }
    }
}

/// Instants of a period, counted from the epoch, in `(after, before)`.
fn instants(period: u64, after: Instant, before: Instant) -> i64 {
    let period = i64::try_from(period).unwrap() * 1_000_000;
    (before.as_micros() - 1).div_euclid(period) - after.as_micros().div_euclid(period)
}

async fn numbers(stage: &Stage, sql: &str) -> Vec<i64> {
    let options = SqliteConnectOptions::new().filename(stage.database()).read_only(true);
    let mut db = SqliteConnection::connect_with(&options).await.unwrap();
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(&mut db).await.unwrap();
    let numbers = rows.iter().map(|row| row.get(0)).collect();
    db.close().await.unwrap();
    numbers
}

async fn days(seed: u64) {
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let stage = Stage::set_with(LeaseRules::for_lease(LEASE), Duration::from_secs(3_600)).await;
    let begin = stage.engine.now();
    let end = begin.plus(Duration::from_secs(DAYS * 86_400));
    for (name, period, overlap, catch_up) in JOBS {
        let mut rule = every("main", period);
        rule.end = Some(end);
        stage
            .world()
            .create(name, JobSpec { overlap, catch_up: CatchUp::default().in_mode(catch_up), ..spec(vec![rule]) })
            .await;
    }
    // They were made behind the engine's back, which looks once an hour.
    stage.pass(Duration::from_secs(3_600)).await;
    let mut seen = Seen::default();
    let mut places: Vec<Place> = (0..3).map(|_| Place::new(&stage)).collect();
    let mut step = 0;
    while step < STEPS || stage.engine.now() < end {
        step += 1;
        stage.pass(STEP).await;
        for place in &mut places {
            place.live(&stage, step, &mut rng, &mut seen).await;
            if rng.random_ratio(1, 150) {
                seen.deaths += 1;
                place.die(&stage, step, &mut rng);
            } else if rng.random_ratio(1, 60) {
                seen.breaks += 1;
                place.lose_stream(step, &mut rng);
            }
        }
        if rng.random_ratio(1, 400) {
            seen.sleeps += 1;
            stage.sleep(Duration::from_secs(rng.random_range(600..20_000))).await;
        }
    }
    let (deaths, breaks, sleeps) = (seen.deaths, seen.breaks, seen.sleeps);
    assert!(deaths > 5 && breaks > 20 && sleeps > 0, "a quiet life proves nothing: {deaths}, {breaks}, {sleeps}");
    // Whatever is left has its lease, its retries and an hour's look.
    let unfinished = "SELECT count(*) FROM run WHERE end_time IS NULL";
    let patience = step + 4 * 3_600 / STEP.as_secs();
    while step < patience && numbers(&stage, unfinished).await != [0] {
        step += 1;
        stage.pass(STEP).await;
        for place in &mut places {
            place.live(&stage, step, &mut rng, &mut seen).await;
        }
    }
    assert_eq!(numbers(&stage, unfinished).await, [0], "something is stuck");
    assert!(!stage.is_broken().await);
    judge(&stage, begin, end, &seen).await;
}

async fn judge(stage: &Stage, begin: Instant, end: Instant, seen: &Seen) {
    for (name, period, overlap, _) in JOBS {
        let of = format!("job_uid = (SELECT uid FROM job WHERE name = '{name}')");
        let with_fate = |fate: &str| {
            format!(
                "SELECT (SELECT coalesce(sum(count), 0) FROM ledger WHERE {of} AND {fate}) + \
                 (SELECT coalesce(sum(open_count), 0) FROM schedule WHERE {of} AND {})",
                fate.replace("fate", "open_fate")
            )
        };
        let all = numbers(stage, &with_fate("fate IS NOT NULL")).await;
        assert_eq!(all, [instants(period, begin, end)], "every instant of {name} has one fate");
        let fired = numbers(stage, &with_fate("fate = 1")).await;
        let runs = numbers(stage, &format!("SELECT count(*) FROM run WHERE {of} AND origin = 1")).await;
        assert_eq!(fired, runs, "every instant of {name} that fired became a run");
        let named = numbers(stage, &format!("SELECT count(DISTINCT nominal_time) FROM run WHERE {of}")).await;
        assert_eq!(named, runs);
        println!("{name} ({overlap:?}): {} instants, {} fired", all[0], fired[0]);
        assert!(fired[0] > 20, "{name} hardly fired");
    }
    for (run, attempt) in &seen.over {
        let sql = format!("SELECT decided_token FROM run WHERE id = x'{}' AND state = 6", run.uuid().simple());
        assert_eq!(numbers(stage, &sql).await, [*attempt], "{run} ended as its worker was told");
    }
    let succeeded = numbers(stage, "SELECT count(*) FROM run WHERE state = 6").await[0];
    let attempts = numbers(stage, "SELECT sum(attempt) FROM run").await[0];
    println!("{succeeded} succeeded, {} acknowledged, {attempts} attempts", seen.over.len());
    println!("{} deaths, {} broken streams, {} sleeps", seen.deaths, seen.breaks, seen.sleeps);
    // A success whose acknowledgement was lost with its stream, or with its worker, was not seen.
    assert!(succeeded >= i64::try_from(seen.over.len()).unwrap() && succeeded > 100);
    let ends =
        "SELECT count(*) FROM run WHERE attempt <> (state = 6) + (SELECT count(*) FROM attempt_end WHERE run_id = id)";
    assert_eq!(numbers(stage, ends).await, [0], "every attempt has its end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_days_of_broken_streams_deaths_and_sleep() {
    days(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_other_days() {
    days(2).await;
}
