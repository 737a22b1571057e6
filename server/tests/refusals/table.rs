//! One row per rpc: a valid request that shows every field which could be wrong.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    contract::{rpcs, short},
    stage::{Known, Stage},
};

/// One rpc.
pub(crate) struct Row {
    /// `Service/Method`.
    pub(crate) rpc: &'static str,
    /// A request that is answered.
    pub(crate) valid: fn(&Known) -> Value,
    /// Only a user with a password gets so far.
    pub(crate) as_user: bool,
    /// Its stream ends by itself.
    pub(crate) ends: bool,
    /// Places that the rpc does not look at, or whose mistakes it forgives, with everything below them; and why.
    pub(crate) forgives: &'static [(&'static str, &'static str)],
}

const fn row(rpc: &'static str, valid: fn(&Known) -> Value) -> Row {
    Row { rpc, valid, as_user: false, ends: false, forgives: &[] }
}

impl Row {
    /// Why a mistake at a place is forgiven, if it is.
    pub(crate) fn forgives(&self, pattern: &str) -> Option<&'static str> {
        let is_in = |place: &str| {
            pattern.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        self.forgives.iter().find(|(place, _)| is_in(place)).map(|(_, why)| *why)
    }
}

fn payload() -> Value {
    json!({"json": {"n": 1}})
}

fn policies() -> (Value, Value) {
    (json!({"max_attempts": 2}), json!({"execution": "60s"}))
}

fn definition(name: &str, etag: &str) -> Value {
    let (retry_policy, timeouts) = policies();
    json!({
        "job": name, "etag": etag, "job_type": "nobody", "queue": "default", "payload": payload(),
        "schedules": [
            {"name": "nightly", "cron": "0 3 * * *"},
            {"name": "often", "interval": {"every": "3600s"}},
            {"name": "quarterly", "calendar_interval": {"every": 3, "unit": "CALENDAR_UNIT_MONTH", "first_date": "2026-01-31"}},
        ],
        "overlap": "OVERLAP_SKIP", "catch_up": "CATCH_UP_NONE", "delivery": "DELIVERY_AT_LEAST_ONCE",
        "lease_loss_policy": "LEASE_LOSS_POLICY_CONTINUE", "retry_policy": retry_policy, "timeouts": timeouts,
        "concurrency_key": "api", "concurrency_rate": rate(),
    })
}

fn rate() -> Value {
    json!({"count": 1000, "per": "1s"})
}

fn submission() -> Value {
    let (retry_policy, timeouts) = policies();
    json!({
        "job_type": "nobody", "queue": "default", "payload": payload(), "delivery": "DELIVERY_AT_LEAST_ONCE",
        "lease_loss_policy": "LEASE_LOSS_POLICY_CONTINUE", "retry_policy": retry_policy, "timeouts": timeouts,
        "unique": unique(), "concurrency_key": "api", "concurrency_rate": rate(),
    })
}

fn unique() -> Value {
    json!({"key": "one", "window": "60s", "on_conflict": "UNIQUE_CONFLICT_RETURN_EXISTING"})
}

fn calendar(name: &str, etag: &str) -> Value {
    json!({
        "calendar": name, "etag": etag, "time_zone": "Europe/Berlin", "dates": ["2026-12-25"], "yearly_dates": ["01-01"],
        "weekly": [{"day": "DAY_OF_WEEK_SUNDAY"}],
        "spans": [{"start_time": "2026-01-01T00:00:00Z", "end_time": "2026-01-01T01:00:00Z"}],
    })
}

fn sink(name: &str, etag: &str) -> Value {
    json!({
        "sink": name, "etag": etag, "description": "who is on call", "url": "https://localhost/hook",
        "kinds": ["NOTICE_KIND_SCHEDULE_ERROR"], "job": "kept",
    })
}

const EITHER: &str = "Either a job or a rule is given; the rule is what has more to be wrong.";
const KEPT: &str =
    "A result that cannot be kept fails its attempt: it is answered, or the worker would send it for ever.";
const HINT: &str = "What a result says of times and logs is a hint.";
const LATER: &str = "What follows Hello is answered on the stream.";

