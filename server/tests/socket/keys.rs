//! Keys that are made of labels and payloads, as a client meets them: made once, shown, kept by what is made again; and refused
//! with their field where there is nothing to make them of.

use mainspring_proto::{
    common::v1::{Payload, payload::Data},
    scheduler::v1::{self as wire, RunState, WaitReason},
};
use tonic::Status;
use tonic_types::StatusExt as _;

use super::server::{Server, reason};

fn json(text: &str) -> Option<Payload> {
    let data = Some(Data::Inline(text.as_bytes().to_vec()));
    Some(Payload { content_type: "application/json".into(), data })
}

fn submission(key: &str, payload: &str) -> wire::RunSubmission {
    wire::RunSubmission {
        job_type: "sync".into(),
        payload: json(payload),
        labels: [("tenant".to_owned(), "acme".to_owned())].into(),
        concurrency_key: key.into(),
        ..Default::default()
    }
}

fn submit(run: wire::RunSubmission) -> wire::SubmitRunRequest {
    wire::SubmitRunRequest { namespace: String::new(), run: Some(run) }
}

fn trigger(payload: Option<&str>) -> wire::TriggerJobRequest {
    wire::TriggerJobRequest { job: "sync".into(), payload: payload.and_then(json), force: true, ..Default::default() }
}

fn job(schedules: Vec<wire::Schedule>, payload: Option<&str>) -> wire::CreateJobRequest {
    let job = wire::Job {
        job: "sync".into(),
        job_type: "sync".into(),
        schedules,
        payload: payload.and_then(json),
        labels: [("tenant".to_owned(), "acme".to_owned())].into(),
        concurrency_key: "host-${payload.host}".into(),
        fairness_key: "${labels.tenant}".into(),
        ..Default::default()
    };
    wire::CreateJobRequest { job: Some(job), ..Default::default() }
}

fn nightly() -> wire::Schedule {
    wire::Schedule { rule: Some(wire::schedule::Rule::Cron("0 2 * * *".into())), ..Default::default() }
}

/// The fields that are refused, and what is said of the first.
fn refused(status: Status) -> (Vec<String>, String) {
    let details = status.get_error_details();
    let bad = &details.bad_request().unwrap_or_else(|| panic!("{status:?}")).field_violations;
    (bad.iter().map(|bad| bad.field.clone()).collect(), bad[0].description.clone())
}

