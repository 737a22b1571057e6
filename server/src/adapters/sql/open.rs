//! Opening the data directory: rights, the lock against a second server, migrations with a copy before, connections.

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures::future::try_join_all;
use mainspring_cron::Zones;
use mainspring_engine::{
    domain::rules::LeaseRules,
    ports::{
        clock::Clock as _,
        store::{Obstacle, StoreError, StoreResult},
    },
    tasks::Tasks,
};
use mainspring_migrations::{LogsMigrator, Migrator, known};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, RuntimeErr, SqlxSqliteConnector, TransactionTrait, Value};
use sea_orm_migration::MigratorTrait;
use sqlx::{
    Connection as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{
    super::host_clock::HostClock,
    Known, SqliteStore,
    any::Any,
    held::Held,
    jobs::Specs,
    lanes::Lanes,
    logs::LogStore,
    meter::WriterMeter,
    names::JobNames,
    paces::Rated,
    reads::Reads,
    retention::Rounds,
    room::Room,
    rows::Policies,
    statement::{exec, is_damage, obstacle, query, query_one, single},
    writer::Writer,
    zones::InForce,
};

/// The truth.
const DATABASE: &str = "mainspring.db";
/// Log lines.
const LOGS: &str = "logs.db";
/// Whoever holds a lock on it owns the directory.
const LOCK: &str = "mainspring.lock";

/// How long a statement waits for another process that holds the file (a checker, a backup). Longer than any stall that is
/// worth surviving: the alternative is to fail what would have succeeded.
const BUSY_TIMEOUT: Duration = Duration::from_secs(60);
/// Pages of log after which a commit moves it into the database itself, if nobody else did: about 64 MiB.
const WAL_PAGES: &str = "16000";

/// What a statement has to answer a person. Lists that are read by an index take milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);
/// Steps of SQLite's machine between two looks at the clock: well below a millisecond.
const STEPS: i32 = 10_000;

/// Connections of the engine's own: no list that somebody asks for keeps a run from starting.
const STAGE_READERS: u32 = 2;
/// KiB of pages that each of those keeps: of what waits, a round of a thousand fairness keys touches a page each.
const STAGE_CACHE: u32 = 8_000;
/// The same of one for people.
const CACHE: u32 = 2_000;

/// When a commit counts as done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Synchronous {
    /// Flushed to the disk: survives the loss of power.
    #[default]
    Full,
    /// Handed to the operating system: survives the end of the process. After a loss of power the last commits may be
    /// gone, and an attempt number may be given out twice.
    Normal,
}

/// Where and how to open.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// The data directory; made if it is not there.
    pub data: PathBuf,
    /// When a commit counts as done.
    pub synchronous: Synchronous,
    /// The times leases live by.
    pub rules: LeaseRules,
    /// Connections for reading.
    pub readers: u32,
    /// A statement that answers a person has so long.
    pub patience: Duration,
    /// The zone data in force.
    pub zones: Zones,
    /// Counts the transactions of the main file.
    pub meter: WriterMeter,
}

impl OpenOptions {
    /// The defaults, for a directory.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            synchronous: Synchronous::default(),
            rules: LeaseRules::default(),
            readers: 4,
            patience: PATIENCE,
            zones: Zones::bundled(),
            meter: WriterMeter::default(),
        }
    }
}

