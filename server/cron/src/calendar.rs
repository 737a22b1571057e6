//! [`Calendar`]: time that is set apart, such as holidays, weekends and the hours of a shop.
//!
//! A calendar names days and hours; what that means, a schedule says: it leaves out what its calendars hold
//! ([`Calendar::holds`]), or moves a day that is held to one that is not ([`Calendar::roll`]). Pure, and without a
//! version: who keeps calendars gives them one.

use std::collections::BTreeSet;

use jiff::{
    Timestamp, ToSpan as _,
    civil::{Date, Time, Weekday},
};

use crate::{placed::appointment, zone::Zone, zones::Zones};

pub(crate) mod ical;
pub(crate) mod rolled;
mod stored;

/// Days and hours that are set apart. Dates and hours are those of the calendar's zone, or of the schedule's where it has
/// none: a holiday is a day wherever one is.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "stored::Stored", into = "stored::Stored")]
pub struct Calendar {
    /// Whose wall clock the days and hours are of; `None` is the schedule's.
    pub zone: Option<Zone>,
    /// Whole days.
    pub dates: BTreeSet<Date>,
    /// Whole days that come every year: month and day. 29 February is held in leap years alone.
    pub yearly: BTreeSet<(i8, i8)>,
    /// Hours that come every week.
    pub weekly: Vec<(Weekday, Hours)>,
    /// Stretches of time, from an instant and up to another.
    pub spans: Vec<(Timestamp, Timestamp)>,
}

/// Hours of a day, from one time up to another; up to the day's end where that is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hours {
    /// The first time.
    pub from: Time,
    /// The first time after; `None` is midnight at the end of the day.
    pub until: Option<Time>,
}

impl Hours {
    /// The whole day.
    pub const ALL_DAY: Self = Self { from: Time::midnight(), until: None };

    fn hold(self, time: Time) -> bool {
        self.from <= time && self.until.is_none_or(|until| time < until)
    }
}

/// Where a day goes that a calendar holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Roll {
    /// To the next free day.
    Following,
    /// To the last free day before.
    Preceding,
    /// To the nearest free day; of two that are equally near, to the following.
    Nearest,
    /// Nowhere: it is left out.
    #[default]
    Skip,
}

/// So many days in a row may be held before a roll gives up: whoever sets a year apart means never.
const REACH: i32 = 366;

impl Calendar {
    /// The same, with its zone as these data have it; none where it is so already, since it has none.
    #[must_use]
    pub fn counted_with(&self, zones: &Zones) -> Option<Self> {
        let zone = self.zone.as_ref()?;
        Some(Self { zone: Some(zones.find(zone.name())), ..self.clone() })
    }

