//! Days set apart: what a calendar holds, where a day goes that it holds, what iCalendar says, and jitter.
#![expect(clippy::unwrap_used, reason = "the helpers of a test may fail as the test itself may")]

use jiff::{
    SignedDuration, Timestamp, ToSpan as _,
    civil::{Date, Time, Weekday, date, time},
};
use mainspring_cron::{Calendar, Expr, Hours, JitterBounds, Roll, Rolled, Rule, Zone, Zones, jittered};
use proptest::{collection, option, prelude::*, sample};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn zone(name: &str) -> Zone {
    Zone::parse(name).unwrap()
}

fn weekends() -> Calendar {
    let weekly = vec![(Weekday::Saturday, Hours::ALL_DAY), (Weekday::Sunday, Hours::ALL_DAY)];
    Calendar { weekly, ..Calendar::default() }
}

#[test]
fn what_no_calendar_holds_is_a_gap_of_its_day() {
    let hours = |from: &str, until: &str| Hours { from: from.parse().unwrap(), until: Some(until.parse().unwrap()) };
    let weekly =
        vec![(Weekday::Monday, hours("09:00:00", "12:00:00")), (Weekday::Monday, hours("13:00:00", "17:00:00"))];
    let spans = vec![(at("2026-03-03T06:00:00Z"), at("2026-03-03T07:00:00Z"))];
    let shop = Calendar { weekly, spans, ..Calendar::default() };
    let gap = |text: &str| shop.gap(&Zone::utc(), at(text)).map(|(from, until)| (from.to_string(), until.to_string()));
    let is = |from: &str, until: &str| Some((from.to_owned(), until.to_owned()));
    // The second is a Monday.
    assert_eq!(gap("2026-03-02T08:00:00Z"), is("2026-03-02T00:00:00Z", "2026-03-02T09:00:00Z"));
    assert_eq!(gap("2026-03-02T09:00:00Z"), None);
    assert_eq!(gap("2026-03-02T12:30:00Z"), is("2026-03-02T12:00:00Z", "2026-03-02T13:00:00Z"));
    assert_eq!(gap("2026-03-02T17:00:00Z"), is("2026-03-02T17:00:00Z", "2026-03-03T00:00:00Z"));
    assert_eq!(gap("2026-03-03T05:00:00Z"), is("2026-03-03T00:00:00Z", "2026-03-03T06:00:00Z"));
    assert_eq!(gap("2026-03-03T07:00:00Z"), is("2026-03-03T07:00:00Z", "2026-03-04T00:00:00Z"));
    // Whatever is asked, it goes on behind it.
    for hour in 0..72 {
        let asked = at("2026-03-28T00:30:00Z") + SignedDuration::from_hours(hour);
        let berlin = zone("Europe/Berlin");
        if let Some((from, until)) = shop.gap(&berlin, asked) {
            assert!(from <= asked && asked < until, "{asked}: {from} {until}");
        }
    }
}

#[test]
fn days_and_hours_are_those_of_the_calendars_zone_or_of_whoever_asks() {
    let mut calendar = Calendar { dates: [date(2026, 5, 1)].into(), yearly: [(2, 29)].into(), ..Calendar::default() };
    calendar.weekly.push((Weekday::Monday, Hours { from: time(12, 0, 0, 0), until: Some(time(13, 0, 0, 0)) }));
    calendar.weekly.push((Weekday::Friday, Hours { from: time(22, 0, 0, 0), until: None }));
    let (tokyo, utc) = (zone("Asia/Tokyo"), Zone::utc());
    for (instant, in_tokyo, in_utc) in [
        ("2026-04-30T15:00:00Z", true, false),
        ("2026-05-01T14:59:59Z", true, true),
        ("2026-05-01T15:00:00Z", false, true),
        ("2028-02-29T00:00:00Z", true, true),
        ("2027-02-28T00:00:00Z", false, false),
        ("2026-11-30T12:00:00Z", false, true),
        ("2026-11-30T13:00:00Z", false, false),
        ("2026-11-30T03:30:00Z", true, false),
        ("2026-11-27T22:00:00Z", false, true),
        ("2026-11-27T23:59:59.999999Z", false, true),
        ("2026-11-28T00:00:00Z", false, false),
    ] {
        assert_eq!(
            (calendar.holds(&tokyo, at(instant)), calendar.holds(&utc, at(instant))),
            (in_tokyo, in_utc),
            "{instant}"
        );
    }
    calendar.zone = Some(tokyo);
    assert!(calendar.holds(&utc, at("2026-04-30T15:00:00Z")), "the calendar's own zone counts");
    assert!(calendar.holds_day(date(2026, 5, 1)) && !calendar.holds_day(date(2026, 11, 30)), "hours are no day");
}

