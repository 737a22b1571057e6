//! The invariants that hold for every rule, zone and instant, and agreement with an evaluator too simple to be wrong.
//!
//! The oracle shares no code with the crate: it holds its own sets, walks every minute of the wall clock around a
//! clock change, asks jiff what each means, and sorts.
#![expect(clippy::unwrap_used, reason = "the helpers of a test may fail as the test itself may")]

use std::collections::BTreeSet;

use jiff::{
    SignedDuration, Timestamp, ToSpan as _,
    civil::{Date, DateTime, Time, Weekday},
    tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase},
};
use mainspring_cron::{Anchor, Cron, DayMatch, Expr, Gap, Interval, Overlap, Rule, Zone};
use proptest::{collection, option, prelude::*, sample};

/// Zones with every kind of change: whole hours, half hours, two hours, a whole day, at midnight, across midnight,
/// negative DST, permanent shifts, offsets with seconds in the distant past.
const ZONES: [&str; 14] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Antarctica/Troll",
    "Pacific/Apia",
    "America/Sao_Paulo",
    "Africa/Cairo",
    "America/St_Johns",
    "Africa/Casablanca",
    "Asia/Tehran",
    "America/Caracas",
    "Europe/Dublin",
    "Asia/Pyongyang",
];

/// A cron rule as plain sets, with its text.
#[derive(Debug, Clone)]
struct Model {
    seconds: Set,
    minutes: Set,
    hours: Vec<Piece>,
    days: Option<Set>,
    months: Set,
    weekdays: Option<Set>,
    gap: Option<Gap>,
    overlap: Option<Overlap>,
    day_match: Option<DayMatch>,
}

type Set = BTreeSet<i8>;

#[derive(Debug, Clone, Copy)]
enum Piece {
    Literal(i8),
    Range(i8, i8, i8),
    Every(i8),
}

impl Model {
    fn text(&self) -> String {
        let list = |set: &Set| set.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let star = |set: &Option<Set>| set.as_ref().map_or_else(|| "*".to_owned(), list);
        let hours = self.hours.iter().map(|piece| match piece {
            Piece::Literal(hour) => hour.to_string(),
            Piece::Range(from, to, step) => format!("{from}-{to}/{step}"),
            Piece::Every(step) => format!("*/{step}"),
        });
        let hours = hours.collect::<Vec<_>>().join(",");
        let (days, weekdays) = (star(&self.days), star(&self.weekdays));
        format!("{} {} {hours} {days} {} {weekdays}", list(&self.seconds), list(&self.minutes), list(&self.months))
    }

    fn rule(&self) -> Rule {
        let expr = Expr::parse(&self.text()).unwrap();
        Rule::Cron(Cron { expr, gap: self.gap, overlap: self.overlap, day_match: self.day_match })
    }

    /// Whether the hour matches, and whether as an appointment.
    fn hour(&self, hour: i8) -> Option<bool> {
        let matches = |piece: &Piece| match *piece {
            Piece::Literal(value) => value == hour,
            Piece::Range(from, to, step) => {
                let distance = (hour - from).rem_euclid(24);
                distance <= (to - from).rem_euclid(24) && distance % step == 0
            }
            Piece::Every(step) => hour % step == 0,
        };
        let literal = |piece: &Piece| matches!(piece, Piece::Literal(_)) && matches(piece);
        self.hours.iter().any(matches).then(|| self.hours.iter().any(literal))
    }

    fn day(&self, date: Date) -> bool {
        let by_month = self.days.as_ref().map(|days| days.contains(&date.day()));
        let by_week = self.weekdays.as_ref().map(|days| days.contains(&date.weekday().to_sunday_zero_offset()));
        let combined = match (by_month, by_week, self.day_match) {
            (Some(a), Some(b), Some(DayMatch::And)) => a && b,
            (Some(a), Some(b), _) => a || b,
            (a, b, _) => a.or(b).unwrap_or(true),
        };
        combined && self.months.contains(&date.month())
    }

