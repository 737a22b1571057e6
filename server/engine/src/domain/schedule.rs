//! One time rule of a job: which instants it names, and when what they make is due.
//!
//! The rule itself is [`mainspring_cron`]'s; what is here belongs to a schedule: its bounds, how often it fires, and how far
//! the starts of its runs are spread. All of it is a pure function of the definition and of an instant, so that a failover
//! or a second look says the same. A nominal time is an instant's identity, whatever a start adds to it. A schedule that
//! counts from the ends of its runs ([`delay`]) names one instant ahead and no more.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp, civil::Date};
use mainspring_cron::{Calendar, JitterBounds, Roll, Rolled, Rule, Skipped, Zone, Zones, jittered};
use serde::{Deserialize, Serialize};

use super::{
    calendar::Exclusion, catch_up::CatchUp, ids::JobUid, instant::Instant, ledger::SkippedWalls, names::ScheduleName,
};

mod delay;

/// One time rule of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScheduleSpec {
    /// Its name in the job.
    pub name: ScheduleName,
    /// The rule.
    pub rule: Rule,
    /// The zone a cron rule is read in.
    pub zone: Zone,
    /// No instant before this.
    pub start: Option<Instant>,
    /// No instant at or after this.
    pub end: Option<Instant>,
    /// Runs are due up to this later than their nominal times, each by a length of its own.
    #[serde(default, skip_serializing_if = "Duration::is_zero")]
    pub jitter: Duration,
    /// It is done once it has made so many runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_runs: Option<u64>,
    /// Instants that one of these calendars holds make no run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<Exclusion>,
    /// Where there are any: only instants that one of these calendars holds make a run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<Exclusion>,
    /// Where an instant goes whose whole day one of them holds, by the wall clock of the schedule's zone.
    #[serde(default, skip_serializing_if = "is_skip")]
    pub roll: Roll,
}

fn is_skip(roll: &Roll) -> bool {
    *roll == Roll::Skip
}

/// So many stretches of calendars in a row are passed over before a schedule counts as one that never fires: more than a
/// calendar can have dates.
const MOST_HOLDS: usize = 12_000;

/// So many instants before and after one are looked at for the one that was moved to it.
const MOST_MOVED: usize = 400;

/// Further ahead nobody looks for the last instant of a schedule that makes so many runs and no more.
const MOST_LEFT: usize = 1_000;

/// No start is spread further than this.
pub const MAX_JITTER: Duration = Duration::from_secs(24 * 3600);

impl ScheduleSpec {
    /// A schedule that is nothing but its rule.
    pub fn new(name: ScheduleName, rule: Rule, zone: Zone) -> Self {
        let (exclude, only, roll) = (Vec::new(), Vec::new(), Roll::Skip);
        Self { name, rule, zone, start: None, end: None, jitter: Duration::ZERO, max_runs: None, exclude, only, roll }
    }

    /// The first instant after `after` that the rule names and the bounds allow. One that counts from ends takes `after`, or
    /// its start, for an end.
    pub fn next_after(&self, after: Instant) -> Option<Instant> {
        let from = match self.start {
            Some(start) if start > after && self.delay().is_some() => start,
            Some(start) if start > after => Instant::from_micros(start.as_micros() - 1),
            _ => after,
        };
        let next = Instant::from_timestamp(self.named_after(from.timestamp())?);
        // What is finer than a microsecond was cut; an instant never comes out at or before what was asked.
        (next > after && self.end.is_none_or(|end| next < end)).then_some(next)
    }

    /// The last instant before `before` that the rule names and the bounds allow.
    pub fn prev_before(&self, before: Instant) -> Option<Instant> {
        let until = self.end.map_or(before, |end| end.min(before));
        let prev = Instant::from_timestamp(self.named_before(until.timestamp())?);
        (prev < before && self.start.is_none_or(|start| prev >= start)).then_some(prev)
    }

