//! The seven fields of a cron expression: their names, bounds and value names.
//!
//! Everything that differs between fields by number or word stands here; what differs by *grammar* (`L`, `W`, `#`)
//! is decided in [`crate::parse`].

use std::fmt;

/// A field of a cron expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// 0–59, the first field when there are six or seven.
    Second,
    /// 0–59.
    Minute,
    /// 0–23.
    Hour,
    /// 1–31, with `L`, `L-n`, `nW`, `LW`, `L-nW`.
    DayOfMonth,
    /// 1–12 or `JAN`–`DEC`.
    Month,
    /// 0–7 or `SUN`–`SAT`; 0 and 7 are both Sunday. With `n#k` and `nL`.
    DayOfWeek,
    /// 1970–9999, the last field when there are seven.
    Year,
}

const MONTHS: [&str; 12] = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

impl Field {
    /// The smallest value.
    pub(crate) const fn min(self) -> u16 {
        match self {
            Self::Second | Self::Minute | Self::Hour | Self::DayOfWeek => 0,
            Self::DayOfMonth | Self::Month => 1,
            Self::Year => 1970,
        }
    }

    /// The greatest value. For days of the week this is 6: a written 7 is an alias of 0 and is gone after parsing.
    pub(crate) const fn max(self) -> u16 {
        match self {
            Self::Second | Self::Minute => 59,
            Self::Hour => 23,
            Self::DayOfMonth => 31,
            Self::Month => 12,
            Self::DayOfWeek => 6,
            Self::Year => 9999,
        }
    }

    /// How many values there are: where a wrapping range turns over, and the greatest step.
    pub(crate) const fn span(self) -> u16 {
        self.max() - self.min() + 1
    }

    /// The greatest value `H` picks by itself: only days that every month has.
    pub(crate) const fn hash_max(self) -> u16 {
        match self {
            Self::DayOfMonth => 28,
            Self::Second | Self::Minute | Self::Hour | Self::Month | Self::DayOfWeek | Self::Year => self.max(),
        }
    }

    /// Whether this is one of the two fields that choose the day.
    pub(crate) const fn is_day(self) -> bool {
        matches!(self, Self::DayOfMonth | Self::DayOfWeek)
    }

    /// The three-letter names, in the order of the values from [`Field::min`]; empty where there are none.
    pub(crate) const fn value_names(self) -> &'static [&'static str] {
        match self {
            Self::Month => &MONTHS,
            Self::DayOfWeek => &WEEKDAYS,
            Self::Second | Self::Minute | Self::Hour | Self::DayOfMonth | Self::Year => &[],
        }
    }

    /// The value of an upper-case three-letter name.
    pub(crate) fn value_of_name(self, upper: &str) -> Option<u16> {
        let index = self.value_names().iter().position(|name| *name == upper)?;
        u16::try_from(index).ok().map(|index| index + self.min())
    }

    /// How a value is written in canonical form.
    pub(crate) fn write_value(self, value: u16, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value_names().get(usize::from(value.saturating_sub(self.min()))) {
            Some(name) => f.write_str(name),
            None => write!(f, "{value}"),
        }
    }

    /// The stable word used in hashes and messages.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::DayOfMonth => "day of month",
            Self::Month => "month",
            Self::DayOfWeek => "day of week",
            Self::Year => "year",
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
