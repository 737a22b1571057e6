//! `-d`: what is typed becomes the JSON payload of a run.
//!
//! `k=v` is a string, `k:=JSON` anything, `@file` and `-` hold a whole JSON document. A text that begins with `{`, `[` or
//! `"` is one itself, and so is any other without `=` that can be read as JSON: `5`, `true`, `null`. Fields that come after
//! an object are put into it.

use std::{collections::BTreeSet, path::Path};

use mainspring_proto::{
    common::v1::{Payload, payload},
    digits::EXACT,
};
use prost::Message as _;
use prost_types::{ListValue, Struct, Value, value::Kind};
use serde_json::{Map, Value as Json};

use crate::document::{self, DocumentError, quoted};

/// The largest `Payload.json` that servers answer with; nothing larger is sent.
const LARGEST_VALUE: usize = 1 << 20;
/// The deepest that servers read and answer with.
const DEEPEST_VALUE: usize = 30;
const JSON: &str = "application/json";

/// Why `-d` makes no payload.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PayloadError {
    /// None of the forms.
    #[error("`-d {0}` is none of KEY=TEXT, KEY:=JSON, @FILE, - and a JSON value")]
    Form(String),
    /// What it is or names makes no document.
    #[error("`-d {from}` {source}")]
    Document {
        /// The argument.
        from: String,
        /// What is wrong with it.
        source: DocumentError,
    },
    /// A field for a document that is no object.
    #[error("field `{0}` cannot be put into a payload that is no JSON object")]
    NoObject(String),
    /// A document where there is something already.
    #[error("`-d {0}` is a whole payload, and what stands before it would be lost; a document comes first, and alone")]
    Second(String),
    /// A field that was typed before.
    #[error("field `{0}` is given twice")]
    Twice(String),
}

/// The payload that all `-d` make together; `None` where there is none.
pub(crate) fn from_arguments(arguments: &[String]) -> Result<Option<Payload>, PayloadError> {
    Ok(document(arguments)?.map(sent))
}

/// The document that all `-d` make together; `None` where there is none.
pub(crate) fn document(arguments: &[String]) -> Result<Option<Json>, PayloadError> {
    let mut document: Option<Json> = None;
    let mut typed = BTreeSet::new();
    for argument in arguments {
        let Some(whole) = whole(argument)? else {
            let (key, value) = field(argument)?;
            if !typed.insert(key.clone()) {
                return Err(PayloadError::Twice(quoted(&key)));
            }
            match document.get_or_insert_with(|| Json::Object(Map::new())) {
                Json::Object(fields) => fields.insert(key, value),
                Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) => {
                    return Err(PayloadError::NoObject(quoted(&key)));
                }
            };
            continue;
        };
        if document.replace(whole).is_some() {
            return Err(PayloadError::Second(quoted(argument)));
        }
    }
    Ok(document)
}

/// The document that an argument is or names; `None` where it is a field.
fn whole(argument: &str) -> Result<Option<Json>, PayloadError> {
    let text = match argument.strip_prefix('@') {
        Some(path) => document::of_file(Path::new(path)).map_err(|source| refused(argument, source))?,
        None if argument == "-" => document::of_stdin().map_err(|source| refused(argument, source))?,
        None if argument.starts_with(['{', '[', '"']) => argument.to_owned(),
        None if argument.contains('=') => return Ok(None),
        None => {
            return match parse(argument, argument) {
                Err(PayloadError::Document { source: DocumentError::Json(_), .. }) => {
                    Err(PayloadError::Form(quoted(argument)))
                }
                scalar => scalar.map(Some),
            };
        }
    };
    parse(argument, &text).map(Some)
}

/// As `json`, or as the bytes of the same document where that would be too deep, or too large on the wire: `[0,0,…]` takes
/// more than five times its text there.
fn sent(document: Json) -> Payload {
    let text = document.to_string();
    let is_deep = document::depth(&document) > DEEPEST_VALUE;
    let value = to_proto(document);
    if !is_deep && value.encoded_len() <= LARGEST_VALUE {
        return Payload { content_type: String::new(), data: Some(payload::Data::Json(value)) };
    }
    Payload { content_type: JSON.into(), data: Some(payload::Data::Inline(text.into_bytes())) }
}

