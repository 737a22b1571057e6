//! Required labels, from the submission to the worker that has them.

use std::collections::BTreeMap;

use mainspring_engine::{
    domain::{ids::WorkerId, names::Lane, selector::Selector, worker::Hello},
    ports::store::NewRun,
};
use mainspring_tests::{
    conformance::world::lane,
    engine::{Stage, Worker},
};

fn labels(name: &str, value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(name.into(), value.into())])
}

async fn connect(stage: &Stage, labels: BTreeMap<String, String>) -> Worker {
    let world = stage.world();
    let hello = world.hello(WorkerId::new(stage.engine.now()), 1, &[]);
    stage.connect_with(Hello { labels, ..hello }).await.unwrap()
}

fn requiring(stage: &Stage, name: &str, value: &str) -> NewRun {
    let selector = Selector::of(&labels(name, value));
    NewRun { lane: Lane { selector, ..lane() }, ..stage.world().new_run() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_worker_that_has_the_labels_is_given_the_run() {
    let stage = Stage::set().await;
    let mut any = connect(&stage, BTreeMap::new()).await;
    let mut first = connect(&stage, labels("gpu", "yes")).await;
    // The lane is new, and the workers were there before it.
    let run = stage.submit(requiring(&stage, "gpu", "yes")).await;
    assert_eq!(first.accepted().await.run, run);
    // One that comes later finds the lane, and one that waits holds up nobody.
    let waits = stage.submit(requiring(&stage, "zone", "eu")).await;
    let plain = stage.submit_one().await;
    let attempt = tokio::select! { attempt = any.accepted() => attempt, attempt = first.accepted() => attempt };
    assert_eq!(attempt.run, plain);
    let mut late = connect(&stage, labels("zone", "eu")).await;
    assert_eq!(late.accepted().await.run, waits);
}
