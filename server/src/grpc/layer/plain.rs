//! Whoever comes with something else than gRPC, a browser or plain `curl`, is told in words where it has come to; and a
//! prober how the server is, by [`Health`].

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS},
};
use tonic::body::Body;
use tower::{Layer, Service};

use crate::grpc::Health;

/// The type of a text for people.
pub(crate) const TEXT_TYPE: &str = "text/plain; charset=utf-8";

/// No word of the request is in it: what comes back must not be something that a page could have made up.
const TEXT: &str = concat!(
    "This is Mainspring ",
    env!("CARGO_PKG_VERSION"),
    ". It speaks gRPC here (HTTP/2 without TLS), and gRPC-Web.\n\
     \n\
     For example, with HOST:PORT as you typed them:\n\
     \n\
     \x20 mainspring --address HOST:PORT job list\n\
     \x20 grpcurl -plaintext HOST:PORT list\n\
     \x20 buf curl --protocol grpc --http2-prior-knowledge http://HOST:PORT --list-methods\n"
);

/// Puts [`Plain`] in front of everything.
#[derive(Clone, Debug)]
pub(crate) struct PlainLayer {
    health: Health,
}

impl PlainLayer {
    pub(crate) fn new(health: Health) -> Self {
        Self { health }
    }
}

impl<S> Layer<S> for PlainLayer {
    type Service = Plain<S>;

    fn layer(&self, inner: S) -> Plain<S> {
        Plain { health: self.health.clone(), inner }
    }
}

/// Lets gRPC and gRPC-Web pass, and answers everything else.
#[derive(Clone, Debug)]
pub(crate) struct Plain<S> {
    health: Health,
    inner: S,
}

impl<S> Service<Request<Body>> for Plain<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if is_grpc(&request) {
            return Box::pin(self.inner.call(request));
        }
        let (health, method, path) = (self.health.clone(), request.method().clone(), request.uri().path().to_owned());
        Box::pin(async move {
            let page = health.page(&method, &path).await;
            Ok(page.unwrap_or_else(|| answer(&method)))
        })
    }
}

/// gRPC needs HTTP/2; gRPC-Web does not. Both are POST: nothing that a page may send by itself, or a cache keeps, is a call.
fn is_grpc<B>(request: &Request<B>) -> bool {
    if *request.method() != Method::POST {
        return false;
    }
    let content_type = request.headers().get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let Some(rest) = content_type.strip_prefix(b"application/grpc") else { return false };
    let rest = match rest.strip_prefix(b"-web") {
        Some(rest) => rest.strip_prefix(b"-text").unwrap_or(rest),
        None if request.version() == Version::HTTP_2 => rest,
        None => return false,
    };
    // A format, a parameter, or nothing; not another type with a longer name.
    matches!(rest.first(), None | Some(b'+' | b';'))
}

fn answer(method: &Method) -> Response<Body> {
    // What the gRPC protocol asks for where the content type is another one; nothing else is to be got here so far.
    let status = if matches!(*method, Method::GET | Method::HEAD) {
        StatusCode::NOT_FOUND
    } else {
        StatusCode::UNSUPPORTED_MEDIA_TYPE
    };
    page(status, TEXT_TYPE, TEXT)
}

/// A page that is made anew each time.
pub(crate) fn page(status: StatusCode, content_type: &'static str, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::new(http_body_util::Full::new(text.into())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &Method, version: Version, content_type: Option<&str>) -> Request<()> {
        let mut request = Request::builder().method(method).version(version);
        if let Some(content_type) = content_type {
            request = request.header(CONTENT_TYPE, content_type);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn grpc_passes_and_nothing_else_does() {
        for (version, content_type, passes) in [
            (Version::HTTP_2, Some("application/grpc"), true),
            (Version::HTTP_2, Some("application/grpc+proto"), true),
            (Version::HTTP_2, Some("application/grpc-web+proto"), true),
            (Version::HTTP_11, Some("application/grpc-web-text"), true),
            (Version::HTTP_11, Some("application/grpc"), false),
            (Version::HTTP_2, Some("application/grpc;charset=utf-8"), true),
            (Version::HTTP_2, Some("application/grpcish"), false),
            (Version::HTTP_2, Some("application/grpc-webby"), false),
            (Version::HTTP_2, Some("application/json"), false),
            (Version::HTTP_2, None, false),
            (Version::HTTP_11, None, false),
        ] {
            assert_eq!(is_grpc(&request(&Method::POST, version, content_type)), passes, "{version:?} {content_type:?}");
            for method in [Method::GET, Method::PUT, Method::OPTIONS] {
                assert!(!is_grpc(&request(&method, version, content_type)), "{method} {version:?} {content_type:?}");
            }
        }
    }
}
