//! Counts calls by method and code, and how long their answers took to begin.
//!
//! Outside of [`errors`](super::errors), so that it sees the code that the caller sees. A call that nobody waited for the
//! end of counts as CANCELLED, which is what its caller made it; so does one that its caller broke off, whatever it was
//! answered.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use tonic::{Code, Status, body::Body};
use tower::{Layer, Service};

use super::peer::Peer;
use crate::telemetry::{Call, CallMeter};

const STATUS: &str = "grpc-status";

/// Puts [`Measure`] in front of services.
#[derive(Clone, Debug)]
pub(crate) struct MeasureLayer(CallMeter);

impl MeasureLayer {
    pub(crate) fn new(meter: CallMeter) -> Self {
        Self(meter)
    }
}

impl<S> Layer<S> for MeasureLayer {
    type Service = Measure<S>;

    fn layer(&self, inner: S) -> Measure<S> {
        Measure { meter: self.0.clone(), inner }
    }
}

/// Counts calls.
#[derive(Clone, Debug)]
pub(crate) struct Measure<S> {
    meter: CallMeter,
    inner: S,
}

impl<S> Service<Request<Body>> for Measure<S>
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
        let mut call = self.meter.begin(request.uri().path());
        let peer = request.extensions().get::<Peer>().cloned().unwrap_or_default();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let Ok(response) = answer.await;
            call.answered();
            let (parts, body) = response.into_parts();
            if let Some(code) = code(&parts.headers, &peer) {
                call.end(code);
            }
            Ok(Response::from_parts(parts, Body::new(Measured { body, call, peer })))
        })
    }
}

/// How a call ended, once it has.
fn code(headers: &HeaderMap, peer: &Peer) -> Option<Code> {
    let told = headers.get(STATUS).map(|code| Code::from_bytes(code.as_bytes()))?;
    Some(if peer.is_gone() { Code::Cancelled } else { told })
}

/// A body whose end is the end of its call.
struct Measured {
    body: Body,
    call: Call,
    peer: Peer,
}

impl http_body::Body for Measured {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(code) = frame.trailers_ref().and_then(|trailers| code(trailers, &self.peer))
        {
            self.call.end(code);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
