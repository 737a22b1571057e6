//! Required labels: lanes of their own, which workers find by what they are.

use std::collections::BTreeMap;

use mainspring_engine::{
    domain::{ids::WorkerId, job::JobSpec, names::Lane, run::RunState, selector::Selector, worker::Hello},
    ports::store::{NewRun, WaitFacts},
};

use super::world::{World, every, fired, lane, pointer, secs, spec};

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

fn lane_on(pairs: &[(&str, &str)]) -> Lane {
    Lane { selector: Selector::of(&labels(pairs)), ..lane() }
}

pub async fn what_requires_labels_waits_in_a_lane_of_its_own(w: World) {
    let gpu = lane_on(&[("gpu", "yes")]);
    let run = w.submit(vec![NewRun { lane: gpu.clone(), ..w.new_run() }]).await.remove(0);
    let plain = w.submit_one().await;
    assert_eq!(run.lane, gpu);
    assert_eq!((w.queued(&gpu).await, w.queued(&lane()).await), (vec![pointer(&run)], vec![plain]));
    let found = w.store.selective(&lane().namespace).await.unwrap();
    assert_eq!(found, std::slice::from_ref(&gpu));
    assert!(w.store.selective(&"other".parse().unwrap()).await.unwrap().is_empty());
    let view = w.store.run(&w.scope, run.run).await.unwrap().unwrap();
    assert_eq!((view.selector, view.life.state), (gpu.selector.clone(), RunState::Queued));
    let owner = w.connect().await;
    assert_eq!(w.lease(owner, pointer(&run)).await.lane, gpu);
}

pub async fn runs_of_a_schedule_require_what_their_job_does(mut w: World) {
    let required_labels = labels(&[("zone", "eu"), ("gpu", "yes")]);
    w.create("report", JobSpec { required_labels, ..spec(vec![every("main", 60)]) }).await;
    let shard = w.own().await;
    w.pass(secs(60));
    let run = fired(&w.fire_due(shard).await[0])[0].clone();
    assert_eq!(run.lane, lane_on(&[("gpu", "yes"), ("zone", "eu")]));
}

pub async fn wait_facts_tell_who_has_not_the_labels(w: World) {
    let gpu = lane_on(&[("gpu", "yes")]);
    let run = w.submit(vec![NewRun { lane: gpu, ..w.new_run() }]).await.remove(0).run;
    let facts = async || {
        let WaitFacts { handlers, unlike, .. } = w.store.wait_facts(&w.scope, run).await.unwrap();
        (handlers, unlike)
    };
    assert_eq!(facts().await, (0, 0));
    w.connect().await;
    assert_eq!(facts().await, (0, 1));
    let worker = WorkerId::new(w.now);
    w.say_hello(&Hello { labels: labels(&[("gpu", "yes"), ("rack", "7")]), ..w.hello(worker, 1, &[]) }).await;
    assert_eq!(facts().await, (1, 1));
}
