//! Instants and lengths of time.

use std::time::Duration;

use mainspring_engine::domain::instant::Instant;
use prost_types::{Duration as WireDuration, Timestamp};

use super::Check;

/// 0001-01-01T00:00:00Z, the first instant a Timestamp has.
const FIRST: i64 = -62_135_596_800_000_000;
/// No length of time that people set is longer: a hundred years.
const LONGEST: Duration = Duration::from_secs(36_525 * 24 * 3600);

/// An instant, as the wire writes it.
pub(crate) fn timestamp(at: Instant) -> Timestamp {
    let micros = at.as_micros();
    // Both fit: the remainder is below a second.
    let nanos = i32::try_from(micros.rem_euclid(1_000_000) * 1_000).unwrap_or(0);
    Timestamp { seconds: micros.div_euclid(1_000_000), nanos }
}

/// A length of time, as the wire writes it.
pub(crate) fn duration(length: Duration) -> WireDuration {
    WireDuration {
        seconds: i64::try_from(length.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(length.subsec_nanos()).unwrap_or(0),
    }
}

impl Check {
    /// An instant that a caller gave; cut to microseconds.
    pub(crate) fn instant(&mut self, field: &str, at: Option<Timestamp>) -> Option<Instant> {
        let Timestamp { seconds, nanos } = at?;
        let micros = seconds.checked_mul(1_000_000).map(|micros| micros.saturating_add(i64::from(nanos / 1_000)));
        match micros {
            Some(micros)
                if (0..1_000_000_000).contains(&nanos) && (FIRST..=Instant::MAX.as_micros()).contains(&micros) =>
            {
                Some(Instant::from_micros(micros))
            }
            _ => {
                self.refuse(field, "must be an instant between the years 1 and 9999");
                None
            }
        }
    }

    /// A length of time that a caller gave: not negative, and no longer than a hundred years. Rounded up
    /// to microseconds.
    pub(crate) fn length(&mut self, field: &str, length: Option<WireDuration>) -> Option<Duration> {
        let WireDuration { seconds, nanos } = length?;
        let read = match (u64::try_from(seconds), u32::try_from(nanos)) {
            (Ok(seconds), Ok(nanos)) if nanos < 1_000_000_000 => Some(Duration::new(seconds, nanos)),
            _ => None,
        };
        let Some(read) = read.filter(|read| *read <= LONGEST) else {
            self.refuse(field, "must be zero or longer, and at most 100 years");
            return None;
        };
        // Microseconds are the finest that anything is stored in. What is shorter than one is not zero, which means something
        // else.
        Some(Duration::from_micros(u64::try_from(read.as_nanos().div_ceil(1_000)).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::grpc::convert::read;

    proptest! {
        #[test]
        fn instants_come_back(micros in FIRST..=Instant::MAX.as_micros()) {
            let at = Instant::from_micros(micros);
            prop_assert_eq!(read(|check| check.instant("t", Some(timestamp(at)))).ok(), Some(at));
        }

        #[test]
        fn lengths_come_back(micros in 0..36_525_u64 * 24 * 3600 * 1_000_000) {
            let length = Duration::from_micros(micros);
            prop_assert_eq!(read(|check| check.length("d", Some(duration(length)))).ok(), Some(length));
        }

        #[test]
        fn nothing_on_the_wire_panics(seconds: i64, nanos: i32) {
            let mut check = Check::default();
            check.instant("t", Some(Timestamp { seconds, nanos }));
            check.length("d", Some(WireDuration { seconds, nanos }));
        }
    }

    #[test]
    fn the_shortest_length_is_not_none() {
        let read = |nanos| read(|check| check.length("d", Some(WireDuration { seconds: 0, nanos }))).unwrap();
        let micros = Duration::from_micros;
        assert_eq!([read(0), read(1), read(100), read(1_000), read(1_001)], [0, 1, 1, 1, 2].map(micros));
    }

    #[test]
    fn impossible_times_are_refused() {
        for (seconds, nanos) in [(253_402_300_799, 999_999_999), (-62_135_596_800, 0)] {
            assert!(read(|check| check.instant("t", Some(Timestamp { seconds, nanos }))).is_ok(), "{seconds}");
        }
        for (seconds, nanos) in [(0, -1), (0, 1_000_000_000), (i64::MAX, 0), (i64::MIN, 0), (253_402_300_800, 0)] {
            assert!(read(|check| check.instant("t", Some(Timestamp { seconds, nanos }))).is_err(), "{seconds} {nanos}");
        }
        for (seconds, nanos) in [(-1, 0), (0, -1), (0, 1_000_000_000), (i64::MAX, 0)] {
            let length = WireDuration { seconds, nanos };
            assert!(read(|check| check.length("d", Some(length))).is_err(), "{seconds} {nanos}");
        }
    }
}
