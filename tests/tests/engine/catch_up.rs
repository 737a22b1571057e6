//! After an outage: what is due now is not late for what was missed, which is caught up with little by little.

use std::time::Duration;

use mainspring_cron::{At, Rule};
use mainspring_engine::{
    domain::{ids::JobUid, instant::Instant, job::Job, names::Scope, rules::LeaseRules, schedule::ScheduleSpec},
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
