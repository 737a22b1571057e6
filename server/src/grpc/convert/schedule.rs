//! Time rules. A rule is read, and checked to fire at all, before it is stored.

use mainspring_cron::{Lint, Roll, Rule, RuleError, Zone};
use mainspring_engine::domain::{
    calendar::{Exclusion, NamedCalendar},
    catch_up::CatchUp,
    instant::Instant,
    names::CalendarName,
    schedule::{MAX_JITTER, ScheduleSpec},
};
use mainspring_proto::scheduler::v1 as wire;

use super::{Check, time};
use crate::grpc::status::Reason;

/// More than any schedule makes in a lifetime.
const MAX_RUNS: i32 = 1_000_000_000;

mod preview;
mod rule;

pub(crate) use preview::{Standing, preview};

/// What a rule is read against.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading<'a> {
    /// Now: a rule that names nothing after it is refused.
    pub(crate) now: Instant,
    /// Decides what `H` stands for; the job's uid.
    pub(crate) seed: &'a [u8],
    /// What the job wants of instants that passed.
    pub(crate) catch_up: CatchUp,
    /// The calendars that are named and there.
    pub(crate) calendars: &'a [NamedCalendar],
    /// Schedules as they are stored: one that is not changed is not judged again, since what fired once and is over is
    /// no mistake.
    pub(crate) stored: &'a [ScheduleSpec],
}

impl Check {
    /// One schedule of a job.
    pub(crate) fn schedule(&mut self, schedule: wire::Schedule, reading: Reading<'_>) -> Option<ScheduleSpec> {
        let wire::Schedule {
            name,
            time_zone,
            start_time,
            end_time,
            next_time: _,
            gap,
            overlap,
            day_match,
            jitter,
            max_runs,
            run_count: _,
            exclude_calendars,
            only_calendars,
            roll,
            rule,
        } = schedule;
        let name = self.or_default("name", &name);
        let zone = self.zone(&time_zone);
        let start = self.instant("start_time", start_time);
        let end = self.instant("end_time", end_time);
        if start.zip(end).is_some_and(|(start, end)| end <= start) {
            self.refuse("end_time", "must be later than start_time");
        }
        let jitter = self.length("jitter", jitter).unwrap_or_default();
        if jitter > MAX_JITTER {
            self.refuse("jitter", "must be at most 24 h");
        }
        let max_runs = u64::try_from(self.within("max_runs", max_runs, 0..=MAX_RUNS)).ok().filter(|most| *most > 0);
        let excludes = !exclude_calendars.is_empty();
        let found = |check: &mut Self, name: String| {
            let name: CalendarName = check.required("", &name)?;
            let found = reading.calendars.iter().find(|calendar| calendar.name == name);
            if found.is_none() {
                check.refuse_as(Reason::CalendarNotFound, "", format!("there is no calendar `{name}`"));
            }
            found.map(Exclusion::from)
        };
        let exclude = self.each("exclude_calendars", exclude_calendars, found);
        let only = self.each("only_calendars", only_calendars, found);
        let roll = self.choice("roll", roll, roll_of);
        let rule = self.rule(rule, rule::Refinements { gap, overlap, day_match });
        let (rule, zone, roll) = (rule?, zone?, roll?);
        self.moves(roll, &rule, excludes);
        // One seed per schedule, or two schedules of a job would share every `H`.
        let seed = [reading.seed, name_of(&name)].concat();
        let rule = rule.resolve(&seed);
        let spec = ScheduleSpec { name, rule, zone, start, end, jitter, max_runs, exclude, only, roll };
        if !reading.stored.contains(&spec) {
            self.is_clear(&spec.rule);
            self.fires(&spec, reading);
        }
        Some(spec)
    }

    fn is_clear(&mut self, rule: &Rule) {
        if let Some(lint) = self.unclear(rule) {
            self.refuse_as(Reason::CronInvalid, "cron", lint.message);
            self.detail("remark", lint.code);
        }
    }

    /// Where the namespace is strict, an expression says how its two day fields count together.
    fn unclear(&self, rule: &Rule) -> Option<Lint> {
        rule.ambiguity().filter(|_| self.settings_in_force().strict_schedules)
    }

