//! The folder of journals: a file of one's own is opened, and those that nobody writes any more are taken over.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
};

use super::{
    Legacy,
    record::{self, Contents, Whose},
    writer::Writer,
};
use crate::{context::Address, error::Error};

/// A journal and its lock.
#[derive(Clone, Debug)]
pub(super) struct Paths {
    pub(super) journal: PathBuf,
    /// Where it is written before it takes the journal's place: so that one is there whole or not at all.
    pub(super) new: PathBuf,
    pub(super) lock: PathBuf,
}

impl Paths {
    fn of(folder: &Path, worker_id: &str) -> Self {
        let named = |kind| folder.join(format!("{worker_id}.{kind}"));
        Self { journal: named("journal"), new: named("new"), lock: named("lock") }
    }

    /// The lock last: who finds a lock without a journal knows that there was nothing left.
    pub(super) fn remove(&self) -> io::Result<()> {
        remove(&self.new)?;
        remove(&self.journal)?;
        remove(&self.lock)
    }
}

/// Opens a journal of one's own in this folder, and takes over what is left in it.
pub(crate) fn open(
    folder: &Path,
    worker_id: &str,
    address: &Address,
    namespace: &str,
) -> Result<(Writer, Vec<Legacy>), Error> {
    let failed = |path: &Path, error: io::Error| Error::Journal { path: path.into(), problem: error.to_string() };
    create_folder(folder).map_err(|error| failed(folder, error))?;
    let legacies = legacies(folder, address).map_err(|error| failed(folder, error))?;
    let paths = Paths::of(folder, worker_id);
    let lock = lock(&paths).map_err(|error| failed(&paths.lock, error))?;
    let whose = Whose { address: address.to_string(), namespace: namespace.into() };
    let writer = Writer::create(paths.clone(), lock, &whose).map_err(|error| failed(&paths.journal, error))?;
    Ok((writer, legacies))
}

/// A lock that is held from the moment it is there, so that nobody takes over what has not begun.
fn lock(paths: &Paths) -> io::Result<File> {
    if paths.lock.exists() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    remove(&paths.new)?;
    let lock = create(&paths.new)?;
    lock.try_lock()?;
    fs::rename(&paths.new, &paths.lock)?;
    Ok(lock)
}

/// What nobody writes any more and is meant for this server. What cannot be read or is meant for another stays, and is
/// told: it may hold work of hours.
fn legacies(folder: &Path, address: &Address) -> io::Result<Vec<Legacy>> {
    let mut legacies = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let id =
            path.file_stem().and_then(|stem| stem.to_str()).filter(|_| path.extension().is_some_and(|it| it == "lock"));
        let Some(id) = id else { continue };
        let paths = Paths::of(folder, id);
        match take_over(&paths, address) {
            Ok(legacy) => legacies.extend(legacy),
            Err(error) => tracing::warn!("the journal {} is left as it is: {error}", paths.journal.display()),
        }
    }
    Ok(legacies)
}

fn take_over(paths: &Paths, address: &Address) -> io::Result<Option<Legacy>> {
    let lock = match OpenOptions::new().read(true).write(true).open(&paths.lock) {
        Ok(lock) => lock,
        // Its worker left in good order since the folder was looked at.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match lock.try_lock() {
        Ok(()) => {}
        // Its worker lives, or another one has taken it over.
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let bytes = match fs::read(&paths.journal) {
        Ok(bytes) => bytes,
        // Its worker died before it wrote, or after it had removed it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return paths.remove().map(|()| None),
        Err(error) => return Err(error),
    };
    let Contents { whose, results, torn } = record::read(&bytes).ok_or_else(|| io::Error::other("it is no journal"))?;
    if torn > 0 {
        tracing::info!(torn, "the end of the journal {} was torn, and means nothing", paths.journal.display());
    }
    if results.is_empty() {
        return paths.remove().map(|()| None);
    }
    if !whose.address.parse::<Address>().is_ok_and(|own| own.is_same_server(address)) {
        let told =
            format!("it holds {} results for {}, and this worker serves {address}", results.len(), whose.address);
        return Err(io::Error::other(told));
    }
    let results = results.into_values().collect();
    Ok(Some(Legacy { lock, paths: paths.clone(), namespace: whose.namespace, results }))
}

fn create_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Sees to it that there is no such file.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A file that is there for the first time, for its owner only.
pub(super) fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create_new(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// A new name is on the disk only when its folder is.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}
