//! Jobs: create, read, list, delete, pause, resume.

use mainspring_engine::{
    domain::{
        catch_up::Mode,
        filter::{Field, Kind},
        ids::JobUid,
        instant::Instant,
        job::{Job, JobSpec, JobState, Pause},
        names::{JobName, Scope},
    },
    flow::jobs::Ended,
    ports::store::{CreateJob, Direction, JobChange, JobOrder, NewJob, Resume},
};
use mainspring_proto::scheduler::v1 as wire;
use uuid::Uuid;

use super::{
    calendars,
    payloads::{Given, fits},
};
use crate::{
    grpc::{
        Api, Call,
        convert::{
            self, MAX_NOTE,
            job::Context,
            payload::Place,
            submission::{CREATE_JOB, request_key},
        },
        filter,
        replay::request_reused,
        status::{Reason, Refusal},
    },
    schemas::Budget,
};

const STATES: &[(&str, i64)] = &[("ACTIVE", 1), ("PAUSED", 2), ("ERROR", 3), ("COMPLETED", 4), ("AUTO_DISABLED", 5)];

/// What a list of jobs may be narrowed by.
const FIELDS: &[Field] = &[
    Field { name: "job", kind: Kind::Text },
    Field { name: "job_type", kind: Kind::Text },
    Field { name: "queue", kind: Kind::Text },
    Field { name: "state", kind: Kind::Enum(STATES) },
    Field { name: "owner", kind: Kind::Text },
    Field { name: "create_time", kind: Kind::Time },
    Field { name: "update_time", kind: Kind::Time },
];

pub(super) async fn create(api: &Api, mut request: wire::CreateJobRequest) -> Result<wire::CreateJobResponse, Refusal> {
    let now = api.now();
    let uid = JobUid::new(now);
    let key = request_key(CREATE_JOB, &mut request, |request| &mut request.request_id);
    let wire::CreateJobRequest { namespace, job, request_id: _, validate_only } = request;
    if !validate_only && let Some(made) = api.made(&namespace, key.as_ref()).await? {
        return again(api, &namespace, made).await;
    }
    let place = Place::of("job.payload", job.as_ref().and_then(|job| job.payload.as_ref()));
    let schedules = job.iter().flat_map(|job| &job.schedules);
    let calendars = calendars::named(api, &namespace, schedules).await?;
    let (scope, (name, spec)) = api
        .read(&namespace, |check, scope| {
            check.request_id(key.as_ref());
            let Some(job) = job else {
                check.refuse("job", "is required");
                return None;
            };
            let max_payload = api.limits.max_inline_payload_bytes;
            let (calendars, namespace) = (calendars.as_slice(), scope.0.as_str());
            let context = Context { now, uid, stored: &[], calendars, max_payload, namespace };
            check.under("job", |check| check.job(job, context))
        })
        .await?;
    definition_fits(api, &scope, &spec, place).await?;
    let new = NewJob { scope: scope.clone(), uid, name: name.clone(), spec, request: key };
    if validate_only {
        if api.store().job(&scope, &name).await?.is_some() {
            return Err(taken(&name, &scope));
        }
        let job = unsaved(new.scope, new.name, new.spec, now);
        return Ok(wire::CreateJobResponse {
            job: Some(wire::Job { uid: String::new(), ..convert::job::job(job, true) }),
        });
    }
    match api.engine.jobs().create(new).await? {
        CreateJob::Created(job) | CreateJob::Replayed(job) => {
            Ok(wire::CreateJobResponse { job: Some(convert::job::job(job, true)) })
        }
        CreateJob::RequestReused => Err(request_reused()),
        CreateJob::NameTaken => Err(taken(&name, &scope)),
        CreateJob::Full(quota) => Err(quota.into()),
    }
}

/// Refuses a job whose payload its type does not take.
pub(super) async fn definition_fits(api: &Api, scope: &Scope, spec: &JobSpec, place: Place) -> Result<(), Refusal> {
    let JobSpec { job_type, payload, .. } = spec;
    fits(api, Given { scope, job_type, payload, place, hint: "" }, &mut Budget::default()).await
}

