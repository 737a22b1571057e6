//! [`Rolled`]: a rule whose days are moved. What falls on a day that is set apart comes on a free one instead, at the same
//! time of day.
//!
//! Days are those of the schedule's zone. A free day has its own times and those of the days that move to it; whoever asks
//! for one instant looks at these days only, and at each of them from where the answer can lie. Days move in order, so that
//! the first instant of a rule that moves to a day later than another moves behind all of that other's.

use jiff::{
    Timestamp,
    civil::{Date, Time},
};

use super::{REACH, Roll, roll_date};
use crate::{
    dst::{Gap, Overlap},
    placed::{Placed, appointment},
    rule::Rule,
    zone::Zone,
};

/// A rule, and where its days go.
#[derive(Clone, Copy)]
pub struct Rolled<'a, H> {
    rule: &'a Rule,
    zone: &'a Zone,
    roll: Roll,
    held: H,
}

/// So many days of a rule are looked at before it counts as one that names nothing more.
const LOOKS: i32 = 3 * REACH;

impl<'a, H: Fn(Date) -> bool> Rolled<'a, H> {
    /// The instants of `rule` where the days that `held` holds are moved.
    ///
    /// ```
    /// use jiff::civil::{Date, Weekday};
    /// use mainspring_cron::{Expr, Roll, Rolled, Rule, Zone};
    ///
    /// let (rule, zone) = (Rule::cron(Expr::parse("0 9 1 * *")?), Zone::utc());
    /// let weekend = |date: Date| matches!(date.weekday(), Weekday::Saturday | Weekday::Sunday);
    /// // The first of November 2026 is a Sunday.
    /// let next = Rolled::new(&rule, &zone, Roll::Following, weekend).next_after("2026-10-02T00:00:00Z".parse().unwrap());
    /// assert_eq!(next, Some("2026-11-02T09:00:00Z".parse().unwrap()));
    /// # Ok::<(), mainspring_cron::ParseError>(())
    /// ```
    #[must_use]
    pub fn new(rule: &'a Rule, zone: &'a Zone, roll: Roll, held: H) -> Self {
        Self { rule, zone, roll, held }
    }

    /// The first instant strictly after another.
    #[must_use]
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let today = self.day(after);
        let mut from = just_before(self.start(self.end_of_held(today, Date::yesterday))?);
        for _ in 0..LOOKS {
            let source = self.day(self.rule.next_after(self.zone, from)?);
            let mut last = source;
            if let Some(target) = self.target(source).filter(|target| *target >= today) {
                let sources = self.sources(target);
                if let Some(found) = sources.iter().filter_map(|day| self.next_of(*day, target, after)).min() {
                    return Some(found);
                }
                last = sources.into_iter().max().map_or(last, |day| day.max(last));
            }
            from = just_before(self.start(last.tomorrow().ok()?)?);
        }
        None
    }

    /// The last instant strictly before another.
    #[must_use]
    pub fn prev_before(&self, before: Timestamp) -> Option<Timestamp> {
        let today = self.day(before);
        let mut until = self.end(self.end_of_held(today, Date::tomorrow));
        for _ in 0..LOOKS {
            let source = self.day(self.rule.prev_before(self.zone, until)?);
            let mut first = source;
            if let Some(target) = self.target(source).filter(|target| *target <= today) {
                let sources = self.sources(target);
                if let Some(found) = sources.iter().filter_map(|day| self.prev_of(*day, target, before)).max() {
                    return Some(found);
                }
                first = sources.into_iter().min().map_or(first, |day| day.min(first));
            }
            until = self.start(first)?;
        }
        None
    }

    /// Where an instant of the rule itself goes.
    #[must_use]
    pub fn place(&self, at: Timestamp) -> Option<Timestamp> {
        let day = self.day(at);
        self.moved(at, day, self.target(day)?)
    }

    fn day(&self, at: Timestamp) -> Date {
        self.zone.wall_clock(at).date()
    }

    fn start(&self, day: Date) -> Option<Timestamp> {
        appointment(self.zone, day.to_datetime(Time::midnight()))
    }

    fn end(&self, day: Date) -> Timestamp {
        day.tomorrow().ok().and_then(|day| self.start(day)).unwrap_or(Timestamp::MAX)
    }

    fn target(&self, day: Date) -> Option<Date> {
        roll_date(day, self.roll, &self.held)
    }

    /// The last of the days that are held one after the other, from a day on and in one direction.
    fn end_of_held(&self, day: Date, step: fn(Date) -> Result<Date, jiff::Error>) -> Date {
        let mut end = day;
        for _ in 0..=REACH {
            match step(end) {
                Ok(next) if (self.held)(next) => end = next,
                _ => break,
            }
        }
        end
    }

    /// The days whose times a day has.
    fn sources(&self, target: Date) -> Vec<Date> {
        let mut sources = vec![target];
        for step in [Date::yesterday, Date::tomorrow] {
            let mut day = target;
            while let Ok(next) = step(day)
                && (self.held)(next)
                && self.target(next) == Some(target)
            {
                sources.push(next);
                day = next;
            }
        }
        sources
    }

    /// The instant that an instant of `source` becomes on `target`.
    fn moved(&self, at: Timestamp, source: Date, target: Date) -> Option<Timestamp> {
        if source == target {
            return Some(at);
        }
        appointment(self.zone, target.to_datetime(self.zone.wall_clock(at).time()))
    }

    fn next_of(&self, source: Date, target: Date, after: Timestamp) -> Option<Timestamp> {
        let wall = self.zone.wall_clock(after);
        let time = if wall.date() == target { wall.time() } else { Time::midnight() };
        let mut from = just_before(appointment(self.zone, source.to_datetime(time))?);
        if source == target {
            from = from.max(after);
        }
        loop {
            let named = self.rule.next_after(self.zone, from).filter(|named| self.day(*named) == source)?;
            match self.moved(named, source, target) {
                Some(moved) if moved > after => return Some(moved),
                // A clock change laid it on what comes before.
                _ => from = named,
            }
        }
    }

    fn prev_of(&self, source: Date, target: Date, before: Timestamp) -> Option<Timestamp> {
        let wall = self.zone.wall_clock(before);
        let mut until = self.end(source);
        // In the second pass of an hour all of the first lies before, whatever its time of day.
        if wall.date() == target && appointment(self.zone, wall) == Some(before) {
            let last = Placed::new(self.zone, source.to_datetime(wall.time()), Gap::NextValid, Overlap::Last);
            until = last.fires().next().map_or(until, |fire| fire.at);
        }
        if source == target {
            until = self.end(source).min(before);
        }
        loop {
            let named = self.rule.prev_before(self.zone, until).filter(|named| self.day(*named) == source)?;
            match self.moved(named, source, target) {
                Some(moved) if moved < before => return Some(moved),
                _ => until = named,
            }
        }
    }
}

/// So that what is asked for strictly after it may be the instant itself.
fn just_before(at: Timestamp) -> Timestamp {
    at.checked_sub(jiff::SignedDuration::from_micros(1)).unwrap_or(Timestamp::MIN)
}
