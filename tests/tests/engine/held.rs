//! Days and hours that are set apart, in a simulation: an oracle of a few lines, which shares nothing with the product's
//! calendars but the zone data, and the product's calendar of the same meaning.

use std::{collections::BTreeSet, sync::Arc};

use jiff::{
    Span,
    civil::{Date, DateTime, Time, Weekday},
    tz::{AmbiguousOffset, TimeZone},
};
use mainspring_cron::{Calendar, Hours, Roll};
use mainspring_engine::{
    domain::{
        calendar::{CalendarSpec, NamedCalendar},
        ids::CalendarUid,
        instant::Instant,
        names::Scope,
    },
    ports::store::{CalendarChange, NewCalendar, UpdateCalendar},
};
use mainspring_tests::engine::Stage;
use rand::{RngExt as _, rngs::StdRng, seq::IndexedRandom as _};

/// What a calendar holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Held {
    /// Whole days of every week.
    weekdays: BTreeSet<i8>,
    /// Whole days.
    dates: BTreeSet<Date>,
    /// From one full hour of a weekday up to another.
    hours: Option<(i8, i8, i8)>,
}

/// Weekdays of which some are held whole, counted from Monday; and those of which some hours are. No week is held entirely.
const WHOLE: [i8; 4] = [3, 4, 5, 6];
const IN_PART: [i8; 3] = [0, 1, 2];

impl Held {
    /// Whole days: one or two of each week, and some between two instants.
    pub(crate) fn days(rng: &mut StdRng, from: Instant, until: Instant) -> Self {
        let weekdays = (0..2).map(|_| *WHOLE.choose(rng).unwrap()).collect();
        let first = from.timestamp().to_zoned(TimeZone::UTC).date();
        let length = i64::try_from(until.since(from).as_secs() / 86_400).unwrap();
        let some = rng.random_range(0..3);
        let dates = (0..some).map(|_| first + Span::new().days(rng.random_range(0..=length))).collect();
        Self { weekdays, dates, hours: None }
    }

    /// Some hours of a weekday.
    pub(crate) fn hours(rng: &mut StdRng) -> Self {
        let from = rng.random_range(0..20);
        let hours = (*IN_PART.choose(rng).unwrap(), from, rng.random_range(from + 1..=24));
        Self { hours: Some(hours), ..Self::default() }
    }

    /// The product's calendar of the same meaning.
    fn spec(&self) -> CalendarSpec {
        let weekday = |day: i8| Weekday::from_monday_zero_offset(day).unwrap();
        let hour = |hour: i8| Time::constant(hour, 0, 0, 0);
        let whole = self.weekdays.iter().map(|day| (weekday(*day), Hours::ALL_DAY));
        let in_part = self.hours.map(|(day, from, until)| {
            (weekday(day), Hours { from: hour(from), until: (until < 24).then(|| hour(until)) })
        });
        let calendar =
            Calendar { dates: self.dates.clone(), weekly: whole.chain(in_part).collect(), ..Calendar::default() };
        CalendarSpec { description: String::new(), calendar: Arc::new(calendar) }
    }

    pub(crate) async fn create(&self, stage: &Stage, name: &str) -> NamedCalendar {
        let (uid, name) = (CalendarUid::new(stage.engine.now()), name.parse().unwrap());
        let new = NewCalendar { scope: Scope::default(), uid, name, spec: self.spec() };
        match stage.engine.calendars().create(new).await.unwrap() {
            CalendarChange::Done(calendar) => calendar,
            other => panic!("{other:?}"),
        }
    }

    /// A calendar is this from now on; nothing where it was that before.
    pub(crate) async fn replace(&self, stage: &Stage, calendar: &NamedCalendar) -> Option<NamedCalendar> {
        let (scope, name, version) = (Scope::default(), calendar.name.clone(), calendar.version);
        let update = UpdateCalendar { scope, name, version, spec: self.spec() };
        match stage.engine.calendars().update(update).await.unwrap().0 {
            CalendarChange::Done(calendar) => Some(calendar),
            CalendarChange::Unchanged(_) => None,
            other => panic!("{other:?}"),
        }
    }

    fn holds_day(&self, day: Date) -> bool {
        self.weekdays.contains(&day.weekday().to_monday_zero_offset()) || self.dates.contains(&day)
    }

    pub(crate) fn holds(&self, zone: &TimeZone, at: Instant) -> bool {
        let wall = wall(zone, at);
        let of_hour = |(day, from, until): (i8, i8, i8)| {
            wall.date().weekday().to_monday_zero_offset() == day && (from..until).contains(&wall.hour())
        };
        self.holds_day(wall.date()) || self.hours.is_some_and(of_hour)
    }
}

/// Where what a rule names comes, if whole days that one of these holds move to free ones.
pub(crate) fn moved(held: &[Held], zone: &TimeZone, roll: Roll, at: Instant) -> Instant {
    let wall = wall(zone, at);
    let is_free = |day: &Date| !held.iter().any(|held| held.holds_day(*day));
    if is_free(&wall.date()) {
        return at;
    }
    let (mut before, mut after) = (wall.date(), wall.date());
    while !is_free(&before) {
        before = before.yesterday().unwrap();
    }
    while !is_free(&after) {
        after = after.tomorrow().unwrap();
    }
    let days = |from: Date, to: Date| from.until(to).unwrap().get_days();
    let goes_back = match roll {
        Roll::Following => false,
        Roll::Preceding => true,
        Roll::Nearest => days(before, wall.date()) < days(wall.date(), after),
        Roll::Skip => panic!("it stays"),
    };
    let day = if goes_back { before } else { after };
    appointment(zone, day.to_datetime(wall.time()))
}

fn wall(zone: &TimeZone, at: Instant) -> DateTime {
    at.timestamp().to_zoned(zone.clone()).datetime()
}

/// When somebody who has an appointment at this time of the wall clock comes: once, and not before the clock is past it.
pub(crate) fn appointment(zone: &TimeZone, wall: DateTime) -> Instant {
    let at = match zone.to_ambiguous_timestamp(wall).offset() {
        AmbiguousOffset::Unambiguous { offset } | AmbiguousOffset::Fold { before: offset, .. } => {
            offset.to_timestamp(wall).unwrap()
        }
        // Read by the offset from before, it lies after the change that left it out.
        AmbiguousOffset::Gap { before, .. } => {
            let read = before.to_timestamp(wall).unwrap() + jiff::SignedDuration::from_secs(1);
            zone.preceding(read).next().unwrap().timestamp()
        }
    };
    Instant::from_timestamp(at)
}
