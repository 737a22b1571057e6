//! A worker on bare stubs, and the streams of watchers.

#![expect(clippy::disallowed_methods, reason = "what a test waits for is bounded")]

use std::time::Duration;

use mainspring_proto::{
    common::v1::{LogLevel, Payload, payload::Data},
    scheduler::v1::{self as api, RunState},
    worker::v1 as wire,
};
use tokio::time::timeout;
use tokio_stream::StreamExt as _;
use tonic::{Code, Streaming};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use wire::{worker_stream_request::Message as Say, worker_stream_response::Message as Hear};

use super::{
    server::{Server, key_with, reason},
    worker::{SOON, Worker, hello},
};

pub(super) async fn submit(server: &Server, data: &[u8]) -> String {
    let payload = Payload { content_type: "text/plain".into(), data: Some(Data::Inline(data.to_vec())) };
    let run = api::RunSubmission { job_type: "echo".into(), payload: Some(payload), ..Default::default() };
    let request = api::SubmitRunRequest { run: Some(run), ..Default::default() };
    server.scheduler().submit_run(request).await.unwrap().into_inner().run.unwrap().run_id
}

pub(super) async fn welcomed(server: &Server) -> Worker {
    let mut worker = Worker::connect(server, Some(server.key())).await.unwrap();
    worker.say(Say::Hello(hello())).await;
    let Hear::Welcome(welcome) = worker.heard().await else { panic!("no welcome") };
    assert_eq!((welcome.protocol_version, welcome.session_epoch), (1, 1));
    worker
}

