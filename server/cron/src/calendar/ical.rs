//! iCalendar (RFC 5545), as far as a calendar of days off needs it.
//!
//! Events with a date hold whole days, events with a time a stretch of time. Anything that would make an event hold more
//! than is read here, above all a recurrence, is refused by name and line: a holiday that silently is none fires jobs. What
//! says nothing about time (summaries, alarms, to-dos) is passed over.

use std::fmt;

use jiff::{
    SignedDuration, Span, Timestamp, ToSpan as _,
    civil::{Date, DateTime, Time},
    tz::{AmbiguousOffset, Offset},
};

use super::Calendar;
use crate::{zone::Zone, zones::Zones};

/// Why a text is no calendar that can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CalendarError {
    /// The line at fault, counted from 1 as it stands in the text.
    pub line: usize,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for CalendarError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for CalendarError {}

/// So many days and stretches one calendar may hold: 27 years without a free day.
const MAX_ENTRIES: usize = 10_000;
/// Words that make an event more than one.
const RECURRENCES: [&str; 4] = ["RRULE", "RDATE", "EXRULE", "RECURRENCE-ID"];

impl Calendar {
    /// Reads the events of an iCalendar file. Times without a zone of their own are of `zone`, which becomes the
    /// calendar's; dates are of no zone.
    ///
    /// ```
    /// use mainspring_cron::{Calendar, Zones};
    ///
    /// let text = "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nDTSTART;VALUE=DATE:20261225\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";
    /// let calendar = Calendar::from_ical(text, None, &Zones::bundled())?;
    /// assert!(calendar.holds_day(jiff::civil::date(2026, 12, 25)));
    /// # Ok::<(), mainspring_cron::CalendarError>(())
    /// ```
    ///
    /// # Errors
    /// [`CalendarError`] with the line of what cannot be read or would hold more than is read.
    pub fn from_ical(text: &str, zone: Option<Zone>, zones: &Zones) -> Result<Self, CalendarError> {
        let mut reader =
            Reader { zones, calendar: Self { zone, ..Self::default() }, open: Vec::new(), event: None, seen: false };
        let mut last = 0;
        for line in unfolded(text) {
            last = line.number;
            reader.line(&line)?;
        }
        match (reader.open.last(), reader.seen) {
            (Some(open), _) => Err(refused(last, format!("{open} is not ended"))),
            (None, false) => Err(refused(last.max(1), "no VCALENDAR is in the text".to_owned())),
            (None, true) => Ok(reader.calendar),
        }
    }
}

fn refused(line: usize, message: String) -> CalendarError {
    CalendarError { line, message }
}

/// A line of content: what was folded is one again.
struct Line {
    number: usize,
    text: String,
}

fn unfolded(text: &str) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for (i, raw) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        match (raw.strip_prefix([' ', '\t']), lines.last_mut()) {
            (Some(rest), Some(line)) => line.text.push_str(rest),
            _ if raw.trim().is_empty() => {}
            _ => lines.push(Line { number: i + 1, text: raw.to_owned() }),
        }
    }
    lines
}

impl Line {
    /// Name, parameters and value. A colon or a semicolon inside quotes is part of a parameter.
    fn parts(&self) -> Option<(String, &str, &str)> {
        let mut quoted = false;
        let outside = |c: char| {
            quoted ^= c == '"';
            !quoted && c == ':'
        };
        let (head, value) = self.text.split_at(self.text.find(outside)?);
        let (name, parameters) = head.split_once(';').unwrap_or((head, ""));
        Some((name.to_ascii_uppercase(), parameters, &value[1..]))
    }
}

/// An end of an event as it is written.
#[derive(Clone, Copy)]
enum Moment {
    Day(Date),
    Instant(Timestamp),
}

/// An event being read.
#[derive(Default)]
struct Event {
    line: usize,
    start: Option<Moment>,
    end: Option<Moment>,
    length: Option<Length>,
    /// It holds no time: it was cancelled, or whoever has it is free all the same.
    idle: bool,
}

/// Days of the calendar, and seconds beside.
#[derive(Clone, Copy)]
struct Length {
    days: i64,
    seconds: i64,
}

struct Reader<'a> {
    /// What its times are looked up in.
    zones: &'a Zones,
    calendar: Calendar,
    /// The components that are open, by name.
    open: Vec<String>,
    event: Option<Event>,
    seen: bool,
}

