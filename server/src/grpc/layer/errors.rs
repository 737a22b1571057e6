//! The outermost layer: whatever ends a call, its status has one form.
//!
//! tonic ends calls by itself, without details and under codes that blame the server: a body that is not the message is
//! INTERNAL, one that is too long `OUT_OF_RANGE`, a deadline CANCELLED. Every status that carries no `ErrorInfo` is brought
//! into the contract's form here, whether it comes in headers or in trailers. Of a caller that broke its half off nothing is
//! read into what tonic says of it. What then is still INTERNAL is a bug, and says the request id under which the log tells
//! more.

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
use tonic_types::{ErrorDetails, StatusExt as _};
use tower::{Layer, Service};
use tracing::Instrument as _;

use super::{
    peer::Peer,
    wire::{deadline, of_the_wire},
};
use crate::grpc::{
    request_id::CallContext,
    status::{DOMAIN, INTERNAL_MESSAGE, Reason, Refusal},
};

const STATUS: &str = "grpc-status";
const DETAILS: &str = "grpc-status-details-bin";
/// What a call is told whose time is over.
const LATE: &str = "the deadline passed before the answer; what the call did is not known: repeat it with the same \
                    request_id, and more time";

/// Puts [`Errors`] in front of services.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ErrorsLayer;

impl<S> Layer<S> for ErrorsLayer {
    type Service = Errors<S>;

    fn layer(&self, inner: S) -> Errors<S> {
        Errors { inner }
    }
}

/// Rewrites statuses, keeps deadlines, names calls.
#[derive(Clone, Debug)]
pub(crate) struct Errors<S> {
    inner: S,
}

impl<S> Service<Request<Body>> for Errors<S>
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

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let context = CallContext::of(request.headers());
        request.extensions_mut().insert(context.clone());
        let peer = request.extensions().get::<Peer>().cloned().unwrap_or_default();
        let deadline = deadline(request.headers());
        // Whatever is logged while the call is answered names the call, at any level.
        let path: String = request.uri().path().chars().take(128).collect();
        let span = tracing::error_span!("call", request_id = context.id(), path);
        // Made before tonic makes its own for the same deadline, and so done before it.
        let answer: Pin<Box<dyn Future<Output = _> + Send>> = match deadline {
            Err(refusal) => Box::pin(std::future::ready(Ok(Status::from(refusal).into_http()))),
            Ok(Some(deadline)) => {
                let answer = span.in_scope(|| self.inner.call(request));
                #[expect(clippy::disallowed_methods, reason = "the caller's own deadline")]
                let bounded = tokio::time::timeout(deadline, answer);
                Box::pin(async move {
                    bounded
                        .await
                        .unwrap_or_else(|_| Ok(Status::from(Refusal::new(Reason::DeadlineExceeded, LATE)).into_http()))
                })
            }
            Ok(None) => Box::pin(span.in_scope(|| self.inner.call(request))),
        };
        let answered = async move {
            let Ok(response) = answer.await;
            let (mut parts, body) = response.into_parts();
            rewrite(&mut parts.headers, &context, &peer);
            context.echo(&mut parts.headers);
            match parts.headers.get(STATUS).and_then(|code| code.to_str().ok()) {
                Some(status) => tracing::debug!(status, "refused"),
                None => tracing::debug!("answered"),
            }
            Ok(Response::from_parts(parts, Body::new(Rewritten { body, context, peer })))
        };
        Box::pin(answered.instrument(span))
    }
}

/// A body whose trailers are brought into form.
struct Rewritten {
    body: Body,
    context: CallContext,
    peer: Peer,
}

