//! Calendar intervals: counted from the first date, clamped, never drifting; at clock changes, what the same times are as
//! a cron expression.
#![expect(clippy::unwrap_used, reason = "the helpers of a test may fail as the test itself may")]

use jiff::{
    SignedDuration, Timestamp, ToSpan as _,
    civil::{Date, Time},
    tz::TimeZoneDatabase,
};
use mainspring_cron::{CalendarInterval, Cron, DstEffect, Expr, Gap, Overlap, Rule, RuleError, Unit, Zone};
use proptest::{option, prelude::*, sample};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn rule(text: &str) -> Rule {
    Rule::CalendarInterval(text.parse().unwrap())
}

/// The wall clock of the next ones, to the minute.
fn next(rule: &Rule, zone: &str, after: &str, count: usize) -> Vec<String> {
    let zone = Zone::parse(zone).unwrap();
    let instants = rule.instants(&zone, at(after), Timestamp::MAX).take(count);
    instants.map(|at| zone.wall_clock(at).strftime("%F %H:%M").to_string()).collect()
}

#[test]
fn a_short_month_has_it_on_its_last_day_and_the_next_one_does_not_drift() {
    let quarterly = rule("every 3 months from 2026-01-31 at 09:00");
    assert_eq!(
        next(&quarterly, "Europe/Berlin", "2025-01-01T00:00:00Z", 5),
        ["2026-01-31 09:00", "2026-04-30 09:00", "2026-07-31 09:00", "2026-10-31 09:00", "2027-01-31 09:00"]
    );
    let monthly = rule("every month from 2027-12-31");
    assert_eq!(
        next(&monthly, "UTC", "2027-12-31T00:00:00Z", 4),
        ["2028-01-31 00:00", "2028-02-29 00:00", "2028-03-31 00:00", "2028-04-30 00:00"]
    );
    let yearly = rule("every year from 2024-02-29");
    assert_eq!(
        next(&yearly, "UTC", "2026-12-31T00:00:00Z", 3),
        ["2027-02-28 00:00", "2028-02-29 00:00", "2029-02-28 00:00"]
    );
    let fortnightly = rule("every 2 weeks from 2026-01-05 at 07:30");
    assert_eq!(next(&fortnightly, "UTC", "2026-01-06T00:00:00Z", 2), ["2026-01-19 07:30", "2026-02-02 07:30"]);
}

#[test]
fn clock_changes_are_met_as_by_an_appointment_unless_the_rule_says_otherwise() {
    let berlin = Zone::parse("Europe/Berlin").unwrap();
    let fires = |gap, overlap, after: &str, until: &str| {
        let interval = "every day from 2026-01-01 at 02:30".parse::<CalendarInterval>().unwrap();
        let rule = Rule::CalendarInterval(interval.with_overrides(gap, overlap));
        let fires = rule.fires(&berlin, at(after), at(until));
        fires.map(|fire| (fire.at.to_string(), fire.note.map(|note| note.effect))).collect::<Vec<_>>()
    };
    let spring = |gap| fires(gap, None, "2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z");
    let fire = |time: &str, effect| (time.to_owned(), Some(effect));
    assert_eq!(spring(None), [fire("2026-03-29T01:00:00Z", DstEffect::MovedToGapEnd)]);
    assert_eq!(spring(Some(Gap::Shift)), [fire("2026-03-29T01:30:00Z", DstEffect::Shifted)]);
    assert_eq!(spring(Some(Gap::Skip)), []);
    let autumn = |overlap| fires(None, overlap, "2026-10-24T12:00:00Z", "2026-10-25T12:00:00Z");
    let (first, last) = ("2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z");
    assert_eq!(autumn(None), [fire(first, DstEffect::FirstPassOnly)]);
    assert_eq!(autumn(Some(Overlap::Last)), [fire(last, DstEffect::LastPassOnly)]);
    let both = DstEffect::BothPasses;
    assert_eq!(autumn(Some(Overlap::Both)), [fire(first, both), fire(last, both)]);
}

