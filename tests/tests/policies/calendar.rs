//! Clock changes, days and calendars: which instants a schedule names, as a job that is saved shows them.

use mainspring_proto::scheduler::v1::{
    Calendar, CalendarInterval, CalendarRoll, CalendarUnit, CreateCalendarRequest, DayMatch, DstGap, DstOverlap, Job,
    PreviewRange, PreviewScheduleRequest, Schedule, schedule::Rule,
};

use super::scene::{Row, Scene, every};

/// 02:30 in Berlin around 2027-03-28, when there is none.
const GAP: [(DstGap, &str, [&str; 2]); 3] = [
    (DstGap::NextValid, "the first instant after the gap", ["2027-03-28T01:00:00Z", "2027-03-29T00:30:00Z"]),
    (DstGap::Skip, "the day has none", ["2027-03-29T00:30:00Z", "2027-03-30T00:30:00Z"]),
    (DstGap::Shift, "as much later as the gap is long", ["2027-03-28T01:30:00Z", "2027-03-29T00:30:00Z"]),
];

/// 02:30 in Berlin around 2027-10-31, when it comes twice.
const OVERLAP: [(DstOverlap, &str, [&str; 2]); 3] = [
    (DstOverlap::First, "the first time", ["2027-10-31T00:30:00Z", "2027-11-01T01:30:00Z"]),
    (DstOverlap::Last, "the last time", ["2027-10-31T01:30:00Z", "2027-11-01T01:30:00Z"]),
    (DstOverlap::Both, "both times", ["2027-10-31T00:30:00Z", "2027-10-31T01:30:00Z"]),
];

/// The 13th and Fridays.
const DAYS: [(DayMatch, &str, [&str; 2]); 2] = [
    (DayMatch::Or, "either field", ["2027-02-05T00:00:00Z", "2027-02-12T00:00:00Z"]),
    (DayMatch::And, "both fields", ["2027-08-13T00:00:00Z", "2028-10-13T00:00:00Z"]),
];

/// 09:00 on the first of a month, where 1 and 2 May are held, and 31 May and 1 June.
const ROLL: [(CalendarRoll, &str, [&str; 2]); 4] = [
    (CalendarRoll::Skip, "it makes no run", ["2027-07-01T09:00:00Z", "2027-08-01T09:00:00Z"]),
    (CalendarRoll::Following, "the next free day", ["2027-05-03T09:00:00Z", "2027-06-02T09:00:00Z"]),
    (CalendarRoll::Preceding, "the last free day before", ["2027-04-30T09:00:00Z", "2027-05-30T09:00:00Z"]),
    (CalendarRoll::Nearest, "the nearest free day", ["2027-04-30T09:00:00Z", "2027-06-02T09:00:00Z"]),
];

/// From 2027-01-31 on.
const UNIT: [(CalendarUnit, &str, [&str; 2]); 4] = [
    (CalendarUnit::Day, "days", ["2027-02-01T00:00:00Z", "2027-02-02T00:00:00Z"]),
    (CalendarUnit::Week, "weeks", ["2027-02-07T00:00:00Z", "2027-02-14T00:00:00Z"]),
    (CalendarUnit::Month, "months, which end on their last day", ["2027-02-28T00:00:00Z", "2027-03-31T00:00:00Z"]),
    (CalendarUnit::Year, "years", ["2028-01-31T00:00:00Z", "2029-01-31T00:00:00Z"]),
];

/// A cron rule by the wall clock of Berlin.
fn berlin(cron: &str) -> Schedule {
    Schedule { rule: Some(Rule::Cron(cron.into())), time_zone: "Europe/Berlin".into(), ..Schedule::default() }
}

/// The next two instants of a job with this schedule, after a day.
async fn next(scene: &Scene, value: &str, schedule: Schedule, after: &str) -> Vec<String> {
    let job = Job { schedules: vec![schedule], ..every(&value.to_ascii_lowercase(), 60) };
    let job = scene.client.create_job(job).await.unwrap().job;
    let after: jiff::Timestamp = format!("{after}T12:00:00Z").parse().unwrap();
    let after_time = Some(prost_types::Timestamp { seconds: after.as_second(), nanos: 0 });
    let range = Some(PreviewRange { after_time, count: 2, ..PreviewRange::default() });
    let preview = PreviewScheduleRequest { job, range, ..PreviewScheduleRequest::default() };
    let told = scene.client.scheduler().preview_schedule(preview).await.unwrap().into_inner();
    let instants = told.schedules[0].instants.iter().map(|instant| instant.time.unwrap().seconds);
    instants.map(|second| jiff::Timestamp::from_second(second).unwrap().to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_says_what_clock_changes_do_to_it() {
    let scene = Scene::bare().await;
    for (gap, says, instants) in GAP {
        let schedule = Schedule { gap: gap.into(), ..berlin("30 2 * * *") };
        assert_eq!(next(&scene, gap.as_str_name(), schedule, "2027-03-27").await, instants, "{says}");
    }
    for (overlap, says, instants) in OVERLAP {
        let schedule = Schedule { overlap: overlap.into(), ..berlin("30 2 * * *") };
        assert_eq!(next(&scene, overlap.as_str_name(), schedule, "2027-10-30").await, instants, "{says}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_says_which_days_it_names() {
    let scene = Scene::bare().await;
    for (day_match, says, instants) in DAYS {
        let rule = Some(Rule::Cron("0 0 13 * FRI".into()));
        let schedule = Schedule { rule, day_match: day_match.into(), ..Schedule::default() };
        assert_eq!(next(&scene, day_match.as_str_name(), schedule, "2027-02-01").await, instants, "{says}");
    }
    for (unit, says, instants) in UNIT {
        let first_date = "2027-01-31".into();
        let rule = CalendarInterval { unit: unit.into(), first_date, ..CalendarInterval::default() };
        let schedule = Schedule { rule: Some(Rule::CalendarInterval(rule)), ..Schedule::default() };
        assert_eq!(next(&scene, unit.as_str_name(), schedule, "2027-01-31").await, instants, "{says}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_says_where_an_instant_goes_whose_day_is_held() {
    let scene = Scene::bare().await;
    let dates = ["2027-05-01", "2027-05-02", "2027-05-31", "2027-06-01"].map(str::to_owned).to_vec();
    let calendar = Some(Calendar { calendar: "held".into(), dates, ..Calendar::default() });
    let create = CreateCalendarRequest { calendar, ..CreateCalendarRequest::default() };
    scene.client.admin().create_calendar(create).await.unwrap();
    for (roll, says, instants) in ROLL {
        let rule = Some(Rule::Cron("0 9 1 * *".into()));
        let schedule =
            Schedule { rule, roll: roll.into(), exclude_calendars: vec!["held".into()], ..Schedule::default() };
        assert_eq!(next(&scene, roll.as_str_name(), schedule, "2027-04-15").await, instants, "{says}");
    }
}

pub(crate) fn rows() -> Vec<Row> {
    let gap = GAP.map(|(value, says, _)| ("DstGap", value.as_str_name(), says));
    let overlap = OVERLAP.map(|(value, says, _)| ("DstOverlap", value.as_str_name(), says));
    let days = DAYS.map(|(value, says, _)| ("DayMatch", value.as_str_name(), says));
    let roll = ROLL.map(|(value, says, _)| ("CalendarRoll", value.as_str_name(), says));
    let unit = UNIT.map(|(value, says, _)| ("CalendarUnit", value.as_str_name(), says));
    [&gap[..], &overlap, &days, &roll, &unit].concat()
}
