//! What a job was: its definitions, and a job that is brought back.

use mainspring_engine::{
    domain::{
        instant::Instant,
        job::{Job, JobSpec, JobState, OnCompleted, Pause},
        ledger::Fate,
        run::RunState,
        schedule::ScheduleSpec,
        stop::Running,
        supersede::Pending,
    },
    ports::store::{JobChange, StoreError, Undelete, UpdateJob},
};

use super::world::{World, every, fired, job_name, secs, spec};

async fn edit(w: &World, change: impl FnOnce(JobSpec) -> JobSpec) -> Job {
    let job = w.job("report").await.unwrap();
    let (scope, revision) = (w.scope.clone(), job.revision);
    let update = UpdateJob {
        scope,
        name: job.name,
        revision,
        spec: change(job.spec),
        pending: Pending::Keep,
        actor: "ops".into(),
    };
    match w.store.update_job(w.now, update).await.unwrap() {
        JobChange::Done(job) => job,
        other => panic!("{other:?}"),
    }
}

/// Deletes a job, runs and all.
async fn delete(w: &World, job: &Job) {
    assert!(matches!(
        w.store.delete_job(w.now, &w.scope, &job.name, None, Running::Detach, "ops").await.unwrap(),
        JobChange::Done(_)
    ));
    w.store.cancel_waiting(w.now, job.uid, 100).await.unwrap();
}

async fn undelete(w: &World) -> Job {
    match w.store.undelete_job(w.now, &w.scope, &job_name("report")).await.unwrap() {
        Undelete::Done(job) => *job,
        other => panic!("{other:?}"),
    }
}

pub async fn definitions_are_listed_newest_first_and_read_back(mut w: World) {
    let job = w.create("report", spec(vec![every("main", 60)])).await;
    let created = w.now;
    for owner in ["ada", "bob"] {
        w.pass(secs(1));
        edit(&w, |spec| JobSpec { owner: owner.into(), ..spec }).await;
    }
    let told = async |before, limit| {
        let found = w.store.job_versions(job.uid, before, limit).await.unwrap();
        found.into_iter().map(|found| (found.version, found.create_time, found.spec.owner)).collect::<Vec<_>>()
    };
    let all = [
        (3, created.plus(secs(2)), "bob".to_owned()),
        (2, created.plus(secs(1)), "ada".to_owned()),
        (1, created, job.spec.owner.clone()),
    ];
    assert_eq!(told(None, 10).await, all);
    assert_eq!(told(None, 2).await, all[..2]);
    assert_eq!(told(Some(2), 2).await, all[2..]);
    assert_eq!(w.store.job_version(job.uid, 1).await.unwrap(), Some(job.spec));
    assert_eq!(w.store.job_version(job.uid, 4).await.unwrap(), None);
}

pub async fn a_job_that_is_brought_back_goes_on_from_now(mut w: World) {
    let job = w.create("report", spec(vec![every("main", 60)])).await;
    let shard = w.own().await;
    w.pass(secs(60));
    let run = fired(&w.fire_due(shard).await[0])[0].run;
    let before = w.job("report").await.unwrap();
    delete(&w, &job).await;
    w.pass(secs(600));
    let back = undelete(&w).await;
    assert_eq!((back.uid, back.version, &back.spec), (job.uid, 1, &job.spec));
    assert!(back.revision > before.revision);
    assert_eq!((back.state, back.next_times.clone()), (JobState::Active, vec![Some(w.now.plus(secs(60)))]));
    assert_eq!(w.job("report").await, Some(back));
    // What passed meanwhile is nobody's, and what waited has ended.
    assert!(w.fire_due(shard).await.is_empty());
    assert_eq!(w.store.run(&w.scope, run).await.unwrap().unwrap().life.state, RunState::Cancelled);
    w.pass(secs(60));
    assert_eq!(fired(&w.fire_due(shard).await[0]).len(), 1);
    let told = w.ledger(job.uid, Instant::MIN, Instant::MAX).await;
    let told: Vec<_> = told.iter().map(|found| (found.range.fate, found.range.count)).collect();
    assert_eq!(told, [(Fate::Fired, 1), (Fate::Fired, 1)]);
}

