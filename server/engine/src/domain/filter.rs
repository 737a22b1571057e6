//! Filters of lists: a subset of AIP-160, parsed once, with an allow-list of fields.
//!
//! `FIELD OP VALUE` joined by AND, OR, NOT and parentheses. The store turns a [`Filter`] into a condition; it never sees
//! text that a caller typed.

use super::instant::Instant;

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