#[test]
fn it_ends_with_the_calendar_and_begins_with_the_first_date() {
    let rule = rule("every 4000 years from 1999-12-31 at 23:00");
    assert_eq!(next(&rule, "UTC", "-009999-01-02T01:59:59Z", 9), ["1999-12-31 23:00", "5999-12-31 23:00"]);
    assert_eq!(rule.prev_before(&Zone::utc(), at("1999-12-31T23:00:00Z")), None);
    assert_eq!(rule.prev_before(&Zone::utc(), Timestamp::MAX), Some(at("5999-12-31T23:00:00Z")));
    assert_eq!(rule.validate(&Zone::utc(), at("6000-01-01T00:00:00Z")), Err(RuleError::NeverFires));
    let new = |every, year| CalendarInterval::new(every, Unit::Day, Date::new(year, 1, 1).unwrap(), Time::midnight());
    assert_eq!(new(0, 2026), Err(RuleError::NoStep));
    assert!(matches!(new(1, 1969), Err(RuleError::FirstDateOutOfRange { .. })));
    assert!(new(u16::MAX, 9999).is_ok());
}

#[test]
fn it_says_what_it_means() {
    let told = |text: &str| rule(text).explain();
    assert_eq!(told("every day from 2026-01-01 at 02:30"), "At 02:30 every day, first on 2026-01-01");
    assert_eq!(
        told("every 3 months from 2026-01-31"),
        "At 00:00 every 3 months, first on 2026-01-31; in a month that is too short on its last day"
    );
    let mut interval: CalendarInterval = "every 2 weeks from 2026-01-05".parse().unwrap();
    interval.gap = Some(Gap::Skip);
    let told = Rule::CalendarInterval(interval).explain();
    assert!(told.ends_with("; times that a clock change skips do not fire"), "{told}");
    let text = serde_json::to_string(&Rule::CalendarInterval(interval)).unwrap();
    assert_eq!(
        text,
        r#"{"kind":"calendar_interval","every":2,"unit":"WEEK","first":"2026-01-05","time":"00:00:00","gap":"SKIP"}"#
    );
    assert_eq!(serde_json::from_str::<Rule>(&text).unwrap(), Rule::CalendarInterval(interval));
}

const ZONES: [&str; 8] = [
    "UTC",
    "Europe/Berlin",
    "Australia/Lord_Howe",
    "Antarctica/Troll",
    "Pacific/Apia",
    "Pacific/Kwajalein",
    "Asia/Beirut",
    "America/Havana",
];

/// The newest of all is looked at, of an hour that comes twice too.
#[test]
fn the_previous_one_is_the_newest_that_lies_before() {
    let weekly = CalendarInterval::new(1, Unit::Week, Date::constant(1978, 3, 19), Time::constant(2, 1, 0, 0)).unwrap();
    let weekly = Rule::CalendarInterval(weekly.with_overrides(None, Some(Overlap::Both)));
    let berlin = Zone::parse("Europe/Berlin").unwrap();
    for (before, previous) in [
        ("1990-09-30T01:01:01Z", "1990-09-30T01:01:00Z"),
        ("1990-09-30T01:01:00Z", "1990-09-30T00:01:00Z"),
        ("1990-09-30T00:01:00Z", "1990-09-23T00:01:00Z"),
    ] {
        assert_eq!(weekly.prev_before(&berlin, at(before)), Some(at(previous)), "{before}");
    }
}

fn place_and_time() -> impl Strategy<Value = (&'static str, Timestamp)> {
    (sample::select(ZONES.to_vec()), 400_000_000..4_000_000_000i64, -260_000i64..90_000).prop_map(
        |(name, second, shift)| {
            let zone = TimeZoneDatabase::bundled().get(name).unwrap();
            let second = Timestamp::from_second(second).unwrap();
            let near = zone.following(second).next().map_or(second, |change| change.timestamp());
            (name, near + SignedDuration::from_secs(shift))
        },
    )
}