    /// Whether the data of its zone are there.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.zone.as_ref().is_none_or(Zone::is_known)
    }

    /// Whether an instant is set apart; `schedule` is the zone of whoever asks.
    ///
    /// ```
    /// use mainspring_cron::{Calendar, Zone};
    ///
    /// let mut holidays = Calendar::default();
    /// holidays.yearly.insert((12, 25));
    /// let (berlin, utc) = (Zone::parse("Europe/Berlin").unwrap(), Zone::utc());
    /// let late = "2026-12-24T23:30:00Z".parse().unwrap();
    /// assert!(holidays.holds(&berlin, late) && !holidays.holds(&utc, late));
    /// ```
    #[must_use]
    pub fn holds(&self, schedule: &Zone, at: Timestamp) -> bool {
        let wall = self.zone.as_ref().unwrap_or(schedule).wall_clock(at);
        self.holds_date(wall.date())
            || self.hours(wall.date()).any(|hours| hours.hold(wall.time()))
            || self.spans.iter().any(|(from, until)| *from <= at && at < *until)
    }

    /// What holds an instant, as far as it reaches from there: from an instant at or before it up to one after it. Where
    /// several things hold it, one of them.
    #[must_use]
    pub fn hold(&self, schedule: &Zone, at: Timestamp) -> Option<(Timestamp, Timestamp)> {
        let zone = self.zone.as_ref().unwrap_or(schedule);
        let wall = zone.wall_clock(at);
        let date = wall.date();
        let on = |date: Option<Date>, time: Time| date.and_then(|date| appointment(zone, date.to_datetime(time)));
        let of_day = |hours: Hours| {
            let until = match hours.until {
                Some(until) => on(Some(date), until),
                None => on(date.tomorrow().ok(), Time::midnight()),
            };
            (on(Some(date), hours.from).unwrap_or(at), until.unwrap_or(Timestamp::MAX))
        };
        let span = || self.spans.iter().copied().find(|(from, until)| *from <= at && at < *until);
        let (from, until) = if self.holds_date(date) {
            of_day(Hours::ALL_DAY)
        } else {
            self.hours(date).find(|hours| hours.hold(wall.time())).map(of_day).or_else(span)?
        };
        // A wall clock that shows a time again is past the end that it had the first time.
        Some((
            from.min(at),
            if until > at { until } else { at.saturating_add(jiff::SignedDuration::from_secs(1)).unwrap_or(at) },
        ))
    }

    /// What of an instant's day no date, no hours and no stretch of time hold, as far as it reaches from there: from an instant
    /// at or before it up to one after it, and no further than the day. `None` where the instant is held.
    #[must_use]
    pub fn gap(&self, schedule: &Zone, at: Timestamp) -> Option<(Timestamp, Timestamp)> {
        if self.holds(schedule, at) {
            return None;
        }
        let zone = self.zone.as_ref().unwrap_or(schedule);
        let date = zone.wall_clock(at).date();
        let on = |date: Option<Date>, time: Time| date.and_then(|date| appointment(zone, date.to_datetime(time)));
        let day = (on(Some(date), Time::midnight()), on(date.tomorrow().ok(), Time::midnight()));
        let hours = self.hours(date).map(|hours| {
            let until = hours.until.map(|until| on(Some(date), until));
            (on(Some(date), hours.from), until.unwrap_or(day.1))
        });
        let spans = self.spans.iter().map(|(from, until)| (Some(*from), Some(*until)));
        let (mut from, mut until) = (day.0.unwrap_or(at).min(at), day.1.unwrap_or(Timestamp::MAX));
        for (begin, end) in hours.chain(spans) {
            until = begin.filter(|begin| *begin > at).map_or(until, |begin| until.min(begin));
            from = end.filter(|end| *end <= at).map_or(from, |end| from.max(end));
        }
        // A wall clock that shows a time again is past the end that it had the first time.
        let least = at.saturating_add(jiff::SignedDuration::from_secs(1)).unwrap_or(at);
        Some((from, if until > at { until } else { least }))
    }

    /// Whether a whole day is set apart: a date, or a weekday from midnight to midnight.
    #[must_use]
    pub fn holds_day(&self, date: Date) -> bool {
        self.holds_date(date) || self.hours(date).any(|hours| hours == Hours::ALL_DAY)
    }

    fn hours(&self, date: Date) -> impl Iterator<Item = Hours> {
        self.weekly.iter().filter(move |(weekday, _)| *weekday == date.weekday()).map(|(_, hours)| *hours)
    }

    fn holds_date(&self, date: Date) -> bool {
        self.dates.contains(&date) || self.yearly.contains(&(date.month(), date.day()))
    }

    /// The day that a day becomes; `None` where there is none within a year.
    #[must_use]
    pub fn roll_date(&self, date: Date, roll: Roll) -> Option<Date> {
        roll_date(date, roll, |date| self.holds_day(date))
    }

    /// The instant that an instant becomes: the same time of day on the day that its own becomes, where clock changes are
    /// met as by an appointment. Days are those of the calendar's zone.
    #[must_use]
    pub fn roll(&self, schedule: &Zone, at: Timestamp, roll: Roll) -> Option<Timestamp> {
        let zone = self.zone.as_ref().unwrap_or(schedule);
        let wall = zone.wall_clock(at);
        let date = self.roll_date(wall.date(), roll)?;
        if date == wall.date() { Some(at) } else { appointment(zone, date.to_datetime(wall.time())) }
    }
}

/// The day that a day becomes where these are held.
fn roll_date(date: Date, roll: Roll, held: impl Fn(Date) -> bool) -> Option<Date> {
    if !held(date) {
        return Some(date);
    }
    let free = |days: i32| date.checked_add(days.days()).ok().filter(|date| !held(*date));
    let mut distances = 1..=REACH;
    match roll {
        Roll::Following => distances.find_map(free),
        Roll::Preceding => distances.find_map(|days| free(-days)),
        Roll::Nearest => distances.find_map(|days| free(days).or_else(|| free(-days))),
        Roll::Skip => None,
    }
}