impl http_body::Body for Rewritten {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        frame.map(|next| {
            next.map(|frame| {
                frame.map(|mut frame| {
                    if let Some(trailers) = frame.trailers_mut() {
                        rewrite(trailers, &self.context, &self.peer);
                    }
                    frame
                })
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Brings a status without details into form.
fn rewrite(headers: &mut HeaderMap, context: &CallContext, peer: &Peer) {
    let fails = headers.get(STATUS).is_some_and(|code| code.as_bytes() != b"0");
    if !fails || headers.contains_key(DETAILS) {
        return;
    }
    let Some(status) = Status::from_header_map(headers) else { return };
    // A bug stays one, whoever hears of it.
    let is_bug = status.message() == INTERNAL_MESSAGE;
    let rewritten = if peer.is_gone() && !is_bug { broken_off() } else { reworded(&status, context) };
    for name in [STATUS, "grpc-message"] {
        headers.remove(name);
    }
    if rewritten.add_header(headers).is_err() {
        tracing::error!(message = status.message(), "a status could not be written");
    }
}

/// What nobody hears any more.
fn broken_off() -> Status {
    Refusal::new(Reason::Cancelled, "the caller broke the call off before it had said all").into()
}

/// What the contract says in place of what tonic, or a bug, said.
fn reworded(status: &Status, context: &CallContext) -> Status {
    let said = status.message();
    let refuse = |reason, message: String| Status::from(Refusal::new(reason, message));
    if let Some(refusal) = of_the_wire(status) {
        return refusal.into();
    }
    match status.code() {
        Code::Unimplemented if said.contains("compressed") => {
            refuse(Reason::CompressionUnsupported, format!("{said}; send it uncompressed"))
        }
        Code::Unimplemented => {
            refuse(Reason::MethodUnknown, "this server has no such method; it may be older than the client".into())
        }
        Code::DeadlineExceeded => refuse(Reason::DeadlineExceeded, LATE.into()),
        Code::Cancelled if said.contains("Timeout expired") => refuse(Reason::DeadlineExceeded, LATE.into()),
        Code::Cancelled => refuse(Reason::Cancelled, "the caller gave up before the answer".into()),
        // The services of health and reflection say this.
        Code::NotFound => refuse(Reason::ServiceUnknown, format!("this server does not serve that: {said}")),
        Code::InvalidArgument => refuse(Reason::MessageMalformed, format!("the request asks for nothing: {said}")),
        code => {
            let id = context.id();
            if said != INTERNAL_MESSAGE {
                tracing::error!(?code, said, request_id = id, "a call ended with a status that is none of ours");
            } else {
                tracing::error!(request_id = id, "a call ended with a bug");
            }
            let metadata = std::collections::HashMap::from([("request_id".to_owned(), id.to_owned())]);
            let mut details = ErrorDetails::with_error_info(Reason::Internal.name(), DOMAIN, metadata);
            details.set_request_info(id, "");
            Status::with_error_details(Code::Internal, format!("{INTERNAL_MESSAGE} (request {id})"), details)
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use prost::Message as _;

    use mainspring_proto::codec::TooMany;

    use super::*;

    fn context() -> CallContext {
        let mut headers = HeaderMap::new();
        headers.insert("x-request-id", http::HeaderValue::from_static("r-1"));
        CallContext::of(&headers)
    }

    fn reason_of(status: &Status) -> (Code, String) {
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!(info.domain, DOMAIN);
        (status.code(), info.reason.clone())
    }

    #[test]
    fn what_tonic_says_is_said_in_the_words_of_the_contract() {
        let garbage = mainspring_proto::scheduler::v1::GetJobRequest::decode(&b"\xff\xff"[..]).unwrap_err();
        for (said, code, reason) in [
            (Status::internal(garbage.to_string()), Code::InvalidArgument, "MESSAGE_MALFORMED"),
            (Status::internal("Missing request message."), Code::InvalidArgument, "MESSAGE_MALFORMED"),
            (Status::internal("Unexpected EOF decoding stream."), Code::InvalidArgument, "MESSAGE_MALFORMED"),
            (
                Status::out_of_range("Error, decoded message length too large: found 5 bytes, the limit is: 4 bytes"),
                Code::InvalidArgument,
                "PAYLOAD_TOO_LARGE",
            ),
            (Status::cancelled("Timeout expired"), Code::DeadlineExceeded, "DEADLINE_EXCEEDED"),
            (Status::unimplemented(""), Code::Unimplemented, "METHOD_UNKNOWN"),
            (
                Status::unimplemented("Content is compressed with `br` which isn't supported"),
                Code::Unimplemented,
                "COMPRESSION_UNSUPPORTED",
            ),
            (Status::unknown("whatever"), Code::Internal, "INTERNAL"),
            (Status::from(Refusal::bug("secret")), Code::Internal, "INTERNAL"),
            (Status::not_found("service not registered"), Code::NotFound, "SERVICE_UNKNOWN"),
            (Status::invalid_argument("invalid MessageRequest"), Code::InvalidArgument, "MESSAGE_MALFORMED"),
            (
                Status::resource_exhausted(
                    "Error decompressing: size limit, of 9 bytes, exceeded while decompressing message",
                ),
                Code::InvalidArgument,
                "PAYLOAD_TOO_LARGE",
            ),
            (
                Status::invalid_argument(TooMany { field: "runs".into(), max: 1_000 }.to_string()),
                Code::InvalidArgument,
                "FIELD_INVALID",
            ),
        ] {
            assert_eq!(reason_of(&reworded(&said, &context())), (code, reason.to_owned()), "{said:?}");
        }
    }

    #[test]
    fn what_is_too_much_says_how_much_it_may_be() {
        let long =
            Status::out_of_range("Error, decoded message length too large: found 5 bytes, the limit is: 4 bytes");
        let status = reworded(&long, &context());
        let info = status.get_error_details().error_info().unwrap().metadata.clone();
        assert_eq!((info["size_bytes"].as_str(), info["limit_bytes"].as_str()), ("5", "4"));
        assert!(!status.message().contains("decoded"), "{}", status.message());
        let many = Status::invalid_argument(TooMany { field: "runs[3].labels".into(), max: 64 }.to_string());
        let status = reworded(&many, &context());
        let violation = status.get_error_details().bad_request().unwrap().field_violations[0].clone();
        assert_eq!(
            (violation.field.as_str(), violation.description.as_str()),
            ("runs[3].labels", "must be at most 64")
        );
    }

    #[test]
    fn a_bug_names_its_request() {
        let status = reworded(&Status::from(Refusal::bug("row 7")), &context());
        assert!(status.message().contains("r-1") && !status.message().contains("row 7"));
        assert_eq!(status.get_error_details().request_info().unwrap().request_id, "r-1");
    }

    #[tokio::test]
    async fn headers_and_trailers_are_both_brought_into_form() {
        let mut trailers = HeaderMap::new();
        Status::internal("Missing request message.").add_header(&mut trailers).unwrap();
        let late =
            http_body_util::Full::new(Bytes::from_static(b"x")).with_trailers(std::future::ready(Some(Ok(trailers))));
        let answers = [Status::internal("Missing request message.").into_http(), Response::new(Body::new(late))];
        for (at, answer) in answers.into_iter().enumerate() {
            let answer = std::sync::Mutex::new(Some(answer));
            let mut service = ErrorsLayer.layer(tower::service_fn(move |_: Request<Body>| {
                let answer = answer.lock().unwrap().take().unwrap();
                async move { Ok::<_, Infallible>(answer) }
            }));
            let response = service.call(Request::new(Body::empty())).await.unwrap();
            assert!(response.headers().contains_key("x-request-id"));
            let (parts, body) = response.into_parts();
            let collected = body.collect().await.unwrap();
            let headers = if at == 0 { &parts.headers } else { collected.trailers().unwrap() };
            let status = Status::from_header_map(headers).unwrap();
            assert_eq!(reason_of(&status), (Code::InvalidArgument, "MESSAGE_MALFORMED".into()));
        }
    }

    #[tokio::test]
    async fn a_deadline_that_passes_says_so() {
        let mut service = ErrorsLayer
            .layer(tower::service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, Infallible>>()));
        let request = Request::builder().header("grpc-timeout", "1m").body(Body::empty()).unwrap();
        let response = service.call(request).await.unwrap();
        let status = Status::from_header_map(response.headers()).unwrap();
        assert_eq!(reason_of(&status), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED".into()));
    }
}
