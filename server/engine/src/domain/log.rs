//! Log lines of attempts: addressed by offset, stored in batches, bounded per attempt.
//!
//! Lines travel behind results, and may come long after them. A result tells how many lines its attempt wrote; whoever
//! reads a log to its end waits for so many ([`awaited_until`]).

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{attempt::AttemptKey, instant::Instant};

/// An attempt keeps at most so many bytes of messages and fields.
pub const MAX_ATTEMPT_BYTES: u64 = 1 << 20;
/// An attempt keeps at most so many lines.
pub const MAX_ATTEMPT_LINES: u64 = 10_000;
/// Where nobody said how many lines an attempt wrote, its log is read until it was quiet for so long.
pub const QUIET: Duration = Duration::from_millis(500);

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

impl Stored {
    /// Its place.
    pub fn position(&self) -> Position {
        Position { attempt: self.attempt, offset: self.offset }
    }
}

/// A place in a run's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The attempt.
    pub attempt: i64,
    /// The line.
    pub offset: u64,
}

/// How far an attempt's log has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Every line before this offset is stored, or never will be: its worker dropped it, or it is over the limits.
    pub next_offset: u64,
    /// When the last of them came.
    pub update_time: Instant,
}

/// Until when a reader waits for further lines of an attempt that ended at `end`; `None` where all of `lines` are there.
///
/// A worker keeps its lines until they are acknowledged, and sends them again on its next stream: one that is heard within
/// a lease of its last word still brings them. One that is not has lost them, so even a number that was told does not bind
/// for longer.
pub fn awaited_until(end: Instant, lines: Option<u64>, reach: Option<Reach>, lease_ttl: Duration) -> Option<Instant> {
    let there = reach.map_or(0, |reach| reach.next_offset);
    let last_word = reach.map_or(end, |reach| reach.update_time.max(end));
    match lines {
        Some(lines) if there >= lines => None,
        Some(_) => Some(last_word.plus(lease_ttl)),
        None => Some(last_word.plus(QUIET)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(30);

    fn at(second: i64) -> Instant {
        Instant::from_micros(second * 1_000_000)
    }

    fn reach(next_offset: u64, second: i64) -> Option<Reach> {
        Some(Reach { next_offset, update_time: at(second) })
    }

    #[test]
    fn a_told_number_ends_the_wait_by_itself() {
        assert_eq!(awaited_until(at(10), Some(0), None, LEASE), None);
        assert_eq!(awaited_until(at(10), Some(3), reach(3, 20), LEASE), None);
        assert_eq!(awaited_until(at(10), Some(3), reach(4, 20), LEASE), None);
    }

    #[test]
    fn lines_that_are_missing_are_waited_for_while_their_worker_may_come_back() {
        assert_eq!(awaited_until(at(10), Some(3), None, LEASE), Some(at(40)));
        assert_eq!(awaited_until(at(10), Some(3), reach(2, 5), LEASE), Some(at(40)));
        assert_eq!(awaited_until(at(10), Some(3), reach(2, 20), LEASE), Some(at(50)));
    }

    #[test]
    fn where_nobody_told_the_log_must_be_quiet() {
        assert_eq!(awaited_until(at(10), None, None, LEASE), Some(at(10).plus(QUIET)));
        assert_eq!(awaited_until(at(10), None, reach(2, 20), LEASE), Some(at(20).plus(QUIET)));
    }
}
