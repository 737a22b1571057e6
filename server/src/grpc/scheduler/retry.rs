//! `RetryRun`: a new run like one that is over.

use mainspring_engine::ports::store::NewRun;
use mainspring_proto::scheduler::v1 as wire;

use super::runs::{again as made_before, context, look, make};
use crate::grpc::{
    Api, Call,
    convert::{
        MAX_NOTE,
        submission::{RETRY, again, request_key},
    },
    status::{Reason, Refusal},
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
    let old = look(api, &scope, run).await?;
    if !old.life.state.is_terminal() {
        let message = format!("run {run} is {}; only a run that is over can be made again", old.life.state.name());
        return Err(Refusal::new(Reason::RunNotRetryable, message)
            .with("state", old.life.state.name())
            .because_of("RUN_STATE", format!("run/{run}")));
    }
    // The new run belongs to the job as long as there is one; another of that name has nothing to do with it.
    let named = match &old.job {
        Some(made_by) => api.store().job(&scope, &made_by.name).await?.filter(|named| named.uid == made_by.uid),
        None => None,
    };
    let apart = named.as_ref().is_some_and(|job| job.spec.overlap_ignores_manual);
    let job = named.and(old.job.clone());
    let name = job.as_ref().map(|job| job.name.clone());
    let context = context(api, call, scope.clone());
    let new = again(old, job, note, key, &context).ok_or_else(|| Refusal::bug("a run came without its detail"))?;
    let new = NewRun { apart, ..new };
    let run = make(api, &scope, new, name.as_ref()).await?;
    Ok(wire::RetryRunResponse { run: Some(run) })
}
