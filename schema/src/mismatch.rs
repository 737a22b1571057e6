//! What a payload misses, field by field.
//!
//! The library tells of an `anyOf` only that no alternative was met, and where that stands. What a person wants to hear is
//! what keeps the alternative from being met that was meant. That one is guessed ([`Rank`]): one of another type, or with
//! another tag, was not meant, and of the others the one that got farthest.

use jsonschema::{
    ValidationError, Validator,
    error::{TypeKind, ValidationErrorKind as Kind},
};
use serde::Serialize;
use serde_json::Value;

use crate::path;

/// A description has at most so many bytes: limits, patterns and choices are the schema's, and may be as long as it likes.
const MAX_PROBLEM: usize = 256;
/// Alternatives inside alternatives are followed so deep.
const MAX_NESTED: usize = 16;

/// A field of a payload that cannot be what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mismatch {
    /// Its path, as in `customer.emails[1]`. Empty for the payload itself.
    pub path: String,
    /// What is wrong with it, after its path and a colon.
    pub problem: String,
}

/// What keeps `payload` from matching, at most `max` fields. None where it matches.
///
/// Whoever compiles the schemas of strangers bounds their work before: the errors of alternatives are all made.
#[must_use]
pub fn mismatches(validator: &Validator, payload: &Value, max: usize) -> Vec<Mismatch> {
    let mut found: Vec<Mismatch> = Vec::new();
    if validator.is_valid(payload) {
        return found;
    }
    for error in validator.iter_errors(payload) {
        for mismatch in told(&error, payload, MAX_NESTED) {
            if found.len() == max {
                return found;
            }
            if !found.contains(&mismatch) {
                found.push(mismatch);
            }
        }
    }
    found
}

fn told(error: &ValidationError<'_>, payload: &Value, nested: usize) -> Vec<Mismatch> {
    let at = |property: Option<&str>| path::written(payload, error.instance_path().as_str(), property);
    let one = |path: String, problem: String| vec![Mismatch { path, problem: cut(problem) }];
    match error.kind() {
        Kind::Required { property } => one(at(property.as_str()), "is required".into()),
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            let unknown = |name: &String| Mismatch { path: at(Some(name)), problem: "is no field of this type".into() };
            unexpected.iter().map(unknown).collect()
        }
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
            if let Some(consts) = only_consts(context) {
                return one(at(None), format!("must be one of {consts}"));
            }
            let base = depth(error);
            let nearest = context.iter().filter(|_| nested > 0).max_by_key(|branch| Rank::of(branch, base));
            let told: Vec<_> =
                nearest.into_iter().flatten().flat_map(|error| told(error, payload, nested - 1)).collect();
            if told.is_empty() { one(at(None), "matches no alternative".into()) } else { told }
        }
        Kind::OneOfMultipleValid { .. } => one(at(None), "matches more than one alternative".into()),
        Kind::Type { kind } => {
            let types: Vec<_> = match kind {
                TypeKind::Single(only) => vec![only.to_string()],
                TypeKind::Multiple(several) => several.iter().map(|one| one.to_string()).collect(),
            };
            one(at(None), format!("must be of type {}", types.join(" or ")))
        }
        Kind::Constant { expected_value } => one(at(None), format!("must be {expected_value}")),
        Kind::Enum { options } => {
            let options = options.as_array().into_iter().flatten().map(Value::to_string).collect::<Vec<_>>();
            one(at(None), format!("must be one of {}", options.join(", ")))
        }
        Kind::FalseSchema => one(at(None), "must not be there".into()),
        // Its own words, without the value.
        _ => one(at(None), error.masked_with("it").to_string()),
    }
}

/// How near a branch came; more is nearer. In this order: what is of another type altogether, or has another tag, is far;
/// then how deep its first problem that is not about itself lies; then how few there are.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Rank(Likeness, usize, std::cmp::Reverse<usize>);

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Likeness {
    OtherType,
    OtherTag,
    Alike,
}

impl Rank {
    fn of(branch: &[ValidationError<'_>], base: usize) -> Self {
        let likeness = branch.iter().map(|error| match (error.kind(), depth(error).saturating_sub(base)) {
            (Kind::Type { .. } | Kind::Constant { .. } | Kind::Enum { .. } | Kind::FalseSchema, 0) => {
                Likeness::OtherType
            }
            (Kind::Constant { .. } | Kind::Enum { .. }, 1) => Likeness::OtherTag,
            _ => Likeness::Alike,
        });
        let farthest = branch.iter().map(depth).max().unwrap_or_default();
        Self(likeness.min().unwrap_or(Likeness::Alike), farthest, std::cmp::Reverse(branch.len()))
    }
}

/// How deep in the payload the field lies that an error is about. A property that is missing lies below what misses it.
fn depth(error: &ValidationError<'_>) -> usize {
    let own = error.instance_path().as_str().matches('/').count();
    match error.kind() {
        Kind::Required { .. } | Kind::AdditionalProperties { .. } | Kind::UnevaluatedProperties { .. } => own + 1,
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
            context.iter().flatten().map(depth).max().unwrap_or(own)
        }
        _ => own,
    }
}

