//! Namespaces, as `AdminService` serves them: get, update.

use std::sync::Arc;

use mainspring_engine::{
    domain::{
        names::NamespaceName,
        namespace::{Namespace, NamespaceSettings},
    },
    ports::store::NamespaceChange,
};
use mainspring_proto::scheduler::v1 as wire;

use super::{
    Api,
    convert::namespace::{MUTABLE, namespace as shown},
    status::{Reason, Refusal},
};

/// A change without an etag is made again where somebody else was faster.
const TRIES: usize = 20;

pub(super) async fn get(api: &Api, request: wire::GetNamespaceRequest) -> Result<wire::GetNamespaceResponse, Refusal> {
    let wire::GetNamespaceRequest { namespace } = request;
    let (scope, ()) = api.read(&namespace, |_, _| Some(())).await?;
    let namespace = api.namespace(&scope).await?;
    Ok(wire::GetNamespaceResponse { namespace: Some(shown(&namespace)) })
}

pub(super) async fn update(
    api: &Api,
    request: wire::UpdateNamespaceRequest,
) -> Result<wire::UpdateNamespaceResponse, Refusal> {
    let wire::UpdateNamespaceRequest { namespace, settings, update_mask, etag, validate_only } = request;
    let mask = update_mask.unwrap_or_default().paths;
    let named = |field: &str| mask.is_empty() || mask.iter().any(|path| path == field);
    let (scope, wanted) = api
        .read(&namespace, |check, _| {
            check.mask(&mask, MUTABLE);
            let Some(settings) = settings else {
                check.refuse("settings", "is required");
                return None;
            };
            Some(check.under("settings", |check| check.settings(settings)))
        })
        .await?;
    let tries = if etag.is_empty() { TRIES } else { 1 };
    for _ in 0..tries {
        let there = api.namespace(&scope).await?;
        if !etag.is_empty() && etag != there.revision.to_string() {
            return Err(changed(&scope.0));
        }
        let mut settings = NamespaceSettings::clone(&there.settings);
        let NamespaceSettings { timeouts, strict_schedules } = wanted.clone();
        if named("default_timeouts") {
            settings.timeouts = timeouts;
        }
        if named("strict_schedules") {
            settings.strict_schedules = strict_schedules;
        }
        if validate_only {
            let would_be = Arc::new(Namespace { settings: Arc::new(settings), ..Namespace::clone(&there) });
            return Ok(wire::UpdateNamespaceResponse { namespace: Some(shown(&would_be)) });
        }
        match api.store().update_namespace(&scope.0, there.revision, settings).await? {
            NamespaceChange::Done(namespace) => {
                return Ok(wire::UpdateNamespaceResponse { namespace: Some(shown(&namespace)) });
            }
            NamespaceChange::Missing => return Err(super::no_namespace(&scope)),
            NamespaceChange::RevisionMismatch => {}
        }
    }
    Err(changed(&scope.0))
}

fn changed(name: &NamespaceName) -> Refusal {
    let message = format!("namespace `{name}` has changed since it was read; read it again");
    Refusal::new(Reason::EtagMismatch, message).about("namespace", name)
}