    /// Every instant in `(after, until]`, by trying every wall-clock minute from two days before to two days after.
    fn brute_force(&self, zone: &TimeZone, after: Timestamp, until: Timestamp) -> Vec<Timestamp> {
        let mut found = BTreeSet::new();
        let mut date = zone.to_datetime(after).date() - 2.days();
        let last = zone.to_datetime(until).date() + 2.days();
        while date <= last {
            if self.day(date) {
                for hour in 0..24 {
                    let Some(appointment) = self.hour(hour) else { continue };
                    for &minute in &self.minutes {
                        for &second in &self.seconds {
                            let wall = date.to_datetime(Time::constant(hour, minute, second, 0));
                            self.place(zone, wall, appointment, &mut found);
                        }
                    }
                }
            }
            date = date.tomorrow().unwrap();
        }
        found.into_iter().filter(|at| *at > after && *at <= until).collect()
    }

    fn place(&self, zone: &TimeZone, wall: DateTime, appointment: bool, found: &mut BTreeSet<Timestamp>) {
        match zone.to_ambiguous_timestamp(wall).offset() {
            AmbiguousOffset::Unambiguous { offset } => {
                found.insert(offset.to_timestamp(wall).unwrap());
            }
            AmbiguousOffset::Gap { before, .. } => {
                let shifted = before.to_timestamp(wall).unwrap();
                match self.gap {
                    Some(Gap::Shift) => {
                        found.insert(shifted);
                    }
                    Some(Gap::Skip) => {}
                    None if !appointment => {}
                    None | Some(Gap::NextValid) => {
                        let just_after = shifted + SignedDuration::from_nanos(1);
                        found.insert(zone.preceding(just_after).next().unwrap().timestamp());
                    }
                }
            }
            AmbiguousOffset::Fold { before, after } => {
                let (first, last) = (before.to_timestamp(wall).unwrap(), after.to_timestamp(wall).unwrap());
                let overlap = self.overlap.unwrap_or(if appointment { Overlap::First } else { Overlap::Both });
                if overlap != Overlap::Last {
                    found.insert(first);
                }
                if overlap != Overlap::First {
                    found.insert(last);
                }
            }
        }
    }
}

fn set(low: i8, high: i8, most: usize) -> impl Strategy<Value = Set> {
    collection::btree_set(low..=high, 1..=most)
}

fn piece() -> impl Strategy<Value = Piece> {
    prop_oneof![
        3 => (0..24i8).prop_map(Piece::Literal),
        2 => (0..24i8, 0..24i8, 1..4i8).prop_map(|(from, to, step)| Piece::Range(from, to, step)),
        1 => (1..7i8).prop_map(Piece::Every),
    ]
}

fn model() -> impl Strategy<Value = Model> {
    let clock =
        (prop_oneof![3 => Just(Set::from([0])), 1 => set(0, 59, 2)], set(0, 59, 4), collection::vec(piece(), 1..4));
    let calendar = (
        option::weighted(0.3, set(1, 31, 12)),
        prop_oneof![Just((1..=12).collect::<Set>()), set(1, 12, 8)],
        option::weighted(0.3, set(0, 6, 4)),
    );
    let policy = (
        option::of(sample::select(vec![Gap::NextValid, Gap::Skip, Gap::Shift])),
        option::of(sample::select(vec![Overlap::First, Overlap::Last, Overlap::Both])),
        option::of(sample::select(vec![DayMatch::Or, DayMatch::And])),
    );
    (clock, calendar, policy).prop_map(
        |((seconds, minutes, hours), (days, months, weekdays), (gap, overlap, day_match))| Model {
            seconds,
            minutes,
            hours,
            days,
            months,
            weekdays,
            gap,
            overlap,
            day_match,
        },
    )
}

/// A zone, and an instant shortly before or after one of its clock changes.
fn place_and_time() -> impl Strategy<Value = (&'static str, Timestamp)> {
    let from = "1885-01-01T00:00:00Z".parse::<Timestamp>().unwrap().as_second();
    let to = "2120-01-01T00:00:00Z".parse::<Timestamp>().unwrap().as_second();
    (sample::select(ZONES.to_vec()), from..to, -260_000i64..90_000, 0i32..1_000_000_000).prop_map(
        |(name, second, shift, nanosecond)| {
            let zone = TimeZoneDatabase::bundled().get(name).unwrap();
            let second = Timestamp::from_second(second).unwrap();
            let near = zone.following(second).next().map_or(second, |change| change.timestamp());
            (name, Timestamp::new(near.as_second() + shift, nanosecond).unwrap())
        },
    )
}

