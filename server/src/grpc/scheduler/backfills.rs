//! Backfills: begun, shown, listed and cancelled.

use std::collections::HashMap;

use mainspring_engine::{
    domain::{
        backfill::{Backfill, BackfillSpec, BackfillState, Named, RunCounts, template::About},
        ids::BackfillId,
        instant::Instant,
        job::Job,
        names::{JobName, Scope},
        payload::Payload,
    },
    ports::store::{CancelBackfill, CreateBackfill, NewBackfill},
};
use mainspring_proto::scheduler::v1 as wire;

use super::{
    jobs::{find, missing as no_job},
    payloads::{Given, fits},
    runs::paused,
};
use crate::{
    grpc::{
        Api, Call,
        convert::{
            self, MAX_NOTE,
            backfill::{Context, backfill as shown},
            payload::Place,
            read,
            submission::{BACKFILL, request_key},
            time,
        },
        replay::request_reused,
        status::{Reason, Refusal},
    },
    schemas::Budget,
};

/// So many instants are told of those to come.
const TOLD: usize = 10;

pub(super) async fn create(
    api: &Api,
    call: &Call,
    mut request: wire::BackfillJobRequest,
) -> Result<wire::BackfillJobResponse, Refusal> {
    let now = api.now();
    let key = request_key(BACKFILL, &mut request, |request| &mut request.request_id);
    let only_asked = request.validate_only;
    if !only_asked && let Some(made) = api.made(&request.namespace, key.as_ref()).await? {
        let (scope, ()) = api.read(&request.namespace, |_, _| Some(())).await?;
        return Ok(begun(stored(api, &scope, BackfillId::from_uuid(made)).await?));
    }
    let (scope, job) = find(api, &request.namespace, &request.job).await?;
    if let Some(pause) = job.pause.as_ref().filter(|_| !request.while_paused) {
        return Err(paused(&job.name, pause));
    }
    let actor = call.caller()?.subject();
    let place = Place::of("payload_template", request.payload_template.as_ref());
    let max_payload = api.limits.max_inline_payload_bytes;
    let spec = read(|check| {
        check.request_id(key.as_ref());
        check.backfill(request, Context { job: &job, now, max_payload, actor: &actor })
    })?;
    let id = BackfillId::new(now);
    ends_fit(api, &scope, &job, id, &spec, place).await?;
    if only_asked {
        return dry(api, &job, spec, now).await;
    }
    let new = NewBackfill { scope: scope.clone(), id, job: job.uid, version: job.version, spec, request: key };
    match api.engine.backfill(new).await? {
        CreateBackfill::Created(backfill) | CreateBackfill::Replayed(backfill) => Ok(begun(*backfill)),
        CreateBackfill::RequestReused => Err(request_reused()),
        CreateBackfill::JobGone => Err(no_job(&job.name, &scope)),
        CreateBackfill::Full => {
            let message =
                "as many backfills are under way in the namespace as may be; wait until one is over, or cancel one";
            Err(Refusal::new(Reason::BackfillsFull, message))
        }
    }
}

fn begun(backfill: Backfill) -> wire::BackfillJobResponse {
    wire::BackfillJobResponse { backfill: Some(shown(backfill)), next_times: Vec::new() }
}

/// Refuses a template whose first or last payload is too large, or none that the job's type takes.
async fn ends_fit(
    api: &Api,
    scope: &Scope,
    job: &Job,
    id: BackfillId,
    spec: &BackfillSpec,
    place: Place,
) -> Result<(), Refusal> {
    let Some(template) = &spec.template else { return Ok(()) };
    let limit = api.limits.max_inline_payload_bytes;
    for nominal in [spec.plan.first, spec.plan.last] {
        let named = job.spec.schedules.iter().find(|rule| spec.schedules.contains(&rule.name) && rule.names(nominal));
        let Some(rule) = named else { continue };
        let payload: Payload = template.fill(About { nominal, zone: &rule.zone, backfill: id });
        if payload.data.len() > limit {
            let why = format!("is {} bytes once it is filled in; the limit is {limit}", payload.data.len());
            return read(|check| {
                check.refuse_as(Reason::PayloadTooLarge, "payload_template", why);
                None
            });
        }
        let given = Given { scope, job_type: &job.spec.job_type, payload: &payload, place: place.clone(), hint: "" };
        fits(api, given, &mut Budget::default()).await?;
    }
    Ok(())
}

