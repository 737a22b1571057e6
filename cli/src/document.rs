//! JSON as it is typed or lies in a file, read within bounds and without dropping anything in silence.
//!
//! `serde_json` keeps the last of two fields of one name, reads a number that is too long as the nearest there is, and follows
//! nothing beyond a depth of its own. What a person wrote so is refused here, in our words.

use std::{
    cell::OnceCell,
    fs,
    io::{self, Read},
    path::Path,
};

use mainspring_proto::digits;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value as Json};

/// The largest message that a server can be told to take.
const LARGEST: u64 = 64 << 20;
/// Well within what readers of JSON follow: `serde_json`, and with it every handler of the SDK for Rust, gives up at 128.
const DEEPEST: usize = 100;

/// Why a text makes no document. Each goes on after its name: "`-d @file` is larger than …".
#[derive(Debug, thiserror::Error)]
pub(crate) enum DocumentError {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Read(io::Error),
    /// It is not read to its end.
    #[error("is larger than 64 MiB, which no server takes")]
    Large,
    /// Bad JSON.
    #[error("is no JSON: {0}")]
    Json(serde_json::Error),
    /// A field that would be dropped.
    #[error("names the field `{0}` twice in one object")]
    Twice(String),
    /// Nobody would read it.
    #[error("is nested deeper than {DEEPEST} levels, where readers of JSON give up; flatten it")]
    Deep,
    /// A number the wire cannot carry.
    #[error("holds the number {0}, which would lose digits on the way; write it as a string")]
    Inexact(String),
    /// A number that is none on the wire.
    #[error("holds the number {0}, which is larger than any that can be sent; write it as a string")]
    Infinite(String),
}

/// The text of a file.
pub(crate) fn of_file(path: &Path) -> Result<String, DocumentError> {
    text(fs::File::open(path).map_err(DocumentError::Read)?)
}

/// The text on stdin.
pub(crate) fn of_stdin() -> Result<String, DocumentError> {
    text(io::stdin().lock())
}

fn text(from: impl Read) -> Result<String, DocumentError> {
    let mut text = Vec::new();
    let read = from.take(LARGEST + 1).read_to_end(&mut text).map_err(DocumentError::Read)?;
    if u64::try_from(read).is_ok_and(|read| read > LARGEST) {
        return Err(DocumentError::Large);
    }
    let not_text = |_| DocumentError::Read(io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"));
    String::from_utf8(text).map_err(not_text)
}

/// An argument as an error repeats it: one that is a whole document would bury what is wrong with it.
pub(crate) fn quoted(argument: &str) -> String {
    /// So much of it.
    const QUOTED: usize = 60;
    match argument.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}…", &argument[..end]),
        None => argument.into(),
    }
}

/// What a text says, all of it.
pub(crate) fn parsed(text: &str) -> Result<Json, DocumentError> {
    // Whether it is JSON at all: whatever is wrong beyond that is ours to say.
    serde_json::from_str::<IgnoredAny>(text).map_err(DocumentError::Json)?;
    if let Some(number) = digits::lost(text) {
        let is_infinite = number.parse().is_ok_and(f64::is_infinite);
        let refuse = if is_infinite { DocumentError::Infinite } else { DocumentError::Inexact };
        return Err(refuse(quoted(number)));
    }
    let objection = OnceCell::new();
    let level = Level { depth: 0, objection: &objection };
    let json = level.deserialize(&mut serde_json::Deserializer::from_str(text));
    json.map_err(|error| objection.into_inner().unwrap_or(DocumentError::Json(error)))
}

/// How many objects and lists lie in each other.
pub(crate) fn depth(json: &Json) -> usize {
    match json {
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => 0,
        Json::Array(items) => 1 + items.iter().map(depth).max().unwrap_or_default(),
        Json::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or_default(),
    }
}

/// Reads a value that lies so many levels deep, and keeps what is wrong with it.
#[derive(Clone, Copy)]
struct Level<'a> {
    depth: usize,
    objection: &'a OnceCell<DocumentError>,
}

