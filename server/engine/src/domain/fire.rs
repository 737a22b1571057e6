//! Firing: what the passing of time means for one schedule.
//!
//! [`evaluate`] is a pure function of (schedule, cursor, now, when this owner took over). It is called again with the same
//! arguments after a crash or by another server and says the same; the store's compare-and-set on the cursor then lets one
//! of them through. Nothing in memory is needed to recover.

use std::time::Duration;

use super::{
    instant::Instant,
    job::{CatchUp, ScheduleSpec},
    ledger::{Fate, FateReason, Range},
};

/// An instant that is evaluated later than this after it was due counts as missed even under an owner that was there: the
/// machine slept, or the store was away.
pub const MISSED_AFTER: Duration = Duration::from_secs(30);

/// At most so many instants are evaluated in one step, of all schedules together; the rest follow in the next. It is what a
/// server that was away for a week works through without holding up anybody.
pub const MAX_INSTANTS: usize = 10_000;

/// A schedule that is due, as the store hands it out.
#[derive(Clone, Debug)]
pub struct Position {
    /// Evaluated up to here.
    pub cursor: Instant,
    /// The job's version, which the rule is of.
    pub version: i64,
    /// Whether the job is paused.
    pub paused: bool,
}

/// What became due in one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// The cursor afterwards.
    pub cursor: Instant,
    /// The next instant after it.
    pub next: Option<Instant>,
    /// What is decided without looking at other runs, in order.
    pub entries: Vec<Entry>,
}

/// One or more instants and what they become.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// A run, unless the overlap policy or another schedule of the job is in the way; the store decides that in its
    /// transaction.
    Run {
        /// The nominal time.
        nominal: Instant,
        /// It stands for instants that were missed.
        late: bool,
    },
    /// No run.
    Fate(Range),
}

impl Evaluation {
    /// How many instants it is about.
    pub fn instants(&self) -> usize {
        let count = |entry: &Entry| match entry {
            Entry::Run { .. } => 1,
            Entry::Fate(range) => usize::try_from(range.count).unwrap_or(usize::MAX),
        };
        self.entries.iter().map(count).sum()
    }
}