    /// Refuses a definition of old, `version`, with schedules that could not be put there now; those of `stored` are there.
    pub(crate) fn restored(&mut self, version: i64, schedules: &[ScheduleSpec], stored: &[ScheduleSpec]) {
        for schedule in schedules.iter().filter(|schedule| !stored.contains(schedule)) {
            if let Some(Lint { code, message }) = self.unclear(&schedule.rule) {
                let name = &schedule.name;
                let why = format!("schedule `{name}` of version {version}: {message}; update the job instead");
                self.refuse_as(Reason::CronInvalid, "version", why);
                self.detail("remark", code);
            }
        }
    }

    fn moves(&mut self, roll: Roll, rule: &Rule, excludes: bool) {
        match (roll, rule) {
            (Roll::Skip, _) => {}
            (
                Roll::Following | Roll::Preceding | Roll::Nearest,
                Rule::Interval(_) | Rule::FixedDelay(_) | Rule::At(_),
            ) => {
                self.refuse("roll", "is for `cron` and `calendar_interval` alone; leave it out");
            }
            (Roll::Following | Roll::Preceding | Roll::Nearest, Rule::Cron(_) | Rule::CalendarInterval(_)) => {
                if !excludes {
                    self.refuse("roll", "moves what calendars hold; name them in `exclude_calendars`");
                }
            }
        }
    }

    pub(super) fn zone(&mut self, name: &str) -> Option<Zone> {
        if name.is_empty() {
            return Some(Zone::utc());
        }
        match self.zones().zone(name) {
            Ok(zone) => Some(zone),
            Err(error) => {
                self.refuse("time_zone", error.to_string());
                self.suggest(error.suggestion);
                None
            }
        }
    }

    /// What was probably meant by what was refused last.
    fn suggest(&mut self, suggestion: Option<impl std::fmt::Display>) {
        if let Some(suggestion) = suggestion {
            self.detail("suggestion", suggestion);
        }
    }

    /// Whether a schedule names anything after now, within its bounds.
    fn fires(&mut self, spec: &ScheduleSpec, reading: Reading<'_>) {
        let Reading { now, seed: _, catch_up, calendars: _, stored: _ } = reading;
        match spec.rule.validate(&spec.zone, now.timestamp()) {
            Ok(_) if spec.next_fire(spec.begin(now, catch_up)).is_some() => {}
            Err(RuleError::DayMatchConflict) => {
                self.refuse("day_match", "says OR, but the `+` in the expression's day of week says AND; choose one");
            }
            Err(error) if error != RuleError::NeverFires => self.refuse("", error.to_string()),
            Ok(_) | Err(_) => {
                let is_bounded = spec.start.is_some() || spec.end.is_some();
                let field = match &spec.rule {
                    _ if is_bounded => "",
                    Rule::Cron(_) => "cron",
                    Rule::Interval(_) => "interval",
                    Rule::CalendarInterval(_) => "calendar_interval",
                    Rule::FixedDelay(_) => "fixed_delay",
                    Rule::At(_) => "at",
                };
                let why = match (&spec.rule, is_bounded) {
                    (_, _) if spec.next_after(spec.begin(now, catch_up)).is_some() => {
                        "names no instant that its calendars do not leave out".into()
                    }
                    (Rule::At(at), false) => {
                        format!("{} has passed; name an instant that is to come, or a `max_lateness`", at.instant())
                    }
                    (_, true) => "names no instant between now, its start_time and its end_time".into(),
                    (_, false) => "names no instant in the next 400 years: no date has the day, the month and the year that it asks for".into(),
                };
                self.refuse_as(Reason::ScheduleNeverFires, field, why);
            }
        }
    }
}

fn name_of(name: &mainspring_engine::domain::names::ScheduleName) -> &[u8] {
    name.as_str().as_bytes()
}

fn roll_of(roll: wire::CalendarRoll) -> Option<Roll> {
    Some(match roll {
        wire::CalendarRoll::Unspecified | wire::CalendarRoll::Skip => Roll::Skip,
        wire::CalendarRoll::Following => Roll::Following,
        wire::CalendarRoll::Preceding => Roll::Preceding,
        wire::CalendarRoll::Nearest => Roll::Nearest,
    })
}

/// What is the usual is not said.
fn roll_shown(roll: Roll) -> wire::CalendarRoll {
    match roll {
        Roll::Skip => wire::CalendarRoll::Unspecified,
        Roll::Following => wire::CalendarRoll::Following,
        Roll::Preceding => wire::CalendarRoll::Preceding,
        Roll::Nearest => wire::CalendarRoll::Nearest,
    }
}

