//! Filters of lists: a subset of AIP-160, parsed once, with an allow-list of fields.
//!
//! `FIELD OP VALUE` joined by AND, OR, NOT and parentheses. The store turns a [`Filter`] into a condition; it never sees
//! text that a caller typed.
//!
//! * OP is `=`, `!=`, `<`, `<=`, `>`, `>=`, or `:`, which means the same as `=`. Texts and enums know only the two
//!   equalities; a trailing `*` in a text means "begins with", `\*` at its end a star.
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
    /// A UUID, handed on as a text in its usual form.
    Id,
    /// A whole number.
    Number,
    /// An instant.
    Time,
    /// One of these names, handed on as its code.
    Enum(&'static [(&'static str, i64)]),
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