/// Every rpc but the worker's stream, in an order in which all of them are answered.
pub(crate) const ROWS: &[Row] = &[
    row("AuthService/Login", |_| json!({"username": "root", "password": super::stage::PASSWORD})),
    row("AuthService/RefreshToken", |known| json!({"refresh_token": known.refresh_token})),
    row("AuthService/GetCaller", |_| json!({})),
    Row {
        as_user: true,
        ..row(
            "AuthService/ChangePassword",
            |_| json!({"current_password": super::stage::PASSWORD, "new_password": "another horse battery"}),
        )
    },
    row("AuthService/Logout", |_| json!({})),
    row("UserService/CreateApiKey", |_| json!({"name": "new", "bindings": [{"role": "viewer"}]})),
    row("UserService/ListApiKeys", |_| json!({})),
    row("UserService/RevokeApiKey", |known| json!({"key_id": known.key})),
    Row {
        forgives: &[("job.etag", "A new job has no etag yet; what is sent as one is not looked at.")],
        ..row("SchedulerService/CreateJob", |_| json!({"job": definition("new", "")}))
    },
    row("SchedulerService/GetJob", |known| json!({"job": known.job})),
    row("SchedulerService/ListJobs", |_| json!({})),
    row("SchedulerService/ListJobVersions", |known| json!({"job": known.job})),
    row("SchedulerService/RestoreJobVersion", |known| json!({"job": known.job, "version": 1, "etag": known.job_etag})),
    row("SchedulerService/UndeleteJob", |known| json!({"job": known.gone})),
    row("SchedulerService/UpdateJob", |known| json!({"job": definition(&known.job, &known.job_etag)})),
    row("SchedulerService/DeleteJob", |known| json!({"job": known.doomed, "etag": known.doomed_etag})),
    row("SchedulerService/TriggerJob", |known| {
        let (retry_policy, timeouts) = policies();
        json!({
            "job": known.job, "payload": payload(), "force": true, "retry_policy": retry_policy, "timeouts": timeouts,
            "unique": unique(), "concurrency_key": "api", "concurrency_rate": rate(),
        })
    }),
    row("SchedulerService/PauseJob", |known| json!({"job": known.job})),
    row("SchedulerService/ResumeJob", |known| json!({"job": known.job})),
    Row {
        forgives: &[("job", EITHER), ("schedule.interval", EITHER), ("schedule.calendar_interval", EITHER)],
        ..row("SchedulerService/PreviewSchedule", |_| json!({"schedule": {"cron": "0 3 * * *"}, "range": {"count": 1}}))
    },
    row("SchedulerService/ListInstants", |known| json!({"job": known.job})),
    row("SchedulerService/ExplainInstant", |known| json!({"job": known.job, "time": "2026-01-01T00:00:00Z"})),
    row("SchedulerService/BackfillJob", |known| {
        json!({
            "job": known.ticking, "payload_template": payload(), "from_time": "2026-01-01T00:00:00Z",
            "to_time": "2026-01-01T12:00:00Z", "schedules": ["default"],
        })
    }),
    row("SchedulerService/GetBackfill", |known| json!({"backfill_id": known.backfill})),
    row("SchedulerService/ListBackfills", |known| json!({"job": known.ticking})),
    row("SchedulerService/CancelBackfill", |known| json!({"backfill_id": known.backfill})),
    row("SchedulerService/SubmitRun", |_| json!({"run": submission()})),
    row("SchedulerService/BatchSubmitRuns", |_| json!({"runs": [submission()]})),
    row("SchedulerService/GetRun", |known| json!({"run_id": known.waiting})),
    row("SchedulerService/ListRuns", |_| json!({})),
    row("SchedulerService/ListAttempts", |known| json!({"run_id": known.waiting})),
    row("SchedulerService/CancelRun", |known| json!({"run_id": known.waiting})),
    row("SchedulerService/RetryRun", |known| json!({"run_id": known.over})),
    row("SchedulerService/ReplayRun", |known| json!({"run_id": known.over, "payload": payload()})),
    row("SchedulerService/CancelRuns", |_| json!({"selection": {"filter": "job = nobody"}})),
    row("SchedulerService/RetryRuns", |_| json!({"selection": {"filter": "state = CANCELLED AND job_type = nobody"}})),
    row("SchedulerService/WaitRun", |known| json!({"run_id": known.over})),
    row("SchedulerService/ListDeadLetters", |_| json!({})),
    row("SchedulerService/ResolveDeadLetters", |_| json!({"selection": {"filter": "job = nobody"}})),
    row("SchedulerService/RedriveDeadLetters", |_| json!({"selection": {"filter": "job = nobody"}})),
    row("SchedulerService/ListLogs", |known| json!({"run_id": known.over})),
    row("SchedulerService/TailLogs", |known| json!({"run_id": known.over, "after": {"attempt": 1}})),
    row("SchedulerService/WatchEvents", |_| json!({"topics": ["EVENT_TOPIC_RUNS"]})),
    row("QueueService/ListQueues", |_| json!({})),
    row("QueueService/GetQueue", |known| json!({"queue": known.queue})),
    row("QueueService/UpdateQueue", |known| {
        json!({"queue": {
            "queue": known.queue, "etag": known.queue_etag, "concurrency_limit": 2, "rate_limit": rate()
        }})
    }),
    row("QueueService/PauseQueue", |known| json!({"queue": known.queue})),
    row("QueueService/ResumeQueue", |known| json!({"queue": known.queue})),
    row("QueueService/ListWorkers", |_| json!({})),
    row("QueueService/GetWorker", |known| json!({"worker_id": known.worker})),
    row("QueueService/DrainWorker", |known| json!({"worker_id": known.worker})),
    row("QueueService/ListJobTypes", |_| json!({})),
    row("AdminService/GetServerInfo", |_| json!({})),
    row("AdminService/GetStats", |_| json!({})),
    row("AdminService/GetNamespace", |_| json!({})),
    row("AdminService/UpdateNamespace", |_| json!({"settings": {"default_timeouts": policies().1}})),
    Row {
        forgives: &[("calendar.etag", "A new calendar has no etag yet; what is sent as one is not looked at.")],
        ..row("AdminService/CreateCalendar", |_| json!({"calendar": calendar("new", "")}))
    },
    row("AdminService/GetCalendar", |known| json!({"calendar": known.calendar})),
    row("AdminService/ListCalendars", |_| json!({})),
    row("AdminService/UpdateCalendar", |known| json!({"calendar": calendar(&known.calendar, &known.calendar_etag)})),
    row("AdminService/DeleteCalendar", |known| json!({"calendar": known.free, "etag": "1"})),
    Row {
        forgives: &[("sink.etag", "A new sink has no etag yet; what is sent as one is not looked at.")],
        ..row("AdminService/CreateSink", |_| json!({"sink": sink("new", ""), "request_id": "one"}))
    },
    row("AdminService/GetSink", |known| json!({"sink": known.sink})),
    row("AdminService/ListSinks", |_| json!({})),
    Row {
        forgives: &[("sink.url", "What is stored stays where the update is of other fields.")],
        ..row(
            "AdminService/UpdateSink",
            |known| json!({"sink": sink(&known.sink, &known.sink_etag), "update_mask": "description,kinds,job"}),
        )
    },
    row("AdminService/DeleteSink", |known| json!({"sink": known.spare_sink, "etag": "1"})),
    row("AdminService/TestSink", |known| json!({"sink": known.sink})),
    row("AdminService/ListDeliveries", |known| json!({"sink": known.sink, "state": "DELIVERY_STATE_PENDING"})),
    row("AdminService/RedeliverNotice", |known| json!({"sink": known.sink, "delivery_id": known.delivery})),
    Row { ends: true, ..row("AdminService/BackupDatabase", |known| json!({"path": known.file})) },
    Row {
        forgives: &[
            ("result.succeeded", KEPT),
            ("result.failed", KEPT),
            ("result.cancelled", KEPT),
            ("result.interrupted", KEPT),
            ("result.start_time", HINT),
            ("result.finish_time", HINT),
            ("result.next_log_offset", HINT),
        ],
        ..row("WorkerService/ReportAttemptResult", |known| {
            let attempt = json!({"run_id": known.over, "attempt": 1});
            json!({"result": {"attempt": attempt, "succeeded": {"output": payload()}}})
        })
    },
];

