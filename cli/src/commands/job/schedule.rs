//! Time rules as `job create` and `job update` take them.

use std::{collections::HashSet, str::FromStr};

use clap::{Args, ValueEnum};
use mainspring_proto::scheduler::v1::{
    CalendarInterval, CalendarRoll, CalendarUnit, DayMatch, DstGap, DstOverlap, Interval, Schedule, schedule::Rule,
};

use super::super::refine::{DayMatchArg, GapArg, RepeatArg};
use crate::{
    clock,
    failure::Failure,
    times::{Length, Moment, TimeError},
};

/// When a job is due.
#[derive(Args, Debug)]
pub(super) struct ScheduleArgs {
    /// When it is due: 5 fields, 6 with seconds first, or 7 with the year last; may be repeated
    #[arg(long, value_name = "EXPR", allow_hyphen_values = true)]
    cron: Vec<String>,
    /// Due in this rhythm: 90m, or of the calendar: '3 months from 2026-01-31 at 09:00'
    #[arg(long, value_name = "RHYTHM", allow_hyphen_values = true)]
    every: Option<Every>,
    /// Due so long after the run before it ends: 5m
    #[arg(long, value_name = "LENGTH")]
    fixed_delay: Option<Length>,
    /// Due once: RFC 3339, or now+1h
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    at: Option<Moment>,
    /// Zone of --cron and of the calendar, for example Europe/Berlin [default: UTC]
    #[arg(long, value_name = "ZONE")]
    tz: Option<String>,
    /// Moves --every by this length, or by one of the schedule's own (H)
    #[arg(long, value_name = "LENGTH|H", requires = "every", conflicts_with = "first")]
    phase: Option<Phase>,
    /// Counts --every from this instant, which is the first
    #[arg(long, value_name = "TIME", requires = "every", allow_hyphen_values = true)]
    first: Option<Moment>,
    /// What becomes of a time that a clock change skips [default: next-valid for an hour written as a number, else skip]
    #[arg(long, value_name = "POLICY")]
    dst_gap: Option<GapArg>,
    /// What becomes of a time that a clock change repeats [default: first for an hour written as a number, else both]
    #[arg(long, value_name = "POLICY")]
    dst_overlap: Option<RepeatArg>,
    /// Whether one or both day fields of --cron must match [default: or; and with a + before the day of week]
    #[arg(long, value_name = "MATCH")]
    day_match: Option<DayMatchArg>,
    /// It names nothing before this: RFC 3339, or now+1d. On an update `none` takes it away
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    start_at: Option<Bound>,
    /// It names nothing from this on: RFC 3339, or now+30d. On an update `none` takes it away
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    end_at: Option<Bound>,
    /// Runs are due up to this later than their times, each by a length of its own
    #[arg(long, value_name = "LENGTH")]
    jitter: Option<Length>,
    /// It is done once it has made so many runs; 0 for any number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..=1_000_000_000))]
    max_runs: Option<i32>,
    /// Instants that this calendar holds make no run; may be repeated. On an update `none` takes them away
    #[arg(long, value_name = "CALENDAR")]
    exclude_calendar: Vec<String>,
    /// Only instants that this calendar holds make a run; may be repeated, then one is enough. On an update `none` takes them away
    #[arg(long, value_name = "CALENDAR")]
    only_calendar: Vec<String>,
    /// Where an instant goes whose whole day such a calendar holds [default: skip]
    #[arg(long, value_name = "WHERE")]
    roll: Option<RollArg>,
}

impl ScheduleArgs {
    pub(super) fn is_empty(&self) -> bool {
        self.cron.is_empty() && self.every.is_none() && self.fixed_delay.is_none() && self.at.is_none()
    }
}

/// An end of a schedule as typed.
#[derive(Clone, Copy, Debug)]
struct Bound(Option<Moment>);

impl FromStr for Bound {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        if text == "none" { Ok(Self(None)) } else { text.parse().map(|moment| Self(Some(moment))) }
    }
}

impl Bound {
    fn to_proto(self) -> Option<prost_types::Timestamp> {
        self.0.map(|moment| moment.to_proto(clock::now()))
    }
}

/// A rhythm as typed.
#[derive(Clone, Copy, Debug)]
enum Every {
    /// Of elapsed time.
    Length(Length),
    /// Of the calendar.
    Calendar(mainspring_cron::CalendarInterval),
}

