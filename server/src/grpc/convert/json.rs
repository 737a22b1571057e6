//! `Payload.json` and the JSON text it stands for.
//!
//! A value is stored as text, and text is answered as a value where that loses nothing that JSON means: no object names a
//! field twice, and every number has the digits of a double, which is all that `json` carries. White space, the order of
//! fields and the way that characters are escaped mean nothing. Nor may the value be nested deeper or be larger than
//! clients can read.

use std::{collections::BTreeMap, fmt};

use mainspring_proto::digits;
use prost::Message as _;
use prost_types::{ListValue, Struct, Value, value::Kind};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// `json` is nested at most so deep: prost gives up at 100 messages, and an object level costs three.
pub(crate) const MAX_DEPTH: usize = 30;
/// A payload is answered as `json` up to this size on the wire: `[0,0,…]` takes more than five times its text, and two
/// payloads of a run must fit into the 4 MiB that clients read.
const MAX_JSON: usize = 1 << 20;
/// Up to here a double holds every whole number.
const MAX_WHOLE: f64 = 9_007_199_254_740_992.0;

/// The JSON text of a value, or why it has none.
pub(super) fn to_text(value: &Value) -> Result<String, String> {
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

/// The value of a JSON text, where the text says no more than the value.
pub(super) fn from_text(text: &[u8]) -> Option<Value> {
    let text = str::from_utf8(text).ok()?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Level(0).deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    (value.encoded_len() <= MAX_JSON && digits::lost(text).is_none()).then_some(value)
}

/// Reads a value that lies so many levels deep.
#[derive(Clone, Copy)]
struct Level(usize);

impl Level {
    fn below<E: Error>(self) -> Result<Self, E> {
        if self.0 < MAX_DEPTH { Ok(Self(self.0 + 1)) } else { Err(E::custom("nested too deep")) }
    }
}

fn value<E>(kind: Kind) -> Result<Value, E> {
    Ok(Value { kind: Some(kind) })
}

impl<'de> DeserializeSeed<'de> for Level {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        value(Kind::NullValue(0))
    }

    fn visit_bool<E>(self, it: bool) -> Result<Value, E> {
        value(Kind::BoolValue(it))
    }

    #[expect(clippy::cast_precision_loss, reason = "whoever reads looks at the digits")]
    fn visit_i64<E>(self, it: i64) -> Result<Value, E> {
        value(Kind::NumberValue(it as f64))
    }

    #[expect(clippy::cast_precision_loss, reason = "whoever reads looks at the digits")]
    fn visit_u64<E>(self, it: u64) -> Result<Value, E> {
        value(Kind::NumberValue(it as f64))
    }

    fn visit_f64<E>(self, it: f64) -> Result<Value, E> {
        value(Kind::NumberValue(it))
    }

    fn visit_str<E>(self, it: &str) -> Result<Value, E> {
        value(Kind::StringValue(it.to_owned()))
    }

    fn visit_string<E>(self, it: String) -> Result<Value, E> {
        value(Kind::StringValue(it))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut values = Vec::new();
        while let Some(item) = items.next_element_seed(below)? {
            values.push(item);
        }
        value(Kind::ListValue(ListValue { values }))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut fields = BTreeMap::new();
        while let Some(name) = entries.next_key::<String>()? {
            if fields.insert(name, entries.next_value_seed(below)?).is_some() {
                return Err(A::Error::custom("a field is named twice"));
            }
        }
        value(Kind::StructValue(Struct { fields }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(kind: Kind) -> Result<String, String> {
        to_text(&Value { kind: Some(kind) })
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
            assert_eq!(written(Kind::NumberValue(number)).unwrap(), text);
        }
        assert!(written(Kind::NumberValue(f64::NAN)).is_err());
    }

    #[test]
    fn thirty_levels_are_enough() {
        assert!(to_text(&nested(30)).is_ok());
        let why = to_text(&nested(31)).unwrap_err();
        assert!(why.contains("30 levels"), "{why}");
        for (levels, shown) in [(30, true), (31, false), (100_000, false)] {
            for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
                let text = format!("{}0{}", open.repeat(levels), close.repeat(levels));
                assert_eq!(from_text(text.as_bytes()).is_some(), shown, "{levels}");
            }
        }
    }

    #[test]
    fn text_that_says_no_more_than_its_value_is_that_value() {
        for (text, plain) in [
            (r#"{"b": 1, "a" :2}"#, r#"{"a":2,"b":1}"#),
            (" [ 1.0 ,-0,1e2,2.50 ]\n", "[1,0,100,2.5]"),
            (r#""\u00e9\/""#, r#""é/""#),
            ("9007199254740992", "9007199254740992"),
            (r#"{"a":{"a":null}, "b":[true,false]}"#, r#"{"a":{"a":null},"b":[true,false]}"#),
        ] {
            assert_eq!(to_text(&from_text(text.as_bytes()).unwrap()).unwrap(), plain, "{text}");
        }
    }

    #[test]
    fn text_that_says_more_is_no_value() {
        for text in [
            "9007199254740993",
            "0.1234567890123456789012",
            "1e-400",
            "1e400",
            r#"{"a":1,"a":1}"#,
            r#"[{"a":1,"b":2,"a":3}]"#,
            r#""\ud800""#,
            "{",
            "1 2",
            "",
        ] {
            assert_eq!(from_text(text.as_bytes()), None, "{text}");
        }
        assert_eq!(from_text(b"\"\xff\""), None);
    }

    #[test]
    fn a_value_that_grows_too_large_is_none() {
        // Eleven bytes each, and a few around them.
        for (count, fits) in [(95_000, true), (96_000, false)] {
            let zeros = format!("[{}]", vec!["0"; count].join(","));
            let read = from_text(zeros.as_bytes());
            assert_eq!(read.is_some(), fits);
            assert!(read.is_none_or(|value| value.encoded_len() <= MAX_JSON));
        }
    }
}
