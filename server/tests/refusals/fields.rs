//! What can be wrong with the fields of a request, wherever the contract has such a field; beyond the table of `matrix.rs`.

use serde_json::{Value, json};
use tonic::Code;

use super::{
    contract::{Place, at, places, rpc, with},
    stage::Stage,
    table::{ROWS, Row},
};

/// Fields that hold a name or an id, wherever they are.
const NAMES: [&str; 9] =
    ["namespace", "job", "queue", "job_type", "run_id", "worker_id", "time_zone", "sink", "delivery_id"];
/// The id of nothing.
pub(crate) const NOBODY: &str = "019ab000-0000-7000-8000-000000000000";
/// Base64 of 1 MiB and 2 bytes.
const TOO_LARGE: usize = 349_526 * 4;

/// Bytes as JSON writes them.
pub(crate) fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = |three: &[u8]| {
        let bits = three.iter().chain(&[0; 2]).take(3).fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        let all = [18, 12, 6, 0].map(|shift| char::from(DIGITS[bits >> shift & 63]));
        all.into_iter().take(three.len() + 1).chain(['='; 2]).take(4).collect::<String>()
    };
    text.as_bytes().chunks(3).map(digits).collect()
}

/// A value at a place of a row's request.
pub(crate) type Spot = (&'static Row, Value, Place, String);

/// Every place of every row that is `wanted`; each must be shown by the row's request.
pub(crate) fn spots(stage: &Stage, wanted: impl Fn(&Place) -> bool) -> Vec<Spot> {
    let mut spots = Vec::new();
    for (row, valid, place) in wanted_places(stage, wanted) {
        let shown = place.shown_in(&valid);
        assert!(!shown.is_empty(), "the request of {} does not show `{}`", row.rpc, place.pattern);
        spots.extend(shown.into_iter().map(|path| (row, valid.clone(), place.clone(), path)));
    }
    assert!(!spots.is_empty());
    spots
}

/// Those places that the row's request shows.
pub(crate) fn shown_spots(stage: &Stage, wanted: impl Fn(&Place) -> bool) -> Vec<Spot> {
    let places = wanted_places(stage, wanted).into_iter();
    places
        .flat_map(|(row, valid, place)| {
            let shown = place.shown_in(&valid).into_iter();
            shown.map(|path| (row, valid.clone(), place.clone(), path)).collect::<Vec<_>>()
        })
        .collect()
}

fn wanted_places(stage: &Stage, wanted: impl Fn(&Place) -> bool) -> Vec<(&'static Row, Value, Place)> {
    let mut found = Vec::new();
    for row in ROWS {
        let places = places(&rpc(row.rpc).input()).into_iter();
        let wanted = places.filter(|place| row.forgives(&place.pattern).is_none() && wanted(place));
        found.extend(wanted.map(|place| (row, (row.valid)(&stage.known), place)));
    }
    found
}

/// Changes every wanted place and expects the field to be named.
async fn each_is_refused(stage: &Stage, wanted: impl Fn(&Place) -> bool, bad: impl Fn(&Place) -> Value) {
    for (row, valid, place, path) in spots(stage, wanted) {
        let why = format!("{} with a bad `{path}`", row.rpc);
        let told = stage.refusal(row, &with(&valid, &path, bad(&place)), &why).await;
        told.is_field("FIELD_INVALID", &path, &why);
    }
}

#[tokio::test]
async fn a_number_that_no_enum_has_is_refused() {
    each_is_refused(&Stage::set().await, Place::is_enum, |_| json!(999)).await;
}

#[tokio::test]
async fn what_is_no_name_and_no_id_is_refused() {
    let is_name = |place: &Place| place.is_text() && NAMES.contains(&place.field.name());
    each_is_refused(&Stage::set().await, is_name, |_| json!("No Such/Thing")).await;
}

#[tokio::test]
async fn a_text_over_its_bound_is_refused() {
    let bad = |place: &Place| json!("x".repeat(place.max_chars().unwrap() + 1));
    each_is_refused(&Stage::set().await, |place| place.max_chars().is_some(), bad).await;
}

#[tokio::test]
async fn a_job_that_does_not_exist_has_no_preview() {
    let stage = Stage::set().await;
    let row = ROWS.iter().find(|row| row.rpc.ends_with("/PreviewSchedule")).unwrap();
    stage.refusal(row, &json!({"job": "nobody"}), "preview").await.is(Code::NotFound, "JOB_NOT_FOUND", "preview");
    let both = json!({"job": "kept", "schedule": {"cron": "@daily"}});
    for neither_or_both in [json!({}), both] {
        let told = stage.refusal(row, &neither_or_both, "preview").await;
        told.is_field("FIELD_INVALID", "schedule", "preview");
    }
}

#[tokio::test]
async fn what_is_wrong_with_fields_is_told_before_a_stale_etag() {
    let stage = Stage::set().await;
    let mut seen = 0;
    for (row, valid, _, etag) in spots(&stage, |place| place.field.name() == "etag") {
        let stale = with(&valid, &etag, json!("stale"));
        let mut wrong = stale.clone();
        let mut fields = Vec::new();
        for place in places(&rpc(row.rpc).input()).iter().filter(|place| place.is_enum()) {
            for path in place.shown_in(&stale) {
                wrong = with(&wrong, &path, json!(999));
                fields.push(path);
            }
        }
        if let Some(limit) = at(&stale, "queue.concurrency_limit").map(|_| "queue.concurrency_limit") {
            wrong = with(&wrong, limit, json!(-1));
            fields.push(limit.to_owned());
        }
        if fields.is_empty() {
            continue;
        }
        seen += 1;
        let why = format!("{} with a stale `{etag}` and wrong fields", row.rpc);
        let told = stage.refusal(row, &wrong, &why).await;
        for field in fields {
            told.is_field("FIELD_INVALID", &field, &why);
        }
    }
    // Jobs, that are changed, restored or deleted, queues, calendars and sinks: what else is deleted has nothing else to be wrong.
    assert_eq!(seen, 6);
}

#[tokio::test]
async fn a_payload_over_its_limit_is_refused() {
    let stage = Stage::set().await;
    let large = json!({"inline": "A".repeat(TOO_LARGE)});
    for (row, valid, _, path) in spots(&stage, |place| place.is_message("mainspring.common.v1.Payload")) {
        let why = format!("{} with a large `{path}`", row.rpc);
        let told = stage.refusal(row, &with(&valid, &path, large.clone()), &why).await;
        told.is_field("PAYLOAD_TOO_LARGE", &path, &why);
        told.says(&["limit_bytes", "size_bytes"], &why);
        let elsewhere = json!({"reference": {"uri": "s3://nowhere"}});
        let told = stage.refusal(row, &with(&valid, &path, elsewhere), &why).await;
        told.is_field("FIELD_INVALID", &format!("{path}.reference"), &why);
    }
}

#[tokio::test]
async fn bytes_that_say_they_are_json_are_json() {
    let stage = Stage::set().await;
    for (row, valid, _, path) in spots(&stage, |place| place.is_message("mainspring.common.v1.Payload")) {
        for bad in ["", "{", "{\"a\":}", "nothing", "{} {}", "\u{feff}{}", "NaN"] {
            let why = format!("{} with `{bad}` in `{path}`", row.rpc);
            let payload = json!({"content_type": "application/json", "inline": base64(bad)});
            let told = stage.refusal(row, &with(&valid, &path, payload), &why).await;
            told.is_field("FIELD_INVALID", &format!("{path}.inline"), &why);
        }
    }
}

#[tokio::test]
async fn a_bad_rule_says_where_and_what_was_meant() {
    let stage = Stage::set().await;
    for (row, valid, _, path) in spots(&stage, |place| place.is_message("mainspring.scheduler.v1.Schedule")) {
        let why = format!("{} with a bad `{path}`", row.rpc);
        let refusal = async |rule: Value| stage.refusal(row, &with(&valid, &path, rule), &why).await;
        let told = refusal(json!({"cron": "0 9 * * MOM"})).await;
        told.is_field("CRON_INVALID", &format!("{path}.cron"), &why);
        told.says(&["field", "column", "suggestion"], &why);
        for word in ["hourly", "daily", "weekly", "monthly", "yearly"] {
            let told = refusal(json!({"cron": word})).await;
            told.is_field("CRON_INVALID", &format!("{path}.cron"), &why);
            assert_eq!(told.metadata["suggestion"], format!("did you mean `@{word}`?"), "{why}");
        }
        let never = [
            (json!({"cron": "0 0 30 2 *"}), format!("{path}.cron")),
            (json!({"at": "2001-01-01T00:00:00Z"}), format!("{path}.at")),
            // Which of them is wrong, the rule or its bounds?
            (json!({"cron": "@daily", "end_time": "2001-01-01T00:00:00Z"}), path.clone()),
        ];
        for (never, field) in never {
            refusal(never).await.is_field("SCHEDULE_NEVER_FIRES", &field, &why);
        }
        let zone = json!({"cron": "@daily", "time_zone": "Europe/Berlni"});
        let told = refusal(zone).await;
        told.is_field("FIELD_INVALID", &format!("{path}.time_zone"), &why);
        told.says(&["suggestion"], &why);
        let interval = json!({"interval": {}});
        refusal(interval).await.is_field("FIELD_INVALID", &format!("{path}.interval.every"), &why);
        let interval = json!({"interval": {"every": "0.5s"}});
        refusal(interval).await.is_field("FIELD_INVALID", &format!("{path}.interval.every"), &why);
    }
}

#[tokio::test]
async fn what_only_one_rpc_can_refuse_is_refused_in_form() {
    let stage = Stage::set().await;
    let job = &stage.known.job;
    let over = &stage.known.over;
    let queue = &stage.known.queue;
    for (rpc, request, reason, field) in [
        ("AuthService/Login", json!({"username": "root", "password": "not this one"}), "CREDENTIALS_INVALID", ""),
        ("AuthService/RefreshToken", json!({"refresh_token": "garbage"}), "TOKEN_INVALID", ""),
        (
            "UserService/CreateApiKey",
            json!({"name": "k", "bindings": [{"role": "king"}]}),
            "FIELD_INVALID",
            "bindings[0].role",
        ),
        (
            "UserService/CreateApiKey",
            json!({"name": "k", "bindings": [{"role": "viewer", "namespace": "default"}]}),
            "FIELD_INVALID",
            "bindings[0].namespace",
        ),
        ("UserService/CreateApiKey", json!({"name": "k"}), "FIELD_INVALID", "bindings"),
        ("SchedulerService/CreateJob", json!({"job": {"job": job, "job_type": "x"}}), "JOB_ALREADY_EXISTS", ""),
        (
            "SchedulerService/UpdateJob",
            json!({"job": {"job": job, "job_type": "x"}, "update_mask": "uid"}),
            "FIELD_INVALID",
            "update_mask",
        ),
        (
            "QueueService/UpdateQueue",
            json!({"queue": {"queue": queue}, "update_mask": "depth"}),
            "FIELD_INVALID",
            "update_mask",
        ),
        ("SchedulerService/BatchSubmitRuns", json!({}), "FIELD_INVALID", "runs"),
        ("SchedulerService/RetryRun", json!({"run_id": stage.known.waiting}), "RUN_NOT_RETRYABLE", ""),
        ("SchedulerService/TailLogs", json!({"run_id": over, "after": {}}), "FIELD_INVALID", "after"),
        ("SchedulerService/WatchEvents", json!({"topics": [0]}), "FIELD_INVALID", "topics[0]"),
        ("SchedulerService/WatchEvents", json!({"cursor": "yesterday"}), "FIELD_INVALID", "cursor"),
        ("SchedulerService/WatchEvents", json!({"cursor": format!("{}.1", "0".repeat(32))}), "CURSOR_EXPIRED", ""),
        (
            "AdminService/GetStats",
            json!({"from_time": "2026-01-02T00:00:00Z", "to_time": "2026-01-01T00:00:00Z"}),
            "FIELD_INVALID",
            "to_time",
        ),
        ("AdminService/BackupDatabase", json!({"path": "here.db"}), "FIELD_INVALID", "path"),
        ("AdminService/BackupDatabase", json!({"path": "/dev/null"}), "BACKUP_FILE_EXISTS", ""),
        ("WorkerService/ReportAttemptResult", json!({"result": {}}), "FIELD_INVALID", "result.attempt"),
        (
            "WorkerService/ReportAttemptResult",
            json!({"result": {"attempt": {"run_id": over}}}),
            "FIELD_INVALID",
            "result.attempt.attempt",
        ),
    ] {
        let row = ROWS.iter().find(|row| row.rpc == rpc).unwrap();
        let why = format!("{rpc} with {request}");
        let told = stage.refusal(row, &request, &why).await;
        assert_eq!(told.reason, reason, "{why}: {told:?}");
        assert!(field.is_empty() || told.fields.iter().any(|bad| bad == field), "{why}: {told:?}");
    }
    let user = ROWS.iter().find(|row| row.as_user).unwrap();
    let keyed = Row { as_user: false, ..*user };
    let why = "a key has no password";
    let told = stage.refusal(&keyed, &(keyed.valid)(&stage.known), why).await;
    told.is(Code::FailedPrecondition, "PASSWORD_NOT_HELD", why);
}
