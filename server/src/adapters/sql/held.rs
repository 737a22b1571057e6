//! Whether a database's files are still where they were opened.
//!
//! A process goes on writing to a file that somebody removed, renamed or put another in the place of, and SQLite does not
//! look: everything would be acknowledged, and nothing of it be there after a restart. So each commit of a writing connection
//! asks here first, on SQLite's own thread, and is taken back where the files have gone; [`Room`](super::room) asks beside it,
//! to tell when it begins and when they are back.
//!
//! The database's file is known from when it was opened. SQLite makes its companions by itself, and makes them anew only where
//! no connection is left but the one that begins: so they are known from when they are first seen, and forgotten when the
//! writer connects.

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use parking_lot::Mutex;

/// What SQLite appends to the name of a database for the log and its index.
const COMPANIONS: [&str; 2] = ["-wal", "-shm"];

/// The files of one database.
#[derive(Debug)]
pub(super) struct Held {
    database: (PathBuf, Identity),
    companions: [(PathBuf, Mutex<Option<Identity>>); COMPANIONS.len()],
}

/// Which file a name leads to, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Held {
    /// Of a database that was just opened.
    pub(super) fn of(database: &Path) -> io::Result<Self> {
        // Wherever this process goes, the files do not.
        let database = std::path::absolute(database)?;
        let identity = Identity::of(&database)?;
        let companion = |suffix: &str| {
            let mut name = database.clone().into_os_string();
            name.push(suffix);
            (PathBuf::from(name), Mutex::new(None))
        };
        Ok(Self { companions: COMPANIONS.map(companion), database: (database, identity) })
    }

    /// They are where they were. What cannot be looked at counts as there: a write will say what is wrong.
    pub(super) fn stay(&self) -> bool {
        let (database, identity) = &self.database;
        let stays =
            |path: &Path, identity| Identity::of(path).map_or_else(|error| !is_gone(&error), |now| now == identity);
        stays(database, *identity)
            && self.companions.iter().all(|(path, known)| {
                let mut known = known.lock();
                match *known {
                    Some(identity) => stays(path, identity),
                    None => {
                        *known = Identity::of(path).ok();
                        true
                    }
                }
            })
    }

    /// The writer connects: where it is the only one, SQLite has removed the companions and makes new ones.
    pub(super) fn connects(&self) {
        for (_, known) in &self.companions {
            *known.lock() = None;
        }
    }
}

impl Identity {
    fn of(path: &Path) -> io::Result<Self> {
        let told = fs::metadata(path)?;
        Ok(Self { device: told.dev(), inode: told.ino() })
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}
