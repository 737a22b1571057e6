//! A server with something in it, and what it said to a call.

use std::{collections::BTreeMap, time::Duration};

use mainspring_proto::auth::v1 as auth;
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use wire::{worker_stream_request::Message as Say, worker_stream_response::Message as Hear};

use super::{
    contract::{decode, encode, path, rpc},
    raw,
    server::{Server, reason},
    table::Row,
    worker::{Worker, hello},
};
use mainspring_proto::worker::v1 as wire;

pub(crate) const PASSWORD: &str = "correct horse battery";

/// What valid requests name.
pub(crate) struct Known {
    /// A job with an etag.
    pub(crate) job: String,
    pub(crate) job_etag: String,
    /// A job that may be deleted.
    pub(crate) doomed: String,
    pub(crate) doomed_etag: String,
    /// A job that was deleted.
    pub(crate) gone: String,
    /// A calendar with an etag, and one that may be deleted.
    pub(crate) calendar: String,
    pub(crate) calendar_etag: String,
    pub(crate) free: String,
    /// A job with instants long ago, and a backfill of it.
    pub(crate) ticking: String,
    pub(crate) backfill: String,
    /// A sink with an etag and a delivery, and one that may be deleted.
    pub(crate) sink: String,
    pub(crate) sink_etag: String,
    pub(crate) spare_sink: String,
    pub(crate) delivery: String,
    /// A queue with an etag.
    pub(crate) queue: String,
    pub(crate) queue_etag: String,
    /// A run that waits.
    pub(crate) waiting: String,
    /// A run that is over.
    pub(crate) over: String,
    /// A worker that is connected.
    pub(crate) worker: String,
    /// A key that may be revoked.
    pub(crate) key: String,
    pub(crate) refresh_token: String,
    /// A file that does not exist.
    pub(crate) file: String,
}

/// A server with one of everything.
pub(crate) struct Stage {
    pub(crate) server: Server,
    pub(crate) known: Known,
    access_token: String,
    _worker: Worker,
    _files: TempDir,
}

/// Jobs whose schedules never fire, since a calendar holds all of time: what a sink is told of the first.
async fn starved(server: &Server) -> String {
    let week = |days: &[&str]| {
        let weekly: Vec<_> = days.iter().map(|day| json!({"day": format!("DAY_OF_WEEK_{day}")})).collect();
        json!({"calendar": {"calendar": "all", "weekly": weekly}})
    };
    said(server, "AdminService/CreateCalendar", &week(&["SUNDAY"])).await;
    for name in ["starved", "starving"] {
        let schedules = json!([{"cron": "0 3 * * *", "exclude_calendars": ["all"]}]);
        let job = json!({"job": name, "job_type": "nobody", "schedules": schedules});
        said(server, "SchedulerService/CreateJob", &json!({"job": job})).await;
    }
    let days = ["MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY"];
    said(server, "AdminService/UpdateCalendar", &week(&days)).await;
    let told = said(server, "AdminService/ListDeliveries", &json!({"sink": "ops"})).await;
    text(&told["deliveries"][0]["deliveryId"])
}

