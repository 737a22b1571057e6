//! Whether the data directory takes what is written, and what is told while it does not.
//!
//! Beside the writers: they bring what failed here to be named, and the round of [`Vitals::answers`] asks whether it is over.
//! SQLite says that a write failed and seldom why, so the directory is asked: by the free room that its file system tells;
//! once something failed, by writing a file of no name there; and whether the files are still the ones that were opened. The
//! log hears of a trouble when it begins, once a [`REMINDER`] while it lasts, and when it ends; whoever tries meanwhile adds
//! to a count.
//!
//! [`Vitals::answers`]: mainspring_engine::ports::store::Vitals::answers

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use mainspring_engine::{
    domain::instant::Instant,
    ports::{
        clock::Clock as _,
        store::{Obstacle, StoreError},
    },
};
use parking_lot::Mutex;
use rustix::fs::StatVfsMountFlags;
use sea_orm::DbErr;
use tokio::sync::Notify;

use super::{super::host_clock::HostClock, held::Held};

/// Less than this is no room: a step must not succeed by the last page and the next one fail.
const LEAST: usize = 1 << 20;
/// Between two lines of the log while a trouble lasts.
const REMINDER: Duration = Duration::from_secs(60);
/// The name that the file of a try has for the moment before it has none.
const TRY: &str = "mainspring.try";

/// The room in one data directory.
#[derive(Debug)]
pub(super) struct Room {
    data: PathBuf,
    place: Arc<str>,
    held: [Arc<Held>; 2],
    clock: HostClock,
    trouble: Mutex<Option<Trouble>>,
    /// The trouble is with the files themselves: nothing may be written, though it could be.
    forbids: AtomicBool,
    begun: Notify,
}

/// A time in which nothing can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Trouble {
    obstacle: Obstacle,
    began: Instant,
    told: Instant,
    refused: u64,
}

impl Room {
    pub(super) fn new(data: &Path, held: [Arc<Held>; 2]) -> Self {
        let data = std::path::absolute(data).unwrap_or_else(|_| data.to_owned());
        Self {
            place: data.display().to_string().into(),
            data,
            held,
            clock: HostClock::default(),
            trouble: Mutex::new(None),
            forbids: AtomicBool::new(false),
            begun: Notify::new(),
        }
    }

    /// Names what a failed write ran into, and counts it. Any other error stays as it is.
    pub(super) async fn name(&self, error: StoreError) -> StoreError {
        let StoreError::Unwritable { obstacle, .. } = error else { return error };
        let known = self.trouble.lock().map(|trouble| trouble.obstacle);
        let obstacle = match (known, obstacle) {
            (Some(known), _) => known,
            (None, Obstacle::Full | Obstacle::Gone | Obstacle::Damaged) => obstacle,
            (None, vague) => self.asked(try_to_write).await.unwrap_or(vague),
        };
        self.met(obstacle, 1);
        self.error(obstacle)
    }

    /// Whether there is room now. `Ok(true)` where there was none until now: what is written next proves it.
    pub(super) async fn look(&self) -> Result<bool, StoreError> {
        let was = self.trouble.lock().map(|trouble| trouble.obstacle);
        if was == Some(Obstacle::Damaged) {
            // What cannot be read does not mend itself.
            self.met(Obstacle::Damaged, 0);
            return Err(self.error(Obstacle::Damaged));
        }
        let was = was.is_some();
        match self.asked(if was { try_to_write } else { free }).await {
            None => {
                let trouble = self.trouble.lock();
                // A reader may have met it while the disk was asked.
                if trouble.is_some_and(|trouble| trouble.obstacle == Obstacle::Damaged) {
                    return Err(self.error(Obstacle::Damaged));
                }
                self.forbids.store(false, Ordering::Release);
                Ok(was)
            }
            Some(obstacle) => {
                self.met(obstacle, 0);
                Err(self.error(obstacle))
            }
        }
    }

