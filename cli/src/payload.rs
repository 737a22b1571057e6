//! `-d`: what is typed becomes the JSON payload of a run.
//!
//! `k=v` is a string, `k:=JSON` anything, `@file` and `-` hold a whole JSON document. A text that begins with `{`, `[` or
//! `"` is one itself, and so is any other without `=` that can be read as JSON: `5`, `true`, `null`. Fields that come after
//! an object are put into it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Read as _},
    path::PathBuf,
};

use mainspring_proto::{
    common::v1::{Payload, payload},
    digits::{self, EXACT},
};
use prost::Message as _;
use prost_types::{ListValue, Struct, Value, value::Kind};
use serde_json::{Map, Value as Json};

/// The largest `Payload.json` that servers answer with; nothing larger is sent.
const LARGEST_VALUE: usize = 1 << 20;
const JSON: &str = "application/json";

/// Why `-d` makes no payload.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PayloadError {
    /// None of the forms.
    #[error("`-d {0}` is none of KEY=TEXT, KEY:=JSON, @FILE, - and a JSON value")]
    Form(String),
    /// Bad JSON.
    #[error("`-d {from}` is no JSON: {source}")]
    Json {
        /// The argument.
        from: String,
        /// Where it goes wrong.
        source: serde_json::Error,
    },
    /// A file that cannot be read.
    #[error("`-d {from}` cannot be read: {source}")]
    Read {
        /// The argument.
        from: String,
        /// Why.
        source: io::Error,
    },
    /// A field for a document that is no object.
    #[error("field `{0}` cannot be put into a payload that is no JSON object")]
    NoObject(String),
    /// A number the wire cannot carry.
    #[error("the number {0} would lose digits on the way; write it as a string")]
    Inexact(String),
    /// A document where there is something already.
    #[error("`-d {0}` is a whole payload, and what stands before it would be lost; a document comes first, and alone")]
    Second(String),
    /// A field that was typed before.
    #[error("field `{0}` is given twice")]
    Twice(String),
}

/// The payload that all `-d` make together; `None` where there is none.
pub(crate) fn from_arguments(arguments: &[String]) -> Result<Option<Payload>, PayloadError> {
    document(arguments)?.map(sent).transpose()
}

/// The document that all `-d` make together; `None` where there is none.
pub(crate) fn document(arguments: &[String]) -> Result<Option<Json>, PayloadError> {
    let mut document: Option<Json> = None;
    let mut typed = BTreeSet::new();
    for argument in arguments {
        let Some(whole) = whole(argument)? else {
            let (key, value) = field(argument)?;
            if !typed.insert(key.clone()) {
                return Err(PayloadError::Twice(key));
            }
            match document.get_or_insert_with(|| Json::Object(Map::new())) {
                Json::Object(fields) => fields.insert(key, value),
                Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) => {
                    return Err(PayloadError::NoObject(key));
                }
            };
            continue;
        };
        if document.replace(whole).is_some() {
            return Err(PayloadError::Second(argument.clone()));
        }
    }
    Ok(document)
}

/// The document that an argument is or names; `None` where it is a field.
fn whole(argument: &str) -> Result<Option<Json>, PayloadError> {
    let text = match argument.strip_prefix('@') {
        Some(path) => read_file(argument, path.into())?,
        None if argument == "-" => read_stdin(argument)?,
        None if argument.starts_with(['{', '[', '"']) => argument.to_owned(),
        None if argument.contains('=') => return Ok(None),
        None => {
            return match parse(argument, argument) {
                Err(PayloadError::Json { .. }) => Err(PayloadError::Form(argument.into())),
                scalar => scalar.map(Some),
            };
        }
    };
    parse(argument, &text).map(Some)
}

/// As `json`, or as the bytes of the same document where that would be too large on the wire: `[0,0,…]` takes more than
/// five times its text there.
fn sent(document: Json) -> Result<Payload, PayloadError> {
    let text = document.to_string();
    let value = to_proto(document)?;
    if value.encoded_len() <= LARGEST_VALUE {
        return Ok(Payload { content_type: String::new(), data: Some(payload::Data::Json(value)) });
    }
    Ok(Payload { content_type: JSON.into(), data: Some(payload::Data::Inline(text.into_bytes())) })
}

/// `KEY:=JSON` before `KEY=TEXT`: a key never ends in a colon.
fn field(text: &str) -> Result<(String, Json), PayloadError> {
    let refuse = || PayloadError::Form(text.into());
    let (key, value) = text.split_once('=').ok_or_else(refuse)?;
    let (key, value) = match key.strip_suffix(':') {
        Some(key) => (key, parse(text, value)?),
        None => (key, Json::String(value.into())),
    };
    if key.is_empty() { Err(refuse()) } else { Ok((key.into(), value)) }
}

fn parse(from: &str, text: &str) -> Result<Json, PayloadError> {
    let json = serde_json::from_str(text).map_err(|source| PayloadError::Json { from: from.into(), source })?;
    exact(text).map(|()| json)
}

/// Refuses what is JSON and holds a number that would not arrive as it stands there.
pub(crate) fn exact(json: &str) -> Result<(), PayloadError> {
    digits::lost(json).map_or(Ok(()), |number| Err(PayloadError::Inexact(number.into())))
}

fn read_file(from: &str, path: PathBuf) -> Result<String, PayloadError> {
    fs::read_to_string(path).map_err(|source| PayloadError::Read { from: from.into(), source })
}

fn read_stdin(from: &str) -> Result<String, PayloadError> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text).map_err(|source| PayloadError::Read { from: from.into(), source })?;
    Ok(text)
}

fn to_proto(json: Json) -> Result<Value, PayloadError> {
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(value) => Kind::BoolValue(value),
        Json::Number(number) => Kind::NumberValue(number.as_f64().ok_or(PayloadError::Inexact(number.to_string()))?),
        Json::String(value) => Kind::StringValue(value),
        Json::Array(values) => {
            Kind::ListValue(ListValue { values: values.into_iter().map(to_proto).collect::<Result<_, _>>()? })
        }
        Json::Object(fields) => Kind::StructValue(Struct {
            fields: fields
                .into_iter()
                .map(|(key, value)| Ok((key, to_proto(value)?)))
                .collect::<Result<BTreeMap<_, _>, PayloadError>>()?,
        }),
    };
    Ok(Value { kind: Some(kind) })
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

    use super::{JSON, PayloadError, from_arguments, shown};

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
        assert!(matches!(made(&["[1,"]), Err(PayloadError::Json { .. })));
    }

    #[test]
    fn nonsense_is_refused_with_its_reason() {
        assert!(matches!(made(&["name"]), Err(PayloadError::Form(_))));
        assert!(matches!(made(&["=x"]), Err(PayloadError::Form(_))));
        assert!(matches!(made(&[":=1"]), Err(PayloadError::Form(_))));
        assert!(matches!(made(&["n:=one"]), Err(PayloadError::Json { .. })));
        assert!(matches!(made(&["{\"a\": }"]), Err(PayloadError::Json { .. })));
        assert!(matches!(made(&["@/nowhere/at/all"]), Err(PayloadError::Read { .. })));
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
            assert!(matches!(made(&[line]), Err(PayloadError::Inexact(_))), "{line}");
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
    fn a_field_needs_an_object() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write!(file, "[1, 2]").unwrap();
        let from_file = format!("@{}", file.path().display());
        assert_eq!(made(&[&from_file]).unwrap(), "[1,2]");
        assert!(matches!(made(&[&from_file, "a=b"]), Err(PayloadError::NoObject(_))));
    }
}
