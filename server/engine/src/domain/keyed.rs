//! Keys that are made of the run that goes by them: `host-${payload.host}`, `${labels.tenant}`.
//!
//! A job keeps the template, each of its runs the key that came of it when it was made, whatever becomes of the job: so the
//! store counts by keys alone. Where the job makes runs by itself, its definition is held against its own payload and labels,
//! which do not change from one instant to the next; so no instant comes to nothing for want of a key.

use std::{collections::BTreeMap, fmt::Debug, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    limit::Concurrency,
    names::{ConcurrencyKey, FairnessKey, KeyError},
    payload::Payload,
    template::{Open, Piece, cut},
};

/// A template is at most so long, in bytes.
const MOST: usize = 512;
/// So much of what is wrong is told.
const TOLD: usize = 64;

/// A key, or a template of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    try_from = "String",
    into = "String",
    bound(deserialize = "K: FromStr<Err = KeyError>", serialize = "K: Clone")
)]
pub struct KeyTemplate<K> {
    text: Arc<str>,
    is: Is<K>,
}

/// What a template is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Is<K> {
    /// A key, since nothing is put in.
    Key(K),
    /// What a key is made of.
    Parts(Arc<[Part]>),
}

/// A part of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Label(String),
    Field(String),
}

/// What a run is made with.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// Its labels.
    pub labels: &'a BTreeMap<String, String>,
    /// Its input.
    pub payload: &'a Payload,
}

impl Concurrency<KeyTemplate<ConcurrencyKey>> {
    /// That of a run.
    pub fn fill(&self, about: About<'_>) -> Result<Concurrency, FillError> {
        let Self { key, limit, pace } = self;
        Ok(Concurrency { key: key.fill(about)?, limit: *limit, pace: *pace })
    }
}

/// The keys that a run of a job goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// Whose turn it is.
    pub fairness: FairnessKey,
    /// How many of its like are at workers at once.
    pub concurrency: Option<Concurrency>,
}

/// Why a text is no template of a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It is a key, and a wrong one.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Too long.
    #[error("must be at most {MOST} bytes")]
    TooLong,
    /// A `${` without its `}`.
    #[error(transparent)]
    Open(#[from] Open),
    /// There is nothing of this name.
    #[error("`${{{0}}}` is neither `${{payload.FIELD}}` nor `${{labels.NAME}}`; a dollar sign is `$$`")]
    Unknown(String),
}

/// Why a template has no key for a run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FillError {
    /// The label is not there.
    #[error("`${{labels.{0}}}` has nothing to stand for: there is no such label; add it, or name another")]
    NoLabel(String),
    /// The payload has no fields.
    #[error(
        "`${{payload.{0}}}` has nothing to stand for: there is no payload, or it is no JSON; send JSON, or name a label"
    )]
    NoJson(String),
    /// The field is not there.
    #[error("`${{payload.{0}}}` has nothing to stand for: the payload has no such field; send it, or name another")]
    NoField(String),
    /// The field is no text, number or truth.
    #[error("`${{payload.{0}}}` is {1}; a key is made of texts, numbers, true and false")]
    NoScalar(String, &'static str),
    /// What came of it is no key.
    #[error("the key that it makes, `{0}`, {1}")]
    Key(String, KeyError),
}

impl Part {
    fn read(name: &str) -> Result<Self, TemplateError> {
        let field = |path: &str| path.split('.').all(|part| !part.is_empty());
        match name.split_once('.') {
            Some(("labels", label)) if !label.is_empty() => Ok(Self::Label(label.into())),
            Some(("payload", path)) if field(path) => Ok(Self::Field(path.into())),
            Some(_) | None => Err(TemplateError::Unknown(name.chars().take(TOLD).collect())),
        }
    }
}

impl<K: FromStr<Err = KeyError> + Clone> KeyTemplate<K> {
    /// The key of a run.
    pub fn fill(&self, about: About<'_>) -> Result<K, FillError> {
        let parts = match &self.is {
            Is::Key(key) => return Ok(key.clone()),
            Is::Parts(parts) => parts,
        };
        let mut fields = None;
        let mut key = String::new();
        for part in &**parts {
            match part {
                Part::Text(text) => key.push_str(text),
                Part::Label(label) => {
                    key.push_str(about.labels.get(label).ok_or_else(|| FillError::NoLabel(label.clone()))?);
                }
                Part::Field(path) => {
                    let payload = fields.get_or_insert_with(|| json(about.payload));
                    let payload = payload.as_ref().ok_or_else(|| FillError::NoJson(path.clone()))?;
                    key.push_str(&scalar(path, payload)?);
                }
            }
        }
        key.parse().map_err(|error| FillError::Key(key.chars().take(TOLD).collect(), error))
    }
}

fn json(payload: &Payload) -> Option<Value> {
    serde_json::from_slice(&payload.data).ok().filter(|_| payload.is_json())
}

/// The text of a field, by the names on the way to it.
fn scalar(path: &str, payload: &Value) -> Result<String, FillError> {
    let field = path.split('.').try_fold(payload, |value, name| value.get(name));
    let none = |what| Err(FillError::NoScalar(path.into(), what));
    match field {
        None => Err(FillError::NoField(path.into())),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Number(number)) => Ok(number.to_string()),
        Some(Value::Bool(truth)) => Ok(truth.to_string()),
        Some(Value::Null) => none("null"),
        Some(Value::Array(_)) => none("a list"),
        Some(Value::Object(_)) => none("an object"),
    }
}

