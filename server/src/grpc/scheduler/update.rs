//! `UpdateJob`: the masked fields of a job, replaced; or the job, created where there is none.

use mainspring_engine::{
    domain::{
        calendar::NamedCalendar,
        compare::{Compared, compare},
        ids::JobUid,
        instant::Instant,
        job::{Job, JobSpec},
        names::{JobName, Scope},
        supersede::Pending,
    },
    ports::store::{CreateJob, JobChange, NewJob, UpdateJob},
};
use mainspring_proto::scheduler::v1 as wire;

use super::{
    calendars,
    jobs::{changed, definition_fits, missing, unsaved},
};
use crate::grpc::{
    Api, Call,
    convert::{
        self, Check, House,
        job::{Context, MUTABLE, overlay},
        payload::Place,
        read_in, time,
    },
    status::Refusal,
};

/// A change without an etag is made again where somebody else was faster.
const TRIES: usize = 20;
/// So many instants of each definition are compared.
const COMPARED: usize = 10;

/// A change, read.
struct Change {
    scope: Scope,
    name: JobName,
    new: wire::Job,
    mask: Vec<String>,
    /// As it is on the wire: it is read with the definition, so that everything wrong is told at once.
    pending: i32,
    actor: String,
}

pub(super) async fn update(
    api: &Api,
    call: &Call,
    request: wire::UpdateJobRequest,
) -> Result<wire::UpdateJobResponse, Refusal> {
    let wire::UpdateJobRequest { namespace, job, update_mask, allow_missing, validate_only, update_pending } = request;
    let mask = update_mask.unwrap_or_default().paths;
    let (scope, (name, new)) = api
        .read(&namespace, |check, _| {
            check.mask(&mask, MUTABLE);
            let Some(new) = job else {
                check.refuse("job", "is required");
                return None;
            };
            let name = check.under("job", |check| check.required("job", &new.job));
            Some((name?, new))
        })
        .await?;
    let actor = call.caller()?.subject();
    let change = Change { scope, name, new, mask, pending: update_pending, actor };
    let tries = if change.new.etag.is_empty() { TRIES } else { 1 };
    for _ in 0..tries {
        let job = match api.store().job(&change.scope, &change.name).await? {
            Some(stored) => replace(api, &change, stored, validate_only).await?,
            None if !allow_missing => return Err(missing(&change.name, &change.scope)),
            None => create(api, &change, validate_only).await?,
        };
        if let Some(answer) = job {
            return Ok(answer);
        }
    }
    Err(changed(&change.name))
}

/// The job afterwards; none where somebody else was faster, as the etag or the revision says. The etag comes last: a caller
/// who reads the job again should not hear only then that the change cannot be made.
async fn replace(
    api: &Api,
    change: &Change,
    stored: Job,
    validate_only: bool,
) -> Result<Option<wire::UpdateJobResponse>, Refusal> {
    let now = api.now();
    let mut merged = convert::job::job(stored.clone(), true);
    overlay(&mut merged, change.new.clone(), &change.mask);
    let merged = wire::Job { namespace: change.new.namespace.clone(), ..merged };
    let place = Place::of("job.payload", merged.payload.as_ref());
    let calendars = calendars::named(api, change.scope.0.as_str(), merged.schedules.iter()).await?;
    let (spec, pending) = definition(api, change, merged, &calendars, &stored, now, api.house(&change.scope).await?)?;
    // What was taken once is in nobody's way when something else is changed.
    if spec.payload != stored.spec.payload || spec.job_type != stored.spec.job_type {
        definition_fits(api, &change.scope, &spec, place).await?;
    }
    if !change.new.etag.is_empty() && change.new.etag != stored.etag() {
        return Ok(None);
    }
    if validate_only {
        return Ok(Some(would_be(stored, spec, now)));
    }
    let (scope, name, revision) = (change.scope.clone(), change.name.clone(), stored.revision);
    let update = UpdateJob { scope, name, revision, spec, pending, actor: change.actor.clone() };
    Ok(match api.engine.jobs().update(update).await? {
        JobChange::Done(job) | JobChange::Unchanged(job) => Some(stored_as(convert::job::job(job, true))),
        JobChange::Missing | JobChange::RevisionMismatch => None,
        JobChange::Full(quota) => return Err(quota.into()),
        JobChange::DoneWith(..) | JobChange::Unsettled => {
            return Err(Refusal::bug("the engine left a change of a job half done"));
        }
    })
}

