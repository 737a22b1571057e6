//! One value of a table or a page, before it is known where it will be shown.

use jiff::Timestamp;

use super::{Look, visible::one_line};
use crate::times;

/// A value to show.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    /// A text; the empty one is shown as `-`.
    Text(String),
    /// A word with a colour that never carries the meaning alone.
    Word(String, Tone),
    /// An instant: how far away on a terminal, RFC 3339 in a pipe.
    Time(Option<Timestamp>),
}

/// What a word feels like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As it should be.
    Good,
    /// Under way.
    Busy,
    /// Waits, or is out of use.
    Quiet,
    /// Needs somebody.
    Bad,
}

impl Cell {
    /// A text.
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A number, or anything that says itself.
    pub(crate) fn of(value: impl ToString) -> Self {
        Self::Text(value.to_string())
    }

    /// An instant of the wire.
    pub(crate) fn time(instant: Option<&prost_types::Timestamp>) -> Self {
        Self::Time(instant.and_then(times::from_proto))
    }

    /// The value as one line: a terminal is not moved, a column is not broken.
    pub(crate) fn shown(&self, look: &Look) -> String {
        match self {
            Self::Text(text) | Self::Word(text, _) if text.is_empty() => "-".into(),
            Self::Text(text) | Self::Word(text, _) => one_line(text),
            Self::Time(None) => "-".into(),
            Self::Time(Some(instant)) if look.terminal => times::relative(*instant, look.now),
            Self::Time(Some(instant)) => instant.to_string(),
        }
    }

    /// Its colour.
    pub(crate) fn tone(&self) -> Option<Tone> {
        match self {
            Self::Word(_, tone) => Some(*tone),
            Self::Text(_) | Self::Time(_) => None,
        }
    }
}
