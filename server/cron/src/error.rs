//! The three ways a rule is refused: its text, its meaning, its zone.
//!
//! Messages are written for the person who typed the expression; the server hands them on unchanged, with the field
//! and the column as machine-readable detail.

use std::fmt;

use jiff::civil::Date;

use crate::field::Field;

/// Why a text is not a cron expression (or not a duration).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// The field at fault; `None` when the text as a whole is.
    pub field: Option<Field>,
    /// Where the fault begins, counted in characters from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to write instead, if that can be guessed.
    pub suggestion: Option<String>,
}

impl ParseError {
    pub(crate) fn new(field: impl Into<Option<Field>>, column: usize, message: impl Into<String>) -> Self {
        Self { field: field.into(), column, message: message.into(), suggestion: None }
    }

    pub(crate) fn suggest(mut self, suggestion: impl Into<String>) -> Self {
        self.suggestion = Some(suggestion.into());
        self
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(field) = self.field {
            write!(f, "{field} field, ")?;
        }
        write!(f, "column {}: {}", self.column, self.message)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, "; {suggestion}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ParseError {}

/// Why a rule that reads well can still not be accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// Nothing matches in the 400 years after the given instant (or before the last year, 9999).
    #[error("the rule never fires: nothing matches in the next 400 years, up to the year 9999")]
    NeverFires,
    /// An interval of zero or less.
    #[error("an interval must be longer than zero, not {every_us} µs")]
    IntervalNotPositive {
        /// The interval asked for, in microseconds.
        every_us: i64,
    },
    /// A delay of zero or less.
    #[error("a delay must be longer than zero, not {delay_us} µs")]
    DelayNotPositive {
        /// The delay asked for, in microseconds.
        delay_us: i64,
    },
    /// A phase that is not within `[0, every)`.
    #[error("the phase must be at least zero and less than the interval of {every_us} µs, not {phase_us} µs")]
    PhaseOutOfRange {
        /// The phase asked for, in microseconds.
        phase_us: i64,
        /// The interval, in microseconds.
        every_us: i64,
    },
    /// More than one of `phase_us`, hashed phase and `start_at` was given.
    #[error("an interval has one anchor: give either `phase_us`, or `phase: \"H\"`, or `start_at`")]
    AnchorConflict,
    /// A calendar interval of no units.
    #[error("a calendar interval has a step of at least 1")]
    NoStep,
    /// A calendar interval that begins before the years there are, or after.
    #[error("the first date must be in the years 1970 to 9999, not {first}")]
    FirstDateOutOfRange {
        /// The date asked for.
        first: Date,
    },
    /// `day_match: OR` beside an expression whose `+` says AND.
    #[error("the `+` in the day-of-week field means AND, but day_match says OR")]
    DayMatchConflict,
}

/// Why a zone name is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneError {
    /// The name as given, cut to a printable length.
    pub name: String,
    /// Why it is not a zone.
    pub message: String,
    /// The nearest name there is.
    pub suggestion: Option<String>,
}

impl fmt::Display for ZoneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "time zone {:?}: {}", self.name, self.message)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, "; did you mean {suggestion:?}?"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ZoneError {}
