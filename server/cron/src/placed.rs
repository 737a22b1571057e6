//! One time of the wall clock laid on the time line: where it lies, or what a clock change makes of it.
//!
//! For rules that name their times one by one. Cron names too many of them, and lays whole stretches at once
//! ([`crate::search`]); that both do the same is a property test.

use jiff::{
    Timestamp,
    civil::DateTime,
    tz::{AmbiguousOffset, Offset},
};

use crate::{
    dst::{DstEffect, DstNote, Gap, Overlap},
    search::Fire,
    zone::{Zone, timestamp},
};

/// What became of one time of the wall clock.
pub(crate) struct Placed {
    change: Option<Timestamp>,
    wall: DateTime,
    at: [Option<Timestamp>; 2],
    effect: Option<DstEffect>,
}

impl Placed {
    pub(crate) fn new(zone: &Zone, wall: DateTime, gap: Gap, overlap: Overlap) -> Self {
        let at = |offset: Offset| offset.to_timestamp(wall).ok();
        match zone.ambiguity(wall) {
            AmbiguousOffset::Unambiguous { offset } => {
                Self { change: None, wall, at: [at(offset), None], effect: None }
            }
            AmbiguousOffset::Gap { before, .. } => {
                // Read by the old clock, a time that was skipped lies as far behind the gap as it lay inside.
                let shifted = at(before);
                let end = shifted.and_then(|shifted| zone.segment(shifted.as_second()).start).map(timestamp);
                let (found, effect) = match gap {
                    Gap::NextValid => (end, DstEffect::MovedToGapEnd),
                    Gap::Skip => (None, DstEffect::Skipped),
                    Gap::Shift => (shifted, DstEffect::Shifted),
                };
                Self { change: end, wall, at: [found, None], effect: Some(effect) }
            }
            AmbiguousOffset::Fold { before, after } => {
                let (first, last) = (at(before), at(after));
                let change = first.and_then(|first| zone.segment(first.as_second()).end).map(timestamp);
                let (found, effect) = match overlap {
                    Overlap::First => ([first, None], DstEffect::FirstPassOnly),
                    Overlap::Last => ([last, None], DstEffect::LastPassOnly),
                    Overlap::Both => ([first, last], DstEffect::BothPasses),
                };
                Self { change, wall, at: found, effect: Some(effect) }
            }
        }
    }

    pub(crate) fn note(&self) -> Option<DstNote> {
        Some(DstNote { change: self.change?, wall: self.wall, effect: self.effect? })
    }

    /// At most two, in order.
    pub(crate) fn fires(self) -> impl Iterator<Item = Fire> {
        let note = self.note();
        self.at.into_iter().flatten().map(move |at| Fire { at, note })
    }
}

/// The instant of an appointment.
pub(crate) fn appointment(zone: &Zone, wall: DateTime) -> Option<Timestamp> {
    let [at, _] = Placed::new(zone, wall, Gap::NextValid, Overlap::First).at;
    at
}