#[test]
fn a_day_that_is_held_rolls_to_one_that_is_free() {
    // Christmas 2026 is a Friday: four days without work.
    let mut calendar = weekends();
    calendar.dates.extend([date(2026, 12, 25), date(2026, 12, 28)]);
    let rolled = |day: Date| {
        let roll = |roll| calendar.roll_date(day, roll).map(|date| date.day());
        [roll(Roll::Following), roll(Roll::Preceding), roll(Roll::Nearest), roll(Roll::Skip)]
    };
    assert_eq!(rolled(date(2026, 12, 24)), [Some(24); 4]);
    assert_eq!(rolled(date(2026, 12, 25)), [Some(29), Some(24), Some(24), None]);
    assert_eq!(rolled(date(2026, 12, 26)), [Some(29), Some(24), Some(24), None]);
    assert_eq!(rolled(date(2026, 12, 27)), [Some(29), Some(24), Some(29), None]);
    // Equally near: a Wednesday alone.
    calendar.dates.insert(date(2026, 12, 16));
    assert_eq!(calendar.roll_date(date(2026, 12, 16), Roll::Nearest), Some(date(2026, 12, 17)));
    let always = [Weekday::Monday, Weekday::Tuesday, Weekday::Wednesday, Weekday::Thursday, Weekday::Friday];
    calendar.weekly.extend(always.map(|weekday| (weekday, Hours::ALL_DAY)));
    assert_eq!(calendar.roll_date(date(2026, 12, 16), Roll::Nearest), None);
}

#[test]
fn a_rule_all_of_whose_days_are_held_names_nothing() {
    let (rule, zone) = (Rule::cron(Expr::parse("* * * * * *").unwrap()), Zone::utc());
    for roll in [Roll::Following, Roll::Preceding, Roll::Nearest] {
        let never = Rolled::new(&rule, &zone, roll, |_| true);
        let now = at("2026-01-01T00:00:00Z");
        assert_eq!((never.next_after(now), never.prev_before(now)), (None, None));
    }
}

#[test]
fn an_instant_rolls_with_its_time_of_day() {
    let berlin = zone("Europe/Berlin");
    let mut calendar = weekends();
    let rolled = |calendar: &Calendar, instant: &str, roll| calendar.roll(&berlin, at(instant), roll);
    // From a Saturday at 09:00 in winter to a Monday at 09:00 in summer.
    assert_eq!(rolled(&calendar, "2026-03-28T08:00:00Z", Roll::Following), Some(at("2026-03-30T07:00:00Z")));
    assert_eq!(rolled(&calendar, "2026-03-27T08:00:00Z", Roll::Following), Some(at("2026-03-27T08:00:00Z")));
    assert_eq!(rolled(&calendar, "2026-03-28T08:00:00Z", Roll::Skip), None);
    // Into the gap: at the first valid instant.
    calendar.weekly.retain(|(weekday, _)| *weekday == Weekday::Saturday);
    assert_eq!(rolled(&calendar, "2026-03-28T01:30:00Z", Roll::Following), Some(at("2026-03-29T01:00:00Z")));
    // The second pass of a day that is free stays what it is.
    assert_eq!(rolled(&calendar, "2026-10-25T01:30:00Z", Roll::Following), Some(at("2026-10-25T01:30:00Z")));
}

const FILE: &str = "\u{feff}BEGIN:VCALENDAR\r
VERSION:2.0\r
PRODID:-//Example\\, Inc.//EN\r
BEGIN:VTIMEZONE\r
TZID:Europe/Berlin\r
BEGIN:DAYLIGHT\r
DTSTART:19700329T020000\r
RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU\r
END:DAYLIGHT\r
END:VTIMEZONE\r
BEGIN:VEVENT\r
SUMMARY;LANGUAGE=de:Weihnachten: zwei T\r
 age\r