/// A schedule for people.
pub(crate) fn schedule(spec: ScheduleSpec, next: Option<Instant>, made: u64) -> wire::Schedule {
    let ScheduleSpec { name, rule, zone, start, end, jitter, max_runs, exclude, only, roll } = spec;
    let (rule, rule::Refinements { gap, overlap, day_match }) = rule::shown(&rule);
    wire::Schedule {
        name: name.into(),
        time_zone: zone.name().into(),
        start_time: start.map(time::timestamp),
        end_time: end.map(time::timestamp),
        next_time: next.map(time::timestamp),
        gap,
        overlap,
        day_match,
        jitter: (!jitter.is_zero()).then(|| time::duration(jitter)),
        max_runs: max_runs.and_then(|most| i32::try_from(most).ok()).unwrap_or_default(),
        run_count: i64::try_from(made).unwrap_or(i64::MAX),
        exclude_calendars: exclude.into_iter().map(|exclusion| exclusion.name.into()).collect(),
        only_calendars: only.into_iter().map(|only| only.name.into()).collect(),
        roll: roll_shown(roll).into(),
        rule: Some(rule),
    }
}

#[cfg(test)]
mod tests {
    use mainspring_engine::domain::ids::JobUid;

    use super::*;
    use crate::grpc::{convert::read, status::Refusal};

    const NOW: &str = "2026-11-21T12:00:00Z";

    fn parsed(schedule: wire::Schedule) -> Result<ScheduleSpec, Refusal> {
        let reading = Reading {
            now: NOW.parse().unwrap(),
            seed: b"uid",
            catch_up: CatchUp::default(),
            calendars: &[],
            stored: &[],
        };
        read(|check| check.schedule(schedule, reading))
    }

    fn cron(text: &str) -> wire::Schedule {
        wire::Schedule { rule: Some(wire::schedule::Rule::Cron(text.into())), ..wire::Schedule::default() }
    }

    fn at(text: &str) -> wire::Schedule {
        let at = time::timestamp(text.parse().unwrap());
        wire::Schedule { rule: Some(wire::schedule::Rule::At(at)), ..wire::Schedule::default() }
    }

    fn every(secs: i64) -> wire::Schedule {
        let every = Some(prost_types::Duration { seconds: secs, nanos: 0 });
        let rule = wire::schedule::Rule::Interval(wire::Interval { every, ..wire::Interval::default() });
        wire::Schedule { rule: Some(rule), ..wire::Schedule::default() }
    }

    fn quarterly(first_date: &str) -> wire::Schedule {
        let interval = wire::CalendarInterval {
            every: 3,
            unit: wire::CalendarUnit::Month.into(),
            first_date: first_date.into(),
            time_of_day: "09:00".into(),
        };
        wire::Schedule { rule: Some(wire::schedule::Rule::CalendarInterval(interval)), ..wire::Schedule::default() }
    }

    #[test]
    fn a_bad_expression_says_where() {
        let refusal = parsed(cron("0 24 * * *")).unwrap_err();
        assert_eq!((refusal.reason(), refusal.first_field()), (Reason::CronInvalid, Some("cron")));
        assert_eq!((refusal.metadata()["field"].as_str(), refusal.metadata()["column"].as_str()), ("hour", "3"));
        assert!(refusal.metadata().contains_key("suggestion"));
    }

    #[test]
    fn what_never_fires_is_refused() {
        for (field, schedule) in [("cron", cron("0 0 30 2 *")), ("at", at("2026-11-21T11:59:59Z"))] {
            let refusal = parsed(schedule).unwrap_err();
            assert_eq!((refusal.reason(), refusal.first_field()), (Reason::ScheduleNeverFires, Some(field)));
        }
        let over = wire::Schedule {
            end_time: Some(time::timestamp("2026-11-21T12:30:00Z".parse().unwrap())),
            ..cron("0 0 * * *")
        };
        assert_eq!(parsed(over).unwrap_err().reason(), Reason::ScheduleNeverFires);
        assert!(parsed(at("2026-11-21T12:00:01Z")).is_ok());
    }