/// The rpc that is not one request; `stream.rs` speaks for what comes after Hello.
pub(crate) const STREAM: &str = "WorkerService/WorkerStream";
pub(crate) const STREAM_ROW: Row = Row {
    ends: true,
    forgives: &[
        ("heartbeat", LATER),
        ("capacity_update", LATER),
        ("dispatch_reply", LATER),
        ("progress", LATER),
        ("log_batch", LATER),
        ("result", LATER),
        ("cancel_reply", LATER),
        ("drain", LATER),
    ],
    ..row(STREAM, |_| {
        json!({"hello": {
            "worker_instance_id": super::fields::NOBODY, "worker_name": "by hand", "connect_sequence": 1,
            "min_protocol_version": 1, "max_protocol_version": 1, "namespace": "default",
            "handlers": [{"job_type": "echo", "input_schema": "{}", "output_schema": "{}"}],
            "capacity": [{"queue": "default", "max_in_flight": 1}],
        }})
    })
};

#[test]
fn every_rpc_of_the_contract_has_one_row() {
    let contract: BTreeSet<_> = rpcs().iter().map(short).collect();
    let mut rows: BTreeSet<_> = ROWS.iter().map(|row| row.rpc.to_owned()).collect();
    assert_eq!(rows.len(), ROWS.len(), "an rpc has two rows");
    rows.insert(STREAM.to_owned());
    assert_eq!(contract, rows);
}

#[tokio::test]
async fn every_valid_request_is_answered() {
    let stage = Stage::set().await;
    for row in ROWS {
        if let Err(told) = stage.answer(row, &(row.valid)(&stage.known)).await {
            panic!("{}: {told:?}", row.rpc);
        }
    }
}
