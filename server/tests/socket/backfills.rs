//! Backfills over a real socket: counted first, made a few at a time, told, cancelled; and what is refused.

use mainspring_proto::{
    common::v1::{Payload, payload::Data},
    scheduler::v1::{self as wire, BackfillState, EventTopic, JobChange, RunOrigin, event::Detail, schedule::Rule},
    worker::v1::worker_stream_request::Message as Say,
};
use prost_types::Timestamp;
use tonic_types::StatusExt as _;

use super::{
    server::{Server, reason},
    streams::{acked, dispatched, event, result, welcomed},
};

/// Minutes of long ago.
fn at(minute: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds: 1_700_000_040 + 60 * minute, nanos: 0 })
}

async fn create(server: &Server, name: &str) {
    let every = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    let rule = Some(Rule::Interval(wire::Interval { every, ..Default::default() }));
    let job = wire::Job {
        job: name.into(),
        job_type: "echo".into(),
        schedules: vec![wire::Schedule { rule, ..Default::default() }],
        ..Default::default()
    };
    server.scheduler().create_job(wire::CreateJobRequest { job: Some(job), ..Default::default() }).await.unwrap();
}

fn request(job: &str, from: i64, to: i64) -> wire::BackfillJobRequest {
    wire::BackfillJobRequest { job: job.into(), from_time: at(from), to_time: at(to), ..Default::default() }
}

fn json(text: &str) -> Option<Payload> {
    let data = Some(Data::Inline(text.as_bytes().to_vec()));
    Some(Payload { content_type: "application/json".into(), data })
}