/// Why the data directory cannot be used, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory or a file in it cannot be made or read.
    #[error("cannot use {path}: {}, or choose another data directory", mend(source))]
    Files {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another server is there.
    #[error("another server uses {path}: stop it first, or choose another data directory")]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The database was written by a newer server.
    #[error(
        "{path} was written by a newer server (it has migration {migration}, which this one does not know): start the \
         newer server, or restore the copy that was made before the upgrade"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The first migration that is not known here.
        migration: String,
    },
    /// The copy before an upgrade failed.
    #[error("cannot copy {path} before upgrading it: make room on the disk, or move older copies away")]
    Copy {
        /// The file.
        path: PathBuf,
        /// Why.
        source: DbErr,
    },
    /// An upgrade failed.
    #[error("cannot upgrade {path}; nothing of it was changed: report this with the log")]
    Migrate {
        /// The file.
        path: PathBuf,
        /// Why.
        source: DbErr,
    },
    /// It cannot be written.
    #[error("cannot write {path}, {obstacle}: free space there or make it writable, or choose another data directory")]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        obstacle: Obstacle,
    },
    /// It is damaged, or something else altogether.
    #[error("{path} is damaged, or no database: restore a backup, or choose another data directory")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why.
        source: DbErr,
    },
    /// Its log is there, and it is not the file that the log was written for.
    #[error(
        "{path} is gone or was replaced, and {}-wal, which holds what was stored last, belongs to the file that was there: put \
         that file back; to begin with another one, or anew, move the log away first",
        path.display()
    )]
    OtherLog {
        /// The file.
        path: PathBuf,
    },
    /// Somebody else keeps something in it.
    #[error("{path} is the database of another program: choose another data directory")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// SQLite cannot work with the file.
    #[error("cannot open {path}")]
    Database {
        /// The file.
        path: PathBuf,
        /// Why.
        source: DbErr,
    },
}

/// What to do about a directory or a file that cannot be used.
fn mend(source: &io::Error) -> &'static str {
    if matches!(source.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory) {
        "it is no directory, or lies in something that is none; move that away"
    } else {
        "give this user the right to read and write it"
    }
}

/// Holds the directory and the database until it is dropped; the system lets go of them when the process ends, however it
/// ends. The directory's file says so before there is a database; the database's own lock holds where that file was removed,
/// and where another directory leads to the same database. It is another kind of lock than SQLite's (`flock`), but the file
/// must stay open as long as SQLite has it open: closing any handle of a process gives up SQLite's.
#[derive(Debug)]
pub(super) struct DataLock {
    _directory: File,
    _database: File,
}

/// Opens the store of a data directory, which it makes or upgrades where needed.
pub async fn open(options: OpenOptions) -> Result<Arc<SqliteStore>, OpenError> {
    let OpenOptions { data, synchronous, rules, readers, patience, zones, meter } = options;
    let lock = claim(&data)?;
    let main = Files { path: data.join(DATABASE), synchronous };
    let (writer, main_held) = main.open::<Migrator>().await?;
    forget_streams(&writer).await;
    let lanes = Lanes::load(&writer).await.map_err(|error| main.unread(error))?;
    let zones = InForce::begin(&writer, zones).await.map_err(|error| main.unread(error))?;
    // Lines that a power loss takes are the last ones a worker will send again or not miss.
    let lines = Files { path: data.join(LOGS), synchronous: Synchronous::Normal };
    let (logs_writer, lines_held) = lines.open::<LogsMigrator>().await?;
    let room = Arc::new(Room::new(&data, [main_held, lines_held]));
    let read = |connection| Reads::new(connection, Arc::clone(&room));
    let reads = read(main.answering(readers, patience).await?);
    let stage_reads = read(main.readers(STAGE_READERS).await?);
    let lines_reads = read(lines.answering(2, patience).await?);
    let known = Arc::new(Known {
        rules,
        lanes,
        names: JobNames::default(),
        policies: Policies::default(),
        specs: Specs::default(),
        calendars: super::calendars::Held::default(),
        zones,
        restricted: Any::default(),
        sinks: Any::default(),
        rated: Rated::default(),
    });
    Ok(Arc::new(SqliteStore {
        known,
        writer: Writer::start("sql-writer", writer, main.checkpointer(), meter, room.clone()),
        reads,
        stage_reads,
        logs: LogStore::new(
            Writer::start("log-writer", logs_writer, lines.checkpointer(), WriterMeter::default(), room.clone()),
            lines_reads,
        ),
        main,
        room,
        tasks: Tasks::default(),
        rounds: parking_lot::Mutex::new(Rounds::default()),
        _lock: lock,
    }))
}

