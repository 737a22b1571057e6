//! Payload templates: JSON in whose strings a few names stand for what a run is about.
//!
//! `${nominal_time}` in a string of the JSON is replaced, and nothing else of the text is touched: neither names of fields nor
//! numbers, which a parser might write in another way. What is put in needs no escaping, whatever the instant.

use std::fmt;

use super::super::{
    ids::BackfillId,
    instant::Instant,
    payload::Payload,
    template::{self, Open},
};
use mainspring_cron::Zone;

/// A payload whose strings may name what their run is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Template(Payload);

/// What a template may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Time,
    Date,
    Unix,
    Backfill,
}

impl Name {
    const ALL: [(&'static str, Self); 4] = [
        ("nominal_time", Self::Time),
        ("nominal_date", Self::Date),
        ("nominal_unix", Self::Unix),
        ("backfill_id", Self::Backfill),
    ];
}

/// What a run is about.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// Its nominal time.
    pub nominal: Instant,
    /// The zone of its schedule.
    pub zone: &'a Zone,
    /// The backfill that makes it.
    pub backfill: BackfillId,
}

/// Why a payload is no template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplateError {
    /// It is not JSON.
    NotJson,
    /// There is no such name.
    Unknown(String),
    /// A `${` without its `}`.
    Open,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson => f.write_str("must be JSON, whose strings may name what a run is about"),
            Self::Unknown(name) => {
                let known: Vec<_> = Name::ALL.iter().map(|(name, _)| format!("`${{{name}}}`")).collect();
                write!(f, "`${{{name}}}` is none of {}; a dollar sign is `$$`", known.join(", "))
            }
            Self::Open => Open.fmt(f),
        }
    }
}

impl From<Open> for TemplateError {
    fn from(Open: Open) -> Self {
        Self::Open
    }
}

impl Template {
    /// Reads a payload that is to be one.
    pub fn read(payload: Payload) -> Result<Self, TemplateError> {
        let is_json = payload.is_json() && serde_json::from_slice::<serde::de::IgnoredAny>(&payload.data).is_ok();
        let text = std::str::from_utf8(&payload.data).ok().filter(|_| is_json).ok_or(TemplateError::NotJson)?;
        pieces(text, |_| {})?;
        Ok(Self(payload))
    }

    /// From bytes that were one before.
    pub fn stored(payload: Payload) -> Self {
        Self(payload)
    }

    /// As it was given.
    pub fn payload(&self) -> &Payload {
        &self.0
    }

    /// The payload of a run.
    pub fn fill(&self, about: About<'_>) -> Payload {
        let Payload { content_type, data } = &self.0;
        let Ok(text) = std::str::from_utf8(data) else { return self.0.clone() };
        let mut filled = String::with_capacity(text.len());
        let read = pieces(text, |piece| match piece {
            Piece::Text(text) => filled.push_str(text),
            Piece::Name(name) => filled.push_str(&about.tell(name)),
        });
        // It was read before it was stored.
        if read.is_err() {
            return self.0.clone();
        }
        Payload { content_type: content_type.clone(), data: filled.into_bytes() }
    }
}

impl About<'_> {
    fn tell(self, name: Name) -> String {
        match name {
            Name::Time => self.nominal.timestamp().to_string(),
            Name::Date => self.zone.wall_clock(self.nominal.timestamp()).date().to_string(),
            Name::Unix => self.nominal.as_micros().div_euclid(1_000_000).to_string(),
            Name::Backfill => self.backfill.to_string(),
        }
    }
}

enum Piece<'a> {
    Text(&'a str),
    Name(Name),
}

