//! The search for a cron rule's next instant: wall-clock times of [`crate::plan`] laid on the time line of a zone.
//!
//! Wall-clock order is not time order: after an overlap the clock shows earlier times again, a shifted fire lands
//! among later ones, and an overlap may even reach back into the day before. So the search walks *segments*, the
//! stretches of time between two clock changes. Within one, wall clock and time differ by a constant and order is
//! plain; all that a clock change does to fires happens at the two ends of a segment:
//!
//! ```text
//!            start (clocks changed)                               end (clocks will change)
//!   gap:       one fire here for the appointments skipped,
//!              shifted fires for a gap's length from here
//!   overlap:   second pass from here                     first pass up to here
//! ```
//!
//! Work is bounded. A segment costs a handful of mask look-ups; a run of days without a match is jumped over in months,
//! and with it the segments it covers; and the search ends 400 years on, where the calendar begins to repeat.

use jiff::{
    Span, Timestamp,
    civil::{DateTime, Time},
    tz::Offset,
};

use crate::{
    dst::{DstEffect, DstNote, HourMasks},
    plan::{DayMatch, Plan, Steps},
    zone::{Segment, Zone, timestamp},
};

/// An instant of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fire {
    /// When.
    pub at: Timestamp,
    /// What a clock change did to it, if one did.
    pub note: Option<DstNote>,
}

/// After 400 years to the day the same weekdays fall on the same dates; a few days more cover every zone change.
const HORIZON_SECONDS: i64 = (146_097 + 7) * DAY_SECONDS;
const DAY_SECONDS: i64 = 86_400;

/// Shortly before 1970: no year before it can be named.
const FIRST_YEAR: i64 = -SLACK_DAYS * DAY_SECONDS;

/// More than any wall clock is away from UTC, so that no fire is lost between a wall-clock day and its instants.
pub(crate) const SLACK_DAYS: i64 = 3;

/// A search over one cron rule in one zone. It remembers its segment, so a series of calls is cheaper than each.
#[derive(Debug)]
pub(crate) struct Search<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) day_match: DayMatch,
    pub(crate) hours: HourMasks,
    pub(crate) zone: &'a Zone,
    segment: Option<Segment>,
    pub(crate) steps: Steps,
}

impl<'a> Search<'a> {
    pub(crate) fn new(plan: &'a Plan, day_match: DayMatch, hours: HourMasks, zone: &'a Zone) -> Self {
        Self { plan, day_match, hours, zone, segment: None, steps: Steps::default() }
    }

    /// The first fire strictly after one Unix second and not after another.
    pub(crate) fn next(&mut self, after: i64, until: i64) -> Option<Fire> {
        let mut horizon = until.min(Timestamp::MAX.as_second());
        if !self.plan.names_years() {
            horizon = horizon.min(after.saturating_add(HORIZON_SECONDS));
        }
        let mut at = after.saturating_add(1).max(Timestamp::MIN.as_second());
        while at <= horizon {
            let segment = self.segment(at);
            if let Some(fire) = self.first_in(&segment, at, horizon) {
                return Some(fire).filter(|fire| fire.at.as_second() <= horizon);
            }
            at = self.jump(segment.end?, horizon)?;
        }
        None
    }

    /// The last fire strictly before a Unix second, found by halving with the *forward* search. That is the one
    /// definition of a fire; some forty calls to it, each within a known window, cost less than a second definition
    /// that might disagree.
    pub(crate) fn prev(&mut self, before: i64) -> Option<i64> {
        let floor = if self.plan.names_years() { FIRST_YEAR } else { before.saturating_sub(HORIZON_SECONDS) };
        let floor = floor.max(Timestamp::MIN.as_second());
        let until = before.checked_sub(1)?;
        let mut fire_after = |after: i64, until: i64| self.next(after, until).map(|fire| fire.at.as_second());

        // Reach back in doubling steps until there is a fire, then close in on the last one. Nothing fires in
        // `(none_after, before)`, and `last` fires.
        let (mut none_after, mut reach) = (until, 1i64);
        let mut last = loop {
            let from = before.saturating_sub(reach).max(floor);
            match fire_after(from, none_after) {
                Some(at) => break at,
                None if from == floor => return None,
                None => (none_after, reach) = (from, reach.saturating_mul(2)),
            }
        };
        while last < none_after {
            let middle = last + (none_after - last) / 2;
            match fire_after(middle, none_after) {
                Some(at) => last = at,
                None => none_after = middle,
            }
        }
        Some(last)
    }

    fn segment(&mut self, at: i64) -> Segment {
        let holds =
            |segment: &Segment| segment.start.is_none_or(|start| start <= at) && segment.end.is_none_or(|end| at < end);
        match self.segment {
            Some(segment) if holds(&segment) => segment,
            _ => {
                self.steps.0 += 1;
                *self.segment.insert(self.zone.segment(at))
            }
        }
    }

