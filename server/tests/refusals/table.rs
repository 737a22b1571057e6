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
    /// Places that the rpc does not look at, or whose mistakes it forgives, with everything below them.
    pub(crate) forgives: &'static [&'static str],
}

const fn row(rpc: &'static str, valid: fn(&Known) -> Value) -> Row {
    Row { rpc, valid, as_user: false, ends: false, forgives: &[] }
}

impl Row {
    pub(crate) fn forgives(&self, pattern: &str) -> bool {
        self.forgives.iter().any(|forgiven| {
            pattern.strip_prefix(forgiven).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
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
        "schedules": [{"name": "nightly", "cron": "0 3 * * *"}, {"name": "often", "interval": {"every": "3600s"}}],
        "overlap": "OVERLAP_SKIP", "catch_up": "CATCH_UP_NONE", "delivery": "DELIVERY_AT_LEAST_ONCE",
        "lease_loss_policy": "LEASE_LOSS_POLICY_CONTINUE", "retry_policy": retry_policy, "timeouts": timeouts,
    })
}

fn submission() -> Value {
    let (retry_policy, timeouts) = policies();
    json!({
        "job_type": "nobody", "queue": "default", "payload": payload(), "delivery": "DELIVERY_AT_LEAST_ONCE",
        "lease_loss_policy": "LEASE_LOSS_POLICY_CONTINUE", "retry_policy": retry_policy, "timeouts": timeouts,
    })
}

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
        // A new job has no etag yet.
        forgives: &["job.etag"],
        ..row("SchedulerService/CreateJob", |_| json!({"job": definition("new", "")}))
    },
    row("SchedulerService/GetJob", |known| json!({"job": known.job})),
    row("SchedulerService/ListJobs", |_| json!({})),
    row("SchedulerService/UpdateJob", |known| json!({"job": definition(&known.job, &known.job_etag)})),
    row("SchedulerService/DeleteJob", |known| json!({"job": known.doomed, "etag": known.doomed_etag})),
    row("SchedulerService/TriggerJob", |known| {
        let (retry_policy, timeouts) = policies();
        json!({
            "job": known.job, "payload": payload(), "force": true, "retry_policy": retry_policy, "timeouts": timeouts
        })
    }),
    row("SchedulerService/PauseJob", |known| json!({"job": known.job})),
    row("SchedulerService/ResumeJob", |known| json!({"job": known.job})),
    Row {
        // Either a job or a rule: the rule is the one with more to be wrong.
        forgives: &["job", "schedule.interval"],
        ..row("SchedulerService/PreviewSchedule", |_| json!({"schedule": {"cron": "0 3 * * *"}, "range": {"count": 1}}))
    },
    row("SchedulerService/ListInstants", |known| json!({"job": known.job})),
    row("SchedulerService/SubmitRun", |_| json!({"run": submission()})),
    row("SchedulerService/BatchSubmitRuns", |_| json!({"runs": [submission()]})),
    row("SchedulerService/GetRun", |known| json!({"run_id": known.waiting})),
    row("SchedulerService/ListRuns", |_| json!({})),
    row("SchedulerService/ListAttempts", |known| json!({"run_id": known.waiting})),
    row("SchedulerService/CancelRun", |known| json!({"run_id": known.waiting})),
    row("SchedulerService/RetryRun", |known| json!({"run_id": known.over})),
    row("SchedulerService/WaitRun", |known| json!({"run_id": known.over})),
    row("SchedulerService/ListLogs", |known| json!({"run_id": known.over})),
    row("SchedulerService/TailLogs", |known| json!({"run_id": known.over, "after": {"attempt": 1}})),
    row("SchedulerService/WatchEvents", |_| json!({"topics": ["EVENT_TOPIC_RUNS"]})),
    row("QueueService/ListQueues", |_| json!({})),
    row("QueueService/GetQueue", |known| json!({"queue": known.queue})),
    row(
        "QueueService/UpdateQueue",
        |known| json!({"queue": {"queue": known.queue, "etag": known.queue_etag, "concurrency_limit": 2}}),
    ),
    row("QueueService/PauseQueue", |known| json!({"queue": known.queue})),
    row("QueueService/ResumeQueue", |known| json!({"queue": known.queue})),
    row("QueueService/ListWorkers", |_| json!({})),
    row("QueueService/GetWorker", |known| json!({"worker_id": known.worker})),
    row("QueueService/DrainWorker", |known| json!({"worker_id": known.worker})),
    row("QueueService/ListJobTypes", |_| json!({})),
    row("AdminService/GetServerInfo", |_| json!({})),
    row("AdminService/GetStats", |_| json!({})),
    Row { ends: true, ..row("AdminService/BackupDatabase", |known| json!({"path": known.file})) },
    Row {
        // A result that cannot be kept fails its attempt: it is answered, or the worker would send it for ever.
        // And one of an attempt that nobody knows is fenced. What it says of times and logs is a hint.
        forgives: &[
            "result.succeeded",
            "result.failed",
            "result.cancelled",
            "result.interrupted",
            "result.start_time",
            "result.finish_time",
            "result.next_log_offset",
        ],
        ..row(
            "WorkerService/ReportAttemptResult",
            |known| json!({"result": {"attempt": {"run_id": known.over, "attempt": 1}, "cancelled": {}}}),
        )
    },
];

/// The rpc that is not one request; `stream.rs` speaks for it.
pub(crate) const STREAM: &str = "WorkerService/WorkerStream";

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