pub(super) async fn dispatched(worker: &mut Worker) -> wire::Dispatch {
    loop {
        match worker.heard().await {
            Hear::Dispatch(dispatch) => return dispatch,
            Hear::HeartbeatAck(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

pub(super) fn result(dispatch: &wire::Dispatch, output: Option<Payload>) -> Say {
    Say::Result(wire::AttemptResult {
        attempt: dispatch.attempt.clone(),
        outcome: Some(wire::attempt_result::Outcome::Succeeded(wire::AttemptSucceeded { output })),
        ..Default::default()
    })
}

pub(super) async fn acked(worker: &mut Worker) -> wire::ResultAck {
    loop {
        if let Hear::ResultAck(ack) = worker.heard().await {
            return ack;
        }
    }
}

/// The first event that is of interest.
pub(super) async fn event<T>(
    events: &mut Streaming<api::WatchEventsResponse>,
    find: impl Fn(api::event::Detail) -> Option<T>,
) -> T {
    let told = async {
        loop {
            let event = events.message().await.unwrap().expect("the stream ended").event.unwrap();
            if let Some(found) = event.detail.and_then(&find) {
                return found;
            }
        }
    };
    timeout(SOON, told).await.expect("heard of nothing that is of interest")
}

async fn waited(server: &Server, run_id: &str) -> api::Run {
    let request = api::WaitRunRequest { run_id: run_id.into(), ..Default::default() };
    let answer = server.scheduler().wait_run(request).await.unwrap().into_inner();
    assert!(answer.done);
    answer.run.unwrap()
}

#[tokio::test]
async fn a_run_goes_to_a_worker_and_comes_back() {
    let server = Server::start().await;
    let mut worker = welcomed(&server).await;
    let run_id = submit(&server, b"hello").await;
    let dispatch = dispatched(&mut worker).await;
    assert_eq!(dispatch.attempt.as_ref().unwrap().run_id, run_id);
    assert_eq!(dispatch.input.clone().unwrap().data, Some(Data::Inline(b"hello".to_vec())));
    let running = wire::DispatchAccepted { phase: wire::AttemptPhase::Running.into() };
    let accepted = wire::dispatch_reply::Outcome::Accepted(running);
    worker
        .say(Say::DispatchReply(wire::DispatchReply { attempt: dispatch.attempt.clone(), outcome: Some(accepted) }))
        .await;
    let entry = wire::LogEntry { message: "halfway".into(), level: 2, ..Default::default() };
    let batch = wire::LogBatch { attempt: dispatch.attempt.clone(), entries: vec![entry], ..Default::default() };
    worker.say(Say::LogBatch(batch)).await;
    let Hear::LogAck(ack) = worker.heard().await else { panic!("no log ack") };
    assert_eq!(ack.next_offset, 1);
    worker.say(result(&dispatch, dispatch.input.clone())).await;
    assert_eq!(acked(&mut worker).await.disposition(), wire::ResultDisposition::Applied);
    worker.say(result(&dispatch, None)).await;
    assert_eq!(acked(&mut worker).await.disposition(), wire::ResultDisposition::Duplicate);

    let run = waited(&server, &run_id).await;
    assert_eq!((run.state(), run.attempt), (RunState::Succeeded, 1));
    assert_eq!(run.output.unwrap().data, Some(Data::Inline(b"hello".to_vec())));
    let tail = api::TailLogsRequest { run_id: run_id.clone(), ..Default::default() };
    let mut tail = server.scheduler().tail_logs(tail).await.unwrap().into_inner();
    let first = timeout(SOON, tail.message()).await.unwrap().unwrap().unwrap();
    assert_eq!(first.entries[0].message, "halfway");
    let last = timeout(SOON, tail.message()).await.unwrap().unwrap().unwrap();
    assert_eq!(last.run.unwrap().state(), RunState::Succeeded);
    assert!(timeout(SOON, tail.message()).await.unwrap().unwrap().is_none());
    let list = api::ListLogsRequest { run_id, min_level: LogLevel::Warning.into(), ..Default::default() };
    assert!(server.scheduler().list_logs(list).await.unwrap().into_inner().entries.is_empty());
}

#[tokio::test]
async fn an_output_that_is_too_large_fails_the_run_for_good() {
    let server = Server::start().await;
    let mut worker = welcomed(&server).await;
    let run_id = submit(&server, b"x").await;
    let dispatch = dispatched(&mut worker).await;
    let large = Payload { content_type: String::new(), data: Some(Data::Inline(vec![0; (1 << 20) + 1])) };
    worker.say(result(&dispatch, Some(large))).await;
    assert_eq!(acked(&mut worker).await.disposition(), wire::ResultDisposition::Invalid);
    let run = waited(&server, &run_id).await;
    assert_eq!((run.state(), run.failure.unwrap().reason.as_str()), (RunState::Failed, "OUTPUT_TOO_LARGE"));
}

#[tokio::test]
async fn a_dispatch_that_the_worker_could_not_read_is_never_sent() {
    let server = Server::start().await;
    let mut worker = Worker::connect(&server, Some(server.key())).await.unwrap();
    worker.say(Say::Hello(wire::Hello { max_receive_message_bytes: 256 << 10, ..hello() })).await;
    worker.heard().await;
    let large = submit(&server, &vec![b'x'; 300 << 10]).await;
    let small = submit(&server, b"x").await;
    let dispatch = loop {
        match worker.heard().await {
            Hear::Dispatch(dispatch) => break dispatch,
            Hear::Notice(notice) => assert_eq!(notice.reason, "DISPATCH_TOO_LARGE"),
            // Nor is anything said of an attempt that it was never given.
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(dispatch.attempt.unwrap().run_id, small);
    let run = waited(&server, &large).await;
    assert_eq!((run.state(), run.failure.unwrap().reason.as_str()), (RunState::Failed, "PAYLOAD_TOO_LARGE"));
}

#[tokio::test]
async fn a_stream_that_does_not_begin_with_a_good_hello_ends_with_the_reason() {
    let server = Server::start().await;
    let first = async |message: Say| {
        let mut worker = Worker::connect(&server, Some(server.key())).await.unwrap();
        worker.say(message).await;
        worker.end().await.unwrap()
    };
    let heartbeat = Say::Heartbeat(wire::Heartbeat { sequence: 1, state: 1, ..Default::default() });
    assert_eq!(reason(&first(heartbeat).await), "HELLO_REQUIRED");
    let newer = wire::Hello { min_protocol_version: 7, max_protocol_version: 9, ..hello() };
    let status = first(Say::Hello(newer)).await;
    assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "PROTOCOL_VERSION_UNSUPPORTED"));
    let nobody = wire::Hello { worker_instance_id: "me".into(), ..hello() };
    assert_eq!(reason(&first(Say::Hello(nobody)).await), "FIELD_INVALID");
}

#[tokio::test]
async fn what_is_not_understood_is_noticed_and_does_not_end_the_stream() {
    let server = Server::start().await;
    let mut worker = welcomed(&server).await;
    worker.say.send(wire::WorkerStreamRequest { message: None }).await.unwrap();
    let Hear::Notice(notice) = worker.heard().await else { panic!("no notice") };
    assert_eq!(notice.reason, "UNSUPPORTED_MESSAGE");
    worker.say(Say::Progress(wire::AttemptProgress::default())).await;
    let Hear::Notice(notice) = worker.heard().await else { panic!("no notice") };
    assert_eq!(notice.reason, "FIELD_INVALID");
    worker.say(Say::Heartbeat(wire::Heartbeat { sequence: 1, state: 1, ..Default::default() })).await;
    let Hear::HeartbeatAck(ack) = worker.heard().await else { panic!("no ack") };
    assert_eq!(ack.sequence, 1);
    worker.say(Say::Hello(hello())).await;
    assert_eq!(reason(&worker.end().await.unwrap()), "HELLO_REQUIRED");
}

#[tokio::test]
async fn a_newer_stream_of_the_process_supersedes_the_older_one() {
    let server = Server::start().await;
    let hello = hello();
    let mut older = Worker::connect(&server, Some(server.key())).await.unwrap();
    older.say(Say::Hello(hello.clone())).await;
    older.heard().await;
    let mut newer = Worker::connect(&server, Some(server.key())).await.unwrap();
    newer.say(Say::Hello(wire::Hello { connect_sequence: 2, ..hello })).await;
    newer.heard().await;
    let status = older.end().await.unwrap();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Aborted, "SESSION_SUPERSEDED"));
}

#[tokio::test]
async fn a_revoked_key_ends_its_streams() {
    let server = Server::start().await;
    use mainspring_proto::auth::v1::RevokeApiKeyRequest;
    let made = server.users().create_api_key(key_with("worker")).await.unwrap().into_inner();
    let mut worker = Worker::connect(&server, Some(made.secret)).await.unwrap();
    worker.say(Say::Hello(hello())).await;
    worker.heard().await;
    let revoke = RevokeApiKeyRequest { key_id: made.api_key.unwrap().key_id };
    server.users().revoke_api_key(revoke).await.unwrap();
    let status = worker.end().await.unwrap();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unauthenticated, "TOKEN_REVOKED"));
}