DTSTART;VALUE=DATE:20261225\r
DTEND;VALUE=DATE:20261227\r
END:VEVENT\r
BEGIN:VEVENT\r
DTSTART;VALUE=DATE:2027\r
 0101\r
BEGIN:VALARM\r
TRIGGER:-PT15M\r
DURATION:PT5M\r
END:VALARM\r
END:VEVENT\r
\r
BEGIN:VEVENT\r
DTSTART;TZID=\"Europe/Berlin\":20260329T023000\r
DTEND:20260329T040000Z\r
END:VEVENT\r
BEGIN:VEVENT\r
dtstart;X-NOTE=\"a:b;c\":20260601T080000\r
DURATION:P1DT1H\r
END:VEVENT\r
BEGIN:VEVENT\r
DTSTART;VALUE=DATE:20260701\r
STATUS:CANCELLED\r
END:VEVENT\r
BEGIN:VEVENT\r
DTSTART;VALUE=DATE:20260702\r
TRANSP:TRANSPARENT\r
END:VEVENT\r
BEGIN:VEVENT\r
DTSTART;VALUE=DATE:20260703\r
DTEND;VALUE=DATE:20260703\r
TRANSP:OPAQUE\r
END:VEVENT\r
BEGIN:VTODO\r
RRULE:FREQ=DAILY\r
END:VTODO\r
END:VCALENDAR\r
";

#[test]
fn icalendar_is_read_as_far_as_it_says_when() {
    let calendar = Calendar::from_ical(FILE, Some(zone("America/New_York")), &Zones::bundled()).unwrap();
    let dates: Vec<_> = calendar.dates.iter().copied().collect();
    assert_eq!(dates, [date(2026, 7, 3), date(2026, 12, 25), date(2026, 12, 26), date(2027, 1, 1)]);
    let spans = [
        // Begins inside a gap: by the offset before it, as RFC 5545 has it.
        (at("2026-03-29T01:30:00Z"), at("2026-03-29T04:00:00Z")),
        (at("2026-06-01T12:00:00Z"), at("2026-06-02T13:00:00Z")),
    ];
    assert_eq!(calendar.spans, spans);
    let utc = Zone::utc();
    assert!(calendar.holds(&utc, spans[0].0) && !calendar.holds(&utc, spans[0].1));
    assert!(calendar.holds(&utc, at("2026-12-25T05:00:00Z")) && !calendar.holds(&utc, at("2026-12-25T04:59:59Z")));
}

#[test]
fn times_may_be_of_zones_as_windows_calls_them() {
    let held = |zone: &str, zones: &Zones| {
        let event = format!("DTSTART;TZID={zone}:20260601T090000\nDURATION:PT1H");
        let text = format!("BEGIN:VCALENDAR\nBEGIN:VEVENT\n{event}\nEND:VEVENT\nEND:VCALENDAR\n");
        Calendar::from_ical(&text, None, zones).map(|calendar| calendar.spans)
    };
    let hour = |from: &str, until: &str| vec![(at(from), at(until))];
    for (zone, from, until) in [
        ("W. Europe Standard Time", "2026-06-01T07:00:00Z", "2026-06-01T08:00:00Z"),
        ("\"Eastern Standard Time\"", "2026-06-01T13:00:00Z", "2026-06-01T14:00:00Z"),
        ("India Standard Time", "2026-06-01T03:30:00Z", "2026-06-01T04:30:00Z"),
    ] {
        assert_eq!(held(zone, &Zones::bundled()).unwrap(), hour(from, until), "{zone}");
    }
    // They stand for places, which data from a folder may not have.
    let file = Zones::bundled().file("America/New_York").unwrap().to_vec();
    let few = Zones::read(None, [("America/New_York".to_owned(), file)]).unwrap();
    assert_eq!(held("Eastern Standard Time", &few).unwrap().len(), 1);
    let refused = held("W. Europe Standard Time", &few).unwrap_err().to_string();
    assert!(refused.starts_with("line 3: time zone \"W. Europe Standard Time\""), "{refused}");
}

