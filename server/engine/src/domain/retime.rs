//! Retiming: what other zone data make of a schedule, of which an instant was announced by the data before.
//!
//! Instants up to the cursor have their fates, whatever other data say of them, and it never goes back behind them. The announced
//! one has none: what it is by the new data is the nearest instant that they name. From that one on the new data count, be it
//! to come or passed already; what they name before it are other times for what has happened, and the cursor passes
//! them, into the future if it must. So no time of a rule is lost where a clock was moved ahead, and none comes twice where it was
//! moved back after it had come. What lies ahead has not come, though: where a cursor passed it and yet other data come into
//! force, those that are taken back say, it goes back to where it stood when it was first moved ahead.

use std::collections::BTreeSet;

use mainspring_cron::Zones;

use super::{fire::Position, instant::Instant, job::JobSpec, ledger::SkippedWalls, schedule::ScheduleSpec};

/// So many instants are told of before and after.
pub const TOLD: usize = 5;

/// What a schedule will do by other zone data, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retiming {
    /// The version of the data until now; empty where it is not known.
    pub from: String,
    /// The version of those in force.
    pub to: String,
    /// The next instants as they were announced; the first alone where the data until now are not kept.
    pub before: Vec<Instant>,
    /// The next instants by the data in force.
    pub after: Vec<Instant>,
}

/// How a schedule follows other zone data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Followed {
    /// Evaluated up to here.
    pub cursor: Instant,
    /// The next instant after it.
    pub next: Option<Instant>,
    /// What clock changes took on the way until now.
    pub skipped: Vec<SkippedWalls>,
    /// What was to come; the first alone where the data until now are not kept.
    pub before: Vec<Instant>,
    /// What is to come.
    pub after: Vec<Instant>,
}

impl Followed {
    /// By a definition that counts with the data in force, of an instant that was announced by `former`, the same with the data
    /// until now, where those are kept. Up to `come` instants have their fates. Evaluates what somebody wrote: see
    /// [`super::guard`].
    pub fn by(
        schedule: &ScheduleSpec,
        former: Option<&ScheduleSpec>,
        position: &Position,
        announced: Instant,
        (come, now): (Instant, Instant),
    ) -> Self {
        let (cursor, next) = retime(schedule, position, announced, (come, now));
        let told_before = |former: &ScheduleSpec| told(former, former.cursor_before(announced), position.made);
        let skipped = schedule.skipped(position.cursor.min(now), cursor.min(now));
        let after = told(schedule, cursor, position.made);
        // Where only the first is known, so is only whether that changed.
        let before = match former {
            Some(former) => told_before(former),
            None if next == Some(announced) => after.clone(),
            None => vec![announced],
        };
        Self { cursor, next, skipped, before, after }
    }

    /// Whether the data move anything.
    pub fn moves(&self) -> bool {
        self.before != self.after
    }
}

/// Where a schedule goes on by the zone data that its definition counts with: cursor, and next instant.
fn retime(
    schedule: &ScheduleSpec,
    position: &Position,
    announced: Instant,
    (come, now): (Instant, Instant),
) -> (Instant, Option<Instant>) {
    let Position { cursor, made, .. } = *position;
    let next = schedule.next_due(cursor, made);
    if next == Some(announced) {
        return (cursor, next);
    }
    let from = match counterpart(schedule, come, announced) {
        Some(at) => schedule.cursor_before(at),
        None => now,
    };
    let cursor = come.max(from);
    (cursor, schedule.next_due(cursor, made))
}

/// The instant after `cursor` that is nearest to an announced one; of two that are equally near, the earlier, so that nothing
/// is left out.
fn counterpart(schedule: &ScheduleSpec, cursor: Instant, announced: Instant) -> Option<Instant> {
    let before = schedule.prev_before(announced).filter(|before| *before > cursor);
    let after = schedule.next_after(cursor.max(schedule.cursor_before(announced)));
    match (before, after) {
        (Some(before), Some(after)) if after.since(announced) < announced.since(before) => Some(after),
        (Some(before), _) => Some(before),
        (None, after) => after,
    }
}

/// The instants that are to come, as far as they are told.
fn told(schedule: &ScheduleSpec, cursor: Instant, made: u64) -> Vec<Instant> {
    let left = schedule.max_runs.map_or(u64::MAX, |most| most.saturating_sub(made));
    schedule.fires(cursor).take(usize::try_from(left).unwrap_or(TOLD).min(TOLD)).collect()
}

impl JobSpec {
    /// Counts with these zone data from now on.
    pub fn count_with(&mut self, zones: &Zones) {
        self.schedules.iter_mut().for_each(|schedule| schedule.count_with(zones));
    }

    /// The zones that its instants depend on.
    pub fn zone_names(&self) -> BTreeSet<&str> {
        self.schedules.iter().flat_map(ScheduleSpec::zone_names).collect()
    }
}