#[tokio::test]
async fn what_a_worker_is_and_did_is_listed() {
    let server = Server::start().await;
    let mut worker = welcomed(&server).await;
    let run_id = submit(&server, b"x").await;
    let dispatch = dispatched(&mut worker).await;
    worker.say(result(&dispatch, None)).await;
    acked(&mut worker).await;

    let attempts = api::ListAttemptsRequest { run_id, ..Default::default() };
    let attempts = server.scheduler().list_attempts(attempts).await.unwrap().into_inner().attempts;
    assert_eq!((attempts.len(), attempts[0].state()), (1, api::AttemptState::Succeeded));
    let mut queues = server.queues();
    let types = queues.list_job_types(api::ListJobTypesRequest::default()).await.unwrap().into_inner().job_types;
    assert_eq!((types.len(), types[0].job_type.as_str(), types[0].connected_workers), (1, "echo", 1));
    let workers = queues.list_workers(api::ListWorkersRequest::default()).await.unwrap().into_inner().workers;
    assert_eq!((workers[0].name.as_str(), workers[0].capacity[0].max_in_flight), ("by hand", 4));
    let worker_id = workers[0].worker_id.clone();
    let drain = api::DrainWorkerRequest { worker_id: worker_id.clone(), terminate: true, ..Default::default() };
    let drained = queues.drain_worker(drain).await.unwrap().into_inner().worker.unwrap();
    assert_eq!((drained.worker_id, drained.state), (worker_id, api::WorkerState::Draining.into()));
    let Hear::Drain(drain) = worker.heard().await else { panic!("no drain") };
    assert_eq!(drain.mode(), wire::ServerDrainMode::Terminate);
    let nobody = api::GetWorkerRequest { worker_id: uuid::Uuid::now_v7().to_string(), ..Default::default() };
    assert_eq!(reason(&queues.get_worker(nobody).await.unwrap_err()), "WORKER_NOT_FOUND");
}

