//! Overrides of "appointment or rhythm", and the notes that previews show.
#![expect(clippy::unwrap_used, reason = "the helpers of a test may fail as the test itself may")]

use jiff::Timestamp;
use mainspring_cron::{DstEffect, Rule, Zone};

const SPRING: (&str, &str) = ("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z");
const AUTUMN: (&str, &str) = ("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z");

fn rule(expr: &str, rest: &str) -> Rule {
    let rest = if rest.is_empty() { String::new() } else { format!(", {rest}") };
    serde_json::from_str(&format!(r#"{{"kind": "cron", "expr": "{expr}"{rest}}}"#)).unwrap()
}

/// The fires of one day, as UTC times of day with the effect noted on each.
fn day(rule: &Rule, zone: &str, (after, until): (&str, &str)) -> Vec<(String, Option<DstEffect>)> {
    let (after, until): (Timestamp, Timestamp) = (after.parse().unwrap(), until.parse().unwrap());
    let before = after - jiff::SignedDuration::from_micros(1);
    let zone = Zone::parse(zone).unwrap();
    rule.fires(&zone, before, until)
        .filter(|fire| fire.at < until)
        .map(|fire| (fire.at.strftime("%H:%M:%S").to_string(), fire.note.map(|note| note.effect)))
        .collect()
}

fn plain(times: &[&str]) -> Vec<(String, Option<DstEffect>)> {
    times.iter().map(|time| ((*time).to_owned(), None)).collect()
}

fn noted(times: &[(&str, Option<DstEffect>)]) -> Vec<(String, Option<DstEffect>)> {
    times.iter().map(|(time, effect)| ((*time).to_owned(), *effect)).collect()
}

#[test]
fn gap_policies() {
    use DstEffect::{MovedToGapEnd, Shifted};
    let berlin = |expr, rest| day(&rule(expr, rest), "Europe/Berlin", SPRING);

    assert_eq!(berlin("30 2 * * *", ""), noted(&[("01:00:00", Some(MovedToGapEnd))]));
    assert_eq!(berlin("30 2 * * *", r#""gap": "NEXT_VALID""#), noted(&[("01:00:00", Some(MovedToGapEnd))]));
    assert_eq!(berlin("30 2 * * *", r#""gap": "SKIP""#), plain(&[]));
    assert_eq!(berlin("30 2 * * *", r#""gap": "SHIFT""#), noted(&[("01:30:00", Some(Shifted))]));

    // The override holds for rhythm as well.
    assert_eq!(berlin("30 2-3 * * *", ""), plain(&["01:30:00"]));
    assert_eq!(
        berlin("30 2-3 * * *", r#""gap": "NEXT_VALID""#),
        noted(&[("01:00:00", Some(MovedToGapEnd)), ("01:30:00", None)])
    );
    // A shifted fire and a plain one at the same instant are one, and shifted ones stand in order among the others.
    assert_eq!(berlin("30 2,3 * * *", r#""gap": "SHIFT""#), noted(&[("01:30:00", Some(Shifted))]));
    assert_eq!(
        berlin("0,30 15,45 2,3 * * *", r#""gap": "SHIFT""#),
        noted(&[
            ("01:15:00", Some(Shifted)),
            ("01:15:30", Some(Shifted)),
            ("01:45:00", Some(Shifted)),
            ("01:45:30", Some(Shifted)),
        ])
    );
}

#[test]
fn overlap_policies() {
    use DstEffect::{BothPasses, FirstPassOnly, LastPassOnly};
    let berlin = |expr, rest| day(&rule(expr, rest), "Europe/Berlin", AUTUMN);

    assert_eq!(berlin("30 2 * * *", ""), noted(&[("00:30:00", Some(FirstPassOnly))]));
    assert_eq!(berlin("30 2 * * *", r#""overlap": "LAST""#), noted(&[("01:30:00", Some(LastPassOnly))]));
    let both = noted(&[("00:30:00", Some(BothPasses)), ("01:30:00", Some(BothPasses))]);
    assert_eq!(berlin("30 2 * * *", r#""overlap": "BOTH""#), both);
    assert_eq!(berlin("30 2-2 * * *", ""), both, "a range is rhythm, however short");
    assert_eq!(berlin("30 2-2 * * *", r#""overlap": "FIRST""#), noted(&[("00:30:00", Some(FirstPassOnly))]));
    assert_eq!(berlin("30 2,1-3 * * *", "").len(), 3, "a value that a literal and a range name is an appointment");
}

#[test]
fn a_hash_is_a_literal() {
    let rule = rule("30 H(2-2) * * *", "").resolve(b"uid");
    assert_eq!(day(&rule, "Europe/Berlin", SPRING), noted(&[("01:00:00", Some(DstEffect::MovedToGapEnd))]));
}

#[test]
fn gaps_of_every_size() {
    // Half an hour, to the second.
    let lord_howe = ("2026-10-03T14:00:00Z", "2026-10-04T13:00:00Z");
    assert_eq!(
        day(&rule("59 59 1 * * *", ""), "Australia/Lord_Howe", lord_howe),
        plain(&["15:29:59"]),
        "the last second before the gap"
    );
    let moved = noted(&[("15:30:00", Some(DstEffect::MovedToGapEnd))]);
    assert_eq!(day(&rule("59 29 2 * * *", ""), "Australia/Lord_Howe", lord_howe), moved, "the last second skipped");
    assert_eq!(day(&rule("0 30 2 * * *", ""), "Australia/Lord_Howe", lord_howe), plain(&["15:30:00"]));

    // A whole day: three times of 30 December are one fire, at the first instant of the 31st.
    let apia = ("2011-12-30T00:00:00Z", "2011-12-31T10:00:00Z");
    assert_eq!(
        day(&rule("0 0,9,18 30 12 *", ""), "Pacific/Apia", apia),
        noted(&[("10:00:00", Some(DstEffect::MovedToGapEnd))])
    );
    assert_eq!(
        day(&rule("0 9 30 12 *", r#""gap": "SHIFT""#), "Pacific/Apia", apia),
        noted(&[("19:00:00", Some(DstEffect::Shifted))])
    );
}

#[test]
fn notes_tell_what_becomes_of_each_class_of_hours() {
    let zone = Zone::parse("Europe/Berlin").unwrap();
    let (after, until) = ("2026-01-01T00:00:00Z".parse().unwrap(), "2027-01-01T00:00:00Z".parse().unwrap());
    let notes = |expr: &str, limit| {
        let notes = rule(expr, "").dst_notes(&zone, after, until, limit);
        notes.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        notes("30 2 * * *", 10),
        [
            "2026-03-29 02:30:00 does not exist: fires when the clocks have moved on",
            "2026-10-25 02:30:00 comes twice: fires the first time only",
        ]
    );
    assert_eq!(
        notes("0 * * * *", 10),
        ["2026-03-29 02:00:00 does not exist: does not fire", "2026-10-25 02:00:00 comes twice: fires both times",]
    );
    assert_eq!(notes("0 * * * *", 1).len(), 1);
    assert_eq!(notes("0 9 * * *", 10), [""; 0]);
    assert_eq!(notes("30 2 * * MON", 10), [""; 0], "clocks change on Sundays");
}

/// What a year takes from a rule: first and last time, and how many.
fn skipped(rule: &Rule, zone: &str, year: i16) -> Vec<(String, String, u64)> {
    let zone = Zone::parse(zone).unwrap();
    let at = |year: i16| format!("{year}-01-01T00:00:00Z").parse().unwrap();
    let found = rule.skipped(&zone, at(year), at(year + 1));
    found.iter().map(|skipped| (skipped.first.to_string(), skipped.last.to_string(), skipped.count)).collect()
}

#[test]
fn what_is_skipped_for_good_is_counted() {
    let lost = |expr: &str, rest: &str| skipped(&rule(expr, rest), "Europe/Berlin", 2026);
    let of =
        |first: &str, last: &str, count| vec![(format!("2026-03-29T{first}"), format!("2026-03-29T{last}"), count)];
    // An appointment is kept, and so is what is shifted.
    assert_eq!(lost("30 2 * * *", ""), []);
    assert_eq!(lost("30 2 * * *", r#""gap": "SHIFT""#), []);
    assert_eq!(lost("30 2 * * *", r#""gap": "SKIP""#), of("02:30:00", "02:30:00", 1));
    assert_eq!(lost("30 * * * *", ""), of("02:30:00", "02:30:00", 1));
    assert_eq!(lost("* * * * * *", ""), of("02:00:00", "02:59:59", 3_600));
    assert_eq!(lost("30 4 * * *", r#""gap": "SKIP""#), []);
    // A gap of a whole day, and one of half an hour.
    let apia = skipped(&rule("0 * * * *", ""), "Pacific/Apia", 2011);
    assert_eq!(apia.last().unwrap(), &("2011-12-30T00:00:00".into(), "2011-12-30T23:00:00".into(), 24));
    let lord_howe = skipped(&rule("*/10 * * * *", ""), "Australia/Lord_Howe", 2026);
    assert_eq!(lord_howe, [("2026-10-04T02:00:00".into(), "2026-10-04T02:20:00".into(), 3)]);
    let daily = r#"{"kind": "calendar_interval", "every": 1, "unit": "DAY", "first": "2026-01-01", "time": "02:30:00""#;
    let daily = |rest: &str| serde_json::from_str::<Rule>(&format!("{daily}{rest}}}")).unwrap();
    assert_eq!(skipped(&daily(r#", "gap": "SKIP""#), "Europe/Berlin", 2026), of("02:30:00", "02:30:00", 1));
    assert_eq!(skipped(&daily(""), "Europe/Berlin", 2026), []);
}

#[test]
fn a_window_holds_the_changes_inside_it() {
    let zone = Zone::parse("Europe/Berlin").unwrap();
    let rule = rule("30 * * * *", "");
    let found = |after: &str, until: &str| rule.skipped(&zone, after.parse().unwrap(), until.parse().unwrap()).len();
    assert_eq!(found("2026-03-29T00:59:59Z", "2026-03-29T01:00:00Z"), 1);
    assert_eq!(found("2026-03-29T01:00:00Z", "2026-09-01T00:00:00Z"), 0);
    assert_eq!(found("2026-01-01T00:00:00Z", "2026-03-29T00:59:59Z"), 0);
    assert_eq!(found("2025-01-01T00:00:00Z", "2028-01-01T00:00:00Z"), 3);
}

#[test]
fn a_time_that_was_skipped_is_known_by_what_the_old_clock_would_show() {
    let zone = Zone::parse("Europe/Berlin").unwrap();
    let skips = |rule: &Rule, at: &str| rule.skips(&zone, at.parse().unwrap()).map(|skipped| skipped.first.to_string());
    for rule in [rule("30 * * * *", ""), rule("30 2 * * *", r#""gap": "SKIP""#)] {
        assert_eq!(skips(&rule, "2026-03-29T02:30:00+01:00").as_deref(), Some("2026-03-29T02:30:00"));
        for at in ["2026-03-29T02:31:00+01:00", "2026-03-29T03:30:00+01:00", "2026-03-29T01:30:00+01:00"] {
            assert_eq!(skips(&rule, at), None, "{at}");
        }
        assert_eq!(skips(&rule, "2026-03-29T02:30:00.5+01:00"), None);
        assert_eq!(skips(&rule, "2026-10-25T02:30:00+01:00"), None);
    }
    assert_eq!(skips(&rule("30 2 * * *", ""), "2026-03-29T02:30:00+01:00"), None);
}