impl Reader<'_> {
    fn line(&mut self, line: &Line) -> Result<(), CalendarError> {
        let refuse = |message: String| Err(refused(line.number, message));
        let Some((name, parameters, value)) = line.parts() else {
            return refuse("a line is `NAME:value`, and this one has no colon".to_owned());
        };
        match name.as_str() {
            "BEGIN" => self.begin(line.number, value.trim().to_ascii_uppercase()),
            "END" => self.end(line.number, &value.trim().to_ascii_uppercase()),
            _ if self.open.is_empty() => refuse(format!("{name} stands outside of VCALENDAR")),
            _ => self.property(line.number, &name, parameters, value.trim()),
        }
    }

    fn begin(&mut self, line: usize, component: String) -> Result<(), CalendarError> {
        match (self.open.last().map(String::as_str), component.as_str()) {
            (None, "VCALENDAR") => self.seen = true,
            (None, other) => return Err(refused(line, format!("{other} stands outside of VCALENDAR"))),
            (Some("VCALENDAR"), "VEVENT") => self.event = Some(Event { line, ..Event::default() }),
            (Some(_), _) => {}
        }
        self.open.push(component);
        Ok(())
    }

    fn end(&mut self, line: usize, component: &str) -> Result<(), CalendarError> {
        if self.open.last().is_none_or(|open| open != component) {
            let open = self.open.last().map_or("nothing", String::as_str);
            return Err(refused(line, format!("{component} ends where {open} is open")));
        }
        self.open.pop();
        match self.event.take() {
            Some(event) if component == "VEVENT" => self.hold(&event),
            open => {
                self.event = open;
                Ok(())
            }
        }
    }

    fn property(&mut self, line: usize, name: &str, parameters: &str, value: &str) -> Result<(), CalendarError> {
        // An alarm inside an event has times of its own, and none of them is the event's.
        if self.open.last().is_none_or(|open| open != "VEVENT") {
            return Ok(());
        }
        let zone = self.calendar.zone.clone();
        let Some(event) = &mut self.event else { return Ok(()) };
        if RECURRENCES.contains(&name) {
            let advice = "list its dates one by one, or as yearly dates of the calendar";
            return Err(refused(line, format!("{name} makes an event recur, which is not read; {advice}")));
        }
        let twice = match name {
            "DTSTART" => event.start.replace(moment(line, parameters, value, (self.zones, zone.as_ref()))?).is_some(),
            "DTEND" => event.end.replace(moment(line, parameters, value, (self.zones, zone.as_ref()))?).is_some(),
            "DURATION" => {
                let length =
                    length(value).ok_or_else(|| refused(line, format!("`{value}` is no length such as P1D")))?;
                event.length.replace(length).is_some()
            }
            "STATUS" => {
                event.idle |= value.eq_ignore_ascii_case("CANCELLED");
                false
            }
            "TRANSP" => {
                event.idle |= value.eq_ignore_ascii_case("TRANSPARENT");
                false
            }
            _ => false,
        };
        if twice { Err(refused(line, format!("{name} comes twice in one event"))) } else { Ok(()) }
    }

    /// Adds what an event holds.
    fn hold(&mut self, event: &Event) -> Result<(), CalendarError> {
        let Event { line, start, end, length, idle } = *event;
        let refuse = |message: &str| Err(refused(line, message.to_owned()));
        if idle {
            return Ok(());
        }
        if end.is_some() && length.is_some() {
            return refuse("the event has both DTEND and DURATION");
        }
        match (start, end, length) {
            (None, ..) => return refuse("the event has no DTSTART"),
            (Some(Moment::Day(first)), end, length) => {
                let after = match (end, length) {
                    // Many programs write the day itself, where the one after it is meant.
                    (Some(Moment::Day(end)), _) if end == first => first.tomorrow().unwrap_or(first),
                    (Some(Moment::Day(end)), _) => end,
                    (Some(Moment::Instant(_)), _) => return refuse("DTSTART is a date, and DTEND a time"),
                    (None, Some(Length { days, seconds: 0 })) => match first.checked_add(Span::new().days(days)) {
                        Ok(end) => end,
                        Err(_) => return refuse("the event ends after the calendar does"),
                    },
                    (None, Some(_)) => return refuse("DTSTART is a date, and DURATION is not of whole days"),
                    (None, None) => first.tomorrow().unwrap_or(first),
                };
                if after <= first {
                    return refuse("the event ends before it begins, or at once");
                }
                let days = first.series(1.day()).take_while(|day| *day < after).take(MAX_ENTRIES + 1);
                self.calendar.dates.extend(days);
            }
            (Some(Moment::Instant(from)), end, length) => {
                let until = match (end, length) {
                    (Some(Moment::Instant(end)), _) => end,
                    (Some(Moment::Day(_)), _) => return refuse("DTSTART is a time, and DTEND a date"),
                    (None, Some(Length { days, seconds })) => {
                        match from.checked_add(SignedDuration::from_secs(days * 86_400 + seconds)) {
                            Ok(end) => end,
                            Err(_) => return refuse("the event ends after the calendar does"),
                        }
                    }
                    // An event that is only a point in time holds none.
                    (None, None) => return Ok(()),
                };
                if until <= from {
                    return refuse("the event ends before it begins, or at once");
                }
                self.calendar.spans.push((from, until));
            }
        }
        if self.calendar.dates.len() + self.calendar.spans.len() > MAX_ENTRIES {
            return Err(refused(line, format!("the calendar holds more than {MAX_ENTRIES} days and times")));
        }
        Ok(())
    }
}