/// Any rule, for the properties that need no oracle.
fn any_rule() -> impl Strategy<Value = Rule> {
    let specials = sample::select(vec![
        "0 0 L * *",
        "0 12 LW * *",
        "0 0 L-3W * *",
        "30 2 15W * 1#2",
        "0 */5 * * 5L",
        "30 2 * 3 SUNL",
        "0 0 29 2 *",
        "*/7 * * * *",
        "0 0 31 12 +FRI",
        "H H H * *",
        "*/20 0 0 1 1 ? 1999-2060/7",
    ]);
    prop_oneof![
        4 => model().prop_map(|model| model.rule()),
        2 => specials.prop_map(|text| Rule::cron(Expr::parse(text).unwrap())),
        1 => (1i64..1_000_000_000_000, 0.0..1.0f64).prop_map(|(every, phase)| {
            let phase_us = (every as f64 * phase) as i64;
            Rule::Interval(Interval::new(every, Anchor::Epoch { phase_us }).unwrap())
        }),
    ]
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn agrees_with_brute_force((name, after) in place_and_time(), model in model()) {
        let rule = model.rule();
        let until = after + SignedDuration::from_hours(72);
        let expected = model.brute_force(&TimeZoneDatabase::bundled().get(name).unwrap(), after, until);
        let zone = Zone::parse(name).unwrap();
        let got: Vec<_> = rule.instants(&zone, after, until).collect();
        prop_assert_eq!(&got, &expected, "{} in {} after {}", model.text(), name, after);
        prop_assert_eq!(rule.prev_before(&zone, until + SignedDuration::from_nanos(1)).filter(|at| *at > after),
            expected.last().copied(), "backwards: {} in {} before {}", model.text(), name, until);
    }

    #[test]
    fn time_only_moves_forward((name, after) in place_and_time(), rule in any_rule()) {
        let zone = Zone::parse(name).unwrap();
        let mut last = after;
        for at in rule.instants(&zone, after, Timestamp::MAX).take(12) {
            prop_assert!(at > last, "{at} does not follow {last}");
            prop_assert_eq!(at.as_nanosecond() % 1_000, 0);
            prop_assert_eq!(rule.next_after(&zone, last), Some(at), "the iterator and a single question disagree");
            prop_assert_eq!(rule.next_after(&zone, at - SignedDuration::from_nanos(1)), Some(at));
            last = at;
        }
    }

    #[test]
    fn next_and_previous_agree((name, at) in place_and_time(), rule in any_rule()) {
        let zone = Zone::parse(name).unwrap();
        if let Some(next) = rule.next_after(&zone, at) {
            let previous = rule.prev_before(&zone, next);
            prop_assert!(previous.is_none_or(|previous| previous <= at));
            if let Some(previous) = previous {
                prop_assert_eq!(rule.next_after(&zone, previous), Some(next));
            }
            prop_assert_eq!(rule.prev_before(&zone, next + SignedDuration::from_nanos(1)), Some(next));
        }
    }

    #[test]
    fn the_canonical_form_says_the_same(model in model()) {
        let expr = Expr::parse(&model.text()).unwrap();
        let canonical = expr.to_string();
        prop_assert_eq!(&Expr::parse(&canonical).unwrap(), &expr);
        prop_assert_eq!(Expr::parse(&canonical).unwrap().to_string(), canonical);
    }

    #[test]
    fn a_stored_rule_comes_back(rule in any_rule()) {
        let text = serde_json::to_string(&rule).unwrap();
        prop_assert_eq!(serde_json::from_str::<Rule>(&text).unwrap(), rule);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "[0-9A-Za-z*/,?#+() LWH-]{0,30}") {
        if let Ok(expr) = Expr::parse(&text) {
            prop_assert_eq!(Expr::parse(&expr.to_string()).unwrap(), expr.clone());
            let _ = (expr.explain(), expr.resolve(b"uid"));
        }
    }

    #[test]
    fn fields_of_special_items_survive_too(
        fields in collection::vec("(\\*|[0-9]{1,2}|[0-9]-[0-9]|\\*/[1-9]|L|L-[1-9]|LW|[0-9]W|[0-9]#[1-5]|[0-7]L|H|H/[1-9]|H\\([1-3]-[4-6]\\)|\\?)(,[1-7])?", 5..8),
    ) {
        let text = fields.join(" ");
        if let Ok(expr) = Expr::parse(&text) {
            prop_assert_eq!(Expr::parse(&expr.to_string()).unwrap(), expr.clone(), "{}", text);
            let _ = (expr.explain(), expr.resolve(b"uid"));
            let rule = Rule::cron(expr.resolve(b"uid"));
            prop_assert_eq!(rule.next_after(&Zone::utc(), Timestamp::UNIX_EPOCH),
                Rule::cron(Expr::parse(&expr.to_string()).unwrap().resolve(b"uid")).next_after(&Zone::utc(), Timestamp::UNIX_EPOCH));
        }
    }

    #[test]
    fn any_unicode_is_refused_cleanly(text in "\\PC{0,40}") {
        if let Err(error) = Expr::parse(&text) {
            prop_assert!(error.column >= 1 && error.column <= text.chars().count() + 1);
        }
        let _ = (mainspring_cron::parse_duration(&text), Zone::parse(&text));
    }
}