    /// Where to go on after an empty segment: from its end, or from shortly before the next matching day if that is
    /// further on. Nothing lies between, because every wall clock is then showing days that do not match.
    fn jump(&mut self, end: i64, horizon: i64) -> Option<i64> {
        let utc = |second: i64| Offset::UTC.to_datetime(timestamp(second)).date();
        let from = utc(end - SLACK_DAYS * DAY_SECONDS);
        let last = utc(horizon.saturating_add(SLACK_DAYS * DAY_SECONDS));
        let day = self.plan.next_day(from, last, self.day_match, &mut self.steps)?;
        let midnight = second_of(Offset::UTC, day.to_datetime(Time::midnight()))?;
        Some(end.max(midnight - SLACK_DAYS * DAY_SECONDS))
    }

    /// The first fire of a segment at or after `at`, which lies within it.
    fn first_in(&mut self, segment: &Segment, at: i64, horizon: i64) -> Option<Fire> {
        let Segment { start, end, before, offset, after } = *segment;
        let from = wall(at, offset);
        let last = end.map_or(horizon, |end| horizon.min(end - 1));
        // Added on the wall clock, which goes further than the time line.
        let until = wall(last, offset).saturating_add(Span::new().seconds(1));

        let mut shifted = None;
        let mut second_pass_until = from;
        if let Some(start) = start {
            let (shown_before, shown) = (wall(start, before), wall(start, offset));
            let note = |wall, effect| Some(DstNote { change: timestamp(start), wall, effect });
            if at == start
                && let Some(wall) = self.next_wall(shown_before, shown, self.hours.gap_end)
            {
                return Some(Fire { at: timestamp(at), note: note(wall, DstEffect::MovedToGapEnd) });
            }
            if let Some(wall) = self.next_wall(wall(at, before).max(shown_before), shown, self.hours.gap_shift) {
                shifted = second_of(before, wall).map(|second| (second, note(wall, DstEffect::Shifted)));
            }
            second_pass_until = shown_before.clamp(from, until);
        }
        let first_pass_from = match end {
            Some(end) => wall(end, after).clamp(second_pass_until, until),
            None => until,
        };

        let stretches = [
            (from, second_pass_until, self.hours.second_pass, start),
            (second_pass_until, first_pass_from, self.hours.all, None),
            (first_pass_from, until, self.hours.first_pass, end),
        ];
        let mut plain = None;
        for (from, until, hours, change) in stretches {
            if let Some(wall) = self.next_wall(from, until, hours) {
                let effect = self.hours.pass_effect(wall.hour());
                let note = change.map(|change| DstNote { change: timestamp(change), wall, effect });
                plain = second_of(offset, wall).map(|second| (second, note));
                break;
            }
        }

        // At one and the same instant the shifted fire and the plain one are one, and the note is worth keeping.
        let (second, note) = match (shifted, plain) {
            (Some(shifted), Some(plain)) if plain.0 < shifted.0 => plain,
            (Some(shifted), _) => shifted,
            (None, plain) => plain?,
        };
        Some(Fire { at: timestamp(second), note })
    }

    pub(crate) fn next_wall(&mut self, from: DateTime, until: DateTime, hours: u32) -> Option<DateTime> {
        self.plan.next_wall(from, until, hours, self.day_match, &mut self.steps)
    }
}

/// What a clock with this offset shows.
pub(crate) fn wall(second: i64, offset: Offset) -> DateTime {
    offset.to_datetime(timestamp(second))
}

fn second_of(offset: Offset, wall: DateTime) -> Option<i64> {
    offset.to_timestamp(wall).ok().map(|at| at.as_second())
}

#[cfg(test)]
mod tests {
    //! Work is counted, not timed: a step is a month looked at, or a segment fetched from the zone data.

    use jiff::Timestamp;

    use crate::{Cron, Expr, Gap, Zone};

    /// The steps of one search forward, and what it found.
    fn count(expr: &str, gap: Option<Gap>, zone: &str, after: &str) -> (u64, Option<Timestamp>) {
        let cron = Cron { gap, ..Cron::new(Expr::parse(expr).unwrap()) };
        let zone = Zone::parse(zone).unwrap();
        let mut search = cron.search(&zone);
        let after: Timestamp = after.parse().unwrap();
        let fire = search.next(after.as_second(), i64::MAX);
        (search.steps.0, fire.map(|fire| fire.at))
    }

