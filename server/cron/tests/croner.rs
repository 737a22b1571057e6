//! Differential test against `croner`, another evaluator of cron expressions, where its policies are ours.
//!
//! Where they are not, and what is left out for it: ranges that wrap, `L-n` and `H` (not in its grammar); an hour of a
//! list, range or step where the clocks change (it sorts whole expressions into fixed times and intervals, we sort hours
//! one by one); stepped minutes of a literal hour there; zones whose changes are not one hour; `L,LW` (it forgets the `L`).
#![expect(clippy::unwrap_used, reason = "the helpers of a test may fail as the test itself may")]

use std::str::FromStr as _;

use croner::Cron;
use jiff::{SignedDuration, Timestamp, tz::TimeZoneDatabase};
use mainspring_cron::{Expr, Rule, Zone};
use proptest::{collection, prelude::*, sample};

const SHOWN: usize = 8;

/// One to three of them, with commas.
fn list(item: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    collection::vec(item, 1..4).prop_map(|items| items.join(","))
}

/// Values, ranges and steps of one field.
fn plain(low: u8, high: u8) -> impl Strategy<Value = String> {
    let value = low..=high;
    let item = prop_oneof![
        3 => value.clone().prop_map(|value| value.to_string()),
        1 => (value.clone(), value.clone()).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        1 => (value.clone(), value, 1..5u8).prop_map(|(a, b, step)| format!("{}-{}/{step}", a.min(b), a.max(b))),
        1 => (1..12u8.min(high)).prop_map(|step| format!("*/{step}")),
    ];
    prop_oneof![1 => Just("*".to_owned()), 3 => list(item)]
}

fn day_of_month() -> impl Strategy<Value = String> {
    let item = prop_oneof![
        3 => (1..=31u8).prop_map(|day| day.to_string()),
        1 => Just("L".to_owned()),
        1 => (1..=31u8).prop_map(|day| format!("{day}W")),
        1 => (1..=15u8, 15..=31u8).prop_map(|(from, to)| format!("{from}-{to}")),
    ];
    prop_oneof![4 => Just("*".to_owned()), 4 => list(item), 1 => Just("LW".to_owned())]
}

fn day_of_week() -> impl Strategy<Value = String> {
    let name = sample::select(vec!["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT", "0", "3", "7"]);
    let item = prop_oneof![
        3 => name.clone().prop_map(str::to_owned),
        1 => (name.clone(), 1..=5u8).prop_map(|(day, nth)| format!("{day}#{nth}")),
        1 => name.prop_map(|day| format!("{day}L")),
        1 => (0..=3u8, 3..=6u8).prop_map(|(from, to)| format!("{from}-{to}")),
    ];
    prop_oneof![3 => Just("*".to_owned()), 2 => list(item.clone()), 1 => list(item).prop_map(|list| format!("+{list}"))]
}

fn days() -> impl Strategy<Value = String> {
    (day_of_month(), plain(1, 12), day_of_week()).prop_map(|(day, month, weekday)| format!("{day} {month} {weekday}"))
}

fn instant() -> impl Strategy<Value = Timestamp> {
    (0..4_000_000_000i64).prop_map(|second| Timestamp::from_second(second).unwrap())
}

/// An instant within three days of a change of the clocks.
fn near_a_change(zone: &str, second: i64, shift: i64) -> Timestamp {
    let zone = TimeZoneDatabase::bundled().get(zone).unwrap();
    let change = zone.following(Timestamp::from_second(second).unwrap()).next().unwrap().timestamp();
    change + SignedDuration::from_secs(shift)
}

/// What both say follows; `None` where croner has no answer, which it gives up on sooner than we do.
fn both(text: &str, zone: &str, after: Timestamp) -> Option<(Vec<Timestamp>, Vec<Timestamp>)> {
    let theirs = Cron::from_str(text).unwrap_or_else(|error| panic!("croner refuses `{text}`: {error}"));
    let start = after.to_zoned(TimeZoneDatabase::bundled().get(zone).unwrap());
    let theirs: Vec<_> = theirs.iter_after(start).take(SHOWN).map(|at| at.timestamp()).collect();
    let rule = Rule::cron(Expr::parse(text).unwrap());
    let ours = rule.instants(&Zone::parse(zone).unwrap(), after, Timestamp::MAX).take(theirs.len()).collect();
    (!theirs.is_empty()).then_some((ours, theirs))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_calendar_is_the_same(
        (second, minute, hour) in (plain(0, 59), plain(0, 59), plain(0, 23)),
        days in days(),
        after in instant(),
    ) {
        let text = format!("{second} {minute} {hour} {days}");
        if let Some((ours, theirs)) = both(&text, "UTC", after) {
            prop_assert_eq!(ours, theirs, "`{}` after {}", text, after);
        }
    }

    #[test]
    fn an_appointment_meets_the_clocks_the_same_way(
        zone in sample::select(vec!["Europe/Berlin", "America/New_York"]),
        (second, shift) in (400_000_000..1_900_000_000i64, -260_000..90_000i64),
        (minute, hour) in (0..60u8, prop_oneof![0..4u8, 0..24u8]),
        days in days(),
    ) {
        let (text, after) = (format!("{minute} {hour} {days}"), near_a_change(zone, second, shift));
        if let Some((ours, theirs)) = both(&text, zone, after) {
            prop_assert_eq!(ours, theirs, "`{}` in {} after {}", text, zone, after);
        }
    }

    #[test]
    fn a_rhythm_meets_the_clocks_the_same_way(
        zone in sample::select(vec!["Europe/Berlin", "America/New_York"]),
        (second, shift) in (400_000_000..1_900_000_000i64, -10_000..10_000i64),
        minute in sample::select(vec!["*/5", "*/15", "*/20", "*/30", "*"]),
    ) {
        let (text, after) = (format!("{minute} * * * *"), near_a_change(zone, second, shift));
        let (ours, theirs) = both(&text, zone, after).unwrap();
        prop_assert_eq!(ours, theirs, "`{}` in {} after {}", text, zone, after);
    }
}
