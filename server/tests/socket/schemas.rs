//! Payloads against what workers announce: refused at every door, with the path of the field; and what they disagree about.

use mainspring_proto::{
    common::v1::{Payload, payload::Data},
    scheduler::v1 as wire,
    worker::v1 as of_worker,
};
use of_worker::worker_stream_request::Message as Say;
use prost_types::FieldMask;
use serde_json::json;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{
    server::{Server, reason},
    worker::{Worker, hello},
};

const TYPE: &str = "mail.send";

/// A worker that announces an input schema for [`TYPE`]; welcome.
async fn worker(server: &Server, build: &str, input: &serde_json::Value) -> Worker {
    let mut worker = Worker::connect(server, Some(server.key())).await.unwrap();
    worker.say(Say::Hello(announcing(build, &input.to_string()))).await;
    worker.heard().await;
    worker
}

fn announcing(build: &str, input: &str) -> of_worker::Hello {
    let handler = of_worker::HandlerSpec {
        job_type: TYPE.into(),
        input_schema: input.into(),
        ..of_worker::HandlerSpec::default()
    };
    of_worker::Hello { build_id: build.into(), handlers: vec![handler], ..hello() }
}

fn mail() -> serde_json::Value {
    json!({
        "type": "object",
        "properties": {"customer": {"anyOf": [{"$ref": "#/$defs/Customer"}, {"type": "null"}]}},
        "required": ["customer"],
        "$defs": {"Customer": {
            "type": "object",
            "properties": {"email": {"type": "string"}, "tags": {"type": "array", "items": {"type": "string"}}},
            "required": ["email"],
            "additionalProperties": false,
        }},
    })
}

/// A payload as bytes of JSON.
fn text(text: &str) -> Option<Payload> {
    Some(Payload { content_type: "application/json".into(), data: Some(Data::Inline(text.into())) })
}

/// The same as `json`.
fn value(text: &str) -> Option<Payload> {
    fn of(json: &serde_json::Value) -> prost_types::Value {
        use prost_types::value::Kind;
        let kind = match json {
            serde_json::Value::Null => Kind::NullValue(0),
            serde_json::Value::Bool(value) => Kind::BoolValue(*value),
            serde_json::Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap()),
            serde_json::Value::String(text) => Kind::StringValue(text.clone()),
            serde_json::Value::Array(items) => {
                Kind::ListValue(prost_types::ListValue { values: items.iter().map(of).collect() })
            }
            serde_json::Value::Object(fields) => Kind::StructValue(prost_types::Struct {
                fields: fields.iter().map(|(key, value)| (key.clone(), of(value))).collect(),
            }),
        };
        prost_types::Value { kind: Some(kind) }
    }
    Some(Payload { content_type: String::new(), data: Some(Data::Json(of(&serde_json::from_str(text).unwrap()))) })
}

fn job(name: &str, payload: Option<Payload>) -> wire::Job {
    wire::Job { job: name.into(), job_type: TYPE.into(), payload, ..wire::Job::default() }
}

fn create(name: &str, payload: Option<Payload>) -> wire::CreateJobRequest {
    wire::CreateJobRequest { job: Some(job(name, payload)), ..wire::CreateJobRequest::default() }
}

fn submit(payload: Option<Payload>) -> wire::SubmitRunRequest {
    let run = wire::RunSubmission { job_type: TYPE.into(), payload, ..wire::RunSubmission::default() };
    wire::SubmitRunRequest { run: Some(run), ..wire::SubmitRunRequest::default() }
}

/// Fields and descriptions of a refusal for its schema.
fn misses<T: std::fmt::Debug>(answer: Result<T, Status>) -> Vec<(String, String)> {
    let status = answer.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "PAYLOAD_SCHEMA_MISMATCH"));
    let details = status.get_error_details();
    assert_eq!(details.error_info().unwrap().metadata["job_type"], TYPE);
    let fields = &details.bad_request().unwrap().field_violations;
    assert!(fields.iter().all(|bad| bad.reason == "PAYLOAD_SCHEMA_MISMATCH"), "{fields:?}");
    fields.iter().map(|bad| (bad.field.clone(), bad.description.clone())).collect()
}

fn fields<T: std::fmt::Debug>(answer: Result<T, Status>) -> Vec<String> {
    misses(answer).into_iter().map(|(field, _)| field).collect()
}