    #[test]
    fn work_is_bounded() {
        const NOW: &str = "2026-01-01T00:00:00Z";
        let at = |text: &str| Some(text.parse().unwrap());
        for (expr, gap, zone, after, expected, most) in [
            // An ordinary question costs next to nothing.
            ("30 2 * * *", None, "Europe/Berlin", NOW, at("2026-01-01T01:30:00Z"), 5),
            // A year far away is jumped to.
            ("0 0 0 1 1 ? 9999", None, "UTC", NOW, at("9999-01-01T00:00:00Z"), 10),
            ("0 0 0 1 1 ? 9999", None, "Europe/Berlin", NOW, at("9998-12-31T23:00:00Z"), 20),
            // 30 February: each month of 400 years once.
            ("0 0 30 2 *", None, "UTC", NOW, None, 10_000),
            ("0 0 30 2 *", None, "Europe/Berlin", NOW, None, 20_000),
            // A year that never has the day.
            ("0 0 0 29 2 ? 2027", None, "Europe/Berlin", NOW, None, 20),
            // Every leap day that is a 30 February, in every odd year up to 9999.
            ("0 0 0 29 2 ? 2027/2", None, "America/New_York", NOW, None, 20_000),
            // The day Apia left out.
            ("0 0 0 30 12 ? 2011", Some(Gap::Skip), "Pacific/Apia", "2011-01-01T00:00:00Z", None, 20),
            ("0 9 30 * *", None, "Pacific/Apia", "2011-12-01T00:00:00Z", at("2011-12-30T10:00:00Z"), 10),
            ("* * * * * *", Some(Gap::Skip), "Pacific/Apia", "2011-12-30T09:59:59Z", at("2011-12-30T10:00:00Z"), 5),
            // Matches once a year, and every time the clocks have just skipped it.
            ("30 2 * 3 SUNL", Some(Gap::Skip), "Europe/Berlin", NOW, None, 20_000),
            // The other end of time.
            ("0 0 29 2 *", None, "UTC", "-009999-01-02T01:59:59Z", at("-009996-02-29T00:00:00Z"), 60),
            ("* * * * *", None, "UTC", "9999-12-30T21:59:00Z", at("9999-12-30T22:00:00Z"), 10),
            ("* * * * *", None, "Etc/GMT-14", "9999-12-30T21:59:00Z", at("9999-12-30T22:00:00Z"), 10),
            ("* * * * *", None, "UTC", "9999-12-30T22:00:00Z", None, 10),
        ] {
            let (steps, found) = count(expr, gap, zone, after);
            assert_eq!(found, expected, "{expr} in {zone}");
            assert!(steps <= most, "{expr} in {zone} took {steps} steps, more than {most}");
        }
    }

    #[test]
    fn work_backwards_is_bounded_as_well() {
        for (expr, zone, before, expected, most) in [
            ("30 2 * * *", "Europe/Berlin", "2026-01-01T00:00:00Z", Some("2025-12-31T01:30:00Z"), 200),
            ("0 0 29 2 *", "Europe/Berlin", "2026-01-01T00:00:00Z", Some("2024-02-28T23:00:00Z"), 1_000),
            ("0 0 30 2 *", "Europe/Berlin", "2026-01-01T00:00:00Z", None, 20_000),
            ("30 2 * 3 SUNL", "Europe/Berlin", "2026-01-01T00:00:00Z", Some("1980-03-30T01:30:00Z"), 20_000),
            ("0 0 0 1 1 ? 9999", "Europe/Berlin", "2026-01-01T00:00:00Z", None, 500),
            ("0 0 0 1 1 ? 1970", "Europe/Berlin", "9999-01-01T00:00:00Z", Some("1969-12-31T23:00:00Z"), 20_000),
        ] {
            let cron = Cron { gap: Some(Gap::Skip), ..Cron::new(Expr::parse(expr).unwrap()) };
            let zone = Zone::parse(zone).unwrap();
            let mut search = cron.search(&zone);
            let found = search.prev(before.parse::<Timestamp>().unwrap().as_second());
            let expected = expected.map(|at| at.parse::<Timestamp>().unwrap().as_second());
            assert_eq!(found, expected, "{expr} in {zone}");
            let steps = search.steps.0;
            assert!(steps <= most, "{expr} in {zone} took {steps} steps, more than {most}");
        }
    }

    #[test]
    fn a_window_bounds_the_work_of_what_never_fires() {
        let cron = Cron::new(Expr::parse("0 0 30 2 *").unwrap());
        let zone = Zone::parse("Europe/Berlin").unwrap();
        let mut search = cron.search(&zone);
        let after = "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap().as_second();
        assert_eq!(search.next(after, after + 86_400), None);
        assert!(search.steps.0 < 10, "{} steps", search.steps.0);
    }

    #[test]
    fn an_iteration_fetches_each_segment_once() {
        let cron = Cron::new(Expr::parse("0 * * * *").unwrap());
        let zone = Zone::parse("Europe/Berlin").unwrap();
        let mut search = cron.search(&zone);
        let mut at = "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap().as_second();
        for _ in 0..24 * 365 {
            at = search.next(at, i64::MAX).unwrap().at.as_second();
        }
        // Three segments, and one or two months looked at per question.
        assert!(search.steps.0 < 3 * 24 * 365, "{} steps", search.steps.0);
    }
}