#[tokio::test]
async fn a_result_may_come_by_itself() {
    let server = Server::start().await;
    let mut worker = welcomed(&server).await;
    let run_id = submit(&server, b"x").await;
    let dispatch = dispatched(&mut worker).await;
    let Say::Result(result) = result(&dispatch, None) else { panic!("not a result") };
    let report = wire::ReportAttemptResultRequest { namespace: String::new(), result: Some(result) };
    let mut unary = server.worker(Some(server.key()));
    let other = wire::ReportAttemptResultRequest { namespace: "other".into(), ..report.clone() };
    let status = unary.report_attempt_result(other).await.unwrap_err();
    assert_eq!(reason(&status), "NAMESPACE_NOT_FOUND");
    for (report, expected) in
        [(report.clone(), wire::ResultDisposition::Applied), (report, wire::ResultDisposition::Duplicate)]
    {
        let ack = unary.report_attempt_result(report).await.unwrap().into_inner().ack.unwrap();
        assert_eq!(ack.disposition(), expected);
    }
    assert_eq!(waited(&server, &run_id).await.state(), RunState::Succeeded);
    let empty = unary.report_attempt_result(wire::ReportAttemptResultRequest::default()).await.unwrap_err();
    assert_eq!(reason(&empty), "FIELD_INVALID");
}

#[tokio::test]
async fn watchers_hear_what_they_asked_for() {
    let server = Server::start().await;
    let mut watcher = server
        .scheduler()
        .watch_events(api::WatchEventsRequest { topics: vec![api::EventTopic::Runs.into()], ..Default::default() })
        .await
        .unwrap()
        .into_inner();
    let run_id = submit(&server, b"x").await;
    let run = event(&mut watcher, |detail| match detail {
        api::event::Detail::Run(run) => Some(run),
        other => panic!("{other:?}"),
    })
    .await;
    assert_eq!((run.run_id.as_str(), run.state()), (run_id.as_str(), RunState::Queued));
    let foreign = api::WatchEventsRequest { cursor: format!("{}.1", "0".repeat(32)), ..Default::default() };
    let expired = server.scheduler().watch_events(foreign).await.unwrap_err();
    assert_eq!((expired.code(), reason(&expired).as_str()), (Code::OutOfRange, "CURSOR_EXPIRED"));
}

#[tokio::test]
async fn a_shutdown_ends_streams_with_a_reason_and_in_time() {
    let server = Server::start().await;
    let mut worker = welcomed(&server).await;
    let mut watcher = server.scheduler().watch_events(api::WatchEventsRequest::default()).await.unwrap().into_inner();
    let run_id = submit(&server, b"x").await;
    let wait = api::WaitRunRequest { run_id: run_id.clone(), ..Default::default() };
    let mut waiting = server.scheduler();
    let mut health = HealthClient::new(server.channel.clone());
    let request = HealthCheckRequest { service: String::new() };
    let health = health.watch(request).await.unwrap().into_inner();
    let (waited, stopped, watched, ended, health) = tokio::join!(
        waiting.wait_run(wait),
        // Shorter than what is given to connections that do not end by themselves.
        timeout(Duration::from_secs(4), server.running.shutdown(Duration::from_secs(1))),
        async {
            loop {
                match watcher.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => return None,
                    Err(status) => return Some(status),
                }
            }
        },
        worker.end(),
        timeout(SOON, health.map(|answer| answer.unwrap().status()).collect::<Vec<_>>()),
    );
    stopped.unwrap();
    assert_eq!(health.expect("health is watched for ever"), [ServingStatus::Serving, ServingStatus::NotServing]);
    for status in [waited.err(), watched, ended] {
        let status = status.unwrap();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "SERVER_DRAINING"));
    }
    timeout(SOON, server.running.stopped()).await.unwrap();
}
