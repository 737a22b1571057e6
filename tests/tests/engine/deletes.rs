//! A deleted job's waiting runs end, whatever became of the call that deleted it.

use std::time::Duration;

use mainspring_engine::{
    domain::{
        event::{self, Detail},
        ids::{JobUid, RunId},
        job::Job,
        names::Scope,
        run::RunState,
        stop::Running,
    },
    flow::jobs::Ended,
    ports::store::{CreateJob, JobChange, NewJob, NewRun, Submitted},
};
use mainspring_tests::{conformance::world::spec, engine::Stage, harness::host};

async fn job(stage: &Stage) -> Job {
    let job = NewJob {
        scope: Scope::default(),
        uid: JobUid::new(stage.engine.now()),
        name: "report".parse().unwrap(),
        spec: spec(vec![]),
        request: None,
    };
    match stage.engine.jobs().create(job).await.unwrap() {
        CreateJob::Created(job) => job,
        other => panic!("{other:?}"),
    }
}

async fn submit(stage: &Stage, job: &Job, count: usize) -> Vec<RunId> {
    let world = stage.world();
    let runs = (0..count).map(|number| {
        // Some wait for a worker, some for their time.
        let due = if number % 2 == 0 { world.now } else { world.now.plus(Duration::from_secs(100_000)) };
        NewRun { due, ..world.run_of(job) }
    });
    let stored = stage.engine.submit(runs.collect()).await.unwrap().into_iter().map(|answer| match answer {
        Submitted::Stored(stored) => stored.moved.run,
        other => panic!("{other:?}"),
    });
    stored.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delete_that_was_left_half_done_is_finished() {
    let stage = Stage::set().await;
    let job = job(&stage).await;
    let runs = submit(&stage, &job, 4).await;
    // The server that deleted it ended right after.
    let change = stage
        .engine
        .store()
        .delete_job(stage.engine.now(), &Scope::default(), &job.name, None, Running::Detach, "ops")
        .await
        .unwrap();
    assert!(matches!(change, JobChange::Done(_)));
    stage.pass(Duration::from_secs(130)).await;
    for run in runs {
        assert_eq!(stage.state(run).await, RunState::Cancelled);
    }
    let now = stage.engine.now();
    assert_eq!(stage.engine.store().half_deleted(now, 10).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delete_goes_on_when_its_caller_has_gone() {
    let stage = Stage::set().await;
    let job = job(&stage).await;
    let runs = submit(&stage, &job, 1_000).await;
    let more = submit(&stage, &job, 1_000).await;
    let mut watch = stage.engine.events().watch(None).unwrap();
    let deleted = async {
        loop {
            if let Detail::Job { change: event::JobChange::Deleted, .. } = &watch.next().await.unwrap().1.detail {
                return;
            }
        }
    };
    let (jobs, scope) = (stage.engine.jobs(), Scope::default());
    tokio::select! {
        biased;
        () = deleted => {}
        done = jobs.delete(&scope, &job.name, None, Running::Detach, "ops") => panic!("{done:?} before anybody was told"),
    }
    // Without the clock: nobody but the call itself is at work on it.
    for run in [runs[0], runs[999], more[0], more[999]] {
        host::within(host::PATIENCE, "its end", stage.until(run, RunState::Cancelled)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delete_says_how_many_it_ended() {
    let stage = Stage::set().await;
    let job = job(&stage).await;
    submit(&stage, &job, 700).await;
    let (change, ended) =
        stage.engine.jobs().delete(&Scope::default(), &job.name, None, Running::Detach, "ops").await.unwrap();
    assert!(matches!(change, JobChange::Done(_)));
    assert_eq!(ended, Ended { cancelled: 700, stopped: 0 });
    assert_eq!(stage.engine.store().half_deleted(stage.engine.now(), 10).await.unwrap(), []);
}
