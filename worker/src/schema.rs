//! JSON Schemas of what handlers take and give, and the check of a payload against one.
//!
//! A schema is announced as canonical JSON: keys sorted, no white space. Two builds of one program announce the same
//! bytes, so the server may compare hashes of them to see that workers have drifted apart.

use std::fmt::Write as _;

use jsonschema::{Draft, Validator};
use mainspring_schema::{Mismatch, mismatches};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::Value;

use crate::{job_error::JobError, reason};

/// The contract's bounds.
const MAX_SCHEMA_BYTES: usize = 256 << 10;
const MAX_DESCRIPTION_BYTES: usize = 4 << 10;
/// So many fields of a payload are told to be wrong; a person mends them one by one anyway.
const MAX_PROBLEMS: usize = 5;

/// A schema as it is announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Schema(Value);

impl Schema {
    /// What can be read as a `T`.
    pub(crate) fn of_input<T: JsonSchema>() -> Self {
        Self::of::<T>(SchemaSettings::draft2020_12().for_deserialize())
    }

    /// What a `T` is written as.
    pub(crate) fn of_output<T: JsonSchema>() -> Self {
        Self::of::<T>(SchemaSettings::draft2020_12().for_serialize())
    }

    fn of<T: JsonSchema>(settings: SchemaSettings) -> Self {
        Self(settings.into_generator().into_root_schema_for::<T>().to_value())
    }

    /// The first paragraph of the type's doc comment, as one line.
    pub(crate) fn description(&self) -> String {
        let own = self.0.get("description").or_else(|| self.0.pointer(self.only_reference()?)?.get("description"));
        let text = own.and_then(Value::as_str).unwrap_or_default();
        let first = text.split("\n\n").next().unwrap_or_default();
        crate::job_error::cut(first.split_whitespace().collect::<Vec<_>>().join(" "), MAX_DESCRIPTION_BYTES)
    }

    /// The type that an `Option<T>` or another thin wrapper is about: a schema of its own behind a reference.
    fn only_reference(&self) -> Option<&str> {
        let one_of = self.0.get("anyOf").and_then(Value::as_array).into_iter().flatten();
        let mut references = std::iter::once(&self.0).chain(one_of).filter_map(|schema| schema.get("$ref")?.as_str());
        references.next().filter(|_| references.next().is_none())?.strip_prefix('#')
    }

    /// The schema as text.
    pub(crate) fn canonical(&self) -> Result<String, String> {
        let mut text = String::new();
        write_canonical(&self.0, &mut text);
        if text.len() > MAX_SCHEMA_BYTES {
            return Err(format!("it has {} bytes, and the server takes {MAX_SCHEMA_BYTES}", text.len()));
        }
        Ok(text)
    }

    /// The check of payloads against it.
    pub(crate) fn check(&self) -> Result<Check, String> {
        let options = jsonschema::options().with_draft(Draft::Draft202012);
        options.build(&self.0).map(Check).map_err(|error| error.to_string())
    }
}

/// Sorted by hand: whether `serde_json` sorts depends on a feature that any crate of the program can turn on.
fn write_canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            text.push('{');
            for (index, (key, value)) in entries.into_iter().enumerate() {
                text.push_str(if index > 0 { "," } else { "" });
                // A JSON text writes itself; `Value`'s Display is compact and cannot fail on a String.
                let _ = write!(text, "{}:", Value::from(key.as_str()));
                write_canonical(value, text);
            }
            text.push('}');
        }
        Value::Array(values) => {
            text.push('[');
            for (index, value) in values.iter().enumerate() {
                text.push_str(if index > 0 { "," } else { "" });
                write_canonical(value, text);
            }
            text.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            let _ = write!(text, "{value}");
        }
    }
}

/// Whether payloads match a schema.
pub(crate) struct Check(Validator);

