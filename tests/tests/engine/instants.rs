//! The ledger as people read it, where it is long.

use std::time::Duration;

use mainspring_engine::{
    domain::{
        filter::{Filter, Op, Value},
        ids::JobUid,
        instant::Instant,
        job::Job,
        ledger::{Fate, InstantView},
        names::Scope,
    },
    flow::instants::key,
    ports::store::{CreateJob, NewJob},
};
use mainspring_tests::{
    conformance::world::{every, spec},
    engine::Stage,
};

/// Ranges of one instant each, which alternate; more than are read at once.
const COUNT: usize = 700;

/// The first of them, not so long ago that retention has a say.
fn begin(stage: &Stage) -> Instant {
    stage.engine.now().minus(Duration::from_secs(24 * 3_600))
}

async fn long_ledger(stage: &Stage) -> Job {
    let begin = begin(stage).as_micros();
    let job = NewJob {
        scope: Scope::default(),
        uid: JobUid::new(stage.engine.now()),
        name: "report".parse().unwrap(),
        spec: spec(vec![every("a", 10), every("b", 10)]),
        request: None,
    };
    let CreateJob::Created(job) = stage.engine.jobs().create(job).await.unwrap() else { panic!("it is there") };
    for schedule in ["a", "b"] {
        let uid = job.uid.uuid().simple();
        stage
            .sql(format!(
                "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {COUNT}) \
                 INSERT INTO ledger (job_uid, schedule, first_time, last_time, count, version, fate, reason) \
                 SELECT x'{uid}', '{schedule}', {begin} + 10000000 * i, {begin} + 10000000 * i, 1, 1, \
                 CASE WHEN i + 1 = {COUNT} THEN 5 WHEN i % 2 = 0 THEN 3 ELSE 6 END, '' FROM n"
            ))
            .await;
    }
    job
}

async fn page(stage: &Stage, job: &Job, filter: &Filter, after: Option<&InstantView>) -> Vec<InstantView> {
    let after = after.map(key);
    stage.engine.ledger().list(job, (begin(stage), stage.engine.now()), filter, after, 100).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_ledger_is_paged_without_a_gap() {
    let stage = Stage::set().await;
    let job = long_ledger(&stage).await;
    let mut seen: Vec<InstantView> = Vec::new();
    loop {
        let mut found = page(&stage, &job, &Filter::All, seen.last()).await;
        if found.is_empty() {
            break;
        }
        seen.append(&mut found);
    }
    let told: Vec<_> = seen.iter().map(|view| (view.nominal, view.schedule.as_str().to_owned())).collect();
    let at = |number| begin(&stage).plus(Duration::from_secs(10 * number));
    let wanted = (0..COUNT as u64).flat_map(|number| ["a", "b"].map(|schedule| (at(number), schedule.to_owned())));
    assert!(told == wanted.collect::<Vec<_>>(), "{} of {}", told.len(), 2 * COUNT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_rare_is_found_behind_what_does_not_pass() {
    let stage = Stage::set().await;
    let job = long_ledger(&stage).await;
    let missed = Filter::Test { field: "fate", op: Op::Equal, value: Value::Number(Fate::Missed.code().into()) };
    let found = page(&stage, &job, &missed, None).await;
    let told: Vec<_> = found.iter().map(|view| (view.fate, view.schedule.as_str())).collect();
    assert_eq!(told, [(Fate::Missed, "a"), (Fate::Missed, "b")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_clock_change_took_stands_beside_what_fired_then() {
    let stage = Stage::set().await;
    let job = long_ledger(&stage).await;
    let change = begin(&stage).plus(Duration::from_secs(10));
    stage
        .sql(format!(
            "INSERT INTO skipped_wall (job_uid, schedule, change_time, version, first_wall, last_wall, count) \
             VALUES (x'{}', 'a', {}, 1, '2027-03-28T02:00:00', '2027-03-28T02:45:00', 4)",
            job.uid.uuid().simple(),
            change.as_micros()
        ))
        .await;
    // Page by page, and one instant has a page of its own.
    let mut seen: Vec<InstantView> = Vec::new();
    for _ in 0..6 {
        let range = (begin(&stage), stage.engine.now());
        let found = stage.engine.ledger().list(&job, range, &Filter::All, seen.last().map(key), 1).await.unwrap();
        seen.extend(found);
    }
    let told: Vec<_> = seen.iter().map(|view| (view.schedule.as_str(), view.fate, view.nominal == change)).collect();
    let (skipped, paused) = (Fate::SkippedOverlap, Fate::Paused);
    assert_eq!(
        told[..5],
        [
            ("a", skipped, false),
            ("b", skipped, false),
            ("a", paused, true),
            ("a", Fate::DstSkipped, true),
            ("b", paused, true)
        ]
    );
    assert_eq!(
        seen[3].sentence(),
        "The clocks went forward, and 4 times from 2027-03-28 02:00:00 to 02:45:00 did not exist."
    );
    let only = Filter::Test { field: "fate", op: Op::Equal, value: Value::Number(Fate::DstSkipped.code().into()) };
    assert_eq!(page(&stage, &job, &only, None).await.len(), 1);
}
