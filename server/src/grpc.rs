//! The services: the contract over the engine.
//!
//! A call passes the [`layer`]s (id, deadline, form of errors; who calls and may they), is read by [`convert`], answered by
//! the engine or the store, and written by [`convert`] again. One file per service; [`status`] holds every way to refuse.

mod admin;
mod auth;
mod calendars;
mod convert;
mod health;
pub(crate) mod layer;
mod namespaces;
pub(crate) mod page;
mod queue;
mod replay;
mod request_id;
mod scheduler;
mod serve;
mod sinks;
pub mod status;
mod user;
mod worker;

use std::{future::Future, sync::Arc, time::Duration};

use mainspring_engine::{
    domain::{
        filter::{self, Field, Filter},
        instant::Instant,
        names::Scope,
        namespace::Namespace,
    },
    flow::Engine,
    ports::store::SharedStore,
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

pub(crate) use health::Health;
/// Why the server says that a run stands where it stands, each with its sentence: for the reference.
pub use mainspring_engine::domain::run::reason::ALL as RUN_REASONS;
pub(crate) use serve::serve;

use crate::{
    auth::{Auth, Caller},
    config::LimitsConfig,
    schemas::Schemas,
};
use convert::{Check, House};
use page::Pages;
use request_id::CallContext;
use status::{Reason, Refusal};

/// What every service stands on. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Api(Arc<Parts>);

/// The parts of [`Api`].
#[derive(Debug)]
pub(crate) struct Parts {
    /// The stages.
    pub(crate) engine: Engine,
    /// Who calls.
    pub(crate) auth: Auth,
    /// What workers announce.
    pub(crate) schemas: Schemas,
    /// Page tokens.
    pub(crate) pages: Pages,
    /// Sizes in force.
    pub(crate) limits: LimitsConfig,
    /// Set when the server goes away: streams end, nothing long begins.
    pub(crate) draining: CancellationToken,
}

impl std::ops::Deref for Api {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl From<Parts> for Api {
    fn from(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

impl Api {
    fn store(&self) -> &SharedStore {
        self.engine.store()
    }

    fn now(&self) -> Instant {
        self.engine.now()
    }

    /// Reads a request that is about a namespace, all of it before anything is refused, and sees that the namespace is
    /// there.
    async fn read<T>(
        &self,
        namespace: &str,
        read: impl FnOnce(&mut Check, &Scope) -> Option<T>,
    ) -> Result<(Scope, T), Refusal> {
        // What is no name is told with the rest that is wrong.
        let found = match convert::read(|check| Some(check.scope(namespace))) {
            Ok(scope) => self.store().namespace(&scope.0).await?,
            Err(_) => None,
        };
        let settings = found.as_ref().map(|found| Arc::clone(&found.settings)).unwrap_or_default();
        let (scope, value) = convert::read_in(House { settings, zones: self.engine.zones() }, |check| {
            let scope = check.scope(namespace);
            let value = read(check, &scope);
            Some((scope, value?))
        })?;
        if found.is_none() {
            return Err(no_namespace(&scope));
        }
        Ok((scope, value))
    }

    /// A namespace as it stands. One that does not exist is refused: what is put there would never be seen again.
    async fn namespace(&self, scope: &Scope) -> Result<Arc<Namespace>, Refusal> {
        self.store().namespace(&scope.0).await?.ok_or_else(|| no_namespace(scope))
    }

    /// What requests to a namespace are read against.
    async fn house(&self, scope: &Scope) -> Result<House, Refusal> {
        let settings = Arc::clone(&self.namespace(scope).await?.settings);
        Ok(House { settings, zones: self.engine.zones() })
    }

    /// Waits for an answer, but not beyond the server's life.
    async fn unless_draining<T>(&self, answer: impl Future<Output = T>) -> Result<T, Refusal> {
        tokio::select! {
            answer = answer => Ok(answer),
            () = self.draining.cancelled() => Err(draining()),
        }
    }
}

fn no_namespace(scope: &Scope) -> Refusal {
    let message = format!("there is no namespace `{}`; leave it empty for `default`", scope.0);
    Refusal::new(Reason::NamespaceNotFound, message).about("namespace", &scope.0)
}

/// The server is going away.
fn draining() -> Refusal {
    Refusal::draining(Duration::from_secs(1))
}

/// Who calls, and what accompanies the call.
#[derive(Clone, Debug)]
struct Call {
    caller: Option<Caller>,
    context: Option<CallContext>,
}

impl Call {
    /// Takes what the layers put beside the message.
    fn split<T>(request: Request<T>) -> (Self, T) {
        let (_, mut extensions, message) = request.into_parts();
        (Self { caller: extensions.remove(), context: extensions.remove() }, message)
    }

    /// The caller of a call that is not public.
    fn caller(&self) -> Result<&Caller, Refusal> {
        self.caller.as_ref().ok_or_else(|| Refusal::bug("a call that is not public came without a caller"))
    }

    /// For the worker of the runs that the call makes.
    fn headers(&self) -> std::collections::BTreeMap<String, String> {
        self.context.as_ref().map(CallContext::headers).unwrap_or_default()
    }
}

/// What a method of a service returns.
type Answer<T> = Result<Response<T>, Status>;

/// A method's result as a service returns it.
async fn answer<T>(result: impl Future<Output = Result<T, Refusal>>) -> Answer<T> {
    Ok(Response::new(result.await?))
}

/// Reads the filter of a list.
fn filter(text: &str, fields: &[Field], now: Instant) -> Result<Filter, Refusal> {
    filter_in("filter", text, fields, now)
}

/// Reads a filter that a request has at this place.
fn filter_in(place: &str, text: &str, fields: &[Field], now: Instant) -> Result<Filter, Refusal> {
    filter::parse(text, fields, now).map_err(|error| {
        let mut bad = status::BadField::new(Reason::FilterInvalid, place, error.to_string());
        bad.tell("column", error.column);
        Refusal::fields(vec![bad])
    })
}