/// What time means for `schedule` at `now`. Instants at or before `owned_since` passed while nobody could fire them. Not more
/// than `limit` instants, and at least one.
pub fn evaluate(
    schedule: &ScheduleSpec,
    position: &Position,
    catch_up: CatchUp,
    owned_since: Instant,
    now: Instant,
    limit: usize,
) -> Evaluation {
    let limit = limit.clamp(1, MAX_INSTANTS);
    let due = schedule.instants(position.cursor, now, limit);
    let cursor = if due.len() < limit { now.max(position.cursor) } else { due[due.len() - 1] };
    let next = schedule.next_after(cursor);
    // Instants of one fate are one range, however many they are.
    let fate = |instants: &[Instant], fate, why: Option<FateReason>| match instants {
        [] => None,
        [first, .., last] => {
            let count = instants.len() as u64;
            Some(Entry::Fate(Range { last: *last, count, ..Range::one(position.version, *first, fate, why) }))
        }
        [only] => Some(Entry::Fate(Range::one(position.version, *only, fate, why))),
    };
    if position.paused {
        let entries = fate(&due, Fate::Paused, None).into_iter().collect();
        return Evaluation { cursor, next, entries };
    }
    let missed_until = owned_since.max(now.minus(MISSED_AFTER));
    let missed = due.partition_point(|at| *at <= missed_until);
    let (missed, live) = due.split_at(missed);
    let mut entries = Vec::with_capacity(live.len() + 2);
    match (missed, catch_up) {
        ([], _) => {}
        ([older @ .., newest], CatchUp::Latest) => {
            // A full step is not the end of what was missed; the newest of all is in a later one.
            let more = next.is_some_and(|next| next <= missed_until);
            let why = Some(FateReason::LaterRun);
            if more {
                entries.extend(fate(missed, Fate::Coalesced, why));
            } else {
                entries.extend(fate(older, Fate::Coalesced, why));
                entries.push(Entry::Run { nominal: *newest, late: true });
            }
        }
        (all, CatchUp::None) => entries.extend(fate(all, Fate::Missed, Some(FateReason::NoServer))),
    }
    entries.extend(live.iter().map(|at| Entry::Run { nominal: *at, late: false }));
    Evaluation { cursor, next, entries }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mainspring_cron::{Expr, Rule, Zone};
    use proptest::prelude::*;

    use super::{CatchUp, Entry, Evaluation, Fate, Instant, MAX_INSTANTS, Position, ScheduleSpec};

    /// In one step as far as a step goes.
    fn evaluate(
        schedule: &ScheduleSpec,
        position: &Position,
        catch_up: CatchUp,
        since: Instant,
        now: Instant,
    ) -> Evaluation {
        super::evaluate(schedule, position, catch_up, since, now, MAX_INSTANTS)
    }

    fn every_second() -> ScheduleSpec {
        let rule = Rule::cron(Expr::parse("* * * * * *").unwrap());
        ScheduleSpec { name: Default::default(), rule, zone: Zone::utc(), start: None, end: None }
    }

    fn at(second: i64) -> Instant {
        Instant::from_micros(1_800_000_000_000_000 + second * 1_000_000)
    }

    fn position(cursor: Instant) -> Position {
        Position { cursor, version: 1, paused: false }
    }

    fn live(second: i64) -> Entry {
        Entry::Run { nominal: at(second), late: false }
    }

    /// How many instants each fate got; runs count as FIRED.
    fn fates(evaluation: &Evaluation) -> Vec<(Fate, i64)> {
        let mut fates = Vec::new();
        for entry in &evaluation.entries {
            let (fate, instants) = match entry {
                Entry::Run { .. } => (Fate::Fired, 1),
                Entry::Fate(range) => (range.fate, i64::try_from(range.count).unwrap()),
            };
            match fates.last_mut() {
                Some((last, count)) if *last == fate => *count += instants,
                _ => fates.push((fate, instants)),
            }
        }
        fates
    }

    #[test]
    fn a_late_look_by_an_owner_that_was_there_fires_every_instant() {
        let found = evaluate(&every_second(), &position(at(0)), CatchUp::Latest, at(-100), at(3));
        assert_eq!(found.entries, [live(1), live(2), live(3)]);
        assert_eq!((found.cursor, found.next), (at(3), Some(at(4))));
    }

    #[test]
    fn what_passed_while_nobody_was_there_is_coalesced_into_one_late_run() {
        let found = evaluate(&every_second(), &position(at(0)), CatchUp::Latest, at(5), at(6));
        assert_eq!(fates(&found), [(Fate::Coalesced, 4), (Fate::Fired, 2)]);
        assert_eq!(found.entries[1..], [Entry::Run { nominal: at(5), late: true }, live(6)]);
        let none = evaluate(&every_second(), &position(at(0)), CatchUp::None, at(5), at(6));
        assert_eq!(fates(&none), [(Fate::Missed, 5), (Fate::Fired, 1)]);
    }

    #[test]
    fn an_owner_that_slept_missed_what_it_slept_through() {
        let found = evaluate(&every_second(), &position(at(0)), CatchUp::Latest, at(-100), at(90));
        assert_eq!(fates(&found), [(Fate::Coalesced, 59), (Fate::Fired, 31)]);
    }

    #[test]
    fn a_paused_job_fires_nothing_and_says_so() {
        let paused = Position { paused: true, ..position(at(0)) };
        let found = evaluate(&every_second(), &paused, CatchUp::Latest, at(-100), at(2));
        assert_eq!(fates(&found), [(Fate::Paused, 2)]);
    }

    #[test]
    fn bounds_are_half_open() {
        let bounded = ScheduleSpec { start: Some(at(2)), end: Some(at(4)), ..every_second() };
        let found = evaluate(&bounded, &position(at(0)), CatchUp::Latest, at(-100), at(10));
        assert_eq!((found.entries, found.next), (vec![live(2), live(3)], None));
    }

    #[test]
    fn a_long_outage_is_worked_off_in_steps_with_one_run_in_the_end() {
        let most = i64::try_from(MAX_INSTANTS).unwrap();
        // The second step has many instants, or only the very last, or is not there.
        for missed in [most + 5_000, most + 1, most] {
            let mut position = position(at(0));
            let (mut runs, mut passed) = (0, 0);
            while position.cursor < at(missed) {
                let found = evaluate(&every_second(), &position, CatchUp::Latest, at(missed), at(missed));
                let made = found.entries.iter().filter(|entry| matches!(entry, Entry::Run { .. })).count();
                (runs, passed) = (runs + made, passed + found.instants() - made);
                position.cursor = found.cursor;
            }
            assert_eq!((position.cursor, runs, passed + 1), (at(missed), 1, usize::try_from(missed).unwrap()));
        }
    }

    #[test]
    fn a_clock_that_is_behind_the_cursor_moves_nothing() {
        let found = evaluate(&every_second(), &position(at(5)), CatchUp::Latest, at(-100), at(3));
        assert_eq!((found.entries, found.cursor, found.next), (Vec::new(), at(5), Some(at(6))));
    }

    #[test]
    fn a_weeks_outage_is_a_few_ranges_however_many_instants_it_was() {
        let now = at(7 * 24 * 3_600);
        let mut position = position(at(0));
        let (mut steps, mut instants, mut entries) = (0, 0, 0);
        while position.cursor < now {
            let found = super::evaluate(&every_second(), &position, CatchUp::Latest, now, now, 1_000);
            assert!(found.instants() <= 1_000);
            steps += 1;
            instants += found.instants();
            entries += found.entries.len();
            position.cursor = found.cursor;
        }
        assert_eq!((steps, instants), (605, 7 * 24 * 3_600));
        assert!(entries <= steps + 1, "{entries} entries in {steps} steps");
    }

    proptest! {
        #[test]
        fn every_instant_gets_one_fate_however_the_time_is_cut(
            cuts in prop::collection::vec(0_i64..200, 1..20),
            owned in 0_i64..200,
            pause in any::<bool>(),
        ) {
            let mut cuts = cuts;
            cuts.sort_unstable();
            let mut position = Position { paused: pause, ..position(at(0)) };
            let mut seen = Vec::new();
            for cut in &cuts {
                let found = evaluate(&every_second(), &position, CatchUp::Latest, at(owned), at(*cut));
                for entry in &found.entries {
                    match entry {
                        Entry::Run { nominal, .. } => seen.push(*nominal),
                        Entry::Fate(range) => {
                            let all = every_second().instants(range.first.minus(Duration::from_micros(1)), range.last, 1_000);
                            prop_assert_eq!(all.len() as u64, range.count);
                            seen.extend(all);
                        }
                    }
                }
                prop_assert!(found.cursor >= position.cursor);
                prop_assert!(found.next.is_none_or(|next| next > found.cursor));
                position.cursor = found.cursor;
            }
            let expected: Vec<_> = (1..=*cuts.last().unwrap()).map(at).collect();
            prop_assert_eq!(seen, expected);
            prop_assert!(position.cursor.since(at(0)) <= Duration::from_secs(200));
        }
    }
}
