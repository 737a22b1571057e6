//! Sinks, as `AdminService` serves them: create, get, list, update, delete, try; and what they were told.

use mainspring_engine::{
    domain::{
        ids::{NoticeId, SinkUid},
        names::{JobName, Scope, SinkName},
        sink::{Sealed, Sink},
    },
    ports::store::{NewSink, SinkChange, UpdateSink},
};
use mainspring_proto::scheduler::v1 as wire;
use uuid::Uuid;

use super::{
    Api,
    convert::{
        self, read,
        sink::{MUTABLE, overlay},
        submission::{CREATE_SINK, request_key},
    },
    replay::request_reused,
    status::{Reason, Refusal},
};
use crate::adapters::http::write_secret;

/// A change without an etag is made again where somebody else was faster.
const TRIES: usize = 20;
/// Bytes of a secret that is made.
const SECRET: usize = 32;

fn missing(name: &SinkName, scope: &Scope) -> Refusal {
    Refusal::missing(Reason::SinkNotFound, "sink", name, &scope.0)
}

fn changed(name: &SinkName) -> Refusal {
    let message = format!("sink `{name}` has changed since it was read; read it again");
    Refusal::new(Reason::EtagMismatch, message).about("sink", name)
}

fn taken(name: &SinkName, scope: &Scope) -> Refusal {
    let message = format!("namespace `{}` has a sink `{name}`; update it, or choose another name", scope.0);
    Refusal::new(Reason::SinkAlreadyExists, message).about("sink", name)
}

async fn stored(api: &Api, scope: &Scope, name: &SinkName) -> Result<Sink, Refusal> {
    api.store().sink(scope, name).await?.ok_or_else(|| missing(name, scope))
}

/// Refuses a job that is not there: nobody would be told of it, and nobody would know.
async fn see_job(api: &Api, scope: &Scope, job: Option<&JobName>) -> Result<(), Refusal> {
    let Some(job) = job else { return Ok(()) };
    if api.store().job(scope, job).await?.is_some() {
        return Ok(());
    }
    Err(Refusal::missing(Reason::JobNotFound, "job", job, &scope.0))
}

/// A secret to be stored, and as its maker is told it: one that was given, or a new one.
fn sealed(api: &Api, given: Option<Vec<u8>>) -> (Sealed, String) {
    match given {
        Some(secret) => (api.engine.sinks().seal(&secret), String::new()),
        None => {
            let mut secret = [0; SECRET];
            rand::fill(&mut secret[..]);
            (api.engine.sinks().seal(&secret), write_secret(&secret))
        }
    }
}

pub(super) async fn create(
    api: &Api,
    mut request: wire::CreateSinkRequest,
) -> Result<wire::CreateSinkResponse, Refusal> {
    let key = request_key(CREATE_SINK, &mut request, |request| &mut request.request_id);
    let wire::CreateSinkRequest { namespace, sink, request_id: _, validate_only } = request;
    if !validate_only && let Some(made) = api.made(&namespace, key.as_ref()).await? {
        return again(api, &namespace, made).await;
    }
    let (scope, (name, (spec, given))) = api
        .read(&namespace, |check, scope| {
            check.request_id(key.as_ref());
            let Some(sink) = sink else {
                check.refuse("sink", "is required");
                return None;
            };
            check.under("sink", |check| {
                let name = check.required::<SinkName>("sink", &sink.sink);
                let read = check.sink(sink, None, scope.0.as_str(), |url| api.engine.sinks().check(url));
                Some((name?, read?))
            })
        })
        .await?;
    see_job(api, &scope, spec.job.as_ref()).await?;
    let (secret, told) = sealed(api, given);
    let (now, uid) = (api.now(), SinkUid::new(api.now()));
    if validate_only {
        if api.store().sink(&scope, &name).await?.is_some() {
            return Err(taken(&name, &scope));
        }
        let (namespace, revision, dropped) = (scope.0, 1, 0);
        let sink = Sink { uid, namespace, name, revision, spec, secret, dropped, create_time: now, update_time: now };
        let sink = wire::Sink { uid: String::new(), ..convert::sink::sink(sink) };
        return Ok(wire::CreateSinkResponse { sink: Some(sink), secret: String::new() });
    }
    let new = NewSink { scope: scope.clone(), uid, name: name.clone(), spec, secret, request: key };
    match api.engine.sinks().create(new).await? {
        SinkChange::Done(sink) => Ok(wire::CreateSinkResponse { sink: Some(convert::sink::sink(*sink)), secret: told }),
        SinkChange::Replayed(sink) => Ok(replayed(*sink)),
        SinkChange::NameTaken => Err(taken(&name, &scope)),
        SinkChange::RequestReused => Err(request_reused()),
        SinkChange::Full(quota) => Err(quota.into()),
        SinkChange::Missing => Err(missing(&name, &scope)),
        SinkChange::RevisionMismatch => Err(bug()),
    }
}

