//! What the table is asked of: a stage, a key for each role, and a second page of every list.

use mainspring_proto::{auth::v1::GetCallerRequest, worker::v1 as wire};
use serde_json::{Value, json};
use wire::{attempt_result::Outcome, worker_stream_request::Message as Say, worker_stream_response::Message as Hear};

use crate::{
    contract::{rpc, with},
    server::{Server, key_with},
    stage::{Stage, said, text},
    table::{ROWS, Row},
    worker::{Worker, hello},
};

const ROLES: [&str; 4] = ["admin", "operator", "viewer", "worker"];

pub(super) struct Role {
    pub(super) name: String,
    pub(super) key: String,
    pub(super) permissions: Vec<String>,
}

/// A list that has a second page.
pub(super) struct Page {
    pub(super) rpc: &'static str,
    pub(super) request: Value,
    pub(super) token: String,
}

pub(super) struct Ground {
    pub(super) stage: Stage,
    pub(super) roles: Vec<Role>,
    pub(super) pages: Vec<Page>,
    _busy: Busy,
}

impl Ground {
    pub(super) async fn lay() -> Self {
        let stage = Stage::set().await;
        let mut roles = Vec::new();
        for name in ROLES {
            let key = stage.server.users().create_api_key(key_with(name)).await.unwrap().into_inner().secret;
            let caller = stage.server.auth(Some(key.clone())).get_caller(GetCallerRequest {}).await.unwrap();
            roles.push(Role { name: name.into(), key, permissions: caller.into_inner().permissions });
        }
        let busy = Busy::work(&stage.server).await;
        let mut pages = Vec::new();
        for row in ROWS.iter().filter(|row| rpc(row.rpc).input().get_field_by_name("page_token").is_some()) {
            pages.push(second_page(&stage, &busy, row).await);
        }
        Self { stage, roles, pages, _busy: busy }
    }
}

/// The token of a list's second page, which the same list with the same arguments takes.
async fn second_page(stage: &Stage, busy: &Busy, row: &Row) -> Page {
    let mut request = with(&(row.valid)(&stage.known), "page_size", json!(1));
    for (field, what) in [("run_id", &busy.run), ("job", &busy.job)] {
        if request.get(field).is_some() {
            request = with(&request, field, json!(what));
        }
    }
    let answer = stage.answer(row, &request).await.unwrap();
    let token = answer["nextPageToken"].as_str().unwrap_or_else(|| panic!("{} has one page", row.rpc)).to_owned();
    stage.answer(row, &with(&request, "page_token", json!(token))).await.unwrap();
    Page { rpc: row.rpc, request, token }
}

impl Page {
    /// The same request with one argument that is another, for each.
    pub(super) fn other_arguments(&self) -> Vec<Value> {
        let other = |field: &str| {
            Some(match field {
                // Another size is the same list, and the token is what is tried.
                "page_size" | "page_token" => return None,
                "namespace" => json!("elsewhere"),
                "run_id" => json!(uuid::Uuid::now_v7().to_string()),
                "job" => json!("kept"),
                "sink" => json!("spare"),
                "state" => json!(3),
                "attempt" | "view" | "min_level" => json!(2),
                "include_gone" => json!(true),
                "from_time" | "to_time" => json!("2026-01-01T00:00:00Z"),
                "filter" => json!(match self.rpc {
                    "UserService/ListApiKeys" => "name = spare",
                    "SchedulerService/ListJobs" => "job = kept",
                    "SchedulerService/ListInstants" => "fate = FIRED",
                    "SchedulerService/ListRuns" => "state = QUEUED",
                    "SchedulerService/ListDeadLetters" => "resolution = IGNORED",
                    "QueueService/ListQueues" => "paused = false",
                    "QueueService/ListWorkers" => "state = CONNECTED",
                    "QueueService/ListJobTypes" => "job_type = echo",
                    rpc => panic!("{rpc} has a filter"),
                }),
                "order_by" => json!(match self.rpc {
                    "UserService/ListApiKeys" | "SchedulerService/ListRuns" => "create_time",
                    "SchedulerService/ListJobs" => "job desc",
                    "QueueService/ListQueues" => "queue desc",
                    "QueueService/ListWorkers" => "worker_id",
                    "QueueService/ListJobTypes" => "job_type desc",
                    rpc => panic!("{rpc} has an order"),
                }),
                field => panic!("{} has {field}", self.rpc),
            })
        };
        let fields = rpc(self.rpc).input().fields().collect::<Vec<_>>();
        let others = fields.iter().filter_map(|field| Some((field.name(), other(field.name())?)));
        others.map(|(field, value)| with(&self.request, field, value)).collect()
    }
}