/// What would be done as things stand.
async fn dry(api: &Api, job: &Job, spec: BackfillSpec, now: Instant) -> Result<wire::BackfillJobResponse, Refusal> {
    let most = usize::try_from(spec.plan.count).unwrap_or(usize::MAX);
    let (instants, _) = spec.instants(&job.spec.schedules, spec.begin(), most);
    let at: Vec<Instant> = instants.iter().map(|named| named.at).collect();
    let had: HashMap<_, _> = api.store().had_runs(job.uid, &at).await?;
    let makes = |named: &&Named| spec.only.makes(had.get(&named.at).copied().unwrap_or_default());
    let next: Vec<Instant> = instants.iter().filter(makes).map(|named| named.at).collect();
    let skipped = instants.len().saturating_sub(next.len()) as u64;
    let backfill = Backfill {
        id: BackfillId::new(now),
        namespace: job.namespace.clone(),
        job: job.uid,
        job_name: job.name.clone(),
        version: job.version,
        state: BackfillState::Running,
        cursor: spec.begin(),
        is_through: false,
        made: 0,
        skipped,
        runs: RunCounts::default(),
        cancel_note: String::new(),
        create_time: now,
        end_time: None,
        spec,
    };
    let backfill = wire::Backfill { backfill_id: String::new(), state: 0, create_time: None, ..shown(backfill) };
    let next_times = next.into_iter().take(TOLD).map(time::timestamp).collect();
    Ok(wire::BackfillJobResponse { backfill: Some(backfill), next_times })
}

pub(super) async fn get(api: &Api, request: wire::GetBackfillRequest) -> Result<wire::GetBackfillResponse, Refusal> {
    let wire::GetBackfillRequest { namespace, backfill_id } = request;
    let (scope, id) = api.read(&namespace, |check, _| check.required("backfill_id", &backfill_id)).await?;
    Ok(wire::GetBackfillResponse { backfill: Some(shown(stored(api, &scope, id).await?)) })
}

pub(super) async fn list(
    api: &Api,
    mut request: wire::ListBackfillsRequest,
) -> Result<wire::ListBackfillsResponse, Refusal> {
    let turn = api.pages.turn(&mut request, api.now())?;
    let wire::ListBackfillsRequest { namespace, job, page_size: _, page_token: _ } = request;
    let before = turn.place(|key| key.parse::<BackfillId>().ok())?;
    let (scope, name) = api.read(&namespace, |check, _| Some(check.optional::<JobName>("job", &job))).await?;
    let job = match name {
        None => None,
        Some(name) => Some(api.store().job(&scope, &name).await?.ok_or_else(|| no_job(&name, &scope))?.uid),
    };
    let found = api.store().backfills(&scope, job, before, turn.page().limit).await?;
    let entries = found.into_iter().map(|backfill| (backfill.id.to_string(), shown(backfill)));
    let (backfills, next_page_token) = turn.cut(entries);
    Ok(wire::ListBackfillsResponse { backfills, next_page_token })
}

pub(super) async fn cancel(
    api: &Api,
    request: wire::CancelBackfillRequest,
) -> Result<wire::CancelBackfillResponse, Refusal> {
    let wire::CancelBackfillRequest { namespace, backfill_id, note, cancel_running } = request;
    let (scope, (id, note)) = api
        .read(&namespace, |check, _| {
            let id = check.required("backfill_id", &backfill_id);
            let note = check.text("note", note, MAX_NOTE);
            Some((id?, note))
        })
        .await?;
    let cancel = CancelBackfill { note, workers: cancel_running };
    let cancelled = api.engine.cancel_backfill(&scope, id, cancel).await?.ok_or_else(|| missing(id, &scope))?;
    Ok(wire::CancelBackfillResponse { backfill: Some(convert::backfill::backfill(cancelled)) })
}

async fn stored(api: &Api, scope: &Scope, id: BackfillId) -> Result<Backfill, Refusal> {
    api.store().backfill(scope, id).await?.ok_or_else(|| missing(id, scope))
}

fn missing(id: BackfillId, scope: &Scope) -> Refusal {
    Refusal::missing(Reason::BackfillNotFound, "backfill", id, &scope.0)
}