/// The sink that an earlier call with the same request id made, as it is now. Its secret was told then.
async fn again(api: &Api, namespace: &str, made: Uuid) -> Result<wire::CreateSinkResponse, Refusal> {
    let (scope, ()) = api.read(namespace, |_, _| Some(())).await?;
    let uid = SinkUid::from_uuid(made);
    match api.store().sink_by_uid(&scope, uid).await? {
        Some(sink) => Ok(replayed(sink)),
        None => Err(Refusal::missing(Reason::SinkNotFound, "sink", uid, &scope.0)),
    }
}

fn replayed(sink: Sink) -> wire::CreateSinkResponse {
    wire::CreateSinkResponse { sink: Some(convert::sink::sink(sink)), secret: String::new() }
}

fn bug() -> Refusal {
    Refusal::bug("a change of a sink was answered as another")
}

pub(super) async fn get(api: &Api, request: wire::GetSinkRequest) -> Result<wire::GetSinkResponse, Refusal> {
    let wire::GetSinkRequest { namespace, sink } = request;
    let (scope, name) = api.read(&namespace, |check, _| check.required("sink", &sink)).await?;
    Ok(wire::GetSinkResponse { sink: Some(convert::sink::sink(stored(api, &scope, &name).await?)) })
}

pub(super) async fn list(api: &Api, mut request: wire::ListSinksRequest) -> Result<wire::ListSinksResponse, Refusal> {
    let turn = api.pages.turn(&mut request, api.now())?;
    let wire::ListSinksRequest { namespace, page_size: _, page_token: _ } = request;
    let (scope, ()) = api.read(&namespace, |_, _| Some(())).await?;
    let after = turn.place(|key| key.parse::<SinkName>().ok())?;
    let found = api.store().sinks(&scope, after, turn.page().limit).await?;
    let entries = found.into_iter().map(|sink| (sink.name.to_string(), convert::sink::sink(sink)));
    let (sinks, next_page_token) = turn.cut(entries);
    Ok(wire::ListSinksResponse { sinks, next_page_token })
}

pub(super) async fn update(api: &Api, request: wire::UpdateSinkRequest) -> Result<wire::UpdateSinkResponse, Refusal> {
    let wire::UpdateSinkRequest { namespace, sink, update_mask, rotate_secret, validate_only } = request;
    let mask = update_mask.unwrap_or_default().paths;
    let (scope, (name, new)) = api
        .read(&namespace, |check, _| {
            check.mask(&mask, MUTABLE);
            let Some(new) = sink else {
                check.refuse("sink", "is required");
                return None;
            };
            if rotate_secret && !new.secret.is_empty() {
                check.refuse("rotate_secret", "makes a secret; leave sink.secret out, or this");
            }
            let name = check.under("sink", |check| check.required::<SinkName>("sink", &new.sink));
            Some((name?, new))
        })
        .await?;
    let tries = if new.etag.is_empty() { TRIES } else { 1 };
    for _ in 0..tries {
        let there = stored(api, &scope, &name).await?;
        let mut merged = convert::sink::sink(there.clone());
        overlay(&mut merged, new.clone(), &mask);
        let merged = wire::Sink { namespace: new.namespace.clone(), ..merged };
        let (spec, given) = read(|check| {
            let allowed = |url: &str| {
                // What was allowed once is in nobody's way when something else is changed.
                if url == there.spec.url { Ok(()) } else { api.engine.sinks().check(url) }
            };
            check.under("sink", |check| check.sink(merged, there.spec.disabled, scope.0.as_str(), allowed))
        })?;
        if spec.job != there.spec.job {
            see_job(api, &scope, spec.job.as_ref()).await?;
        }
        if !new.etag.is_empty() && new.etag != there.revision.to_string() {
            break;
        }
        let (secret, told) = match given {
            None if !rotate_secret => (None, String::new()),
            given => {
                let (secret, told) = sealed(api, given);
                (Some(secret), told)
            }
        };
        if validate_only {
            let sink = Some(convert::sink::sink(Sink { spec, ..there }));
            return Ok(wire::UpdateSinkResponse { sink, secret: String::new() });
        }
        let (scope, name, revision) = (scope.clone(), name.clone(), there.revision);
        match api.engine.sinks().update(UpdateSink { scope, name, revision, spec, secret }).await? {
            SinkChange::Done(sink) => {
                return Ok(wire::UpdateSinkResponse { sink: Some(convert::sink::sink(*sink)), secret: told });
            }
            // It is looked for again, and either found or told to be missing.
            SinkChange::Missing | SinkChange::RevisionMismatch => {}
            SinkChange::Replayed(_) | SinkChange::NameTaken | SinkChange::RequestReused | SinkChange::Full(_) => {
                return Err(bug());
            }
        }
    }
    Err(changed(&name))
}

