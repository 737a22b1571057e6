//! [`Rule`]: everything a schedule can say about *when*, and the questions asked of it.
//!
//! Evaluation is a pure function of rule, zone and instant. Instants are whole microseconds. A rule carries no bounds
//! (`start_at`, `end_at`, `max_runs`): those belong to the schedule and are judged on what a rule yields.

use jiff::Timestamp;

use crate::{
    calendar_interval::CalendarInterval,
    dst::{DstEffect, DstNote, Gap, HourMasks, Overlap},
    error::RuleError,
    expr::Expr,
    fixed_delay::FixedDelay,
    interval::{Interval, cut, floor_us, floor_us_exclusive},
    lint::{self, Lint},
    plan::DayMatch,
    search::{Fire, Search, wall},
    zone::{Zone, timestamp},
};

/// A time rule. Stored as JSON, tagged by `kind`.
///
/// ```
/// use mainspring_cron::{Rule, Zone};
///
/// let rule: Rule = serde_json::from_str(r#"{"kind": "cron", "expr": "30 2 * * *"}"#).unwrap();
/// let berlin = Zone::parse("Europe/Berlin").unwrap();
/// // 02:30 does not exist on the night of the change: the appointment is kept at the first valid instant.
/// let next = rule.next_after(&berlin, "2026-03-28T12:00:00Z".parse().unwrap());
/// assert_eq!(next, Some("2026-03-29T01:00:00Z".parse().unwrap()));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Rule {
    /// Wall-clock times of the schedule's zone.
    Cron(Cron),
    /// A fixed elapsed time.
    Interval(Interval),
    /// So many days, weeks, months or years, at a time of day of the schedule's zone.
    CalendarInterval(CalendarInterval),
    /// A fixed elapsed time after the end of what the last fire started.
    FixedDelay(FixedDelay),
    /// One instant.
    At(At),
}

/// A cron expression and how it meets clock changes.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cron {
    /// The expression.
    pub expr: Expr,
    /// Overrides "appointment or rhythm" for times that a clock change skips.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<Gap>,
    /// Overrides "appointment or rhythm" for times that a clock change repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<Overlap>,
    /// How the day fields combine; `None` is OR, or AND where the expression has a `+`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day_match: Option<DayMatch>,
}

/// One instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct At {
    #[serde(deserialize_with = "whole_microseconds")]
    instant: Timestamp,
}

impl At {
    /// A rule that fires once, at this instant cut to whole microseconds.
    #[must_use]
    pub fn new(instant: Timestamp) -> Self {
        Self { instant: cut(instant) }
    }

    /// The instant.
    #[must_use]
    pub fn instant(&self) -> Timestamp {
        self.instant
    }
}

fn whole_microseconds<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    serde::Deserialize::deserialize(deserializer).map(cut)
}

impl Cron {
    /// A rule with the usual treatment of clock changes.
    #[must_use]
    pub fn new(expr: Expr) -> Self {
        Self { expr, gap: None, overlap: None, day_match: None }
    }

    /// How the day fields combine, all told.
    pub(crate) fn effective_day_match(&self) -> DayMatch {
        match self.expr.plan.day_match {
            DayMatch::And => DayMatch::And,
            DayMatch::Or => self.day_match.unwrap_or(DayMatch::Or),
        }
    }

    pub(crate) fn search<'a>(&'a self, zone: &'a Zone) -> Search<'a> {
        let hours = HourMasks::new(&self.expr.plan, self.gap, self.overlap);
        Search::new(&self.expr.plan, self.effective_day_match(), hours, zone)
    }

