//! [`Zone`]: an IANA time zone by its name, as some zone data have it.
//!
//! Names are looked up in [`Zones`], bundled or given, never in the system's: two nodes with the same data agree on every
//! instant, and the data's version can be stamped on what it decided. Links keep their own name (`US/Eastern` is not
//! rewritten to `America/New_York`), because that is what its owner will look for.

use std::fmt;

use jiff::{
    Timestamp,
    civil::DateTime,
    tz::{AmbiguousOffset, Offset, TimeZone},
};

use crate::{error::ZoneError, zones::Zones};

/// A validated IANA time zone.
///
/// ```
/// use mainspring_cron::Zone;
///
/// assert_eq!(Zone::parse("Europe/Berlin")?.name(), "Europe/Berlin");
/// assert_eq!(Zone::parse("Europe/Berln").unwrap_err().suggestion.as_deref(), Some("Europe/Berlin"));
/// # Ok::<(), mainspring_cron::ZoneError>(())
/// ```
///
/// What is stored is its name alone: one that was read back says nothing before [`Zones::find`] has looked it up.
#[derive(Clone)]
pub struct Zone {
    name: String,
    /// UTC where nothing is known.
    zone: TimeZone,
    is_known: bool,
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
        Zones::bundled().zone(name)
    }

    /// A zone that some data have.
    pub(crate) fn known(name: &str, zone: TimeZone) -> Self {
        Self { name: name.to_owned(), zone, is_known: true }
    }

    /// A zone of which nothing is known but its name, as its data are not there.
    #[must_use]
    pub fn unknown(name: &str) -> Self {
        Self { name: name.to_owned(), zone: TimeZone::UTC, is_known: false }
    }

    /// Whether its data are there. What time it is in one that is not known, nobody can say: ask before anything else.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.is_known
    }

    /// UTC, the default zone.
    #[must_use]
    pub fn utc() -> Self {
        Self::known("UTC", TimeZone::UTC)
    }

    /// The zone's name, a link's own name where it is one.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
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
        // Which data are in force, a text does not know.
        Ok(if name == "UTC" { Self::utc() } else { Self::unknown(&name) })
    }
}
