//! [`CalendarInterval`]: every so many days, weeks, months or years from a date, at a time of day.
//!
//! Each date is counted from the first, never from the one before, so nothing drifts: three months from 31 January is
//! 30 April, and six months are 31 July again. A month that is too short has it on its last day. The time of day is an
//! appointment (see [`crate::dst`]), unless the rule says otherwise.

use std::fmt;

use jiff::{
    Span, Timestamp,
    civil::{Date, DateTime, Time},
    tz::Offset,
};

use crate::{
    dst::{DstNote, Gap, Overlap},
    error::RuleError,
    placed::Placed,
    search::{Fire, SLACK_DAYS},
    zone::{Zone, timestamp},
};

mod text;

pub use text::{parse_date, parse_time};

/// The step of a calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Unit {
    /// Days.
    Day,
    /// Weeks.
    Week,
    /// Months; short ones have it on their last day.
    Month,
    /// Years; 29 February is 28 February where there is none.
    Year,
}

/// A rhythm of the calendar.
///
/// ```
/// use mainspring_cron::{CalendarInterval, Rule, Zone};
///
/// let every: CalendarInterval = "every 3 months from 2026-01-31 at 09:00".parse()?;
/// let berlin = Zone::parse("Europe/Berlin").unwrap();
/// let rule = Rule::CalendarInterval(every);
/// let from = "2026-02-01T00:00:00Z".parse().unwrap();
/// let dates = rule.instants(&berlin, from, jiff::Timestamp::MAX).map(|at| berlin.wall_clock(at).date().to_string());
/// assert_eq!(dates.take(3).collect::<Vec<_>>(), ["2026-04-30", "2026-07-31", "2026-10-31"]);
/// # Ok::<(), mainspring_cron::ParseError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct CalendarInterval {
    every: u16,
    unit: Unit,
    first: Date,
    time: Time,
    /// Overrides the appointment's way with times that a clock change skips.
    pub gap: Option<Gap>,
    /// Overrides the appointment's way with times that a clock change repeats.
    pub overlap: Option<Overlap>,
}

/// The stored form.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    every: u16,
    unit: Unit,
    first: Date,
    time: Time,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gap: Option<Gap>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    overlap: Option<Overlap>,
}

/// The years that the first date may be in: those that cron expressions may name.
const YEARS: std::ops::RangeInclusive<i16> = 1970..=9999;

impl CalendarInterval {
    /// Every so many units from a date, at a time of day that is cut to whole seconds.
    ///
    /// # Errors
    /// If `every` is 0, or the first date is not in the years 1970 to 9999.
    pub fn new(every: u16, unit: Unit, first: Date, time: Time) -> Result<Self, RuleError> {
        if every == 0 {
            return Err(RuleError::NoStep);
        }
        if !YEARS.contains(&first.year()) {
            return Err(RuleError::FirstDateOutOfRange { first });
        }
        let time = Time::new(time.hour(), time.minute(), time.second(), 0).unwrap_or(time);
        Ok(Self { every, unit, first, time, gap: None, overlap: None })
    }

    /// The same with overrides of how it meets clock changes; `None` is as an appointment does.
    #[must_use]
    pub fn with_overrides(self, gap: Option<Gap>, overlap: Option<Overlap>) -> Self {
        Self { gap, overlap, ..self }
    }

    /// How many units lie between two dates.
    #[must_use]
    pub fn every(&self) -> u16 {
        self.every
    }

    /// The unit.
    #[must_use]
    pub fn unit(&self) -> Unit {
        self.unit
    }

    /// The first date, from which all others are counted.
    #[must_use]
    pub fn first(&self) -> Date {
        self.first
    }

    /// The time of day.
    #[must_use]
    pub fn time(&self) -> Time {
        self.time
    }

    /// The time of day as it is written: `09:00`, with seconds where there are any.
    #[must_use]
    pub fn time_of_day(&self) -> String {
        text::time_of_day(self.time)
    }

    /// Whether some months or years have it on their last day, for want of the right one.
    pub(crate) fn clamps(&self) -> bool {
        match self.unit {
            Unit::Day | Unit::Week => false,
            Unit::Month => self.first.day() > 28,
            Unit::Year => self.first.month() == 2 && self.first.day() == 29,
        }
    }