/// The job that an earlier call with the same request id made, as it is now.
async fn again(api: &Api, namespace: &str, made: Uuid) -> Result<wire::CreateJobResponse, Refusal> {
    let (scope, ()) = api.read(namespace, |_, _| Some(())).await?;
    let uid = JobUid::from_uuid(made);
    match api.store().job_by_uid(&scope, uid).await? {
        Some(job) => Ok(wire::CreateJobResponse { job: Some(convert::job::job(job, true)) }),
        None => Err(Refusal::missing(Reason::JobNotFound, "job", uid, &scope.0)),
    }
}

pub(super) async fn get(api: &Api, request: wire::GetJobRequest) -> Result<wire::GetJobResponse, Refusal> {
    let wire::GetJobRequest { namespace, job, view } = request;
    let (scope, (name, full)) = api
        .read(&namespace, |check, _| {
            let name = check.required("job", &job);
            let full = check.choice("view", view, |view: wire::JobView| Some(view != wire::JobView::Basic));
            Some((name?, full?))
        })
        .await?;
    let job = stored(api, &scope, &name).await?;
    Ok(wire::GetJobResponse { job: Some(convert::job::job(job, full)) })
}

/// The orders of a list of jobs.
const ORDERS: [(&str, JobOrder); 4] = [
    ("job", JobOrder::Name(Direction::Up)),
    ("job desc", JobOrder::Name(Direction::Down)),
    ("create_time", JobOrder::Age(Direction::Up)),
    ("create_time desc", JobOrder::Age(Direction::Down)),
];

pub(super) async fn list(api: &Api, mut request: wire::ListJobsRequest) -> Result<wire::ListJobsResponse, Refusal> {
    let turn = api.pages.turn(&mut request, api.now())?;
    let wire::ListJobsRequest { namespace, filter: text, page_size: _, page_token: _, order_by, view } = request;
    let (scope, (order, full)) = api
        .read(&namespace, |check, _| {
            let order = check.order(&order_by, &ORDERS);
            let full = check.choice("view", view, |view: wire::JobView| Some(view == wire::JobView::Full));
            Some((order, full?))
        })
        .await?;
    let filter = filter(&text, FIELDS, turn.asked)?;
    let found = api.store().jobs(&scope, &filter, order, turn.page(), full).await?;
    let key = |job: &Job| match order {
        JobOrder::Name(_) => job.name.to_string(),
        JobOrder::Age(_) => job.uid.to_string(),
    };
    let entries = found.entries.into_iter().map(|job| (key(&job), convert::job::job(job, full)));
    let (jobs, next_page_token) = turn.cut_listed(entries, found.cut);
    Ok(wire::ListJobsResponse { jobs, next_page_token })
}

pub(super) async fn delete(
    api: &Api,
    call: &Call,
    request: wire::DeleteJobRequest,
) -> Result<wire::DeleteJobResponse, Refusal> {
    let wire::DeleteJobRequest { namespace, job, etag, running } = request;
    let (scope, (name, running)) = api
        .read(&namespace, |check, _| {
            let name = check.required("job", &job);
            let running = check.running_runs("running", running);
            Some((name?, running?))
        })
        .await?;
    let revision = if etag.is_empty() {
        None
    } else {
        let stored = stored(api, &scope, &name).await?;
        if stored.etag() != etag {
            return Err(changed(&name));
        }
        Some(stored.revision)
    };
    let actor = call.caller()?.subject();
    let (change, Ended { cancelled, stopped }) =
        api.engine.jobs().delete(&scope, &name, revision, running, &actor).await?;
    done(change, &name, &scope)?;
    Ok(wire::DeleteJobResponse { cancelled_runs: count(cancelled), stopped_runs: count(stopped) })
}

