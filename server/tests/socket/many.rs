//! Runs made again with another payload, and calls that are about many runs.

use mainspring_proto::{
    common::v1::{Payload, payload::Data},
    scheduler::v1::{self as wire, RunOrigin, RunState},
};
use tonic::Code;

use super::{
    server::{Server, reason},
    streams::{acked, dispatched, result, submit, welcomed},
};

fn bytes(payload: Option<Payload>) -> Vec<u8> {
    match payload.unwrap().data.unwrap() {
        Data::Inline(bytes) => bytes,
        other => panic!("{other:?}"),
    }
}

fn inline(data: &[u8]) -> Option<Payload> {
    let content_type = "application/octet-stream".into();
    Some(Payload { content_type, data: Some(Data::Inline(data.to_vec())) })
}

#[tokio::test]
async fn a_run_is_replayed_with_another_payload() {
    let server = Server::start().await;
    let mut worker = welcomed(&server).await;
    let run_id = submit(&server, b"one").await;
    let mut client = server.scheduler();
    let replay = |payload| wire::ReplayRunRequest {
        run_id: run_id.clone(),
        payload,
        request_id: "once".into(),
        ..Default::default()
    };
    let early = client.replay_run(replay(None)).await.unwrap_err();
    assert_eq!((early.code(), reason(&early).as_str()), (Code::FailedPrecondition, "RUN_NOT_RETRYABLE"));
    let dispatch = dispatched(&mut worker).await;
    worker.say(result(&dispatch, None)).await;
    acked(&mut worker).await;

    let new = client.replay_run(replay(inline(b"two"))).await.unwrap().into_inner().run.unwrap();
    assert_eq!((&new.parent_run_id, new.origin(), new.job_type.as_str()), (&run_id, RunOrigin::Retry, "echo"));
    assert_eq!(bytes(dispatched(&mut worker).await.input), b"two");
    let again = client.replay_run(replay(inline(b"two"))).await.unwrap().into_inner().run.unwrap();
    assert_eq!(again.run_id, new.run_id);
    let reused = client.replay_run(replay(inline(b"three"))).await.unwrap_err();
    assert_eq!(reason(&reused), "REQUEST_ID_REUSED");
    let same = wire::ReplayRunRequest { run_id: run_id.clone(), ..Default::default() };
    client.replay_run(same).await.unwrap();
    assert_eq!(bytes(dispatched(&mut worker).await.input), b"one");
}

/// Runs that nobody takes.
async fn waiting(server: &Server, count: usize) -> Vec<String> {
    let mut runs = Vec::new();
    for _ in 0..count {
        let run = Some(wire::RunSubmission { job_type: "nobody".into(), ..Default::default() });
        let request = wire::SubmitRunRequest { run, ..Default::default() };
        runs.push(server.scheduler().submit_run(request).await.unwrap().into_inner().run.unwrap().run_id);
    }
    runs
}

fn selection(filter: &str) -> Option<wire::RunSelection> {
    Some(wire::RunSelection { filter: filter.into(), run_ids: Vec::new() })
}

#[tokio::test]
async fn many_runs_are_cancelled_by_one_call() {
    let server = Server::start().await;
    let runs = waiting(&server, 3).await;
    let mut client = server.scheduler();
    let request = wire::CancelRunsRequest {
        selection: selection("job_type = nobody"),
        note: "wrong month".into(),
        expected_count: Some(2),
        ..Default::default()
    };
    let refused = client.cancel_runs(request.clone()).await.unwrap_err();
    assert_eq!(reason(&refused), "EXPECTED_COUNT_MISMATCH");
    let asked = wire::CancelRunsRequest { expected_count: Some(3), validate_only: true, ..request.clone() };
    assert_eq!(client.cancel_runs(asked).await.unwrap().into_inner().runs, []);

    let request = wire::CancelRunsRequest { expected_count: None, ..request };
    let told = client.cancel_runs(request.clone()).await.unwrap().into_inner();
    let cancelled = |run_id: &String| wire::CancelledRun { run_id: run_id.clone(), state: RunState::Cancelled.into() };
    assert_eq!((told.count, told.runs), (3, runs.iter().map(cancelled).collect()));
    let get = wire::GetRunRequest { run_id: runs[1].clone(), ..Default::default() };
    let run = client.get_run(get).await.unwrap().into_inner().run.unwrap();
    assert_eq!(run.cancellation.unwrap().note, "wrong month");
    assert_eq!(client.cancel_runs(request).await.unwrap().into_inner().count, 0, "what is over is not found");
    // Nobody means everything by saying nothing.
    for nothing in [selection(" "), None] {
        let request = wire::CancelRunsRequest { selection: nothing, ..Default::default() };
        assert_eq!(reason(&client.cancel_runs(request).await.unwrap_err()), "FIELD_INVALID");
    }
}

#[tokio::test]
async fn many_runs_are_retried_once_under_a_request_id() {
    let server = Server::start().await;
    let runs = waiting(&server, 2).await;
    let mut client = server.scheduler();
    let cancel = wire::CancelRunsRequest { selection: selection("job_type = nobody"), ..Default::default() };
    client.cancel_runs(cancel.clone()).await.unwrap();
    let request = wire::RetryRunsRequest {
        selection: selection("job_type = nobody"),
        request_id: "once".into(),
        ..Default::default()
    };
    let told = client.retry_runs(request.clone()).await.unwrap().into_inner();
    let old: Vec<_> = told.runs.iter().map(|run| run.run_id.clone()).collect();
    assert_eq!((told.count, old, told.refusals.len()), (2, runs, 0));
    // What it made is over by now, and would pass the filter.
    client.cancel_runs(cancel).await.unwrap();
    assert_eq!(client.retry_runs(request.clone()).await.unwrap().into_inner(), told);
    let other = wire::RetryRunsRequest { note: "other".into(), ..request.clone() };
    assert_eq!(reason(&client.retry_runs(other).await.unwrap_err()), "REQUEST_ID_REUSED");
    let anew = wire::RetryRunsRequest { request_id: String::new(), ..request };
    assert_eq!(client.retry_runs(anew).await.unwrap().into_inner().count, 4);
}

