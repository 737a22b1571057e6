//! `CancelRuns` and `RetryRuns`: what can be done to one run, done to all that a filter finds.

use mainspring_engine::{
    domain::{
        filter::{Filter, Op, Value},
        ids::RunId,
        names::Scope,
        run::{RunOrigin, RunState},
    },
    ports::store::{NewRun, RequestKey},
};
use mainspring_proto::scheduler::v1 as wire;

use super::{
    bulk::{self, PIECE, Wanted, count, full, one_of},
    retry::{Copies, Passes},
    runs::{Made, context, made},
};
use crate::grpc::{
    Api, Call,
    convert::{
        MAX_NOTE,
        run::run_state,
        submission::{RETRY_MANY, request_key},
    },
    status::{Reason, Refusal},
};

/// Most runs of one call: its answer names each.
const MOST: usize = 10_000;

fn states(are: impl Fn(RunState) -> bool) -> Filter {
    one_of("state", RunState::ALL.into_iter().filter(|state| are(*state)).map(RunState::code))
}

pub(super) async fn cancel(api: &Api, request: wire::CancelRunsRequest) -> Result<wire::CancelRunsResponse, Refusal> {
    let wire::CancelRunsRequest { namespace, selection, note, expected_count, validate_only } = request;
    let (scope, (selection, note)) = api
        .read(&namespace, |check, _| {
            let selection = check.selection(selection);
            let note = check.text("note", note, MAX_NOTE);
            Some((selection?, note))
        })
        .await?;
    let only = states(|state| !state.is_terminal());
    let found = bulk::find(api, &scope, Wanted { selection, only, most: MOST, expected: expected_count }).await?;
    let mut answer = wire::CancelRunsResponse { count: count(found.len()), runs: Vec::new() };
    for piece in found.chunks(PIECE).filter(|_| !validate_only) {
        let changed = api.engine.cancel_many(&scope, piece, &note).await?;
        for (run, state) in piece.iter().zip(changed) {
            let stands = match state {
                Some(state) => Some(state),
                // It was over, or asked to stop, before.
                None => api.store().lifecycle(&scope, *run).await?.map(|life| life.state),
            };
            let told = stands.map(|state| wire::CancelledRun { run_id: run.to_string(), state: run_state(state) });
            answer.runs.extend(told);
        }
    }
    Ok(answer)
}

pub(super) async fn retry(
    api: &Api,
    call: &Call,
    mut request: wire::RetryRunsRequest,
) -> Result<wire::RetryRunsResponse, Refusal> {
    let key = request_key(RETRY_MANY, &mut request, |request| &mut request.request_id);
    let wire::RetryRunsRequest {
        namespace,
        selection,
        note,
        request_id: _,
        expected_count,
        validate_only,
        force,
        while_paused,
    } = request;
    let (scope, (selection, note)) = api
        .read(&namespace, |check, _| {
            check.request_id(key.as_ref());
            let selection = check.selection(selection);
            let note = check.text("note", note, MAX_NOTE);
            Some((selection?, note))
        })
        .await?;
    let over = states(RunState::is_terminal);
    let only = match &key {
        Some(key) => Filter::And(vec![over, Filter::Not(Box::new(made_under(key)))]),
        None => over,
    };
    let found = bulk::find(api, &scope, Wanted { selection, only, most: MOST, expected: expected_count }).await?;
    let mut answer = wire::RetryRunsResponse { count: count(found.len()), ..Default::default() };
    if validate_only {
        return Ok(answer);
    }
    refuse_another(api, &scope, key.as_ref(), &found).await?;
    let context = context(api, call, scope.clone());
    let mut copies = Copies::of(api, &scope, Passes { force, while_paused, waits: true });
    let mut left = found.as_slice();
    while !left.is_empty() {
        let (old, done) = full(api, &scope, &left[..left.len().min(PIECE)]).await?;
        left = &left[done..];
        let mut runs: Vec<NewRun> = Vec::with_capacity(old.len());
        let mut named = Vec::with_capacity(old.len());
        for old in old {
            let run = old.run;
            match copies.like(old, note.clone(), key.as_ref().map(|key| of(key, run)), &context).await {
                Ok(new) => {
                    named.push((run, new.job.as_ref().map(|job| job.name.clone())));
                    runs.push(new);
                }
                Err(refusal) if refusal.reason() == Reason::JobPaused => {
                    answer.refusals.push(bulk::refusal(run, refusal));
                }
                Err(refusal) => return Err(refusal),
            }
        }
        for ((run, job), submitted) in named.into_iter().zip(api.engine.submit(runs).await?) {
            match made(api, submitted, &scope, job.as_ref()).await {
                Ok(new) => {
                    let new = match new {
                        Made::Now(view) => view.run,
                        Made::Before(run) => run,
                    };
                    answer.runs.push(wire::RetriedRun { run_id: run.to_string(), new_run_id: new.to_string() });
                }
                Err(refusal) => answer.refusals.push(bulk::refusal(run, refusal)),
            }
        }
    }
    Ok(answer)
}

/// The protection of one run of a call: each is made again once.
fn of(key: &RequestKey, run: RunId) -> RequestKey {
    RequestKey { call: key.call, id: format!("{}/{run}", key.id), body: key.body }
}

/// Runs that calls of this request id have made.
fn made_under(key: &RequestKey) -> Filter {
    let own = Filter::Test { field: "request_id", op: Op::Prefix, value: Value::Text(format!("{}/", key.id)) };
    Filter::And(vec![one_of("origin", [RunOrigin::Retry.code()]), own])
}

/// Refuses a call under the request id of another one, before anything is done.
async fn refuse_another(api: &Api, scope: &Scope, key: Option<&RequestKey>, runs: &[RunId]) -> Result<(), Refusal> {
    let Some(key) = key else { return Ok(()) };
    for piece in runs.chunks(PIECE) {
        let keys = piece.iter().map(|run| of(key, *run)).collect();
        for made in api.made_many(scope.0.as_str(), keys).await? {
            made?;
        }
    }
    Ok(())
}