pub(super) async fn pause(
    api: &Api,
    call: &Call,
    request: wire::PauseJobRequest,
) -> Result<wire::PauseJobResponse, Refusal> {
    let wire::PauseJobRequest { namespace, job, note, until_time, runs } = request;
    let now = api.now();
    let (scope, (name, note, until, runs)) = api
        .read(&namespace, |check, _| {
            let name = check.required("job", &job);
            let note = check.text("note", note, MAX_NOTE);
            let until = check.instant("until_time", until_time);
            if until.is_some_and(|until| until <= now) {
                check.refuse("until_time", "has passed; leave it out for a pause that somebody ends");
            }
            let runs = check.paused_runs("runs", runs);
            Some((name?, note, until, runs?))
        })
        .await?;
    let pause = Pause { note, actor: call.caller()?.subject(), time: now, until };
    let (change, Ended { cancelled, stopped }) = api.engine.jobs().pause(&scope, &name, pause, runs).await?;
    let job = Some(convert::job::job(done(change, &name, &scope)?, true));
    Ok(wire::PauseJobResponse { job, cancelled_runs: count(cancelled), stopped_runs: count(stopped) })
}

pub(super) async fn resume(api: &Api, request: wire::ResumeJobRequest) -> Result<wire::ResumeJobResponse, Refusal> {
    let wire::ResumeJobRequest { namespace, job, catch_up } = request;
    let (scope, (name, mode)) = api
        .read(&namespace, |check, _| {
            let name = check.required("job", &job);
            let mode = check.catch_up_mode("catch_up", catch_up);
            Some((name?, mode.unwrap_or(Mode::None)))
        })
        .await?;
    let job = done(api.engine.jobs().resume(&scope, &name, Resume::Asked(mode)).await?, &name, &scope)?;
    Ok(wire::ResumeJobResponse { job: Some(convert::job::job(job, true)) })
}

fn count(runs: u64) -> i64 {
    i64::try_from(runs).unwrap_or(i64::MAX)
}

/// A namespace and a job's name.
async fn named(api: &Api, namespace: &str, job: &str) -> Result<(Scope, JobName), Refusal> {
    api.read(namespace, |check, _| check.required("job", job)).await
}

async fn stored(api: &Api, scope: &Scope, name: &JobName) -> Result<Job, Refusal> {
    api.store().job(scope, name).await?.ok_or_else(|| missing(name, scope))
}

/// A job by its name.
pub(super) async fn find(api: &Api, namespace: &str, job: &str) -> Result<(Scope, Job), Refusal> {
    let (scope, name) = named(api, namespace, job).await?;
    let job = stored(api, &scope, &name).await?;
    Ok((scope, job))
}

/// The job after a change that had to be possible.
fn done(change: JobChange, name: &JobName, scope: &Scope) -> Result<Job, Refusal> {
    match change {
        JobChange::Done(job) | JobChange::Unchanged(job) => Ok(job),
        JobChange::Missing => Err(missing(name, scope)),
        JobChange::RevisionMismatch => Err(changed(name)),
        JobChange::Full(quota) => Err(quota.into()),
        JobChange::DoneWith(..) | JobChange::Unsettled => {
            Err(Refusal::bug("the engine left a change of a job half done"))
        }
    }
}

/// A job as it would be, were it created now.
pub(super) fn unsaved(scope: Scope, name: JobName, spec: JobSpec, now: Instant) -> Job {
    Job {
        uid: JobUid::new(now),
        namespace: scope.0,
        name,
        version: 1,
        revision: 1,
        next_times: spec
            .schedules
            .iter()
            .map(|schedule| schedule.next_fire(schedule.begin(now, spec.catch_up)))
            .collect(),
        run_counts: vec![0; spec.schedules.len()],
        last_times: Vec::new(),
        error: None,
        spec,
        state: JobState::Active,
        pause: None,
        create_time: now,
        update_time: now,
        define_time: now,
    }
}

pub(super) fn missing(name: &JobName, scope: &Scope) -> Refusal {
    Refusal::missing(Reason::JobNotFound, "job", name, &scope.0)
}

pub(super) fn changed(name: &JobName) -> Refusal {
    Refusal::new(Reason::EtagMismatch, format!("job `{name}` has changed since it was read; read it again"))
        .about("job", name)
}

pub(super) fn taken(name: &JobName, scope: &Scope) -> Refusal {
    let message = format!("namespace `{}` has a job `{name}`; update it, or choose another name", scope.0);
    Refusal::new(Reason::JobAlreadyExists, message).about("job", name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_know_every_state() {
        let known: Vec<_> = JobState::ALL.iter().map(|state| (state.name(), i64::from(state.code()))).collect();
        assert_eq!(known, STATES);
    }
}
