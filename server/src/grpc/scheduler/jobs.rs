//! Jobs: create, read, list, delete, pause, resume.

use mainspring_engine::{
    domain::{
        filter::{Field, Kind},
        ids::JobUid,
        instant::Instant,
        job::{Job, JobSpec, JobState, Pause},
        names::{JobName, Scope},
    },
    ports::store::{CreateJob, JobChange, NewJob},
};
use mainspring_proto::scheduler::v1 as wire;

use crate::grpc::{
    Api, Call,
    convert::{self, MAX_NOTE, job::Context, read, submission::CREATE_JOB},
    filter,
    status::{Reason, Refusal},
};

const STATES: &[(&str, i64)] = &[("ACTIVE", 1), ("PAUSED", 2), ("ERROR", 3), ("COMPLETED", 4)];

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
    let validate_only = request.validate_only;
    let new = read(|check| {
        let key = check.request_key(CREATE_JOB, &mut request, |request| &mut request.request_id);
        let wire::CreateJobRequest { namespace, job, request_id: _, validate_only: _ } = request;
        let scope = check.scope(&namespace);
        let Some(job) = job else {
            check.refuse("job", "is required");
            return None;
        };
        let max_payload = api.limits.max_inline_payload_bytes;
        let context = Context { now, uid, stored: &[], max_payload, namespace: scope.0.as_str() };
        let (name, spec) = check.under("job", |check| check.job(job, context))?;
        Some(NewJob { scope, uid, name, spec, request: key })
    })?;
    let (name, scope) = (new.name.clone(), new.scope.clone());
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
    }
}

pub(super) async fn get(api: &Api, request: wire::GetJobRequest) -> Result<wire::GetJobResponse, Refusal> {
    let wire::GetJobRequest { namespace, job } = request;
    let job = find(api, &namespace, &job).await?.1;
    Ok(wire::GetJobResponse { job: Some(convert::job::job(job, true)) })
}

pub(super) async fn list(api: &Api, mut request: wire::ListJobsRequest) -> Result<wire::ListJobsResponse, Refusal> {
    let (size, token) = (std::mem::take(&mut request.page_size), std::mem::take(&mut request.page_token));
    let turn = api.pages.turn("ListJobs", &request, size, &token, api.now())?;
    let wire::ListJobsRequest { namespace, filter: text, page_size: _, page_token: _ } = request;
    let scope = read(|check| Some(check.scope(&namespace)))?;
    let found = api.store().jobs(&scope, &filter(&text, FIELDS, turn.asked)?, turn.page()).await?;
    let entries = found.into_iter().map(|job| (job.name.to_string(), convert::job::job(job, false)));
    let (jobs, next_page_token) = turn.cut(entries);
    Ok(wire::ListJobsResponse { jobs, next_page_token })
}

pub(super) async fn delete(api: &Api, request: wire::DeleteJobRequest) -> Result<wire::DeleteJobResponse, Refusal> {
    let wire::DeleteJobRequest { namespace, job, etag } = request;
    let (scope, name) = named(&namespace, &job)?;
    let revision = if etag.is_empty() {
        None
    } else {
        let stored = api.store().job(&scope, &name).await?.ok_or_else(|| missing(&name, &scope))?;
        if stored.etag() != etag {
            return Err(changed(&name));
        }
        Some(stored.revision)
    };
    let (change, cancelled) = api.engine.jobs().delete(&scope, &name, revision).await?;
    done(change, &name, &scope)?;
    Ok(wire::DeleteJobResponse { cancelled_runs: i64::try_from(cancelled).unwrap_or(i64::MAX) })
}

pub(super) async fn pause(
    api: &Api,
    call: &Call,
    request: wire::PauseJobRequest,
) -> Result<wire::PauseJobResponse, Refusal> {
    let wire::PauseJobRequest { namespace, job, note } = request;
    let (scope, name, note) = read(|check| {
        let scope = check.scope(&namespace);
        let name = check.required("job", &job);
        let note = check.text("note", note, MAX_NOTE);
        Some((scope, name?, note))
    })?;
    let pause = Pause { note, actor: call.caller()?.subject(), time: api.now() };
    let job = done(api.engine.jobs().pause(&scope, &name, pause).await?, &name, &scope)?;
    Ok(wire::PauseJobResponse { job: Some(convert::job::job(job, true)) })
}

pub(super) async fn resume(api: &Api, request: wire::ResumeJobRequest) -> Result<wire::ResumeJobResponse, Refusal> {
    let wire::ResumeJobRequest { namespace, job } = request;
    let (scope, name) = named(&namespace, &job)?;
    let job = done(api.engine.jobs().resume(&scope, &name).await?, &name, &scope)?;
    Ok(wire::ResumeJobResponse { job: Some(convert::job::job(job, true)) })
}

/// A namespace and a job's name.
fn named(namespace: &str, job: &str) -> Result<(Scope, JobName), Refusal> {
    read(|check| {
        let scope = check.scope(namespace);
        Some((scope, check.required("job", job)?))
    })
}

/// A job by its name.
pub(super) async fn find(api: &Api, namespace: &str, job: &str) -> Result<(Scope, Job), Refusal> {
    let (scope, name) = named(namespace, job)?;
    match api.store().job(&scope, &name).await? {
        Some(job) => Ok((scope, job)),
        None => Err(missing(&name, &scope)),
    }
}

/// The job after a change that had to be possible.
fn done(change: JobChange, name: &JobName, scope: &Scope) -> Result<Job, Refusal> {
    match change {
        JobChange::Done(job) | JobChange::Unchanged(job) => Ok(job),
        JobChange::Missing => Err(missing(name, scope)),
        JobChange::RevisionMismatch => Err(changed(name)),
        JobChange::Unsettled => Err(Refusal::bug("the engine left a job unsettled")),
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
        next_times: spec.schedules.iter().map(|schedule| schedule.next_after(now)).collect(),
        spec,
        state: JobState::Active,
        pause: None,
        create_time: now,
        update_time: now,
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

pub(super) fn request_reused() -> Refusal {
    Refusal::new(
        Reason::RequestIdReused,
        "this request_id was used for another request in the last 24 h; use a new one for a new request",
    )
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
