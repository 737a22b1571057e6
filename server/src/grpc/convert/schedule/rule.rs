//! The rule of a schedule: its kind, and what refines it.

use mainspring_cron::{
    Anchor, At, CalendarInterval, Cron, DayMatch, Expr, FixedDelay, Gap, Interval, Overlap, ParseError, Rule,
    RuleError, Unit, parse_date, parse_time,
};
use mainspring_engine::domain::instant::Instant;
use mainspring_proto::scheduler::v1::{self as wire, schedule::Rule as WireRule};

use super::{Check, time};
use crate::grpc::status::Reason;

const MICROS: i64 = 1_000_000;

/// What stands beside a rule and says how it is meant: the numbers of the wire.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Refinements {
    pub(super) gap: i32,
    pub(super) overlap: i32,
    pub(super) day_match: i32,
}

impl Check {
    pub(super) fn rule(&mut self, rule: Option<WireRule>, refinements: Refinements) -> Option<Rule> {
        let Some(rule) = rule else {
            self.refuse("", "must carry `cron`, `interval`, `at`, `calendar_interval` or `fixed_delay`");
            return None;
        };
        let (on_the_wall, by_days) = match rule {
            WireRule::Cron(_) => (true, true),
            WireRule::CalendarInterval(_) => (true, false),
            WireRule::Interval(_) | WireRule::FixedDelay(_) | WireRule::At(_) => (false, false),
        };
        let Refinements { gap, overlap, day_match } = refinements;
        for (field, number, fits, rules) in [
            ("gap", gap, on_the_wall, "`cron` and `calendar_interval`"),
            ("overlap", overlap, on_the_wall, "`cron` and `calendar_interval`"),
            ("day_match", day_match, by_days, "`cron`"),
        ] {
            if number != 0 && !fits {
                self.refuse(field, format!("is for {rules} alone; leave it out"));
            }
        }
        let gap = self.choice("gap", gap, gap_of);
        let overlap = self.choice("overlap", overlap, overlap_of);
        let day_match = self.choice("day_match", day_match, day_match_of);
        match rule {
            WireRule::Cron(text) => match Expr::parse(&text) {
                Ok(expr) => Some(Rule::Cron(Cron { expr, gap: gap?, overlap: overlap?, day_match: day_match? })),
                Err(error) => {
                    self.cron_error(&error);
                    None
                }
            },
            WireRule::Interval(interval) => {
                self.under("interval", |check| check.interval(&interval)).map(Rule::Interval)
            }
            WireRule::CalendarInterval(interval) => {
                let interval = self.under("calendar_interval", |check| check.calendar_interval(interval))?;
                Some(Rule::CalendarInterval(interval.with_overrides(gap?, overlap?)))
            }
            WireRule::FixedDelay(delay) => self.fixed_delay(delay).map(Rule::FixedDelay),
            WireRule::At(at) => self.calendar_instant("at", at).map(|at| Rule::At(At::new(at.timestamp()))),
        }
    }

    fn cron_error(&mut self, error: &ParseError) {
        self.refuse_as(Reason::CronInvalid, "cron", error.to_string());
        if let Some(field) = error.field {
            self.detail("field", field);
        }
        self.detail("column", error.column);
        self.suggest(error.suggestion.as_deref());
    }

    /// An instant that the calendar of the time rules reaches.
    fn calendar_instant(&mut self, field: &str, at: prost_types::Timestamp) -> Option<Instant> {
        let at = self.instant(field, Some(at))?;
        if at > Instant::CALENDAR_MAX {
            self.refuse(field, format!("must be no later than {}", Instant::CALENDAR_MAX));
            return None;
        }
        Some(at)
    }

    fn fixed_delay(&mut self, delay: prost_types::Duration) -> Option<FixedDelay> {
        let delay = self.length("fixed_delay", Some(delay))?;
        let micros = i64::try_from(delay.as_micros()).unwrap_or(i64::MAX);
        if micros < MICROS {
            self.refuse("fixed_delay", "must be at least 1 s");
            return None;
        }
        FixedDelay::new(micros).ok()
    }