    /// The first fire in `(after, until]`.
    pub(crate) fn next(&self, zone: &Zone, after: Timestamp, until: Timestamp) -> Option<Fire> {
        let mut best: Option<Fire> = None;
        for wall in self.walls(utc_date(after.as_second() - SLACK)) {
            let earliest = utc_second(wall) - SLACK;
            if earliest > best.map_or(until, |best| best.at).as_second() {
                break;
            }
            for fire in self.place(zone, wall).fires() {
                if fire.at > after && best.is_none_or(|best| fire.at < best.at) {
                    best = Some(fire);
                }
            }
        }
        best.filter(|fire| fire.at <= until)
    }

    /// The last fire strictly before an instant.
    pub(crate) fn prev_before(&self, zone: &Zone, before: Timestamp) -> Option<Timestamp> {
        let last = self.index(utc_date(before.as_second() + SLACK)) + INDEX_SHORT;
        let mut best: Option<Timestamp> = None;
        for wall in (0..=last).rev().filter_map(|n| self.wall(n)) {
            if best.is_some_and(|best| utc_second(wall) + SLACK < best.as_second()) {
                break;
            }
            let fires = self.place(zone, wall).fires().map(|fire| fire.at);
            best = best.max(fires.filter(|at| *at < before).max());
        }
        best
    }

    /// What the clock changes in `(after, until]` do to it.
    pub(crate) fn dst_notes(&self, zone: &Zone, after: Timestamp, until: Timestamp, limit: usize) -> Vec<DstNote> {
        let walls = self.walls(utc_date(after.as_second() - SLACK));
        let walls = walls.take_while(|wall| utc_second(*wall) - SLACK <= until.as_second());
        let notes = walls.filter_map(|wall| self.place(zone, wall).note());
        notes.filter(|note| note.change > after && note.change <= until).take(limit).collect()
    }

    /// The times of the wall clock, from the last one that is not after a date.
    fn walls(&self, from: Date) -> impl Iterator<Item = DateTime> {
        (self.index(from)..).map_while(|n| self.wall(n))
    }

    /// The n-th time of the wall clock.
    fn wall(&self, n: i64) -> Option<DateTime> {
        let steps = n.checked_mul(i64::from(self.every))?;
        let span = match self.unit {
            Unit::Day => Span::new().try_days(steps),
            Unit::Week => Span::new().try_weeks(steps),
            Unit::Month => Span::new().try_months(steps),
            Unit::Year => Span::new().try_years(steps),
        };
        Some(self.first.checked_add(span.ok()?).ok()?.to_datetime(self.time))
    }

    /// The number of a date at or before another one, at most [`INDEX_SHORT`] before the last such; 0 where there is none.
    fn index(&self, date: Date) -> i64 {
        let (first, every) = (self.first, i64::from(self.every));
        let days = || {
            (utc_second(date.to_datetime(Time::midnight())) - utc_second(first.to_datetime(Time::midnight())))
                .div_euclid(DAY)
        };
        let months = |date: Date| i64::from(date.year()) * 12 + i64::from(date.month());
        let units = match self.unit {
            Unit::Day => days(),
            Unit::Week => days().div_euclid(7),
            Unit::Month => months(date) - months(first),
            Unit::Year => i64::from(date.year()) - i64::from(first.year()),
        };
        (units.div_euclid(every) - 1).max(0)
    }

    fn place(&self, zone: &Zone, wall: DateTime) -> Placed {
        Placed::new(zone, wall, self.gap.unwrap_or(Gap::NextValid), self.overlap.unwrap_or(Overlap::First))
    }
}

const DAY: i64 = 86_400;
/// How many dates [`CalendarInterval::index`] may stay behind the last one that is meant.
const INDEX_SHORT: i64 = 2;
/// More than any wall clock is away from UTC, a gap of a whole day included.
const SLACK: i64 = SLACK_DAYS * DAY;

fn utc_second(wall: DateTime) -> i64 {
    Offset::UTC.to_timestamp(wall).map_or(i64::MAX / 2, |at| at.as_second())
}

fn utc_date(second: i64) -> Date {
    Offset::UTC.to_datetime(timestamp(second)).date()
}

impl TryFrom<Stored> for CalendarInterval {
    type Error = RuleError;

    fn try_from(stored: Stored) -> Result<Self, RuleError> {
        let Stored { every, unit, first, time, gap, overlap } = stored;
        Ok(Self { gap, overlap, ..Self::new(every, unit, first, time)? })
    }
}

impl From<CalendarInterval> for Stored {
    fn from(rule: CalendarInterval) -> Self {
        let CalendarInterval { every, unit, first, time, gap, overlap } = rule;
        Self { every, unit, first, time, gap, overlap }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
        })
    }
}
