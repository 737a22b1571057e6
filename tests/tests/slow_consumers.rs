//! Workers that do not read, or say more than anybody can take in: they lose their stream, and nobody else anything.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

use mainspring_proto::{
    scheduler::v1::{EventTopic, RunState, WorkerState, event::Detail},
    worker::v1::{
        AttemptPhase, AttemptRef, AttemptResult, AttemptSucceeded, DispatchAccepted, DispatchReply,
        WorkerStreamRequest, attempt_result, dispatch_reply, worker_stream_request::Message as Say,
        worker_stream_response::Message as Heard,
    },
};
use mainspring_tests::harness::{
    client::{Client, Watch, work},
    host::{self, PATIENCE, Task},
    refusal::Told,
    rows::WriteLock,
    session::{BareWorker, Session},
    timed::TimedServer,
};
use serde_json::json;
use tonic::Code;
use uuid::Uuid;

/// More than all buffers between a server and a worker hold.
const MANY: usize = 50_000;
/// Results that may wait for their commit.
const RESULTS: usize = 20_000;

/// An attempt that nobody ever had.
fn nobodys() -> Option<AttemptRef> {
    Some(AttemptRef { run_id: Uuid::now_v7().to_string(), attempt: 1 })
}

/// Answered at once: it is nobody's.
fn accepted() -> Say {
    let phase = AttemptPhase::Running.into();
    let outcome = Some(dispatch_reply::Outcome::Accepted(DispatchAccepted { phase }));
    Say::DispatchReply(DispatchReply { attempt: nobodys(), outcome })
}

/// Answered when the database has been asked.
fn result() -> Say {
    let outcome = Some(attempt_result::Outcome::Succeeded(AttemptSucceeded::default()));
    Say::Result(AttemptResult { attempt: nobodys(), outcome, ..AttemptResult::default() })
}

/// Says it until the stream does not take more; how often it was.
fn flood(session: &Session, what: fn() -> Say) -> Task<usize> {
    let say = session.sender().unwrap();
    host::spawn(async move {
        for said in 0..MANY {
            if say.send(WorkerStreamRequest { message: Some(what()) }).await.is_err() {
                return said;
            }
        }
        MANY
    })
}

async fn disconnected(watch: &mut Watch, worker: &BareWorker) {
    let gone = |detail: &Detail| {
        matches!(detail, Detail::Worker(event)
            if event.worker_id == worker.instance && event.state() == WorkerState::Disconnected)
    };
    watch.run(gone).await.unwrap();
}

/// Somebody else on the same server, to whom nothing happens.
async fn works(client: &Client, session: &mut Session) {
    let run = client.submit(work("t.other", &json!(null))).await.unwrap();
    let attempt = session.dispatch().await.unwrap().attempt.unwrap();
    session.accept(&attempt).await.unwrap();
    session.succeed(&attempt).await.unwrap();
    session.result_ack(&attempt).await.unwrap();
    assert_eq!(client.over(&run, PATIENCE).await.unwrap().state(), RunState::Succeeded);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_does_not_read_loses_its_stream() {
    let server = TimedServer::start(|_| {}).await.unwrap();
    let client = server.client().unwrap();
    let mut watch = client.watch(&[EventTopic::Workers], "", "").await.unwrap();
    let mut other = BareWorker::new(&["t.other"], 1).connect(&server.client().unwrap()).await.unwrap();
    let mut deaf = BareWorker::new(&["t.noop"], 1);
    let mut session = deaf.connect(&server.client().unwrap()).await.unwrap();
    let said = flood(&session, accepted);
    disconnected(&mut watch, &deaf).await;
    works(&client, &mut other).await;

    // What was under way to it is still there, then the reason.
    let mut kept = 0;
    let status = loop {
        match session.hear(PATIENCE).await.unwrap() {
            Ok(Some(Heard::Revoke(_))) => kept += 1,
            Ok(heard) => panic!("{heard:?}"),
            Err(status) => break status,
        }
    };
    println!("{kept} answers were kept, to {} messages", said.ended().await);
    assert!(kept < MANY / 2, "{kept} answers were kept for somebody who does not read");
    let told = Told::of(&status);
    told.is(Code::ResourceExhausted, "SLOW_CONSUMER");
    told.advises("it does not read what it is sent");
    told.advises("reconnect, read the stream");
    told.is_passing();
    // It may come back, and reads now.
    deaf.connect(&client).await.unwrap().renew(Vec::new()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_says_more_than_can_be_stored_loses_its_stream() {
    let server = TimedServer::start(|_| {}).await.unwrap();
    let client = server.client().unwrap();
    let mut other = BareWorker::new(&["t.other"], 1).connect(&server.client().unwrap()).await.unwrap();
    let mut loud = BareWorker::new(&["t.noop"], 1);
    let mut session = loud.connect(&server.client().unwrap()).await.unwrap();
    let lock = WriteLock::take(&server.database()).await.unwrap();
    let said = flood(&session, result);
    let told = Told::of(&session.end(PATIENCE).await.unwrap().unwrap_err());
    told.is(Code::ResourceExhausted, "SLOW_CONSUMER");
    told.advises("more waits than can be stored for now");
    told.advises("send no more than is acknowledged");
    told.is_passing();
    let said = said.ended().await;
    assert!(said >= RESULTS, "it could say only {said}");
    lock.release().await.unwrap();
    works(&client, &mut other).await;
    loud.connect(&client).await.unwrap().renew(Vec::new()).await.unwrap();
}