    /// Counts with these zone data from now on.
    pub fn count_with(&mut self, zones: &Zones) {
        self.zone = zones.find(self.zone.name());
        for held in self.exclude.iter_mut().chain(&mut self.only).filter_map(|exclusion| exclusion.calendar.as_mut()) {
            if let Some(counted) = held.counted_with(zones) {
                *held = Arc::new(counted);
            }
        }
    }

    /// Whether the data of all its zones are there. Where they are not it names nothing, and nobody knows what it would.
    pub fn is_known(&self) -> bool {
        self.zone.is_known() && self.calendars().all(|calendar| calendar.is_known())
    }

    /// The zones that its instants depend on.
    pub fn zone_names(&self) -> impl Iterator<Item = &str> {
        let calendars = self.calendars().filter_map(|calendar| calendar.zone.as_ref());
        std::iter::once(&self.zone).chain(calendars).map(Zone::name)
    }

    fn calendars(&self) -> impl Iterator<Item = &Arc<Calendar>> {
        self.exclude.iter().chain(&self.only).filter_map(|exclusion| exclusion.calendar.as_ref())
    }

    fn named_after(&self, after: Timestamp) -> Option<Timestamp> {
        if !self.is_known() {
            return None;
        }
        match self.rolled() {
            Some(rolled) => rolled.next_after(after),
            None => self.rule.next_after(&self.zone, after),
        }
    }

    fn named_before(&self, before: Timestamp) -> Option<Timestamp> {
        if !self.is_known() {
            return None;
        }
        match self.rolled() {
            Some(rolled) => rolled.prev_before(before),
            None => self.rule.prev_before(&self.zone, before),
        }
    }