    /// Why nothing may be written, where the files have gone or are damaged: what is written to them is lost. Counts who is
    /// refused by it.
    pub(super) fn forbids(&self, refused: usize) -> Option<StoreError> {
        if !self.forbids.load(Ordering::Acquire) {
            return None;
        }
        let obstacle = self.trouble.lock().map(|trouble| trouble.obstacle)?;
        self.met(obstacle, refused as u64);
        Some(self.error(obstacle))
    }

    /// A reader met it.
    pub(super) fn is_damaged(&self, error: &DbErr) {
        if self.trouble.lock().is_none_or(|trouble| trouble.obstacle != Obstacle::Damaged) {
            tracing::error!(place = &*self.place, %error, "a page of the database cannot be read");
        }
        self.met(Obstacle::Damaged, 1);
    }

    /// Whether the files are where they were opened.
    pub(super) async fn stay(&self) -> Result<(), StoreError> {
        self.asked(|_| Ok(())).await.map_or(Ok(()), |obstacle| Err(self.error(obstacle)))
    }

    /// When a trouble begins; at once while it lasts.
    pub(super) async fn refuses(&self) -> Obstacle {
        loop {
            let mut begun = pin!(self.begun.notified());
            // From here on nothing is missed.
            begun.as_mut().enable();
            if let Some(Trouble { obstacle, .. }) = *self.trouble.lock() {
                return obstacle;
            }
            begun.await;
        }
    }

    /// What is written is taken again.
    pub(super) fn over(&self) {
        if let Some(Trouble { obstacle: _, began, told: _, refused }) = self.trouble.lock().take() {
            let lasted = whole(self.clock.now().since(began));
            let place = &*self.place;
            // As loud as what it ends, for whoever reads no more than that.
            tracing::warn!(place, ?lasted, refused, "the database can be written again; everything goes on");
        }
    }

    fn error(&self, obstacle: Obstacle) -> StoreError {
        StoreError::Unwritable { obstacle, place: Some(self.place.clone()) }
    }

    fn met(&self, obstacle: Obstacle, refused: u64) {
        let now = self.clock.now();
        let mut trouble = self.trouble.lock();
        let place = &*self.place;
        match &mut *trouble {
            None => {
                *trouble = Some(Trouble { obstacle, began: now, told: now, refused });
                self.begun.notify_waiters();
                let meanwhile = match obstacle {
                    Obstacle::Full | Obstacle::ReadOnly | Obstacle::Forbidden | Obstacle::Failing => {
                        "until that is mended; what was acknowledged is kept, and reading goes on"
                    }
                    Obstacle::Gone => "until they are back; what was acknowledged is in them",
                    Obstacle::Damaged => {
                        "in it: stop the server, keep its files, and restore a backup into an empty folder"
                    }
                };
                tracing::error!(place, "{obstacle}: nothing new is stored {meanwhile}");
            }
            Some(trouble) => {
                if trouble.met(obstacle, refused, now) {
                    let lasts = whole(now.since(trouble.began));
                    tracing::warn!(place, ?lasts, refused = trouble.refused, "{obstacle}: still nothing is stored");
                }
            }
        }
        let forbids = trouble.is_some_and(|trouble| matches!(trouble.obstacle, Obstacle::Gone | Obstacle::Damaged));
        self.forbids.store(forbids, Ordering::Release);
    }

    /// Asks the directory, apart from the reactor.
    async fn asked(&self, ask: fn(&Path) -> io::Result<()>) -> Option<Obstacle> {
        let (data, held) = (self.data.clone(), self.held.clone());
        let asked = tokio::task::spawn_blocking(move || {
            if held.iter().all(|held| held.stay()) { ask(&data) } else { Err(ErrorKind::NotFound.into()) }
        })
        .await;
        obstacle(asked.unwrap_or_else(|error| Err(io::Error::other(error))).err()?.kind())
    }
}

impl Trouble {
    /// It goes on; whether the log is to be reminded of it.
    fn met(&mut self, obstacle: Obstacle, refused: u64, now: Instant) -> bool {
        // What cannot be read does not mend itself, whatever else befalls the disk.
        if self.obstacle != Obstacle::Damaged {
            self.obstacle = obstacle;
        }
        self.refused += refused;
        let due = now.since(self.told) >= REMINDER;
        if due {
            self.told = now;
        }
        due
    }
}

