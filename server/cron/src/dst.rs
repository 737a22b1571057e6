//! What happens to a wall-clock time that a clock change removes or repeats: "appointment or rhythm".
//!
//! An hour written as a literal is an **appointment**: someone wants it to happen that day, once. An hour that comes
//! from `*`, a range or a step is **rhythm**: what matters is the beat. So, unless a schedule overrides it,
//!
//! | | appointment | rhythm |
//! |---|---|---|
//! | in a gap | at the first valid instant; several coalesce into one | skipped |
//! | in an overlap | in the first pass only | in both passes |
//!
//! Each value of a list counts by itself: `30 2,5-7 * * *` has the appointment 02:30 and a rhythm from 05:30; a value
//! that a literal and a range both name is an appointment. `H` and `H(a-b)` stand for one literal, `H/s` is a step.
//! [`HourMasks`] is this table per hour of the day; [`crate::search`] applies it.

use std::fmt;

use jiff::{Timestamp, civil::DateTime};

use crate::plan::Plan;

/// What to do with a wall-clock time that a clock change skips.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Gap {
    /// Fire at the first instant after the gap; everything within one gap is one fire.
    NextValid,
    /// Do not fire.
    Skip,
    /// Fire as much later as the gap is long: 02:30 becomes 03:30.
    Shift,
}

/// What to do with a wall-clock time that a clock change repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Overlap {
    /// Fire in the first pass.
    First,
    /// Fire in the last pass.
    Last,
    /// Fire in both.
    Both,
}

/// What a clock change did to a fire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DstEffect {
    /// The time does not exist; it fires at the end of the gap.
    MovedToGapEnd,
    /// The time does not exist; it fires later by the length of the gap.
    Shifted,
    /// The time does not exist; it does not fire.
    Skipped,
    /// The time comes twice; it fires the first time only.
    FirstPassOnly,
    /// The time comes twice; it fires the second time only.
    LastPassOnly,
    /// The time comes twice; it fires both times.
    BothPasses,
}

/// A note for previews: this clock change has this effect, from this wall-clock time on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DstNote {
    /// The instant the clocks change.
    pub change: Timestamp,
    /// The (first) wall-clock time affected, as the rule means it.
    pub wall: DateTime,
    /// What becomes of it.
    pub effect: DstEffect,
}

impl fmt::Display for DstNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wall = self.wall.strftime("%F %T");
        match self.effect {
            DstEffect::MovedToGapEnd => write!(f, "{wall} does not exist: fires when the clocks have moved on"),
            DstEffect::Shifted => write!(f, "{wall} does not exist: fires later by the hours skipped"),
            DstEffect::Skipped => write!(f, "{wall} does not exist: does not fire"),
            DstEffect::FirstPassOnly => write!(f, "{wall} comes twice: fires the first time only"),
            DstEffect::LastPassOnly => write!(f, "{wall} comes twice: fires the second time only"),
            DstEffect::BothPasses => write!(f, "{wall} comes twice: fires both times"),
        }
    }
}

/// Which hours of the day (bits 0–23) get which treatment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HourMasks {
    pub(crate) all: u32,
    /// Fire at the end of a gap.
    pub(crate) gap_end: u32,
    /// Fire shifted by a gap.
    pub(crate) gap_shift: u32,
    /// Fire in the first pass of an overlap.
    pub(crate) first_pass: u32,
    /// Fire in the second pass of an overlap.
    pub(crate) second_pass: u32,
}

impl HourMasks {
    pub(crate) fn new(plan: &Plan, gap: Option<Gap>, overlap: Option<Overlap>) -> Self {
        let all = plan.hours();
        let (gap_end, gap_shift) = match gap {
            None => (plan.appointments, 0),
            Some(Gap::NextValid) => (all, 0),
            Some(Gap::Skip) => (0, 0),
            Some(Gap::Shift) => (0, all),
        };
        let (first_pass, second_pass) = match overlap {
            None => (all, plan.rhythms),
            Some(Overlap::First) => (all, 0),
            Some(Overlap::Last) => (0, all),
            Some(Overlap::Both) => (all, all),
        };
        Self { all, gap_end, gap_shift, first_pass, second_pass }
    }

    /// What a fire in an overlap is told about its hour.
    pub(crate) fn pass_effect(&self, hour: i8) -> DstEffect {
        let has = |mask: u32| mask >> hour & 1 == 1;
        match (has(self.first_pass), has(self.second_pass)) {
            (true, true) => DstEffect::BothPasses,
            (false, true) => DstEffect::LastPassOnly,
            (true, false) | (false, false) => DstEffect::FirstPassOnly,
        }
    }
}