/// A worker that has had two attempts of a run, and failed another in another way, and two instants of a job.
struct Busy {
    run: String,
    job: String,
    _worker: Worker,
}

impl Busy {
    async fn work(server: &Server) -> Self {
        let mut worker = Worker::connect(server, Some(server.key())).await.unwrap();
        let handler = |job_type: &str| wire::HandlerSpec { job_type: job_type.into(), ..wire::HandlerSpec::default() };
        worker.say(Say::Hello(wire::Hello { handlers: vec![handler("busy"), handler("idle")], ..hello() })).await;
        let run =
            json!({"run": {"job_type": "busy", "retry_policy": {"max_attempts": 2, "initial_backoff": "0.001s"}}});
        let run = text(&said(server, "SchedulerService/SubmitRun", &run).await["run"]["runId"]);
        for _ in 0..2 {
            let attempt = dispatched(&mut worker).await;
            assert_eq!(attempt.run_id, run);
            log(&mut worker, &attempt).await;
            fail(&mut worker, attempt, "BROKEN").await;
        }
        // Another thing that went wrong.
        let once = json!({"run": {"job_type": "busy", "retry_policy": {"max_attempts": 1}}});
        said(server, "SchedulerService/SubmitRun", &once).await;
        let attempt = dispatched(&mut worker).await;
        fail(&mut worker, attempt, "TORN").await;
        let every = json!([{"interval": {"every": "1s"}}]);
        let job =
            json!({"job": {"job": "ticking", "job_type": "busy", "schedules": every, "overlap": "OVERLAP_ALLOW"}});
        said(server, "SchedulerService/CreateJob", &job).await;
        for _ in 0..2 {
            dispatched(&mut worker).await;
        }
        said(server, "SchedulerService/PauseJob", &json!({"job": "ticking"})).await;
        for second in 0..2 {
            let range = |end: u32| format!("2026-01-01T00:00:0{end}Z");
            let backfill = json!({
                "job": "ticking", "from_time": range(second), "to_time": range(second + 1), "while_paused": true,
            });
            said(server, "SchedulerService/BackfillJob", &backfill).await;
        }
        let edit = json!({"job": {"job": "ticking", "owner": "ada"}, "update_mask": "owner"});
        said(server, "SchedulerService/UpdateJob", &edit).await;
        Self { run, job: "ticking".into(), _worker: worker }
    }
}

/// The next attempt, accepted.
async fn dispatched(worker: &mut Worker) -> wire::AttemptRef {
    loop {
        let Hear::Dispatch(dispatch) = worker.heard().await else { continue };
        let attempt = dispatch.attempt.unwrap();
        let phase = wire::AttemptPhase::Running.into();
        let accepted = wire::dispatch_reply::Outcome::Accepted(wire::DispatchAccepted { phase });
        let reply = wire::DispatchReply { attempt: Some(attempt.clone()), outcome: Some(accepted) };
        worker.say(Say::DispatchReply(reply)).await;
        return attempt;
    }
}

/// Two lines, stored.
async fn log(worker: &mut Worker, attempt: &wire::AttemptRef) {
    let line = |message: &str| wire::LogEntry { message: message.into(), ..wire::LogEntry::default() };
    let entries = vec![line("one"), line("two")];
    let batch = wire::LogBatch { attempt: Some(attempt.clone()), entries, ..wire::LogBatch::default() };
    worker.say(Say::LogBatch(batch)).await;
    while !matches!(worker.heard().await, Hear::LogAck(_)) {}
}

/// An attempt that may be made again.
async fn fail(worker: &mut Worker, attempt: wire::AttemptRef, reason: &str) {
    let failure = Some(mainspring_proto::common::v1::Failure { reason: reason.into(), ..Default::default() });
    let outcome = Some(Outcome::Failed(wire::AttemptFailed { failure }));
    worker.say(Say::Result(wire::AttemptResult { attempt: Some(attempt), outcome, ..Default::default() })).await;
    while !matches!(worker.heard().await, Hear::ResultAck(_)) {}
}