    /// The rule with its days moved, where any may be.
    fn rolled(&self) -> Option<Rolled<'_, impl Fn(Date) -> bool>> {
        let moves = self.roll != Roll::Skip && !self.exclude.is_empty();
        moves.then(|| Rolled::new(&self.rule, &self.zone, self.roll, |day| self.holder_of(day).is_some()))
    }

    /// The calendar that holds a whole day.
    fn holder_of(&self, day: Date) -> Option<&Exclusion> {
        self.exclude.iter().find(|exclusion| exclusion.calendar.as_ref().is_some_and(|held| held.holds_day(day)))
    }

    /// The calendar that moves what the rule itself names at this instant, and where to; nowhere if there is no free day.
    pub fn moved(&self, at: Instant) -> Option<(&Exclusion, Option<Instant>)> {
        let rolled = self.rolled().filter(|_| self.is_known())?;
        let before = at.minus(Duration::from_micros(1)).timestamp();
        self.rule.next_after(&self.zone, before).filter(|named| *named == at.timestamp())?;
        let holder = self.holder_of(self.zone.wall_clock(at.timestamp()).date())?;
        Some((holder, rolled.place(at.timestamp()).map(Instant::from_timestamp)))
    }

    /// Where an instant that it names comes from, and the calendar that moved it here; none where the rule itself has it here.
    pub fn moved_from(&self, at: Instant) -> Option<(&Exclusion, Instant)> {
        self.rolled()?;
        let alone = Self { roll: Roll::Skip, exclude: Vec::new(), ..self.clone() };
        if alone.names(at) {
            return None;
        }
        let comes_here = |from: Instant| {
            let (holder, to) = self.moved(from)?;
            (to == Some(at)).then_some((holder, from))
        };
        let mut earlier =
            std::iter::successors(alone.prev_before(at), |from| alone.prev_before(*from)).take(MOST_MOVED);
        let mut later = std::iter::successors(alone.next_after(at), |from| alone.next_after(*from)).take(MOST_MOVED);
        earlier.find_map(comes_here).or_else(|| later.find_map(comes_here))
    }

    /// Whether its calendars leave nothing of what the rule names from an instant on.
    pub fn is_starved(&self, after: Instant) -> bool {
        let alone = || Self { exclude: Vec::new(), only: Vec::new(), ..self.clone() };
        self.has_calendars() && self.next_fire(after).is_none() && alone().next_after(after).is_some()
    }

    /// Whether it counts with any calendar.
    pub fn has_calendars(&self) -> bool {
        !self.exclude.is_empty() || !self.only.is_empty()
    }

    /// The calendar that leaves an instant out: one that holds it, or the first of those of which none holds it.
    pub fn excluded(&self, at: Instant) -> Option<&Exclusion> {
        let holds = |calendar: &Arc<Calendar>| calendar.holds(&self.zone, at.timestamp());
        let held = |exclusion: &&Exclusion| exclusion.calendar.as_ref().is_some_and(holds);
        let outside = || self.only.first().filter(|_| !self.only.iter().any(|only| held(&only)));
        self.exclude.iter().find(held).or_else(outside)
    }

    fn hold(&self, at: Instant) -> Option<(Instant, Instant)> {
        let calendars = self.exclude.iter().filter_map(|exclusion| exclusion.calendar.as_ref());
        let mut holds = calendars.filter_map(|calendar| calendar.hold(&self.zone, at.timestamp()));
        holds
            .next()
            .or_else(|| self.outside(at))
            .map(|(from, until)| (Instant::from_timestamp(from), Instant::from_timestamp(until)))
    }

    /// As far as none of the calendars holds anything of which one must: from an instant at or before this up to one after it.
    fn outside(&self, at: Instant) -> Option<(Timestamp, Timestamp)> {
        let calendars = self.only.iter().filter_map(|only| only.calendar.as_ref());
        let gaps = calendars.map(|calendar| calendar.gap(&self.zone, at.timestamp()));
        // Where one of them holds it, there is none.
        let gaps = gaps.collect::<Option<Vec<_>>>()?;
        gaps.into_iter().reduce(|(from, until), gap| (from.max(gap.0), until.min(gap.1)))
    }

    /// The first instant after `after` that no calendar leaves out. Whole stretches of calendars are passed over at once.
    pub fn next_fire(&self, after: Instant) -> Option<Instant> {
        let mut after = after;
        for _ in 0..MOST_HOLDS {
            let next = self.next_after(after)?;
            let Some((_, until)) = self.hold(next) else { return Some(next) };
            after = self.past_hold(next, until);
        }
        None
    }

    /// The instants after `after` that no calendar leaves out, in order, as far as time alone says which they are.
    pub fn fires(&self, after: Instant) -> impl Iterator<Item = Instant> + use<'_> {
        let mut from = Some(after);
        std::iter::from_fn(move || {
            let at = self.next_fire(from.take()?)?;
            from = self.delay().is_none().then_some(at);
            Some(at)
        })
    }

    /// The last instant before `before` that no calendar leaves out.
    pub fn prev_fire(&self, before: Instant) -> Option<Instant> {
        let mut before = before;
        for _ in 0..MOST_HOLDS {
            let prev = self.prev_before(before)?;
            let Some((from, _)) = self.hold(prev) else { return Some(prev) };
            before = prev.min(from);
        }
        None
    }

    /// The first of the last `count` instants at or before `until` that no calendar leaves out; none where there are fewer.
    pub(super) fn back_from(&self, until: Instant, count: usize) -> Option<Instant> {
        let mut at = until.plus(Duration::from_micros(1));
        for _ in 0..count {
            at = self.prev_fire(at)?;
        }
        Some(at)
    }

    /// Whether it names this very instant.
    pub fn names(&self, at: Instant) -> bool {
        self.next_after(at.minus(Duration::from_micros(1))) == Some(at)
    }

    /// The instants in `(after, until]`, at most `limit`.
    pub fn instants(&self, after: Instant, until: Instant, limit: usize) -> Vec<Instant> {
        let mut found = Vec::new();
        let mut at = after;
        while found.len() < limit {
            match self.next_after(at) {
                Some(next) if next <= until => {
                    found.push(next);
                    at = next;
                }
                _ => break,
            }
        }
        found
    }

    /// What clock changes in `(after, until]` take from it.
    pub fn skipped(&self, after: Instant, until: Instant) -> Vec<SkippedWalls> {
        if !self.is_known() {
            return Vec::new();
        }
        let found = self.rule.skipped(&self.zone, after.timestamp(), until.timestamp());
        found.into_iter().map(walls).filter(|walls| self.loses(walls)).collect()
    }

    /// The time of the wall clock that a clock change took from it, and that somebody means by this instant who reads it by
    /// the clock before.
    pub fn skips(&self, at: Instant) -> Option<SkippedWalls> {
        let found = self.rule.skips(&self.zone, at.timestamp()).map(walls)?;
        (self.is_known() && self.loses(&found)).then_some(found)
    }

    /// A clock change takes nothing from a day that is moved.
    fn loses(&self, walls: &SkippedWalls) -> bool {
        self.holds(walls.change) && (self.roll == Roll::Skip || self.holder_of(walls.first.date()).is_none())
    }

    fn holds(&self, at: Instant) -> bool {
        self.start.is_none_or(|start| start <= at) && self.end.is_none_or(|end| at < end)
    }

    /// Whether a schedule that has made so many runs is done.
    pub fn is_done(&self, made: u64) -> bool {
        self.max_runs.is_some_and(|most| made >= most)
    }

    /// How many runs are left of those that it makes, after so many; none where nothing bounds that, or where it is further ahead
    /// than anybody looks.
    fn left(&self, made: u64) -> Option<usize> {
        let left = usize::try_from(self.max_runs?.saturating_sub(made)).ok();
        left.filter(|left| *left <= MOST_LEFT)
    }

    /// The last instant that makes a run, where it has `first` next, has made so many, and each makes one from now on; none where
    /// nobody knows it.
    pub fn last_run(&self, first: Instant, made: u64) -> Option<Instant> {
        let last = self.fires(self.cursor_before(first)).take(self.left(made)?).last();
        Some(last.map_or(first, |last| last.max(first)))
    }

    /// Whether it has fewer instants in `[first, at)` than anybody looks ahead.
    pub fn is_near(&self, first: Instant, at: Instant) -> bool {
        self.fires(self.cursor_before(first)).take(MOST_LEFT).take_while(|fire| *fire < at).count() < MOST_LEFT
    }

    /// The instant after `after` that will make a run, as far as that is known, of a schedule that has made so many.
    pub fn next_shown(&self, after: Instant, made: u64) -> Option<Instant> {
        if self.is_done(made) { None } else { self.next_fire(after) }
    }

    /// The instant after `after` that becomes due, of a schedule that has made so many runs.
    pub fn next_due(&self, after: Instant, made: u64) -> Option<Instant> {
        if self.is_done(made) { None } else { self.next_after(after) }
    }

    /// What it is evaluated from, where it is defined at `now`: what was named before is nobody's, but for a one-shot that
    /// is no later than the job allows.
    pub fn begin(&self, now: Instant, catch_up: CatchUp) -> Instant {
        match &self.rule {
            Rule::At(at) => {
                let at = Instant::from_timestamp(at.instant());
                if at <= now && catch_up.reaches(at, now) { at.minus(Duration::from_micros(1)) } else { now }
            }
            Rule::Cron(_) | Rule::Interval(_) | Rule::CalendarInterval(_) | Rule::FixedDelay(_) => now,
        }
    }

    /// When the run of an instant is due, of which `next` comes after it: spread within the jitter, never up to that one
    /// and never up to the end.
    pub fn due(&self, job: JobUid, nominal: Instant, next: Option<Instant>) -> Instant {
        if self.jitter.is_zero() {
            return nominal;
        }
        let bounds = JitterBounds {
            window: SignedDuration::try_from(self.jitter).unwrap_or(SignedDuration::MAX),
            next: next.map(Instant::timestamp),
            end: self.end.map(Instant::timestamp),
        };
        // One seed per schedule, or all schedules of a job would be late by the same.
        let seed = [job.uuid().as_bytes(), self.name.as_str().as_bytes()].concat();
        Instant::from_timestamp(jittered(&seed, nominal.timestamp(), bounds))
    }
}

