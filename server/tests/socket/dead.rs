//! Runs that failed: found by what went wrong, settled, made again.

use mainspring_proto::{
    common::v1::Failure,
    scheduler::v1::{self as wire, Resolution, RunOrigin},
    worker::v1 as worker,
};
use tonic::Code;
use tonic_types::StatusExt as _;
use worker::{attempt_result::Outcome, worker_stream_request::Message as Say};

use super::{
    server::{Server, reason},
    streams::{acked, dispatched, result, welcomed},
    worker::Worker,
};

/// Runs that fail with these reasons and messages, at their first attempt.
async fn dead(server: &Server, worker: &mut Worker, failures: &[(&str, &str)]) -> Vec<String> {
    let mut runs = Vec::new();
    for (reason, message) in failures {
        let once = mainspring_proto::common::v1::RetryPolicy { max_attempts: Some(1), ..Default::default() };
        let run = wire::RunSubmission { job_type: "echo".into(), retry_policy: Some(once), ..Default::default() };
        let request = wire::SubmitRunRequest { run: Some(run), ..Default::default() };
        let run = server.scheduler().submit_run(request).await.unwrap().into_inner().run.unwrap();
        fail(worker, reason, message).await;
        runs.push(run.run_id);
    }
    runs
}

/// The next run that comes fails.
async fn fail(worker: &mut Worker, reason: &str, message: &str) {
    let dispatch = dispatched(worker).await;
    let Say::Result(told) = result(&dispatch, None) else { panic!("no result") };
    let failure = Failure { reason: reason.into(), message: message.into(), ..Default::default() };
    let outcome = Some(Outcome::Failed(worker::AttemptFailed { failure: Some(failure) }));
    worker.say(Say::Result(worker::AttemptResult { outcome, ..told })).await;
    acked(worker).await;
}

async fn groups(server: &Server, filter: &str) -> Vec<wire::DeadLetterGroup> {
    let request = wire::ListDeadLettersRequest { filter: filter.into(), ..Default::default() };
    server.scheduler().list_dead_letters(request).await.unwrap().into_inner().groups
}

async fn run(server: &Server, run_id: &str) -> wire::Run {
    let request = wire::GetRunRequest { run_id: run_id.into(), ..Default::default() };
    server.scheduler().get_run(request).await.unwrap().into_inner().run.unwrap()
}

fn by_filter(filter: String) -> Option<wire::RunSelection> {
    Some(wire::RunSelection { filter, run_ids: Vec::new() })
}

#[tokio::test]
async fn what_died_alike_is_redriven_together() {
    let server = Server::start().await;
    let mut worker = welcomed(&server).await;
    let failures = [("SMTP_BUSY", "busy for 3 s"), ("SMTP_BUSY", "busy for 4 s"), ("NO_ROOM", "the disk is full")];
    let runs = dead(&server, &mut worker, &failures).await;
    let found = groups(&server, "").await;
    let told: Vec<_> = found.iter().map(|group| (group.reason.as_str(), group.count, group.message.as_str())).collect();
    assert_eq!(told, [("NO_ROOM", 1, "the disk is full"), ("SMTP_BUSY", 2, "busy for 4 s")]);
    assert_eq!((&found[1].example_run_id, found[1].job_type.as_str()), (&runs[1], "echo"));
    assert_eq!(run(&server, &runs[0]).await.fingerprint, found[1].fingerprint);

    let mut client = server.scheduler();
    let hour = prost_types::Duration { seconds: 3_600, nanos: 0 };
    let request = wire::RedriveDeadLettersRequest {
        selection: by_filter(format!("fingerprint = {}", found[1].fingerprint)),
        pace: Some(hour),
        note: "the server is back".into(),
        expected_count: Some(3),
        ..Default::default()
    };
    let refused = client.redrive_dead_letters(request.clone()).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "EXPECTED_COUNT_MISMATCH"));
    assert_eq!(refused.get_error_details().error_info().unwrap().metadata["count"], "2");
    for pace in [prost_types::Duration::default(), prost_types::Duration { seconds: -1, nanos: 0 }] {
        let refused =
            client.redrive_dead_letters(wire::RedriveDeadLettersRequest { pace: Some(pace), ..request.clone() });
        let refused = refused.await.unwrap_err();
        assert_eq!(refused.get_error_details().bad_request().unwrap().field_violations[0].field, "pace");
    }
    let asked = wire::RedriveDeadLettersRequest { expected_count: Some(2), validate_only: true, ..request.clone() };
    let told = client.redrive_dead_letters(asked).await.unwrap().into_inner();
    assert_eq!((told.count, told.redriven_count), (2, 0));
    assert_eq!(groups(&server, "").await.len(), 2);

    let request = wire::RedriveDeadLettersRequest { expected_count: Some(2), ..request };
    let told = client.redrive_dead_letters(request).await.unwrap().into_inner();
    assert_eq!((told.count, told.redriven_count, told.refusals), (2, 2, Vec::new()));
    let old = run(&server, &runs[0]).await;
    assert_eq!((old.resolution(), old.resolve_note.as_str()), (Resolution::Redriven, "the server is back"));
    assert!(!old.resolve_actor.is_empty() && old.resolve_time.is_some());
    assert_eq!(groups(&server, "").await.len(), 1);
    let made = wire::ListRunsRequest {
        filter: "origin = REDRIVE".into(),
        order_by: "create_time".into(),
        ..Default::default()
    };
    let made = client.list_runs(made).await.unwrap().into_inner().runs;
    let parents: Vec<_> = made.iter().map(|run| run.parent_run_id.as_str()).collect();
    assert_eq!((parents, made[0].origin()), (vec![runs[0].as_str(), runs[1].as_str()], RunOrigin::Redrive));
    let due: Vec<_> = made.iter().map(|run| run.due_time.unwrap().seconds).collect();
    assert_eq!(due[1] - due[0], 3_600);
    // The first is due at once, and is a run like any other.
    let dispatch = dispatched(&mut worker).await;
    assert_eq!(dispatch.attempt.unwrap().run_id, made[0].run_id);
}

