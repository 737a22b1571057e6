//! Runs: make, read, list, cancel, wait.

use std::time::Duration;

use mainspring_engine::{
    domain::{
        attempt::AttemptKey,
        filter::{Field, Kind},
        ids::RunId,
        names::{JobName, Scope},
        run::RunState,
    },
    ports::store::{NewRun, Order, RunView, Submitted},
};
use mainspring_proto::scheduler::v1 as wire;

use super::jobs::{find, missing as job_missing, request_reused};
use crate::grpc::{
    Api, Call,
    convert::{self, MAX_NOTE, read, submission::Context},
    filter,
    status::{Reason, Refusal},
};

/// Most submissions of one batch.
pub(in crate::grpc) const MAX_BATCH: usize = 1_000;
const DEFAULT_WAIT: Duration = Duration::from_secs(30);
const MAX_WAIT: Duration = Duration::from_secs(60);

const STATES: &[(&str, i64)] = &[
    ("SCHEDULED", 1),
    ("QUEUED", 2),
    ("LEASED", 3),
    ("RUNNING", 4),
    ("RETRY_WAIT", 5),
    ("SUCCEEDED", 6),
    ("FAILED", 7),
    ("CANCELLED", 8),
    ("TIMED_OUT", 9),
];
const ORIGINS: &[(&str, i64)] = &[("SCHEDULE", 1), ("TRIGGER", 2), ("SUBMIT", 3), ("RETRY", 4)];

/// What a list of runs may be narrowed by.
const FIELDS: &[Field] = &[
    Field { name: "state", kind: Kind::Enum(STATES) },
    Field { name: "job", kind: Kind::Text },
    Field { name: "job_type", kind: Kind::Text },
    Field { name: "queue", kind: Kind::Text },
    Field { name: "origin", kind: Kind::Enum(ORIGINS) },
    Field { name: "reason", kind: Kind::Text },
    Field { name: "priority", kind: Kind::Number },
    Field { name: "schedule", kind: Kind::Text },
    Field { name: "worker_id", kind: Kind::Id },
    Field { name: "create_time", kind: Kind::Time },
    Field { name: "nominal_time", kind: Kind::Time },
    Field { name: "end_time", kind: Kind::Time },
];

pub(super) async fn trigger(
    api: &Api,
    call: &Call,
    request: wire::TriggerJobRequest,
) -> Result<wire::TriggerJobResponse, Refusal> {
    let (scope, job) = find(api, &request.namespace, &request.job).await?;
    let context = context(api, call, scope.clone());
    let new = read(|check| Some(check.trigger(request, &job, &context)))?;
    let run = make(api, &scope, new, Some(&job.name)).await?;
    Ok(wire::TriggerJobResponse { run: Some(run) })
}

pub(super) async fn submit(
    api: &Api,
    call: &Call,
    request: wire::SubmitRunRequest,
) -> Result<wire::SubmitRunResponse, Refusal> {
    let wire::SubmitRunRequest { namespace, run } = request;
    let (scope, new) = read(|check| {
        let scope = check.scope(&namespace);
        let Some(run) = run else {
            check.refuse("run", "is required");
            return None;
        };
        let context = context(api, call, scope.clone());
        let new = check.under("run", |check| check.submission(run, &context));
        Some((scope, new?))
    })?;
    let run = make(api, &scope, new, None).await?;
    Ok(wire::SubmitRunResponse { run: Some(run) })
}

