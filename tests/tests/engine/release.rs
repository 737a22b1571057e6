//! Pointers between dispatcher, broker and sessions, while parts of the store are away.

use std::time::Duration;

use mainspring_engine::{
    domain::{
        attempt::Outcome,
        ids::WorkerId,
        names::Scope,
        run::RunState,
        worker::{Handler, Hello},
    },
    flow::stream::messages::{FromWorker, RejectReason, Reply, ToWorker},
    ports::{
        signals::{Signal, Signals as _},
        store::{NewRun, QueueChange, QueueSettings},
    },
};
use mainspring_tests::{
    conformance::world::{lane, lane_of},
    engine::{Stage, Worker},
};

const SECOND: Duration = Duration::from_secs(1);
/// Every look at restricted queues, and every lease, reads this table while any queue may be restricted.
const QUEUES_GO: &str = "ALTER TABLE queue RENAME TO queue_away";
const QUEUES_COME: &str = "ALTER TABLE queue_away RENAME TO queue";
/// Every lease reads this one.
const WORKERS_GO: &str = "ALTER TABLE worker RENAME TO worker_away";
const WORKERS_COME: &str = "ALTER TABLE worker_away RENAME TO worker";

/// Lets time pass while a worker says that it lives.
async fn pass_alive(stage: &Stage, worker: &mut Worker, length: Duration) {
    let step = SECOND * 5;
    let mut left = length;
    while !left.is_zero() {
        stage.pass(step.min(left)).await;
        left = left.saturating_sub(step);
        worker.heartbeat(&[]);
        stage.clock.settled().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_released_without_a_look_does_not_wait_for_another_lanes_look() {
    let stage = Stage::judging().await;
    let limited = QueueSettings { concurrency_limit: Some(9), allow_missing: true, ..QueueSettings::default() };
    let (now, elsewhere) = (stage.engine.now(), "elsewhere".parse().unwrap());
    let change = stage.engine.store().update_queue(now, &Scope::default(), &elsewhere, limited).await.unwrap();
    assert_eq!(change, QueueChange::Done);
    let mut worker = stage.connect(8).await;
    let there = lane_of("default", "default", "test.other");
    let hello = stage.world().hello(WorkerId::new(stage.engine.now()), 1, &[]);
    let handlers = vec![Handler { job_type: there.job_type.clone(), ..hello.handlers[0].clone() }];
    let mut other = stage.connect_with(Hello { handlers, ..hello }).await.unwrap();
    stage.submit(NewRun { lane: there, ..stage.world().new_run() }).await;
    other.dispatch().await;
    stage.clock.settled().await;
    stage.pass(SECOND * 6 / 10).await;
    // This lane is looked at now; the other one is the next to be.
    stage.others.send(Signal::Queued(lane()));
    stage.submit_one().await;
    worker.dispatch().await;
    stage.sql(QUEUES_GO).await;
    stage.pass(SECOND / 2).await;
    let run = stage.submit_one().await;
    stage.asleep("lease").await;
    stage.sql(QUEUES_COME).await;
    stage.pass(SECOND * 2).await;
    assert_eq!(worker.dispatch().await.key.run, run);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wish_not_to_be_asked_again_has_an_end() {
    let stage = Stage::judging().await;
    let mut worker = stage.connect(2).await;
    let run = stage.submit_one().await;
    let key = worker.dispatch().await.key;
    let century = SECOND * 60 * 60 * 24 * 365 * 100;
    worker.say(FromWorker::Reply(key, Reply::Rejected(RejectReason::UnreadablePayload, Some(century))));
    stage.until(run, RunState::Queued).await;
    // Others of the lane do not wait with it.
    let next = stage.submit_one().await;
    let dispatch = worker.dispatch().await;
    assert_eq!(dispatch.key.run, next);
    worker.say(FromWorker::Reply(dispatch.key, Reply::Rejected(RejectReason::UnreadablePayload, None)));
    let again = worker.dispatch().await.key;
    assert_eq!(again.run, next, "without a wish it is offered at once");
    worker.report(again, Outcome::Succeeded);
    pass_alive(&stage, &mut worker, SECOND * 55).await;
    assert!(!worker.heard(|message| matches!(message, ToWorker::Dispatch { .. })));
    pass_alive(&stage, &mut worker, SECOND * 10).await;
    assert_eq!(worker.dispatch().await.key.run, run);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pointer_that_was_released_twice_is_dispatched_once() {
    let stage = Stage::judging().await;
    let mut worker = stage.connect(4).await;
    stage.sql(WORKERS_GO).await;
    let mut runs = vec![stage.submit_one().await];
    stage.asleep("lease").await;
    runs.push(stage.submit_one().await);
    // Long enough for the dispatcher to release what nobody leases again, and again.
    pass_alive(&stage, &mut worker, SECOND * 70).await;
    stage.sql(WORKERS_COME).await;
    stage.pass(SECOND).await;
    let mut dispatched = vec![worker.dispatch().await.key.run, worker.dispatch().await.key.run];
    pass_alive(&stage, &mut worker, SECOND * 3).await;
    dispatched.sort_unstable();
    runs.sort_unstable();
    assert_eq!(dispatched, runs);
    // The first was under way when it came again; what came again while it waited was known.
    assert_eq!(stage.leases.sizes(), [1, 2]);
    assert!(!worker.heard(|message| matches!(message, ToWorker::Dispatch { .. })));
}

/// As small as its deliveries, a step would make the next deliveries small: with most slots free, few runs would go round.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_delivered_while_a_lease_was_under_way_is_leased_at_once() {
    let stage = Stage::judging().await;
    let mut worker = stage.connect(8).await;
    stage.sql(WORKERS_GO).await;
    stage.submit_one().await;
    stage.asleep("lease").await;
    for _ in 0..5 {
        stage.submit_one().await;
        stage.clock.settled().await;
    }
    stage.sql(WORKERS_COME).await;
    stage.pass(SECOND).await;
    for _ in 0..6 {
        worker.dispatch().await;
    }
    assert_eq!(stage.leases.sizes(), [1, 5]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_leased_for_a_session_that_ended_goes_elsewhere_at_once() {
    let stage = Stage::judging().await;
    let gone = stage.connect(1).await;
    stage.sql(WORKERS_GO).await;
    let run = stage.submit_one().await;
    stage.asleep("lease").await;
    gone.sever();
    stage.sql(WORKERS_COME).await;
    let mut worker = stage.connect(1).await;
    stage.pass(SECOND).await;
    let key = worker.dispatch().await.key;
    assert_eq!((key.run, key.attempt), (run, 2));
    let life = stage.run(run).await.life;
    assert_eq!((life.returns, life.losses), (1, 0), "it was never sent");
}
