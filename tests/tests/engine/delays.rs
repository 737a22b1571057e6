//! Schedules that count from the ends of their runs, from the worker's report to the next run. Where the clock stands still,
//! nobody looks: what goes on then was told.

use std::time::Duration;

use mainspring_cron::{FixedDelay, Rule};
use mainspring_engine::{
    domain::{attempt::Outcome, explain::Finding, ledger::Fate, names::Scope, schedule::ScheduleSpec},
    flow::instants::key,
};
use mainspring_tests::{
    conformance::world::{every, spec},
    engine::Stage,
};

const DELAY: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_run_is_due_a_delay_after_the_one_before_it() {
    let stage = Stage::set().await;
    let rule = Rule::FixedDelay(FixedDelay::new(2_000_000).unwrap());
    let job = stage.create("report", spec(vec![ScheduleSpec { rule, ..every("main", 1) }])).await;
    let (began, name) = (stage.engine.now(), job.name.clone());
    let mut worker = stage.connect(5).await;
    let explain = async |at| stage.engine.ledger().explain(&Scope::default(), &name, at).await.unwrap().unwrap();
    let first = explain(began.plus(DELAY)).await;
    assert_eq!((first.finding, first.instants[0].fate), (Finding::Predicted, Fate::Fired));
    let mut instants = Vec::new();
    for round in 0..3_u32 {
        stage.pass(DELAY).await;
        let attempt = worker.accepted().await;
        instants.push(stage.engine.now());
        let later = explain(stage.engine.now().plus(DELAY)).await;
        assert_eq!(later.finding, Finding::NotNamed);
        assert!(later.sentence.contains("is due 2s after the run before it ends"), "{}", later.sentence);
        // However long it takes, nothing else is due meanwhile.
        stage.pass(DELAY * round).await;
        worker.reported(attempt, Outcome::Succeeded).await;
    }
    let all = (began, stage.engine.now().plus(DELAY));
    let listed = stage.engine.ledger().list(&job, all, &Default::default(), None, 10).await.unwrap();
    assert_eq!(listed.iter().map(|view| key(view).0).collect::<Vec<_>>(), instants);
    assert!(listed.iter().all(|view| view.fate == Fate::Fired && view.run.is_some()), "{listed:?}");
}