    fn interval(&mut self, interval: &wire::Interval) -> Option<Interval> {
        let wire::Interval { every, phase, hashed_phase, first_time } = *interval;
        if every.is_none() {
            self.refuse("every", "is required");
        }
        let micros = |length: std::time::Duration| i64::try_from(length.as_micros()).unwrap_or(i64::MAX);
        let every = self.length("every", every).map(micros)?;
        let phase_us = self.length("phase", phase).map_or(0, micros);
        if every < MICROS {
            self.refuse("every", "must be at least 1 s");
            return None;
        }
        let anchor = match (first_time, hashed_phase) {
            (Some(_), true) => {
                self.refuse("first_time", "is an anchor of its own; leave `hashed_phase` out");
                return None;
            }
            (Some(_), false) if phase.is_some() => {
                self.refuse("first_time", "is an anchor of its own; leave `phase` out");
                return None;
            }
            (None, true) if phase.is_some() => {
                self.refuse("hashed_phase", "chooses the phase itself; leave `phase` out");
                return None;
            }
            (Some(first), false) => Anchor::Start(self.calendar_instant("first_time", first)?.timestamp()),
            (None, true) => Anchor::Hashed,
            (None, false) => Anchor::Epoch { phase_us },
        };
        match Interval::new(every, anchor) {
            Ok(interval) => Some(interval),
            Err(error) => {
                self.refuse("phase", error.to_string());
                None
            }
        }
    }

    fn calendar_interval(&mut self, interval: wire::CalendarInterval) -> Option<CalendarInterval> {
        let wire::CalendarInterval { every, unit, first_date, time_of_day } = interval;
        let every = self.within("every", every, 0..=i32::from(u16::MAX));
        let unit = self.choice("unit", unit, |unit| Some(unit_of(unit)));
        if unit == Some(None) {
            self.refuse("unit", "is required: DAY, WEEK, MONTH or YEAR");
        }
        let first = parse_date(&first_date);
        match (&first, first_date.as_str()) {
            (Some(_), _) => {}
            (None, "") => self.refuse("first_date", "is required, for example 2026-01-31"),
            (None, _) => self.refuse("first_date", "must be a date such as 2026-01-31"),
        }
        let time = match time_of_day.as_str() {
            "" => Some(jiff::civil::Time::midnight()),
            text => parse_time(text),
        };
        if time.is_none() {
            self.refuse("time_of_day", "must be a time such as 09:00 or 09:00:30; midnight is 00:00");
        }
        let every = u16::try_from(every).unwrap_or(1).max(1);
        match CalendarInterval::new(every, unit??, first?, time?) {
            Ok(interval) => Some(interval),
            Err(error) => {
                let field = if matches!(error, RuleError::FirstDateOutOfRange { .. }) { "first_date" } else { "every" };
                self.refuse(field, error.to_string());
                None
            }
        }
    }
}

fn gap_of(gap: wire::DstGap) -> Option<Option<Gap>> {
    Some(match gap {
        wire::DstGap::Unspecified => None,
        wire::DstGap::NextValid => Some(Gap::NextValid),
        wire::DstGap::Skip => Some(Gap::Skip),
        wire::DstGap::Shift => Some(Gap::Shift),
    })
}

fn overlap_of(overlap: wire::DstOverlap) -> Option<Option<Overlap>> {
    Some(match overlap {
        wire::DstOverlap::Unspecified => None,
        wire::DstOverlap::First => Some(Overlap::First),
        wire::DstOverlap::Last => Some(Overlap::Last),
        wire::DstOverlap::Both => Some(Overlap::Both),
    })
}

fn day_match_of(day_match: wire::DayMatch) -> Option<Option<DayMatch>> {
    Some(match day_match {
        wire::DayMatch::Unspecified => None,
        wire::DayMatch::Or => Some(DayMatch::Or),
        wire::DayMatch::And => Some(DayMatch::And),
    })
}

