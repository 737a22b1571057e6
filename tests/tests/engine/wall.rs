//! What a wall clock names, day by day: an oracle of a few lines, which shares nothing with the product's evaluator but the
//! zone data, and reads nothing but hours and minutes.

use jiff::{
    Timestamp,
    civil::{Date, DateTime, Time},
    tz::{AmbiguousOffset, TimeZone},
};
use mainspring_cron::{Cron, Expr, Rule, Zone};
use mainspring_engine::domain::{instant::Instant, schedule::ScheduleSpec};

use crate::held::appointment;

/// Times of every day in a zone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wall {
    pub(crate) zone: &'static str,
    /// The minutes and hours of the expression, as it writes them.
    pub(crate) expr: &'static str,
    pub(crate) hours: &'static [i8],
    pub(crate) minutes: &'static [i8],
    /// Its hours are literals: it meets a clock change as an appointment does, else as a rhythm.
    pub(crate) appointment: bool,
}

pub(crate) const ALL_HOURS: &[i8] =
    &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23];

impl Wall {
    /// The product's schedule of the same meaning.
    pub(crate) fn schedule(&self, name: &str) -> ScheduleSpec {
        let rule = Rule::Cron(Cron::new(Expr::parse(self.expr).unwrap()));
        let zone = Zone::parse(self.zone).unwrap();
        ScheduleSpec { rule, zone, ..mainspring_tests::conformance::world::every(name, 60) }
    }

    pub(crate) fn time_zone(&self) -> TimeZone {
        TimeZone::get(self.zone).unwrap()
    }

    /// When the clocks of the zone change next.
    pub(crate) fn change_after(&self, after: Instant) -> Option<Instant> {
        let change = self.time_zone().following(after.timestamp()).next()?.timestamp();
        Some(Instant::from_timestamp(change))
    }

    /// The next midnight that the zone has.
    pub(crate) fn midnight_after(&self, after: Instant) -> Instant {
        let next = after.timestamp().to_zoned(self.time_zone()).date().tomorrow().unwrap();
        let midnight = next.to_zoned(self.time_zone()).unwrap().timestamp();
        Instant::from_timestamp(midnight)
    }

    /// The instants in `(after, until]`, in order.
    pub(crate) fn instants(&self, after: Instant, until: Instant) -> Vec<Instant> {
        let zone = self.time_zone();
        let day = |at: Instant| at.timestamp().to_zoned(zone.clone()).date();
        let mut found = Vec::new();
        let mut date: Date = day(after).yesterday().unwrap();
        let last = day(until).tomorrow().unwrap();
        while date <= last {
            for hour in self.hours {
                for minute in self.minutes {
                    let wall = date.to_datetime(Time::constant(*hour, *minute, 0, 0));
                    found.extend(self.placed(&zone, wall));
                }
            }
            date = date.tomorrow().unwrap();
        }
        found.sort_unstable();
        found.dedup();
        found.retain(|at| *at > after && *at <= until);
        found
    }

    /// Where a time of the wall clock lies: twice, once, or nowhere.
    fn placed(&self, zone: &TimeZone, wall: DateTime) -> Vec<Instant> {
        let at = |offset: jiff::tz::Offset| offset.to_timestamp(wall).unwrap();
        let placed: Vec<Timestamp> = match zone.to_ambiguous_timestamp(wall).offset() {
            AmbiguousOffset::Unambiguous { offset } => vec![at(offset)],
            AmbiguousOffset::Fold { before, .. } if self.appointment => vec![at(before)],
            AmbiguousOffset::Fold { before, after } => vec![at(before), at(after)],
            AmbiguousOffset::Gap { .. } if self.appointment => return vec![appointment(zone, wall)],
            AmbiguousOffset::Gap { .. } => Vec::new(),
        };
        placed.into_iter().map(Instant::from_timestamp).collect()
    }
}
