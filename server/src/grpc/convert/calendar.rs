//! Calendars: what people set apart, read and shown.

use std::sync::Arc;

use jiff::civil::{Time, Weekday};
use mainspring_cron::{Calendar, Hours, parse_date, parse_time};
use mainspring_engine::domain::{
    calendar::{CalendarSpec, NamedCalendar},
    instant::Instant,
    names::CalendarName,
};
use mainspring_proto::scheduler::v1 as wire;

use super::{Check, time};

const MAX_DESCRIPTION: usize = 1_024;
/// All that a calendar holds together.
const MAX_ENTRIES: usize = 10_000;

impl Check {
    /// A calendar's name and what it holds; output fields are not looked at.
    pub(crate) fn calendar(&mut self, calendar: wire::Calendar, scope: &str) -> Option<(CalendarName, CalendarSpec)> {
        let wire::Calendar {
            namespace,
            calendar: name,
            uid: _,
            version: _,
            etag: _,
            description,
            time_zone,
            dates,
            yearly_dates,
            weekly,
            spans,
            ical,
            create_time: _,
            update_time: _,
        } = calendar;
        self.same_namespace(&namespace, scope);
        let name = self.required("calendar", &name);
        let description = self.text("description", description, MAX_DESCRIPTION);
        let zone = if time_zone.is_empty() { None } else { self.zone(&time_zone) };
        let mut read = self.ical(&ical, zone.clone());
        read.zone = zone;
        read.dates.extend(self.each("dates", dates, |check, date| {
            let read = parse_date(&date);
            if read.is_none() {
                check.refuse("", "must be a date such as 2026-12-25");
            }
            read
        }));
        read.yearly.extend(self.each("yearly_dates", yearly_dates, |check, date| {
            // A leap year has every day there is.
            let read = parse_date(&format!("2024-{date}"));
            if read.is_none() {
                check.refuse("", "must be a month and a day such as 12-25");
            }
            read.map(|date| (date.month(), date.day()))
        }));
        read.weekly.extend(self.each("weekly", weekly, Self::weekly_hours));
        read.spans.extend(self.each("spans", spans, |check, span| {
            let wire::TimeSpan { start_time, end_time } = span;
            for (field, time) in [("start_time", &start_time), ("end_time", &end_time)] {
                if time.is_none() {
                    check.refuse(field, "is required");
                }
            }
            let (start, end) = (check.instant("start_time", start_time)?, check.instant("end_time", end_time)?);
            if end <= start {
                check.refuse("end_time", "must be later than start_time");
            }
            Some((start.timestamp(), end.timestamp()))
        }));
        if read.dates.len() + read.spans.len() > MAX_ENTRIES {
            self.refuse("dates", format!("must be at most {MAX_ENTRIES}, all days and spans together"));
        }
        Some((name?, CalendarSpec { description, calendar: Arc::new(read) }))
    }

    fn ical(&mut self, bytes: &[u8], zone: Option<mainspring_cron::Zone>) -> Calendar {
        if bytes.is_empty() {
            return Calendar::default();
        }
        let read = std::str::from_utf8(bytes).map_err(|_| "must be text in UTF-8".to_owned());
        match read.and_then(|text| Calendar::from_ical(text, zone, &self.zones()).map_err(|error| error.to_string())) {
            Ok(calendar) => calendar,
            Err(error) => {
                self.refuse("ical", error);
                Calendar::default()
            }
        }
    }

    fn weekly_hours(&mut self, hours: wire::WeeklyHours) -> Option<(Weekday, Hours)> {
        let wire::WeeklyHours { day, from, until } = hours;
        let day = self.choice("day", day, |day: wire::DayOfWeek| Some(i8::try_from(i32::from(day)).unwrap_or(0)))?;
        let day = Weekday::from_monday_one_offset(day);
        if day.is_err() {
            self.refuse("day", "is required");
        }
        let mut time = |field, text: &str| match (text, parse_time(text)) {
            ("", _) => None,
            (_, None) => {
                self.refuse(field, "must be a time such as 09:00 or 09:00:30");
                None
            }
            (_, read) => read,
        };
        let (from, until) = (time("from", &from).unwrap_or(Time::midnight()), time("until", &until));
        if until.is_some_and(|until| until <= from) {
            self.refuse("until", "must be later than from; leave it out for the end of the day");
        }
        Some((day.ok()?, Hours { from, until }))
    }
}

