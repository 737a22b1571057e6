//! The largest input goes to every worker that can read it, to the byte; a run whose worker cannot fails, and breaks
//! nobody's stream.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

use mainspring_proto::{
    common::v1::{Payload, payload::Data},
    scheduler::v1::{ListAttemptsRequest, RunState, RunSubmission},
    worker::v1::{
        Dispatch, Hello, WorkerStreamResponse, worker_stream_request::Message as Say,
        worker_stream_response::Message as Heard,
    },
};
use mainspring_tests::harness::{
    client::Client,
    host::PATIENCE,
    session::{BareWorker, Session},
    timed::TimedServer,
};
use prost::Message as _;

/// The documented limit of a payload.
const LARGEST: usize = 1 << 20;

/// A run with the largest input. The server's clock stands still, so all of them weigh the same on the wire. Each has a
/// type of its own, and so a worker of its own.
async fn submit(client: &Client, job_type: &str) -> String {
    let input = Payload { content_type: "application/octet-stream".into(), data: Some(Data::Inline(vec![7; LARGEST])) };
    let run = RunSubmission { job_type: job_type.into(), payload: Some(input), ..RunSubmission::default() };
    client.submit(run).await.unwrap()
}

/// A session of a worker that reads so much.
async fn reads(client: &Client, job_type: &str, bytes: i32) -> Session {
    let hello = BareWorker::new(&[job_type], 1).hello(Vec::new());
    let hello = Hello { max_receive_message_bytes: bytes, ..hello };
    let mut session = Session::open(client, Say::Hello(hello)).await.unwrap();
    assert!(matches!(session.next().await.unwrap(), Heard::Welcome(_)));
    session
}

/// Takes a dispatch, ends its run and leaves.
async fn take(mut session: Session, run: &str) -> Dispatch {
    let dispatch = session.dispatch().await.unwrap();
    let attempt = dispatch.attempt.clone().unwrap();
    assert_eq!(attempt.run_id, run);
    session.accept(&attempt).await.unwrap();
    session.succeed(&attempt).await.unwrap();
    session.result_ack(&attempt).await.unwrap();
    dispatch
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_input_goes_to_whoever_can_just_read_it() {
    let server = TimedServer::start(|_| {}).await.unwrap();
    let client = server.client().unwrap();
    let run = submit(&client, "t.1").await;
    let dispatch = take(reads(&client, "t.1", 0).await, &run).await;
    assert_eq!(dispatch.input.as_ref().unwrap().data, Some(Data::Inline(vec![7; LARGEST])));
    let weight = WorkerStreamResponse { message: Some(Heard::Dispatch(dispatch)) }.encoded_len();
    let weight = i32::try_from(weight).unwrap();
    assert!((1..4_096).contains(&(weight - LARGEST as i32)), "{weight}");

    let run = submit(&client, "t.2").await;
    take(reads(&client, "t.2", weight).await, &run).await;

    let run = submit(&client, "t.3").await;
    let mut short = reads(&client, "t.3", weight - 1).await;
    let over = client.over(&run, PATIENCE).await.unwrap();
    let failure = over.failure.clone().unwrap();
    assert_eq!((over.state(), failure.reason.as_str()), (RunState::Failed, "PAYLOAD_TOO_LARGE"), "{over:?}");
    assert!(failure.message.contains(&weight.to_string()), "{}", failure.message);
    let list = ListAttemptsRequest { run_id: run, ..ListAttemptsRequest::default() };
    let attempts = client.scheduler().list_attempts(list).await.unwrap().into_inner().attempts;
    assert_eq!((attempts.len(), over.attempt, over.returns), (1, 1, 0), "it is not tried again");

    // The stream has heard nothing of it but why, and its slot is free.
    let Heard::Notice(notice) = short.next().await.unwrap() else { panic!("no notice") };
    assert_eq!(notice.reason, "DISPATCH_TOO_LARGE");
    let small = RunSubmission { job_type: "t.3".into(), ..RunSubmission::default() };
    let small = client.submit(small).await.unwrap();
    let Heard::Dispatch(next) = short.next().await.unwrap() else { panic!("no dispatch") };
    assert_eq!(next.attempt.unwrap().run_id, small);
}
