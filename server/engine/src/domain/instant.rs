//! Instants: whole microseconds of UTC, the only kind of time point the engine knows.
//!
//! Columns hold the same number, so an instant that went through a store compares equal to one that did not.

use std::{fmt, str::FromStr, time::Duration};

use jiff::{SignedDuration, Timestamp, civil::DateTime, fmt::temporal::Pieces};
use serde::{Deserialize, Serialize};

/// The epoch as a date and a time without a zone.
const UNIX_EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

/// A point in time, in whole microseconds since the Unix epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Instant(i64);

impl Instant {
    /// The first representable instant.
    pub const MIN: Self = Self(-377_705_023_201_000_000);
    /// The last representable instant, 9999-12-31T23:59:59.999999Z, which people write for "never".
    pub const MAX: Self = Self(253_402_300_799_999_999);
    /// The last instant that a calendar can show in every zone, a day earlier: nothing is computed beyond it.
    pub const CALENDAR_MAX: Self = Self(253_402_207_200_999_999);
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);

    /// From microseconds since the epoch, clamped to what is representable.
    pub fn from_micros(micros: i64) -> Self {
        Self(micros.clamp(Self::MIN.0, Self::MAX.0))
    }

    /// Microseconds since the epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// From a calendar timestamp; what is finer than a microsecond is cut.
    pub fn from_timestamp(timestamp: Timestamp) -> Self {
        Self::from_micros(timestamp.as_microsecond())
    }

    /// As a calendar timestamp, clamped to what a calendar can show.
    pub fn timestamp(self) -> Timestamp {
        Timestamp::from_microsecond(self.0).unwrap_or(if self.0 < 0 { Timestamp::MIN } else { Timestamp::MAX })
    }

    /// This much later, never beyond [`Instant::MAX`].
    #[must_use]
    pub fn plus(self, length: Duration) -> Self {
        Self::from_micros(self.0.saturating_add(i64::try_from(length.as_micros()).unwrap_or(i64::MAX)))
    }

    /// This much earlier, never before [`Instant::MIN`].
    #[must_use]
    pub fn minus(self, length: Duration) -> Self {
        Self::from_micros(self.0.saturating_sub(i64::try_from(length.as_micros()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this is; zero if it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self <= Self::CALENDAR_MAX {
            return self.timestamp().fmt(f);
        }
        // A date and a time without a zone reach to the end of the year.
        write!(f, "{}Z", UNIX_EPOCH.saturating_add(SignedDuration::from_micros(self.0)))
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Instant {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, jiff::Error> {
        text.parse().map(Self::from_timestamp).or_else(|error| last_day(text).ok_or(error))
    }
}

/// An instant between what a calendar can show and the end of its last year.
fn last_day(text: &str) -> Option<Instant> {
    let pieces = Pieces::parse(text).ok()?;
    let civil = pieces.date().to_datetime(pieces.time()?);
    let offset = pieces.to_numeric_offset()?;
    let micros = civil.duration_since(UNIX_EPOCH).as_micros() - i128::from(offset.seconds()) * 1_000_000;
    let at = Instant(i64::try_from(micros).ok()?);
    (Instant::CALENDAR_MAX..=Instant::MAX).contains(&at).then_some(at)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Instant;

    #[test]
    fn bounds_are_the_years_that_people_write() {
        assert_eq!(Instant::from_micros(i64::MAX), Instant::MAX);
        assert_eq!(Instant::from_micros(i64::MIN), Instant::MIN);
        assert_eq!(Instant::from_timestamp(Instant::MAX.timestamp()), Instant::CALENDAR_MAX);
        assert_eq!(Instant::from_timestamp(Instant::MIN.timestamp()), Instant::MIN);
        assert_eq!(Instant::MAX.plus(Duration::MAX), Instant::MAX);
    }

    #[test]
    fn the_last_day_is_read_and_shown() {
        for text in
            ["9999-12-31T23:59:59Z", "9999-12-30T22:00:01Z", "9999-12-31T23:59:59.999999Z", "2026-01-31T12:00:00Z"]
        {
            assert_eq!(text.parse::<Instant>().unwrap().to_string(), text);
        }
        assert_eq!("9999-12-31T23:59:59.999999Z".parse::<Instant>().unwrap(), Instant::MAX);
        assert_eq!(
            "9999-12-31T23:59:59+02:00".parse::<Instant>().unwrap(),
            "9999-12-31T21:59:59Z".parse::<Instant>().unwrap()
        );
        for bad in ["9999-12-31T23:59:59", "9999-12-31T23:59:59-01:00", "9999-12-32T00:00:00Z", "tomorrow"] {
            assert!(bad.parse::<Instant>().is_err(), "{bad}");
        }
    }

    #[test]
    fn lengths_never_go_below_zero() {
        let (early, late) = (Instant::from_micros(1), Instant::from_micros(5));
        assert_eq!(late.since(early), Duration::from_micros(4));
        assert_eq!(early.since(late), Duration::ZERO);
    }
}
