//! Calls that are made again under the same request id.
//!
//! "Same body, same answer" holds before anything is judged that time or other callers may have changed: a rule that has
//! passed, a job that is gone. So what makes something looks here first, and reads the rest of its request only where
//! nothing was made before. The look decides nothing by itself; two calls at the same time meet in the step of the store.

use mainspring_engine::{
    domain::names::{NamespaceName, Scope},
    ports::store::RequestKey,
};
use uuid::Uuid;

use super::{
    Api,
    status::{Reason, Refusal},
};

impl Api {
    /// What an earlier call with this request id made; a refusal where it was another call. A namespace that is none has
    /// made nothing: it is refused with the rest.
    pub(crate) async fn made(&self, namespace: &str, key: Option<&RequestKey>) -> Result<Option<Uuid>, Refusal> {
        let keys: Vec<_> = key.cloned().into_iter().collect();
        self.made_many(namespace, keys).await?.pop().unwrap_or(Ok(None))
    }

    /// The same of many, one answer each.
    pub(crate) async fn made_many(
        &self,
        namespace: &str,
        keys: Vec<RequestKey>,
    ) -> Result<Vec<Result<Option<Uuid>, Refusal>>, Refusal> {
        let name = if namespace.is_empty() { Ok(NamespaceName::default()) } else { namespace.parse() };
        let Ok(name) = name else { return Ok(keys.iter().map(|_| Ok(None)).collect()) };
        let made = self.store().made(&Scope(name), &keys).await?;
        let judged = made.into_iter().zip(&keys).map(|(made, key)| match made {
            Some(made) if made.body == key.body => Ok(Some(made.target)),
            Some(_) => Err(request_reused()),
            None => Ok(None),
        });
        Ok(judged.collect())
    }
}

pub(crate) fn request_reused() -> Refusal {
    Refusal::new(
        Reason::RequestIdReused,
        "this request_id was used for another request in the last 24 h; use a new one for a new request",
    )
}