pub async fn a_name_that_is_taken_brings_nothing_back(w: World) {
    let job = w.create("report", spec(vec![])).await;
    let nobody = w.store.undelete_job(w.now, &w.scope, &job_name("nobody")).await.unwrap();
    assert!(matches!(nobody, Undelete::Missing), "{nobody:?}");
    let there = w.store.undelete_job(w.now, &w.scope, &job.name).await.unwrap();
    assert!(matches!(there, Undelete::NameTaken), "{there:?}");
    delete(&w, &job).await;
    w.create("report", spec(vec![])).await;
    let taken = w.store.undelete_job(w.now, &w.scope, &job.name).await.unwrap();
    assert!(matches!(taken, Undelete::NameTaken), "{taken:?}");
}

pub async fn a_job_whose_runs_are_being_ended_is_not_brought_back_yet(w: World) {
    let job = w.create("report", spec(vec![])).await;
    w.submit(vec![w.run_of(&job)]).await;
    w.store.delete_job(w.now, &w.scope, &job.name, None, Running::Detach, "ops").await.unwrap();
    let early = w.store.undelete_job(w.now, &w.scope, &job.name).await;
    assert!(matches!(early, Err(StoreError::Conflict(_))), "{early:?}");
    w.store.cancel_waiting(w.now, job.uid, 100).await.unwrap();
    undelete(&w).await;
}

pub async fn a_job_that_its_completion_deleted_comes_back_to_stay(mut w: World) {
    let once = ScheduleSpec { max_runs: Some(1), ..every("main", 60) };
    let on_completed = OnCompleted::Delete { after: secs(60) };
    let job = w.create("report", JobSpec { on_completed, ..spec(vec![once]) }).await;
    let shard = w.own().await;
    w.pass(secs(60));
    w.fire_due(shard).await;
    let ledger = async |w: &World| w.ledger(job.uid, Instant::MIN, Instant::MAX).await.into_iter().map(|it| it.range);
    let before: Vec<_> = ledger(&w).await.collect();
    delete(&w, &job).await;
    w.pass(secs(3_600));
    let back = undelete(&w).await;
    assert_eq!((back.state, back.version, back.run_counts.clone()), (JobState::Completed, 1, vec![1]));
    assert_eq!(ledger(&w).await.collect::<Vec<_>>(), before);
    w.pass(secs(3_600));
    assert_eq!(w.store.expired_jobs(w.now, 10).await.unwrap(), []);
    // Nor where it is edited, unless what comes after its last run is.
    assert_eq!(edit(&w, |spec| JobSpec { owner: "ada".into(), ..spec }).await.state, JobState::Completed);
    w.pass(secs(3_600));
    assert_eq!(w.store.expired_jobs(w.now, 10).await.unwrap(), []);
    edit(&w, |spec| JobSpec { on_completed: OnCompleted::Delete { after: secs(30) }, ..spec }).await;
    w.pass(secs(30));
    assert_eq!(w.store.expired_jobs(w.now, 10).await.unwrap().len(), 1);
}

pub async fn a_job_comes_back_paused_or_completed_as_it_went(mut w: World) {
    let once = ScheduleSpec { max_runs: Some(1), ..every("main", 60) };
    let job = w.create("report", spec(vec![once])).await;
    let shard = w.own().await;
    w.pass(secs(60));
    w.fire_due(shard).await;
    delete(&w, &job).await;
    let back = undelete(&w).await;
    assert_eq!((back.state, back.next_times), (JobState::Completed, vec![None]));
    edit(&w, |spec| JobSpec { schedules: vec![every("other", 60)], ..spec }).await;
    let pause = Pause { note: "x".into(), actor: "ops".into(), time: w.now, until: None };
    w.store.pause_job(w.now, &w.scope, &job.name, pause.clone()).await.unwrap();
    delete(&w, &job).await;
    assert_eq!(undelete(&w).await.pause, Some(pause));
    w.pass(secs(60));
    assert!(w.fire_due(shard).await.iter().all(|answer| fired(answer).is_empty()));
}
