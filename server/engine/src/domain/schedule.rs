//! One time rule of a job: which instants it names, and when what they make is due.
//!
//! The rule itself is [`mainspring_cron`]'s; what is here belongs to a schedule: its bounds, how often it fires, and how far
//! the starts of its runs are spread. All of it is a pure function of the definition and of an instant, so that a failover
//! or a second look says the same. A nominal time is an instant's identity, whatever a start adds to it.

use std::time::Duration;

use jiff::SignedDuration;
use mainspring_cron::{JitterBounds, Rule, Skipped, Zone, jittered};
use serde::{Deserialize, Serialize};

use super::{catch_up::CatchUp, ids::JobUid, instant::Instant, ledger::SkippedWalls, names::ScheduleName};

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
}

/// No start is spread further than this.
pub const MAX_JITTER: Duration = Duration::from_secs(24 * 3600);

impl ScheduleSpec {
    /// A schedule that is nothing but its rule.
    pub fn new(name: ScheduleName, rule: Rule, zone: Zone) -> Self {
        Self { name, rule, zone, start: None, end: None, jitter: Duration::ZERO, max_runs: None }
    }

    /// The first instant after `after` that the rule names and the bounds allow.
    pub fn next_after(&self, after: Instant) -> Option<Instant> {
        let from = match self.start {
            Some(start) if start > after => Instant::from_micros(start.as_micros() - 1),
            _ => after,
        };
        let next = Instant::from_timestamp(self.rule.next_after(&self.zone, from.timestamp())?);
        // What is finer than a microsecond was cut; an instant never comes out at or before what was asked.
        (next > after && self.end.is_none_or(|end| next < end)).then_some(next)
    }

    /// The last instant before `before` that the rule names and the bounds allow.
    pub fn prev_before(&self, before: Instant) -> Option<Instant> {
        let until = self.end.map_or(before, |end| end.min(before));
        let prev = Instant::from_timestamp(self.rule.prev_before(&self.zone, until.timestamp())?);
        (prev < before && self.start.is_none_or(|start| prev >= start)).then_some(prev)
    }

    /// The first of the last `count` instants at or before `until`; none where there are fewer.
    pub(super) fn back_from(&self, until: Instant, count: usize) -> Option<Instant> {
        let mut at = until.plus(Duration::from_micros(1));
        for _ in 0..count {
            at = self.prev_before(at)?;
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
        let found = self.rule.skipped(&self.zone, after.timestamp(), until.timestamp());
        found.into_iter().map(walls).filter(|walls| self.holds(walls.change)).collect()
    }

    /// The time of the wall clock that a clock change took from it, and that somebody means by this instant who reads it by
    /// the clock before.
    pub fn skips(&self, at: Instant) -> Option<SkippedWalls> {
        let found = self.rule.skips(&self.zone, at.timestamp()).map(walls)?;
        self.holds(found.change).then_some(found)
    }

    fn holds(&self, at: Instant) -> bool {
        self.start.is_none_or(|start| start <= at) && self.end.is_none_or(|end| at < end)
    }

    /// Whether a schedule that has made so many runs is done.
    pub fn is_done(&self, made: u64) -> bool {
        self.max_runs.is_some_and(|most| made >= most)
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
            Rule::Cron(_) | Rule::Interval(_) | Rule::CalendarInterval(_) => now,
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
    use mainspring_cron::{At, Expr};
    use proptest::prelude::*;

    use super::*;
    use crate::domain::catch_up::Mode;

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
