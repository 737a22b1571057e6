//! Rules beyond the cron text: stored form, validation, remarks, intervals, one-shots, hashing, zones.
#![expect(clippy::unwrap_used, reason = "the helpers of a test may fail as the test itself may")]

use jiff::{SignedDuration, Timestamp};
use mainspring_cron::{Anchor, At, Cron, DayMatch, Expr, Interval, LintCode, Rule, RuleError, Zone, Zones};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn cron(text: &str) -> Rule {
    Rule::cron(Expr::parse(text).unwrap())
}

const NOW: &str = "2026-01-01T00:00:00Z";

#[test]
fn the_stored_form_is_readable_and_stable() {
    for text in [
        r#"{"kind":"cron","expr":"30 2 * * MON-FRI"}"#,
        r#"{"kind":"cron","expr":"H H * * *","gap":"NEXT_VALID","overlap":"LAST","day_match":"AND"}"#,
        r#"{"kind":"interval","every_us":5400000000}"#,
        r#"{"kind":"interval","every_us":60000000,"phase_us":5}"#,
        r#"{"kind":"interval","every_us":60000000,"phase":"H"}"#,
        r#"{"kind":"interval","every_us":60000000,"start_at":"2026-01-01T00:00:05Z"}"#,
        r#"{"kind":"at","instant":"2026-01-01T00:00:00.000001Z"}"#,
    ] {
        let rule: Rule = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&rule).unwrap(), text);
    }
}

