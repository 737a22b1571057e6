//! Payloads: bytes with a media type, which people may write and read as JSON.
//!
//! What comes as `json` is stored as JSON text. Text whose media type is JSON goes back as `json` where [`json`] can say
//! what it says; anything else goes back as `inline`. Workers always get `inline`.

use mainspring_engine::domain::payload::Payload;
use mainspring_proto::common::v1 as wire;

use super::{Check, json};
use crate::grpc::status::Reason;

const MAX_CONTENT_TYPE: usize = 255;

pub(crate) const JSON: &str = "application/json";
const BYTES: &str = "application/octet-stream";

/// Where in a request a payload is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The field of the payload itself.
    pub(crate) field: String,
    /// The arm of `data` below it; empty where there is none.
    pub(crate) arm: &'static str,
}

impl Place {
    /// Of a payload in `field`.
    pub(crate) fn of(field: impl Into<String>, payload: Option<&wire::Payload>) -> Self {
        let arm = match payload.and_then(|payload| payload.data.as_ref()) {
            Some(wire::payload::Data::Json(_)) => "json",
            Some(wire::payload::Data::Inline(_)) => "inline",
            Some(wire::payload::Data::Reference(_)) | None => "",
        };
        Self { field: field.into(), arm }
    }
}

impl Check {
    /// A payload that a caller gave, at most `max` bytes; empty where none was given. What says that it is JSON is.
    pub(crate) fn payload(&mut self, field: &str, payload: Option<wire::Payload>, max: usize) -> Option<Payload> {
        let is_text = matches!(&payload, Some(wire::Payload { data: Some(wire::payload::Data::Inline(_)), .. }));
        let payload = self.any_payload(field, payload, max)?;
        if is_text && payload.is_json() {
            self.under(field, |check| check.json_text(&payload.data));
        }
        Some(payload)
    }

    /// Reads without building anything, so that nesting costs nothing.
    fn json_text(&mut self, text: &[u8]) {
        const THEN: &str = "mend it, or give it another `content_type`";
        let text = match std::str::from_utf8(text) {
            Ok(text) => text,
            Err(error) => return self.refuse("inline", format!("is not JSON: {error}; {THEN}")),
        };
        if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(text) {
            self.refuse("inline", format!("is not JSON: {error}; {THEN}"));
            self.detail("line", error.line());
            self.detail("column", error.column());
        }
    }

    /// A payload whose bytes are what they are: a worker's output is kept, whatever it calls it.
    pub(crate) fn any_payload(&mut self, field: &str, payload: Option<wire::Payload>, max: usize) -> Option<Payload> {
        let Some(wire::Payload { content_type, data }) = payload else { return Some(Payload::default()) };
        self.under(field, |check| {
            if content_type.len() > MAX_CONTENT_TYPE || !content_type.bytes().all(|c| (0x20..0x7f).contains(&c)) {
                check.refuse("content_type", format!("must be a media type of at most {MAX_CONTENT_TYPE} characters"));
            }
            let (default, data) = match data {
                Some(wire::payload::Data::Inline(bytes)) => (BYTES, bytes),
                Some(wire::payload::Data::Json(value)) => match json::to_text(&value) {
                    Ok(text) => (JSON, text.into_bytes()),
                    Err(why) => {
                        check.refuse("json", why);
                        return None;
                    }
                },
                Some(wire::payload::Data::Reference(_)) => {
                    check.refuse("reference", "is not accepted by this version; send the bytes as `inline`");
                    return None;
                }
                None => {
                    check.refuse("", "must carry `json` or `inline`");
                    return None;
                }
            };
            if data.len() > max {
                let why = format!("is {} bytes; the limit is {max}", data.len());
                check.refuse_as(Reason::PayloadTooLarge, "", why);
                check.detail("limit_bytes", max);
                check.detail("size_bytes", data.len());
                return None;
            }
            let content_type = if content_type.is_empty() { default.into() } else { content_type };
            Some(Payload { content_type, data })
        })
    }
}