/// The new job; none where somebody else was faster, or the change is to one that was there. All fields count, whatever
/// the mask names.
async fn create(api: &Api, change: &Change, validate_only: bool) -> Result<Option<wire::UpdateJobResponse>, Refusal> {
    let now = api.now();
    let uid = JobUid::new(now);
    let Change { scope, name, new, mask: _, pending, actor: _ } = change;
    let calendars = calendars::named(api, scope.0.as_str(), new.schedules.iter()).await?;
    let spec = read_in(api.house(scope).await?, |check| {
        let max_payload = api.limits.max_inline_payload_bytes;
        let (calendars, namespace) = (calendars.as_slice(), scope.0.as_str());
        let context = Context { now, uid, stored: &[], calendars, max_payload, namespace };
        // There is nothing yet that it could be about.
        starts(check, *pending);
        Some(check.under("job", |check| check.job(new.clone(), context))?.1)
    })?;
    definition_fits(api, scope, &spec, Place::of("job.payload", new.payload.as_ref())).await?;
    if !new.etag.is_empty() {
        return Ok(None);
    }
    if validate_only {
        let job = convert::job::job(unsaved(scope.clone(), name.clone(), spec, now), true);
        return Ok(Some(stored_as(wire::Job { uid: String::new(), ..job })));
    }
    let new = NewJob { scope: scope.clone(), uid, name: name.clone(), spec, request: None };
    match api.engine.jobs().create(new).await? {
        CreateJob::Created(job) | CreateJob::Replayed(job) => Ok(Some(stored_as(convert::job::job(job, true)))),
        CreateJob::NameTaken => Ok(None),
        CreateJob::Full(quota) => Err(quota.into()),
        CreateJob::RequestReused => Err(Refusal::bug("a job was made without a request id, and met one")),
    }
}

/// What a change would come to that is not saved.
pub(super) fn would_be(stored: Job, spec: JobSpec, now: Instant) -> wire::UpdateJobResponse {
    let run_counts: Vec<_> = spec.schedules.iter().map(|schedule| stored.made(&schedule.name)).collect();
    let standing = spec.schedules.iter().zip(&run_counts);
    let next_times = standing.map(|(schedule, made)| schedule.next_shown(schedule.begin(now, spec.catch_up), *made));
    let next_times = next_times.collect();
    let compared = compare(&stored.spec, &spec, |schedule| stored.made(schedule), now, COMPARED).into_iter();
    let compared = compared.map(|Compared { at, before, after }| wire::ComparedInstant {
        time: Some(time::timestamp(at)),
        before,
        after,
    });
    let compared = compared.collect();
    let job = convert::job::job(Job { spec, next_times, run_counts, ..stored }, true);
    wire::UpdateJobResponse { job: Some(job), compared }
}

fn stored_as(job: wire::Job) -> wire::UpdateJobResponse {
    wire::UpdateJobResponse { job: Some(job), compared: Vec::new() }
}

fn definition(
    api: &Api,
    change: &Change,
    merged: wire::Job,
    calendars: &[NamedCalendar],
    stored: &Job,
    now: Instant,
    house: House,
) -> Result<(JobSpec, Pending), Refusal> {
    let context = Context {
        now,
        uid: stored.uid,
        stored: &stored.spec.schedules,
        calendars,
        max_payload: api.limits.max_inline_payload_bytes,
        namespace: change.scope.0.as_str(),
    };
    read_in(house, |check| {
        let pending = starts(check, change.pending);
        let spec = check.under("job", |check| check.job(merged, context))?.1;
        Some((spec, pending?))
    })
}

/// What becomes of starts that are pending.
pub(super) fn starts(check: &mut Check, pending: i32) -> Option<Pending> {
    check.choice("update_pending", pending, |pending| {
        Some(match pending {
            wire::PendingStarts::Unspecified | wire::PendingStarts::Keep => Pending::Keep,
            wire::PendingStarts::Cancel => Pending::Cancel,
            wire::PendingStarts::Recompute => Pending::Recompute,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_becomes_of_starts_has_the_codes_of_the_contract() {
        for pending in Pending::ALL {
            let named = wire::PendingStarts::try_from(pending.code()).unwrap().as_str_name();
            let word = named.strip_prefix("PENDING_STARTS_").unwrap();
            assert_eq!(word, format!("{pending:?}").to_ascii_uppercase());
        }
    }
}