fn unit_of(unit: wire::CalendarUnit) -> Option<Unit> {
    match unit {
        wire::CalendarUnit::Unspecified => None,
        wire::CalendarUnit::Day => Some(Unit::Day),
        wire::CalendarUnit::Week => Some(Unit::Week),
        wire::CalendarUnit::Month => Some(Unit::Month),
        wire::CalendarUnit::Year => Some(Unit::Year),
    }
}

/// A rule for people, and what stands beside it.
pub(super) fn shown(rule: &Rule) -> (WireRule, Refinements) {
    match rule {
        Rule::Cron(Cron { expr, gap, overlap, day_match }) => {
            let refinements =
                Refinements { day_match: shown_day_match(*day_match).into(), ..on_the_wall(*gap, *overlap) };
            (WireRule::Cron(expr.to_string()), refinements)
        }
        Rule::Interval(interval) => (WireRule::Interval(shown_interval(*interval)), Refinements::default()),
        Rule::CalendarInterval(interval) => {
            let shown = wire::CalendarInterval {
                every: i32::from(interval.every()),
                unit: shown_unit(interval.unit()).into(),
                first_date: interval.first().to_string(),
                time_of_day: interval.time_of_day(),
            };
            (WireRule::CalendarInterval(shown), on_the_wall(interval.gap, interval.overlap))
        }
        Rule::FixedDelay(delay) => (WireRule::FixedDelay(length(delay.delay_us())), Refinements::default()),
        Rule::At(at) => {
            let instant = Instant::from_timestamp(at.instant());
            (WireRule::At(time::timestamp(instant)), Refinements::default())
        }
    }
}

fn shown_interval(interval: Interval) -> wire::Interval {
    let shown = wire::Interval { every: Some(length(interval.every_us())), ..wire::Interval::default() };
    match interval.anchor() {
        Anchor::Epoch { phase_us: 0 } => shown,
        Anchor::Epoch { phase_us } => wire::Interval { phase: Some(length(phase_us)), ..shown },
        Anchor::Hashed => wire::Interval { hashed_phase: true, ..shown },
        Anchor::Start(first) => {
            wire::Interval { first_time: Some(time::timestamp(Instant::from_timestamp(first))), ..shown }
        }
    }
}

fn length(micros: i64) -> prost_types::Duration {
    time::duration(std::time::Duration::from_micros(micros.unsigned_abs()))
}

fn on_the_wall(gap: Option<Gap>, overlap: Option<Overlap>) -> Refinements {
    let gap = match gap {
        None => wire::DstGap::Unspecified,
        Some(Gap::NextValid) => wire::DstGap::NextValid,
        Some(Gap::Skip) => wire::DstGap::Skip,
        Some(Gap::Shift) => wire::DstGap::Shift,
    };
    let overlap = match overlap {
        None => wire::DstOverlap::Unspecified,
        Some(Overlap::First) => wire::DstOverlap::First,
        Some(Overlap::Last) => wire::DstOverlap::Last,
        Some(Overlap::Both) => wire::DstOverlap::Both,
    };
    Refinements { gap: gap.into(), overlap: overlap.into(), day_match: 0 }
}

fn shown_day_match(day_match: Option<DayMatch>) -> wire::DayMatch {
    match day_match {
        None => wire::DayMatch::Unspecified,
        Some(DayMatch::Or) => wire::DayMatch::Or,
        Some(DayMatch::And) => wire::DayMatch::And,
    }
}

fn shown_unit(unit: Unit) -> wire::CalendarUnit {
    match unit {
        Unit::Day => wire::CalendarUnit::Day,
        Unit::Week => wire::CalendarUnit::Week,
        Unit::Month => wire::CalendarUnit::Month,
        Unit::Year => wire::CalendarUnit::Year,
    }
}
