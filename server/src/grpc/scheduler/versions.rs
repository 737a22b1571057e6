//! Definitions that jobs have had: listed, restored, and brought back with a job that was deleted.

use mainspring_engine::{
    domain::{
        calendar::Exclusion,
        job::{Job, JobSpec},
        names::Scope,
    },
    ports::store::{JobChange, JobVersion, Undelete, UpdateJob},
};
use mainspring_proto::scheduler::v1 as wire;

use super::{
    jobs::{changed, definition_fits, find, missing, taken},
    update::{starts, would_be},
};
use crate::grpc::{
    Api, Call, convert,
    convert::{payload::Place, read_in, time},
    status::{Reason, Refusal},
};

pub(super) async fn list(
    api: &Api,
    mut request: wire::ListJobVersionsRequest,
) -> Result<wire::ListJobVersionsResponse, Refusal> {
    let turn = api.pages.turn(&mut request, api.now())?;
    let wire::ListJobVersionsRequest { namespace, job, page_size: _, page_token: _ } = request;
    let before = turn.place(|key| key.parse::<i64>().ok())?;
    let (_, job) = find(api, &namespace, &job).await?;
    let found = api.store().job_versions(job.uid, before, turn.page().limit).await?;
    let entries = found.into_iter().map(|found| (found.version.to_string(), version(&job, found)));
    let (versions, next_page_token) = turn.cut(entries);
    Ok(wire::ListJobVersionsResponse { versions, next_page_token })
}

/// A definition, as a job that has nothing but that.
fn version(job: &Job, found: JobVersion) -> wire::JobVersion {
    let JobVersion { version, create_time, spec } = found;
    let bare = Job {
        version,
        revision: 0,
        spec,
        pause: None,
        next_times: Vec::new(),
        run_counts: Vec::new(),
        last_times: Vec::new(),
        error: None,
        ..job.clone()
    };
    let shown = wire::Job {
        etag: String::new(),
        state: 0,
        create_time: None,
        update_time: None,
        ..convert::job::job(bare, false)
    };
    wire::JobVersion { version, create_time: Some(time::timestamp(create_time)), job: Some(shown) }
}

pub(super) async fn restore(
    api: &Api,
    call: &Call,
    request: wire::RestoreJobVersionRequest,
) -> Result<wire::RestoreJobVersionResponse, Refusal> {
    let wire::RestoreJobVersionRequest { namespace, job, version, etag, validate_only, update_pending } = request;
    let (scope, (name, pending)) = api
        .read(&namespace, |check, _| {
            let name = check.required("job", &job);
            if version <= 0 {
                check.refuse("version", "is required: a number, as ListJobVersions tells them");
            }
            let pending = starts(check, update_pending);
            Some((name?, pending?))
        })
        .await?;
    let stored = api.store().job(&scope, &name).await?.ok_or_else(|| missing(&name, &scope))?;
    let Some(mut spec) = api.store().job_version(stored.uid, version).await? else {
        let message = format!("job `{name}` has no version {version}; it has 1 to {}", stored.version);
        return Err(Refusal::new(Reason::VersionNotFound, message).about("job", &name));
    };
    pin(api, &scope, &mut spec).await?;
    read_in(api.house(&scope).await?, |check| {
        check.restored(version, &spec.schedules, &stored.spec.schedules);
        Some(())
    })?;
    if spec.payload != stored.spec.payload || spec.job_type != stored.spec.job_type {
        definition_fits(api, &scope, &spec, Place::of("version", None)).await?;
    }
    if !etag.is_empty() && etag != stored.etag() {
        return Err(changed(&name));
    }
    if validate_only {
        let wire::UpdateJobResponse { job, compared } = would_be(stored, spec, api.now());
        return Ok(wire::RestoreJobVersionResponse { job, compared });
    }
    let update = UpdateJob {
        scope: scope.clone(),
        name: name.clone(),
        revision: stored.revision,
        spec,
        pending,
        actor: call.caller()?.subject(),
    };
    match api.engine.jobs().update(update).await? {
        JobChange::Done(job) | JobChange::Unchanged(job) => {
            let job = Some(convert::job::job(job, true));
            Ok(wire::RestoreJobVersionResponse { job, compared: Vec::new() })
        }
        JobChange::Missing => Err(missing(&name, &scope)),
        JobChange::RevisionMismatch => Err(changed(&name)),
        JobChange::Full(quota) => Err(quota.into()),
        JobChange::DoneWith(..) | JobChange::Unsettled => {
            Err(Refusal::bug("the engine left a change of a job half done"))
        }
    }
}

/// Counts with the calendars as they are now: a definition of old may name one that has changed, or is gone.
async fn pin(api: &Api, scope: &Scope, spec: &mut JobSpec) -> Result<(), Refusal> {
    let mut names: Vec<_> = spec.exclusions().map(|exclusion| exclusion.name.clone()).collect();
    if names.is_empty() {
        return Ok(());
    }
    names.sort_unstable();
    names.dedup();
    let found = api.store().calendars_named(scope, &names).await?;
    for exclusion in spec.exclusions_mut() {
        match found.iter().find(|calendar| calendar.name == exclusion.name) {
            Some(calendar) => *exclusion = Exclusion::from(calendar),
            None => return Err(crate::grpc::calendars::missing(&exclusion.name, scope)),
        }
    }
    Ok(())
}

pub(super) async fn undelete(
    api: &Api,
    request: wire::UndeleteJobRequest,
) -> Result<wire::UndeleteJobResponse, Refusal> {
    let wire::UndeleteJobRequest { namespace, job } = request;
    let (scope, name) = api.read(&namespace, |check, _| check.required("job", &job)).await?;
    match api.engine.jobs().undelete(&scope, &name).await? {
        Undelete::Done(job) => Ok(wire::UndeleteJobResponse { job: Some(convert::job::job(*job, true)) }),
        Undelete::Missing => Err(missing(&name, &scope)),
        Undelete::NameTaken => Err(taken(&name, &scope)),
        Undelete::Full(quota) => Err(quota.into()),
    }
}