impl Stage {
    pub(crate) async fn set() -> Self {
        let change = |config: &mut mainspring_server::config::Config| {
            config.auth.root_password = Some(PASSWORD.to_owned().into());
            // Its worker says nothing more, and is there until the end.
            config.limits.lease_ttl = Duration::from_secs(300);
        };
        let server = Server::with(change).await;
        let login = auth::LoginRequest { username: "root".into(), password: PASSWORD.into(), client_name: "t".into() };
        let tokens = server.auth(None).login(login).await.unwrap().into_inner().tokens.unwrap();
        let mut worker = Worker::connect(&server, Some(server.key())).await.unwrap();
        let hello = hello();
        let worker_id = hello.worker_instance_id.clone();
        worker.say(Say::Hello(hello)).await;
        assert!(matches!(worker.heard().await, Hear::Welcome(_)));
        let made = async |name: &str| {
            let job = json!({"job": {"job": name, "job_type": "nobody"}});
            let job = said(&server, "SchedulerService/CreateJob", &job).await;
            text(&job["job"]["etag"])
        };
        let run = json!({"run": {"job_type": "nobody"}});
        let submit = async || text(&said(&server, "SchedulerService/SubmitRun", &run).await["run"]["runId"]);
        let over = submit().await;
        said(&server, "SchedulerService/CancelRun", &json!({"run_id": over})).await;
        let queue = json!({"queue": {"queue": "narrow", "concurrency_limit": 3}, "allow_missing": true});
        let queue = said(&server, "QueueService/UpdateQueue", &queue).await;
        let key = json!({"name": "spare", "bindings": [{"role": "viewer"}]});
        let key = said(&server, "UserService/CreateApiKey", &key).await;
        let files = TempDir::new().unwrap();
        made("gone").await;
        said(&server, "SchedulerService/DeleteJob", &json!({"job": "gone"})).await;
        let calendar = |name: &str| json!({"calendar": {"calendar": name, "dates": ["2026-12-25"]}});
        said(&server, "AdminService/CreateCalendar", &calendar("free")).await;
        let calendar = said(&server, "AdminService/CreateCalendar", &calendar("holidays")).await;
        let daily = json!([{"interval": {"every": "3600s"}}]);
        let hourly = json!({"job": {"job": "hourly", "job_type": "nobody", "schedules": daily}});
        said(&server, "SchedulerService/CreateJob", &hourly).await;
        let backfill = json!({
            "job": "hourly", "from_time": "2026-01-01T00:00:00Z", "to_time": "2026-01-01T01:00:00Z",
        });
        let backfill = said(&server, "SchedulerService/BackfillJob", &backfill).await;
        let sink = |name: &str| json!({"sink": {"sink": name, "url": "https://localhost/", "kinds": ["NOTICE_KIND_SCHEDULE_ERROR"]}});
        said(&server, "AdminService/CreateSink", &sink("spare")).await;
        let sink = said(&server, "AdminService/CreateSink", &sink("ops")).await;
        let delivery = starved(&server).await;
        let known = Known {
            ticking: "hourly".into(),
            backfill: text(&backfill["backfill"]["backfillId"]),
            job: "kept".into(),
            job_etag: made("kept").await,
            doomed: "doomed".into(),
            doomed_etag: made("doomed").await,
            gone: "gone".into(),
            calendar: "holidays".into(),
            calendar_etag: text(&calendar["calendar"]["etag"]),
            free: "free".into(),
            sink: "ops".into(),
            sink_etag: text(&sink["sink"]["etag"]),
            spare_sink: "spare".into(),
            delivery,
            queue: "narrow".into(),
            queue_etag: text(&queue["queue"]["etag"]),
            waiting: submit().await,
            over,
            worker: worker_id,
            key: text(&key["apiKey"]["keyId"]),
            refresh_token: tokens.refresh_token,
            file: files.path().join("copy.db").to_str().unwrap().to_owned(),
        };
        Self { server, known, access_token: tokens.access_token, _worker: worker, _files: files }
    }

    /// The credential of a row's calls.
    pub(crate) fn token(&self, row: &Row) -> String {
        if row.as_user { self.access_token.clone() } else { self.server.key() }
    }

    /// What the server answers to a row's call; a stream's answer is its last message, where it ends by itself.
    pub(crate) async fn answer(&self, row: &Row, request: &Value) -> Result<Value, Told> {
        self.answer_to_bytes(row, encode(rpc(row.rpc).input(), request)).await
    }

    /// The same, for what has no JSON.
    pub(crate) async fn answer_to_bytes(&self, row: &Row, body: Vec<u8>) -> Result<Value, Told> {
        let rpc = rpc(row.rpc);
        let token = Some(self.token(row));
        if rpc.is_server_streaming() {
            let mut messages = match raw::open(&self.server, &path(&rpc), token, body).await {
                Ok(messages) => messages,
                Err(status) => return Err(Told::of(&status)),
            };
            let mut last = Value::Null;
            if !row.ends {
                return Ok(last);
            }
            loop {
                match messages.message().await {
                    Ok(Some(bytes)) => last = decode(rpc.output(), &bytes),
                    Ok(None) => break,
                    Err(status) => return Err(Told::of(&status)),
                }
            }
            return Ok(last);
        }
        let bytes = raw::first(&self.server, &path(&rpc), token, body).await.map_err(|status| Told::of(&status))?;
        let answer = decode(rpc.output(), &bytes);
        match answer.pointer("/answers/0/error") {
            Some(error) => Err(Told::in_a_batch(error)),
            None => Ok(answer),
        }
    }