/// `KEY:=JSON` before `KEY=TEXT`: a key never ends in a colon.
fn field(text: &str) -> Result<(String, Json), PayloadError> {
    let refuse = || PayloadError::Form(quoted(text));
    let (key, value) = text.split_once('=').ok_or_else(refuse)?;
    let (key, value) = match key.strip_suffix(':') {
        Some(key) => (key, parse(text, value)?),
        None => (key, Json::String(value.into())),
    };
    if key.is_empty() { Err(refuse()) } else { Ok((key.into(), value)) }
}

fn parse(from: &str, text: &str) -> Result<Json, PayloadError> {
    document::parsed(text).map_err(|source| refused(from, source))
}

fn refused(from: &str, source: DocumentError) -> PayloadError {
    PayloadError::Document { from: quoted(from), source }
}

fn to_proto(json: Json) -> Value {
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(value) => Kind::BoolValue(value),
        // serde_json knows the double of every number that it has read.
        Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or(f64::NAN)),
        Json::String(value) => Kind::StringValue(value),
        Json::Array(values) => Kind::ListValue(ListValue { values: values.into_iter().map(to_proto).collect() }),
        Json::Object(fields) => Kind::StructValue(Struct {
            fields: fields.into_iter().map(|(key, value)| (key, to_proto(value))).collect(),
        }),
    };
    Value { kind: Some(kind) }
}

/// A payload as one line for a person.
pub(crate) fn shown(payload: &Payload) -> String {
    let Payload { content_type, data } = payload;
    match data {
        None => String::new(),
        Some(payload::Data::Json(value)) => to_json(value).to_string(),
        Some(payload::Data::Inline(bytes)) => match std::str::from_utf8(bytes) {
            Ok(text) if content_type.contains("json") || content_type.starts_with("text/") => text.into(),
            Ok(_) | Err(_) => format!("{} bytes of {content_type}", bytes.len()),
        },
        Some(payload::Data::Reference(reference)) => format!("{} bytes at {}", reference.size_bytes, reference.uri),
    }
}

fn to_json(value: &Value) -> Json {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => Json::Null,
        Some(Kind::BoolValue(value)) => Json::Bool(*value),
        Some(Kind::NumberValue(value)) => number(*value),
        Some(Kind::StringValue(value)) => Json::String(value.clone()),
        Some(Kind::ListValue(list)) => list.values.iter().map(to_json).collect(),
        Some(Kind::StructValue(fields)) => {
            fields.fields.iter().map(|(key, value)| (key.clone(), to_json(value))).collect()
        }
    }
}