/// A calendar for people.
pub(crate) fn calendar(named: NamedCalendar, namespace: String) -> wire::Calendar {
    let NamedCalendar { uid, name, version, spec, create_time, update_time } = named;
    let CalendarSpec { description, calendar } = spec;
    let Calendar { zone, dates, yearly, weekly, spans } = &*calendar;
    let clock = |time: Time| time.strftime(if time.second() == 0 { "%H:%M" } else { "%T" }).to_string();
    wire::Calendar {
        namespace,
        calendar: name.into(),
        uid: uid.to_string(),
        version,
        etag: version.to_string(),
        description,
        time_zone: zone.as_ref().map(|zone| zone.name().to_owned()).unwrap_or_default(),
        dates: dates.iter().map(ToString::to_string).collect(),
        yearly_dates: yearly.iter().map(|(month, day)| format!("{month:02}-{day:02}")).collect(),
        weekly: weekly
            .iter()
            .map(|(day, Hours { from, until })| wire::WeeklyHours {
                day: day.to_monday_one_offset().into(),
                from: clock(*from),
                until: until.map(clock).unwrap_or_default(),
            })
            .collect(),
        spans: spans
            .iter()
            .map(|(from, until)| wire::TimeSpan {
                start_time: Some(time::timestamp(Instant::from_timestamp(*from))),
                end_time: Some(time::timestamp(Instant::from_timestamp(*until))),
            })
            .collect(),
        ical: Vec::new(),
        create_time: Some(time::timestamp(create_time)),
        update_time: Some(time::timestamp(update_time)),
    }
}

#[cfg(test)]
mod tests {
    use mainspring_engine::domain::ids::CalendarUid;

    use super::*;
    use crate::grpc::{convert::read, status::Refusal};

    fn sent() -> wire::Calendar {
        wire::Calendar {
            calendar: "holidays".into(),
            description: "When nobody works".into(),
            time_zone: "Europe/Berlin".into(),
            dates: vec!["2026-12-24".into()],
            yearly_dates: vec!["02-29".into(), "12-25".into()],
            weekly: vec![
                wire::WeeklyHours { day: 7, from: "00:00".into(), until: String::new() },
                wire::WeeklyHours { day: 1, from: "22:00".into(), until: "23:30:15".into() },
            ],
            spans: vec![wire::TimeSpan {
                start_time: Some(prost_types::Timestamp { seconds: 1_800_000_000, nanos: 0 }),
                end_time: Some(prost_types::Timestamp { seconds: 1_800_000_060, nanos: 0 }),
            }],
            ..wire::Calendar::default()
        }
    }

    fn parsed(calendar: wire::Calendar) -> Result<(CalendarName, CalendarSpec), Refusal> {
        read(|check| check.calendar(calendar, "default"))
    }

    #[test]
    fn calendars_come_back() {
        let (name, spec) = parsed(sent()).unwrap();
        let now = "2026-11-21T12:00:00Z".parse().unwrap();
        let uid = CalendarUid::new(now);
        let stored = NamedCalendar {
            uid,
            name: name.clone(),
            version: 3,
            spec: spec.clone(),
            create_time: now,
            update_time: now,
        };
        let shown = calendar(stored, "default".into());
        assert_eq!(shown.etag, "3");
        assert_eq!(parsed(shown).unwrap(), (name, spec.clone()));
        // What is stored is the same again.
        let text = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<CalendarSpec>(&text).unwrap(), spec);
    }

    #[test]
    fn a_file_adds_its_events() {
        let ical = b"BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nDTSTART;VALUE=DATE:20261231\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";
        let (_, spec) = parsed(wire::Calendar { ical: ical.to_vec(), ..sent() }).unwrap();
        let dates: Vec<_> = spec.calendar.dates.iter().map(ToString::to_string).collect();
        assert_eq!(dates, ["2026-12-24", "2026-12-31"]);
        let refusal = parsed(wire::Calendar { ical: b"nonsense".to_vec(), ..sent() }).unwrap_err();
        assert_eq!(refusal.first_field(), Some("ical"));
        assert!(refusal.message().contains("line 1"), "{}", refusal.message());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let field = |change: fn(&mut wire::Calendar)| {
            let mut calendar = sent();
            change(&mut calendar);
            parsed(calendar).unwrap_err().first_field().unwrap().to_owned()
        };
        assert_eq!(field(|calendar| calendar.dates.push("2026-02-30".into())), "dates[1]");
        assert_eq!(field(|calendar| calendar.yearly_dates[0] = "13-01".into()), "yearly_dates[0]");
        assert_eq!(field(|calendar| calendar.weekly[0].day = 0), "weekly[0].day");
        assert_eq!(field(|calendar| calendar.weekly[1].until = "21:00".into()), "weekly[1].until");
        assert_eq!(field(|calendar| calendar.weekly[1].from = "25:00".into()), "weekly[1].from");
        assert_eq!(field(|calendar| calendar.spans[0].end_time = calendar.spans[0].start_time), "spans[0].end_time");
        assert_eq!(field(|calendar| calendar.time_zone = "Mars".into()), "time_zone");
        assert_eq!(field(|calendar| calendar.ical = vec![0xff]), "ical");
    }
}