/// No stream outlives the process that held it: until a worker says Hello again it is away, with the leases that it has.
async fn forget_streams(writer: &DatabaseConnection) {
    let away = "UPDATE worker SET status = 2 WHERE status IN (1, 3)";
    if let Err(error) = exec(writer, away, Vec::new()).await {
        // Only what people see: who holds what is told by leases.
        tracing::warn!(%error, "workers that were connected before are shown so until they are heard or lost");
    }
}

/// Makes the directory and takes it.
fn claim(data: &Path) -> Result<DataLock, OpenError> {
    let files = |path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::Files { path, source }
    };
    if !data.is_dir() {
        DirBuilder::new().recursive(true).mode(0o700).create(data).map_err(files(data))?;
    }
    let mode = fs::metadata(data).map_err(files(data))?.permissions().mode();
    if mode & 0o077 != 0 {
        tracing::warn!(path = %data.display(), "others may look into the data directory; its files are private");
    }
    let lock = |name: &str| {
        let path = data.join(name);
        let file = private(&path).map_err(files(&path))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(OpenError::Locked { path: data.to_owned() }),
            Err(TryLockError::Error(source)) => Err(OpenError::Files { path, source }),
        }
    };
    let directory = lock(LOCK)?;
    // Before an empty file takes the place of one that is missing.
    own_log(&data.join(DATABASE))?;
    Ok(DataLock { _directory: directory, _database: lock(DATABASE)? })
}

/// Refuses a log that lies beside another file than its own: SQLite would take it for that file's, or, where that one is
/// empty, throw it away.
fn own_log(database: &Path) -> Result<(), OpenError> {
    /// Where the header says for whom the file is: 2 is for those who know logs, as every one of ours does from its first
    /// moment, and as no copy does.
    const KNOWS_LOGS: std::ops::Range<usize> = 18..20;
    let mut log = database.to_owned().into_os_string();
    log.push("-wal");
    if fs::metadata(PathBuf::from(log)).map_or(0, |log| log.len()) == 0 {
        return Ok(());
    }
    let mut header = [0; KNOWS_LOGS.end];
    let read = File::open(database).and_then(|mut file| io::Read::read_exact(&mut file, &mut header));
    match read {
        Ok(()) if header[KNOWS_LOGS] == [2, 2] => Ok(()),
        Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof) => {
            Err(OpenError::Files { path: database.to_owned(), source: error })
        }
        Ok(()) | Err(_) => Err(OpenError::OtherLog { path: database.to_owned() }),
    }
}

/// Opens or makes a file that only this user may read. SQLite gives its companions (`-wal`, `-shm`) the same rights.
pub(super) fn private(path: &Path) -> io::Result<File> {
    let file = File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    Ok(file)
}

/// One database file.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) path: PathBuf,
    pub(super) synchronous: Synchronous,
}

impl Files {
    fn failed(&self, source: DbErr) -> OpenError {
        let path = self.path.clone();
        match self.unwritable(&source) {
            Some(unwritable) => unwritable,
            None if is_damage(&source) => OpenError::Damaged { path, source },
            None => OpenError::Database { path, source },
        }
    }

    /// What the first look into it came to.
    fn unread(&self, error: StoreError) -> OpenError {
        let (path, source) = (self.path.clone(), DbErr::Custom(error.to_string()));
        match error {
            StoreError::Corrupt(_) | StoreError::Unwritable { obstacle: Obstacle::Damaged, place: _ } => {
                OpenError::Damaged { path, source }
            }
            StoreError::Unwritable { obstacle, place: _ } => OpenError::Unwritable { path, obstacle },
            StoreError::Unavailable(_) | StoreError::Conflict(_) | StoreError::TooSlow => {
                OpenError::Database { path, source }
            }
        }
    }

    fn unwritable(&self, error: &DbErr) -> Option<OpenError> {
        obstacle(error).map(|obstacle| OpenError::Unwritable { path: self.path.clone(), obstacle })
    }

