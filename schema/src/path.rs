//! Paths of fields, written as the contract writes them: `customer.emails[1]`, `labels["a key"]`.

use std::fmt::Write as _;

use serde_json::Value;

/// A key is shown up to so many characters: a caller chooses it, and may choose a megabyte.
const MAX_KEY: usize = 64;
/// A path is shown up to so many bytes.
const MAX_PATH: usize = 512;

/// The field `below` the field `above`: `payload.json` and `to[1]` come to `payload.json.to[1]`.
#[must_use]
pub fn join(above: &str, below: &str) -> String {
    match (above, below) {
        (above, "") => above.into(),
        ("", below) => below.into(),
        (above, below) if below.starts_with('[') => format!("{above}{below}"),
        (above, below) => format!("{above}.{below}"),
    }
}

/// The path of what a JSON pointer names in `payload`, and of a property of it. The payload tells what is an index and
/// what a key that looks like one.
pub(crate) fn written(payload: &Value, pointer: &str, property: Option<&str>) -> String {
    let mut path = String::new();
    let mut at = Some(payload);
    for segment in pointer.split('/').skip(1) {
        let segment = segment.replace("~1", "/").replace("~0", "~");
        if let Some(Value::Array(items)) = at {
            let _ = write!(path, "[{segment}]");
            at = segment.parse().ok().and_then(|index: usize| items.get(index));
        } else {
            path.push_str(&key(&path, &segment));
            at = at.and_then(|value| value.get(segment.as_str()));
        }
        if path.len() > MAX_PATH {
            path.push('…');
            return path;
        }
    }
    if let Some(property) = property {
        path.push_str(&key(&path, property));
    }
    path
}

/// A key after a path.
fn key(path: &str, key: &str) -> String {
    let is_word = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
        && key.len() <= MAX_KEY;
    if is_word {
        return if path.is_empty() { key.into() } else { format!(".{key}") };
    }
    let mut shown: String = key.chars().take(MAX_KEY).collect();
    if shown.len() < key.len() {
        shown.push('…');
    }
    // JSON's own quotes, so that no control character comes through.
    format!("[{}]", Value::from(shown))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{join, written};

    #[test]
    fn a_path_reads_like_the_payload() {
        let payload = json!({"to": [{"street": 1}], "a b": {"0": 1}, "x/~y": 1});
        for (pointer, property, path) in [
            ("", None, ""),
            ("", Some("to"), "to"),
            ("/to/0/street", None, "to[0].street"),
            ("/to/0", Some("no. 7"), "to[0][\"no. 7\"]"),
            ("/a b/0", None, "[\"a b\"][\"0\"]"),
            ("/x~1~0y", None, "[\"x/~y\"]"),
        ] {
            assert_eq!(written(&payload, pointer, property), path, "{pointer} {property:?}");
        }
    }

    #[test]
    fn what_a_caller_makes_up_is_bounded_and_quoted() {
        let long = "k".repeat(100_000);
        assert!(written(&json!({}), "", Some(&long)).len() < 100);
        assert!(written(&json!(null), &"/a".repeat(100_000), None).len() < 600);
        assert_eq!(written(&json!({}), "", Some("a\n\u{1b}")), "[\"a\\n\\u001b\"]");
    }

    #[test]
    fn paths_are_joined() {
        for (above, below, whole) in [("a", "b", "a.b"), ("a", "[0]", "a[0]"), ("a", "", "a"), ("", "b", "b")] {
            assert_eq!(join(above, below), whole);
        }
    }
}
