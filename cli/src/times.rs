//! Times and lengths: as people type them, and as tables show them.

use std::{fmt, str::FromStr, time::Duration};

use jiff::{SignedDuration, Timestamp, civil::DateTime, fmt::temporal::Pieces, tz::TimeZone};

/// A length as it is typed: `30s`, `5m`, `1h30m`, `2d`, `500ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Length(pub Duration);

/// Why a text is no length or no time.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum TimeError {
    /// No length.
    #[error("no length: {0}")]
    Length(String),
    /// No time.
    #[error("`{0}` is no time (write RFC 3339 like 2026-11-23T02:00:00Z, or now, now-1h, now+5m)")]
    Moment(String),
    /// No length after `now`.
    #[error("`{0}` is no time: {1}")]
    Offset(String, String),
}

impl FromStr for Length {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        let text = text.trim();
        if text.starts_with('-') {
            return Err(TimeError::Length("it is negative".into()));
        }
        // The one grammar of lengths: settings and filters are read by it too.
        let micros = mainspring_cron::parse_duration(text).map_err(|error| TimeError::Length(error.to_string()))?;
        Ok(Self(Duration::from_micros(micros.unsigned_abs())))
    }
}

impl Length {
    /// For the wire.
    pub(crate) fn to_proto(self) -> prost_types::Duration {
        let nanos = i32::try_from(self.0.subsec_nanos()).unwrap_or(0);
        prost_types::Duration { seconds: i64::try_from(self.0.as_secs()).unwrap_or(i64::MAX), nanos }
    }
}

/// A length of the wire, as it is typed.
pub(crate) fn length(length: &prost_types::Duration) -> String {
    let length = SignedDuration::new(length.seconds, length.nanos);
    mainspring_cron::format_duration(i64::try_from(length.as_micros()).unwrap_or(i64::MAX))
}

/// A time as it is typed: RFC 3339 with an offset, or `now`, `now-1h`, `now+5m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// The instant itself.
    At(Timestamp),
    /// On the last day there is, which people write for "never" and no calendar reaches.
    LastDay(prost_types::Timestamp),
    /// So far from now.
    FromNow(SignedDuration),
}

impl Moment {
    /// The instant it names, for the wire.
    pub(crate) fn to_proto(self, now: Timestamp) -> prost_types::Timestamp {
        match self {
            Self::At(instant) => to_proto(instant),
            Self::LastDay(instant) => instant,
            Self::FromNow(offset) => to_proto(now.saturating_add(offset).unwrap_or(now)),
        }
    }
}

impl Moment {
    /// The instant it names, or the last one that a calendar reaches.
    pub(crate) fn reached(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(instant) => instant,
            Self::LastDay(_) => Timestamp::MAX,
            Self::FromNow(offset) => now.saturating_add(offset).unwrap_or(Timestamp::MAX),
        }
    }
}

impl FromStr for Moment {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        let refuse = || TimeError::Moment(text.into());
        let text = text.trim();
        let Some(offset) = text.strip_prefix("now") else {
            return text.parse().map(Self::At).ok().or_else(|| last_day(text)).ok_or_else(refuse);
        };
        if offset.is_empty() {
            return Ok(Self::FromNow(SignedDuration::ZERO));
        }
        let (sign, length) = match offset.split_at_checked(1) {
            Some(("+", length)) => (1, length),
            Some(("-", length)) => (-1, length),
            Some(_) | None => return Err(refuse()),
        };
        let Length(length) = length.parse().map_err(|_| match mainspring_cron::parse_duration(length) {
            // The column is that of the whole, which was typed.
            Err(mut error) if !length.is_empty() => {
                error.column += text.len() - length.len();
                TimeError::Offset(text.into(), error.to_string())
            }
            Ok(_) | Err(_) => refuse(),
        })?;
        SignedDuration::try_from(length).map(|length| Self::FromNow(length * sign)).map_err(|_| refuse())
    }
}

/// RFC 3339 between what a calendar can show and the end of the year 9999.
fn last_day(text: &str) -> Option<Moment> {
    let pieces = Pieces::parse(text).ok()?;
    let civil = pieces.date().to_datetime(pieces.time()?);
    let offset = pieces.to_numeric_offset()?;
    let since_epoch = civil.duration_since(DateTime::constant(1970, 1, 1, 0, 0, 0, 0));
    let seconds = since_epoch.as_secs() - i64::from(offset.seconds());
    let end = 253_402_300_800; // 10000-01-01T00:00:00Z
    let beyond = Timestamp::MAX.as_second() < seconds && seconds < end;
    beyond.then(|| Moment::LastDay(prost_types::Timestamp { seconds, nanos: since_epoch.subsec_nanos() }))
}

/// For the wire.
pub(crate) fn to_proto(instant: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: instant.as_second(), nanos: instant.subsec_nanosecond() }
}

/// From the wire; `None` where it names no instant.
pub(crate) fn from_proto(instant: &prost_types::Timestamp) -> Option<Timestamp> {
    Timestamp::new(instant.seconds, instant.nanos).ok()
}

/// The time between two instants of the wire; `None` where one is missing or they are the wrong way round.
pub(crate) fn between(from: Option<&prost_types::Timestamp>, to: Option<&prost_types::Timestamp>) -> Option<Duration> {
    let (from, to) = (from_proto(from?)?, from_proto(to?)?);
    Duration::try_from(to.duration_since(from)).ok()
}

/// "3m ago", "in 5m", "now". Within a second it is "now" on either side: a server's clock may be a little ahead.
pub(crate) fn relative(instant: Timestamp, now: Timestamp) -> String {
    let distance = now.duration_since(instant);
    let coarse = Coarse(distance.unsigned_abs());
    if distance.unsigned_abs() < Duration::from_secs(1) {
        "now".into()
    } else if distance.is_negative() {
        format!("in {coarse}")
    } else {
        format!("{coarse} ago")
    }
}

