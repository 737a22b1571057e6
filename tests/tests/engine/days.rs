//! Days in seconds: schedules, and workers that die, lose their streams and come back, on a clock that jumps from event to
//! event, with nights in which the whole machine sleeps.
//!
//! Everything random follows from a seed, and a simulated worker keeps the rules of `examples/raw`. What is judged in the
//! end is what the workers saw and what the database holds, by arithmetic of its own.

use std::time::Duration;

use mainspring_engine::domain::{
    catch_up::{CatchUp, Mode},
    instant::Instant,
    job::JobSpec,
    overlap::Overlap,
    rules::LeaseRules,
};
use mainspring_tests::{
    conformance::world::{every, spec},
    engine::Stage,
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::crew::{Crew, Seen, numbers};

const LEASE: Duration = Duration::from_secs(600);
/// A heartbeat: the step in which workers live.
const STEP: Duration = Duration::from_secs(100);
const DAYS: u64 = 2;
const STEPS: u64 = DAYS * 86_400 / STEP.as_secs();
/// Name, period in seconds, and what else is special.
const JOBS: [(&str, u64, Overlap, Mode); 3] = [
    ("often", 420, Overlap::Allow { max: None }, Mode::Latest),
    ("alone", 600, Overlap::Skip, Mode::Latest),
    ("hourly", 3_600, Overlap::Allow { max: None }, Mode::None),
];

/// Instants of a period, counted from the epoch, in `(after, before)`.
fn instants(period: u64, after: Instant, before: Instant) -> i64 {
    let period = i64::try_from(period).unwrap() * 1_000_000;
    (before.as_micros() - 1).div_euclid(period) - after.as_micros().div_euclid(period)
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
    let (mut crew, mut sleeps) = (Crew::new(&stage, seed, STEP), 0);
    while crew.step < STEPS || stage.engine.now() < end {
        crew.live_dangerously(&stage, &mut rng).await;
        if rng.random_ratio(1, 400) {
            sleeps += 1;
            stage.sleep(Duration::from_secs(rng.random_range(600..20_000))).await;
        }
    }
    let (deaths, breaks) = (crew.seen.deaths, crew.seen.breaks);
    assert!(deaths > 5 && breaks > 20 && sleeps > 0, "a quiet life proves nothing: {deaths}, {breaks}, {sleeps}");
    // Whatever is left has its lease, its retries and an hour's look.
    crew.finish(&stage, Duration::from_secs(4 * 3_600)).await;
    judge(&stage, begin, end, &crew.seen).await;
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
    println!("{} deaths, {} broken streams", seen.deaths, seen.breaks);
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