#[tokio::test]
async fn a_mismatch_is_refused_at_every_door_with_the_path_of_the_field() {
    let server = Server::start().await;
    let _worker = worker(&server, "v1", &mail()).await;
    let mut client = server.scheduler();
    let good = r#"{"customer":{"email":"a@b.c"}}"#;

    let bad = r#"{"customer":{}}"#;
    assert_eq!(
        misses(client.create_job(create("mail", value(bad))).await),
        [("job.payload.json.customer.email".into(), "is required".into())]
    );
    let tried = wire::CreateJobRequest { validate_only: true, ..create("mail", value(bad)) };
    assert_eq!(fields(client.create_job(tried).await), ["job.payload.json.customer.email"]);
    client.create_job(create("mail", value(good))).await.unwrap();

    let update = |payload, paths: &[&str]| wire::UpdateJobRequest {
        job: Some(wire::Job { owner: "ada".into(), ..job("mail", payload) }),
        update_mask: Some(FieldMask { paths: paths.iter().map(|path| (*path).into()).collect() }),
        ..wire::UpdateJobRequest::default()
    };
    let extra = r#"{"customer":{"email":"a","phone":1}}"#;
    assert_eq!(
        fields(client.update_job(update(text(extra), &["payload"])).await),
        ["job.payload.inline.customer.phone"]
    );
    let new = wire::UpdateJobRequest { allow_missing: true, ..update(None, &[]) };
    let new = wire::UpdateJobRequest { job: Some(job("other", None)), ..new };
    assert_eq!(fields(client.update_job(new).await), ["job.payload"]);

    let trigger = |payload| wire::TriggerJobRequest { job: "mail".into(), payload, force: true, ..Default::default() };
    let wrong = r#"{"customer":{"email":"a","tags":["x",7]}}"#;
    assert_eq!(
        misses(client.trigger_job(trigger(value(wrong))).await),
        [("payload.json.customer.tags[1]".into(), "must be of type string".into())]
    );
    client.trigger_job(trigger(None)).await.unwrap();

    assert_eq!(fields(client.submit_run(submit(value(bad))).await), ["run.payload.json.customer.email"]);
    assert_eq!(fields(client.submit_run(submit(None)).await), ["run.payload"]);
    let bytes = Some(Payload { content_type: String::new(), data: Some(Data::Inline(good.into())) });
    assert_eq!(fields(client.submit_run(submit(bytes)).await), ["run.payload.content_type"]);
    client.submit_run(submit(value(r#"{"customer":null}"#))).await.unwrap();

    let runs = [value(good), value(bad), text(wrong)].map(|payload| submit(payload).run.unwrap()).into();
    let batch = wire::BatchSubmitRunsRequest { runs, ..wire::BatchSubmitRunsRequest::default() };
    let answers = client.batch_submit_runs(batch).await.unwrap().into_inner().answers;
    let told: Vec<_> = answers
        .into_iter()
        .map(|answer| match answer.answer.unwrap() {
            wire::submission_answer::Answer::Run(_) => String::new(),
            wire::submission_answer::Answer::Error(error) => format!("{} {}", error.reason, error.field),
        })
        .collect();
    let expected = ["", "[1].payload.json.customer.email", "[2].payload.inline.customer.tags[1]"];
    assert_eq!(
        told,
        expected.map(|path| if path.is_empty() {
            String::new()
        } else {
            format!("PAYLOAD_SCHEMA_MISMATCH runs{path}")
        })
    );
}

#[tokio::test]
async fn a_job_that_was_good_once_is_in_nobodys_way_and_is_told_at_its_trigger() {
    let server = Server::start().await;
    let mut client = server.scheduler();
    // Nobody ever announced the type: anything goes.
    client.create_job(create("mail", text(r#"{"to":"a"}"#))).await.unwrap();
    client.submit_run(submit(None)).await.unwrap();
    let _worker = worker(&server, "v1", &mail()).await;
    let rename = wire::UpdateJobRequest {
        job: Some(wire::Job { owner: "ada".into(), ..job("mail", None) }),
        update_mask: Some(FieldMask { paths: vec!["owner".into()] }),
        ..wire::UpdateJobRequest::default()
    };
    client.update_job(rename).await.unwrap();
    let trigger = wire::TriggerJobRequest { job: "mail".into(), ..Default::default() };
    let told = misses(client.trigger_job(trigger).await);
    assert_eq!(told[0].0, "payload.customer");
    assert!(told[0].1.starts_with("is required; it is the payload of job `mail`"), "{told:?}");
}

#[tokio::test]
async fn any_schema_that_is_announced_will_do_and_drift_is_shown() {
    let server = Server::start().await;
    let old = json!({"properties": {"to": {"type": "string"}}, "required": ["to"]});
    let new = json!({"properties": {"address": {"type": "string"}}, "required": ["address"]});
    let _first = worker(&server, "v1", &old).await;
    let mut client = server.scheduler();
    assert_eq!(fields(client.submit_run(submit(value(r#"{"address":"a"}"#))).await), ["run.payload.json.to"]);
    let second = worker(&server, "v2", &new).await;
    for payload in [r#"{"address":"a"}"#, r#"{"to":"a"}"#] {
        client.submit_run(submit(value(payload))).await.unwrap();
    }
    assert_eq!(
        fields(client.submit_run(submit(value("{}"))).await),
        ["run.payload.json.address"],
        "the newest is told"
    );

    let types = async || {
        let request = wire::ListJobTypesRequest { filter: format!("job_type = {TYPE}"), ..Default::default() };
        server.queues().list_job_types(request).await.unwrap().into_inner().job_types.remove(0)
    };
    let shown = types().await;
    assert!(shown.schema_drift && shown.connected_workers == 2, "{shown:?}");
    let [newest, older] = shown.announcements.as_slice() else { panic!("{shown:?}") };
    assert_eq!((newest.workers[0].build_id.as_str(), newest.difference.as_str()), ("v2", ""));
    assert_eq!((older.workers[0].build_id.as_str(), older.worker_count), ("v1", 1));
    assert_eq!(older.difference, "input: without `address`, with `to`");
    assert!(older.fingerprint.len() == 12 && older.fingerprint != newest.fingerprint && older.announce_time.is_some());
    assert!(!older.workers[0].worker_id.is_empty() && older.workers[0].worker_name == "by hand");
    drop(second);
}

#[tokio::test]
async fn json_that_is_none_is_refused_with_its_place() {
    let server = Server::start().await;
    let mut client = server.scheduler();
    for (written, part, column) in [
        (&b"{\"a\": }"[..], "expected value at line 1 column 7", Some("7")),
        (b"{} x", "trailing characters at line 1 column 4", Some("4")),
        (b"", "EOF while parsing a value at line 1 column 0", Some("0")),
        (b"\"\xff\"", "invalid utf-8", None),
    ] {
        let payload = Payload { content_type: "application/json".into(), data: Some(Data::Inline(written.into())) };
        let status = client.submit_run(submit(Some(payload))).await.unwrap_err();
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!(info.reason, "FIELD_INVALID");
        assert_eq!(info.metadata.get("column").map(String::as_str), column, "{info:?}");
        let bad = &details.bad_request().unwrap().field_violations[0];
        assert_eq!(bad.field, "run.payload.inline");
        assert!(bad.description.contains(part), "{part} in {}", bad.description);
    }
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    client.submit_run(submit(text(&nested))).await.unwrap();
    let other = Payload { content_type: "text/plain".into(), data: Some(Data::Inline(b"{".to_vec())) };
    client.submit_run(submit(Some(other))).await.unwrap();
}

#[tokio::test]
async fn a_schema_that_is_none_is_refused_with_the_reason_and_a_hard_one_is_left_to_the_worker() {
    let server = Server::start().await;
    for (schema, part) in [
        ("{\"type\": \"nonsense\"}", "at `/type`"),
        ("{\"$ref\": \"file:///etc/passwd\"}", "which the server does not fetch"),
        ("{\"$ref\": \"#\"}", "without end"),
        ("{", "is not JSON"),
    ] {
        let mut worker = Worker::connect(&server, Some(server.key())).await.unwrap();
        worker.say(Say::Hello(announcing("v1", schema))).await;
        let status = worker.end().await.unwrap();
        let bad = &status.get_error_details().bad_request().unwrap().field_violations[0].clone();
        assert_eq!((reason(&status).as_str(), bad.field.as_str()), ("FIELD_INVALID", "handlers[0].input_schema"));
        assert!(bad.description.contains(part), "{part} in {}", bad.description);
    }
    let mut client = server.scheduler();
    // Each level doubles the work; look-around has no linear engine. Neither holds anybody up.
    let twice = json!({"items": {"$ref": "#"}, "contains": {"$ref": "#"}, "type": ["array", "null"]});
    let _worker = worker(&server, "v1", &twice).await;
    let deep = format!("{}1{}", "[".repeat(30), "]".repeat(30));
    client.submit_run(submit(text(&deep))).await.unwrap();
    assert_eq!(fields(client.submit_run(submit(text("[1]"))).await)[0], "run.payload.inline[0]");
}
