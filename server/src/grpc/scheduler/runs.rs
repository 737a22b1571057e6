//! Runs: make, read, list, cancel, wait.

use std::time::Duration;

use mainspring_engine::{
    domain::{
        attempt::AttemptKey,
        filter::{Field, Kind},
        ids::RunId,
        job::Pause,
        names::{ConcurrencyKey, JobName, Lane, Scope, UniqueKey},
        run::RunState,
        unique::{Claim, Holder},
    },
    ports::store::{Direction, NewRun, RequestKey, RunView, Submitted},
};
use mainspring_proto::scheduler::v1 as wire;
use uuid::Uuid;

use super::{
    jobs::{find, missing as job_missing},
    payloads::{Given, fits},
};
use crate::{
    grpc::{
        Api, Call,
        convert::{
            self, House, MAX_NOTE,
            payload::Place,
            read_in,
            submission::{Context, SUBMIT, TRIGGER, request_key},
        },
        filter,
        replay::request_reused,
        status::{Reason, Refusal},
    },
    schemas::Budget,
};

/// Most submissions of one batch.
pub(in crate::grpc) const MAX_BATCH: usize = 1_000;
const DEFAULT_WAIT: Duration = Duration::from_secs(30);
const MAX_WAIT: Duration = Duration::from_secs(60);

