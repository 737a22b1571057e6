//! What one schema has and another has not, in a line.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// Names that are told of each kind.
const MAX_NAMES: usize = 5;
/// A name is told up to so many characters.
const MAX_NAME: usize = 40;

/// How `other` differs from `current`: (input, output) each, as text. Empty where they are the same.
pub(crate) fn difference(current: (&str, &str), other: (&str, &str)) -> String {
    let parts = [("input", current.0, other.0), ("output", current.1, other.1)];
    let told = parts.into_iter().filter(|(_, current, other)| current != other);
    told.map(|(what, current, other)| format!("{what}: {}", one(current, other))).collect::<Vec<_>>().join("; ")
}

fn one(current: &str, other: &str) -> String {
    match (current, other) {
        ("", _) => return "has a schema".into(),
        (_, "") => return "has no schema".into(),
        _ => {}
    }
    let read = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    let (current, other) = (read(current), read(other));
    let none = Map::new();
    let properties = |schema: &Value| schema.get("properties").and_then(Value::as_object).unwrap_or(&none).clone();
    let (before, after) = (properties(&current), properties(&other));
    let names = |of: &Map<String, Value>, keep: &dyn Fn(&String) -> bool| -> Vec<String> {
        of.keys().filter(|name| keep(name)).cloned().collect()
    };
    let (was, is) = (required(&current), required(&other));
    let told = [
        ("without", names(&before, &|name| !after.contains_key(name))),
        ("with", names(&after, &|name| !before.contains_key(name))),
        ("another", names(&after, &|name| before.get(name).is_some_and(|old| *old != after[name]))),
        ("requires", names(&after, &|name| is.contains(name) && before.contains_key(name) && !was.contains(name))),
        ("does not require", names(&after, &|name| !is.contains(name) && was.contains(name))),
    ];
    let told: Vec<_> = told
        .iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(word, names)| format!("{word} {}", listed(names)))
        .collect();
    if told.is_empty() { "differs".into() } else { told.join(", ") }
}

fn required(schema: &Value) -> BTreeSet<String> {
    let names = schema.get("required").and_then(Value::as_array).into_iter().flatten();
    names.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn listed(names: &[String]) -> String {
    let mut shown: Vec<String> = names
        .iter()
        .take(MAX_NAMES)
        .map(|name| format!("`{}`", name.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect::<String>()))
        .collect();
    if names.len() > MAX_NAMES {
        shown.push(format!("{} more", names.len() - MAX_NAMES));
    }
    shown.join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::difference;

    #[test]
    fn a_line_says_what_changed() {
        let text = |value: serde_json::Value| value.to_string();
        let current = text(json!({"properties": {"to": {"type": "string"}, "cc": {}, "n": {}}, "required": ["to"]}));
        for (other, line) in [
            (current.clone(), ""),
            (String::new(), "input: has no schema"),
            (
                text(json!({"properties": {"to": {"type": "string"}, "n": {}, "bcc": {}}, "required": ["to", "n"]})),
                "input: without `cc`, with `bcc`, requires `n`",
            ),
            (
                text(json!({"properties": {"to": {"type": "integer"}, "cc": {}, "n": {}}})),
                "input: another `to`, does not require `to`",
            ),
            (text(json!({"type": "array"})), "input: without `cc` `n` `to`"),
        ] {
            assert_eq!(difference((&current, "{}"), (&other, "{}")), line);
        }
        assert_eq!(difference(("{}", ""), ("{}", "{}")), "output: has a schema");
        assert_eq!(difference(("{}", "{}"), ("{\"type\":\"null\"}", "true")), "input: differs; output: differs");
        let many: serde_json::Map<_, _> = (0..9).map(|n| (format!("f{n}"), json!({}))).collect();
        assert_eq!(
            difference(("{}", ""), (&text(json!({"properties": many})), "")),
            "input: with `f0` `f1` `f2` `f3` `f4` 4 more"
        );
    }
}