pub(super) async fn delete(api: &Api, request: wire::DeleteSinkRequest) -> Result<wire::DeleteSinkResponse, Refusal> {
    let wire::DeleteSinkRequest { namespace, sink, etag } = request;
    let (scope, name) = api.read(&namespace, |check, _| check.required("sink", &sink)).await?;
    let there = stored(api, &scope, &name).await?;
    if !etag.is_empty() && etag != there.revision.to_string() {
        return Err(changed(&name));
    }
    let revision = (!etag.is_empty()).then_some(there.revision);
    match api.engine.sinks().delete(&scope, &name, revision).await? {
        SinkChange::Done(_) => Ok(wire::DeleteSinkResponse {}),
        SinkChange::Missing => Err(missing(&name, &scope)),
        SinkChange::RevisionMismatch => Err(changed(&name)),
        SinkChange::Replayed(_) | SinkChange::NameTaken | SinkChange::RequestReused | SinkChange::Full(_) => Err(bug()),
    }
}

pub(super) async fn test(api: &Api, request: wire::TestSinkRequest) -> Result<wire::TestSinkResponse, Refusal> {
    let wire::TestSinkRequest { namespace, sink } = request;
    let (scope, name) = api.read(&namespace, |check, _| check.required("sink", &sink)).await?;
    let sink = stored(api, &scope, &name).await?;
    let tried = api.unless_draining(async { api.engine.sinks().test(&sink).await }).await?;
    Ok(convert::sink::tried(tried))
}

pub(super) async fn deliveries(
    api: &Api,
    mut request: wire::ListDeliveriesRequest,
) -> Result<wire::ListDeliveriesResponse, Refusal> {
    let turn = api.pages.turn(&mut request, api.now())?;
    let wire::ListDeliveriesRequest { namespace, sink, state, page_size: _, page_token: _ } = request;
    let (scope, (name, state)) = api
        .read(&namespace, |check, _| {
            let (name, state) = (check.required::<SinkName>("sink", &sink), check.delivery_state(state));
            Some((name?, state?))
        })
        .await?;
    let before = turn.place(|key| key.parse::<NoticeId>().ok())?;
    let sink = stored(api, &scope, &name).await?;
    let found = api.store().deliveries(sink.uid, state, before, turn.page().limit).await?;
    let shown = |delivery| convert::sink::delivery(delivery, name.to_string());
    let (deliveries, next_page_token) = turn.cut(found.into_iter().map(|one| (one.id.to_string(), shown(one))));
    Ok(wire::ListDeliveriesResponse { deliveries, next_page_token })
}

pub(super) async fn redeliver(
    api: &Api,
    request: wire::RedeliverNoticeRequest,
) -> Result<wire::RedeliverNoticeResponse, Refusal> {
    let wire::RedeliverNoticeRequest { namespace, sink, delivery_id } = request;
    let (scope, (name, id)) = api
        .read(&namespace, |check, _| {
            let (name, id) = (check.required::<SinkName>("sink", &sink), check.required("delivery_id", &delivery_id));
            Some((name?, id?))
        })
        .await?;
    let sink = stored(api, &scope, &name).await?;
    match api.engine.sinks().redeliver(sink.uid, id).await? {
        Some(delivery) => {
            let delivery = Some(convert::sink::delivery(delivery, name.to_string()));
            Ok(wire::RedeliverNoticeResponse { delivery })
        }
        None => Err(Refusal::missing(Reason::DeliveryNotFound, "delivery", id, &scope.0)),
    }
}