/// A payload for people; none where there is none.
pub(crate) fn to_caller(payload: Payload) -> Option<wire::Payload> {
    let Payload { content_type, data } = payload;
    if content_type.is_empty() && data.is_empty() {
        return None;
    }
    let data = match (content_type == JSON).then(|| json::from_text(&data)).flatten() {
        Some(value) => wire::payload::Data::Json(value),
        None => wire::payload::Data::Inline(data),
    };
    Some(wire::Payload { content_type, data: Some(data) })
}

/// A payload for a worker; none where there is none.
pub(crate) fn to_worker(payload: Payload) -> Option<wire::Payload> {
    let Payload { content_type, data } = payload;
    (!content_type.is_empty() || !data.is_empty())
        .then_some(wire::Payload { content_type, data: Some(wire::payload::Data::Inline(data)) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost_types::{ListValue, Struct, Value, value::Kind};

    use super::*;
    use crate::grpc::{convert::read, status::Refusal};

    fn stored(data: wire::payload::Data) -> Result<Payload, Refusal> {
        let payload = wire::Payload { content_type: String::new(), data: Some(data) };
        read(|check| check.payload("payload", Some(payload), 1 << 20))
    }

    #[test]
    fn only_json_that_loses_nothing_is_answered_as_json() {
        for text in [r#"{"a":1,"a":2}"#, "9007199254740993", "{", ""] {
            let payload = Payload { content_type: JSON.into(), data: text.into() };
            let data = to_caller(payload).unwrap().data;
            assert_eq!(data, Some(wire::payload::Data::Inline(text.into())), "{text}");
        }
        let spaced = to_caller(Payload { content_type: JSON.into(), data: br#"{"b": 1, "a": 2}"#.to_vec() }).unwrap();
        let sorted = to_caller(Payload { content_type: JSON.into(), data: br#"{"a":2,"b":1}"#.to_vec() }).unwrap();
        assert_eq!(spaced, sorted);
        assert!(matches!(spaced.data, Some(wire::payload::Data::Json(_))), "{spaced:?}");
        let plain = Payload { content_type: "text/plain".into(), data: b"1".to_vec() };
        assert_eq!(to_caller(plain).unwrap().data, Some(wire::payload::Data::Inline(b"1".to_vec())));
        assert_eq!(to_caller(Payload::default()), None);
    }

    #[test]
    fn limits_are_told() {
        let too_large =
            wire::Payload { content_type: String::new(), data: Some(wire::payload::Data::Inline(vec![0; 11])) };
        let refusal = read(|check| check.payload("payload", Some(too_large), 10)).unwrap_err();
        assert_eq!(refusal.reason(), Reason::PayloadTooLarge);
        assert_eq!(refusal.metadata()["limit_bytes"], "10");
        assert!(stored(wire::payload::Data::Reference(wire::PayloadReference::default())).is_err());
        let empty = wire::Payload { content_type: String::new(), data: None };
        assert!(read(|check| check.payload("payload", Some(empty), 10)).is_err());
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Kind::NullValue(0)),
            any::<bool>().prop_map(Kind::BoolValue),
            any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(Kind::NumberValue),
            ".{0,8}".prop_map(Kind::StringValue),
        ]
        .prop_map(|kind| Value { kind: Some(kind) });
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4)
                    .prop_map(|values| Value { kind: Some(Kind::ListValue(ListValue { values })) }),
                prop::collection::btree_map(".{0,4}", inner, 0..4)
                    .prop_map(|fields| Value { kind: Some(Kind::StructValue(Struct { fields })) }),
            ]
        })
    }

    proptest! {
        #[test]
        fn json_comes_back_as_it_went(value in any_value()) {
            let payload = stored(wire::payload::Data::Json(value.clone())).unwrap();
            prop_assert_eq!(to_caller(payload).unwrap().data, Some(wire::payload::Data::Json(value)));
        }

        #[test]
        fn bytes_come_back_as_they_went(data: Vec<u8>, content_type in "[a-z]{1,9}/[a-z]{1,9}") {
            let payload = Payload { content_type, data };
            let sent = to_worker(payload.clone());
            prop_assert_eq!(read(|check| check.payload("p", sent, 1 << 20)).unwrap(), payload);
        }
    }
}
