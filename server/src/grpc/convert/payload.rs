//! Payloads: bytes with a media type, which people may write and read as JSON.
//!
//! What comes as `json` is stored as JSON text. It goes back as `json` exactly where that loses nothing and grows to nothing
//! that a client could not read: the media type is JSON, the text is the very one that `json` would be stored as, and the
//! message is not larger than [`MAX_JSON`]. Anything else goes back as `inline`. Workers always get `inline`.

use std::collections::BTreeMap;

use mainspring_engine::domain::payload::Payload;
use mainspring_proto::common::v1 as wire;
use prost::Message as _;
use prost_types::{ListValue, Struct, Value, value::Kind};

use super::Check;
use crate::grpc::status::Reason;

/// `json` is nested at most so deep: prost gives up at 100 messages, and an object level costs three.
pub(crate) const MAX_DEPTH: usize = 30;
/// A payload is answered as `json` up to this size on the wire: `[0,0,…]` takes more than five times its text, and two
/// payloads of a run must fit into the 4 MiB that clients read.
const MAX_JSON: usize = 1 << 20;
/// Up to here a double holds every whole number.
const MAX_WHOLE: f64 = 9_007_199_254_740_992.0;
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
                Some(wire::payload::Data::Json(value)) => match to_text(&value) {
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
    let data = match (content_type == JSON).then(|| from_text(&data)).flatten() {
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

/// The JSON text of a value, or why it has none.
fn to_text(value: &Value) -> Result<String, String> {
    serde_json::to_string(&to_json(value, 0)?).map_err(|error| error.to_string())
}

fn to_json(value: &Value, depth: usize) -> Result<serde_json::Value, String> {
    let deeper = || {
        if depth < MAX_DEPTH {
            Ok(depth + 1)
        } else {
            Err(format!("is nested deeper than {MAX_DEPTH} levels; send it as `inline`"))
        }
    };
    Ok(match &value.kind {
        None => return Err("holds a value without a kind; write null as `null_value`".into()),
        Some(Kind::NullValue(_)) => serde_json::Value::Null,
        Some(Kind::BoolValue(value)) => (*value).into(),
        Some(Kind::StringValue(text)) => text.as_str().into(),
        Some(Kind::NumberValue(number)) => to_number(*number)?,
        Some(Kind::ListValue(ListValue { values })) => {
            let depth = deeper()?;
            values.iter().map(|value| to_json(value, depth)).collect::<Result<Vec<_>, _>>()?.into()
        }
        Some(Kind::StructValue(Struct { fields })) => {
            let depth = deeper()?;
            let entries = fields.iter().map(|(key, value)| Ok((key.clone(), to_json(value, depth)?)));
            serde_json::Value::Object(entries.collect::<Result<_, String>>()?)
        }
    })
}

/// A whole number is written as `1`, or typed handlers would not take it.
fn to_number(number: f64) -> Result<serde_json::Value, String> {
    if number.fract() == 0.0 && number.abs() <= MAX_WHOLE {
        #[expect(clippy::cast_possible_truncation, reason = "whole and within bounds")]
        return Ok((number as i64).into());
    }
    serde_json::Number::from_f64(number)
        .map(serde_json::Value::Number)
        .ok_or_else(|| "holds a number that JSON does not have (NaN or infinite)".to_owned())
}

/// The value of a JSON text, where writing the value gives the same text again.
fn from_text(text: &[u8]) -> Option<Value> {
    let value = from_json(&serde_json::from_slice(text).ok()?, 0)?;
    (value.encoded_len() <= MAX_JSON && to_text(&value).ok()?.as_bytes() == text).then_some(value)
}

fn from_json(json: &serde_json::Value, depth: usize) -> Option<Value> {
    let deeper = || (depth < MAX_DEPTH).then_some(depth + 1);
    let kind = match json {
        serde_json::Value::Null => Kind::NullValue(0),
        serde_json::Value::Bool(value) => Kind::BoolValue(*value),
        serde_json::Value::Number(number) => Kind::NumberValue(number.as_f64()?),
        serde_json::Value::String(text) => Kind::StringValue(text.clone()),
        serde_json::Value::Array(items) => {
            let depth = deeper()?;
            let values = items.iter().map(|item| from_json(item, depth)).collect::<Option<_>>()?;
            Kind::ListValue(ListValue { values })
        }
        serde_json::Value::Object(entries) => {
            let depth = deeper()?;
            let fields = entries.iter().map(|(key, item)| Some((key.clone(), from_json(item, depth)?)));
            Kind::StructValue(Struct { fields: fields.collect::<Option<BTreeMap<_, _>>>()? })
        }
    };
    Some(Value { kind: Some(kind) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::grpc::{convert::read, status::Refusal};

    fn stored(data: wire::payload::Data) -> Result<Payload, Refusal> {
        let payload = wire::Payload { content_type: String::new(), data: Some(data) };
        read(|check| check.payload("payload", Some(payload), 1 << 20))
    }

    fn text_of(kind: Kind) -> String {
        let payload = stored(wire::payload::Data::Json(Value { kind: Some(kind) })).unwrap();
        assert_eq!(payload.content_type, JSON);
        String::from_utf8(payload.data).unwrap()
    }

    fn nested(levels: usize) -> Value {
        (0..levels).fold(Value { kind: Some(Kind::NullValue(0)) }, |inner, _| Value {
            kind: Some(Kind::StructValue(Struct { fields: [("a".to_owned(), inner)].into() })),
        })
    }

    #[test]
    fn whole_numbers_are_written_without_a_point() {
        for (number, text) in [
            (1.0, "1"),
            (-0.0, "0"),
            (1.5, "1.5"),
            (MAX_WHOLE, "9007199254740992"),
            (-MAX_WHOLE, "-9007199254740992"),
            (1e300, "1e+300"),
        ] {
            assert_eq!(text_of(Kind::NumberValue(number)), text);
        }
        assert!(stored(wire::payload::Data::Json(Value { kind: Some(Kind::NumberValue(f64::NAN)) })).is_err());
    }

    #[test]
    fn thirty_levels_are_enough() {
        assert!(stored(wire::payload::Data::Json(nested(30))).is_ok());
        let refusal = stored(wire::payload::Data::Json(nested(31))).unwrap_err();
        assert!(refusal.message().contains("30 levels"), "{}", refusal.message());
    }

    #[test]
    fn what_the_server_could_not_give_back_unchanged_stays_bytes() {
        for text in [r#"{"b":1,"a":2}"#, r#"{"a": 1}"#, "9007199254740993", "1.0", "{", ""] {
            let payload = Payload { content_type: JSON.into(), data: text.into() };
            let data = to_caller(payload).unwrap().data;
            assert_eq!(data, Some(wire::payload::Data::Inline(text.into())), "{text}");
        }
        let plain = Payload { content_type: "text/plain".into(), data: b"1".to_vec() };
        assert_eq!(to_caller(plain).unwrap().data, Some(wire::payload::Data::Inline(b"1".to_vec())));
        assert_eq!(to_caller(Payload::default()), None);
    }

    #[test]
    fn json_that_grows_too_large_comes_back_as_bytes() {
        let zeros = |count: usize| format!("[{}]", vec!["0"; count].join(","));
        // Eleven bytes each, and a few around them.
        let (fits, grows) = (zeros(95_000), zeros(96_000));
        for (text, as_json) in [(fits, true), (grows, false)] {
            let shown = to_caller(Payload { content_type: JSON.into(), data: text.clone().into() }).unwrap();
            assert_eq!(matches!(shown.data, Some(wire::payload::Data::Json(_))), as_json);
            assert!(shown.encoded_len() <= MAX_JSON + 100 && shown.content_type == JSON);
        }
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