fn walls(skipped: Skipped) -> SkippedWalls {
    let Skipped { change, first, last, count } = skipped;
    SkippedWalls { change: Instant::from_timestamp(change), first, last, count }
}

#[cfg(test)]
mod tests {
    use jiff::civil::Weekday;
    use mainspring_cron::{At, Expr, Hours};
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{catch_up::Mode, ids::CalendarUid};

    fn at(second: i64) -> Instant {
        Instant::from_micros(1_800_000_000_000_000 + second * 1_000_000)
    }

    fn every_minute() -> ScheduleSpec {
        ScheduleSpec::new(Default::default(), Rule::cron(Expr::parse("* * * * *").unwrap()), Zone::utc())
    }

    fn job() -> JobUid {
        JobUid::from_uuid(uuid::Uuid::from_u128(7))
    }

    proptest! {
        #[test]
        fn a_start_stays_before_the_next_and_before_the_end(minute in 0_i64..100_000, jitter in 0_u64..200) {
            let nominal = at(minute * 60);
            let spread = ScheduleSpec {
                jitter: Duration::from_secs(jitter),
                end: Some(nominal.plus(Duration::from_secs(20))),
                ..every_minute()
            };
            let due = spread.due(job(), nominal, Some(at(minute * 60 + 60)));
            prop_assert!(due >= nominal && due < at(minute * 60 + 20));
            let endless = ScheduleSpec { end: None, ..spread };
            let due = endless.due(job(), nominal, Some(at(minute * 60 + 60)));
            prop_assert!(due >= nominal && due < at(minute * 60 + 60));
            prop_assert!(due < nominal.plus(Duration::from_secs(jitter.max(1))));
        }
    }

