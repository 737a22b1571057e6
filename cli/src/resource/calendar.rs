//! What a person sees of a calendar.

use mainspring_proto::scheduler::v1::{Calendar, WeeklyHours};

use super::{Resource, word};
use crate::{output::Cell, times};

impl Resource for Calendar {
    const COLUMNS: &'static [&'static str] =
        &["CALENDAR", "DATES", "YEARLY", "WEEKLY", "SPANS", "ZONE", "UPDATED", "DESCRIPTION"];

    fn row(&self) -> Vec<Cell> {
        vec![
            Cell::text(&self.calendar),
            Cell::of(self.dates.len()),
            Cell::of(self.yearly_dates.len()),
            Cell::text(weekly(&self.weekly)),
            Cell::of(self.spans.len()),
            Cell::text(&self.time_zone),
            Cell::time(self.update_time.as_ref()),
            Cell::text(&self.description),
        ]
    }

    fn page(&self) -> Vec<(&'static str, Cell)> {
        let time = |time: &Option<prost_types::Timestamp>| {
            time.as_ref().and_then(times::from_proto).map(|time| time.to_string()).unwrap_or_default()
        };
        let spans = self.spans.iter().map(|span| format!("{} to {}", time(&span.start_time), time(&span.end_time)));
        vec![
            ("calendar", Cell::text(&self.calendar)),
            ("description", Cell::text(&self.description)),
            ("zone", Cell::text(&self.time_zone)),
            ("dates", Cell::text(self.dates.join(", "))),
            ("yearly", Cell::text(self.yearly_dates.join(", "))),
            ("weekly", Cell::text(weekly(&self.weekly))),
            ("spans", Cell::text(spans.collect::<Vec<_>>().join("; "))),
            ("version", Cell::of(self.version)),
            ("created", Cell::time(self.create_time.as_ref())),
            ("updated", Cell::time(self.update_time.as_ref())),
        ]
    }
}

/// Hours of every week as they are typed.
fn weekly(hours: &[WeeklyHours]) -> String {
    let one = |hours: &WeeklyHours| {
        let day = word(hours.day().as_str_name(), "DAY_OF_WEEK_");
        let day = day[..3.min(day.len())].to_ascii_uppercase();
        match (hours.from.as_str(), hours.until.as_str()) {
            ("" | "00:00", "") => day,
            (from, until) => format!("{day} {from}-{until}"),
        }
    };
    hours.iter().map(one).collect::<Vec<_>>().join(", ")
}