impl<K: FromStr<Err = KeyError>> FromStr for KeyTemplate<K> {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let (mut plain, mut parts, mut is_key) = (String::new(), Vec::new(), true);
        cut(text, |piece| {
            match piece {
                Piece::Text(text) => {
                    plain.push_str(text);
                    parts.push(Part::Text(text.into()));
                }
                Piece::Name(name) => {
                    parts.push(Part::read(name)?);
                    is_key = false;
                }
            }
            Ok::<_, TemplateError>(())
        })?;
        if is_key {
            return Ok(Self { text: text.into(), is: Is::Key(plain.parse()?) });
        }
        if text.len() > MOST {
            return Err(TemplateError::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(KeyError::Control.into());
        }
        Ok(Self { text: text.into(), is: Is::Parts(parts.into()) })
    }
}

impl<K: FromStr<Err = KeyError>> TryFrom<String> for KeyTemplate<K> {
    type Error = TemplateError;

    fn try_from(text: String) -> Result<Self, TemplateError> {
        text.parse()
    }
}

impl<K> From<KeyTemplate<K>> for String {
    fn from(template: KeyTemplate<K>) -> Self {
        template.text.as_ref().into()
    }
}

impl<K: Default> Default for KeyTemplate<K> {
    fn default() -> Self {
        Self { text: "".into(), is: Is::Key(K::default()) }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::names::ConcurrencyKey, *};

    fn template(text: &str) -> Result<KeyTemplate<ConcurrencyKey>, TemplateError> {
        text.parse()
    }

    fn filled(text: &str, data: &str) -> Result<String, FillError> {
        let labels =
            BTreeMap::from([("tenant".to_owned(), "acme".to_owned()), ("a.b".to_owned(), "dotted".to_owned())]);
        let payload = Payload { content_type: "application/json".into(), data: data.as_bytes().to_vec() };
        let key = template(text).unwrap().fill(About { labels: &labels, payload: &payload });
        key.map(|key| key.as_str().to_owned())
    }

    #[test]
    fn keys_are_made_of_labels_and_fields() {
        let data = r#"{"host": "db-1", "port": 5432, "ok": true, "rate": 1.5, "of": {"deep": "down"}, "none": ""}"#;
        for (text, key) in [
            ("host-1", "host-1"),
            ("host-${payload.host}", "host-db-1"),
            ("${payload.host}:${payload.port}", "db-1:5432"),
            ("${payload.ok}/${payload.rate}/${payload.of.deep}", "true/1.5/down"),
            ("${labels.tenant} ${labels.a.b}", "acme dotted"),
            ("x${payload.none}", "x"),
            ("$5 $$${labels.tenant} $${labels.tenant}", "$5 $acme ${labels.tenant}"),
        ] {
            assert_eq!(filled(text, data).as_deref(), Ok(key), "{text}");
        }
    }

    #[test]
    fn what_has_nothing_to_stand_for_is_told_by_its_name() {
        for (text, data, why) in [
            ("${labels.team}", "{}", "no such label"),
            ("${payload.host}", "{}", "`${payload.host}` has nothing to stand for: the payload has no such field"),
            ("${payload.host}", "7", "no such field"),
            ("${payload.a.b}", r#"{"a": "x"}"#, "no such field"),
            ("${payload.host}", "", "there is no payload, or it is no JSON"),
            ("${payload.host}", r#"{"host": null}"#, "`${payload.host}` is null"),
            ("${payload.host}", r#"{"host": ["a"]}"#, "is a list"),
            ("${payload.host}", r#"{"host": {}}"#, "is an object"),
            ("${payload.host}", r#"{"host": ""}"#, "must not be empty"),
            ("${payload.host}", r#"{"host": "a\nb"}"#, "must not contain control characters"),
        ] {
            let told = filled(text, data).unwrap_err().to_string();
            assert!(told.contains(why), "{text} of {data}: {told}");
        }
        let long = format!(r#"{{"host": "{}"}}"#, "x".repeat(128));
        assert!(filled("${payload.host}", &long).is_ok());
        assert!(filled("y${payload.host}", &long).unwrap_err().to_string().contains("at most 128 bytes"));
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for (text, why) in [
            ("${payload.host", "has no `}`"),
            ("${payload}", "is neither `${payload.FIELD}` nor `${labels.NAME}`; a dollar sign is `$$`"),
            ("${payload.}", "is neither"),
            ("${payload.a..b}", "is neither"),
            ("${labels.}", "is neither"),
            ("${job}", "`${job}` is neither"),
            ("${labels.x}\n", "control characters"),
            ("", "must not be empty"),
        ] {
            let told = template(text).unwrap_err().to_string();
            assert!(told.contains(why), "{text}: {told}");
        }
        let long = |name: usize| template(&format!("${{labels.{}}}", "x".repeat(name)));
        assert!(long(502).is_ok());
        assert_eq!(long(503), Err(TemplateError::TooLong));
        assert_eq!(template(&"x".repeat(129)), Err(TemplateError::Key(KeyError::TooLong)));
    }

    #[test]
    fn templates_are_kept_as_they_were_written() {
        for text in ["host-1", "$$5", "host-${payload.host}"] {
            let kept = serde_json::to_string(&template(text).unwrap()).unwrap();
            assert_eq!(kept, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<KeyTemplate<ConcurrencyKey>>(&kept).unwrap(), template(text).unwrap());
        }
        assert_eq!(KeyTemplate::<FairnessKey>::default(), "".parse().unwrap());
    }
}