    #[test]
    fn a_stored_rule_is_not_judged_again() {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let earlier = Reading { now, seed: b"uid", catch_up: CatchUp::default(), calendars: &[], stored: &[] };
        let spec = read(|check| check.schedule(at("2026-02-01T00:00:00Z"), earlier)).unwrap();
        let now = Reading { now: NOW.parse().unwrap(), stored: std::slice::from_ref(&spec), ..earlier };
        assert_eq!(read(|check| check.schedule(at("2026-02-01T00:00:00Z"), now)).unwrap(), spec);
    }

    #[test]
    fn a_one_shot_may_be_as_late_as_its_job_allows() {
        let catch_up = CatchUp { max_lateness: Some(std::time::Duration::from_secs(60)), ..CatchUp::default() };
        let reading = Reading { now: NOW.parse().unwrap(), seed: b"uid", catch_up, calendars: &[], stored: &[] };
        let parsed = |text: &str| read(|check| check.schedule(at(text), reading));
        assert!(parsed("2026-11-21T11:59:00Z").is_ok());
        let refusal = parsed("2026-11-21T11:58:59Z").unwrap_err();
        assert_eq!(refusal.reason(), Reason::ScheduleNeverFires);
        assert!(refusal.message().contains("max_lateness"), "{}", refusal.message());
    }

    #[test]
    fn calendars_are_found_by_name_and_leave_something_to_fire() {
        let named = |name: &str, calendar: mainspring_cron::Calendar| NamedCalendar {
            uid: mainspring_engine::domain::ids::CalendarUid::from_uuid(uuid::Uuid::nil()),
            name: name.parse().unwrap(),
            version: 1,
            spec: mainspring_engine::domain::calendar::CalendarSpec {
                description: String::new(),
                calendar: std::sync::Arc::new(calendar),
            },
            create_time: NOW.parse().unwrap(),
            update_time: NOW.parse().unwrap(),
        };
        let hold = |days: std::ops::RangeInclusive<i8>| mainspring_cron::Calendar {
            weekly: days
                .map(|day| {
                    (jiff::civil::Weekday::from_monday_one_offset(day).unwrap(), mainspring_cron::Hours::ALL_DAY)
                })
                .collect(),
            ..mainspring_cron::Calendar::default()
        };
        let calendars = [named("weekend", hold(6..=7)), named("always", hold(1..=7))];
        let parsed = |names: &[&str]| {
            let exclude_calendars = names.iter().map(|name| (*name).to_owned()).collect();
            let now = NOW.parse().unwrap();
            let reading =
                Reading { now, seed: b"uid", catch_up: CatchUp::default(), calendars: &calendars, stored: &[] };
            let schedule = wire::Schedule { exclude_calendars, ..cron("0 9 * * *") };
            read(|check| check.schedule(schedule, reading))
        };
        let weekdays = parsed(&["weekend"]).unwrap();
        // The 21st is a Saturday.
        let shown = preview(&weekdays, NOW.parse().unwrap(), None, 2, None);
        let times: Vec<_> = shown.instants.iter().map(|instant| instant.local_time.as_str()).collect();
        assert_eq!(times, ["2026-11-23T09:00:00+00:00", "2026-11-24T09:00:00+00:00"]);
        assert_eq!(schedule(weekdays, None, 0).exclude_calendars, ["weekend"]);
        let reading = Reading {
            now: NOW.parse().unwrap(),
            seed: b"uid",
            catch_up: CatchUp::default(),
            calendars: &calendars,
            stored: &[],
        };
        let only = wire::Schedule { only_calendars: vec!["weekend".into()], ..cron("0 9 * * *") };
        let only = read(|check| check.schedule(only, reading)).unwrap();
        let shown = preview(&only, NOW.parse().unwrap(), None, 2, None);
        let times: Vec<_> = shown.instants.iter().map(|instant| instant.local_time.as_str()).collect();
        assert_eq!(times, ["2026-11-22T09:00:00+00:00", "2026-11-28T09:00:00+00:00"]);
        assert_eq!(schedule(only, None, 0).only_calendars, ["weekend"]);
        let unknown = parsed(&["weekend", "holidays"]).unwrap_err();
        assert_eq!((unknown.reason(), unknown.first_field()), (Reason::CalendarNotFound, Some("exclude_calendars[1]")));
        let never = parsed(&["always"]).unwrap_err();
        assert_eq!(never.reason(), Reason::ScheduleNeverFires);
        assert!(never.message().contains("calendars"), "{}", never.message());
    }