#[cfg(test)]
mod tests {
    use mainspring_cron::{Expr, Rule, Zone};
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Instant {
        text.parse().unwrap()
    }

    /// A schedule by the wall clock of a zone that is so many hours ahead of UTC.
    fn ahead(hours: i32, expr: &str) -> ScheduleSpec {
        // The name of a fixed zone says how far behind it is.
        let zone = Zone::parse(&format!("Etc/GMT{:+}", -hours)).unwrap();
        ScheduleSpec::new(Default::default(), Rule::cron(Expr::parse(expr).unwrap()), zone)
    }

    fn position(cursor: Instant) -> Position {
        Position { cursor, version: 1, pause: None, resumed: None, made: 0 }
    }

    fn retimed(new: &ScheduleSpec, cursor: &str, announced: &str, now: &str) -> Instant {
        let (cursor, next) = retime(new, &position(at(cursor)), at(announced), (at(cursor), at(now)));
        assert!(next.unwrap() > cursor);
        next.unwrap()
    }

    #[test]
    fn a_clock_that_is_moved_ahead_loses_nothing() {
        // At nine in the morning, by UTC+1 until now; today's by UTC+2 has passed, and was not yet.
        let (cursor, announced) = ("2026-11-29T08:00:00Z", "2026-11-30T08:00:00Z");
        let new = ahead(2, "0 9 * * *");
        assert_eq!(retimed(&new, cursor, announced, "2026-11-30T07:30:00Z"), at("2026-11-30T07:00:00Z"));
        assert_eq!(retimed(&new, cursor, announced, "2026-11-30T06:30:00Z"), at("2026-11-30T07:00:00Z"));
        // After today's the next is tomorrow's.
        let (cursor, announced) = ("2026-11-30T08:00:00Z", "2026-12-01T08:00:00Z");
        assert_eq!(retimed(&new, cursor, announced, "2026-11-30T12:00:00Z"), at("2026-12-01T07:00:00Z"));
    }

    #[test]
    fn a_clock_that_is_moved_back_doubles_nothing() {
        let (cursor, announced) = ("2026-11-30T08:00:00Z", "2026-12-01T08:00:00Z");
        let new = ahead(0, "0 9 * * *");
        // Nine o'clock by the new data comes, or has passed; that of today has come.
        for now in ["2026-11-30T08:30:00Z", "2026-11-30T12:00:00Z"] {
            assert_eq!(retimed(&new, cursor, announced, now), at("2026-12-01T09:00:00Z"), "{now}");
        }
    }

    #[test]
    fn an_outage_in_between_is_judged_by_the_new_data_from_what_was_announced_on() {
        let new = ahead(0, "0 9 * * *");
        let next = retimed(&new, "2026-11-20T08:00:00Z", "2026-11-21T08:00:00Z", "2026-11-30T12:00:00Z");
        assert_eq!(next, at("2026-11-21T09:00:00Z"));
    }

    #[test]
    fn what_names_the_same_instants_stays_as_it_is() {
        let new = ahead(3, "*/10 * * * *");
        let stood = position(at("2026-11-30T07:59:00Z"));
        let announced = at("2026-11-30T08:00:00Z");
        let times = (stood.cursor, at("2026-11-30T08:05:00Z"));
        assert_eq!(retime(&new, &stood, announced, times), (stood.cursor, Some(announced)));
    }

    proptest! {
        /// However the clock is moved, and whenever, and however often before the next morning: each comes once, by one of the
        /// clocks.
        #[test]
        fn each_day_comes_once(
            old in -3..=3_i32,
            changes in proptest::collection::vec((-3..=3_i32, 0..240_u64), 1..4),
            minutes in 0..1_440_u64,
        ) {
            let old = ahead(old, "0 9 * * *");
            let mut now = at("2026-11-30T00:00:00Z").plus(std::time::Duration::from_secs(minutes * 60));
            let come = old.prev_before(now.plus(std::time::Duration::from_micros(1))).unwrap();
            let day = |schedule: &ScheduleSpec, at: Instant| schedule.zone.wall_clock(at.timestamp()).date();
            let (mut cursor, mut next) = (come, old.next_after(come).unwrap());
            for (hours, wait) in changes {
                let new = ahead(hours, "0 9 * * *");
                let stood = if cursor > now { come } else { cursor };
                let (from, named) = retime(&new, &position(cursor), next, (stood, now));
                prop_assert!(from >= come);
                (cursor, next) = (from, named.unwrap());
                prop_assert_eq!(day(&new, next), day(&old, come).tomorrow().unwrap());
                // Whatever is due meanwhile fires, and there is nothing more to see.
                now = now.plus(std::time::Duration::from_secs(wait * 60));
                if next <= now {
                    break;
                }
            }
        }
    }
}