    /// Why a row's call is refused.
    pub(crate) async fn refusal(&self, row: &Row, request: &Value, why: &str) -> Told {
        match self.answer(row, request).await {
            Ok(answer) => panic!("{}: {why} was not refused: {answer}", row.rpc),
            Err(told) => told,
        }
    }

    /// Why a call with these bytes is refused.
    pub(crate) async fn refusal_of_bytes(&self, row: &Row, body: Vec<u8>, why: &str) -> Told {
        match self.answer_to_bytes(row, body).await {
            Ok(answer) => panic!("{}: {why} was not refused: {answer}", row.rpc),
            Err(told) => told,
        }
    }
}

pub(crate) fn text(value: &Value) -> String {
    let text = value.as_str().unwrap_or_default();
    assert!(!text.is_empty());
    text.to_owned()
}

/// What the server answers to a call that must be good.
pub(crate) async fn said(server: &Server, name: &str, request: &Value) -> Value {
    let rpc = rpc(name);
    let body = encode(rpc.input(), request);
    let bytes = raw::first(server, &path(&rpc), Some(server.key()), body).await.unwrap();
    decode(rpc.output(), &bytes)
}

/// What a refusal said, in the contract's form.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) code: Code,
    pub(crate) reason: String,
    /// What it is for people.
    pub(crate) message: String,
    /// The fields of `BadRequest`.
    pub(crate) fields: Vec<String>,
    pub(crate) metadata: BTreeMap<String, String>,
}

impl Told {
    pub(crate) fn of(status: &Status) -> Self {
        let reason = reason(status);
        assert_ne!(status.code(), Code::Internal, "{status:?}");
        assert!(!status.message().is_empty(), "{status:?}");
        let details = status.get_error_details();
        let bad = details.bad_request().map(|bad| bad.field_violations.clone()).unwrap_or_default();
        assert!(bad.iter().all(|bad| !bad.description.is_empty()), "{status:?}");
        Self {
            code: status.code(),
            reason,
            message: status.message().to_owned(),
            fields: bad.into_iter().map(|bad| bad.field).collect(),
            metadata: details.error_info().unwrap().metadata.clone().into_iter().collect(),
        }
    }

    fn in_a_batch(error: &Value) -> Self {
        let code = Code::from_i32(i32::try_from(error["code"].as_i64().unwrap()).unwrap());
        assert_ne!(code, Code::Internal, "{error}");
        assert!(!text(&error["message"]).is_empty());
        let fields = error["field"].as_str().map(str::to_owned).into_iter().collect();
        let metadata = error["metadata"].as_object().into_iter().flatten();
        let metadata = metadata.map(|(key, value)| (key.clone(), text(value))).collect();
        Self { code, reason: text(&error["reason"]), message: text(&error["message"]), fields, metadata }
    }

    #[track_caller]
    pub(crate) fn is(&self, code: Code, reason: &str, why: &str) {
        assert_eq!((self.code, self.reason.as_str()), (code, reason), "{why}: {self:?}");
    }

    /// Refused because of this field.
    #[track_caller]
    pub(crate) fn is_field(&self, reason: &str, field: &str, why: &str) {
        self.is(Code::InvalidArgument, reason, why);
        assert!(self.fields.iter().any(|bad| bad == field), "{why}: `{field}` is not named: {self:?}");
    }

    #[track_caller]
    pub(crate) fn says(&self, keys: &[&str], why: &str) {
        for key in keys {
            assert!(self.metadata.get(*key).is_some_and(|value| !value.is_empty()), "{why}: no `{key}`: {self:?}");
        }
    }
}