    pub(super) fn options(&self) -> SqliteConnectOptions {
        let synchronous = match self.synchronous {
            Synchronous::Full => SqliteSynchronous::Full,
            Synchronous::Normal => SqliteSynchronous::Normal,
        };
        SqliteConnectOptions::new()
            .filename(&self.path)
            .create_if_missing(false)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
            .synchronous(synchronous)
            .statement_cache_capacity(256)
            .row_buffer_size(1_024)
    }

    /// The one writing connection, over a schema that is up to date. It commits only while the files are where they were.
    pub(super) async fn open<M: MigratorTrait>(&self) -> Result<(DatabaseConnection, Arc<Held>), OpenError> {
        let files = |source| OpenError::Files { path: self.path.clone(), source };
        own_log(&self.path)?;
        private(&self.path).map_err(files)?;
        let held = Arc::new(Held::of(&self.path).map_err(files)?);
        let asked = Arc::clone(&held);
        let options = self
            .options()
            .journal_mode(SqliteJournalMode::Wal)
            .pragma("cache_size", "-8000")
            .pragma("wal_autocheckpoint", WAL_PAGES);
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            // Where a commit fails SQLite may take the transaction back by itself, and sqlx still counts on it: the next
            // one would be a savepoint, answered and never committed. Such a connection is replaced.
            .before_acquire(|connection, _| Box::pin(async { Ok(!connection.is_in_transaction()) }))
            .after_connect(move |connection, _| {
                let held = Arc::clone(&asked);
                held.connects();
                Box::pin(async move {
                    connection.lock_handle().await?.set_commit_hook(move || held.stay());
                    Ok(())
                })
            })
            .connect_with(options)
            .await
            .map_err(|error| self.failed(DbErr::Conn(RuntimeErr::SqlxError(error.into()))))?;
        let connection = SqlxSqliteConnector::from_sqlx_sqlite_pool(pool);
        self.migrate::<M>(&connection).await?;
        Ok((connection, held))
    }

    async fn migrate<M: MigratorTrait>(&self, connection: &DatabaseConnection) -> Result<(), OpenError> {
        let applied = applied(connection).await.map_err(|error| self.unread(error))?;
        let known = known::<M>();
        if let Some(migration) = applied.iter().find(|name| !known.contains(name)) {
            return Err(OpenError::Newer { path: self.path.clone(), migration: migration.clone() });
        }
        if applied.len() == known.len() {
            return Ok(());
        }
        if applied.is_empty() && has_tables(connection).await.map_err(|error| self.unread(error))? {
            return Err(OpenError::Foreign { path: self.path.clone() });
        }
        if !applied.is_empty() {
            let copy = self.path_before_upgrade();
            tracing::info!(copy = %copy.display(), "copying the database before upgrading it");
            copy_to(connection, &copy).await.map_err(|source| OpenError::Copy { path: self.path.clone(), source })?;
        }
        let failed =
            |source| self.unwritable(&source).unwrap_or_else(|| OpenError::Migrate { path: self.path.clone(), source });
        let tx = connection.begin().await.map_err(failed)?;
        M::up(&tx, None).await.map_err(failed)?;
        tx.commit().await.map_err(failed)
    }

    /// `mainspring.db.before-0.2.0`, or with a number where an earlier copy has that name.
    fn path_before_upgrade(&self) -> PathBuf {
        let named = |suffix: &str| {
            let mut name = self.path.clone().into_os_string();
            name.push(concat!(".before-", env!("CARGO_PKG_VERSION")));
            name.push(suffix);
            PathBuf::from(name)
        };
        std::iter::once(String::new())
            .chain((2..).map(|number| format!(".{number}")))
            .map(|suffix| named(&suffix))
            .find(|path| !path.exists())
            .unwrap_or_else(|| named(""))
    }

    /// Connections for reading.
    async fn readers(&self, count: u32) -> Result<DatabaseConnection, OpenError> {
        self.reading(SqlitePoolOptions::new(), count, STAGE_CACHE).await
    }

