//! `RetryRun` and `ReplayRun`: a new run like one that is over. And what every call shares that makes runs of others.

use std::collections::HashMap;

use mainspring_engine::{
    domain::{ids::JobUid, job::Pause, names::Scope, overlap::Overlap},
    ports::store::{JobRef, NewRun, RequestKey, RunView},
};
use mainspring_proto::scheduler::v1 as wire;

use super::runs::{again as made_before, context, look, make, paused, run_fits};
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
    let wire::RetryRunRequest { namespace, run_id, note, request_id: _, force, while_paused } = request;
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
    let passes = Passes { force, while_paused, waits: false };
    let new = Copies::of(api, &scope, passes).like(old, note, key, &context).await?;
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
    let wire::ReplayRunRequest { namespace, run_id, payload, note, request_id: _, force, while_paused } = request;
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
    let passes = Passes { force, while_paused, waits: false };
    let new = Copies::of(api, &scope, passes).like(old, note, key, &context).await?;
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

/// What runs are made in spite of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passes {
    /// Runs of their job that are not over.
    pub(super) force: bool,
    /// A pause of their job.
    pub(super) while_paused: bool,
    /// Where runs are in the way they wait, whatever the policy would do with one that somebody triggers: of many that are made
    /// at once, each was asked for.
    pub(super) waits: bool,
}

/// Makes runs like others, each of which belongs to the job of its own as long as there is one; another of that name has
/// nothing to do with it.
pub(super) struct Copies<'a> {
    api: &'a Api,
    scope: &'a Scope,
    passes: Passes,
    /// Jobs, as far as they are there.
    jobs: HashMap<JobUid, Option<Meets>>,
}

/// What a run meets at its job.
#[derive(Clone, Debug)]
struct Meets {
    overlap: Overlap,
    by_key: bool,
    /// Manual runs hold no slot.
    apart: bool,
    pause: Option<Pause>,
}

impl<'a> Copies<'a> {
    pub(super) fn of(api: &'a Api, scope: &'a Scope, passes: Passes) -> Self {
        Self { api, scope, passes, jobs: HashMap::new() }
    }

    /// A run like this one, which came with everything.
    pub(super) async fn like(
        &mut self,
        old: RunView,
        note: String,
        key: Option<RequestKey>,
        context: &Context,
    ) -> Result<NewRun, Refusal> {
        let Passes { force, while_paused, waits } = self.passes;
        let job = match &old.job {
            Some(job) => self.met(job).await?,
            None => None,
        };
        let made_by = job.as_ref().and(old.job.clone());
        if let Some((pause, made_by)) = job.as_ref().and_then(|job| job.pause.as_ref()).zip(made_by.as_ref())
            && !while_paused
        {
            return Err(paused(&made_by.name, pause));
        }
        let new =
            again(old, made_by, note, key, context).ok_or_else(|| Refusal::bug("a run came without its detail"))?;
        let Some(Meets { overlap, by_key, apart, pause: _ }) = job else { return Ok(new) };
        let waits = waits && overlap != Overlap::Allow { max: None };
        let overlap = if waits { Overlap::BufferAll { max: Overlap::MOST } } else { overlap };
        Ok(NewRun { overlap: Some(overlap).filter(|_| !force && !apart), by_key, apart, ..new })
    }

    async fn met(&mut self, made_by: &JobRef) -> Result<Option<Meets>, Refusal> {
        if let Some(known) = self.jobs.get(&made_by.uid) {
            return Ok(known.clone());
        }
        let named = self.api.store().job(self.scope, &made_by.name).await?;
        let met = named.filter(|named| named.uid == made_by.uid).map(|job| Meets {
            overlap: job.spec.overlap,
            by_key: job.spec.overlaps_by_key(),
            apart: job.spec.overlap_ignores_manual,
            pause: job.pause,
        });
        self.jobs.insert(made_by.uid, met.clone());
        Ok(met)
    }
}
