//! Instants explained: what the ledger has of them, what will become of them, and what is none.

use std::time::Duration;

use mainspring_engine::{
    domain::{
        explain::{Explanation, Finding},
        ids::JobUid,
        instant::Instant,
        job::{Job, JobSpec, Pause},
        ledger::Fate,
        names::Scope,
        overlap::Overlap,
        run::RunState,
        stop::{Paused, Running},
        supersede::Pending,
    },
    ports::store::{CreateJob, JobChange, NewJob, UpdateJob},
};
use mainspring_tests::{
    conformance::world::{every, spec},
    engine::Stage,
};

const PERIOD: Duration = Duration::from_secs(10);

async fn create(stage: &Stage, spec: JobSpec) -> Job {
    let uid = JobUid::new(stage.engine.now());
    let job = NewJob { scope: Scope::default(), uid, name: "report".parse().unwrap(), spec, request: None };
    let CreateJob::Created(job) = stage.engine.jobs().create(job).await.unwrap() else { panic!("it is there") };
    job
}

async fn explain(stage: &Stage, at: Instant) -> Explanation {
    let name = "report".parse().unwrap();
    stage.engine.ledger().explain(&Scope::default(), &name, at).await.unwrap().unwrap()
}

/// What was found, and the fate.
async fn told(stage: &Stage, at: Instant) -> (Finding, Option<Fate>) {
    let found = explain(stage, at).await;
    (found.finding, found.instants.first().map(|view| view.fate))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instant_is_told_by_the_ledger_and_by_the_rules() {
    let stage = Stage::set().await;
    let began = stage.engine.now();
    let at = |number: u32| began.plus(PERIOD * number);
    let schedules = vec![every("a", PERIOD.as_secs()), every("b", 2 * PERIOD.as_secs())];
    let job = create(&stage, JobSpec { overlap: Overlap::Skip, ..spec(schedules) }).await;
    let mut worker = stage.connect(1).await;
    assert_eq!(told(&stage, at(1)).await, (Finding::Predicted, Some(Fate::Fired)));
    stage.pass(PERIOD).await;
    worker.accepted().await;
    stage.pass(PERIOD).await;
    let first = explain(&stage, at(1)).await;
    assert_eq!((first.finding, first.instants[0].fate), (Finding::Decided, Fate::Fired));
    let (run, state) = first.instants[0].run.unwrap();
    assert_eq!(state, RunState::Running);
    assert!(first.sentence.contains(&format!("became run {run}, which is at a worker")), "{}", first.sentence);
    let second = explain(&stage, at(2)).await;
    assert_eq!(second.instants.iter().map(|view| view.fate).collect::<Vec<_>>(), [Fate::SkippedOverlap; 2]);
    assert_eq!(told(&stage, at(2).plus(Duration::from_secs(1))).await, (Finding::NotNamed, None));
    assert_eq!(told(&stage, began.minus(PERIOD)).await, (Finding::BeforeJob, None));
    // After a pause, and after an edit.
    let pause = Pause { note: String::new(), actor: "ops".into(), time: stage.engine.now(), until: None };
    stage.engine.jobs().pause(&Scope::default(), &job.name, pause, Paused::Keep).await.unwrap();
    assert_eq!(told(&stage, at(3)).await, (Finding::Predicted, Some(Fate::Paused)));
    stage.pass(PERIOD).await;
    assert_eq!(told(&stage, at(3)).await, (Finding::Decided, Some(Fate::Paused)));
    let stored = stage.engine.store().job(&Scope::default(), &job.name).await.unwrap().unwrap();
    let finer = JobSpec { schedules: vec![every("a", 1)], ..stored.spec };
    let update = UpdateJob {
        scope: Scope::default(),
        name: job.name.clone(),
        revision: stored.revision,
        spec: finer,
        pending: Pending::Keep,
    };
    assert!(matches!(stage.engine.jobs().update(update).await.unwrap(), JobChange::Done(_)));
    let odd = at(2).plus(Duration::from_secs(1));
    let edited = explain(&stage, odd).await;
    assert_eq!(edited.finding, Finding::NotNamed);
    assert!(edited.sentence.contains("does since version 2"), "{}", edited.sentence);
    assert_eq!(told(&stage, at(1)).await, (Finding::Decided, Some(Fate::Fired)));
    // After its end.
    stage.engine.jobs().delete(&Scope::default(), &job.name, None, Running::Detach).await.unwrap();
    assert_eq!(told(&stage, at(1)).await, (Finding::Decided, Some(Fate::Fired)));
    assert_eq!(told(&stage, at(9)).await, (Finding::AfterJob, None));
    let nobody = "nobody".parse().unwrap();
    assert_eq!(stage.engine.ledger().explain(&Scope::default(), &nobody, began).await.unwrap(), None);
}
