//! Filters of lists: a subset of AIP-160, parsed once, with an allow-list of fields.
//!
//! `FIELD OP VALUE` joined by AND, OR, NOT and parentheses. The store turns a [`Filter`] into a condition; it never sees
//! text that a caller typed.
//!
//! * OP is `=`, `!=`, `<`, `<=`, `>`, `>=`, or `:`, which means the same as `=`. Texts and enums know only the two
//!   equalities; a text that is absent is compared as "", as AIP-160 has it; a trailing `*` in a text means "begins with", `\*` at its end a star.
//! * VALUE is bare or quoted with `"` or `'`; a backslash in quotes takes the next character as it is. Enum values are
//!   written without their prefix, in any case; times as RFC 3339 or as `now`, `now-1h`, `now+30m`.
//! * NOT binds closest. **OR binds closer than AND**, as AIP-160 has it: `a AND b OR c` is `a AND (b OR c)`.
//!
//! Parsing is bounded: a filter has at most [`MAX_LENGTH`] bytes, [`MAX_TESTS`] comparisons and [`MAX_DEPTH`] levels.

mod parse;

use super::instant::Instant;

pub use parse::{MAX_DEPTH, MAX_LENGTH, MAX_TESTS, parse};

/// What a list is narrowed to.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Filter {
    /// Everything.
    #[default]
    All,
    /// All of them.
    And(Vec<Filter>),
    /// One of them at least.
    Or(Vec<Filter>),
    /// Not this.
    Not(Box<Filter>),
    /// One comparison.
    Test {
        /// A field of the list's allow-list.
        field: &'static str,
        /// How it is compared.
        op: Op,
        /// With what.
        value: Value,
    },
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// `=`, and `:` where it means the same.
    Equal,
    /// `!=`.
    NotEqual,
    /// `<`.
    Less,
    /// `<=`.
    LessEqual,
    /// `>`.
    Greater,
    /// `>=`.
    GreaterEqual,
    /// `=` with a trailing `*`.
    Prefix,
}

/// What a field is compared with, of the field's kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A number, or the code of an enum value.
    Number(i64),
    /// An instant.
    Time(Instant),
}

/// A field that a list may be narrowed by.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name, in the filter and for the store.
    pub name: &'static str,
    /// What it is compared with.
    pub kind: Kind,
}

/// What a field is compared with.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A text.
    Text,
    /// A UUID, handed on as a text in its usual form; "" is that of what has none.
    Id,
    /// A whole number.
    Number,
    /// `true` or `false`, handed on as 1 or 0.
    Bool,
    /// An instant.
    Time,
    /// One of these names, handed on as its code.
    Enum(&'static [(&'static str, i64)]),
}

impl Filter {
    /// Whether something passes whose fields `of` tells; `None` where it does not have one. What stores say in their own
    /// language means the same: an absent text is compared as "", and of anything else that is absent only "is not" is
    /// true.
    pub fn passes(&self, of: &dyn Fn(&'static str) -> Option<Value>) -> bool {
        match self {
            Self::All => true,
            Self::And(parts) => parts.iter().all(|part| part.passes(of)),
            Self::Or(parts) => parts.iter().any(|part| part.passes(of)),
            Self::Not(part) => !part.passes(of),
            Self::Test { field, op, value } => test(of(field), *op, value),
        }
    }
}

fn test(found: Option<Value>, op: Op, wanted: &Value) -> bool {
    let order = match (&found, wanted) {
        (Some(Value::Text(found)), Value::Text(wanted)) if op == Op::Prefix => {
            return found.starts_with(wanted.as_str());
        }
        (Some(Value::Text(found)), Value::Text(wanted)) => found.cmp(wanted),
        (None, Value::Text(wanted)) => return test(Some(Value::Text(String::new())), op, &Value::Text(wanted.clone())),
        (Some(Value::Number(found)), Value::Number(wanted)) => found.cmp(wanted),
        (Some(Value::Time(found)), Value::Time(wanted)) => found.cmp(wanted),
        (Some(Value::Text(_) | Value::Number(_) | Value::Time(_)) | None, _) => return op == Op::NotEqual,
    };
    match op {
        Op::Equal => order.is_eq(),
        Op::NotEqual => order.is_ne(),
        Op::Less => order.is_lt(),
        Op::LessEqual => order.is_le(),
        Op::Greater => order.is_gt(),
        Op::GreaterEqual => order.is_ge(),
        Op::Prefix => false,
    }
}

/// The text is not a filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {message}")]
pub struct FilterError {
    /// Where, counted in characters from 1.
    pub column: usize,
    /// What is wrong, and what to write instead.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: &[Field] = &[
        Field { name: "job", kind: Kind::Text },
        Field { name: "worker_id", kind: Kind::Id },
        Field { name: "priority", kind: Kind::Number },
        Field { name: "paused", kind: Kind::Bool },
        Field { name: "end_time", kind: Kind::Time },
    ];

    fn passes(text: &str, record: &[(&str, Value)]) -> bool {
        let filter = parse(text, FIELDS, Instant::EPOCH).unwrap();
        filter.passes(&|field| record.iter().find(|(name, _)| *name == field).map(|(_, value)| value.clone()))
    }

    #[test]
    fn a_record_is_compared_by_what_it_has() {
        let record = [
            ("job", Value::Text("demo.hello".into())),
            ("priority", Value::Number(5)),
            ("paused", Value::Number(1)),
            ("end_time", Value::Time(Instant::from_micros(10))),
        ];
        for (text, expected) in [
            ("", true),
            ("job = demo.hello", true),
            ("job != demo.hello", false),
            ("job:demo.*", true),
            ("job:other.*", false),
            ("priority >= 5 AND priority < 6", true),
            ("priority > 5 OR paused = TRUE", true),
            ("NOT paused = true", false),
            ("end_time > now", true),
            ("end_time <= now", false),
        ] {
            assert_eq!(passes(text, &record), expected, "{text}");
        }
    }

    #[test]
    fn what_is_absent_is_nothing() {
        for (text, expected) in [
            ("job = \"\"", true),
            ("job != \"\"", false),
            ("job != demo.hello", true),
            ("NOT job = demo.hello", true),
            ("job:demo.*", false),
            ("worker_id = \"\"", true),
            ("worker_id != 019ab000-0000-7000-8000-000000000000", true),
            ("end_time < now", false),
            ("end_time != now", true),
            ("priority = 5", false),
        ] {
            assert_eq!(passes(text, &[]), expected, "{text}");
        }
    }
}