impl Level<'_> {
    fn below<E: Error>(self) -> Result<Self, E> {
        if self.depth < DEEPEST {
            Ok(Self { depth: self.depth + 1, ..self })
        } else {
            Err(self.refuse(DocumentError::Deep))
        }
    }

    fn refuse<E: Error>(self, objection: DocumentError) -> E {
        let error = E::custom(&objection);
        // The first ends the reading.
        let _ = self.objection.set(objection);
        error
    }
}

impl<'de> DeserializeSeed<'de> for Level<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, it: bool) -> Result<Json, E> {
        Ok(it.into())
    }

    fn visit_i64<E>(self, it: i64) -> Result<Json, E> {
        Ok(it.into())
    }

    fn visit_u64<E>(self, it: u64) -> Result<Json, E> {
        Ok(it.into())
    }

    fn visit_f64<E>(self, it: f64) -> Result<Json, E> {
        Ok(it.into())
    }

    fn visit_str<E>(self, it: &str) -> Result<Json, E> {
        Ok(it.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let below = self.below()?;
        let mut values = Vec::new();
        while let Some(item) = items.next_element_seed(below)? {
            values.push(item);
        }
        Ok(Json::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let below = self.below()?;
        let mut fields = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            if fields.contains_key(&name) {
                return Err(self.refuse(DocumentError::Twice(quoted(&name))));
            }
            let value = entries.next_value_seed(below)?;
            fields.insert(name, value);
        }
        Ok(Json::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use serde_json::{Value as Json, json};

    use super::{DEEPEST, DocumentError, depth, parsed, text};

    fn refused(text: &str) -> String {
        parsed(text).unwrap_err().to_string()
    }

    #[test]
    fn a_document_is_what_serde_makes_of_it() {
        for text in [
            "null",
            " [ 1, -2, 2.5, 1e3, 9007199254740992 ] ",
            r#"{"b": {"a": ["\u00e9", "", true]}, "a": {"b": false}}"#,
        ] {
            assert_eq!(parsed(text).unwrap(), serde_json::from_str::<Json>(text).unwrap(), "{text}");
        }
    }

    #[test]
    fn a_field_that_would_be_dropped_is_refused() {
        assert_eq!(refused(r#"{"a":1,"b":2,"a":1}"#), "names the field `a` twice in one object");
        assert_eq!(refused(r#"[{"x":{"y":1,"y":2}}]"#), "names the field `y` twice in one object");
        assert_eq!(parsed(r#"[{"a":1},{"a":{"a":2}}]"#).unwrap(), json!([{"a": 1}, {"a": {"a": 2}}]));
    }

    #[test]
    fn what_nobody_would_follow_is_refused() {
        for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
            let nested = |levels: usize| format!("{}0{}", open.repeat(levels), close.repeat(levels));
            assert_eq!(depth(&parsed(&nested(DEEPEST)).unwrap()), DEEPEST);
            for levels in [DEEPEST + 1, 200, 100_000] {
                assert!(matches!(parsed(&nested(levels)), Err(DocumentError::Deep)), "{levels}");
            }
        }
    }

    #[test]
    fn a_number_that_would_not_arrive_is_refused_in_our_words() {
        assert!(refused("[1e400]").contains("the number 1e400, which is larger than any"));
        assert!(refused("-1e400").contains("the number -1e400, which is larger than any"));
        assert!(refused("1e-400").contains("1e-400, which would lose digits"));
        assert!(refused("12345678901234567890123").contains("lose digits"));
        assert!(matches!(parsed("01"), Err(DocumentError::Json(_))));
    }

    #[test]
    fn no_more_is_read_than_can_be_sent() {
        assert!(matches!(text(io::repeat(b' ')), Err(DocumentError::Large)));
        assert!(matches!(text(&b"\xff"[..]), Err(DocumentError::Read(_))));
        assert_eq!(text(&b"{}"[..]).unwrap(), "{}");
    }
}