    #[test]
    fn starts_differ_by_instant_by_schedule_and_by_job() {
        let spread = ScheduleSpec { jitter: Duration::from_secs(50), ..every_minute() };
        let other = ScheduleSpec { name: "other".parse().unwrap(), ..spread.clone() };
        let due = |schedule: &ScheduleSpec, job: u128, minute: i64| {
            let job = JobUid::from_uuid(uuid::Uuid::from_u128(job));
            schedule.due(job, at(minute * 60), None).since(at(minute * 60))
        };
        let all = [due(&spread, 1, 0), due(&spread, 1, 1), due(&other, 1, 0), due(&spread, 2, 0)];
        assert!((1..4).all(|other| all[0] != all[other]), "{all:?}");
        assert_eq!(due(&spread, 1, 0), due(&spread, 1, 0));
    }

    fn without(calendar: Calendar) -> ScheduleSpec {
        let exclusion = Exclusion {
            name: "apart".parse().unwrap(),
            uid: CalendarUid::from_uuid(uuid::Uuid::nil()),
            version: 1,
            calendar: Some(Arc::new(calendar)),
        };
        ScheduleSpec { exclude: vec![exclusion], ..every_minute() }
    }

    #[test]
    fn what_no_calendar_holds_is_passed_over_as_well() {
        let time = |text: &str| text.parse::<Instant>().unwrap();
        let hours = Hours { from: "09:00:00".parse().unwrap(), until: Some("17:00:00".parse().unwrap()) };
        let monday = without(weekly(&[Weekday::Monday], hours)).exclude.remove(0);
        let only = ScheduleSpec { only: vec![monday.clone()], ..every_minute() };
        let (first, last) = (time("2026-03-09T09:00:00Z"), time("2026-03-09T16:59:00Z"));
        assert_eq!(only.next_fire(time("2026-03-06T12:00:00Z")), Some(first));
        assert_eq!(
            (only.prev_fire(first), only.next_fire(last)),
            (Some(time("2026-03-02T16:59:00Z")), Some(time("2026-03-16T09:00:00Z")))
        );
        assert_eq!(only.excluded(time("2026-03-09T08:59:00Z")).unwrap().name.as_str(), "apart");
        assert_eq!((only.excluded(first), only.excluded(last)), (None, None));
        // Both say something of it: what is left out, and what is let in.
        let lunch = Hours { from: "12:00:00".parse().unwrap(), until: Some("13:00:00".parse().unwrap()) };
        let exclude = without(weekly(&[Weekday::Monday], lunch)).exclude;
        let both = ScheduleSpec { only: vec![monday], exclude, ..every_minute() };
        assert_eq!(both.next_fire(time("2026-03-09T11:59:00Z")), Some(time("2026-03-09T13:00:00Z")));
        let never = without(Calendar::default()).exclude;
        let never = ScheduleSpec { only: never, ..every_minute() };
        assert!(never.next_fire(first).is_none() && never.is_starved(first));
    }