    fn dst_notes(&self, zone: &Zone, after: Timestamp, until: Timestamp, limit: usize) -> Vec<DstNote> {
        let mut search = self.search(zone);
        let mut notes = Vec::new();
        let mut segment = zone.segment(after.as_second());
        while let Some(change) = segment.end.filter(|end| *end <= until.as_second() && notes.len() < limit) {
            segment = zone.segment(change);
            let (shown_before, shown) = (wall(change, segment.before), wall(change, segment.offset));
            let hours = search.hours;
            let skipped = hours.all & !hours.gap_end & !hours.gap_shift;
            let both = hours.first_pass & hours.second_pass;
            let gap = shown_before < shown;
            let (from, to) = if gap { (shown_before, shown) } else { (shown, shown_before) };
            let cases = if gap {
                [
                    (hours.gap_end, DstEffect::MovedToGapEnd),
                    (hours.gap_shift, DstEffect::Shifted),
                    (skipped, DstEffect::Skipped),
                ]
            } else {
                [
                    (hours.first_pass & !both, DstEffect::FirstPassOnly),
                    (hours.second_pass & !both, DstEffect::LastPassOnly),
                    (both, DstEffect::BothPasses),
                ]
            };
            for (hours, effect) in cases {
                if let Some(wall) = search.next_wall(from, to, hours) {
                    notes.push(DstNote { change: timestamp(change), wall, effect });
                }
            }
        }
        notes.truncate(limit);
        notes
    }
}

impl Rule {
    /// A cron rule with the usual treatment of clock changes.
    #[must_use]
    pub fn cron(expr: Expr) -> Self {
        Self::Cron(Cron::new(expr))
    }

    /// The rule with every `H` decided by the bytes of the schedule's uid; see [`Expr::resolve`].
    #[must_use]
    pub fn resolve(&self, seed: &[u8]) -> Self {
        match self {
            Self::Cron(cron) => Self::Cron(Cron { expr: cron.expr.resolve(seed), ..cron.clone() }),
            Self::Interval(interval) => Self::Interval(interval.resolve(seed)),
            Self::CalendarInterval(interval) => Self::CalendarInterval(*interval),
            Self::FixedDelay(delay) => Self::FixedDelay(*delay),
            Self::At(at) => Self::At(*at),
        }
    }

    /// Checks what the types cannot: that the rule means something, and that it ever fires. What it returns are
    /// remarks, for the author to read.
    ///
    /// # Errors
    /// [`RuleError`] if the rule contradicts itself or never fires after `now`. An instant in the past is no error
    /// here: how late a one-shot may be is for its schedule to say.
    pub fn validate(&self, zone: &Zone, now: Timestamp) -> Result<Vec<Lint>, RuleError> {
        self.agrees()?;
        let first = self.next_after(zone, now);
        match self {
            Self::Cron(_) | Self::Interval(_) | Self::CalendarInterval(_) | Self::FixedDelay(_) if first.is_none() => {
                Err(RuleError::NeverFires)
            }
            Self::Cron(_) | Self::Interval(_) | Self::CalendarInterval(_) | Self::FixedDelay(_) | Self::At(_) => {
                Ok(lint::lints(self, now, first))
            }
        }
    }

    /// Checks that the rule does not contradict itself, which it does whatever the zone and the time.
    ///
    /// # Errors
    /// [`RuleError::DayMatchConflict`].
    pub fn agrees(&self) -> Result<(), RuleError> {
        match self {
            Self::Cron(cron) if cron.expr.joins_days() && cron.day_match == Some(DayMatch::Or) => {
                Err(RuleError::DayMatchConflict)
            }
            Self::Cron(_) | Self::Interval(_) | Self::CalendarInterval(_) | Self::FixedDelay(_) | Self::At(_) => Ok(()),
        }
    }

    /// The remark on two day fields that do not say how they count together, where there is one to make. Who wants rules
    /// that say what they mean takes it for an error.
    #[must_use]
    pub fn ambiguity(&self) -> Option<Lint> {
        lint::ambiguity(self)
    }

    /// Whether nothing matches in the 400 years after an instant, or until the end of 9999 for rules that name years.
    #[must_use]
    pub fn never_fires(&self, zone: &Zone, after: Timestamp) -> bool {
        self.next_after(zone, after).is_none()
    }

    /// The first instant strictly after another. `None` is final: see [`Rule::never_fires`] for how far it looks.
    #[must_use]
    pub fn next_after(&self, zone: &Zone, after: Timestamp) -> Option<Timestamp> {
        Source::new(self, zone).next(after, Timestamp::MAX).map(|fire| fire.at)
    }

