//! What accompanies a call: its request id, and the trace it belongs to.
//!
//! Both are taken from the caller's headers where they are sound, sent back with every answer, and handed on to the worker
//! of the runs that the call makes. An id that the caller did not choose is not handed on: it names one answer of ours, and
//! would be written into every run for nobody.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderValue};

/// The header of request ids.
pub(crate) const REQUEST_ID: &str = "x-request-id";
/// W3C trace context.
const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

const MAX_REQUEST_ID: usize = 128;
const MAX_TRACESTATE: usize = 512;

/// What accompanies one call.
#[derive(Clone, Debug)]
pub(crate) struct CallContext {
    /// The caller's id of the call, or ours.
    pub(crate) request_id: HeaderValue,
    /// It is the caller's.
    chosen: bool,
    traceparent: Option<HeaderValue>,
    tracestate: Option<HeaderValue>,
}

impl CallContext {
    /// From the headers of a request.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let chosen = headers.get(REQUEST_ID).filter(|id| is_id(id)).cloned();
        let is_chosen = chosen.is_some();
        let request_id = chosen.unwrap_or_else(|| {
            let id = uuid::Uuid::new_v4().to_string();
            HeaderValue::try_from(id).unwrap_or_else(|_| HeaderValue::from_static("none"))
        });
        let traceparent = headers.get(TRACEPARENT).filter(|value| is_traceparent(value)).cloned();
        let tracestate = headers
            .get(TRACESTATE)
            .filter(|value| traceparent.is_some() && value.len() <= MAX_TRACESTATE && value.to_str().is_ok())
            .cloned();
        Self { request_id, chosen: is_chosen, traceparent, tracestate }
    }

    /// Sends them back.
    pub(crate) fn echo(&self, headers: &mut HeaderMap) {
        headers.insert(REQUEST_ID, self.request_id.clone());
        if let Some(traceparent) = &self.traceparent {
            headers.insert(TRACEPARENT, traceparent.clone());
        }
    }

    /// For the worker of the runs that the call makes.
    pub(crate) fn headers(&self) -> BTreeMap<String, String> {
        [
            (REQUEST_ID, Some(&self.request_id).filter(|_| self.chosen)),
            (TRACEPARENT, self.traceparent.as_ref()),
            (TRACESTATE, self.tracestate.as_ref()),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.to_str().ok()?.to_owned())))
        .collect()
    }

    /// The id as text.
    pub(crate) fn id(&self) -> &str {
        self.request_id.to_str().unwrap_or_default()
    }
}

fn is_id(id: &HeaderValue) -> bool {
    (1..=MAX_REQUEST_ID).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
}

/// `00-<32 hex>-<16 hex>-<2 hex>`, or a longer form of a later version.
fn is_traceparent(value: &HeaderValue) -> bool {
    let Ok(text) = value.to_str() else { return false };
    let parts: Vec<_> = text.split('-').collect();
    let hex = |part: &str, length| part.len() == length && part.bytes().all(|c| c.is_ascii_hexdigit());
    text.len() <= 128
        && parts.len() >= 4
        && [2, 32, 16, 2].into_iter().zip(&parts).all(|(length, part)| hex(part, length))
        && parts[0] != "ff"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &'static str, value: &'static str) -> CallContext {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_static(value));
        CallContext::of(&headers)
    }

    #[test]
    fn a_sound_id_is_kept_and_another_is_replaced() {
        assert_eq!(of(REQUEST_ID, "abc-1").id(), "abc-1");
        assert_eq!(of(REQUEST_ID, "abc-1").headers()[REQUEST_ID], "abc-1");
        for bad in ["", "with space"] {
            assert_ne!(of(REQUEST_ID, bad).id(), bad);
            assert!(!of(REQUEST_ID, bad).id().is_empty());
            assert!(of(REQUEST_ID, bad).headers().is_empty(), "nobody chose it");
        }
    }

    #[test]
    fn trace_context_is_handed_on() {
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let context = of(TRACEPARENT, trace);
        assert_eq!(context.headers()[TRACEPARENT], trace);
        let mut echoed = HeaderMap::new();
        context.echo(&mut echoed);
        assert_eq!(echoed[TRACEPARENT], trace);
        for bad in ["00-1-2-3", "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"] {
            assert!(!of(TRACEPARENT, bad).headers().contains_key(TRACEPARENT));
        }
    }
}
