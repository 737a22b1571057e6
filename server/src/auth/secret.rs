//! Secrets: how they are made, written, hashed and kept for a moment.

use std::{
    collections::HashMap,
    fs,
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use mainspring_engine::domain::instant::Instant;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

/// What was read of a credential is believed this long: a revocation takes effect within it.
pub(super) const FRESH: Duration = Duration::from_secs(2);
/// At most so many records are remembered.
const MAX_REMEMBERED: usize = 10_000;

/// Random bytes.
pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes[..]);
    bytes
}

/// Bytes as text.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from(b"0123456789abcdef"[usize::from(nibble)]));
        }
        text
    })
}

/// What is stored of a secret that is itself random, so that no slow hash is needed.
pub(super) fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret).into()
}

/// A key for another purpose, from which the first cannot be found.
pub(super) fn derived(key: &[u8], purpose: &str) -> [u8; 32] {
    // Both parts have a fixed length, so that none can be mistaken for the other.
    let mut digest = Sha256::new();
    digest.update(Sha256::digest(key));
    digest.update(Sha256::digest(purpose));
    digest.finalize().into()
}

/// An id that sorts by when it was made.
pub(super) fn sortable_id(now: Instant) -> String {
    let micros = now.as_micros().max(0).cast_unsigned();
    let nanos = u32::try_from(micros % 1_000_000).unwrap_or(0) * 1_000;
    uuid::Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, micros / 1_000_000, nanos)).simple().to_string()
}

/// A password for people to type once: twenty letters and digits that are not mistaken for each other.
pub(super) fn one_time_password() -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let letters = random::<20>().map(|byte| char::from(ALPHABET[usize::from(byte % 32)]));
    letters.chunks(5).map(|group| group.iter().collect::<String>()).collect::<Vec<_>>().join("-")
}

/// Why a secret file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// It cannot be read or written.
    #[error("cannot use {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others may read it.
    #[error("{0} can be read by others; run `chmod 600` on it, and replace it if others may have read it")]
    Open(PathBuf),
    /// It does not hold what it should.
    #[error("{0} does not hold what this server wrote; restore it, or remove it to have a new one made")]
    Broken(PathBuf),
    /// The key in it cannot be used.
    #[error("the signing key cannot be used: {0}")]
    Key(jsonwebtoken::errors::Error),
}

/// Bytes from a file that only its owner may read; made where there is none.
pub(super) fn from_file<const N: usize>(
    path: &Path,
    make: impl FnOnce() -> [u8; N],
) -> Result<[u8; N], SecretFileError> {
    match read_file(path)? {
        Some(bytes) => bytes.try_into().map_err(|_| SecretFileError::Broken(path.into())),
        None => {
            let bytes = make();
            write_file(path, &bytes)?;
            Ok(bytes)
        }
    }
}

/// The file's bytes; none where there is no file.
pub(super) fn read_file(path: &Path) -> Result<Option<Vec<u8>>, SecretFileError> {
    let failed = |source| SecretFileError::Io { path: path.into(), source };
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => found.map_err(failed)?,
    };
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(SecretFileError::Open(path.into()));
    }
    fs::read(path).map(Some).map_err(failed)
}

/// Writes a file that only its owner may read. It is there in full or not at all.
pub(super) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), SecretFileError> {
    let write = || {
        let part = path.with_extension("part");
        match fs::remove_file(&part) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&part, path)
    };
    write().map_err(|source| SecretFileError::Io { path: path.into(), source })
}

/// Records by id, believed for [`FRESH`].
#[derive(Debug)]
pub(super) struct Remembered<T>(Mutex<HashMap<String, (Instant, T)>>);

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Remembered<T> {
    pub(super) fn get(&self, id: &str, now: Instant) -> Option<T> {
        let records = self.0.lock();
        records.get(id).filter(|(read, _)| now.since(*read) < FRESH).map(|(_, record)| record.clone())
    }

    pub(super) fn put(&self, id: &str, read: Instant, record: T) {
        let mut records = self.0.lock();
        if records.len() >= MAX_REMEMBERED {
            records.retain(|_, (at, _)| read.since(*at) < FRESH);
        }
        if records.len() < MAX_REMEMBERED {
            records.insert(id.into(), (read, record));
        }
    }

    pub(super) fn forget(&self, id: &str) {
        self.0.lock().remove(id);
    }

    pub(super) fn forget_all(&self) {
        self.0.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_file_is_made_once_and_for_its_owner_only() {
        let data = tempfile::tempdir().unwrap();
        let path = data.path().join("key");
        let first = from_file(&path, random::<32>).unwrap();
        assert_eq!(from_file(&path, random::<32>).unwrap(), first);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(from_file(&path, random::<32>), Err(SecretFileError::Open(_))));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, b"short").unwrap();
        assert!(matches!(from_file(&path, random::<32>), Err(SecretFileError::Broken(_))));
    }

    #[test]
    fn what_is_remembered_is_soon_forgotten() {
        let records = Remembered::default();
        let read = Instant::from_micros(0);
        records.put("a", read, 1);
        assert_eq!(records.get("a", read.plus(FRESH / 2)), Some(1));
        assert_eq!(records.get("a", read.plus(FRESH)), None);
        records.put("a", read, 2);
        records.forget("a");
        assert_eq!(records.get("a", read), None);
    }

    #[test]
    fn purposes_have_keys_of_their_own() {
        assert_ne!(derived(b"k", "pages"), derived(b"k", "other"));
        assert_ne!(derived(b"k", "pages"), derived(b"j", "pages"));
        assert_eq!(hex(&[0, 255, 16]), "00ff10");
        assert!(one_time_password().len() >= 20);
    }
}
