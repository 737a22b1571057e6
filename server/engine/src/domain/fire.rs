//! Firing: what the passing of time means for one schedule.
//!
//! [`evaluate`] is a pure function of (schedule, cursor, now, when this owner took over). It is called again with the same
//! arguments after a crash or by another server and says the same; the store's compare-and-set on the cursor then lets one
//! of them through. Nothing in memory is needed to recover.

use std::time::Duration;

use super::{
    catch_up::{CatchUp, Judged, Mode},
    ids::JobUid,
    instant::Instant,
    ledger::{Fate, FateReason, Range, SkippedWalls},
    schedule::ScheduleSpec,
};

/// An instant that is evaluated later than this after it was due counts as missed even under an owner that was there: the
/// machine slept, or the store was away.
pub const MISSED_AFTER: Duration = Duration::from_secs(30);

/// At most so many instants are evaluated in one step, of all schedules together; the rest follow in the next. It is what a
/// server that was away for a week works through without holding up anybody.
pub const MAX_INSTANTS: usize = 10_000;

/// A schedule that is due, as the store hands it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Evaluated up to here.
    pub cursor: Instant,
    /// The job's version, which the rule is of.
    pub version: i64,
    /// Whether the job is paused, and if so until when it is.
    pub pause: Option<PauseEnd>,
    /// A pause that ended, and how its instants are caught up with.
    pub resumed: Option<Resumed>,
    /// How many runs it has made.
    pub made: u64,
}

/// When a pause ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PauseEnd {
    /// When somebody ends it.
    Open,
    /// By itself: instants from then on are not paused, whenever they are looked at.
    At(Instant),
}

/// How instants that passed in a pause are caught up with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resumed {
    /// Instants up to this were in the pause, or before.
    pub until: Instant,
    /// What becomes of them.
    pub mode: Mode,
}

/// What became due in one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// The cursor afterwards.
    pub cursor: Instant,
    /// The next instant after it. None where there is none, and where it follows from the end of the run among the entries.
    pub next: Option<Instant>,
    /// What is decided without looking at other runs, in order.
    pub entries: Vec<Entry>,
    /// What clock changes took on the way.
    pub skipped: Vec<SkippedWalls>,
}

