//! A job that has made its runs and goes by itself.

use std::time::Duration;

use mainspring_engine::{
    domain::{
        attempt::Outcome,
        ids::JobUid,
        job::{JobSpec, JobState, OnCompleted},
        names::Scope,
        schedule::ScheduleSpec,
    },
    ports::store::{CreateJob, NewJob},
};
use mainspring_tests::{
    conformance::world::{every, secs, spec},
    engine::Stage,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_goes_when_it_is_done_and_its_run_is_over() {
    let stage = Stage::set().await;
    let began = stage.engine.now();
    let schedule = ScheduleSpec { jitter: secs(10), max_runs: Some(1), ..every("main", 10) };
    let new = NewJob {
        scope: Scope::default(),
        uid: JobUid::new(began),
        name: "report".parse().unwrap(),
        spec: JobSpec { on_completed: OnCompleted::Delete { after: secs(3) }, ..spec(vec![schedule.clone()]) },
        request: None,
    };
    let CreateJob::Created(job) = stage.engine.jobs().create(new).await.unwrap() else { panic!("it is there") };
    let job_now = async || stage.engine.store().job(&Scope::default(), &job.name).await.unwrap();
    let mut worker = stage.connect(1).await;
    stage.pass(secs(10)).await;
    assert_eq!(job_now().await.unwrap().state, JobState::Completed);
    let nominal = began.plus(secs(10));
    let due = schedule.due(job.uid, nominal, Some(nominal.plus(secs(10))));
    stage.pass(due.since(nominal)).await;
    let key = worker.accepted().await;
    let run = stage.run(key.run).await;
    assert_eq!((run.nominal_time, run.due_time), (Some(nominal), due));
    stage.pass(secs(5)).await;
    assert!(job_now().await.is_some(), "its run is not over");
    worker.reported(key, Outcome::Succeeded).await;
    stage.pass(Duration::from_secs(2)).await;
    assert!(job_now().await.is_none());
    let deleted = stage.engine.store().deleted_job(&Scope::default(), &job.name).await.unwrap();
    assert_eq!(deleted.map(|(job, _)| job.uid), Some(job.uid));
}
