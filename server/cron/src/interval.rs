//! [`Interval`]: a fixed elapsed time between fires, anchored so that restarts do not move it.
//!
//! Fires lie on a grid: every `every` from an anchor, which is the Unix epoch plus a phase, or an instant of its own.
//! Wall clocks play no part, so clock changes do not either.

use jiff::Timestamp;

use crate::{error::RuleError, hash};

/// Where an interval's grid lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Anchor {
    /// On the Unix epoch, later by `phase_us` microseconds; the grid reaches both ways without end.
    Epoch {
        /// Microseconds, at least zero and less than the interval.
        phase_us: i64,
    },
    /// On the Unix epoch, with a phase that the schedule's uid chooses ([`crate::Rule::resolve`]).
    Hashed,
    /// The first fire is at this instant; there is none before.
    Start(Timestamp),
}

/// A fire every so much elapsed time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "Text", into = "Text")]
pub struct Interval {
    every_us: i64,
    anchor: Anchor,
}

/// The stored form.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    every_us: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    phase_us: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    phase: Option<HashMark>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start_at: Option<Timestamp>,
}

#[derive(serde::Serialize, serde::Deserialize)]
enum HashMark {
    H,
}

impl Interval {
    /// An interval of `every_us` microseconds.
    ///
    /// # Errors
    /// If it is not positive, or its phase is not within it.
    pub fn new(every_us: i64, anchor: Anchor) -> Result<Self, RuleError> {
        if every_us <= 0 {
            return Err(RuleError::IntervalNotPositive { every_us });
        }
        let anchor = match anchor {
            Anchor::Epoch { phase_us } if !(0..every_us).contains(&phase_us) => {
                return Err(RuleError::PhaseOutOfRange { phase_us, every_us });
            }
            Anchor::Start(at) => Anchor::Start(cut(at)),
            Anchor::Epoch { .. } | Anchor::Hashed => anchor,
        };
        Ok(Self { every_us, anchor })
    }

    /// The time between two fires, in microseconds.
    #[must_use]
    pub fn every_us(&self) -> i64 {
        self.every_us
    }

    /// Where the grid lies.
    #[must_use]
    pub fn anchor(&self) -> Anchor {
        self.anchor
    }

    pub(crate) fn resolve(self, seed: &[u8]) -> Self {
        match self.anchor {
            Anchor::Hashed => Self { anchor: Anchor::Epoch { phase_us: self.hashed_phase(seed) }, ..self },
            Anchor::Epoch { .. } | Anchor::Start(_) => self,
        }
    }

    fn hashed_phase(&self, seed: &[u8]) -> i64 {
        hash::pick(seed, "interval", self.every_us.unsigned_abs()) as i64
    }

    /// The first fire on the grid, if it has a first, and any point of the grid.
    fn origin(&self) -> i64 {
        match self.anchor {
            Anchor::Epoch { phase_us } => phase_us,
            Anchor::Hashed => self.hashed_phase(b""),
            Anchor::Start(at) => at.as_microsecond(),
        }
    }

    pub(crate) fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let (after, origin) = (floor_us(after), i128::from(self.origin()));
        if matches!(self.anchor, Anchor::Start(_)) && after < origin {
            return on_grid(origin);
        }
        let every = i128::from(self.every_us);
        on_grid(origin + ((after - origin).div_euclid(every) + 1) * every)
    }

    pub(crate) fn prev_before(&self, before: Timestamp) -> Option<Timestamp> {
        let (last, origin) = (floor_us_exclusive(before), i128::from(self.origin()));
        let every = i128::from(self.every_us);
        let steps = (last - origin).div_euclid(every);
        if matches!(self.anchor, Anchor::Start(_)) && steps < 0 {
            return None;
        }
        on_grid(origin + steps * every)
    }
}

impl TryFrom<Text> for Interval {
    type Error = RuleError;

    fn try_from(text: Text) -> Result<Self, RuleError> {
        let Text { every_us, phase_us, phase, start_at } = text;
        let anchor = match (phase_us, phase, start_at) {
            (None, None, None) => Anchor::Epoch { phase_us: 0 },
            (Some(phase_us), None, None) => Anchor::Epoch { phase_us },
            (None, Some(HashMark::H), None) => Anchor::Hashed,
            (None, None, Some(start)) => Anchor::Start(start),
            _ => return Err(RuleError::AnchorConflict),
        };
        Self::new(every_us, anchor)
    }
}

impl From<Interval> for Text {
    fn from(Interval { every_us, anchor }: Interval) -> Self {
        let mut text = Self { every_us, phase_us: None, phase: None, start_at: None };
        match anchor {
            Anchor::Epoch { phase_us: 0 } => {}
            Anchor::Epoch { phase_us } => text.phase_us = Some(phase_us),
            Anchor::Hashed => text.phase = Some(HashMark::H),
            Anchor::Start(at) => text.start_at = Some(at),
        }
        text
    }
}

pub(crate) fn on_grid(us: i128) -> Option<Timestamp> {
    Timestamp::from_microsecond(i64::try_from(us).ok()?).ok()
}

/// The whole microsecond at or before an instant.
pub(crate) fn floor_us(at: Timestamp) -> i128 {
    at.as_nanosecond().div_euclid(1_000)
}

/// The last whole microsecond before an instant.
pub(crate) fn floor_us_exclusive(before: Timestamp) -> i128 {
    (before.as_nanosecond() - 1).div_euclid(1_000)
}

/// An instant cut to whole microseconds.
pub(crate) fn cut(at: Timestamp) -> Timestamp {
    on_grid(floor_us(at)).unwrap_or(at)
}