    #[test]
    fn spread_and_number_of_runs_have_bounds() {
        let field = |schedule| parsed(schedule).unwrap_err().first_field().unwrap().to_owned();
        let length = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        assert_eq!(field(wire::Schedule { jitter: length(86_401), ..every(90) }), "jitter");
        assert_eq!(field(wire::Schedule { jitter: length(-1), ..every(90) }), "jitter");
        assert_eq!(field(wire::Schedule { max_runs: -1, ..every(90) }), "max_runs");
    }

    #[test]
    fn a_preview_of_a_job_shows_when_runs_are_due_and_no_more_than_there_will_be() {
        let spread =
            wire::Schedule { jitter: Some(prost_types::Duration { seconds: 60, nanos: 0 }), max_runs: 2, ..every(90) };
        let spec = parsed(spread).unwrap();
        let job = JobUid::from_uuid(uuid::Uuid::from_u128(7));
        let shown = preview(&spec, NOW.parse().unwrap(), None, 5, Some(Standing { job, made: 1, next: None }));
        assert_eq!(shown.instants.len(), 1);
        let (time, due) = (shown.instants[0].time.unwrap(), shown.instants[0].due_time.unwrap());
        assert!((time.seconds..time.seconds + 60).contains(&due.seconds), "{due:?}");
        let unsaved = preview(&spec, NOW.parse().unwrap(), None, 5, None);
        assert_eq!((unsaved.instants.len(), unsaved.instants[0].due_time), (2, None));
    }

    #[test]
    fn zones_and_intervals_are_checked() {
        let refusal = parsed(wire::Schedule { time_zone: "Europe/Berln".into(), ..cron("0 0 * * *") }).unwrap_err();
        assert!(refusal.message().contains("Europe/Berlin"), "{}", refusal.message());
        assert_eq!(refusal.metadata()["suggestion"], "Europe/Berlin");
        assert!(parsed(every(0)).is_err());
        assert!(parsed(wire::Schedule::default()).is_err());
        assert!(parsed(every(1)).is_ok());
    }

    #[test]
    fn schedules_come_back() {
        let interval = |interval| wire::Schedule { rule: Some(wire::schedule::Rule::Interval(interval)), ..every(90) };
        let secs = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        for schedule in [
            cron("*/15 9-17 * * MON-FRI"),
            cron("H H * * *"),
            wire::Schedule { day_match: wire::DayMatch::And.into(), ..cron("0 9 13 * FRI") },
            wire::Schedule {
                gap: wire::DstGap::Shift.into(),
                overlap: wire::DstOverlap::Both.into(),
                ..cron("30 2 * * *")
            },
            every(90),
            wire::Schedule { rule: secs(90).map(wire::schedule::Rule::FixedDelay), ..every(90) },
            interval(wire::Interval { every: secs(90), phase: secs(7), ..wire::Interval::default() }),
            interval(wire::Interval { every: secs(86_400), hashed_phase: true, ..wire::Interval::default() }),
            interval(wire::Interval {
                every: secs(90),
                first_time: Some(time::timestamp("2026-11-22T00:00:07Z".parse().unwrap())),
                ..wire::Interval::default()
            }),
            quarterly("2026-12-31"),
            wire::Schedule { gap: wire::DstGap::Skip.into(), ..quarterly("2026-12-31") },
            wire::Schedule { jitter: secs(300), max_runs: 7, ..every(90) },
            at("2027-01-01T00:00:00Z"),
        ] {
            let spec =
                parsed(wire::Schedule { name: "n".into(), time_zone: "Europe/Berlin".into(), ..schedule }).unwrap();
            assert_eq!(parsed(super::schedule(spec.clone(), None, 0)).unwrap(), spec);
        }
    }