pub(super) async fn batch(
    api: &Api,
    call: &Call,
    request: wire::BatchSubmitRunsRequest,
) -> Result<wire::BatchSubmitRunsResponse, Refusal> {
    let wire::BatchSubmitRunsRequest { namespace, runs } = request;
    let scope = read(|check| {
        if !(1..=MAX_BATCH).contains(&runs.len()) {
            check.refuse("runs", format!("must be 1 to {MAX_BATCH}"));
        }
        Some(check.scope(&namespace))
    })?;
    let context = context(api, call, scope);
    let mut good = Vec::with_capacity(runs.len());
    let mut answers: Vec<Option<Refusal>> = Vec::with_capacity(runs.len());
    for (at, run) in runs.into_iter().enumerate() {
        let place = format!("runs[{at}]");
        match read(|check| check.under(&place, |check| check.submission(run, &context))) {
            Ok(new) => {
                good.push(new);
                answers.push(None);
            }
            Err(refusal) => answers.push(Some(refusal)),
        }
    }
    let mut submitted = if good.is_empty() { Vec::new() } else { api.engine.submit(good).await? }.into_iter();
    let mut settled = || match submitted.next() {
        Some(Submitted::Stored(moved)) => Ok(moved.run),
        Some(Submitted::Replayed(run)) => Ok(run),
        Some(Submitted::RequestReused) => Err(request_reused()),
        Some(Submitted::NotIdle(_) | Submitted::JobGone) | None => {
            Err(Refusal::bug("a submission without a job was answered as if it had one"))
        }
    };
    let answers = answers.into_iter().map(|refused| refused.map_or_else(&mut settled, Err)).map(|answer| {
        let answer = match answer {
            Ok(run) => wire::submission_answer::Answer::RunId(run.to_string()),
            Err(refusal) => wire::submission_answer::Answer::Error(wire::SubmissionError {
                code: refusal.reason().code().into(),
                reason: refusal.reason().name().into(),
                message: refusal.message().into(),
                field: refusal.first_field().unwrap_or_default().into(),
            }),
        };
        wire::SubmissionAnswer { answer: Some(answer) }
    });
    Ok(wire::BatchSubmitRunsResponse { answers: answers.collect() })
}

pub(super) async fn get(api: &Api, request: wire::GetRunRequest) -> Result<wire::GetRunResponse, Refusal> {
    let wire::GetRunRequest { namespace, run_id, view } = request;
    let (scope, run, full) = read(|check| {
        let scope = check.scope(&namespace);
        let run = check.required("run_id", &run_id);
        let full = check.choice("view", view, |view: wire::RunView| Some(view != wire::RunView::Basic));
        Some((scope, run?, full?))
    })?;
    let mut view = look(api, &scope, run).await?;
    if !full {
        view.detail = None;
    }
    let waits = view.life.state == RunState::Queued;
    let mut shown = live(api, view);
    if waits {
        shown.wait_reason = convert::run::wait_reason(&api.store().wait_facts(&scope, run).await?, &shown);
    }
    Ok(wire::GetRunResponse { run: Some(shown) })
}

pub(super) async fn list(api: &Api, mut request: wire::ListRunsRequest) -> Result<wire::ListRunsResponse, Refusal> {
    let (size, token) = (std::mem::take(&mut request.page_size), std::mem::take(&mut request.page_token));
    let turn = api.pages.turn("ListRuns", &request, size, &token, api.now())?;
    let wire::ListRunsRequest { namespace, filter: text, page_size: _, page_token: _, order_by, view } = request;
    let (scope, order, full) = read(|check| {
        let scope = check.scope(&namespace);
        let order = match order_by.split_whitespace().collect::<Vec<_>>().as_slice() {
            [] | ["create_time", "desc"] => Order::NewestFirst,
            ["create_time"] | ["create_time", "asc"] => Order::OldestFirst,
            _ => {
                check.refuse("order_by", "must be `create_time desc` or `create_time asc`");
                Order::default()
            }
        };
        let full = check.choice("view", view, |view: wire::RunView| Some(view == wire::RunView::Full));
        Some((scope, order, full?))
    })?;
    let filter = filter(&text, FIELDS, turn.asked)?;
    let found = api.store().runs(&scope, &filter, order, turn.page(), full).await?;
    let (runs, next_page_token) = turn.cut(found.into_iter().map(|view| (view.run.to_string(), live(api, view))));
    Ok(wire::ListRunsResponse { runs, next_page_token })
}

pub(super) async fn attempts(
    api: &Api,
    request: wire::ListAttemptsRequest,
) -> Result<wire::ListAttemptsResponse, Refusal> {
    let wire::ListAttemptsRequest { namespace, run_id } = request;
    let (scope, run) = named(&namespace, &run_id)?;
    let attempts = api.store().attempts(&scope, run).await?.ok_or_else(|| missing(run, &scope))?;
    Ok(wire::ListAttemptsResponse {
        attempts: attempts.into_iter().map(|view| convert::run::attempt(run, view)).collect(),
    })
}

pub(super) async fn cancel(api: &Api, request: wire::CancelRunRequest) -> Result<wire::CancelRunResponse, Refusal> {
    let wire::CancelRunRequest { namespace, run_id, reason } = request;
    let (scope, run, reason) = read(|check| {
        let scope = check.scope(&namespace);
        let run = check.required("run_id", &run_id);
        let reason = check.text("reason", reason, MAX_NOTE);
        Some((scope, run?, reason))
    })?;
    if !api.engine.cancel(&scope, run, reason).await? {
        return Err(missing(run, &scope));
    }
    let view = look(api, &scope, run).await?;
    Ok(wire::CancelRunResponse { run: Some(live(api, view)) })
}