#[test]
fn a_stored_form_that_means_nothing_is_refused() {
    for (text, reason) in [
        (r#"{"kind":"cron","expr":"0 24 * * *"}"#, "hour field, column 3"),
        (r#"{"kind":"cron","expr":"0 9 * * *","gab":"SKIP"}"#, "unknown field `gab`"),
        (r#"{"kind":"interval","every_us":0}"#, "longer than zero"),
        (r#"{"kind":"interval","every_us":60,"phase_us":60}"#, "less than the interval"),
        (r#"{"kind":"interval","every_us":60,"phase_us":1,"phase":"H"}"#, "one anchor"),
        (r#"{"kind":"moon"}"#, "unknown variant `moon`"),
    ] {
        let error = serde_json::from_str::<Rule>(text).unwrap_err().to_string();
        assert!(error.contains(reason), "{text}: {error}");
    }
}

#[test]
fn instants_are_cut_to_whole_microseconds() {
    let instant = at("2026-01-01T00:00:00.123456789Z");
    assert_eq!(At::new(instant).instant(), at("2026-01-01T00:00:00.123456Z"));
    let read: At = serde_json::from_str(r#"{"instant":"2026-01-01T00:00:00.123456789Z"}"#).unwrap();
    assert_eq!(read, At::new(instant));
    let interval = Interval::new(1_000_000, Anchor::Start(instant)).unwrap();
    let rule = Rule::Interval(interval);
    assert_eq!(rule.next_after(&Zone::utc(), at("1969-01-01T00:00:00Z")), Some(at("2026-01-01T00:00:00.123456Z")));
}

#[test]
fn intervals_lie_on_a_grid() {
    let utc = Zone::utc();
    let every = |us, anchor| Rule::Interval(Interval::new(us, anchor).unwrap());
    let rule = every(5_400_000_000, Anchor::Epoch { phase_us: 0 });
    assert_eq!(rule.next_after(&utc, at("2026-01-01T00:17:00Z")), Some(at("2026-01-01T01:30:00Z")));
    assert_eq!(rule.next_after(&utc, at("2026-01-01T01:30:00Z")), Some(at("2026-01-01T03:00:00Z")));
    assert_eq!(rule.prev_before(&utc, at("2026-01-01T01:30:00Z")), Some(at("2026-01-01T00:00:00Z")));
    assert_eq!(rule.next_after(&utc, at("1969-12-31T23:59:00Z")), Some(at("1970-01-01T00:00:00Z")));

    let rule = every(3_600_000_000, Anchor::Epoch { phase_us: 300_000_000 });
    assert_eq!(rule.next_after(&utc, at("2026-01-01T00:00:00Z")), Some(at("2026-01-01T00:05:00Z")));

    let rule = every(3_600_000_000, Anchor::Start(at("2026-01-01T00:00:05Z")));
    assert_eq!(rule.next_after(&utc, at("2020-01-01T00:00:00Z")), Some(at("2026-01-01T00:00:05Z")));
    assert_eq!(rule.next_after(&utc, at("2026-01-01T00:00:05Z")), Some(at("2026-01-01T01:00:05Z")));
    assert_eq!(rule.prev_before(&utc, at("2026-01-01T00:00:05Z")), None);
    assert_eq!(rule.prev_before(&utc, at("2026-01-01T00:00:06Z")), Some(at("2026-01-01T00:00:05Z")));

    let forever = every(i64::MAX, Anchor::Epoch { phase_us: 0 });
    assert_eq!(forever.validate(&utc, at(NOW)), Err(RuleError::NeverFires));
}

#[test]
fn a_one_shot_fires_once() {
    let (utc, instant) = (Zone::utc(), at("2026-05-01T12:00:00Z"));
    let rule = Rule::At(At::new(instant));
    let moment = SignedDuration::from_micros(1);
    assert_eq!(rule.next_after(&utc, instant - moment), Some(instant));
    assert_eq!(rule.next_after(&utc, instant), None);
    assert_eq!(rule.prev_before(&utc, instant), None);
    assert_eq!(rule.prev_before(&utc, instant + moment), Some(instant));
    assert_eq!(rule.instants(&utc, Timestamp::MIN, Timestamp::MAX).collect::<Vec<_>>(), [instant]);
    assert_eq!(rule.validate(&utc, at("2030-01-01T00:00:00Z")), Ok(vec![]), "lateness is for the schedule to judge");
}

#[test]
fn windows_exclude_their_start_and_include_their_end() {
    let (utc, rule) = (Zone::utc(), cron("0 * * * *"));
    let got: Vec<_> = rule.instants(&utc, at("2026-01-01T01:00:00Z"), at("2026-01-01T03:00:00Z")).collect();
    assert_eq!(got, [at("2026-01-01T02:00:00Z"), at("2026-01-01T03:00:00Z")]);
    assert_eq!(rule.instants(&utc, at("2026-01-01T03:00:00Z"), at("2026-01-01T03:00:00Z")).count(), 0);
}

#[test]
fn years_end_what_they_name() {
    let utc = Zone::utc();
    let rule = cron("0 0 0 1 1 ? 2026-2028");
    assert_eq!(rule.instants(&utc, at("2026-06-01T00:00:00Z"), Timestamp::MAX).count(), 2);
    assert_eq!(rule.prev_before(&utc, at("2500-01-01T00:00:00Z")), Some(at("2028-01-01T00:00:00Z")));
    assert_eq!(rule.prev_before(&utc, at("2026-01-01T00:00:00Z")), None);
    assert!(rule.never_fires(&utc, at("2028-01-01T00:00:00Z")));
    assert!(!rule.never_fires(&utc, at("2027-12-31T23:59:59Z")));
}

#[test]
fn what_never_fires_is_an_error() {
    let utc = Zone::utc();
    for text in ["0 0 30 2 *", "0 0 31 2,4 *", "0 0 31W 4 *", "0 0 L-30 2 *", "0 0 0 1 1 ? 1999", "0 0 0 30 2 ? 2027/3"]
    {
        assert_eq!(cron(text).validate(&utc, at(NOW)), Err(RuleError::NeverFires), "{text}");
    }
    // Rare is not never: the last day of February is a fifth Sunday once in 28 years.
    assert_eq!(cron("0 0 29 2 +0#5").next_after(&utc, at(NOW)), Some(at("2032-02-29T00:00:00Z")));
}

#[test]
fn remarks() {
    use LintCode::{AmbiguousDayFields, EverySecond, FirstFireFar, ShortMonths, UnevenStep};
    for (text, expected) in [
        ("0 9 * * MON", vec![]),
        ("*/15 * * * *", vec![]),
        ("0 0 1-31 * *", vec![]),
        ("0 0 30 9 *", vec![]),
        ("0 0 13 * 5", vec![AmbiguousDayFields]),
        ("0 0 13 * +5", vec![]),
        ("0 0 29 2 *", vec![ShortMonths, FirstFireFar]),
        ("0 0 0 1 1 ? 2030", vec![FirstFireFar]),
        ("0 0 31 * *", vec![ShortMonths]),
        ("*/7 * * * *", vec![UnevenStep]),
        ("0 */5 * * *", vec![UnevenStep]),
        ("* * * * * *", vec![EverySecond]),
    ] {
        let lints = cron(text).validate(&Zone::utc(), at(NOW)).unwrap();
        let codes: Vec<_> = lints.iter().map(|lint| lint.code).collect();
        assert_eq!(codes, expected, "{text}: {lints:?}");
    }
    assert_eq!(AmbiguousDayFields.to_string(), "AMBIGUOUS_DAY_FIELDS");
    assert_eq!(FirstFireFar.as_str(), "FIRST_FIRE_FAR");
}

#[test]
fn day_match_says_how_the_day_fields_combine() {
    let with = |text: &str, day_match| Rule::Cron(Cron { day_match, ..Cron::new(Expr::parse(text).unwrap()) });
    let utc = Zone::utc();
    let friday_13th = Some(at("2026-02-13T00:00:00Z"));
    assert_eq!(with("0 0 13 * 5", Some(DayMatch::And)).next_after(&utc, at(NOW)), friday_13th);
    assert_eq!(with("0 0 13 * +5", None).next_after(&utc, at(NOW)), friday_13th);
    assert_eq!(with("0 0 13 * 5", None).next_after(&utc, at(NOW)), Some(at("2026-01-02T00:00:00Z")));
    assert_eq!(with("0 0 13 * 5", Some(DayMatch::Or)).validate(&utc, at(NOW)), Ok(vec![]));
    assert_eq!(with("0 0 13 * +5", Some(DayMatch::Or)).validate(&utc, at(NOW)), Err(RuleError::DayMatchConflict));
}

#[test]
fn a_hash_never_changes() {
    let uid = b"0190f3a2-7c3e-7000-8000-000000000001";
    // Pinned: a different value here would move every hashed schedule there is.
    assert_eq!(Expr::parse("H H H H H").unwrap().resolve(uid).to_string(), "12 3 19 JUL THU");
    let interval = Rule::Interval(Interval::new(3_600_000_000, Anchor::Hashed).unwrap()).resolve(uid);
    assert_eq!(
        serde_json::to_string(&interval).unwrap(),
        r#"{"kind":"interval","every_us":3600000000,"phase_us":1728061447}"#
    );
}

#[test]
fn a_hash_stays_in_its_range_and_spreads() {
    let resolve = |text: &str, n: u32| Expr::parse(text).unwrap().resolve(&n.to_be_bytes()).to_string();
    let mut minutes = std::collections::BTreeSet::new();
    for n in 0..1_000 {
        minutes.insert(resolve("H 3 * * *", n));
        assert!(
            ["0 22 * * *", "0 23 * * *", "0 0 * * *", "0 1 * * *"].contains(&resolve("0 H(22-1) * * *", n).as_str())
        );
        let day: u8 = resolve("0 0 H * *", n).split(' ').nth(2).unwrap().parse().unwrap();
        assert!((1..=28).contains(&day), "every month has it");
        let stepped = resolve("H/20 * * * *", n);
        let first: u8 = stepped.split(['-', ' ', '/']).next().unwrap().parse().unwrap_or(0);
        assert!(first < 20, "{stepped}");
    }
    assert_eq!(minutes.len(), 60, "a thousand uids reach every minute");
}

#[test]
fn zones_are_iana_names() {
    assert_eq!(Zone::parse("Europe/Berlin").unwrap().name(), "Europe/Berlin");
    assert_eq!(Zone::parse("europe/berlin").unwrap().name(), "Europe/Berlin");
    assert_eq!(Zone::parse("US/Eastern").unwrap().name(), "US/Eastern", "a link keeps its name");
    assert_eq!(Zone::parse("UTC").unwrap(), Zone::utc());
    for (name, suggestion) in [
        ("", Some("UTC")),
        ("Europe/Berln", Some("Europe/Berlin")),
        ("Berlin", Some("Europe/Berlin")),
        ("New York", Some("America/New_York")),
        ("W. Europe Standard Time", Some("Europe/Berlin")),
        ("+02:00", None),
        ("UTC+2", None),
        ("Factory", None),
        ("Etc/Unknown", None),
        ("CET-1CEST,M3.5.0,M10.5.0/3", None),
        ("../../etc/passwd", None),
        ("Zürich", None),
        ("Nowhere/Land", None),
    ] {
        let error = Zone::parse(name).unwrap_err();
        assert_eq!(error.suggestion.as_deref(), suggestion, "{error}");
    }
    assert!(Zone::parse(&"x".repeat(10_000)).unwrap_err().to_string().len() < 200);
    assert!(Zones::bundled().version().starts_with("20"));
    assert_eq!(serde_json::to_string(&Zone::utc()).unwrap(), r#""UTC""#);
}

#[test]
fn a_stored_zone_is_looked_up_in_the_data_in_force() {
    let stored: Zone = serde_json::from_str(r#""Europe/Berlin""#).unwrap();
    assert!(!stored.is_known() && stored.name() == "Europe/Berlin");
    assert!(Zones::bundled().find(stored.name()).is_known());
    assert!(!Zones::bundled().find("Mars/Olympus").is_known());
    assert!(serde_json::from_str::<Zone>(r#""UTC""#).unwrap().is_known(), "which is in all data");
    let file = Zones::bundled().file("Europe/Berlin").unwrap().to_vec();
    let kept = Zones::read(Some("kept".into()), [("Europe/Berlin".to_owned(), file)]).unwrap();
    assert_eq!((kept.version(), kept.names()), ("kept", vec!["Europe/Berlin"]));
    let (summer, zone) = (at("2026-07-01T12:00:00Z"), kept.zone("europe/berlin").unwrap());
    assert_eq!(zone.offset(summer), Zone::parse("Europe/Berlin").unwrap().offset(summer));
}

#[test]
fn every_bundled_zone_can_be_evaluated() {
    let rule = cron("30 2 * * *");
    let zones = Zones::bundled();
    let names = zones.names();
    assert!(names.len() > 500);
    for name in names {
        let zone = Zone::parse(name).unwrap();
        assert_eq!(zone.name(), name);
        assert_eq!(rule.instants(&zone, at(NOW), at("2027-01-01T00:00:00Z")).count(), 365, "{name}");
    }
}
