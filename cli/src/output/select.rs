//! `--fields`: of an object, only what was asked for.

use std::str::FromStr;

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value};

use super::{Cell, json};
use crate::{failure::Failure, suggest};

/// Fields by their paths, as they were typed. None means all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields(Vec<Vec<String>>);

impl FromStr for Fields {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let paths = text.split(',').map(|path| path.trim().split('.').map(camel).collect::<Vec<_>>());
        let paths: Vec<_> = paths.collect();
        if paths.iter().flatten().any(String::is_empty) {
            return Err("fields are names joined by commas: jobType,failure.reason".into());
        }
        Ok(Self(paths))
    }
}

impl Fields {
    pub(super) fn is_all(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a field of the root is printed.
    pub(super) fn shows(&self, field: &str) -> bool {
        self.is_all() || self.0.iter().any(|path| path.as_slice() == [field])
    }

    /// Refuses a name that the message does not have.
    pub(super) fn check(&self, message: &str) -> Result<(), Failure> {
        let Some(root) = json::descriptor(message) else { return Ok(()) };
        self.0.iter().try_for_each(|path| known(&root, path))
    }

    /// The object with these fields alone, nested as they were; an absent one is left out.
    pub(super) fn of(&self, whole: &Value) -> Value {
        if self.is_all() {
            return whole.clone();
        }
        let mut part = Value::Object(Map::new());
        for path in &self.0 {
            if let Some(value) = at(whole, path) {
                put(&mut part, path, value.clone());
            }
        }
        part
    }

    /// Those that one of these fields of the root is, or holds, and the others.
    pub(super) fn split(&self, roots: &[&str]) -> (Self, Self) {
        let is_of = |path: &Vec<String>| path.first().is_some_and(|first| roots.contains(&first.as_str()));
        let (of, others) = self.0.iter().cloned().partition(is_of);
        (Self(of), Self(others))
    }

    /// As the columns of a table: their headers.
    pub(super) fn headers(&self) -> Vec<String> {
        self.0.iter().map(|path| path.join(".")).collect()
    }

    /// As the cells of a row.
    pub(super) fn cells(&self, whole: &Value) -> Vec<Cell> {
        self.0.iter().map(|path| Cell::text(at(whole, path).map(text).unwrap_or_default())).collect()
    }
}

/// `job_type` is `jobType`: both are written in documents of ours.
fn camel(name: &str) -> String {
    let mut parts = name.split('_');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |name, part| {
        let mut letters = part.chars();
        letters.next().map_or(name.clone(), |head| format!("{name}{}{}", head.to_ascii_uppercase(), letters.as_str()))
    })
}

fn known(message: &MessageDescriptor, path: &[String]) -> Result<(), Failure> {
    let Some((name, rest)) = path.split_first() else { return Ok(()) };
    // What these hold is written in ways of their own.
    if message.full_name().starts_with("google.protobuf.") {
        return Ok(());
    }
    let Some(field) = message.fields().find(|field| field.json_name() == name) else {
        let names: Vec<String> = message.fields().map(|field| field.json_name().to_owned()).collect();
        let failure = Failure::usage(format!("--fields: a {} has no field {name}", message.name()));
        return Err(match suggest::nearest(name, names.iter().map(String::as_str)) {
            Some(near) => failure.hint(format!("did you mean {near}?")),
            None => failure.hint(format!("it has {}", names.join(", "))),
        });
    };
    match within(&field) {
        Some(inner) => known(&inner, rest),
        None if rest.is_empty() || field.is_map() => Ok(()),
        None => {
            let what = if field.is_list() { "a list" } else { "no message" };
            let failure = Failure::usage(format!("--fields: {name} is {what}, of which no field can be named"));
            Err(failure.hint(format!("ask for {name}, and take what you need from the JSON")))
        }
    }
}

/// The message that a path may go on into.
fn within(field: &FieldDescriptor) -> Option<MessageDescriptor> {
    match field.kind() {
        Kind::Message(inner) if !field.is_map() && !field.is_list() => Some(inner),
        _ => None,
    }
}

fn at<'a>(whole: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(whole, |value, name| value.get(name))
}

fn put(part: &mut Value, path: &[String], value: Value) {
    let Some((last, before)) = path.split_last() else { return };
    let mut place = part;
    for name in before {
        let Value::Object(fields) = place else { return };
        place = fields.entry(name).or_insert_with(|| Value::Object(Map::new()));
    }
    if let Value::Object(fields) = place {
        fields.insert(last.clone(), value);
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Fields, camel};

    fn fields(text: &str) -> Fields {
        text.parse().unwrap()
    }

    #[test]
    fn what_was_asked_for_is_left() {
        let run = json!({"runId": "r", "state": "S", "failure": {"reason": "R", "message": "m"}, "labels": {"a": "b"}});
        assert_eq!(fields("runId, failure.reason").of(&run), json!({"runId": "r", "failure": {"reason": "R"}}));
        assert_eq!(fields("run_id,labels,endTime").of(&run), json!({"runId": "r", "labels": {"a": "b"}}));
        assert_eq!(Fields::default().of(&run), run);
        assert!("a,,b".parse::<Fields>().is_err() && "a.".parse::<Fields>().is_err());
    }

    #[test]
    fn both_spellings_are_one_name() {
        assert_eq!(
            (camel("job_type"), camel("jobType"), camel("etag")),
            ("jobType".into(), "jobType".into(), "etag".into())
        );
    }

    #[test]
    fn a_name_that_is_not_there_is_told_with_the_nearest() {
        let run = "mainspring.scheduler.v1.Run";
        for good in ["runId,state", "failure.reason,failure.details.contentType", "labels.team", "output.json.name"] {
            fields(good).check(run).unwrap_or_else(|failure| panic!("{good}: {}", failure.text()));
        }
        let told = fields("runIds").check(run).unwrap_err().text();
        assert!(told.contains("a Run has no field runIds") && told.contains("did you mean runId?"), "{told}");
        assert!(fields("labels.team").check(run).is_ok());
        let told = fields("runId.nonsense").check(run).unwrap_err().text();
        assert!(told.contains("runId is no message, of which no field can be named"), "{told}");
        let told = fields("jobs.job").check("mainspring.scheduler.v1.ListJobsResponse").unwrap_err().text();
        assert!(told.contains("jobs is a list, of which no field can be named"), "{told}");
        assert!(fields("failure.nonsense").check(run).unwrap_err().text().contains("a Failure has no field nonsense"));
    }
}
