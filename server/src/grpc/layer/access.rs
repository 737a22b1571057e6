//! Who calls, and may they: the path of a call decides what its caller needs, and a path without a rule is refused.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use http::{HeaderValue, Request, Response, header::AUTHORIZATION};
use mainspring_proto::permissions::{self, Rule};
use tonic::{Status, body::Body};
use tower::{Layer, Service};

use crate::{
    auth::{Auth, Caller, Denied},
    grpc::status::{Reason, Refusal},
};

/// What a caller may still do whose password is a one-time one.
const BEFORE_PASSWORD_CHANGE: [&str; 3] = [
    "/mainspring.auth.v1.AuthService/ChangePassword",
    "/mainspring.auth.v1.AuthService/GetCaller",
    "/mainspring.auth.v1.AuthService/Logout",
];
const HEALTH: &str = "/grpc.health.v1.Health/";
const REFLECTION: [&str; 2] = ["/grpc.reflection.v1.ServerReflection/", "/grpc.reflection.v1alpha.ServerReflection/"];

/// Puts [`Access`] in front of services.
#[derive(Clone, Debug)]
pub(crate) struct AccessLayer {
    auth: Auth,
    open_reflection: bool,
}

impl AccessLayer {
    /// With `open_reflection`, nobody needs a credential to ask what there is.
    pub(crate) fn new(auth: Auth, open_reflection: bool) -> Self {
        Self { auth, open_reflection }
    }
}

impl<S> Layer<S> for AccessLayer {
    type Service = Access<S>;

    fn layer(&self, inner: S) -> Access<S> {
        Access { layer: self.clone(), inner }
    }
}

/// Admits calls, and puts their [`Caller`] into the request's extensions.
#[derive(Clone, Debug)]
pub(crate) struct Access<S> {
    layer: AccessLayer,
    inner: S,
}

impl<S> Service<Request<Body>> for Access<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        // The clone that was made ready serves this call, the other one the next.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        let layer = self.layer.clone();
        let path = request.uri().clone();
        let header = request.headers().get(AUTHORIZATION).cloned();
        Box::pin(async move {
            match layer.admit(path.path(), header).await {
                Ok(caller) => {
                    if let Some(caller) = caller {
                        request.extensions_mut().insert(caller);
                    }
                    inner.call(request).await
                }
                Err(refusal) => Ok(Status::from(refusal).into_http()),
            }
        })
    }
}

impl AccessLayer {
    /// The caller, where one is needed and is allowed; a refusal where not.
    async fn admit(&self, path: &str, header: Option<HeaderValue>) -> Result<Option<Caller>, Refusal> {
        let Some(rule) = self.rule(path) else {
            return Err(Refusal::new(
                Reason::MethodUnknown,
                format!("this server has no method `{}`; it may be older than the client", shown(path)),
            ));
        };
        if rule == Rule::Public {
            return Ok(None);
        }
        // A header that is no text is no credential of ours.
        let header = header.as_ref().map(|value| value.to_str().unwrap_or("?"));
        let caller = self.auth.authenticate(header).await?;
        if caller.must_change_password && !BEFORE_PASSWORD_CHANGE.contains(&path) {
            return Err(Refusal::new(
                Reason::PasswordChangeRequired,
                "the password is a one-time one; call ChangePassword first",
            ));
        }
        if let Rule::Permission(permission) = rule
            && !caller.may(permission)
        {
            tracing::info!(subject = caller.subject(), permission, path, "a call was not allowed");
            let roles = caller.roles.join(", ");
            let message = format!("this needs the permission `{permission}`, which the role `{roles}` does not hold");
            return Err(Refusal::new(Reason::PermissionMissing, message).with("required_permission", permission));
        }
        Ok(Some(caller))
    }

    /// The contract's rule; the two services that are not of the contract are named by hand.
    fn rule(&self, path: &str) -> Option<Rule> {
        if path.starts_with(HEALTH) {
            return Some(Rule::Public);
        }
        if REFLECTION.iter().any(|service| path.starts_with(service)) {
            return Some(if self.open_reflection { Rule::Public } else { Rule::Caller });
        }
        permissions::rule(path)
    }
}

fn shown(path: &str) -> String {
    path.chars().take(128).collect()
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        let message = denied.to_string();
        match denied {
            Denied::Missing => {
                Self::new(Reason::TokenMissing, "sign in, or send `authorization: Bearer <API key or access token>`")
            }
            Denied::Invalid => Self::new(Reason::TokenInvalid, message),
            Denied::Expired(at) => Self::new(Reason::TokenExpired, message).with("expired_at", at),
            Denied::Revoked | Denied::Reused => Self::new(Reason::TokenRevoked, message),
            Denied::Store(error) => error.into(),
        }
    }
}