/// One or more instants and what they become.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// A run, unless the overlap policy or another schedule of the job is in the way; the store decides that in its
    /// transaction.
    Run {
        /// The nominal time.
        nominal: Instant,
        /// When it is due: at the nominal time, unless it is late or the schedule spreads its starts.
        due: Instant,
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

/// Instants up to this were missed, at `now`, by an owner that is there since.
pub fn missed_until(owned_since: Instant, now: Instant) -> Instant {
    owned_since.max(now.minus(MISSED_AFTER))
}

/// What time means for `schedule` of a job at `now`. Instants at or before `owned_since` passed while nobody could fire them. Not more
/// than `limit` instants, and at least one.
pub fn evaluate(
    job: JobUid,
    schedule: &ScheduleSpec,
    position: &Position,
    catch_up: CatchUp,
    owned_since: Instant,
    now: Instant,
    limit: usize,
) -> Evaluation {
    let is_done = schedule.is_done(position.made);
    let limit = if is_done { 0 } else { limit.clamp(1, MAX_INSTANTS) };
    let due = schedule.instants(position.cursor, now, limit);
    let cursor = match (due.last(), schedule.delay()) {
        // What counts from ends counts on from its last instant that made no run.
        (last, Some(_)) => last.copied().unwrap_or(position.cursor),
        (Some(last), None) if due.len() == limit => *last,
        (Some(_) | None, None) => now.max(position.cursor),
    };
    let next = schedule.next_due(cursor, position.made);
    // Nothing lies between the last instant and the cursor.
    let after = |at: usize, due: &[Instant]| due.get(at + 1).copied().or(next);
    let mut entries = Entries { version: position.version, entries: Vec::new() };
    let paused = match position.pause {
        None => 0,
        Some(PauseEnd::Open) => due.len(),
        Some(PauseEnd::At(end)) => due.partition_point(|at| *at < end),
    };
    let (paused, due) = due.split_at(paused);
    paused.iter().for_each(|at| entries.fate(*at, Fate::Paused, None));
    // What is in a pause that will have ended was missed by nobody.
    let missed_until = missed_until(owned_since, now);
    let resumed = position.resumed.filter(|resumed| resumed.until > position.cursor);
    let missed_until = resumed.map_or(missed_until, |resumed| resumed.until.max(missed_until));
    let catch_up = resumed.map_or(catch_up, |resumed| catch_up.in_mode(resumed.mode));
    let missed = due.partition_point(|at| *at <= missed_until);
    let (missed, live) = due.split_at(missed);
    let mut late = now;
    let free: Vec<_> = missed.iter().copied().filter(|at| schedule.excluded(*at).is_none()).collect();
    let mut judged = catch_up.judge(schedule, &free, missed_until, now).into_iter();
    for at in missed {
        // What a calendar holds was missed by nobody.
        let of_it = if schedule.excluded(*at).is_none() { judged.next() } else { None };
        match of_it {
            Some(Judged::Run) => {
                entries.entries.push(Entry::Run { nominal: *at, due: late, late: true });
                late = late.plus(catch_up.pace);
            }
            Some(Judged::Fate(fate, why)) => entries.fate(*at, fate, Some(why)),
            None => entries.fate(*at, Fate::Excluded, None),
        }
    }
    for (place, at) in live.iter().enumerate() {
        if schedule.excluded(*at).is_some() {
            entries.fate(*at, Fate::Excluded, None);
        } else {
            let due = schedule.due(job, *at, after(place, live));
            entries.entries.push(Entry::Run { nominal: *at, due, late: false });
        }
    }
    let skipped = if is_done { Vec::new() } else { schedule.skipped(position.cursor, cursor) };
    let found = Evaluation { cursor, next, entries: entries.entries, skipped };
    if schedule.delay().is_some() { up_to_the_first_run(found) } else { found }
}

/// What a schedule that counts from ends names after a run follows from that run's end.
fn up_to_the_first_run(mut found: Evaluation) -> Evaluation {
    let first = found.entries.iter().enumerate().find_map(|(place, entry)| match entry {
        Entry::Run { nominal, .. } => Some((place, *nominal)),
        Entry::Fate(_) => None,
    });
    if let Some((place, nominal)) = first {
        found.entries.truncate(place + 1);
        (found.cursor, found.next) = (nominal, None);
    }
    found
}

/// Entries as they are decided: instants of one fate are one range, however many they are.
struct Entries {
    version: i64,
    entries: Vec<Entry>,
}

impl Entries {
    fn fate(&mut self, at: Instant, fate: Fate, why: Option<FateReason>) {
        let one = Range::one(self.version, at, fate, why);
        match self.entries.last_mut() {
            Some(Entry::Fate(range)) if range.takes(&one) => {
                range.last = at;
                range.count += 1;
            }
            Some(Entry::Run { .. } | Entry::Fate(_)) | None => self.entries.push(Entry::Fate(one)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mainspring_cron::{Expr, Rule, Zone};
    use proptest::prelude::*;

    use super::{
        CatchUp, Entry, Evaluation, Fate, FateReason, Instant, JobUid, MAX_INSTANTS, Mode, PauseEnd, Position, Range,
        Resumed, ScheduleSpec,
    };

    /// In one step as far as a step goes.
    fn evaluate(
        schedule: &ScheduleSpec,
        position: &Position,
        catch_up: CatchUp,
        since: Instant,
        now: Instant,
    ) -> Evaluation {
        super::evaluate(job(), schedule, position, catch_up, since, now, MAX_INSTANTS)
    }

    fn every_second() -> ScheduleSpec {
        let rule = Rule::cron(Expr::parse("* * * * * *").unwrap());
        ScheduleSpec::new(Default::default(), rule, Zone::utc())
    }

    fn job() -> JobUid {
        JobUid::from_uuid(uuid::Uuid::from_u128(7))
    }

    fn at(second: i64) -> Instant {
        Instant::from_micros(1_800_000_000_000_000 + second * 1_000_000)
    }

    fn position(cursor: Instant) -> Position {
        Position { cursor, version: 1, pause: None, resumed: None, made: 0 }
    }

    fn live(second: i64) -> Entry {
        Entry::Run { nominal: at(second), due: at(second), late: false }
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
        let found = evaluate(&every_second(), &position(at(0)), CatchUp::default(), at(-100), at(3));
        assert_eq!(found.entries, [live(1), live(2), live(3)]);
        assert_eq!((found.cursor, found.next), (at(3), Some(at(4))));
    }

    #[test]
    fn what_passed_while_nobody_was_there_is_coalesced_into_one_late_run() {
        let found = evaluate(&every_second(), &position(at(0)), CatchUp::default(), at(5), at(6));
        assert_eq!(fates(&found), [(Fate::Coalesced, 4), (Fate::Fired, 2)]);
        assert_eq!(found.entries[1..], [Entry::Run { nominal: at(5), due: at(6), late: true }, live(6)]);
        let none = evaluate(&every_second(), &position(at(0)), CatchUp::default().in_mode(Mode::None), at(5), at(6));
        assert_eq!(fates(&none), [(Fate::Missed, 5), (Fate::Fired, 1)]);
    }

    #[test]
    fn an_owner_that_slept_missed_what_it_slept_through() {
        let found = evaluate(&every_second(), &position(at(0)), CatchUp::default(), at(-100), at(90));
        assert_eq!(fates(&found), [(Fate::Coalesced, 59), (Fate::Fired, 31)]);
    }

    #[test]
    fn a_paused_job_fires_nothing_and_says_so() {
        let paused = Position { pause: Some(PauseEnd::Open), ..position(at(0)) };
        let found = evaluate(&every_second(), &paused, CatchUp::default(), at(-100), at(2));
        assert_eq!(fates(&found), [(Fate::Paused, 2)]);
    }

    #[test]
    fn a_pause_that_ends_by_itself_ends_on_time_however_late_the_look() {
        let paused = Position { pause: Some(PauseEnd::At(at(3))), ..position(at(0)) };
        let found = evaluate(&every_second(), &paused, CatchUp::default(), at(-100), at(4));
        assert_eq!(fates(&found), [(Fate::Paused, 2), (Fate::Fired, 2)]);
        // Nobody looked for a minute: what came after the pause was missed.
        let found = evaluate(&every_second(), &paused, CatchUp::default(), at(-100), at(63));
        assert_eq!(fates(&found), [(Fate::Paused, 2), (Fate::Coalesced, 30), (Fate::Fired, 31)]);
    }

    #[test]
    fn a_pause_is_caught_up_with_as_whoever_ended_it_wished() {
        let resumed = |mode| Position { resumed: Some(Resumed { until: at(5), mode }), ..position(at(0)) };
        for (mode, expected) in [
            (Mode::Latest, vec![(Fate::Coalesced, 4), (Fate::Fired, 2)]),
            (Mode::All, vec![(Fate::Fired, 6)]),
            (Mode::None, vec![(Fate::Missed, 5), (Fate::Fired, 1)]),
        ] {
            let found = evaluate(&every_second(), &resumed(mode), CatchUp::default(), at(-100), at(6));
            assert_eq!(fates(&found), expected, "{mode:?}");
            let late = found.entries.iter().filter(|entry| matches!(entry, Entry::Run { late: true, .. })).count();
            assert_eq!(
                late,
                expected.iter().filter(|(fate, _)| *fate == Fate::Fired).map(|(_, n)| *n as usize).sum::<usize>() - 1
            );
        }
        // Once it is behind the cursor it has no say.
        let later = Position { cursor: at(5), ..resumed(Mode::None) };
        assert_eq!(evaluate(&every_second(), &later, CatchUp::default(), at(-100), at(6)).entries, [live(6)]);
    }

    #[test]
    fn the_newest_so_many_are_caught_up_with_at_their_pace() {
        let all = CatchUp { mode: Mode::All, max: 3, pace: Duration::from_secs(10), max_lateness: None };
        let found = evaluate(&every_second(), &position(at(0)), all, at(60), at(60));
        let dropped =
            Range { count: 57, last: at(57), ..Range::one(1, at(1), Fate::Dropped, Some(FateReason::CatchUpMax)) };
        let late = |nominal, due| Entry::Run { nominal: at(nominal), due: at(due), late: true };
        assert_eq!(found.entries, [Entry::Fate(dropped), late(58, 60), late(59, 70), late(60, 80)]);
    }

    #[test]
    fn what_is_too_late_becomes_no_run() {
        let within = |mode| CatchUp { mode, max_lateness: Some(Duration::from_secs(40)), ..CatchUp::default() };
        let found = |mode| fates(&evaluate(&every_second(), &position(at(0)), within(mode), at(60), at(90)));
        assert_eq!(found(Mode::All), [(Fate::Missed, 49), (Fate::Fired, 41)]);
        let latest = [(Fate::Missed, 49), (Fate::Coalesced, 10), (Fate::Fired, 31)];
        assert_eq!(found(Mode::Latest), latest);
        // What an owner that was there has missed is no different.
        let found = evaluate(&every_second(), &position(at(0)), within(Mode::Latest), at(40), at(90));
        assert_eq!(fates(&found), latest);
        let hourly = ScheduleSpec { rule: Rule::cron(Expr::parse("0 * * * *").unwrap()), ..every_second() };
        let found = evaluate(&hourly, &position(at(0)), within(Mode::Latest), at(7_300), at(7_300));
        assert_eq!(fates(&found), [(Fate::Missed, 2)]);
    }

    #[test]
    fn the_newest_are_kept_however_many_steps_it_takes() {
        let all = CatchUp { mode: Mode::All, max: 150, ..CatchUp::default() };
        let mut position = position(at(0));
        let (mut runs, mut dropped) = (Vec::new(), 0);
        while position.cursor < at(1_000) {
            let found = super::evaluate(job(), &every_second(), &position, all, at(1_000), at(1_000), 100);
            for entry in &found.entries {
                match entry {
                    Entry::Run { nominal, .. } => runs.push(*nominal),
                    Entry::Fate(range) => dropped += range.count,
                }
            }
            position.cursor = found.cursor;
        }
        assert_eq!((runs.len(), runs[0], dropped), (150, at(851), 850));
    }

    #[test]
    fn bounds_are_half_open() {
        let bounded = ScheduleSpec { start: Some(at(2)), end: Some(at(4)), ..every_second() };
        let found = evaluate(&bounded, &position(at(0)), CatchUp::default(), at(-100), at(10));
        assert_eq!((found.entries, found.next), (vec![live(2), live(3)], None));
    }

    #[test]
    fn runs_are_due_within_the_jitter_and_those_that_are_late_at_once() {
        let spread = ScheduleSpec { jitter: Duration::from_secs(3_600), ..every_second() };
        let found = evaluate(&spread, &position(at(0)), CatchUp::default(), at(5), at(7));
        assert_eq!(found.entries[1], Entry::Run { nominal: at(5), due: at(7), late: true });
        let due: Vec<_> = found.entries[2..]
            .iter()
            .map(|entry| match entry {
                Entry::Run { nominal, due, late: false } => (*nominal, *due),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(due.iter().map(|(nominal, _)| *nominal).collect::<Vec<_>>(), [at(6), at(7)]);
        // The window is wide, but the next instant comes soon.
        assert!(
            due.iter().all(|(nominal, due)| nominal < due && due.since(*nominal) < Duration::from_secs(1)),
            "{due:?}"
        );
    }

    #[test]
    fn what_a_clock_change_takes_is_told_once_however_the_time_is_cut() {
        let rule = Rule::cron(Expr::parse("*/30 * * * *").unwrap());
        let berlin = ScheduleSpec { zone: Zone::parse("Europe/Berlin").unwrap(), rule, ..every_second() };
        let time = |text: &str| text.parse::<Instant>().unwrap();
        let (from, until) = (time("2027-03-27T23:10:00Z"), time("2027-03-28T02:10:00Z"));
        let all = evaluate(&berlin, &position(from), CatchUp::default(), from, until).skipped;
        let told: Vec<_> = all.iter().map(|walls| (walls.change, walls.first.to_string(), walls.count)).collect();
        assert_eq!(told, [(time("2027-03-28T01:00:00Z"), "2027-03-28T02:00:00".into(), 2)]);
        let mut position = position(from);
        let mut pieces = Vec::new();
        while position.cursor < until {
            let found = super::evaluate(job(), &berlin, &position, CatchUp::default(), from, until, 1);
            pieces.extend(found.skipped);
            position.cursor = found.cursor;
        }
        assert_eq!(pieces, all);
        let bounded = ScheduleSpec { end: Some(time("2027-03-28T01:00:00Z")), ..berlin };
        assert_eq!(evaluate(&bounded, &self::position(from), CatchUp::default(), from, until).skipped, []);
    }

    #[test]
    fn what_a_calendar_holds_makes_no_run_and_was_missed_by_nobody() {
        let lunch = mainspring_cron::Calendar {
            spans: vec![(at(3).timestamp(), at(5).timestamp()), (at(8).timestamp(), at(9).timestamp())],
            ..Default::default()
        };
        let exclusion = crate::domain::calendar::Exclusion {
            name: "lunch".parse().unwrap(),
            uid: crate::domain::ids::CalendarUid::from_uuid(uuid::Uuid::nil()),
            version: 1,
            calendar: Some(std::sync::Arc::new(lunch)),
        };
        let schedule = ScheduleSpec { exclude: vec![exclusion], ..every_second() };
        let found = evaluate(&schedule, &position(at(0)), CatchUp::default(), at(-100), at(6));
        assert_eq!(fates(&found), [(Fate::Fired, 2), (Fate::Excluded, 2), (Fate::Fired, 2)]);
        // The newest that was missed is one that would have fired.
        let found = evaluate(&schedule, &position(at(0)), CatchUp::default(), at(8), at(9));
        let expected = [
            (Fate::Coalesced, 2),
            (Fate::Excluded, 2),
            (Fate::Coalesced, 2),
            (Fate::Fired, 1),
            (Fate::Excluded, 1),
            (Fate::Fired, 1),
        ];
        assert_eq!(fates(&found), expected);
        let paused = Position { pause: Some(PauseEnd::Open), ..position(at(0)) };
        assert_eq!(fates(&evaluate(&schedule, &paused, CatchUp::default(), at(-100), at(6))), [(Fate::Paused, 6)]);
    }

    #[test]
    fn a_schedule_that_is_done_names_nothing() {
        let once = ScheduleSpec { max_runs: Some(1), ..every_second() };
        let done = Position { made: 1, ..position(at(0)) };
        let found = evaluate(&once, &done, CatchUp::default(), at(-100), at(3));
        assert_eq!((found.entries, found.next, found.cursor), (Vec::new(), None, at(3)));
    }

    #[test]
    fn a_long_outage_is_worked_off_in_steps_with_one_run_in_the_end() {
        let most = i64::try_from(MAX_INSTANTS).unwrap();
        // The second step has many instants, or only the very last, or is not there.
        for missed in [most + 5_000, most + 1, most] {
            let mut position = position(at(0));
            let (mut runs, mut passed) = (0, 0);
            while position.cursor < at(missed) {
                let found = evaluate(&every_second(), &position, CatchUp::default(), at(missed), at(missed));
                let made = found.entries.iter().filter(|entry| matches!(entry, Entry::Run { .. })).count();
                (runs, passed) = (runs + made, passed + found.instants() - made);
                position.cursor = found.cursor;
            }
            assert_eq!((position.cursor, runs, passed + 1), (at(missed), 1, usize::try_from(missed).unwrap()));
        }
    }

    #[test]
    fn a_clock_that_is_behind_the_cursor_moves_nothing() {
        let found = evaluate(&every_second(), &position(at(5)), CatchUp::default(), at(-100), at(3));
        assert_eq!((found.entries, found.cursor, found.next), (Vec::new(), at(5), Some(at(6))));
    }

    #[test]
    fn a_weeks_outage_is_a_few_ranges_however_many_instants_it_was() {
        let now = at(7 * 24 * 3_600);
        let mut position = position(at(0));
        let (mut steps, mut instants, mut entries) = (0, 0, 0);
        while position.cursor < now {
            let found = super::evaluate(job(), &every_second(), &position, CatchUp::default(), now, now, 1_000);
            assert!(found.instants() <= 1_000);
            steps += 1;
            instants += found.instants();
            entries += found.entries.len();
            position.cursor = found.cursor;
        }
        assert_eq!((steps, instants), (605, 7 * 24 * 3_600));
        assert!(entries <= steps + 1, "{entries} entries in {steps} steps");
    }

    fn any_catch_up() -> impl Strategy<Value = CatchUp> {
        let mode = prop_oneof![Just(Mode::Latest), Just(Mode::None), Just(Mode::All)];
        let lateness = prop::option::of((0_u64..100).prop_map(Duration::from_secs));
        (mode, 1_u32..5, lateness).prop_map(|(mode, max, max_lateness)| CatchUp {
            mode,
            max,
            pace: Duration::ZERO,
            max_lateness,
        })
    }

    proptest! {
        #[test]
        fn every_instant_gets_one_fate_however_the_time_is_cut(
            cuts in prop::collection::vec(0_i64..200, 1..20),
            owned in 0_i64..200,
            pause in prop::option::of(prop::option::of(0_i64..200)),
            resumed in prop::option::of(0_i64..200),
            catch_up in any_catch_up(),
        ) {
            let mut cuts = cuts;
            cuts.sort_unstable();
            let pause = pause.map(|end| end.map_or(PauseEnd::Open, |end| PauseEnd::At(at(end))));
            let resumed = resumed.map(|until| Resumed { until: at(until), mode: Mode::All });
            let mut position = Position { pause, resumed, ..position(at(0)) };
            let mut seen = Vec::new();
            for cut in &cuts {
                let found = evaluate(&every_second(), &position, catch_up, at(owned), at(*cut));
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
