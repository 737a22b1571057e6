//! `RetryRun` and `ReplayRun`: a new run like one that is over. And what every call shares that makes runs of others.

use std::collections::HashMap;

use mainspring_engine::{
    domain::{ids::JobUid, names::Scope},
    ports::store::{JobRef, NewRun, RequestKey, RunView},
};
use mainspring_proto::scheduler::v1 as wire;

use super::runs::{again as made_before, context, look, make, run_fits};
use crate::{
    grpc::{
        Api, Call,
        convert::{
            MAX_NOTE,
            payload::Place,
            submission::{Context, REPLAY, RETRY, again, request_key},
        },
        status::{Reason, Refusal},
    },
    schemas::Budget,
};

pub(super) async fn retry(
    api: &Api,
    call: &Call,
    mut request: wire::RetryRunRequest,
) -> Result<wire::RetryRunResponse, Refusal> {
    let key = request_key(RETRY, &mut request, |request| &mut request.request_id);
    let wire::RetryRunRequest { namespace, run_id, note, request_id: _ } = request;
    if let Some(made) = api.made(&namespace, key.as_ref()).await? {
        return Ok(wire::RetryRunResponse { run: Some(made_before(api, &namespace, made).await?) });
    }
    let (scope, (run, note)) = api
        .read(&namespace, |check, _| {
            check.request_id(key.as_ref());
            let run = check.required("run_id", &run_id);
            let note = check.text("note", note, MAX_NOTE);
            Some((run?, note))
        })
        .await?;
    let old = over(look(api, &scope, run).await?)?;
    let context = context(api, call, scope.clone());
    let new = Copies::of(api, &scope).like(old, note, key, &context).await?;
    let name = new.job.as_ref().map(|job| job.name.clone());
    let run = make(api, &scope, new, name.as_ref()).await?;
    Ok(wire::RetryRunResponse { run: Some(run) })
}

pub(super) async fn replay(
    api: &Api,
    call: &Call,
    mut request: wire::ReplayRunRequest,
) -> Result<wire::ReplayRunResponse, Refusal> {
    let key = request_key(REPLAY, &mut request, |request| &mut request.request_id);
    let wire::ReplayRunRequest { namespace, run_id, payload, note, request_id: _ } = request;
    if let Some(made) = api.made(&namespace, key.as_ref()).await? {
        return Ok(wire::ReplayRunResponse { run: Some(made_before(api, &namespace, made).await?) });
    }
    let place = Place::of("payload", payload.as_ref());
    let (scope, (run, payload, note)) = api
        .read(&namespace, |check, _| {
            check.request_id(key.as_ref());
            let run = check.required("run_id", &run_id);
            let payload = match payload {
                None => None,
                given => check.payload("payload", given, api.limits.max_inline_payload_bytes),
            };
            let note = check.text("note", note, MAX_NOTE);
            Some((run?, payload, note))
        })
        .await?;
    let old = over(look(api, &scope, run).await?)?;
    let context = context(api, call, scope.clone());
    let new = Copies::of(api, &scope).like(old, note, key, &context).await?;
    let new = match payload {
        Some(payload) => {
            let new = NewRun { payload, ..new };
            run_fits(api, &new, place, "", &mut Budget::default()).await?;
            new
        }
        None => new,
    };
    let name = new.job.as_ref().map(|job| job.name.clone());
    let run = make(api, &scope, new, name.as_ref()).await?;
    Ok(wire::ReplayRunResponse { run: Some(run) })
}

/// Refuses a run that is not over.
pub(super) fn over(run: RunView) -> Result<RunView, Refusal> {
    if run.life.state.is_terminal() {
        return Ok(run);
    }
    let (id, state) = (run.run, run.life.state.name());
    let message = format!("run {id} is {state}; only a run that is over can be made again");
    Err(Refusal::new(Reason::RunNotRetryable, message)
        .with("state", state)
        .because_of("RUN_STATE", format!("run/{id}")))
}

/// Makes runs like others, each of which belongs to the job of its own as long as there is one; another of that name has
/// nothing to do with it.
pub(super) struct Copies<'a> {
    api: &'a Api,
    scope: &'a Scope,
    /// Jobs that are there, and whether manual runs hold no slot of theirs.
    jobs: HashMap<JobUid, Option<bool>>,
}

impl<'a> Copies<'a> {
    pub(super) fn of(api: &'a Api, scope: &'a Scope) -> Self {
        Self { api, scope, jobs: HashMap::new() }
    }

    /// A run like this one, which came with everything.
    pub(super) async fn like(
        &mut self,
        old: RunView,
        note: String,
        key: Option<RequestKey>,
        context: &Context,
    ) -> Result<NewRun, Refusal> {
        let apart = match &old.job {
            Some(job) => self.apart(job).await?,
            None => None,
        };
        let job = apart.and(old.job.clone());
        let new = again(old, job, note, key, context).ok_or_else(|| Refusal::bug("a run came without its detail"))?;
        Ok(NewRun { apart: apart.unwrap_or_default(), ..new })
    }

    async fn apart(&mut self, made_by: &JobRef) -> Result<Option<bool>, Refusal> {
        if let Some(known) = self.jobs.get(&made_by.uid) {
            return Ok(*known);
        }
        let named = self.api.store().job(self.scope, &made_by.name).await?;
        let apart = named.filter(|named| named.uid == made_by.uid).map(|job| job.spec.overlap_ignores_manual);
        self.jobs.insert(made_by.uid, apart);
        Ok(apart)
    }
}