    #[test]
    fn a_preview_tells_what_clock_changes_do() {
        let berlin = wire::Schedule { time_zone: "Europe/Berlin".into(), ..cron("30 2 * * *") };
        let spec = parsed(berlin).unwrap();
        let shown = preview(&spec, "2026-03-27T12:00:00Z".parse().unwrap(), None, 3, None);
        let times: Vec<_> = shown.instants.iter().map(|instant| instant.local_time.as_str()).collect();
        assert_eq!(times, ["2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"]);
        assert!(shown.instants[1].note.contains("does not exist"), "{shown:?}");
        assert_eq!(shown.canonical, "30 2 * * *");
        let bounded = preview(&spec, NOW.parse().unwrap(), Some("2026-11-22T12:00:00Z".parse().unwrap()), 100, None);
        assert_eq!(bounded.instants.len(), 1);
    }
    #[test]
    fn what_a_rule_has_no_use_for_is_refused() {
        let field = |schedule| parsed(schedule).unwrap_err().first_field().unwrap().to_owned();
        assert_eq!(field(wire::Schedule { gap: wire::DstGap::Skip.into(), ..every(90) }), "gap");
        assert_eq!(field(wire::Schedule { overlap: 2, ..at("2027-01-01T00:00:00Z") }), "overlap");
        assert_eq!(field(wire::Schedule { day_match: 1, ..quarterly("2026-12-31") }), "day_match");
        assert_eq!(field(wire::Schedule { gap: 99, ..cron("0 9 * * *") }), "gap");
        assert_eq!(field(wire::Schedule { day_match: 1, ..cron("0 9 13 * +FRI") }), "day_match");
    }

    #[test]
    fn an_interval_has_one_anchor() {
        let interval = |phase: Option<i64>, hashed_phase, first_time: Option<&str>| {
            let secs = |seconds| prost_types::Duration { seconds, nanos: 0 };
            let interval = wire::Interval {
                every: Some(secs(90)),
                phase: phase.map(secs),
                hashed_phase,
                first_time: first_time.map(|time| time::timestamp(time.parse().unwrap())),
            };
            wire::Schedule { rule: Some(wire::schedule::Rule::Interval(interval)), ..wire::Schedule::default() }
        };
        for (schedule, field) in [
            (interval(Some(1), true, None), "interval.hashed_phase"),
            (interval(Some(1), false, Some(NOW)), "interval.first_time"),
            (interval(None, true, Some(NOW)), "interval.first_time"),
            (interval(Some(90), false, None), "interval.phase"),
        ] {
            assert_eq!(parsed(schedule).unwrap_err().first_field(), Some(field));
        }
        let first = parsed(interval(None, false, Some("2026-11-22T00:00:07Z"))).unwrap();
        let next = |after: &str| first.next_after(after.parse().unwrap()).unwrap().to_string();
        assert_eq!(next(NOW), "2026-11-22T00:00:07Z");
        assert_eq!(next("2026-11-22T00:00:07Z"), "2026-11-22T00:01:37Z");
        // Two schedules with an hour of their own, which stays the same.
        let hashed = parsed(interval(None, true, None)).unwrap();
        assert_eq!(parsed(schedule(hashed.clone(), None, 0)).unwrap(), hashed);
        let other = parsed(wire::Schedule { name: "other".into(), ..interval(None, true, None) }).unwrap();
        assert_ne!(other.rule, hashed.rule);
    }

    #[test]
    fn a_calendar_interval_says_what_is_wrong_with_it() {
        let with = |change: fn(&mut wire::CalendarInterval)| {
            let mut schedule = quarterly("2026-12-31");
            if let Some(wire::schedule::Rule::CalendarInterval(interval)) = &mut schedule.rule {
                change(interval);
            }
            parsed(schedule)
        };
        let field = |change| with(change).unwrap_err().first_field().unwrap().to_owned();
        assert_eq!(field(|interval| interval.unit = 0), "calendar_interval.unit");
        assert_eq!(field(|interval| interval.every = 65_536), "calendar_interval.every");
        assert_eq!(field(|interval| interval.first_date = String::new()), "calendar_interval.first_date");
        assert_eq!(field(|interval| interval.first_date = "2026-2-3".into()), "calendar_interval.first_date");
        assert_eq!(field(|interval| interval.first_date = "1969-12-31".into()), "calendar_interval.first_date");
        assert_eq!(field(|interval| interval.time_of_day = "24:00".into()), "calendar_interval.time_of_day");
        let shown = preview(&with(|interval| interval.every = 0).unwrap(), NOW.parse().unwrap(), None, 3, None);
        let times: Vec<_> = shown.instants.iter().map(|instant| instant.local_time.as_str()).collect();
        assert_eq!(times, ["2026-12-31T09:00:00+00:00", "2027-01-31T09:00:00+00:00", "2027-02-28T09:00:00+00:00"]);
        assert_eq!(shown.canonical, "every month from 2026-12-31 at 09:00");
    }
}