pub(super) async fn wait(api: &Api, request: wire::WaitRunRequest) -> Result<wire::WaitRunResponse, Refusal> {
    let wire::WaitRunRequest { namespace, run_id, timeout } = request;
    let (scope, run, timeout) = read(|check| {
        let scope = check.scope(&namespace);
        let run = check.required("run_id", &run_id);
        let timeout = check.length("timeout", timeout);
        Some((scope, run?, timeout.unwrap_or(DEFAULT_WAIT).min(MAX_WAIT)))
    })?;
    let view = api.unless_draining(api.engine.wait(&scope, run, timeout)).await??;
    let view = view.ok_or_else(|| missing(run, &scope))?;
    let done = view.life.state.is_terminal();
    Ok(wire::WaitRunResponse { run: Some(live(api, view)), done })
}

/// Stores a run, and shows it as it is stored.
pub(super) async fn make(api: &Api, scope: &Scope, new: NewRun, job: Option<&JobName>) -> Result<wire::Run, Refusal> {
    let id = match api.engine.submit(vec![new]).await?.pop() {
        Some(Submitted::Stored(moved)) => moved.run,
        Some(Submitted::Replayed(run)) => run,
        Some(Submitted::RequestReused) => return Err(request_reused()),
        Some(Submitted::NotIdle(run)) => return Err(not_idle(run)),
        Some(Submitted::JobGone) => {
            return Err(match job {
                Some(job) => job_missing(job, scope),
                None => Refusal::bug("a run without a job was answered as if it had one"),
            });
        }
        None => return Err(Refusal::bug("a submission was not answered")),
    };
    Ok(live(api, look(api, scope, id).await?))
}

fn not_idle(run: RunId) -> Refusal {
    let message =
        format!("run {run} of this job is not over and its overlap policy is SKIP; wait for it, or set `force`");
    Refusal::new(Reason::OverlapNotAllowed, message).with("run_id", run).because_of("OVERLAP", format!("run/{run}"))
}

/// What the runs that a call makes have in common.
pub(super) fn context(api: &Api, call: &Call, scope: Scope) -> Context {
    Context { scope, now: api.now(), max_payload: api.limits.max_inline_payload_bytes, headers: call.headers() }
}

/// A run, with everything.
pub(super) async fn look(api: &Api, scope: &Scope, run: RunId) -> Result<RunView, Refusal> {
    api.store().run(scope, run).await?.ok_or_else(|| missing(run, scope))
}

/// A run for people, with what only memory knows of it.
pub(super) fn live(api: &Api, view: RunView) -> wire::Run {
    let key = AttemptKey { run: view.run, attempt: view.life.attempt };
    let worker = view.life.worker.filter(|_| view.life.state == RunState::Running);
    let progress = worker.and_then(|worker| api.engine.progress(worker, key));
    wire::Run { progress: progress.map(convert::run::progress), ..convert::run::run(view) }
}

/// A namespace and a run.
pub(super) fn named(namespace: &str, run_id: &str) -> Result<(Scope, RunId), Refusal> {
    read(|check| {
        let scope = check.scope(namespace);
        Some((scope, check.required("run_id", run_id)?))
    })
}

pub(super) fn missing(run: RunId, scope: &Scope) -> Refusal {
    Refusal::missing(Reason::RunNotFound, "run", run, &scope.0)
}

#[cfg(test)]
mod tests {
    use mainspring_engine::domain::run::RunOrigin;

    use super::*;

    #[test]
    fn filters_know_every_state_and_origin() {
        let states: Vec<_> = RunState::ALL.iter().map(|state| (state.name(), i64::from(state.code()))).collect();
        assert_eq!(states, STATES);
        let origins: Vec<_> = RunOrigin::ALL.iter().map(|origin| i64::from(origin.code())).collect();
        assert_eq!(origins, ORIGINS.iter().map(|(_, code)| *code).collect::<Vec<_>>());
        for (origin, (name, _)) in RunOrigin::ALL.iter().zip(ORIGINS) {
            assert_eq!(format!("{origin:?}").to_ascii_uppercase(), *name);
        }
    }
}
