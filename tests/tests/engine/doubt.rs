//! Hints that are lost, and answers that are: the next heartbeats repair whatever the session believed.

use std::time::Duration;

use mainspring_engine::{
    domain::{
        attempt::Outcome,
        names::Scope,
        run::RunState,
        worker::{AbandonReason, Drain, WorkerStatus},
    },
    flow::stream::messages::{Directive, DrainMode, ToWorker},
    ports::signals::{Signal, Signals as _},
};
use mainspring_tests::{
    engine::{Stage, Worker},
    harness::host::{self, PATIENCE},
};

const SECOND: Duration = Duration::from_secs(1);

async fn drained(worker: &mut Worker) -> DrainMode {
    worker
        .until("a Drain", |message| match message {
            ToWorker::Drain { mode, .. } => Some(*mode),
            _ => None,
        })
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_whose_hint_was_lost_is_told_at_the_next_heartbeat() {
    let stage = Stage::judging().await;
    let mut worker = stage.connect(2).await;
    let (now, scope) = (stage.engine.now(), Scope::default());
    assert!(stage.engine.store().drain_worker(now, &scope, worker.id, Drain::Quiesce).await.unwrap());
    worker.renew(&[]).await;
    assert_eq!(drained(&mut worker).await, DrainMode::Quiesce);
    worker.renew(&[]).await;
    assert!(!worker.heard(|message| matches!(message, ToWorker::Drain { .. })), "once is enough");
    stage.submit_one().await;
    stage.pass(SECOND * 2).await;
    assert!(!worker.heard(|message| matches!(message, ToWorker::Dispatch { .. })));
    // Asked to leave after all, and never to stay again.
    assert!(stage.engine.drain_worker(&scope, worker.id, Drain::Terminate).await.unwrap());
    assert_eq!(drained(&mut worker).await, DrainMode::Terminate);
    assert!(stage.engine.drain_worker(&scope, worker.id, Drain::Quiesce).await.unwrap());
    worker.renew(&[]).await;
    assert!(!worker.heard(|message| matches!(message, ToWorker::Drain { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_was_asked_to_leave_while_it_reconnected_leaves() {
    let stage = Stage::judging().await;
    let (id, epoch) = stage.connect(2).await.sever();
    assert!(stage.engine.drain_worker(&Scope::default(), id, Drain::Terminate).await.unwrap());
    let mut back = stage.connect_as(id, epoch + 1, 2, &[]).await.unwrap();
    assert_eq!(drained(&mut back).await, DrainMode::Terminate);
    let view = stage.engine.store().worker(&Scope::default(), id).await.unwrap().unwrap();
    assert_eq!(view.status, WorkerStatus::Draining);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_lost_hints_compares_all_that_its_worker_lists() {
    let stage = Stage::judging().await;
    let mut worker = stage.connect(2).await;
    stage.submit_one().await;
    let key = worker.accepted().await;
    assert_eq!(worker.renew(&[key]).await, []);
    // Another server takes the result, and what it tells about it is lost in a flood.
    stage.world().report(key, Outcome::Succeeded).await;
    assert_eq!(worker.renew(&[key]).await, []);
    for _ in 0..100_000 {
        stage.others.send(Signal::Due);
    }
    let repaired = async {
        loop {
            let directives = worker.renew(&[key]).await;
            if !directives.is_empty() {
                return directives;
            }
        }
    };
    let directives = host::within(PATIENCE, "the session to compare", repaired).await.unwrap();
    assert_eq!(directives, [Directive::Abandon(key, AbandonReason::AlreadyTerminal)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_goes_on_long_after_its_stop_is_told_what_became_of_it() {
    let stage = Stage::judging().await;
    let mut worker = stage.connect(1).await;
    let run = stage.submit_one().await;
    let key = worker.accepted().await;
    worker.renew(&[key]).await;
    assert!(stage.engine.cancel(&Scope::default(), run, "no more".into()).await.unwrap());
    worker.until("a Cancel", |message| matches!(message, ToWorker::Cancel(..)).then_some(())).await;
    // Ended by another server, and the hint of it was lost.
    stage
        .sql(
            "UPDATE run SET state = 8, open_token = NULL, stop_deadline = NULL, deadline_time = NULL, end_time = 1, \
             reason = 'CANCELLED'",
        )
        .await;
    for _ in 0..3 {
        stage.pass(SECOND * 9).await;
        assert!(matches!(worker.renew(&[key]).await[..], [Directive::Cancel(..)]), "it has time to stop");
    }
    stage.pass(SECOND * 4).await;
    assert_eq!(worker.renew(&[key]).await, [Directive::Abandon(key, AbandonReason::AlreadyTerminal)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_that_lapsed_are_compared_until_that_has_worked() {
    let stage = Stage::judging().await;
    let mut worker = stage.connect(1).await;
    let run = stage.submit_one().await;
    let key = worker.accepted().await;
    worker.renew(&[key]).await;
    let now = stage.engine.now();
    stage.engine.store().expire(now, now.plus(SECOND * 3_600), 10).await.unwrap();
    assert_eq!(stage.state(run).await, RunState::Queued);
    // The heartbeat is recorded, and what it lists cannot be compared.
    stage.sql("ALTER TABLE run RENAME TO run_away").await;
    let unanswered = worker.heartbeat(&[key]);
    stage.pass(SECOND).await;
    stage.sql("ALTER TABLE run_away RENAME TO run").await;
    assert!(
        !worker.heard(|message| matches!(message, ToWorker::HeartbeatAck { sequence, .. } if *sequence == unanswered))
    );
    assert_eq!(worker.renew(&[key]).await, []);
    let life = stage.run(run).await.life;
    assert_eq!((life.state, life.attempt, life.losses), (RunState::Running, 1, 0), "adopted");
}