impl FromStr for Every {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Only the calendar needs words.
        if text.trim().contains(char::is_whitespace) {
            return text.parse().map(Self::Calendar).map_err(|error: mainspring_cron::ParseError| error.to_string());
        }
        text.parse().map(Self::Length).map_err(|error: TimeError| error.to_string())
    }
}

/// Where a rhythm of elapsed time lies.
#[derive(Clone, Copy, Debug)]
enum Phase {
    Length(Length),
    Hashed,
}

impl FromStr for Phase {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        if text == "H" { Ok(Self::Hashed) } else { text.parse().map(Self::Length) }
    }
}

/// [`CalendarRoll`] as typed.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum RollArg {
    /// Nowhere: it makes no run.
    Skip,
    /// To the next free day.
    Following,
    /// To the last free day before.
    Preceding,
    /// To the nearest free day.
    Nearest,
}

/// Rules take the places of the schedules that there are: that of the one that has this very rule, else that of the next of
/// its kind, and a rule alone that of a schedule alone. So an edit leaves their names, on which their cursors and what `H` stands
/// for depend, and all that is not named. A rule more is a schedule more, under a name after its kind, which is like the others.
pub(super) fn schedules(args: &ScheduleArgs, stored: &[Schedule]) -> Result<Vec<Schedule>, Failure> {
    let mut rules = Vec::new();
    for expression in &args.cron {
        rules.push(rule(expression)?);
    }
    if let Some(every) = args.every {
        rules.push(("every", args.rhythm(every)?));
    }
    if let Some(delay) = args.fixed_delay {
        rules.push(("fixed-delay", Rule::FixedDelay(delay.to_proto())));
    }
    if let Some(at) = args.at {
        rules.push(("at", Rule::At(at.to_proto(clock::now()))));
    }
    if !rules.iter().any(|(_, rule)| is_on_the_wall(rule)) {
        args.need_a_wall_clock()?;
    }
    args.need_days(rules.iter().map(|(_, rule)| rule))?;
    let is_alone = rules.len() == 1;
    let mut places = Places { left: stored.to_vec(), names: stored.iter().map(|there| there.name.clone()).collect() };
    let mut found: Vec<_> = rules.iter().map(|(_, rule)| places.take(|there| there == rule)).collect();
    for (place, (_, rule)) in found.iter_mut().zip(&rules).filter(|(place, _)| place.is_none()) {
        let is_alike = |there: &Rule| std::mem::discriminant(there) == std::mem::discriminant(rule);
        *place = places.take(|there| is_alike(there) || is_alone && stored.len() == 1);
    }
    let mut schedules = Vec::with_capacity(rules.len());
    for ((kind, rule), place) in rules.into_iter().zip(found) {
        let mut schedule = match place {
            Some(there) => there,
            None => {
                let name = if is_alone && stored.is_empty() { String::new() } else { places.name(kind) };
                Schedule { name, ..common(&rule, stored)? }
            }
        };
        schedule.rule = Some(rule);
        args.place(&mut schedule);
        schedules.push(schedule);
    }
    args.refine(&mut schedules)?;
    Ok(schedules)
}

/// The schedules that there are, as far as no rule has taken their places.
struct Places {
    left: Vec<Schedule>,
    names: HashSet<String>,
}

impl Places {
    fn take(&mut self, mut is_wanted: impl FnMut(&Rule) -> bool) -> Option<Schedule> {
        let place = self.left.iter().position(|there| there.rule.as_ref().is_some_and(&mut is_wanted))?;
        Some(self.left.remove(place))
    }

    /// A name that is not taken.
    fn name(&mut self, kind: &str) -> String {
        let mut names = (1..).map(|count| format!("{kind}-{count}"));
        names.find(|name| self.names.insert(name.clone())).unwrap_or_default()
    }
}