#[test]
fn special_days_agree_with_the_calendar() {
    let utc = Zone::utc();
    let start: Timestamp = "1999-12-31T00:00:00Z".parse().unwrap();
    let until: Timestamp = "2032-12-31T00:00:00Z".parse().unwrap();
    let weekday = |date: Date| !matches!(date.weekday(), Weekday::Saturday | Weekday::Sunday);
    // The nearest weekday of the same month, by trying the distances 0, 1, 2, the earlier day first.
    let nearest = move |target: Date| {
        [0, -1, 1, -2, 2]
            .into_iter()
            .filter_map(|days| target.checked_add(days.days()).ok())
            .find(|date| date.month() == target.month() && weekday(*date))
    };
    type Test = Box<dyn Fn(Date) -> bool>;
    let cases: Vec<(&str, Test)> = vec![
        ("0 0 L * *", Box::new(|date| date == date.last_of_month())),
        ("0 0 L-3 * *", Box::new(|date| date.day() == date.days_in_month() - 3)),
        ("0 0 LW * *", Box::new(move |date| nearest(date.last_of_month()) == Some(date))),
        ("0 0 L-2W * *", Box::new(move |date| nearest(date.last_of_month() - 2.days()) == Some(date))),
        ("0 0 1W * *", Box::new(move |date| nearest(date.first_of_month()) == Some(date))),
        ("0 0 15W * *", Box::new(move |date| nearest(date.first_of_month() + 14.days()) == Some(date))),
        ("0 0 * * TUE#2", Box::new(|date| date.weekday() == Weekday::Tuesday && (8..15).contains(&date.day()))),
        ("0 0 * * 0#5", Box::new(|date| date.weekday() == Weekday::Sunday && date.day() > 28)),
        ("0 0 * * 5L", Box::new(|date| date.weekday() == Weekday::Friday && date.day() + 7 > date.days_in_month())),
        ("0 0 28-3 * *", Box::new(|date| date.day() >= 28 || date.day() <= 3)),
        ("0 0 13 * +FRI", Box::new(|date| date.day() == 13 && date.weekday() == Weekday::Friday)),
        ("0 0 */2 NOV-FEB/3 *", Box::new(|date| date.day() % 2 == 1 && matches!(date.month(), 11 | 2))),
        (
            "0 0 0 1 * ? 2001,2010-2020/5",
            Box::new(|date| date.day() == 1 && matches!(date.year(), 2001 | 2010 | 2015 | 2020)),
        ),
    ];
    for (text, matches) in cases {
        let rule = Rule::cron(Expr::parse(text).unwrap());
        let got: Vec<_> = rule.instants(&utc, start, until).map(|at| utc.wall_clock(at).date()).collect();
        let days = Date::constant(2000, 1, 1).series(1.day()).take_while(|date| *date <= Date::constant(2032, 12, 31));
        let expected: Vec<_> = days.filter(|date| matches(*date)).collect();
        assert_eq!(got, expected, "{text}");
    }
}
