//! Log lines of attempts: addressed by offset, stored in batches, bounded per attempt.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{attempt::AttemptKey, instant::Instant};

/// An attempt keeps at most so many bytes of messages and fields.
pub const MAX_ATTEMPT_BYTES: u64 = 1 << 20;
/// An attempt keeps at most so many lines.
pub const MAX_ATTEMPT_LINES: u64 = 10_000;

/// How serious a line is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Level {
    /// For whoever debugs the handler.
    Debug,
    /// What happened.
    #[default]
    Info,
    /// Something to look at.
    Warning,
    /// Something failed.
    Error,
}

impl Level {
    /// The name people see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
        }
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// When it was written, by the worker's clock.
    pub time: Instant,
    /// How serious it is.
    pub level: Level,
    /// The line.
    pub message: String,
    /// More, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, String>,
}

impl Line {
    /// What it counts against [`MAX_ATTEMPT_BYTES`].
    pub fn weight(&self) -> u64 {
        let fields: usize = self.fields.iter().map(|(name, value)| name.len() + value.len()).sum();
        (self.message.len() + fields) as u64
    }
}

/// Consecutive lines of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Which attempt.
    pub key: AttemptKey,
    /// Offset of the first line.
    pub first_offset: u64,
    /// The lines.
    pub lines: Vec<Line>,
    /// Lines right before `first_offset` that the worker dropped.
    pub dropped: u64,
}

/// A stored line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The attempt that wrote it.
    pub attempt: i64,
    /// Its place in the attempt's log.
    pub offset: u64,
    /// The line.
    pub line: Line,
    /// Lines right before it that are missing.
    pub dropped_before: u64,
}

/// A place in a run's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The attempt.
    pub attempt: i64,
    /// The line.
    pub offset: u64,
}