fn policies() -> impl Strategy<Value = (Option<Gap>, Option<Overlap>)> {
    let gap = sample::select(vec![Gap::NextValid, Gap::Skip, Gap::Shift]);
    let overlap = sample::select(vec![Overlap::First, Overlap::Last, Overlap::Both]);
    (option::of(gap), option::of(overlap))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// What a cron expression can say too, both say alike: instants, notes, and the way back.
    #[test]
    fn agrees_with_cron(
        (name, after) in place_and_time(),
        (gap, overlap) in policies(),
        (hour, minute) in (prop_oneof![0..4i8, 0..24i8], 0..60i8),
        (day, unit) in (1..=28i8, sample::select(vec![Unit::Day, Unit::Week, Unit::Month, Unit::Year])),
    ) {
        let (zone, first) = (Zone::parse(name).unwrap(), Date::new(1978, 3, day).unwrap());
        let weekday = first.weekday().to_sunday_zero_offset();
        let days = match unit {
            Unit::Day => "* * *".to_owned(),
            Unit::Week => format!("* * {weekday}"),
            Unit::Month => format!("{day} * *"),
            Unit::Year => format!("{day} 3 *"),
        };
        let interval = CalendarInterval::new(1, unit, first, Time::new(hour, minute, 0, 0).unwrap()).unwrap();
        let interval = Rule::CalendarInterval(interval.with_overrides(gap, overlap));
        let expr = Expr::parse(&format!("{minute} {hour} {days}")).unwrap();
        let cron = Rule::Cron(Cron { gap, overlap, ..Cron::new(expr) });
        let shown = |rule: &Rule| rule.fires(&zone, after, Timestamp::MAX).take(4).map(|fire| fire.at).collect::<Vec<_>>();
        let fires = shown(&interval);
        prop_assert_eq!(&fires, &shown(&cron), "{} in {} after {}", interval.explain(), name, after);
        for at in &fires {
            prop_assert_eq!(interval.prev_before(&zone, *at), cron.prev_before(&zone, *at));
        }
        let until = after + SignedDuration::from_hours(96);
        let notes = |rule: &Rule| rule.dst_notes(&zone, after, until, 1);
        prop_assert_eq!(notes(&interval), notes(&cron), "{} in {} after {}", interval.explain(), name, after);
    }

    /// Each is as far from the first as it says, whichever was asked for.
    #[test]
    fn nothing_drifts(
        (name, after) in place_and_time(),
        every in 1..500u16,
        unit in sample::select(vec![Unit::Day, Unit::Week, Unit::Month, Unit::Year]),
        (year, month, day) in (1970..2100i16, 1..=12i8, 1..=31i8),
    ) {
        let first = Date::new(year, month, 1).unwrap();
        let first = first + (day.min(first.days_in_month()) - 1).days();
        let zone = Zone::parse(name).unwrap();
        let interval = CalendarInterval::new(every, unit, first, Time::constant(12, 0, 0, 0)).unwrap();
        let rule = Rule::CalendarInterval(interval);
        let mut last = after;
        for at in rule.instants(&zone, after, Timestamp::MAX).take(5) {
            prop_assert!(at > last, "{at} does not follow {last}");
            prop_assert_eq!(rule.next_after(&zone, at - SignedDuration::from_nanos(1)), Some(at));
            let previous = rule.prev_before(&zone, at);
            prop_assert!(previous.is_none_or(|previous| rule.next_after(&zone, previous) == Some(at)));
            last = at;
            let date = zone.wall_clock(at).date();
            let months = (i64::from(date.year()) - i64::from(first.year())) * 12 + i64::from(date.month() - first.month());
            let days = i64::from(first.until(date).unwrap().get_days());
            match unit {
                // A day that a zone left out is met at its end, on the next one.
                Unit::Day | Unit::Week if ["Pacific/Apia", "Pacific/Kwajalein"].contains(&name) => {}
                Unit::Day => prop_assert_eq!(days % i64::from(every), 0),
                Unit::Week => prop_assert_eq!(days % (7 * i64::from(every)), 0),
                Unit::Month => prop_assert_eq!(months % i64::from(every), 0),
                Unit::Year => prop_assert_eq!(months % (12 * i64::from(every)), 0),
            }
        }
    }
}