    fn weekly(days: &[Weekday], hours: Hours) -> Calendar {
        Calendar { weekly: days.iter().map(|day| (*day, hours)).collect(), ..Calendar::default() }
    }

    #[test]
    fn what_a_calendar_holds_is_passed_over_at_once() {
        let time = |text: &str| text.parse::<Instant>().unwrap();
        let weekend = without(weekly(&[Weekday::Saturday, Weekday::Sunday], Hours::ALL_DAY));
        let (friday, monday) = (time("2026-03-06T23:59:00Z"), time("2026-03-09T00:00:00Z"));
        assert_eq!((weekend.next_fire(friday), weekend.prev_fire(monday)), (Some(monday), Some(friday)));
        assert_eq!(weekend.excluded(time("2026-03-07T09:00:00Z")).unwrap().name.as_str(), "apart");
        assert_eq!(weekend.excluded(monday), None);
        // The rule still names what the calendar holds.
        assert_eq!(weekend.next_after(friday), Some(time("2026-03-07T00:00:00Z")));
        let nights = Hours { from: "22:00:00".parse().unwrap(), until: None };
        let night = without(weekly(&[Weekday::Monday], nights));
        assert_eq!(night.next_fire(time("2026-03-09T21:59:00Z")), Some(time("2026-03-10T00:00:00Z")));
    }

    #[test]
    fn what_falls_on_a_day_that_is_held_moves() {
        let time = |text: &str| text.parse::<Instant>().unwrap();
        let noon = Rule::cron(Expr::parse("0 12 * * 6").unwrap());
        let weekend = without(weekly(&[Weekday::Saturday, Weekday::Sunday], Hours::ALL_DAY));
        let moved = |roll| ScheduleSpec { rule: noon.clone(), roll, ..weekend.clone() };
        let (thursday, saturday) = (time("2026-03-05T12:00:00Z"), time("2026-03-07T12:00:00Z"));
        let (friday, monday) = (time("2026-03-06T12:00:00Z"), time("2026-03-09T12:00:00Z"));
        for (roll, expected) in [(Roll::Following, monday), (Roll::Preceding, friday), (Roll::Nearest, friday)] {
            let schedule = moved(roll);
            assert_eq!((schedule.next_after(thursday), schedule.next_fire(thursday)), (Some(expected), Some(expected)));
            assert!(schedule.names(expected) && !schedule.names(saturday));
            assert_eq!(schedule.prev_before(expected.plus(Duration::from_micros(1))), Some(expected));
            let (holder, to) = schedule.moved(saturday).unwrap();
            assert_eq!((holder.name.as_str(), to), ("apart", Some(expected)));
            assert_eq!(schedule.moved(expected), None);
            let (holder, from) = schedule.moved_from(expected).unwrap();
            assert_eq!((holder.name.as_str(), from), ("apart", saturday));
            assert_eq!(schedule.moved_from(saturday.plus(Duration::from_secs(86_400 * 7 * 3))), None);
        }
        let left_out = moved(Roll::Skip);
        assert_eq!((left_out.next_after(thursday), left_out.next_fire(thursday)), (Some(saturday), None));
        assert!(left_out.is_starved(thursday) && !moved(Roll::Following).is_starved(thursday));
        // Hours that are held are no day, and what moves there is left out.
        let lunch = Hours { from: jiff::civil::time(11, 0, 0, 0), until: Some(jiff::civil::time(13, 0, 0, 0)) };
        let mut both = moved(Roll::Following);
        both.exclude.extend(without(weekly(&[Weekday::Monday], lunch)).exclude);
        assert_eq!((both.next_after(thursday), both.excluded(monday).is_some()), (Some(monday), true));
    }

