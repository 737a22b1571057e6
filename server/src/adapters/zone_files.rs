//! Zone data from a folder of compiled files, as operating systems keep them in `/usr/share/zoneinfo`.
//!
//! All of it is read at once and kept in memory: what a package manager does to the folder later changes nothing before
//! somebody says so. One file that is damaged refuses the folder, which may be half written.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use mainspring_cron::{Zones, ZonesError};

/// What every compiled file begins with.
const MAGIC: &[u8] = b"TZif";
/// No compiled zone is larger; other files lie beside them.
const LARGEST: u64 = 1 << 20;
/// Folders in folders: the deepest zones are such as `America/Argentina/Buenos_Aires`.
const DEEPEST: usize = 4;
/// No data have so many zones; a link that leads around would.
const MOST: usize = 5_000;

/// Beside the zones lie copies of them by other counts, and files that are a zone under no name of its own.
const PASSED_OVER: [&str; 6] = ["posix", "right", "posixrules", "localtime", "Factory", "leapseconds"];

/// So many of the files that are no zones are named in the log.
const NAMED: usize = 20;

/// Why a folder holds no zone data.
#[derive(Debug, thiserror::Error)]
pub enum ZoneFilesError {
    /// It, or something in it, cannot be read.
    #[error(
        "cannot read {path}: name a folder of compiled zones, such as /usr/share/zoneinfo, that this user may read"
    )]
    Unreadable {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What is in it are none.
    #[error("{path} cannot be used as zone data: install the time zones of the system anew, or name another folder")]
    Refused {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: ZonesError,
    },
    /// There is no end to it.
    #[error("{path} holds more than {MOST} zones: name a folder of compiled zones, such as /usr/share/zoneinfo")]
    Endless {
        /// The folder.
        path: PathBuf,
    },
}

/// Reads a folder.
pub fn read(folder: &Path) -> Result<Zones, ZoneFilesError> {
    let mut found = Found::default();
    found.collect(folder, "", 0).map_err(|(path, source)| ZoneFilesError::Unreadable { path, source })?;
    let Found { files, others } = found;
    let path = || folder.to_owned();
    if !others.is_empty() {
        let names = others.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
        tracing::info!(folder = %folder.display(), count = others.len(), "files that are no compiled zones are passed over: {names}");
    }
    if files.len() > MOST {
        return Err(ZoneFilesError::Endless { path: path() });
    }
    Zones::read(version(folder), files).map_err(|source| ZoneFilesError::Refused { path: path(), source })
}

/// What a folder holds, by the paths in it.
#[derive(Default)]
struct Found {
    files: Vec<(String, Vec<u8>)>,
    /// What is no compiled zone.
    others: Vec<String>,
}

impl Found {
    fn collect(&mut self, folder: &Path, prefix: &str, depth: usize) -> Result<(), (PathBuf, io::Error)> {
        let at = |path: &Path| {
            let path = path.to_owned();
            |error| (path, error)
        };
        let mut entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(at(folder))?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let name = entry.file_name();
            // No zone has a name that is no text.
            let Some(name) = name.to_str().filter(|name| !PASSED_OVER.contains(name)) else { continue };
            let (path, zone) = (entry.path(), format!("{prefix}{name}"));
            // Of what it leads to: many zones are links to others.
            let data = fs::metadata(&path).map_err(at(&path))?;
            if data.is_dir() && depth < DEEPEST {
                self.collect(&path, &format!("{zone}/"), depth + 1)?;
            } else if data.is_file() && data.len() <= LARGEST && self.files.len() <= MOST {
                let bytes = fs::read(&path).map_err(at(&path))?;
                match bytes.starts_with(MAGIC) {
                    true => self.files.push((zone, bytes)),
                    false => self.others.push(zone),
                }
            } else {
                self.others.push(zone);
            }
        }
        Ok(())
    }
}