#[tokio::test]
async fn what_is_dealt_with_is_settled() {
    let server = Server::start().await;
    let mut worker = welcomed(&server).await;
    let runs = dead(&server, &mut worker, &[("A", ""), ("B", ""), ("C", "")]).await;
    let mut client = server.scheduler();
    let these = wire::RunSelection { filter: String::new(), run_ids: vec![runs[0].clone(), runs[0].clone()] };
    let request = wire::ResolveDeadLettersRequest {
        selection: Some(these.clone()),
        note: "paid by hand".into(),
        ..Default::default()
    };
    let told = client.resolve_dead_letters(request.clone()).await.unwrap().into_inner();
    assert_eq!((told.count, told.resolved_count), (1, 1));
    let told = client.resolve_dead_letters(request).await.unwrap().into_inner();
    assert_eq!((told.count, told.resolved_count), (0, 0), "it is settled");
    let ignore = wire::ResolveDeadLettersRequest {
        selection: by_filter("reason = B".into()),
        resolution: Resolution::Ignored.into(),
        ..Default::default()
    };
    assert_eq!(client.resolve_dead_letters(ignore).await.unwrap().into_inner().resolved_count, 1);
    let of =
        async |filter: &str| groups(&server, filter).await.into_iter().map(|group| group.reason).collect::<Vec<_>>();
    assert_eq!(of("").await, ["C"]);
    assert_eq!(of("resolution = RESOLVED").await, ["A"]);
    assert_eq!(of("resolution != OPEN").await, ["B", "A"]);
    assert_eq!(of("reason = A").await, [""; 0]);
    let reopen = wire::ResolveDeadLettersRequest {
        selection: Some(these),
        resolution: Resolution::Open.into(),
        ..Default::default()
    };
    assert_eq!(client.resolve_dead_letters(reopen).await.unwrap().into_inner().resolved_count, 1);
    assert_eq!(of("").await, ["C", "A"]);
    let redriven = wire::ResolveDeadLettersRequest {
        selection: by_filter("reason = A".into()),
        resolution: Resolution::Redriven.into(),
        ..Default::default()
    };
    let refused = client.resolve_dead_letters(redriven).await.unwrap_err();
    assert_eq!(refused.get_error_details().bad_request().unwrap().field_violations[0].field, "resolution");
}

#[tokio::test]
async fn what_is_redriven_waits_for_its_turn_and_for_a_resume() {
    let server = Server::start().await;
    let mut worker = welcomed(&server).await;
    let mut client = server.scheduler();
    let once = mainspring_proto::common::v1::RetryPolicy { max_attempts: Some(1), ..Default::default() };
    let job = wire::Job { job: "one".into(), job_type: "echo".into(), retry_policy: Some(once), ..Default::default() };
    client.create_job(wire::CreateJobRequest { job: Some(job), ..Default::default() }).await.unwrap();
    for _ in 0..3 {
        let trigger = wire::TriggerJobRequest { job: "one".into(), ..Default::default() };
        client.trigger_job(trigger).await.unwrap();
        fail(&mut worker, "NO_ROOM", "").await;
    }
    let pause = wire::PauseJobRequest { job: "one".into(), ..Default::default() };
    client.pause_job(pause).await.unwrap();
    let redrive = wire::RedriveDeadLettersRequest { selection: by_filter("job = one".into()), ..Default::default() };
    let told = client.redrive_dead_letters(redrive.clone()).await.unwrap().into_inner();
    let reasons: Vec<_> = told.refusals.iter().map(|refusal| refusal.reason.as_str()).collect();
    assert_eq!((told.redriven_count, reasons), (0, vec!["JOB_PAUSED"; 3]));
    assert_eq!(groups(&server, "").await[0].count, 3, "they are open still");
    let resume = wire::ResumeJobRequest { job: "one".into(), ..Default::default() };
    client.resume_job(resume).await.unwrap();
    assert_eq!(client.redrive_dead_letters(redrive).await.unwrap().into_inner().redriven_count, 3);
    let waiting = async |state: &str| {
        let filter = format!("origin = REDRIVE AND state = {state}");
        let list = wire::ListRunsRequest { filter, ..Default::default() };
        server.scheduler().list_runs(list).await.unwrap().into_inner().runs.len()
    };
    assert_eq!(waiting("SCHEDULED").await, 2);
    // Each begins when the one before it is over.
    for left in [2, 1, 0] {
        let dispatch = dispatched(&mut worker).await;
        assert_eq!(waiting("SCHEDULED").await, left);
        worker.say(result(&dispatch, None)).await;
        acked(&mut worker).await;
    }
}
