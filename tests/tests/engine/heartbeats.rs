//! Heartbeats that come, that do not, and that come again: what watchers hear of it.

use std::time::Duration;

use mainspring_engine::{
    domain::{event::Detail, ids::WorkerId, worker::WorkerStatus},
    flow::events::Watch,
};
use mainspring_tests::{
    engine::Stage,
    harness::host::{self, PATIENCE},
};

const SECOND: Duration = Duration::from_secs(1);

/// What is told of a worker, up to this.
async fn told(watch: &mut Watch, worker: WorkerId, last: WorkerStatus) -> Vec<WorkerStatus> {
    let mut told = Vec::new();
    let heard = async {
        while told.last() != Some(&last) {
            let (_, event) = watch.next().await.unwrap();
            match &event.detail {
                Detail::Worker { worker: of, name, status } if *of == worker => {
                    assert_eq!((name.as_str(), event.namespace.as_str()), ("w", "default"));
                    told.push(*status);
                }
                _ => {}
            }
        }
    };
    host::within(PATIENCE, &format!("a worker to be {last:?}"), heard).await.unwrap();
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_hear_that_a_worker_is_lost_and_that_it_is_back() {
    let stage = Stage::judging().await;
    let mut watch = stage.engine.events().watch(None).unwrap();
    let (id, epoch) = stage.connect(1).await.sever();
    use WorkerStatus::{Connected, Disconnected, Lost};
    assert_eq!(told(&mut watch, id, Disconnected).await, [Connected, Disconnected]);
    stage.pass(stage.rules.lease_ttl + SECOND * 2).await;
    assert_eq!(told(&mut watch, id, Lost).await, [Lost], "once");
    let mut back = stage.connect_as(id, epoch + 1, 1, &[]).await.unwrap();
    assert_eq!(told(&mut watch, id, Connected).await, [Connected]);
    // Another server judges it, whom its heartbeats did not reach; the next one comes here.
    let now = stage.engine.now();
    let judged = stage.engine.store().expire(now, now.plus(SECOND * 3_600), 10).await.unwrap();
    assert_eq!(judged.lost.len(), 1);
    back.renew(&[]).await;
    assert_eq!(told(&mut watch, id, Connected).await, [Connected]);
    let (before, after) = (stage.engine.events().cursor(), back.renew(&[]).await);
    assert_eq!((after.len(), stage.engine.events().cursor()), (0, before), "who was not lost is not back");
}