pub(super) const STATES: &[(&str, i64)] = &[
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
const ORIGINS: &[(&str, i64)] =
    &[("SCHEDULE", 1), ("TRIGGER", 2), ("SUBMIT", 3), ("RETRY", 4), ("BACKFILL", 5), ("REDRIVE", 6)];
const RESOLUTIONS: &[(&str, i64)] = &[("OPEN", 1), ("RESOLVED", 2), ("REDRIVEN", 3), ("IGNORED", 4)];

/// What a list of runs may be narrowed by.
pub(super) const FIELDS: &[Field] = &[
    Field { name: "run_id", kind: Kind::Id },
    Field { name: "state", kind: Kind::Enum(STATES) },
    Field { name: "job", kind: Kind::Text },
    Field { name: "job_uid", kind: Kind::Id },
    Field { name: "job_type", kind: Kind::Text },
    Field { name: "queue", kind: Kind::Text },
    Field { name: "origin", kind: Kind::Enum(ORIGINS) },
    Field { name: "reason", kind: Kind::Text },
    Field { name: "priority", kind: Kind::Number },
    Field { name: "fairness_key", kind: Kind::Text },
    Field { name: "concurrency_key", kind: Kind::Text },
    Field { name: "unique_key", kind: Kind::Text },
    Field { name: "backfill_id", kind: Kind::Id },
    Field { name: "resolution", kind: Kind::Enum(RESOLUTIONS) },
    Field { name: "fingerprint", kind: Kind::Text },
    Field { name: "at_worker", kind: Kind::Id },
    Field { name: "create_time", kind: Kind::Time },
    Field { name: "nominal_time", kind: Kind::Time },
    Field { name: "end_time", kind: Kind::Time },
];

pub(super) async fn trigger(
    api: &Api,
    call: &Call,
    mut request: wire::TriggerJobRequest,
) -> Result<wire::TriggerJobResponse, Refusal> {
    let key = request_key(TRIGGER, &mut request, |request| &mut request.request_id);
    if let Some(made) = api.made(&request.namespace, key.as_ref()).await? {
        return Ok(wire::TriggerJobResponse { run: Some(again(api, &request.namespace, made).await?) });
    }
    let (scope, job) = find(api, &request.namespace, &request.job).await?;
    if let Some(pause) = job.pause.as_ref().filter(|_| !request.while_paused) {
        return Err(paused(&job.name, pause));
    }
    let context = context(api, call, scope.clone());
    let place = Place::of("payload", request.payload.as_ref());
    let own = format!("; it is the payload of job `{}`: update the job, or send one with the call", job.name);
    let hint = if request.payload.is_some() { "" } else { &own };
    let house = api.house(&scope).await?;
    let new = read_in(house, |check| Some(check.trigger(request, key, &job, &context)))?;
    run_fits(api, &new, place, hint, &mut Budget::default()).await?;
    let run = make(api, &scope, new, Some(&job.name)).await?;
    Ok(wire::TriggerJobResponse { run: Some(run) })
}

pub(super) async fn submit(
    api: &Api,
    call: &Call,
    request: wire::SubmitRunRequest,
) -> Result<wire::SubmitRunResponse, Refusal> {
    let wire::SubmitRunRequest { namespace, mut run } = request;
    let key = run.as_mut().and_then(|run| request_key(SUBMIT, run, |run| &mut run.request_id));
    if let Some(made) = api.made(&namespace, key.as_ref()).await? {
        return Ok(wire::SubmitRunResponse { run: Some(again(api, &namespace, made).await?) });
    }
    let place = Place::of("run.payload", run.as_ref().and_then(|run| run.payload.as_ref()));
    let (scope, new) = api
        .read(&namespace, |check, scope| {
            let Some(run) = run else {
                check.refuse("run", "is required");
                return None;
            };
            let context = context(api, call, scope.clone());
            check.under("run", |check| check.submission(run, key, &context))
        })
        .await?;
    run_fits(api, &new, place, "", &mut Budget::default()).await?;
    let run = make(api, &scope, new, None).await?;
    Ok(wire::SubmitRunResponse { run: Some(run) })
}

pub(super) async fn batch(
    api: &Api,
    call: &Call,
    request: wire::BatchSubmitRunsRequest,
) -> Result<wire::BatchSubmitRunsResponse, Refusal> {
    let wire::BatchSubmitRunsRequest { namespace, mut runs } = request;
    let (scope, ()) = api
        .read(&namespace, |check, _| {
            if !(1..=MAX_BATCH).contains(&runs.len()) {
                check.refuse("runs", format!("must be 1 to {MAX_BATCH} in one request"));
            }
            Some(())
        })
        .await?;
    let keys: Vec<_> = runs.iter_mut().map(|run| request_key(SUBMIT, run, |run| &mut run.request_id)).collect();
    let made = api.made_many(&namespace, keys.iter().flatten().cloned().collect()).await?;
    let mut made = made.into_iter();
    let context = context(api, call, scope.clone());
    let house = api.house(&scope).await?;
    let mut budget = Budget::default();
    let mut good = Vec::with_capacity(runs.len());
    // What is not answered yet is answered by the store, in order.
    let mut answers = Vec::with_capacity(runs.len());
    for (at, (run, key)) in runs.into_iter().zip(keys).enumerate() {
        let earlier = key.as_ref().and_then(|_| made.next()).unwrap_or(Ok(None));
        answers.push(match earlier {
            Ok(Some(made)) => Some(Ok((RunId::from_uuid(made), None))),
            Err(refusal) => Some(Err(refusal)),
            Ok(None) => match entry(api, at, run, key, &context, &house, &mut budget).await {
                Ok(new) => {
                    good.push(new);
                    None
                }
                Err(refusal) => Some(Err(refusal)),
            },
        });
    }
    let mut submitted = if good.is_empty() { Vec::new() } else { api.engine.submit(good).await? }.into_iter();
    let mut settled = || match submitted.next() {
        Some(Submitted::Stored(stored)) => Ok((stored.run.run, Some(stored.run.life.state))),
        Some(Submitted::Replayed(run) | Submitted::Existing(run)) => Ok((run, None)),
        Some(Submitted::KeyTaken(key, claim)) => Err(key_taken(&key, claim)),
        Some(Submitted::RequestReused) => Err(request_reused()),
        Some(Submitted::Full(quota)) => Err(quota.into()),
        Some(Submitted::NotIdle(..) | Submitted::BufferFull(_) | Submitted::JobGone) | None => {
            Err(Refusal::bug("a submission without a job was answered as if it had one"))
        }
    };
    let answers: Vec<_> = answers.into_iter().map(|answer| answer.unwrap_or_else(&mut settled)).collect();
    let mut shown = Vec::with_capacity(answers.len());
    for answer in answers {
        let answer = match answer {
            Ok((run, state)) => submitted_run(api, &scope, run, state).await,
            Err(refusal) => Err(refusal),
        };
        let answer = match answer {
            Ok(run) => wire::submission_answer::Answer::Run(run),
            Err(refusal) => wire::submission_answer::Answer::Error(refusal.into_submission_error()),
        };
        shown.push(wire::SubmissionAnswer { answer: Some(answer) });
    }
    Ok(wire::BatchSubmitRunsResponse { answers: shown })
}

/// An entry of a batch, read.
async fn entry(
    api: &Api,
    at: usize,
    run: wire::RunSubmission,
    key: Option<RequestKey>,
    context: &Context,
    house: &House,
    budget: &mut Budget,
) -> Result<NewRun, Refusal> {
    let entry = format!("runs[{at}]");
    let place = Place::of(format!("{entry}.payload"), run.payload.as_ref());
    let new = read_in(house.clone(), |check| check.under(&entry, |check| check.submission(run, key, context)))?;
    run_fits(api, &new, place, "", budget).await?;
    Ok(new)
}

/// Refuses a run whose payload its type does not take.
pub(super) async fn run_fits(
    api: &Api,
    new: &NewRun,
    place: Place,
    hint: &str,
    budget: &mut Budget,
) -> Result<(), Refusal> {
    let Lane { namespace, queue: _, job_type, selector: _ } = &new.lane;
    let scope = Scope(namespace.clone());
    fits(api, Given { scope: &scope, job_type, payload: &new.payload, place, hint }, budget).await
}

/// A run of a batch. One that an earlier call made stands where it stands by now.
async fn submitted_run(
    api: &Api,
    scope: &Scope,
    run: RunId,
    state: Option<RunState>,
) -> Result<wire::SubmittedRun, Refusal> {
    let stands = match state {
        Some(state) => state,
        None => api.store().lifecycle(scope, run).await?.ok_or_else(|| missing(run, scope))?.state,
    };
    let state_code = convert::run::run_state(stands);
    Ok(wire::SubmittedRun { run_id: run.to_string(), state: state_code, replayed: state.is_none() })
}

/// The run that an earlier call with the same request id made, as it is now.
pub(super) async fn again(api: &Api, namespace: &str, made: Uuid) -> Result<wire::Run, Refusal> {
    let (scope, ()) = api.read(namespace, |_, _| Some(())).await?;
    Ok(live(api, look(api, &scope, RunId::from_uuid(made)).await?))
}

pub(super) async fn get(api: &Api, request: wire::GetRunRequest) -> Result<wire::GetRunResponse, Refusal> {
    let wire::GetRunRequest { namespace, run_id, view } = request;
    let (scope, (run, full)) = api
        .read(&namespace, |check, _| {
            let run = check.required("run_id", &run_id);
            let full = check.choice("view", view, |view: wire::RunView| Some(view != wire::RunView::Basic));
            Some((run?, full?))
        })
        .await?;
    let mut view = look(api, &scope, run).await?;
    if !full {
        view.detail = None;
    }
    Ok(wire::GetRunResponse { run: Some(waiting(api, &scope, view).await?) })
}

/// A run for people, with why it waits, where it does.
pub(super) async fn waiting(api: &Api, scope: &Scope, view: RunView) -> Result<wire::Run, Refusal> {
    let run = view.run;
    let waits = (view.life.state == RunState::Queued).then(|| Lane {
        namespace: view.namespace.clone(),
        queue: view.queue.clone(),
        job_type: view.job_type.clone(),
        selector: view.selector.clone(),
    });
    let mut shown = live(api, view);
    if let Some(lane) = waits {
        let mut facts = api.store().wait_facts(scope, run).await?;
        // It was so when something last went.
        facts.key_paced.take_if(|paced| paced.next <= api.now());
        let (reason, sentence) =
            convert::run::wait_reason(&facts, api.engine.room(&lane), api.engine.paced(&lane), &shown);
        (shown.wait_reason, shown.wait_sentence) = (reason.into(), sentence);
    }
    Ok(shown)
}

pub(super) async fn list(api: &Api, mut request: wire::ListRunsRequest) -> Result<wire::ListRunsResponse, Refusal> {
    let turn = api.pages.turn(&mut request, api.now())?;
    let wire::ListRunsRequest { namespace, filter: text, page_size: _, page_token: _, order_by, view } = request;
    let (scope, (direction, full)) = api
        .read(&namespace, |check, _| {
            let orders = [("create_time desc", Direction::Down), ("create_time", Direction::Up)];
            let direction = check.order(&order_by, &orders);
            let full = check.choice("view", view, |view: wire::RunView| Some(view == wire::RunView::Full));
            Some((direction, full?))
        })
        .await?;
    let filter = filter(&text, FIELDS, turn.asked)?;
    let found = api.store().runs(&scope, &filter, direction, turn.page(), full).await?;
    let entries = found.entries.into_iter().map(|view| (view.run.to_string(), live(api, view)));
    let (runs, next_page_token) = turn.cut_listed(entries, found.cut);
    Ok(wire::ListRunsResponse { runs, next_page_token })
}

pub(super) async fn attempts(
    api: &Api,
    mut request: wire::ListAttemptsRequest,
) -> Result<wire::ListAttemptsResponse, Refusal> {
    let turn = api.pages.turn(&mut request, api.now())?;
    let wire::ListAttemptsRequest { namespace, run_id, page_size: _, page_token: _ } = request;
    let (scope, run) = api.read(&namespace, |check, _| check.required("run_id", &run_id)).await?;
    let found = api.store().attempts(&scope, run, turn.page()).await?.ok_or_else(|| missing(run, &scope))?;
    let entries = found.entries.into_iter().map(|view| (view.attempt.to_string(), convert::run::attempt(run, view)));
    let (attempts, next_page_token) = turn.cut_listed(entries, found.cut);
    Ok(wire::ListAttemptsResponse { attempts, next_page_token })
}

pub(super) async fn cancel(api: &Api, request: wire::CancelRunRequest) -> Result<wire::CancelRunResponse, Refusal> {
    let wire::CancelRunRequest { namespace, run_id, note } = request;
    let (scope, (run, note)) = api
        .read(&namespace, |check, _| {
            let run = check.required("run_id", &run_id);
            let note = check.text("note", note, MAX_NOTE);
            Some((run?, note))
        })
        .await?;
    if !api.engine.cancel(&scope, run, note).await? {
        return Err(missing(run, &scope));
    }
    let view = look(api, &scope, run).await?;
    Ok(wire::CancelRunResponse { run: Some(live(api, view)) })
}

pub(super) async fn wait(api: &Api, request: wire::WaitRunRequest) -> Result<wire::WaitRunResponse, Refusal> {
    let wire::WaitRunRequest { namespace, run_id, timeout } = request;
    let (scope, (run, timeout)) = api
        .read(&namespace, |check, _| {
            let run = check.required("run_id", &run_id);
            let timeout = check.length("timeout", timeout);
            Some((run?, timeout.unwrap_or(DEFAULT_WAIT).min(MAX_WAIT)))
        })
        .await?;
    let view = api.unless_draining(api.engine.wait(&scope, run, timeout)).await??;
    let view = view.ok_or_else(|| missing(run, &scope))?;
    let done = view.life.state.is_terminal();
    Ok(wire::WaitRunResponse { run: Some(live(api, view)), done })
}

/// Stores a run, and shows it as it was stored; the one that an earlier call made is shown as it stands.
pub(super) async fn make(api: &Api, scope: &Scope, new: NewRun, job: Option<&JobName>) -> Result<wire::Run, Refusal> {
    let Some(answer) = api.engine.submit(vec![new]).await?.pop() else {
        return Err(Refusal::bug("a submission was not answered"));
    };
    match made(api, answer, scope, job).await? {
        Made::Now(run) => Ok(live(api, *run)),
        Made::Before(run) => Ok(live(api, look(api, scope, run).await?)),
    }
}

/// The run of a submission.
pub(super) enum Made {
    /// It was stored.
    Now(Box<RunView>),
    /// It was there.
    Before(RunId),
}

/// What became of a submission of a run of a job.
pub(super) async fn made(api: &Api, answer: Submitted, scope: &Scope, job: Option<&JobName>) -> Result<Made, Refusal> {
    Err(match answer {
        Submitted::Stored(stored) => return Ok(Made::Now(Box::new(stored.run))),
        Submitted::Replayed(run) | Submitted::Existing(run) => return Ok(Made::Before(run)),
        Submitted::KeyTaken(key, claim) => key_taken(&key, claim),
        Submitted::RequestReused => request_reused(),
        Submitted::NotIdle(run, key) => not_idle(api, scope, run, key).await?,
        Submitted::BufferFull(key) => buffer_full(key),
        Submitted::Full(quota) => quota.into(),
        Submitted::JobGone => match job {
            Some(job) => job_missing(job, scope),
            None => Refusal::bug("a run without a job was answered as if it had one"),
        },
    })
}

async fn not_idle(api: &Api, scope: &Scope, run: RunId, key: Option<ConcurrencyKey>) -> Result<Refusal, Refusal> {
    let Some(key) = key else { return Ok(busy(run, "of this job is not over, and its")) };
    // Any job, or none, may have the key.
    let job = api.store().run(scope, run).await?.and_then(|view| view.job);
    let of = job.as_ref().map(|job| format!("of job `{}` ", job.name)).unwrap_or_default();
    let refusal = busy(run, &format!("{of}has the concurrency key `{key}` and is not over, and this job's"));
    let refusal = refusal.with("concurrency_key", key);
    Ok(match job {
        Some(job) => refusal.with("job", job.name),
        None => refusal,
    })
}

fn busy(run: RunId, why: &str) -> Refusal {
    let message = format!("run {run} {why} overlap policy lets no other begin; wait for it, or set `force`");
    Refusal::new(Reason::OverlapNotAllowed, message).with("run_id", run).because_of("OVERLAP", format!("run/{run}"))
}

fn key_taken(key: &UniqueKey, claim: Claim) -> Refusal {
    let Claim { run, until, holder } = claim;
    let why = match holder {
        Holder::Waits | Holder::AtWorker => "is not over".to_owned(),
        Holder::Over => format!("is over, and holds it until {until}"),
        Holder::Gone => format!("was deleted, and holds it until {until}"),
    };
    let instead = match holder {
        Holder::Waits => "; a submission may ask for that run, or take its place (`on_conflict`)",
        Holder::AtWorker | Holder::Over => "; a submission may ask for that run (`on_conflict`)",
        Holder::Gone => "",
    };
    let message = format!("unique key `{key}` is held by run {run}, which {why}; wait, or use another key{instead}");
    Refusal::new(Reason::UniqueKeyTaken, message).with("run_id", run).with("unique_key", key).about("run", run)
}

pub(super) fn paused(job: &JobName, pause: &Pause) -> Refusal {
    let Pause { note, actor, time: _, until: _ } = pause;
    let why = if note.is_empty() { String::new() } else { format!(" ({note})") };
    let message = format!("job `{job}` was paused by {actor}{why}; resume it, or set `while_paused`");
    Refusal::new(Reason::JobPaused, message).because_of("JOB_STATE", format!("job/{job}"))
}

fn buffer_full(key: Option<ConcurrencyKey>) -> Refusal {
    let whose = key.as_ref().map_or("of this job".into(), |key| format!("with the concurrency key `{key}`"));
    let message =
        format!("as many runs {whose} wait already as may wait (`overlap_max`); try again later, or set `force`");
    let refusal = Refusal::new(Reason::OverlapNotAllowed, message);
    match key {
        Some(key) => refusal.with("concurrency_key", key),
        None => refusal,
    }
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

pub(super) fn missing(run: RunId, scope: &Scope) -> Refusal {
    Refusal::missing(Reason::RunNotFound, "run", run, &scope.0)
}

#[cfg(test)]
mod tests {
    use mainspring_engine::domain::{dead::Resolution, run::RunOrigin};

    use super::*;

    #[test]
    fn filters_know_every_state_and_origin() {
        let states: Vec<_> = RunState::ALL.iter().map(|state| (state.name(), i64::from(state.code()))).collect();
        assert_eq!(states, STATES);
        let origins: Vec<_> = RunOrigin::ALL.iter().map(|origin| i64::from(origin.code())).collect();
        assert_eq!(origins, ORIGINS.iter().map(|(_, code)| *code).collect::<Vec<_>>());
        let resolutions = Resolution::ALL.iter().map(|resolution| (resolution.name(), i64::from(resolution.code())));
        assert_eq!(resolutions.collect::<Vec<_>>(), RESOLUTIONS);
        for (origin, (name, _)) in RunOrigin::ALL.iter().zip(ORIGINS) {
            assert_eq!(format!("{origin:?}").to_ascii_uppercase(), *name);
        }
    }
}