#[test]
fn what_would_hold_more_than_is_read_is_refused_by_line() {
    let event = |body: &str| format!("BEGIN:VCALENDAR\nBEGIN:VEVENT\n{body}\nEND:VEVENT\nEND:VCALENDAR\n");
    let refused = |text: &str| Calendar::from_ical(text, None, &Zones::bundled()).unwrap_err().to_string();
    for (body, told) in [
        ("DTSTART:20261225\nRRULE:FREQ=YEARLY", "line 4: RRULE makes an event recur"),
        ("RDATE:20261225", "line 3: RDATE makes an event recur"),
        ("DTSTART:20261325", "line 3: `20261325` is no date"),
        ("DTSTART:2026-12-25", "line 3: `2026-12-25` is no date"),
        ("DTSTART:20261225T250000Z", "line 3: `20261225T250000Z` is no time"),
        ("DTSTART:20261225T090000", "line 3: `20261225T090000` is of no zone"),
        ("DTSTART;TZID=Customized Time Zone:20261225T090000", "line 3: time zone \"Customized Time Zone\""),
        ("SUMMARY:nothing", "line 2: the event has no DTSTART"),
        ("DTSTART:20261225\nDTSTART:20261226", "line 4: DTSTART comes twice"),
        ("DTSTART:20261225\nDTEND:20261224", "line 2: the event ends before it begins"),
        ("DTSTART:20261225\nDTEND:20261226T000000Z", "line 2: DTSTART is a date, and DTEND a time"),
        ("DTSTART:20261225\nDURATION:PT1H", "line 2: DTSTART is a date, and DURATION"),
        ("DTSTART:20261225\nDURATION:-P1D", "line 4: `-P1D` is no length"),
        ("DTSTART:20261225\nDURATION:P1H", "line 4: `P1H` is no length"),
        ("DTSTART:20261225\nDTEND:20261226\nDURATION:P1D", "line 2: the event has both"),
        ("DTSTART:20000101\nDTEND:20400101", "line 2: the calendar holds more than 10000"),
        ("no colon", "line 3: a line is `NAME:value`"),
    ] {
        let told_of = refused(&event(body));
        assert!(told_of.starts_with(told), "{body}: {told_of}");
    }
    assert_eq!(refused(""), "line 1: no VCALENDAR is in the text");
    assert_eq!(refused("BEGIN:VCALENDAR\nBEGIN:VEVENT\n"), "line 2: VEVENT is not ended");
    assert_eq!(refused("DTSTART:20261225"), "line 1: DTSTART stands outside of VCALENDAR");
    assert_eq!(refused("BEGIN:VCALENDAR\nEND:VEVENT"), "line 2: VEVENT ends where VCALENDAR is open");
}