/// A double as JSON writes it: `1`, not `1.0`.
fn number(value: f64) -> Json {
    if value.fract() == 0.0 && value.abs() <= EXACT as f64 { Json::from(value as i64) } else { Json::from(value) }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use serde_json::json;

    use mainspring_proto::common::v1::payload::Data;

    use super::{DocumentError, JSON, PayloadError, from_arguments, shown};

    fn made(arguments: &[&str]) -> Result<String, PayloadError> {
        let arguments: Vec<String> = arguments.iter().map(|text| (*text).into()).collect();
        from_arguments(&arguments).map(|payload| payload.map(|payload| shown(&payload)).unwrap_or_default())
    }

    #[test]
    fn fields_are_strings_unless_they_say_otherwise() {
        let payload =
            made(&["name=Ada", "copies:=3", "ratio:=0.5", "tags:=[\"a\",null]", "empty=", "url=http://a?b=c"]);
        let expected =
            json!({"name": "Ada", "copies": 3, "ratio": 0.5, "tags": ["a", null], "empty": "", "url": "http://a?b=c"});
        assert_eq!(payload.unwrap(), expected.to_string());
        assert_eq!(made(&[]).unwrap(), "");
    }

    #[test]
    fn a_document_comes_from_a_file_and_takes_fields() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write!(file, r#"{{"name": "Ada", "copies": 1}}"#).unwrap();
        let from_file = format!("@{}", file.path().display());
        assert_eq!(made(&[&from_file, "copies:=2"]).unwrap(), r#"{"copies":2,"name":"Ada"}"#);
        assert_eq!(made(&[r#"{"a": {"b": [1]}}"#]).unwrap(), r#"{"a":{"b":[1]}}"#);
    }

    #[test]
    fn a_document_may_be_any_json_value() {
        for text in ["[1,2]", "5", "-5", "1.5", "true", "null", r#""a=b""#, r#"["a=b"]"#, "[]"] {
            assert_eq!(made(&[text]).unwrap(), text, "{text}");
        }
        assert!(matches!(made(&["[1,2]", "a=b"]), Err(PayloadError::NoObject(_))));
        assert!(matches!(made(&["[1,"]), Err(PayloadError::Document { source: DocumentError::Json(_), .. })));
    }

    #[test]
    fn nonsense_is_refused_with_its_reason() {
        assert!(matches!(made(&["name"]), Err(PayloadError::Form(_))));
        assert!(matches!(made(&["=x"]), Err(PayloadError::Form(_))));
        assert!(matches!(made(&[":=1"]), Err(PayloadError::Form(_))));
        assert!(matches!(made(&["n:=one"]), Err(PayloadError::Document { source: DocumentError::Json(_), .. })));
        assert!(matches!(made(&["{\"a\": }"]), Err(PayloadError::Document { source: DocumentError::Json(_), .. })));
        assert!(matches!(
            made(&["@/nowhere/at/all"]),
            Err(PayloadError::Document { source: DocumentError::Read(_), .. })
        ));
    }

    #[test]
    fn digits_are_never_lost_in_silence() {
        assert_eq!(made(&["n:=9007199254740992"]).unwrap(), r#"{"n":9007199254740992}"#);
        for line in [
            "n:=9007199254740993",
            "n:=-9007199254740993",
            "n:=18446744073709551616",
            "n:=-9223372036854775809",
            "n:=[0.1234567890123456789012]",
            "12345678901234567890123",
            r#"{"id":12345678901234567890123}"#,
        ] {
            assert!(
                matches!(made(&[line]), Err(PayloadError::Document { source: DocumentError::Inexact(_), .. })),
                "{line}"
            );
        }
        assert_eq!(made(&["n=12345678901234567890123"]).unwrap(), r#"{"n":"12345678901234567890123"}"#);
    }

    #[test]
    fn nothing_that_was_typed_is_dropped_in_silence() {
        assert!(matches!(made(&["a=1", "[1]"]), Err(PayloadError::Second(_))));
        assert!(matches!(made(&["a=1", "5"]), Err(PayloadError::Second(_))));
        assert!(matches!(made(&[r#"{"a":1}"#, r#"{"b":1}"#]), Err(PayloadError::Second(_))));
        assert!(matches!(made(&["a=1", "a=2"]), Err(PayloadError::Twice(_))));
        assert!(matches!(made(&["a=1", "a:=1"]), Err(PayloadError::Twice(_))));
        // To change a document is what a field after it is for.
        assert_eq!(made(&[r#"{"a":1}"#, "a=2"]).unwrap(), r#"{"a":"2"}"#);
    }

    #[test]
    fn a_large_document_is_sent_as_its_bytes() {
        let zeros = |count: usize| {
            let argument = format!("{{\"n\":[{}]}}", vec!["0"; count].join(","));
            let payload = from_arguments(std::slice::from_ref(&argument)).unwrap().unwrap();
            (argument, payload)
        };
        assert!(matches!(zeros(9).1.data, Some(Data::Json(_))));
        let (text, payload) = zeros(100_000);
        assert_eq!((payload.content_type.as_str(), payload.data), (JSON, Some(Data::Inline(text.into_bytes()))));
    }

    #[test]
    fn a_deep_document_is_sent_as_its_bytes() {
        for (levels, is_value) in [(30, true), (31, false), (100, false)] {
            let text = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
            let payload = from_arguments(std::slice::from_ref(&text)).unwrap().unwrap();
            match payload.data {
                Some(Data::Json(_)) => assert!(is_value, "{levels}"),
                data => assert_eq!((is_value, data), (false, Some(Data::Inline(text.into_bytes()))), "{levels}"),
            }
        }
    }

    #[test]
    fn what_is_wrong_is_not_buried_in_what_was_typed() {
        let long = format!("[{}", "0,".repeat(1000));
        let told = made(&[&long]).unwrap_err().to_string();
        assert!(told.starts_with("`-d [0,0,") && told.contains("…` is no JSON: ") && told.len() < 200, "{told}");
        assert_eq!(
            made(&[r#"{"a":1,"a":2}"#]).unwrap_err().to_string(),
            r#"`-d {"a":1,"a":2}` names the field `a` twice in one object"#
        );
    }

    #[test]
    fn a_field_needs_an_object() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write!(file, "[1, 2]").unwrap();
        let from_file = format!("@{}", file.path().display());
        assert_eq!(made(&[&from_file]).unwrap(), "[1,2]");
        assert!(matches!(made(&[&from_file, "a=b"]), Err(PayloadError::NoObject(_))));
    }
}