/// The values of alternatives that are one value each, as an enum of words is written with a sentence for each.
fn only_consts(context: &[Vec<ValidationError<'_>>]) -> Option<String> {
    let consts = context.iter().map(|branch| match branch.as_slice() {
        [only] => match only.kind() {
            Kind::Constant { expected_value } => Some(vec![expected_value.to_string()]),
            Kind::Enum { options } => Some(options.as_array()?.iter().map(Value::to_string).collect()),
            _ => None,
        },
        _ => None,
    });
    Some(consts.collect::<Option<Vec<_>>>()?.concat().join(", "))
}

fn cut(mut problem: String) -> String {
    if problem.len() > MAX_PROBLEM {
        problem.truncate(problem.floor_char_boundary(MAX_PROBLEM));
        problem.push('…');
    }
    problem
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::mismatches;

    /// `path: problem` of every miss.
    fn told(schema: &Value, payload: &Value) -> Vec<String> {
        let validator = jsonschema::options().with_draft(jsonschema::Draft::Draft202012).build(schema).unwrap();
        mismatches(&validator, payload, 5).into_iter().map(|miss| format!("{}: {}", miss.path, miss.problem)).collect()
    }

    #[test]
    fn the_field_that_is_to_be_mended_is_named() {
        let schema = json!({
            "type": "object",
            "properties": {
                "customer": {
                    "type": "object",
                    "properties": {"email": {"type": "string", "maxLength": 3}, "tags": {"items": {"enum": ["a", 1]}}},
                    "required": ["email"],
                },
                "n": {"type": ["integer", "null"], "minimum": 3},
                "never": false,
            },
            "required": ["customer"],
            "additionalProperties": false,
        });
        for (payload, expected) in [
            (json!({}), "customer: is required"),
            (json!({"customer": {}}), "customer.email: is required"),
            (json!({"customer": {"email": 1}}), "customer.email: must be of type string"),
            (json!({"customer": {"email": "long"}}), "customer.email: it is longer than 3 characters"),
            (json!({"customer": {"email": "a", "tags": ["b"]}}), "customer.tags[0]: must be one of \"a\", 1"),
            (json!({"customer": {"email": "a"}, "copies": 1}), "copies: is no field of this type"),
            (json!({"customer": {"email": "a"}, "n": 3.5}), "n: must be of type null or integer"),
            (json!({"customer": {"email": "a"}, "n": 1}), "n: it is less than the minimum of 3"),
            (json!({"customer": {"email": "a"}, "never": 1}), "never: must not be there"),
            (json!(null), ": must be of type object"),
        ] {
            assert_eq!(told(&schema, &payload), [expected], "{payload}");
        }
    }

    #[test]
    fn of_alternatives_the_one_that_was_meant_is_told() {
        let customer = json!({"type": "object", "properties": {"email": {"type": "string"}, "kind": {"enum": ["x"]}},
            "required": ["email"]});
        let optional = json!({"properties": {"customer": {"anyOf": [customer, {"type": "null"}]}}});
        for (payload, expected) in [
            (json!({"customer": {}}), "customer.email: is required"),
            (json!({"customer": {"email": 1}}), "customer.email: must be of type string"),
            (json!({"customer": {"email": "a", "kind": "y"}}), "customer.kind: must be one of \"x\""),
        ] {
            assert_eq!(told(&optional, &payload), [expected], "{payload}");
        }
        let tagged = json!({"oneOf": [
            {"properties": {"kind": {"const": "mail"}, "to": {"properties": {"street": {"type": "string"}}}}, "required": ["kind", "to"]},
            {"properties": {"kind": {"const": "call"}, "number": {"type": "string"}}, "required": ["kind", "number"]},
        ]});
        assert_eq!(told(&tagged, &json!({"kind": "call"})), ["number: is required"]);
        assert_eq!(told(&tagged, &json!({"kind": "call", "to": {"street": 1}})), ["number: is required"]);
        assert_eq!(told(&tagged, &json!({"kind": "mail", "to": {"street": 1}})), ["to.street: must be of type string"]);
        let nested = json!({"anyOf": [{"type": "null"}, {"anyOf": [{"type": "array"}, customer]}]});
        assert_eq!(told(&nested, &json!({"kind": "x"})), ["email: is required"]);
        let words = json!({"oneOf": [{"const": "low"}, {"const": "high"}]});
        assert_eq!(told(&words, &json!("mid")), [": must be one of \"low\", \"high\""]);
        let several = json!({"oneOf": [{"type": "integer"}, {"minimum": 0}]});
        assert_eq!(told(&several, &json!(1)), [": matches more than one alternative"]);
    }

    #[test]
    fn what_is_told_is_bounded_and_quotes_no_value() {
        let schema = json!({"additionalProperties": {"enum": (0..1_000).collect::<Vec<_>>()}});
        let payload: Value =
            (0..100).map(|n| (format!("k{n}"), Value::from("secret"))).collect::<serde_json::Map<_, _>>().into();
        let told = told(&schema, &payload);
        assert_eq!(told.len(), 5);
        assert!(told.iter().all(|told| told.len() < 300 && !told.contains("secret")), "{told:?}");
    }
}