#[tokio::test]
async fn a_key_is_made_of_what_a_run_is_made_with() {
    let server = Server::start().await;
    let mut client = server.scheduler();
    let unique = Some(wire::UniqueKey { key: "${labels.tenant}/${payload.id}".into(), ..Default::default() });
    let fairness_key = "${labels.tenant}".to_owned();
    let run = wire::RunSubmission {
        unique,
        fairness_key,
        ..submission("host-${payload.at.host}", r#"{"at": {"host": "db-1"}, "id": 7}"#)
    };
    let made = client.submit_run(submit(run)).await.unwrap().into_inner().run.unwrap();
    let keys = [made.concurrency_key.as_str(), made.fairness_key.as_str(), made.unique_key.as_str()];
    assert_eq!(keys, ["host-db-1", "acme", "acme/7"]);
    // It is a key like any other.
    client.submit_run(submit(submission("host-db-1", "{}"))).await.unwrap();
    let list = wire::ListRunsRequest { filter: "concurrency_key = \"host-db-1\"".into(), ..Default::default() };
    assert_eq!(client.list_runs(list).await.unwrap().into_inner().runs.len(), 2);
    // What is made of it keeps the key that it had.
    let mut cancel = server.scheduler();
    let mut cancel = async |run: &wire::Run| {
        let request = wire::CancelRunRequest { run_id: run.run_id.clone(), ..Default::default() };
        cancel.cancel_run(request).await.unwrap();
    };
    cancel(&made).await;
    let again = wire::RetryRunRequest { run_id: made.run_id.clone(), ..Default::default() };
    let again = client.retry_run(again).await.unwrap().into_inner().run.unwrap();
    assert_eq!((again.concurrency_key.as_str(), again.unique_key.as_str()), ("host-db-1", "acme/7"));
    cancel(&again).await;
    let other = wire::ReplayRunRequest { run_id: made.run_id, payload: json("{}"), ..Default::default() };
    let other = client.replay_run(other).await.unwrap().into_inner().run.unwrap();
    assert_eq!(other.concurrency_key, "host-db-1");
}

#[tokio::test]
async fn what_a_key_is_made_of_must_be_there() {
    let server = Server::start().await;
    let long = format!(r#"{{"host": "{}"}}"#, "x".repeat(125));
    for (key, payload, part) in [
        ("host-${payload.host}", "{}", "the payload has no such field; send it, or name another"),
        ("host-${payload.host}", r#"{"host": null}"#, "`${payload.host}` is null"),
        ("host-${payload.host}", r#"{"host": ["a"]}"#, "is a list; a key is made of texts, numbers, true and false"),
        ("host-${payload.host}", &long, "must be at most 128 bytes"),
        ("${payload.host}", r#"{"host": ""}"#, "must not be empty"),
        ("${labels.team}", "{}", "there is no such label"),
        ("${host}", "{}", "is neither `${payload.FIELD}` nor `${labels.NAME}`"),
        ("${payload.host", "{}", "has no `}`; a dollar sign is `$$`"),
    ] {
        let status = server.scheduler().submit_run(submit(submission(key, payload))).await.unwrap_err();
        let (fields, told) = refused(status);
        assert!(fields == ["run.concurrency_key"] && told.contains(part), "{key} of {payload}: {fields:?}, {told}");
    }
    let dollars = server.scheduler().submit_run(submit(submission("$${payload.host} $5", "{}"))).await.unwrap();
    assert_eq!(dollars.into_inner().run.unwrap().concurrency_key, "${payload.host} $5");
    // Another payload is told of its own.
    let unique = Some(wire::UniqueKey { key: "${payload.id}".into(), ..Default::default() });
    let run = wire::RunSubmission { unique, fairness_key: "${payload.to}".into(), ..submission("", "{}") };
    let (mut fields, _) = refused(server.scheduler().submit_run(submit(run)).await.unwrap_err());
    fields.sort();
    assert_eq!(fields, ["run.fairness_key", "run.unique.key"]);
}

#[tokio::test]
async fn a_trigger_makes_the_key_of_its_payload() {
    let server = Server::start().await;
    let mut client = server.scheduler();
    let shown = client.create_job(job(Vec::new(), None)).await.unwrap().into_inner().job.unwrap();
    assert_eq!(
        (shown.concurrency_key.as_str(), shown.fairness_key.as_str()),
        ("host-${payload.host}", "${labels.tenant}")
    );
    for host in ["db-1", "db-1", "db-2"] {
        let request = trigger(Some(&format!(r#"{{"host": "{host}"}}"#)));
        let run = client.trigger_job(request).await.unwrap().into_inner().run.unwrap();
        assert_eq!((run.concurrency_key, run.fairness_key.as_str()), (format!("host-{host}"), "acme"));
    }
    let (fields, told) = refused(client.trigger_job(trigger(None)).await.unwrap_err());
    assert!(fields == ["concurrency_key"] && told.contains("`${payload.host}` has nothing to stand for"), "{told}");
    // A key of its own takes the place of the job's.
    let own = wire::TriggerJobRequest { concurrency_key: Some("${labels.tenant}".into()), ..trigger(None) };
    assert_eq!(client.trigger_job(own).await.unwrap().into_inner().run.unwrap().concurrency_key, "acme");
    let none = wire::TriggerJobRequest { concurrency_key: Some(String::new()), ..trigger(None) };
    let run = client.trigger_job(none).await.unwrap().into_inner().run.unwrap();
    assert_eq!(
        (run.concurrency_key.as_str(), run.state(), run.wait_reason()),
        ("", RunState::Queued, WaitReason::Unspecified)
    );
}

#[tokio::test]
async fn a_job_that_fires_has_what_its_keys_are_made_of() {
    let server = Server::start().await;
    let mut client = server.scheduler();
    for payload in [None, Some(r#"{"to": "db-1"}"#)] {
        let (fields, told) = refused(client.create_job(job(vec![nightly()], payload)).await.unwrap_err());
        let part = "its schedules make runs with the payload of the job";
        assert!(fields == ["job.concurrency_key"] && told.contains(part), "{fields:?}, {told}");
    }
    let made = client.create_job(job(vec![nightly()], Some(r#"{"host": "db-1"}"#))).await.unwrap().into_inner();
    let run = client.trigger_job(trigger(None)).await.unwrap().into_inner().run.unwrap();
    assert_eq!(run.concurrency_key, "host-db-1");
    // An edit may not take it away, of the payload or of the labels.
    let update = |job: wire::Job, path: &str| wire::UpdateJobRequest {
        job: Some(wire::Job { job: "sync".into(), ..job }),
        update_mask: Some(prost_types::FieldMask { paths: vec![path.into()] }),
        ..Default::default()
    };
    let emptied = update(wire::Job { payload: json("{}"), ..Default::default() }, "payload");
    assert_eq!(refused(client.update_job(emptied).await.unwrap_err()).0, ["job.concurrency_key"]);
    let bare = update(wire::Job::default(), "labels");
    assert_eq!(refused(client.update_job(bare).await.unwrap_err()).0, ["job.fairness_key"]);
    // Nor may a backfill.
    let backfill = wire::BackfillJobRequest {
        job: made.job.unwrap().job,
        from_time: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 }),
        to_time: Some(prost_types::Timestamp { seconds: 1_700_100_000, nanos: 0 }),
        payload_template: json(r#"{"day": "${nominal_date}"}"#),
        ..Default::default()
    };
    let (fields, told) = refused(client.backfill_job(backfill.clone()).await.unwrap_err());
    assert!(fields == ["payload_template"] && told.contains("makes no key of the job's"), "{fields:?}, {told}");
    let fits = wire::BackfillJobRequest { payload_template: json(r#"{"host": "${nominal_date}"}"#), ..backfill };
    client.backfill_job(fits).await.unwrap();
    assert_eq!(reason(&client.create_job(job(Vec::new(), None)).await.unwrap_err()), "JOB_ALREADY_EXISTS");
}