fn moment(
    line: usize,
    parameters: &str,
    value: &str,
    (zones, zone): (&Zones, Option<&Zone>),
) -> Result<Moment, CalendarError> {
    let refuse = |message: String| Err(refused(line, message));
    let mut named = None;
    for parameter in parameters.split(';').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if name.eq_ignore_ascii_case("TZID") {
            // A leading slash says that the name is one that everybody knows.
            match zones.zone_of_file(value.trim_matches('"').trim_start_matches('/')) {
                Ok(zone) => named = Some(zone),
                Err(error) => return refuse(error.to_string()),
            }
        }
    }
    let (date, time) = value.split_once(['T', 't']).map_or((value, None), |(date, time)| (date, Some(time)));
    let Some(date) = digits(date, [4, 2, 2]).and_then(|[year, month, day]| {
        Date::new(i16::try_from(year).ok()?, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()
    }) else {
        return refuse(format!("`{value}` is no date such as 20261225"));
    };
    let Some(time) = time else { return Ok(Moment::Day(date)) };
    let (digits_of, utc) = time.strip_suffix(['Z', 'z']).map_or((time, false), |time| (time, true));
    let Some(time) = digits(digits_of, [2, 2, 2]).and_then(|[hour, minute, second]| {
        // A leap second is the last one of its minute.
        let part = |number: i32| i8::try_from(number).ok();
        Time::new(part(hour)?, part(minute)?, part(second.min(59))?, 0).ok()
    }) else {
        return refuse(format!("`{value}` is no time such as 20261225T090000"));
    };
    let wall = date.to_datetime(time);
    match instant(wall, utc, named.as_ref().or(zone)) {
        Some(at) => Ok(Moment::Instant(at)),
        None if utc || named.is_some() || zone.is_some() => refuse(format!("`{value}` is outside of the calendar")),
        None => refuse(format!("`{value}` is of no zone; give the calendar one")),
    }
}

fn instant(wall: DateTime, utc: bool, zone: Option<&Zone>) -> Option<Timestamp> {
    if utc {
        return Offset::UTC.to_timestamp(wall).ok();
    }
    // RFC 5545, 3.3.5: of a time that comes twice the first is meant, and one that never comes goes by the offset before.
    let offset = match zone?.ambiguity(wall) {
        AmbiguousOffset::Unambiguous { offset } => offset,
        AmbiguousOffset::Gap { before, after: _ } | AmbiguousOffset::Fold { before, after: _ } => before,
    };
    offset.to_timestamp(wall).ok()
}

/// Numbers of these widths, one after the other.
fn digits<const N: usize>(text: &str, widths: [usize; N]) -> Option<[i32; N]> {
    if text.len() != widths.iter().sum::<usize>() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let mut rest = text;
    let mut numbers = [0; N];
    for (number, width) in numbers.iter_mut().zip(widths) {
        let (head, tail) = rest.split_at(width);
        (*number, rest) = (head.parse().ok()?, tail);
    }
    Some(numbers)
}

/// `P1D`, `P2W`, `PT8H30M`: of days and of seconds, and not negative.
fn length(text: &str) -> Option<Length> {
    let upper = text.to_ascii_uppercase();
    let body = upper.strip_prefix('+').unwrap_or(&upper).strip_prefix('P')?;
    let (days, clock) = body.split_once('T').map_or((body, None), |(days, clock)| (days, Some(clock)));
    if (days.is_empty() && clock.is_none()) || clock.is_some_and(str::is_empty) {
        return None;
    }
    let days = units(days, &[('W', 7), ('D', 1)])?;
    let seconds = units(clock.unwrap_or_default(), &[('H', 3_600), ('M', 60), ('S', 1)])?;
    Some(Length { days, seconds })
}

/// The sum of numbers with units, each unit at most once and in this order. A number has at most six digits, so that
/// nothing overflows.
fn units(text: &str, units: &[(char, i64)]) -> Option<i64> {
    let (mut rest, mut sum) = (text, 0);
    for (unit, weight) in units {
        let Some((number, tail)) = rest.split_once(*unit) else { continue };
        if number.is_empty() || number.len() > 6 || !number.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        sum += number.parse::<i64>().ok()? * weight;
        rest = tail;
    }
    rest.is_empty().then_some(sum)
}
