//! A database that cannot be written for ten seconds: streams live on, and nothing is lost.
//!
//! The trap is in HTTP/2, not in SQL: a reader that stops reading small frames has its connection killed after about two
//! thousand of them. So the reader of a stream must never wait for the database.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

use std::time::Duration;

use mainspring_proto::{
    scheduler::v1::RunState,
    worker::v1::{
        AttemptPhase, AttemptProgress, AttemptRef, AttemptResult, AttemptSucceeded, CancelDisposition, CancelReply,
        CapacityUpdate, DispatchAccepted, DispatchReply, LogBatch, LogEntry, QueueCapacity, ResultDisposition,
        attempt_result, dispatch_reply, worker_stream_request::Message as Say,
        worker_stream_response::Message as Heard,
    },
};
use mainspring_tests::harness::{
    client::work,
    host::{self, PATIENCE},
    rows::WriteLock,
    server::{Server, Settings},
    session::{BareWorker, Session, held},
};
use serde_json::json;
use uuid::Uuid;

const STALL: Duration = Duration::from_secs(10);
const MESSAGES: u32 = 5_000;

/// Everything a worker says beside heartbeats, in turn.
fn word(number: u32, attempt: &AttemptRef) -> Say {
    let nobodys = Some(AttemptRef { run_id: Uuid::now_v7().to_string(), attempt: 1 });
    let attempt = Some(attempt.clone());
    match number % 6 {
        0 => Say::Progress(AttemptProgress {
            attempt,
            phase: AttemptPhase::Running.into(),
            completed_fraction: f64::from(number) / f64::from(MESSAGES),
            ..AttemptProgress::default()
        }),
        1 => {
            let entries = vec![LogEntry { message: "still here".into(), ..LogEntry::default() }];
            let first_offset = i64::from(number / 6);
            Say::LogBatch(LogBatch { attempt, first_offset, entries, ..LogBatch::default() })
        }
        2 => Say::CapacityUpdate(CapacityUpdate {
            capacity: vec![QueueCapacity { queue: String::new(), max_in_flight: 2 }],
        }),
        3 => Say::CancelReply(CancelReply { attempt, disposition: CancelDisposition::Unsupported.into() }),
        4 => {
            let outcome = Some(attempt_result::Outcome::Succeeded(AttemptSucceeded::default()));
            Say::Result(AttemptResult { attempt: nobodys, outcome, ..AttemptResult::default() })
        }
        _ => {
            let phase = AttemptPhase::Running.into();
            let outcome = Some(dispatch_reply::Outcome::Accepted(DispatchAccepted { phase }));
            Say::DispatchReply(DispatchReply { attempt: nobodys, outcome })
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_small_messages_do_not_break_the_stream() {
    // A lease longer than the stall: a worker that could not be heard must not be given up for the store's sake.
    let server = Server::start(Settings::with_lease(Duration::from_secs(30))).await.unwrap();
    let client = server.client().unwrap();
    let mut session = BareWorker::new(&["t.noop"], 2).connect(&client).await.unwrap();
    let run = client.submit(work("t.noop", &json!(null))).await.unwrap();
    let attempt = session.dispatch().await.unwrap().attempt.unwrap();
    session.accept(&attempt).await.unwrap();

    let lock = WriteLock::take(&server.database()).await.unwrap();
    let begin = host::monotonic();
    // A caller that waits all the while, and a result that nobody can store yet.
    let waiting = host::spawn({
        let client = client.clone();
        async move { client.submit(work("t.noop", &json!(null))).await }
    });
    for number in 0..MESSAGES {
        if number % 10 == 0 {
            session.heartbeat(vec![held(&attempt, AttemptPhase::Running)]).await.unwrap();
        } else {
            session.say(word(number, &attempt)).await.unwrap();
        }
    }
    // Another worker says Hello, and does not wait for the Welcome.
    let hello = Say::Hello(BareWorker::new(&["t.other"], 1).hello(Vec::new()));
    let mut early = Session::open(&client, hello).await.unwrap();
    for _ in 0..MESSAGES {
        early.heartbeat(Vec::new()).await.unwrap();
    }
    // The server has read all of it, and answers what it can without the database.
    let last = AttemptRef { run_id: Uuid::now_v7().to_string(), attempt: 1 };
    session.accept(&last).await.unwrap();
    let revoked =
        |heard: &Heard| matches!(heard, Heard::Revoke(revoke) if revoke.attempt.as_ref() == Some(&last)).then_some(());
    session.until("a Revoke of the last attempt", revoked).await.unwrap();
    session.succeed(&attempt).await.unwrap();
    let said = Duration::from_nanos(host::monotonic() - begin);
    assert!(said < STALL, "the messages took {said:?}: somebody waited for the database");
    host::pass_time(STALL - said, "the database stands still for this long").await;
    lock.release().await.unwrap();

    early.until("a Welcome", Session::is_welcome).await.unwrap();
    early.renew(Vec::new()).await.unwrap();
    let ack = session.result_ack(&attempt).await.unwrap();
    assert_eq!(ack.disposition(), ResultDisposition::Applied, "{ack:?}");
    session.renew(Vec::new()).await.unwrap();
    let over = client.over(&run, PATIENCE).await.unwrap();
    assert_eq!((over.state(), over.attempt), (RunState::Succeeded, 1), "{over:?}");

    let second = waiting.ended().await.unwrap();
    let attempt = session.dispatch().await.unwrap().attempt.unwrap();
    assert_eq!(attempt.run_id, second);
    session.accept(&attempt).await.unwrap();
    session.succeed(&attempt).await.unwrap();
    client.succeeded(&second, PATIENCE).await.unwrap();
}
