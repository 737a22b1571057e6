//! A machine that sleeps: time passes for everybody, and what was said meanwhile waits to be read. Nobody may be judged for
//! that.

use std::time::Duration;

use mainspring_engine::{
    domain::{
        attempt::Outcome,
        event::Detail,
        run::{RunState, reason},
        worker::Phase,
    },
    flow::stream::messages::{Disposition, FromWorker, Reply},
    ports::store::NewRun,
};
use mainspring_tests::{
    conformance::world::{at_most_once, secs},
    engine::Stage,
    harness::host::{self, PATIENCE},
};

const NAP: Duration = Duration::from_secs(45);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_slept_takes_nothing_from_its_workers() {
    let stage = Stage::judging().await;
    let mut worker = stage.connect(2).await;
    let once = stage.submit(NewRun { policy: at_most_once(), ..stage.world().new_run() }).await;
    let key = worker.accepted().await;
    let other = stage.submit_one().await;
    let also = worker.accepted().await;
    assert_eq!((key.run, also.run), (once, other));
    worker.renew(&[key, also]).await;

    stage.sleep(NAP).await;
    // Every loop has had its turn before the first word of the worker is read.
    assert_eq!(stage.state(once).await, RunState::Running);
    worker.renew(&[key, also]).await;
    assert_eq!(worker.reported(key, Outcome::Succeeded).await, Disposition::Applied);
    assert_eq!(worker.reported(also, Outcome::Succeeded).await, Disposition::Applied);
    let life = stage.run(other).await.life;
    assert_eq!((life.state, life.attempt, life.losses, life.returns), (RunState::Succeeded, 1, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_waited_while_the_server_slept_is_in_time() {
    let stage = Stage::judging().await;
    let mut worker = stage.connect(1).await;
    let run = stage.submit_one().await;
    let key = worker.dispatch().await.key;
    stage.sleep(NAP).await;
    worker.say(FromWorker::Reply(key, Reply::Accepted(Phase::Running)));
    worker.renew(&[key]).await;
    assert_eq!(worker.reported(key, Outcome::Succeeded).await, Disposition::Applied);
    assert_eq!(stage.run(run).await.life.returns, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_stays_silent_after_the_sleep_is_judged() {
    let stage = Stage::judging().await;
    let mut worker = stage.connect(1).await;
    let run = stage.submit(NewRun { policy: at_most_once(), ..stage.world().new_run() }).await;
    let key = worker.accepted().await;
    worker.renew(&[key]).await;
    stage.sleep(NAP).await;
    stage.pass(stage.rules.lease_ttl - Duration::from_secs(1)).await;
    assert_eq!(stage.state(run).await, RunState::Running);
    stage.pass(Duration::from_secs(3)).await;
    let life = stage.run(run).await.life;
    assert_eq!((life.state, life.reason.as_deref()), (RunState::Failed, Some(reason::LEASE_LOST)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_is_told() {
    let stage = Stage::set().await;
    let mut watch = stage.engine.events().watch(None).unwrap();
    // A minute is nobody's concern.
    stage.sleep(secs(60)).await;
    stage.sleep(secs(3_600)).await;
    let told = async {
        loop {
            let (_, event) = watch.next().await.unwrap();
            if let Detail::Clock { server, from, to } = &event.detail {
                return (event.namespace.clone(), *server, to.since(*from));
            }
        }
    };
    let told = host::within(PATIENCE, "the jump to be told", told).await.unwrap();
    assert_eq!(told, (None, stage.engine.server(), secs(3_600)));
}