/// The version that a folder says it has: `tzdata.zi` begins with it, and some systems write it beside.
fn version(folder: &Path) -> Option<String> {
    let first = |name: &str| {
        let text = fs::read_to_string(folder.join(name)).ok()?;
        Some(text.lines().next()?.trim().to_owned())
    };
    let source = || first("tzdata.zi")?.strip_prefix("# version ").map(|version| version.trim().to_owned());
    source().or_else(|| first("+VERSION")).filter(|version| !version.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A compiled zone that is always so many hours ahead of UTC.
    fn compiled(hours: i32) -> Vec<u8> {
        let header = |types: u32, letters: u32| {
            let mut bytes = b"TZif2".to_vec();
            bytes.extend([0; 15]);
            for count in [0, 0, 0, 0, types, letters] {
                bytes.extend(u32::to_be_bytes(count));
            }
            bytes
        };
        let body = |bytes: &mut Vec<u8>| {
            bytes.extend((hours * 3_600).to_be_bytes());
            bytes.extend([0, 0]);
            bytes.extend(b"XXX\0");
        };
        let mut bytes = header(1, 4);
        body(&mut bytes);
        bytes.extend(header(1, 4));
        body(&mut bytes);
        bytes.extend(format!("\n<XXX>{:+}\n", -hours).bytes());
        bytes
    }

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for inner in ["Europe", "posix/Europe"] {
            fs::create_dir_all(folder.path().join(inner)).unwrap();
        }
        fs::write(folder.path().join("Europe/Berlin"), compiled(2)).unwrap();
        fs::write(folder.path().join("posix/Europe/Berlin"), compiled(2)).unwrap();
        fs::write(folder.path().join("zone.tab"), "DE\t+5230+01322\tEurope/Berlin\n").unwrap();
        std::os::unix::fs::symlink("Europe/Berlin", folder.path().join("Germany")).unwrap();
        folder
    }

    #[test]
    fn zones_are_the_compiled_files_by_their_paths() {
        let folder = folder();
        let zones = read(folder.path()).unwrap();
        assert_eq!(zones.names(), ["Europe/Berlin", "Germany"]);
        let at = "2026-11-30T12:00:00Z".parse().unwrap();
        assert_eq!(zones.zone("europe/berlin").unwrap().offset(at).seconds(), 7_200);
        assert!(!zones.find("Europe/Paris").is_known(), "and none of those built in");
        assert_eq!(zones.zone("UTC").unwrap().offset(at).seconds(), 0);
        assert_eq!(zones.zone("Berlin").unwrap_err().suggestion.as_deref(), Some("Europe/Berlin"));
    }

    #[test]
    fn their_version_is_what_the_folder_says_or_what_it_holds() {
        let folder = folder();
        let version = || read(folder.path()).unwrap().version().to_owned();
        let bare = version();
        assert!(bare.starts_with("contents-") && bare.len() == 17, "{bare}");
        fs::write(folder.path().join("+VERSION"), "2026d\n").unwrap();
        assert_eq!(version(), "2026d");
        fs::write(folder.path().join("tzdata.zi"), "# version 2026e\n# rest\n").unwrap();
        assert_eq!(version(), "2026e");
        // Two of one version are told apart by what they hold.
        let before = read(folder.path()).unwrap();
        fs::write(folder.path().join("Europe/Berlin"), compiled(3)).unwrap();
        assert_ne!(read(folder.path()).unwrap(), before);
    }

    #[test]
    fn half_of_the_data_are_none() {
        let folder = folder();
        fs::write(folder.path().join("Europe/Paris"), &compiled(1)[..60]).unwrap();
        let refused = read(folder.path()).unwrap_err();
        assert!(matches!(refused, ZoneFilesError::Refused { source: ZonesError::File { .. }, .. }), "{refused:?}");
        let empty = tempfile::tempdir().unwrap();
        let refused = read(empty.path()).unwrap_err();
        assert!(matches!(refused, ZoneFilesError::Refused { source: ZonesError::Empty, .. }), "{refused:?}");
        let refused = read(&empty.path().join("nothing")).unwrap_err();
        assert!(matches!(refused, ZoneFilesError::Unreadable { .. }), "{refused:?}");
    }

    #[test]
    fn the_data_of_this_system_can_be_read() {
        let system = Path::new("/usr/share/zoneinfo");
        if system.join("Europe/Berlin").exists() {
            let zones = read(system).unwrap();
            assert!(zones.names().len() > 300 && zones.zone("Europe/Berlin").is_ok(), "{zones:?}");
        }
    }
}