/// How far ahead an instant is that was asked for as one of the future: however near it is, "in 1s" and never "now".
pub(crate) fn ahead(instant: Timestamp, now: Timestamp) -> String {
    relative(
        if instant > now { instant.max(now.saturating_add(Duration::from_secs(1)).unwrap_or(now)) } else { instant },
        now,
    )
}

/// The time of day where the reader is, to the millisecond.
pub(crate) fn time_of_day(instant: Timestamp) -> String {
    instant.to_zoned(TimeZone::system()).strftime("%H:%M:%S%.3f").to_string()
}

/// Date and time where the reader is.
pub(crate) fn local(instant: Timestamp) -> String {
    instant.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// Two units at most: "45s", "3m", "2h 5m", "1d 11h".
struct Coarse(Duration);

impl fmt::Display for Coarse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 60 * MINUTE;
        const DAY: u64 = 24 * HOUR;
        let seconds = self.0.as_secs();
        let two = |f: &mut fmt::Formatter<'_>, big, unit, small, lesser| match small {
            0 => write!(f, "{big}{unit}"),
            small => write!(f, "{big}{unit} {small}{lesser}"),
        };
        match seconds {
            0..MINUTE => write!(f, "{seconds}s"),
            MINUTE..HOUR => write!(f, "{}m", seconds / MINUTE),
            HOUR..DAY => two(f, seconds / HOUR, 'h', seconds % HOUR / MINUTE, 'm'),
            _ => two(f, seconds / DAY, 'd', seconds % DAY / HOUR, 'h'),
        }
    }
}

/// How long something took: "0.31 s", "12 s", "3m", "2h 5m".
pub(crate) fn took(length: Duration) -> String {
    let seconds = length.as_secs_f64();
    if seconds < 9.995 {
        format!("{seconds:.2} s")
    } else if seconds < 60.0 {
        format!("{seconds:.0} s")
    } else {
        Coarse(length).to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::{SignedDuration, Timestamp};

    use super::{Length, Moment, ahead, relative, to_proto, took};

    #[test]
    fn lengths_are_typed_with_units() {
        for (text, millis) in
            [("30s", 30_000), ("5m", 300_000), ("1h30m", 5_400_000), ("2d", 172_800_000), ("500ms", 500), ("0s", 0)]
        {
            // What a setting takes.
            assert_eq!(mainspring_cron::parse_duration(text), Ok(millis as i64 * 1_000), "{text}");
            assert_eq!(text.parse(), Ok(Length(Duration::from_millis(millis))), "{text}");
        }
        for text in ["", "5", "5 parsecs", "1mo", "PT5M", "1.5h"] {
            assert!(text.parse::<Length>().is_err(), "{text}");
        }
        let told = |text: &str| text.parse::<Length>().unwrap_err().to_string();
        assert_eq!(told("-5s"), "no length: it is negative");
        assert_eq!(told("90"), "no length: column 3: a unit is missing after 90; write `90s` or `90m`");
    }

    #[test]
    fn times_are_absolute_or_from_now() {
        let now: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
        for (text, instant) in [
            ("2026-11-23T02:00:00+01:00", "2026-11-23T01:00:00Z"),
            ("now", "2026-11-21T10:00:00Z"),
            ("now-1h", "2026-11-21T09:00:00Z"),
            ("now+5m", "2026-11-21T10:05:00Z"),
        ] {
            let moment: Moment = text.parse().unwrap();
            assert_eq!(moment.to_proto(now), to_proto(instant.parse().unwrap()), "{text}");
        }
        for text in ["9999-12-31T23:59:59Z", "9999-12-31T22:59:59-01:00"] {
            let last = prost_types::Timestamp { seconds: 253_402_300_799, nanos: 0 };
            assert_eq!(text.parse::<Moment>().unwrap().to_proto(now), last, "{text}");
        }
        assert!("9999-12-31T23:59:59-01:00".parse::<Moment>().is_err(), "that is the year 10000");
        for text in ["", "tomorrow", "2026-11-23", "2026-11-23T02:00:00", "now1h", "now-", "nowadays"] {
            assert!(text.parse::<Moment>().is_err(), "{text}");
        }
        let told = |text: &str| text.parse::<Moment>().unwrap_err().to_string();
        let long = "`now-99999999999999w` is no time: column 5: 99999999999999w is longer than can be counted";
        assert_eq!(told("now-99999999999999w"), long);
        assert!(told("now+5").starts_with("`now+5` is no time: column 6: a unit is missing"));
    }

    #[test]
    fn tables_show_how_far_away_a_time_is() {
        let now: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
        for (millis, text, next) in [
            (0, "now", "now"),
            (-999, "now", "now"),
            (1, "now", "in 1s"),
            (999, "now", "in 1s"),
            (-45_000, "45s ago", "45s ago"),
            (-190_000, "3m ago", "3m ago"),
            (7_500_000, "in 2h 5m", "in 2h 5m"),
            (126_000_000, "in 1d 11h", "in 1d 11h"),
            (3_600_000, "in 1h", "in 1h"),
        ] {
            let instant = now + SignedDuration::from_millis(millis);
            assert_eq!((relative(instant, now).as_str(), ahead(instant, now).as_str()), (text, next), "{millis}");
        }
    }

    #[test]
    fn durations_are_as_exact_as_one_cares() {
        for (millis, text) in [(310, "0.31 s"), (9_999, "10 s"), (12_400, "12 s"), (61_000, "1m"), (7_500_000, "2h 5m")]
        {
            assert_eq!(took(Duration::from_millis(millis)), text);
        }
    }
}
