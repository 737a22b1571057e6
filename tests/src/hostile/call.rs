//! A call made of bytes, and the answer as it came: no library looks at either, or says in the server's place what the
//! server did not say.

use std::{convert::Infallible, time::Duration};

use anyhow::{Context as _, Result, bail};
use bytes::{Buf as _, Bytes};
use futures::{StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION, header::CONTENT_TYPE};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use tonic::{Status, TimeoutExpired, body::Body, transport::Channel};
use tower::{Service as _, ServiceExt as _};

use crate::harness::host;

/// What a call came to.
#[derive(Debug)]
pub(super) enum Answer {
    /// It ended.
    Ended {
        /// How; the code is OK where all was well.
        status: Box<Status>,
        /// Bytes of all headers and trailers.
        header_bytes: usize,
        /// The messages of the answer.
        messages: Vec<Bytes>,
    },
    /// It was still going on when the caller had enough.
    Open,
    /// Its own deadline was over first.
    Late,
}

/// Makes a call; after `patience` the caller leaves.
pub(super) async fn call(
    channel: &Channel,
    path: &str,
    headers: HeaderMap,
    body: Vec<u8>,
    stays_open: bool,
    patience: Duration,
) -> Result<Answer> {
    let body = Bytes::from(body);
    let body = if stays_open {
        let first = stream::once(std::future::ready(Ok::<_, Infallible>(Frame::data(body))));
        Body::new(StreamBody::new(first.chain(stream::pending())))
    } else {
        Body::new(Full::new(body))
    };
    let mut request = http::Request::new(body);
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = path.parse()?;
    *request.headers_mut() = headers;
    let mut channel = channel.clone();
    let answered = async {
        let response = channel.ready().await?.call(request).await?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.context("the answer broke off")?;
        anyhow::Ok((parts, body))
    };
    let Ok(answered) = host::within(patience, "the answer", answered).await else { return Ok(Answer::Open) };
    let (parts, body) = match answered {
        // The client keeps the deadline of a call by itself, and may be first.
        Err(error) if error.chain().any(|cause| cause.is::<TimeoutExpired>()) => return Ok(Answer::Late),
        answered => answered?,
    };
    if parts.status != http::StatusCode::OK {
        bail!("HTTP {}", parts.status);
    }
    let trailers = body.trailers().cloned().unwrap_or_default();
    let status = [&trailers, &parts.headers].into_iter().find_map(Status::from_header_map);
    let status = status.with_context(|| format!("an answer without a status: {:?} {trailers:?}", parts.headers))?;
    let header_bytes = bytes_of(&parts.headers) + bytes_of(&trailers);
    let messages = messages(body.to_bytes())?;
    Ok(Answer::Ended { status: Box::new(status), header_bytes, messages })
}

/// The headers of every call.
pub(super) fn headers(authorization: Option<&str>, more: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("te", HeaderValue::from_static("trailers"));
    for (name, value) in more {
        if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
            headers.append(*name, value);
        }
    }
    if let Some(value) = authorization.and_then(|text| HeaderValue::from_bytes(text.as_bytes()).ok()) {
        headers.insert(AUTHORIZATION, value);
    }
    headers
}

/// As HPACK counts them.
fn bytes_of(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum()
}

fn messages(mut bytes: Bytes) -> Result<Vec<Bytes>> {
    let mut messages = Vec::new();
    while bytes.has_remaining() {
        let flag = bytes.try_get_u8()?;
        let length = bytes.try_get_u32()? as usize;
        if flag != 0 || length > bytes.len() {
            bail!("a frame of the answer is broken: flag {flag}, {length} bytes of {}", bytes.len());
        }
        messages.push(bytes.split_to(length));
    }
    Ok(messages)
}
