//! Payloads against what workers announce: refused here, where the caller can still mend them, with the path of the field.
//!
//! A run that fires later is not asked again: its job's payload was good when it was given, and its worker looks once more.

use mainspring_engine::domain::{
    names::{JobType, Scope},
    payload::Payload,
};
use mainspring_schema::{Mismatch, join};

use crate::{
    grpc::{
        Api,
        convert::payload::Place,
        status::{BadField, Reason, Refusal},
    },
    schemas::{Budget, Misfit},
};

/// A payload that is to be given to workers.
pub(super) struct Given<'a> {
    pub(super) scope: &'a Scope,
    pub(super) job_type: &'a JobType,
    pub(super) payload: &'a Payload,
    /// Where the caller wrote it.
    pub(super) place: Place,
    /// Whose it is, and what to do, where the request does not carry it.
    pub(super) hint: &'a str,
}

/// Refuses a payload that its type does not take.
pub(super) async fn fits(api: &Api, given: Given<'_>, budget: &mut Budget) -> Result<(), Refusal> {
    let Given { scope, job_type, payload, place, hint } = given;
    let Some(misfit) = api.schemas.misfit(api.now(), scope, job_type, payload, budget).await? else { return Ok(()) };
    let Place { field, arm } = place;
    let bad = |field: String, why: String| {
        let mut bad = BadField::new(Reason::PayloadSchemaMismatch, field, format!("{why}{hint}"));
        bad.tell("job_type", job_type);
        bad
    };
    let inside = join(&field, arm);
    Err(Refusal::fields(match misfit {
        Misfit::NotJson => {
            let media: String = payload.content_type.chars().take(64).collect();
            let why = format!("is `{media}`, and `{job_type}` takes JSON: write `application/json`");
            vec![bad(join(&field, "content_type"), why)]
        }
        Misfit::Missing => vec![bad(field, format!("is required: `{job_type}` takes no null"))],
        Misfit::Fields(fields) if fields.is_empty() => {
            let why = format!("does not match the schema of `{job_type}`, and is too large to say where");
            vec![bad(inside, why)]
        }
        Misfit::Fields(fields) => {
            let told = fields.into_iter().map(|Mismatch { path, problem }| bad(join(&inside, &path), problem));
            told.collect()
        }
    }))
}