/// Seconds are enough for people.
fn whole(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs())
}

/// What an error of the system says of a disk; what says nothing of it hinders nobody.
fn obstacle(kind: ErrorKind) -> Option<Obstacle> {
    Some(match kind {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => Obstacle::Full,
        ErrorKind::ReadOnlyFilesystem => Obstacle::ReadOnly,
        ErrorKind::PermissionDenied => Obstacle::Forbidden,
        ErrorKind::NotFound | ErrorKind::NotADirectory => Obstacle::Gone,
        _ => return None,
    })
}

/// What the file system tells of itself. What is kept back for root counts as free: not to see a full disk before a write
/// fails costs a moment, to see one that is not there would cost a server.
fn free(data: &Path) -> io::Result<()> {
    let told = rustix::fs::statvfs(data)?;
    if told.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Err(ErrorKind::ReadOnlyFilesystem.into());
    }
    // Some file systems do not count.
    if told.f_blocks > 0 && told.f_bfree.saturating_mul(told.f_frsize) < LEAST as u64 {
        return Err(ErrorKind::StorageFull.into());
    }
    Ok(())
}

/// Writes a file that nobody sees, and that is gone with its handle.
fn try_to_write(data: &Path) -> io::Result<()> {
    free(data)?;
    let path = data.join(TRY);
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    fs::remove_file(&path)?;
    file.write_all(&vec![0; LEAST])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_reminded_once_a_minute() {
        let began = Instant::EPOCH;
        let mut trouble = Trouble { obstacle: Obstacle::Full, began, told: began, refused: 1 };
        let at = |seconds| began.plus(Duration::from_secs(seconds));
        let told: Vec<_> = (1..=150).filter(|second| trouble.met(Obstacle::Full, 4, at(*second))).collect();
        assert_eq!((told, trouble.refused), (vec![60, 120], 601));
    }

    #[tokio::test]
    async fn damage_stays_whatever_else_befalls_the_disk() {
        let home = tempfile::tempdir().unwrap();
        let database = home.path().join("mainspring.db");
        fs::write(&database, "").unwrap();
        let held = Arc::new(Held::of(&database).unwrap());
        let room = Room::new(home.path(), [Arc::clone(&held), held]);
        room.met(Obstacle::Full, 1);
        assert!(room.forbids(1).is_none());
        // A reader meets it while a look at the disk is under way, which finds room, or none.
        let (looked, ()) = tokio::join!(room.look(), async { room.is_damaged(&DbErr::Custom("a page".into())) });
        assert!(matches!(looked, Err(StoreError::Unwritable { obstacle: Obstacle::Damaged, .. })));
        room.met(Obstacle::Full, 1);
        assert!(matches!(room.forbids(1), Some(StoreError::Unwritable { obstacle: Obstacle::Damaged, .. })));
    }

    #[test]
    fn a_directory_that_takes_a_file_has_room_and_keeps_nothing() {
        let home = tempfile::tempdir().unwrap();
        try_to_write(home.path()).unwrap();
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
        let gone = try_to_write(&home.path().join("gone")).unwrap_err();
        assert_eq!(obstacle(gone.kind()), Some(Obstacle::Gone));
    }

    #[test]
    fn what_the_system_says_is_told_apart() {
        // ENOSPC, EDQUOT, EFBIG; EROFS; EACCES, EPERM; EINTR, which says nothing of a disk.
        for (number, told) in [
            (28, Some(Obstacle::Full)),
            (122, Some(Obstacle::Full)),
            (27, Some(Obstacle::Full)),
            (30, Some(Obstacle::ReadOnly)),
            (13, Some(Obstacle::Forbidden)),
            (1, Some(Obstacle::Forbidden)),
            (4, None),
        ] {
            assert_eq!(obstacle(io::Error::from_raw_os_error(number).kind()), told, "{number}");
        }
    }
}