/// What goes with the rules of all schedules that there are, for one more.
fn common(rule: &Rule, stored: &[Schedule]) -> Result<Schedule, Failure> {
    let is_alike = |there: &&Schedule| there.rule.as_ref().map(is_on_the_wall) == Some(is_on_the_wall(rule));
    let is_any_alike = stored.iter().any(|there| is_alike(&there));
    let bare = |there: &Schedule| {
        let there = Schedule { name: String::new(), rule: None, next_time: None, run_count: 0, ..there.clone() };
        if is_any_alike {
            return there;
        }
        Schedule { time_zone: String::new(), gap: 0, overlap: 0, day_match: 0, ..there }
    };
    let mut bare = stored.iter().filter(|there| !is_any_alike || is_alike(there)).map(bare);
    let Some(first) = bare.next() else { return Ok(Schedule::default()) };
    if bare.all(|other| other == first) {
        return Ok(first);
    }
    let failure = Failure::usage(
        "the schedules that there are differ in zone, bounds or calendars, so one more could be like any",
    );
    Err(failure.hint("add it to what `mainspring job get JOB -o json` prints, and `mainspring job update JOB -f FILE`"))
}

/// Whether a rule names times of a wall clock.
fn is_on_the_wall(rule: &Rule) -> bool {
    match rule {
        Rule::Cron(_) | Rule::CalendarInterval(_) => true,
        Rule::Interval(_) | Rule::FixedDelay(_) | Rule::At(_) => false,
    }
}

impl ScheduleArgs {
    /// The rule of `--every`, with its anchor.
    fn rhythm(&self, every: Every) -> Result<Rule, Failure> {
        let length = match every {
            Every::Length(length) => length,
            Every::Calendar(_) if self.phase.is_some() || self.first.is_some() => {
                let failure = Failure::usage("--phase and --first move a rhythm of elapsed time, not of the calendar");
                return Err(failure.hint("the first date stands after `from`, the time of day after `at`"));
            }
            Every::Calendar(interval) => {
                return Ok(Rule::CalendarInterval(CalendarInterval {
                    every: i32::from(interval.every()),
                    unit: unit(interval.unit()).into(),
                    first_date: interval.first().to_string(),
                    time_of_day: interval.time_of_day(),
                }));
            }
        };
        let phase = match self.phase {
            Some(Phase::Length(phase)) => Some(phase.to_proto()),
            Some(Phase::Hashed) | None => None,
        };
        Ok(Rule::Interval(Interval {
            every: Some(length.to_proto()),
            phase,
            hashed_phase: matches!(self.phase, Some(Phase::Hashed)),
            first_time: self.first.map(|first| first.to_proto(clock::now())),
        }))
    }

    fn of_the_wall(&self) -> [(&'static str, bool); 3] {
        [
            ("--tz", self.tz.is_some()),
            ("--dst-gap", self.dst_gap.is_some()),
            ("--dst-overlap", self.dst_overlap.is_some()),
        ]
    }

    /// Refuses what is about days that no rule names.
    fn need_days<'a>(&self, mut rules: impl Iterator<Item = &'a Rule>) -> Result<(), Failure> {
        if self.day_match.is_none() || rules.any(|rule| matches!(rule, Rule::Cron(_))) {
            return Ok(());
        }
        Err(Failure::usage("--day-match is about the day fields of --cron, and no rule has any"))
    }

    /// Refuses what only a wall clock gives a meaning.
    fn need_a_wall_clock(&self) -> Result<(), Failure> {
        let given = self.of_the_wall();
        match given.into_iter().find(|(_, given)| *given) {
            None => Ok(()),
            Some((flag, _)) => {
                let failure = Failure::usage(format!("{flag} is about times of a wall clock, and no rule names any"));
                Err(failure
                    .hint("it goes with --cron, and with --every of the calendar: '1 day from 2026-01-31 at 09:00'"))
            }
        }
    }

    /// Says of schedules that there are what goes with their rules; whether there was anything to say.
    pub(super) fn change(&self, schedules: &mut [Schedule]) -> Result<bool, Failure> {
        let rules = || schedules.iter().filter_map(|schedule| schedule.rule.as_ref());
        if !rules().any(is_on_the_wall) {
            self.need_a_wall_clock()?;
        }
        self.need_days(rules())?;
        let placed = self.day_match.is_some() || self.of_the_wall().into_iter().any(|(_, given)| given);
        schedules.iter_mut().filter(|_| placed).for_each(|schedule| self.place(schedule));
        Ok(self.refine(schedules)? || placed)
    }

