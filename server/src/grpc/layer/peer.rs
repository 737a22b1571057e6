//! Sees whether the caller broke off its half of a call: hung up, died, or reset the stream before it had said all.
//!
//! Nearest to the wire, since everything further in has its own words for a body that broke, some of which blame the
//! server. [`errors`](super::errors) and [`measure`](super::measure) ask [`Peer`] instead of reading them: nobody is left
//! to hear how such a call ended, and it is no fault of anybody's.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body::{Frame, SizeHint};
use tonic::{Status, body::Body};
use tower::{Layer, Service};

/// Whoever calls, as far as its half of the call tells.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peer(Arc<AtomicBool>);

impl Peer {
    /// It broke its half off.
    pub(crate) fn is_gone(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    fn leave(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Puts [`Watch`] in front of services.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PeerLayer;

impl<S> Layer<S> for PeerLayer {
    type Service = Watch<S>;

    fn layer(&self, inner: S) -> Watch<S> {
        Watch { inner }
    }
}

/// Watches the bodies of requests, and puts a [`Peer`] beside each.
#[derive(Clone, Debug)]
pub(crate) struct Watch<S> {
    inner: S,
}

impl<S> Service<Request<Body>> for Watch<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> S::Future {
        let (mut parts, body) = request.into_parts();
        let peer = Peer::default();
        parts.extensions.insert(peer.clone());
        let tells_its_end = parts.version == Version::HTTP_2;
        self.inner.call(Request::from_parts(parts, Body::new(Watched { body, peer, tells_its_end })))
    }
}

/// A body that tells when it breaks.
struct Watched {
    body: Body,
    peer: Peer,
    /// A body of HTTP/2 knows whether it ended or was only cut short.
    tells_its_end: bool,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        let broke = match &frame {
            Poll::Ready(Some(Err(_))) => true,
            // A reset without an error reads like an end.
            Poll::Ready(None) => self.tells_its_end && !self.body.is_end_stream(),
            Poll::Ready(Some(Ok(_))) | Poll::Pending => false,
        };
        if broke {
            self.peer.leave();
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

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, StreamBody};

    use super::*;

    /// What is thought of a caller whose body is this, once it was read.
    async fn judged(version: Version, frames: Vec<Result<Frame<Bytes>, Status>>) -> bool {
        let peer = Peer::default();
        let body = Body::new(StreamBody::new(futures::stream::iter(frames)));
        let watched = Watched { body, peer: peer.clone(), tells_its_end: version == Version::HTTP_2 };
        let _ = watched.collect().await;
        peer.is_gone()
    }

    #[tokio::test]
    async fn a_body_that_breaks_or_is_cut_short_tells_that_nobody_is_there() {
        let piece = || Ok(Frame::data(Bytes::from_static(b"x")));
        for version in [Version::HTTP_11, Version::HTTP_2] {
            assert!(judged(version, vec![piece(), Err(Status::unknown("reset"))]).await, "{version:?}");
        }
        // A stream of ours never says that it ended, like one that was reset without an error.
        assert!(judged(Version::HTTP_2, vec![piece()]).await);
        assert!(!judged(Version::HTTP_11, vec![piece()]).await);
    }

    #[tokio::test]
    async fn a_body_that_ends_tells_nothing() {
        let peer = Peer::default();
        let body = Body::new(http_body_util::Full::new(Bytes::from_static(b"x")));
        let watched = Watched { body, peer: peer.clone(), tells_its_end: true };
        watched.collect().await.unwrap();
        assert!(!peer.is_gone());
    }
}