    /// The last instant strictly before another; none of a rule whose instants follow from ends alone.
    #[must_use]
    pub fn prev_before(&self, zone: &Zone, before: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Cron(cron) => {
                let before = floor_seconds(floor_us_exclusive(before)) + 1;
                cron.search(zone).prev(before).map(timestamp)
            }
            Self::Interval(interval) => interval.prev_before(before),
            Self::CalendarInterval(interval) => interval.prev_before(zone, before),
            Self::FixedDelay(_) => None,
            Self::At(at) => Some(at.instant).filter(|instant| *instant < before),
        }
    }

    /// The instants in `(after, until]`, in order, without repetitions.
    pub fn instants<'a>(
        &'a self,
        zone: &'a Zone,
        after: Timestamp,
        until: Timestamp,
    ) -> impl Iterator<Item = Timestamp> + use<'a> {
        self.fires(zone, after, until).map(|fire| fire.at)
    }

    /// As [`Rule::instants`], each with a note if a clock change affected it.
    #[must_use]
    pub fn fires<'a>(&'a self, zone: &'a Zone, after: Timestamp, until: Timestamp) -> Fires<'a> {
        Fires { source: Source::new(self, zone), cursor: Some(after), until }
    }

    /// What the clock changes in `(after, until]` do to this rule, the times that are skipped included: at most
    /// `limit` notes.
    #[must_use]
    pub fn dst_notes(&self, zone: &Zone, after: Timestamp, until: Timestamp, limit: usize) -> Vec<DstNote> {
        match self {
            Self::Cron(cron) => cron.dst_notes(zone, after, until, limit),
            Self::CalendarInterval(interval) => interval.dst_notes(zone, after, until, limit),
            Self::Interval(_) | Self::FixedDelay(_) | Self::At(_) => Vec::new(),
        }
    }
}

/// The instants of a rule within a window; made by [`Rule::fires`].
#[derive(Debug)]
pub struct Fires<'a> {
    source: Source<'a>,
    cursor: Option<Timestamp>,
    until: Timestamp,
}

impl Iterator for Fires<'_> {
    type Item = Fire;

    fn next(&mut self) -> Option<Fire> {
        let fire = self.source.next(self.cursor.take()?, self.until)?;
        self.cursor = Some(fire.at);
        Some(fire)
    }
}

impl std::iter::FusedIterator for Fires<'_> {}

/// A rule made ready to be asked several times.
#[derive(Debug)]
enum Source<'a> {
    Cron(Search<'a>),
    Interval(&'a Interval),
    CalendarInterval(&'a CalendarInterval, &'a Zone),
    FixedDelay(&'a FixedDelay),
    At(&'a At),
}

impl<'a> Source<'a> {
    fn new(rule: &'a Rule, zone: &'a Zone) -> Self {
        match rule {
            Rule::Cron(cron) => Self::Cron(cron.search(zone)),
            Rule::Interval(interval) => Self::Interval(interval),
            Rule::CalendarInterval(interval) => Self::CalendarInterval(interval, zone),
            Rule::FixedDelay(delay) => Self::FixedDelay(delay),
            Rule::At(at) => Self::At(at),
        }
    }

    /// The first fire in `(after, until]`.
    fn next(&mut self, after: Timestamp, until: Timestamp) -> Option<Fire> {
        let at = match self {
            Self::Cron(search) => {
                return search.next(floor_seconds(floor_us(after)), floor_seconds(floor_us(until)));
            }
            Self::CalendarInterval(interval, zone) => return interval.next(zone, after, until),
            Self::Interval(interval) => interval.next_after(after)?,
            Self::FixedDelay(delay) => delay.next_after(after)?,
            Self::At(at) => Some(at.instant).filter(|instant| *instant > after)?,
        };
        (at <= until).then_some(Fire { at, note: None })
    }
}

/// The whole second at or before a microsecond; cron fires lie on whole seconds.
fn floor_seconds(us: i128) -> i64 {
    us.div_euclid(1_000_000) as i64
}