    /// Says what goes with any rule; whether there was anything to say.
    fn refine(&self, schedules: &mut [Schedule]) -> Result<bool, Failure> {
        let given = [
            ("--start-at", self.start_at.is_some()),
            ("--end-at", self.end_at.is_some()),
            ("--jitter", self.jitter.is_some()),
            ("--max-runs", self.max_runs.is_some()),
            ("--exclude-calendar", !self.exclude_calendar.is_empty()),
            ("--only-calendar", !self.only_calendar.is_empty()),
            ("--roll", self.roll.is_some()),
        ];
        let Some((flag, _)) = given.into_iter().find(|(_, given)| *given) else { return Ok(false) };
        if schedules.is_empty() {
            return Err(Failure::usage(format!("{flag} is about schedules, and there is none")));
        }
        for schedule in schedules {
            if let Some(bound) = self.start_at {
                schedule.start_time = bound.to_proto();
            }
            if let Some(bound) = self.end_at {
                schedule.end_time = bound.to_proto();
            }
            if let Some(jitter) = self.jitter {
                schedule.jitter = Some(jitter.to_proto());
            }
            schedule.max_runs = self.max_runs.unwrap_or(schedule.max_runs);
            match self.exclude_calendar.as_slice() {
                [] => {}
                [none] if none == "none" => {
                    schedule.exclude_calendars.clear();
                    // There is nothing left to move.
                    schedule.roll = CalendarRoll::Unspecified.into();
                }
                names => schedule.exclude_calendars = names.to_vec(),
            }
            match self.only_calendar.as_slice() {
                [] => {}
                [none] if none == "none" => schedule.only_calendars.clear(),
                names => schedule.only_calendars = names.to_vec(),
            }
            match self.roll {
                None => {}
                Some(RollArg::Skip) => schedule.roll = CalendarRoll::Skip.into(),
                Some(RollArg::Following) => schedule.roll = CalendarRoll::Following.into(),
                Some(RollArg::Preceding) => schedule.roll = CalendarRoll::Preceding.into(),
                Some(RollArg::Nearest) => schedule.roll = CalendarRoll::Nearest.into(),
            }
        }
        Ok(true)
    }

    /// Says on which wall clock its times are, and how they are meant there, as far as that is said and its rule has it.
    fn place(&self, schedule: &mut Schedule) {
        let on_the_wall = schedule.rule.as_ref().is_some_and(is_on_the_wall);
        if on_the_wall {
            schedule.time_zone = self.tz.clone().unwrap_or_else(|| schedule.time_zone.clone());
            schedule.gap = self.dst_gap.map_or(schedule.gap, |gap| DstGap::from(gap).into());
            schedule.overlap = self.dst_overlap.map_or(schedule.overlap, |overlap| DstOverlap::from(overlap).into());
        } else {
            let (time_zone, gap, overlap) = Default::default();
            (schedule.time_zone, schedule.gap, schedule.overlap) = (time_zone, gap, overlap);
        }
        if matches!(schedule.rule, Some(Rule::Cron(_))) {
            schedule.day_match =
                self.day_match.map_or(schedule.day_match, |day_match| DayMatch::from(day_match).into());
        } else {
            schedule.day_match = DayMatch::Unspecified.into();
        }
    }
}

fn unit(unit: mainspring_cron::Unit) -> CalendarUnit {
    match unit {
        mainspring_cron::Unit::Day => CalendarUnit::Day,
        mainspring_cron::Unit::Week => CalendarUnit::Week,
        mainspring_cron::Unit::Month => CalendarUnit::Month,
        mainspring_cron::Unit::Year => CalendarUnit::Year,
    }
}

/// `@every` and `@at` are no cron, but people type them there; they are shorthands of --every and --at.
fn rule(expression: &str) -> Result<(&'static str, Rule), Failure> {
    match expression.split_once(char::is_whitespace).map(|(macro_, rest)| (macro_, rest.trim())) {
        Some(("@every", length)) => {
            let length: Length = length.parse().map_err(Failure::usage)?;
            Ok(("every", Rule::Interval(Interval { every: Some(length.to_proto()), ..Interval::default() })))
        }
        Some(("@at", moment)) => {
            let moment: Moment = moment.parse().map_err(Failure::usage)?;
            Ok(("at", Rule::At(moment.to_proto(clock::now()))))
        }
        Some(_) | None => Ok(("cron", Rule::Cron(expression.into()))),
    }
}