/// Cuts JSON into what stays and what is replaced.
fn pieces<'a>(text: &'a str, mut tell: impl FnMut(Piece<'a>)) -> Result<(), TemplateError> {
    let mut rest = text;
    while let Some(open) = rest.find('"') {
        let inside = &rest[open + 1..];
        let length = string_length(inside);
        let after = inside.get(length + 1..).unwrap_or_default();
        tell(Piece::Text(&rest[..=open]));
        if after.trim_start().starts_with(':') {
            tell(Piece::Text(&inside[..length]));
        } else {
            in_string(&inside[..length], &mut tell)?;
        }
        tell(Piece::Text(&inside[length..inside.len() - after.len()]));
        rest = after;
    }
    tell(Piece::Text(rest));
    Ok(())
}

/// How long a string is whose opening quote was read.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at,
            _ => {}
        }
    }
    text.len()
}

fn in_string<'a>(text: &'a str, tell: &mut impl FnMut(Piece<'a>)) -> Result<(), TemplateError> {
    template::cut(text, |piece| {
        tell(match piece {
            template::Piece::Text(text) => Piece::Text(text),
            template::Piece::Name(name) => {
                let known = Name::ALL.iter().find(|(known, _)| *known == name);
                let (_, name) = known.ok_or_else(|| TemplateError::Unknown(name.chars().take(64).collect()))?;
                Piece::Name(*name)
            }
        });
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn json(text: &str) -> Payload {
        Payload { content_type: "application/json".into(), data: text.as_bytes().to_vec() }
    }

    fn filled(text: &str) -> Result<String, TemplateError> {
        let zone = Zone::parse("Europe/Berlin").unwrap();
        // 2027-01-15T23:30:00Z, which is the next day in Berlin.
        let nominal = Instant::from_micros(1_800_055_800_000_000);
        let backfill = BackfillId::from_uuid(uuid::Uuid::nil());
        let payload = Template::read(json(text))?.fill(About { nominal, zone: &zone, backfill });
        Ok(String::from_utf8(payload.data).unwrap())
    }

    #[test]
    fn names_in_strings_are_replaced_and_nothing_else_is() {
        for (text, expected) in [
            (r#"{"at": "${nominal_time}"}"#, r#"{"at": "2027-01-15T23:30:00Z"}"#),
            (r#"["${nominal_date} to ${nominal_unix}"]"#, r#"["2027-01-16 to 1800055800"]"#),
            (r#""${backfill_id}""#, r#""00000000-0000-0000-0000-000000000000""#),
            (
                r#"{"${nominal_time}" : 1.0, "n": 12345678901234567890}"#,
                r#"{"${nominal_time}" : 1.0, "n": 12345678901234567890}"#,
            ),
            (
                r#"["$$", "$${nominal_time}", "$5", "a\"${nominal_unix}"]"#,
                r#"["$", "${nominal_time}", "$5", "a\"1800055800"]"#,
            ),
            (r#"{"a": {"b": ["${nominal_unix}"]}, "c": "\\"}"#, r#"{"a": {"b": ["1800055800"]}, "c": "\\"}"#),
            ("17", "17"),
        ] {
            assert_eq!(filled(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_nobody_knows_is_refused() {
        assert_eq!(filled(r#"["${nominal}"]"#), Err(TemplateError::Unknown("nominal".into())));
        assert_eq!(filled(r#"["${nominal_time"]"#), Err(TemplateError::Open));
        assert_eq!(filled("{"), Err(TemplateError::NotJson));
        let bytes = Payload { content_type: "application/octet-stream".into(), data: b"1".to_vec() };
        assert_eq!(Template::read(bytes), Err(TemplateError::NotJson));
        let told = TemplateError::Unknown("nominal".into()).to_string();
        assert!(told.contains("`${nominal_time}`") && told.contains("`$$`"), "{told}");
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,9}".prop_map(Value::from)
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("\\PC{0,5}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// What holds no dollar sign stays as it was, to the byte.
        #[test]
        fn what_names_nothing_stays(value in any_json(), pretty: bool) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            prop_assume!(!text.contains('$'));
            prop_assert_eq!(filled(&text).unwrap(), text);
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,60}") {
            let _ = filled(&text);
            let _ = filled(&format!("[\"{text}\"]"));
        }
    }
}