fn calendar() -> impl Strategy<Value = Calendar> {
    let weekday = sample::select(vec![Weekday::Saturday, Weekday::Sunday, Weekday::Monday, Weekday::Wednesday]);
    let dates = collection::btree_set((1..=28i8, 1..=12i8).prop_map(|(day, month)| date(2026, month, day)), 0..60);
    let yearly = collection::btree_set((1..=12i8, 1..=31i8), 0..20);
    (collection::vec(weekday, 0..3), dates, yearly).prop_map(|(weekdays, dates, yearly)| {
        let weekly = weekdays.into_iter().map(|weekday| (weekday, Hours::ALL_DAY)).collect();
        Calendar { dates, yearly, weekly, ..Calendar::default() }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_roll_ends_on_a_free_day_and_passes_none(calendar in calendar(), days in 0..365i32) {
        let day = date(2026, 1, 1) + days.days();
        let (following, preceding) = (calendar.roll_date(day, Roll::Following), calendar.roll_date(day, Roll::Preceding));
        for rolled in [following, preceding].into_iter().flatten() {
            prop_assert!(!calendar.holds_day(rolled));
            let (low, high) = (day.min(rolled), day.max(rolled));
            let between = low.series(1.day()).take_while(|date| *date <= high).filter(|date| *date != rolled);
            prop_assert!(between.into_iter().all(|date| calendar.holds_day(date)));
        }
        let nearest = calendar.roll_date(day, Roll::Nearest);
        prop_assert!(nearest == following || nearest == preceding);
        let skipped = calendar.roll_date(day, Roll::Skip);
        prop_assert_eq!(skipped.is_none(), calendar.holds_day(day));
        // An instant on a day is held exactly where the day is.
        for time in [Time::midnight(), Time::MAX] {
            let at = day.to_datetime(time).to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp();
            prop_assert_eq!(calendar.holds(&Zone::utc(), at), calendar.holds_day(day));
        }
    }

    #[test]
    fn a_rule_whose_days_move_names_what_each_of_its_instants_becomes(
        calendar in calendar(),
        (days, second) in (0..365i32, 0..86_400i64),
        roll in sample::select(vec![Roll::Following, Roll::Preceding, Roll::Nearest]),
        expr in sample::select(vec!["30 2 * * *", "*/20 1-3 * * *", "0 9,17 * * 1-5", "0 0 1,15 * *", "45 23 * * 6,0"]),
        zone in sample::select(vec!["Europe/Berlin", "America/Havana", "Asia/Kathmandu"]),
    ) {
        let (rule, zone) = (Rule::cron(Expr::parse(expr).unwrap()), Zone::parse(zone).unwrap());
        let day = SignedDuration::from_hours(24);
        let at = at("2026-01-01T00:00:00Z") + day * days + SignedDuration::from_secs(second);
        let all: std::collections::BTreeSet<_> = rule
            .instants(&zone, at - day * 150, at + day * 150)
            .filter_map(|named| calendar.roll(&zone, named, roll))
            .collect();
        let rolled = Rolled::new(&rule, &zone, roll, |date| calendar.holds_day(date));
        for at in all.range(at - day..at + day * 60).take(20).copied().chain([at]) {
            let (next, previous) = (all.range(at..).find(|found| **found > at), all.range(..at).next_back());
            prop_assert_eq!(rolled.next_after(at), next.copied(), "after {}", at);
            prop_assert_eq!(rolled.prev_before(at), previous.copied(), "before {}", at);
        }
    }

    #[test]
    fn jitter_keeps_the_order_and_crosses_no_bound(
        seed in any::<[u8; 16]>(),
        second in 0..4_000_000_000i64,
        window in 0..100_000_000_000i64,
        (gap, end) in (option::of(1..10_000_000_000i64), option::of(1..10_000_000_000i64)),
    ) {
        let nominal = Timestamp::from_second(second).unwrap();
        let later = |micros: Option<i64>| micros.map(|micros| nominal + SignedDuration::from_micros(micros));
        let window = SignedDuration::from_micros(window);
        let bounds = JitterBounds { window, next: later(gap), end: later(end) };
        let start = jittered(&seed, nominal, bounds);
        prop_assert_eq!(start, jittered(&seed, nominal, bounds));
        prop_assert!(start >= nominal && (start < nominal + window || window.is_zero()));
        prop_assert!(bounds.next.is_none_or(|next| start < next) && bounds.end.is_none_or(|end| start < end));
        prop_assert_eq!(start.as_nanosecond() % 1_000, 0);
    }

    #[test]
    fn no_text_makes_the_reader_panic(lines in collection::vec("(BEGIN|END|DTSTART|DTEND|DURATION| )[;:A-Z0-9=\"/-]{0,20}", 0..8)) {
        let _ = Calendar::from_ical(&lines.join("\n"), None, &Zones::bundled());
        let body = format!("BEGIN:VCALENDAR\nBEGIN:VEVENT\n{}\nEND:VEVENT\nEND:VCALENDAR", lines.join("\n"));
        let _ = Calendar::from_ical(&body, Some(Zone::utc()), &Zones::bundled());
    }
}

#[test]
fn jitter_spreads_and_differs_by_schedule_and_time() {
    let bounds = JitterBounds { window: SignedDuration::from_mins(10), next: None, end: None };
    let nominal = at("2026-01-01T00:00:00Z");
    let minutes = |seed: &[u8], nominal| jittered(seed, nominal, bounds).duration_since(nominal).as_mins();
    let mut counts = [0; 10];
    for schedule in 0..10_000u32 {
        counts[usize::try_from(minutes(&schedule.to_be_bytes(), nominal)).unwrap()] += 1;
    }
    assert!(counts.iter().all(|count| (850..1_150).contains(count)), "{counts:?}");
    let days =
        (0..24).map(|hour| jittered(b"uid", nominal + SignedDuration::from_hours(hour), bounds).subsec_nanosecond());
    assert_eq!(days.collect::<std::collections::BTreeSet<_>>().len(), 24);
    // For ever: a run's start may not move with a new version of the product.
    assert_eq!(jittered(b"uid", nominal, bounds).to_string(), "2026-01-01T00:07:52.064865Z");
}
