//! A calendar as it is stored: dates as they are written, days of the week by their numbers.

use jiff::{
    Timestamp,
    civil::{Date, Time, Weekday},
};

use super::{Calendar, Hours};
use crate::zone::Zone;

/// The stored form.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stored {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    zone: Option<Zone>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    dates: Vec<Date>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    yearly: Vec<(i8, i8)>,
    /// Monday is 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    weekly: Vec<(i8, Time, Option<Time>)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    spans: Vec<(Timestamp, Timestamp)>,
}

impl From<Calendar> for Stored {
    fn from(calendar: Calendar) -> Self {
        let Calendar { zone, dates, yearly, weekly, spans } = calendar;
        let weekly = weekly.into_iter().map(|(day, Hours { from, until })| (day.to_monday_one_offset(), from, until));
        Self {
            zone,
            dates: dates.into_iter().collect(),
            yearly: yearly.into_iter().collect(),
            weekly: weekly.collect(),
            spans,
        }
    }
}

impl TryFrom<Stored> for Calendar {
    type Error = jiff::Error;

    fn try_from(stored: Stored) -> Result<Self, jiff::Error> {
        let Stored { zone, dates, yearly, weekly, spans } = stored;
        let weekly = weekly
            .into_iter()
            .map(|(day, from, until)| Ok((Weekday::from_monday_one_offset(day)?, Hours { from, until })))
            .collect::<Result<_, jiff::Error>>()?;
        Ok(Self { zone, dates: dates.into_iter().collect(), yearly: yearly.into_iter().collect(), weekly, spans })
    }
}