#[tokio::test]
async fn instants_that_have_passed_become_runs() {
    let server = Server::start().await;
    let mut client = server.scheduler();
    create(&server, "report").await;
    let dry = wire::BackfillJobRequest {
        order: wire::BackfillOrder::NewestFirst.into(),
        validate_only: true,
        ..request("report", 0, 20)
    };
    let counted = client.backfill_job(dry).await.unwrap().into_inner();
    let told = counted.backfill.unwrap();
    assert_eq!((told.backfill_id.as_str(), told.instant_count, told.skipped_count), ("", 20, 0));
    assert_eq!((told.first_time, told.last_time), (at(0), at(19)));
    assert_eq!(counted.next_times, (10..20).rev().map(|minute| at(minute).unwrap()).collect::<Vec<_>>());

    let mut worker = welcomed(&server).await;
    let watch = wire::WatchEventsRequest { topics: vec![EventTopic::Jobs.into()], ..Default::default() };
    let mut events = client.watch_events(watch).await.unwrap().into_inner();
    let asked = wire::BackfillJobRequest {
        payload_template: json(r#"{"of": "${nominal_time}"}"#),
        note: "again".into(),
        request_id: "once".into(),
        ..request("report", 0, 2)
    };
    let begun = client.backfill_job(asked.clone()).await.unwrap().into_inner().backfill.unwrap();
    assert_eq!((begun.state(), begun.note.as_str(), begun.concurrency), (BackfillState::Running, "again", 1));
    let id = begun.backfill_id.clone();
    for minute in 0..2 {
        let dispatch = dispatched(&mut worker).await;
        assert_eq!(dispatch.nominal_time, at(minute));
        let of = format!(r#"{{"of": "2023-11-14T22:{:02}:00Z"}}"#, 14 + minute);
        assert_eq!(dispatch.input.clone().unwrap().data, Some(Data::Inline(of.into_bytes())));
        worker.say(result(&dispatch, None)).await;
        acked(&mut worker).await;
    }
    let ended = |detail| matches!(detail, Detail::Job(job) if job.change() == JobChange::BackfillEnded).then_some(());
    event(&mut events, ended).await;
    let get = wire::GetBackfillRequest { backfill_id: id.clone(), ..Default::default() };
    let over = client.get_backfill(get).await.unwrap().into_inner().backfill.unwrap();
    assert_eq!((over.state(), over.made_count, over.succeeded_count), (BackfillState::Completed, 2, 2));
    // A repeat is answered with the same one, whatever has become of it.
    let again = client.backfill_job(asked.clone()).await.unwrap().into_inner().backfill.unwrap();
    assert_eq!(again, over);
    let other = wire::BackfillJobRequest { note: "other".into(), ..asked };
    assert_eq!(reason(&client.backfill_job(other).await.unwrap_err()), "REQUEST_ID_REUSED");

    let list =
        wire::ListRunsRequest { filter: format!("backfill_id = {id} AND origin = BACKFILL"), ..Default::default() };
    let runs = client.list_runs(list).await.unwrap().into_inner().runs;
    assert_eq!(runs.len(), 2);
    let run = &runs[1];
    assert_eq!((run.origin(), &run.backfill_id, run.nominal_time), (RunOrigin::Backfill, &id, at(0)));
    assert_eq!((run.job_version, run.schedule.as_str(), run.note.as_str()), (1, "default", "again"));
    // What has succeeded is counted as that.
    let dry = wire::BackfillJobRequest { validate_only: true, ..request("report", 0, 5) };
    let counted = client.backfill_job(dry).await.unwrap().into_inner();
    assert_eq!((counted.backfill.unwrap().skipped_count, counted.next_times.len()), (2, 3));
    let list = wire::ListBackfillsRequest { job: "report".into(), ..Default::default() };
    assert_eq!(client.list_backfills(list).await.unwrap().into_inner().backfills, [over]);
}

#[tokio::test]
async fn a_backfill_is_cancelled_as_a_whole() {
    let server = Server::start().await;
    let mut client = server.scheduler();
    let mut worker = welcomed(&server).await;
    create(&server, "report").await;
    let asked = wire::BackfillJobRequest { concurrency: 20, ..request("report", 0, 50) };
    let id = client.backfill_job(asked).await.unwrap().into_inner().backfill.unwrap().backfill_id;
    let dispatch = dispatched(&mut worker).await;
    let cancel = wire::CancelBackfillRequest {
        backfill_id: id.clone(),
        note: "wrong".into(),
        cancel_running: true,
        ..Default::default()
    };
    let told = client.cancel_backfill(cancel.clone()).await.unwrap().into_inner().backfill.unwrap();
    assert_eq!((told.state(), told.cancel_note.as_str()), (BackfillState::Cancelling, "wrong"));
    assert!(told.open_count >= 1 && told.made_count <= 20, "{told:?}");
    let list = wire::ListRunsRequest { filter: format!("backfill_id = {id} AND state = QUEUED"), ..Default::default() };
    assert!(client.list_runs(list).await.unwrap().into_inner().runs.is_empty());
    let get = wire::GetRunRequest { run_id: dispatch.attempt.unwrap().run_id, ..Default::default() };
    let run = client.get_run(get).await.unwrap().into_inner().run.unwrap();
    assert_eq!(run.cancellation.unwrap().note, "wrong");
}

#[tokio::test]
async fn what_cannot_be_backfilled_is_refused_with_what_to_do() {
    let server = Server::start().await;
    let mut client = server.scheduler();
    create(&server, "report").await;
    let now = 4_000_000_000;
    for (asked, refused, field, says) in [
        (request("report", 0, 0), "FIELD_INVALID", "to_time", "later than"),
        (request("report", 0, now), "FIELD_INVALID", "to_time", "is to come"),
        (request("report", 0, 10_001), "BACKFILL_TOO_LARGE", "to_time", "end it at 2023-11-21T20:54:00Z or before"),
        (
            wire::BackfillJobRequest { schedules: vec!["other".into()], ..request("report", 0, 1) },
            "FIELD_INVALID",
            "schedules[0]",
            "which has `default`",
        ),
        (
            wire::BackfillJobRequest { payload_template: json(r#"["${nominal}"]"#), ..request("report", 0, 1) },
            "FIELD_INVALID",
            "payload_template",
            "`${nominal_time}`",
        ),
        (
            wire::BackfillJobRequest { concurrency: 1_001, ..request("report", 0, 1) },
            "FIELD_INVALID",
            "concurrency",
            "0 to 1000",
        ),
    ] {
        let status = client.backfill_job(asked).await.unwrap_err();
        let fields = status.get_error_details().bad_request().unwrap().field_violations.clone();
        assert_eq!((reason(&status).as_str(), fields[0].field.as_str()), (refused, field));
        assert!(fields[0].description.contains(says), "{}", fields[0].description);
    }
    // The piece that the refusal names fits.
    let dry = wire::BackfillJobRequest { validate_only: true, ..request("report", 0, 10_000) };
    assert_eq!(client.backfill_job(dry).await.unwrap().into_inner().backfill.unwrap().instant_count, 10_000);
    let between = wire::BackfillJobRequest {
        from_time: Some(Timestamp { seconds: at(0).unwrap().seconds + 1, nanos: 0 }),
        ..request("report", 0, 1)
    };
    let status = client.backfill_job(between).await.unwrap_err();
    assert!(status.message().contains("has no instant between"), "{}", status.message());
    let pause = wire::PauseJobRequest { job: "report".into(), ..Default::default() };
    client.pause_job(pause).await.unwrap();
    assert_eq!(reason(&client.backfill_job(request("report", 0, 1)).await.unwrap_err()), "JOB_PAUSED");
    let while_paused = wire::BackfillJobRequest { while_paused: true, ..request("report", 0, 1) };
    client.backfill_job(while_paused).await.unwrap();
}

#[tokio::test]
async fn a_delete_and_a_pause_say_what_becomes_of_runs() {
    let server = Server::start().await;
    let mut client = server.scheduler();
    let mut worker = welcomed(&server).await;
    create(&server, "report").await;
    let trigger = async || {
        let trigger = wire::TriggerJobRequest { job: "report".into(), force: true, ..Default::default() };
        server.scheduler().trigger_job(trigger).await.unwrap().into_inner().run.unwrap().run_id
    };
    let held = trigger().await;
    let dispatch = dispatched(&mut worker).await;
    let later = wire::TriggerJobRequest {
        job: "report".into(),
        force: true,
        due_time: Some(Timestamp { seconds: 4_000_000_000, nanos: 0 }),
        ..Default::default()
    };
    client.trigger_job(later.clone()).await.unwrap();
    let pause = |runs: wire::PausedRuns| wire::PauseJobRequest {
        job: "report".into(),
        runs: runs.into(),
        ..Default::default()
    };
    let mut ended = Vec::new();
    for runs in [wire::PausedRuns::Keep, wire::PausedRuns::CancelWaiting, wire::PausedRuns::CancelAll] {
        let paused = client.pause_job(pause(runs)).await.unwrap().into_inner();
        ended.push((paused.cancelled_runs, paused.stopped_runs));
    }
    assert_eq!(ended, [(0, 0), (1, 0), (0, 1)]);
    let Say::Result(told) = result(&dispatch, None) else { panic!("no result") };
    worker.say(Say::Result(told)).await;
    acked(&mut worker).await;
    let get = wire::GetRunRequest { run_id: held, ..Default::default() };
    let run = client.get_run(get).await.unwrap().into_inner().run.unwrap();
    assert_eq!(run.cancellation.unwrap().note, "the job was paused");
    client.resume_job(wire::ResumeJobRequest { job: "report".into(), ..Default::default() }).await.unwrap();
    trigger().await;
    dispatched(&mut worker).await;
    client.trigger_job(later).await.unwrap();
    let delete = wire::DeleteJobRequest {
        job: "report".into(),
        running: wire::RunningRuns::Terminate.into(),
        ..Default::default()
    };
    let deleted = client.delete_job(delete).await.unwrap().into_inner();
    assert_eq!((deleted.cancelled_runs, deleted.stopped_runs), (1, 1));
}