    #[test]
    fn a_schedule_whose_calendars_hold_everything_never_fires() {
        let days = [
            Weekday::Monday,
            Weekday::Tuesday,
            Weekday::Wednesday,
            Weekday::Thursday,
            Weekday::Friday,
            Weekday::Saturday,
            Weekday::Sunday,
        ];
        let never = without(weekly(&days, Hours::ALL_DAY));
        assert_eq!((never.next_fire(at(0)), never.prev_fire(at(0))), (None, None));
    }

    proptest! {
        #[test]
        fn passing_over_agrees_with_asking_one_by_one(minute in 0_i64..20_000, from in 0_i8..23, length in 1_i8..6) {
            let hours = Hours {
                from: jiff::civil::time(from, 30, 0, 0),
                until: (from + length < 24).then(|| jiff::civil::time(from + length, 0, 0, 0)),
            };
            let zone = Zone::parse("Europe/Berlin").unwrap();
            let mut calendar = weekly(&[Weekday::Sunday, Weekday::Wednesday], hours);
            calendar.dates.insert(jiff::civil::date(2027, 3, 28));
            // Around the change of the clocks.
            let after = "2027-03-24T00:00:00Z".parse::<Instant>().unwrap().plus(Duration::from_secs(60 * minute.unsigned_abs() / 2));
            let schedule = ScheduleSpec { zone, ..without(calendar) };
            let mut one_by_one = schedule.next_after(after).unwrap();
            while schedule.excluded(one_by_one).is_some() {
                one_by_one = schedule.next_after(one_by_one).unwrap();
            }
            prop_assert_eq!(schedule.next_fire(after), Some(one_by_one));
            let mut back = schedule.prev_before(after).unwrap();
            while schedule.excluded(back).is_some() {
                back = schedule.prev_before(back).unwrap();
            }
            prop_assert_eq!(schedule.prev_fire(after), Some(back));
        }
    }

    #[test]
    fn a_schedule_is_done_with_its_last_run() {
        let thrice = ScheduleSpec { max_runs: Some(3), ..every_minute() };
        assert_eq!((thrice.next_due(at(0), 2), thrice.next_due(at(0), 3)), (Some(at(60)), None));
        assert_eq!(every_minute().next_due(at(0), u64::MAX), Some(at(60)));
    }

    #[test]
    fn a_one_shot_that_has_passed_begins_before_itself_where_the_job_allows_it() {
        let once = ScheduleSpec { rule: Rule::At(At::new(at(0).timestamp())), ..every_minute() };
        let within = |mode| CatchUp { mode, max_lateness: Some(Duration::from_secs(60)), ..CatchUp::default() };
        let found = |now, catch_up| once.next_after(once.begin(now, catch_up));
        assert_eq!(found(at(60), within(Mode::Latest)), Some(at(0)));
        assert_eq!(found(at(61), within(Mode::Latest)), None);
        assert_eq!(found(at(60), within(Mode::None)), None);
        assert_eq!(found(at(60), CatchUp::default()), None);
        assert_eq!(found(at(-1), CatchUp::default()), Some(at(0)));
        assert_eq!(every_minute().begin(at(60), within(Mode::Latest)), at(60));
    }
}