    /// The same for people, whose questions are broken off when they take too long: by what they ask, one could keep a
    /// connection, and a core, for as long as the table is large.
    async fn answering(&self, count: u32, patience: Duration) -> Result<DatabaseConnection, OpenError> {
        let clock = Arc::new(HostClock::default());
        let again = Arc::clone(&clock);
        let pool = SqlitePoolOptions::new()
            .after_connect(move |connection, _| {
                let clock = Arc::clone(&clock);
                Box::pin(async move { bound(connection, clock, patience).await })
            })
            .before_acquire(move |connection, _| {
                let clock = Arc::clone(&again);
                Box::pin(async move { bound(connection, clock, patience).await.map(|()| true) })
            });
        self.reading(pool, count, CACHE).await
    }

    /// Opened at once and for good: what is read is the file that the writer has, also where another has its name by now, and
    /// a process that may open no more files goes on reading.
    async fn reading(&self, pool: SqlitePoolOptions, count: u32, cache: u32) -> Result<DatabaseConnection, OpenError> {
        let options = self.options().read_only(true).pragma("cache_size", format!("-{cache}"));
        let count = count.max(1);
        let pool = pool.max_connections(count).idle_timeout(None).max_lifetime(None).connect_lazy_with(options);
        let opened = try_join_all((0..count).map(|_| pool.acquire()))
            .await
            .map_err(|error| self.failed(DbErr::Conn(RuntimeErr::SqlxError(error.into()))))?;
        drop(opened);
        Ok(SqlxSqliteConnector::from_sqlx_sqlite_pool(pool))
    }

    /// A connection that moves the log into the database beside the writer. Its flushes are its own affair.
    fn checkpointer(&self) -> DatabaseConnection {
        let options = self.options().pragma("wal_autocheckpoint", "0");
        let pool = SqlitePoolOptions::new().max_connections(1).connect_lazy_with(options);
        SqlxSqliteConnector::from_sqlx_sqlite_pool(pool)
    }
}

/// Gives a connection so long from now. A statement takes its connection from the pool for itself, so it has all of that.
async fn bound(
    connection: &mut SqliteConnection,
    clock: Arc<HostClock>,
    patience: Duration,
) -> Result<(), sqlx::Error> {
    let end = clock.now().plus(patience);
    connection.lock_handle().await?.set_progress_handler(STEPS, move || clock.now() < end);
    Ok(())
}

/// Whether anything is kept in a database.
async fn has_tables(connection: &DatabaseConnection) -> StoreResult<bool> {
    let row = query_one(connection, "SELECT count(*) FROM sqlite_master", Vec::new()).await?;
    Ok(row.map(|row| single::<i64>(&row)).transpose()?.is_some_and(|count| count > 0))
}

/// The migrations a database has had; none where it is new.
async fn applied(connection: &DatabaseConnection) -> StoreResult<Vec<String>> {
    let table = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'seaql_migrations'";
    let there = query_one(connection, table, Vec::new()).await?;
    if there.map(|row| single::<i64>(&row)).transpose()?.unwrap_or(0) == 0 {
        return Ok(Vec::new());
    }
    query(connection, "SELECT version FROM seaql_migrations ORDER BY version", Vec::new())
        .await?
        .iter()
        .map(single)
        .collect()
}

/// Writes a consistent copy to a new private file, as it is at one moment, while others read and write.
pub(super) async fn copy_to<C: ConnectionTrait>(connection: &C, path: &Path) -> Result<(), DbErr> {
    let there = |error: io::Error| DbErr::Custom(format!("{}: {error}", path.display()));
    let text = path.to_str().ok_or_else(|| DbErr::Custom(format!("{} is not UTF-8", path.display())))?;
    // VACUUM INTO fills an empty file, but would make one with the rights of any other.
    File::options().write(true).create_new(true).mode(0o600).open(path).map_err(there)?;
    let copy = sea_orm::Statement::from_sql_and_values(
        connection.get_database_backend(),
        "VACUUM INTO ?",
        [Value::from(text)],
    );
    match connection.execute_raw(copy).await {
        Ok(_) => Ok(()),
        Err(error) => {
            let _ = fs::remove_file(path);
            Err(error)
        }
    }
}
