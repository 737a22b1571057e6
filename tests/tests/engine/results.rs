//! Results and log lines on their way to a store that does not take them now.

use std::time::Duration;

use mainspring_engine::{
    domain::{
        attempt::{AttemptKey, Outcome},
        ids::RunId,
        log::{Batch, Level, Line},
        names::Scope,
    },
    flow::stream::messages::{Disposition, FromWorker, Remark, SessionEnd, ToWorker},
    ports::store::Report,
};
use mainspring_tests::{
    conformance::world::failure,
    engine::{Stage, Worker},
    harness::rows::WriteLock,
};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_that_is_sent_again_while_it_is_stored_is_answered_once() {
    let stage = Stage::judging().await;
    let mut worker = stage.connect(1).await;
    stage.submit_one().await;
    let key = worker.accepted().await;
    let lock = WriteLock::take(&stage.database()).await.unwrap();
    for _ in 0..1_000 {
        worker.report(key, Outcome::Succeeded);
    }
    lock.release().await.unwrap();
    assert_eq!(worker.result_ack(key).await, Disposition::Applied);
    worker.renew(&[]).await;
    // Those that were read after the first was answered have one answer, too.
    assert!(worker.take(|message| matches!(message, ToWorker::ResultAck(..))) <= 1);
    assert_eq!(worker.reported(key, Outcome::Succeeded).await, Disposition::Duplicate);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_results_ends_the_session_and_not_the_servers_memory() {
    let stage = Stage::judging().await;
    let worker = stage.connect(1).await;
    let lock = WriteLock::take(&stage.database()).await.unwrap();
    let end = (0..100_000).find_map(|_| {
        let key = AttemptKey { run: RunId::new(stage.engine.now()), attempt: 1 };
        let report = Report {
            scope: Scope::default(),
            key,
            outcome: Outcome::Succeeded,
            output: None,
            start_time: None,
            log_lines: None,
        };
        worker.inbox.push(FromWorker::Result(Box::new(report))).err()
    });
    assert!(matches!(end, Some(SessionEnd::SlowConsumer(_))), "{end:?}");
    lock.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_that_the_store_cannot_take_now_is_tried_again() {
    let stage = Stage::judging().await;
    let mut worker = stage.connect(1).await;
    stage.submit_one().await;
    let key = worker.accepted().await;
    stage.sql("ALTER TABLE attempt_end RENAME TO attempt_end_away").await;
    worker.report(key, Outcome::Failed(failure("X")));
    stage.asleep("insist").await;
    stage.sql("ALTER TABLE attempt_end_away RENAME TO attempt_end").await;
    stage.pass(SECOND).await;
    assert_eq!(worker.result_ack(key).await, Disposition::Applied);
}

fn lines(stage: &Stage, key: AttemptKey, count: usize) -> FromWorker {
    let line = Line { time: stage.engine.now(), level: Level::Info, message: "l".into(), fields: Default::default() };
    FromWorker::Logs(Batch { key, first_offset: 0, lines: vec![line; count], dropped: 0 })
}

async fn log_ack(worker: &mut Worker, key: AttemptKey) -> u64 {
    worker
        .until("a LogAck", |message| match message {
            ToWorker::LogAck(of, end) if *of == key => Some(*end),
            _ => None,
        })
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_of_an_attempt_that_was_followed_by_another_are_stored() {
    let stage = Stage::judging().await;
    let mut first = stage.connect(1).await;
    let run = stage.submit_one().await;
    let key = first.accepted().await;
    assert_eq!(first.reported(key, Outcome::Failed(failure("X"))).await, Disposition::Applied);
    let (id, epoch) = first.sever();
    let mut second = stage.connect(1).await;
    stage.pass(SECOND * 10).await;
    let next = second.accepted().await;
    assert_eq!((next.run, next.attempt), (run, 2));
    let mut back = stage.connect_as(id, epoch + 1, 1, &[]).await.unwrap();
    // Whose lines they are cannot be asked for now: nobody is told that they are not its own.
    stage.sql("ALTER TABLE attempt_end RENAME TO attempt_end_away").await;
    back.say(lines(&stage, key, 3));
    back.renew(&[]).await;
    stage.clock.settled().await;
    stage.sql("ALTER TABLE attempt_end_away RENAME TO attempt_end").await;
    assert!(!back.heard(|message| matches!(message, ToWorker::LogAck(..) | ToWorker::Notice { .. })));
    back.say(lines(&stage, key, 3));
    assert_eq!(log_ack(&mut back, key).await, 3);
    // Those of the other's are not.
    back.say(lines(&stage, next, 3));
    let notice = |message: &ToWorker| match message {
        ToWorker::Notice { reason, attempt, .. } => Some((*reason, *attempt)),
        _ => None,
    };
    assert_eq!(back.until("a Notice", notice).await, (Remark::LeaseNotOwned, Some(next)));
}
