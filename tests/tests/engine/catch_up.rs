//! After an outage, or a sleep: what passed meanwhile was missed, to the last instant; what is due now is not late for what was missed, which is caught up with little by little.

use std::time::Duration;

use mainspring_cron::{At, Rule};
use mainspring_engine::{
    domain::{
        catch_up::{CatchUp, Mode},
        filter::Filter,
        ids::JobUid,
        instant::Instant,
        job::{Job, JobSpec},
        ledger::Fate,
        names::Scope,
        overlap::Overlap,
        rules::LeaseRules,
        schedule::ScheduleSpec,
    },
    ports::store::{CreateJob, NewJob},
};
use mainspring_tests::{
    conformance::world::{every, secs, spec},
    engine::Stage,
};

const HOUR: u64 = 3_600;

async fn job(stage: &Stage, name: &str, schedule: ScheduleSpec) -> Job {
    let uid = JobUid::new(stage.engine.now());
    let (scope, name) = (Scope::default(), name.parse().unwrap());
    let new = NewJob { scope, uid, name, spec: spec(vec![schedule]), request: None };
    let CreateJob::Created(job) = stage.engine.jobs().create(new).await.unwrap() else { panic!("it is there") };
    job
}

async fn has_run(stage: &Stage, job: &Job, at: Instant) -> bool {
    !stage.engine.store().scheduled_runs(job.uid, &[at]).await.unwrap().is_empty()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_due_now_comes_first_and_the_rest_at_a_rate() {
    let stage = Stage::set_to(LeaseRules::default(), Duration::from_secs(1), 3).await;
    let began = stage.engine.now();
    let mut missed = Vec::new();
    for number in 0..7 {
        missed.push(job(&stage, &format!("missed-{number}"), every("main", HOUR)).await);
    }
    let on_time = began.plus(secs(HOUR + 95));
    let once = ScheduleSpec { rule: Rule::At(At::new(on_time.timestamp())), ..every("main", 1) };
    let live = job(&stage, "live", once).await;
    let late = async |stage: &Stage| {
        let mut count = 0;
        for job in &missed {
            count += usize::from(has_run(stage, job, began.plus(secs(HOUR))).await);
        }
        count
    };
    stage.sleep(secs(HOUR + 100)).await;
    assert!(has_run(&stage, &live, on_time).await);
    assert_eq!(late(&stage).await, 3);
    for expected in [6, 7] {
        stage.pass(secs(1)).await;
        assert_eq!(late(&stage).await, expected);
    }
}

/// What became of the instants of a job, in order, each fate as often as it follows itself.
async fn fates(stage: &Stage, job: &Job) -> Vec<(Fate, usize)> {
    let whole = (job.create_time, stage.engine.now().plus(secs(1)));
    let instants = stage.engine.ledger().list(job, whole, &Filter::All, None, 1_000).await.unwrap();
    let mut fates: Vec<(Fate, usize)> = Vec::new();
    for instant in instants {
        match fates.last_mut() {
            Some((fate, count)) if *fate == instant.fate => *count += 1,
            _ => fates.push((instant.fate, 1)),
        }
    }
    fates
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sleep_is_missed_as_an_outage_is_to_its_last_instant() {
    let stage = Stage::set().await;
    let mut jobs = Vec::new();
    for (name, mode) in [("latest", Mode::Latest), ("none", Mode::None), ("all", Mode::All)] {
        let catch_up = CatchUp { max: 10, ..CatchUp::default().in_mode(mode) };
        let overlap = Overlap::Allow { max: None };
        jobs.push(stage.create(name, JobSpec { catch_up, overlap, ..spec(vec![every("main", 2)]) }).await);
    }
    // What is merely late is fired.
    stage.sleep(secs(20)).await;
    for job in &jobs {
        assert_eq!(fates(&stage, job).await, [(Fate::Fired, 10)], "{}", job.name);
    }
    stage.sleep(secs(40)).await;
    stage.pass(secs(2)).await;
    let expected = [
        vec![(Fate::Fired, 10), (Fate::Coalesced, 19), (Fate::Fired, 2)],
        vec![(Fate::Fired, 10), (Fate::Missed, 20), (Fate::Fired, 1)],
        vec![(Fate::Fired, 10), (Fate::Dropped, 10), (Fate::Fired, 11)],
    ];
    for (job, expected) in jobs.iter().zip(expected) {
        assert_eq!(fates(&stage, job).await, expected, "{}", job.name);
    }
}