/// A job whose runs nobody takes.
async fn job(server: &Server, name: &str, overlap: wire::Overlap) {
    let job = wire::Job { job: name.into(), job_type: "nobody".into(), overlap: overlap.into(), ..Default::default() };
    let request = wire::CreateJobRequest { job: Some(job), ..Default::default() };
    server.scheduler().create_job(request).await.unwrap();
}

async fn trigger(server: &Server, job: &str) -> String {
    let request = wire::TriggerJobRequest { job: job.into(), ..Default::default() };
    server.scheduler().trigger_job(request).await.unwrap().into_inner().run.unwrap().run_id
}

async fn cancel(server: &Server, job: &str) {
    let request = wire::CancelRunsRequest { selection: selection(&format!("job = {job}")), ..Default::default() };
    server.scheduler().cancel_runs(request).await.unwrap();
}

async fn states(server: &Server, job: &str) -> Vec<RunState> {
    let filter = format!("job = {job} AND state != CANCELLED");
    let list = wire::ListRunsRequest { filter, order_by: "create_time".into(), ..Default::default() };
    let runs = server.scheduler().list_runs(list).await.unwrap().into_inner().runs;
    runs.iter().map(wire::Run::state).collect()
}

#[tokio::test]
async fn what_is_made_again_meets_the_policy_of_its_job() {
    let server = Server::start().await;
    let mut client = server.scheduler();
    job(&server, "one", wire::Overlap::Skip).await;
    let run_id = trigger(&server, "one").await;
    cancel(&server, "one").await;
    trigger(&server, "one").await;
    let retry = wire::RetryRunRequest { run_id: run_id.clone(), ..Default::default() };
    let replay = wire::ReplayRunRequest { run_id, ..Default::default() };
    assert_eq!(reason(&client.retry_run(retry.clone()).await.unwrap_err()), "OVERLAP_NOT_ALLOWED");
    assert_eq!(reason(&client.replay_run(replay.clone()).await.unwrap_err()), "OVERLAP_NOT_ALLOWED");
    assert_eq!(states(&server, "one").await, [RunState::Queued]);
    client.retry_run(wire::RetryRunRequest { force: true, ..retry.clone() }).await.unwrap();
    client.replay_run(wire::ReplayRunRequest { force: true, ..replay.clone() }).await.unwrap();
    assert_eq!(states(&server, "one").await, [RunState::Queued; 3]);

    let pause = wire::PauseJobRequest { job: "one".into(), ..Default::default() };
    client.pause_job(pause).await.unwrap();
    cancel(&server, "one").await;
    assert_eq!(reason(&client.retry_run(retry.clone()).await.unwrap_err()), "JOB_PAUSED");
    assert_eq!(reason(&client.replay_run(replay.clone()).await.unwrap_err()), "JOB_PAUSED");
    client.retry_run(wire::RetryRunRequest { while_paused: true, ..retry }).await.unwrap();
    client.replay_run(wire::ReplayRunRequest { while_paused: true, force: true, ..replay }).await.unwrap();
    assert_eq!(states(&server, "one").await, [RunState::Queued; 2]);
}

#[tokio::test]
async fn many_that_are_made_again_wait_for_one_another() {
    let server = Server::start().await;
    let mut client = server.scheduler();
    job(&server, "one", wire::Overlap::Skip).await;
    job(&server, "any", wire::Overlap::Allow).await;
    for _ in 0..3 {
        for name in ["one", "any"] {
            trigger(&server, name).await;
            cancel(&server, name).await;
        }
    }
    let retry = |job: &str| wire::RetryRunsRequest {
        selection: selection(&format!("job = {job} AND state = CANCELLED")),
        ..Default::default()
    };
    let told = client.retry_runs(retry("one")).await.unwrap().into_inner();
    assert_eq!((told.runs.len(), told.refusals.len()), (3, 0));
    assert_eq!(states(&server, "one").await, [RunState::Queued, RunState::Scheduled, RunState::Scheduled]);
    client.retry_runs(retry("any")).await.unwrap();
    assert_eq!(states(&server, "any").await, [RunState::Queued; 3]);
    client.retry_runs(wire::RetryRunsRequest { force: true, ..retry("one") }).await.unwrap();
    let queued = states(&server, "one").await.into_iter().filter(|state| *state == RunState::Queued).count();
    assert_eq!(queued, 4);

    let pause = wire::PauseJobRequest { job: "any".into(), ..Default::default() };
    client.pause_job(pause).await.unwrap();
    let told = client.retry_runs(retry("any")).await.unwrap().into_inner();
    let reasons: Vec<_> = told.refusals.iter().map(|refusal| refusal.reason.as_str()).collect();
    assert_eq!((told.runs.len(), reasons), (0, vec!["JOB_PAUSED"; 3]));
    let told = client.retry_runs(wire::RetryRunsRequest { while_paused: true, ..retry("any") }).await.unwrap();
    assert_eq!(told.into_inner().runs.len(), 3);
}