impl Check {
    /// A failure that names every bad field, and quotes none: what a payload holds may be nobody else's business.
    pub(crate) fn payload(&self, job_type: &str, payload: &Value) -> Result<(), JobError> {
        let problems = mismatches(&self.0, payload, MAX_PROBLEMS);
        if problems.is_empty() {
            return Ok(());
        }
        let told: Vec<String> = problems
            .iter()
            .map(|Mismatch { path, problem }| match path.as_str() {
                "" => problem.clone(),
                path => format!("`{path}`: {problem}"),
            })
            .collect();
        let is = if payload.is_null() { " is missing or null, and" } else { "" };
        let message = format!("the payload of `{job_type}`{is} does not match its schema: {}", told.join("; "));
        Err(JobError::failed(reason::PAYLOAD_MISMATCH, message).do_not_retry().details(&problems))
    }
}

#[cfg(test)]
mod tests {
    use schemars::JsonSchema;
    use serde_json::json;

    use super::Schema;
    use crate::job_error::JobError;

    /// Send one
    /// e-mail.
    ///
    /// To anybody.
    #[derive(JsonSchema, serde::Deserialize)]
    #[allow(dead_code, reason = "only its schema is of interest")]
    struct SendEmail {
        to: Vec<Address>,
        #[serde(default)]
        #[schemars(range(max = 10))]
        copies: u64,
    }

    #[derive(JsonSchema, serde::Deserialize)]
    #[allow(dead_code, reason = "only its schema is of interest")]
    struct Address {
        street: String,
    }

    #[test]
    fn a_schema_is_the_same_text_however_its_keys_came() {
        let canonical = |value| Schema(value).canonical().unwrap();
        let ordered = canonical(json!({"a": [1, {"x": null, "y": "\"\n"}], "b": true}));
        assert_eq!(ordered, r#"{"a":[1,{"x":null,"y":"\"\n"}],"b":true}"#);
        assert_eq!(ordered, canonical(json!({"b": true, "a": [1, {"y": "\"\n", "x": null}]})));
        let text = Schema::of_input::<SendEmail>().canonical().unwrap();
        assert_eq!(text, Schema::of_input::<SendEmail>().canonical().unwrap());
        assert!(text.contains(r#""required":["to"]"#) && text.contains("2020-12"), "{text}");
        assert!(Schema(json!("x".repeat(300 << 10))).canonical().unwrap_err().contains("262144"));
    }

    #[test]
    fn the_first_paragraph_of_the_doc_comment_describes_it() {
        assert_eq!(Schema::of_input::<SendEmail>().description(), "Send one e-mail.");
        assert_eq!(Schema::of_input::<Option<SendEmail>>().description(), "Send one e-mail.");
        assert_eq!(Schema::of_input::<u8>().description(), "");
    }

    #[test]
    fn every_bad_field_is_named_by_its_path_and_none_is_quoted() {
        let check = Schema::of_input::<SendEmail>().check().unwrap();
        assert!(check.payload("t", &json!({"to": [{"street": "x"}]})).is_ok());
        let bad = json!({"to": [{"street": "x"}, {"street": 4711}], "copies": 11});
        let Err(JobError::Failed(failure)) = check.payload("email.send", &bad) else { panic!("it matched") };
        assert_eq!((failure.reason(), failure.is_fatal()), ("PAYLOAD_MISMATCH", true));
        for part in
            ["`email.send`", "`to[1].street`: must be of type string", "`copies`: it is greater than the maximum of 10"]
        {
            assert!(failure.message().contains(part), "{part} in {}", failure.message());
        }
        assert!(!failure.message().contains("4711"));
        assert!(failure.0.details.is_some());
        let Err(JobError::Failed(failure)) = check.payload("t", &json!({})) else { panic!("it matched") };
        assert!(failure.message().ends_with("`to`: is required"), "{}", failure.message());
    }

    #[test]
    fn what_is_no_schema_is_told() {
        assert!(Schema(json!({"type": "nonsense"})).check().is_err());
        assert!(Schema(json!({"$ref": "https://schemas.example/a.json"})).check().is_err());
    }
}
