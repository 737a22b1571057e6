//! A consistent copy of the database while it is used.
//!
//! The copy has a connection of its own, whose progress handler is where it can be seen and stopped: SQLite calls it every
//! few dozen rows. How far the copy is, is told by the length of its file. Whoever lets go of the call stops the copy, and
//! the task that holds the connection removes a file that nobody was told of.

use std::{
    fs,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use mainspring_engine::ports::store::{Backup, BackupError, BackupProgress, StoreError};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::SqliteStore;

/// Steps of SQLite's machine between two looks at whether the copy is still wanted: a few dozen rows, of up to some
/// mebibytes each.
const STEPS: i32 = 100;

#[async_trait]
impl Backup for SqliteStore {
    async fn backup(&self, path: &Path, tell: &(dyn Fn(BackupProgress) + Send + Sync)) -> Result<u64, BackupError> {
        let (far, mut seen) = watch::channel(BackupProgress::default());
        let (reply, mut answer) = oneshot::channel();
        let unwanted = Arc::new(AtomicBool::new(false));
        let closed = self.tasks.token();
        let copy = Copy { path: path.to_owned(), far, unwanted: Arc::clone(&unwanted), closed };
        let _stop = Stop(unwanted);
        // It would be a copy of whatever has their name.
        self.room.stay().await?;
        let options = self.main.options().read_only(true);
        self.tasks.spawn("sql-backup", async move {
            let path = copy.path.clone();
            if let Err(Ok(_)) = reply.send(copy.run(options).await) {
                remove(path).await;
            }
        });
        loop {
            tokio::select! {
                answer = &mut answer => {
                    let closed = || StoreError::Unavailable("the store is closed".into());
                    let size = answer.unwrap_or_else(|_| Err(closed().into()))?;
                    if let Err(gone) = self.room.stay().await {
                        remove(path.to_owned()).await;
                        return Err(gone.into());
                    }
                    return Ok(size);
                }
                Ok(()) = seen.changed() => {
                    let progress = *seen.borrow_and_update();
                    tell(progress);
                }
            }
        }
    }
}

/// Stops the copy when it is let go of.
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Copy {
    path: PathBuf,
    far: watch::Sender<BackupProgress>,
    unwanted: Arc<AtomicBool>,
    closed: CancellationToken,
}

impl Copy {
    async fn run(self, options: SqliteConnectOptions) -> Result<u64, BackupError> {
        let path = self.path.clone();
        let made = blocking(move || fs::File::options().write(true).create_new(true).mode(0o600).open(path)).await;
        if let Err(error) = made {
            return Err(match error.kind() {
                std::io::ErrorKind::AlreadyExists => BackupError::FileExists,
                _ => self.unwritable(&error),
            });
        }
        let path = self.path.clone();
        let copied = match self.copy(options).await {
            Ok(()) => {
                let written = path.clone();
                blocking(move || fs::metadata(written))
                    .await
                    .map(|file| file.len())
                    .map_err(|error| unwritable(&path, &error))
            }
            Err(error) => Err(error),
        };
        if copied.is_err() {
            remove(path).await;
        }
        copied
    }

    async fn copy(self, options: SqliteConnectOptions) -> Result<(), BackupError> {
        let Self { path, far, unwanted, closed } = self;
        let text =
            path.to_str().ok_or_else(|| BackupError::File(format!("{} is not UTF-8", path.display())))?.to_owned();
        let mut connection = options.connect().await.map_err(|error| failed(&path, &error))?;
        let copied = async {
            let pages = whole(&mut connection, "PRAGMA page_count").await?;
            let free = whole(&mut connection, "PRAGMA freelist_count").await?;
            let page_size = whole(&mut connection, "PRAGMA page_size").await?.max(1);
            let total_pages = pages.saturating_sub(free);
            far.send_replace(BackupProgress { copied_pages: 0, total_pages });
            let file = path.clone();
            connection.lock_handle().await?.set_progress_handler(STEPS, move || {
                let length = fs::metadata(&file).map_or(0, |file| file.len());
                let copied_pages = (length / page_size).min(total_pages);
                far.send_if_modified(|far| {
                    let grown = far.copied_pages < copied_pages;
                    far.copied_pages = far.copied_pages.max(copied_pages);
                    grown
                });
                !unwanted.load(Ordering::Relaxed) && !closed.is_cancelled()
            });
            // It fills an empty file, but would make one with the rights of any other.
            sqlx::query("VACUUM INTO ?").bind(text).execute(&mut connection).await.map(drop)
        }
        .await;
        // The copy is complete or it is not; the connection has nothing to add.
        let _ = connection.close().await;
        copied.map_err(|error| failed(&path, &error))
    }

    fn unwritable(&self, error: &std::io::Error) -> BackupError {
        unwritable(&self.path, error)
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> BackupError {
    BackupError::File(format!("{}: {error}", path.display()))
}

/// What SQLite could not do with the file, or with the database.
fn failed(path: &Path, error: &sqlx::Error) -> BackupError {
    // PERM, READONLY, IOERR, FULL, CANTOPEN.
    const OF_THE_FILE: [i64; 5] = [3, 8, 10, 13, 14];
    let code = error.as_database_error().and_then(|error| error.code()?.parse::<i64>().ok());
    match code {
        Some(code) if OF_THE_FILE.contains(&(code & 0xff)) => BackupError::File(format!("{}: {error}", path.display())),
        Some(_) | None => StoreError::Unavailable(error.to_string()).into(),
    }
}

async fn whole(connection: &mut SqliteConnection, pragma: &'static str) -> Result<u64, sqlx::Error> {
    let number: i64 = sqlx::query_scalar(pragma).fetch_one(connection).await?;
    Ok(u64::try_from(number).unwrap_or_default())
}

/// Removes an unfinished file.
async fn remove(path: PathBuf) {
    // Where it cannot be removed, it could not be written either, which was said.
    let _ = blocking(move || fs::remove_file(path)).await;
}

/// Files are asked apart from the reactor.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> std::io::Result<T> + Send + 'static) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(std::io::Error::other(error)))
}
