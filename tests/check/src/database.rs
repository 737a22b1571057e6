//! The rows, read with SQL of the checker's own and opened read-only.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use anyhow::{Context as _, Result, ensure};
use sqlx::{
    Connection as _, Row as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteRow},
};

/// States of a run, as the column has them.
pub(crate) mod state {
    pub(crate) const SUCCEEDED: i64 = 6;
    pub(crate) const FAILED: i64 = 7;
    pub(crate) const CANCELLED: i64 = 8;
    pub(crate) const TIMED_OUT: i64 = 9;

    /// What people call it.
    pub(crate) fn name(code: i64) -> &'static str {
        const NAMES: [&str; 10] = [
            "?",
            "SCHEDULED",
            "QUEUED",
            "LEASED",
            "RUNNING",
            "RETRY_WAIT",
            "SUCCEEDED",
            "FAILED",
            "CANCELLED",
            "TIMED_OUT",
        ];
        usize::try_from(code).ok().and_then(|code| NAMES.get(code)).unwrap_or(&"?")
    }
}

/// A run that a schedule made.
pub(crate) const ORIGIN_SCHEDULE: i64 = 1;
/// Fates that have a run.
pub(crate) const FIRED: i64 = 1;
pub(crate) const UNITED: i64 = 2;

/// One row of `run`.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) id: String,
    pub(crate) state: i64,
    pub(crate) attempt: i64,
    pub(crate) decided: Option<i64>,
    pub(crate) failures: i64,
    pub(crate) losses: i64,
    pub(crate) returns: i64,
    pub(crate) create_time: i64,
    pub(crate) due_time: i64,
    pub(crate) lease_time: Option<i64>,
    pub(crate) end_time: Option<i64>,
    pub(crate) cancel_time: Option<i64>,
    pub(crate) origin: i64,
    pub(crate) job: Option<String>,
    pub(crate) nominal: Option<i64>,
    pub(crate) request: Option<String>,
}

impl Run {
    /// Whether it is over.
    pub(crate) fn over(&self) -> bool {
        matches!(self.state, state::SUCCEEDED | state::FAILED | state::CANCELLED | state::TIMED_OUT)
    }
}

/// One row of `attempt_end`.
#[derive(Clone, Debug)]
pub(crate) struct AttemptEnd {
    pub(crate) run: String,
    pub(crate) attempt: i64,
    pub(crate) state: i64,
    pub(crate) lease_time: Option<i64>,
    pub(crate) worker: Option<String>,
}

/// One row of `log_batch`, unpacked.
#[derive(Clone, Debug)]
pub(crate) struct LogBatch {
    pub(crate) first: i64,
    pub(crate) count: i64,
    /// Lines right before it that the worker dropped.
    pub(crate) dropped: i64,
    pub(crate) messages: Vec<String>,
}

/// The log of one attempt.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    /// Where the next line goes.
    pub(crate) next: i64,
    /// By first line.
    pub(crate) batches: Vec<LogBatch>,
}

/// One range of instants that had one fate: a row of `ledger`, or the open range of a schedule.
#[derive(Clone, Debug)]
pub(crate) struct Range {
    pub(crate) first: i64,
    pub(crate) last: i64,
    pub(crate) count: i64,
    pub(crate) fate: i64,
}

/// One schedule of a job, with its ledger.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    pub(crate) job: String,
    pub(crate) name: String,
    pub(crate) create_time: i64,
    pub(crate) cursor: i64,
    /// By first instant.
    pub(crate) ranges: Vec<Range>,
}

/// What the triggers saw; see [`crate::arm`].
#[derive(Clone, Debug)]
pub(crate) struct Witnessed {
    pub(crate) what: String,
    pub(crate) run: String,
    pub(crate) before: String,
    pub(crate) after: String,
}

/// Everything that is judged.
#[derive(Debug, Default)]
pub(crate) struct Database {
    pub(crate) runs: BTreeMap<String, Run>,
    pub(crate) ends: Vec<AttemptEnd>,
    pub(crate) jobs: Vec<String>,
    pub(crate) schedules: Vec<Schedule>,
    /// `None` where nobody armed the database, so that nothing was watched.
    pub(crate) witnessed: Option<Vec<Witnessed>>,
    /// By run and attempt; `None` where there is no file of logs beside the database.
    pub(crate) logs: Option<BTreeMap<(String, i64), Log>>,
}

impl Database {
    pub(crate) async fn read(path: &Path) -> Result<Self> {
        ensure!(path.is_file(), "there is no database at {}", path.display());
        let options = SqliteConnectOptions::new().filename(path).read_only(true);
        let mut db = SqliteConnection::connect_with(&options)
            .await
            .with_context(|| format!("cannot open {}", path.display()))?;
        // One snapshot, should anybody still be writing.
        let mut db = db.begin().await?;
        let runs = runs(&mut db).await.context("table run")?;
        let ends = ends(&mut db).await.context("table attempt_end")?;
        let schedules = schedules(&mut db).await.context("tables schedule and ledger")?;
        let jobs = sqlx::query("SELECT uid FROM job").fetch_all(&mut *db).await?.iter().map(|row| id(row, 0)).collect();
        let witnessed = witnessed(&mut db).await.context("table check_witness")?;
        let logs = logs(&path.with_file_name(LOGS)).await?;
        Ok(Self { runs, ends, jobs, schedules, witnessed, logs })
    }
}

/// The file of logs, beside the database.
const LOGS: &str = "logs.db";

async fn logs(path: &Path) -> Result<Option<BTreeMap<(String, i64), Log>>> {
    if !path.is_file() {
        return Ok(None);
    }
    let options = SqliteConnectOptions::new().filename(path).read_only(true);
    let mut db =
        SqliteConnection::connect_with(&options).await.with_context(|| format!("cannot open {}", path.display()))?;
    let mut db = db.begin().await?;
    let mut logs: BTreeMap<(String, i64), Log> = BTreeMap::new();
    let rows = sqlx::query("SELECT run_id, attempt, next_offset FROM log_attempt").fetch_all(&mut *db).await;
    for row in rows.context("table log_attempt")? {
        logs.entry((id(&row, 0), row.get(1))).or_default().next = row.get(2);
    }
    let rows = sqlx::query(
        "SELECT run_id, attempt, first_offset, count, dropped, lines FROM log_batch ORDER BY run_id, attempt, first_offset",
    );
    for row in rows.fetch_all(&mut *db).await.context("table log_batch")? {
        let packed: Vec<u8> = row.get(5);
        let text = zstd::decode_all(packed.as_slice()).context("lines that cannot be unpacked")?;
        let lines = String::from_utf8(text).context("lines that are no text")?;
        let messages = lines.lines().map(message).collect::<Result<_>>()?;
        let batch = LogBatch { first: row.get(2), count: row.get(3), dropped: row.get(4), messages };
        logs.entry((id(&row, 0), row.get(1))).or_default().batches.push(batch);
    }
    Ok(Some(logs))
}

fn message(line: &str) -> Result<String> {
    let line: serde_json::Value = serde_json::from_str(line).with_context(|| format!("a log line: {line}"))?;
    Ok(line["message"].as_str().context("a log line without a message")?.to_owned())
}

async fn runs(db: &mut SqliteConnection) -> Result<BTreeMap<String, Run>> {
    let rows = sqlx::query(
        "SELECT id, state, attempt, decided_token, failures, losses, returns, create_time, due_time, end_time, origin, \
         job_uid, nominal_time, request_id, lease_time, cancel_time FROM run",
    )
    .fetch_all(db)
    .await?;
    let read = |row: &SqliteRow| Run {
        id: id(row, 0),
        state: row.get(1),
        attempt: row.get(2),
        decided: row.get(3),
        failures: row.get(4),
        losses: row.get(5),
        returns: row.get(6),
        create_time: row.get(7),
        due_time: row.get(8),
        end_time: row.get(9),
        origin: row.get(10),
        job: row.get::<Option<Vec<u8>>, _>(11).map(|bytes| uuid(&bytes)),
        nominal: row.get(12),
        request: row.get(13),
        lease_time: row.get(14),
        cancel_time: row.get(15),
    };
    Ok(rows.iter().map(read).map(|run| (run.id.clone(), run)).collect())
}

async fn ends(db: &mut SqliteConnection) -> Result<Vec<AttemptEnd>> {
    let rows =
        sqlx::query("SELECT run_id, attempt, state, lease_time, worker_id FROM attempt_end").fetch_all(db).await?;
    let read = |row: &SqliteRow| AttemptEnd {
        run: id(row, 0),
        attempt: row.get(1),
        state: row.get(2),
        lease_time: row.get(3),
        worker: row.get::<Option<Vec<u8>>, _>(4).map(|bytes| uuid(&bytes)),
    };
    Ok(rows.iter().map(read).collect())
}

async fn schedules(db: &mut SqliteConnection) -> Result<Vec<Schedule>> {
    let ledger = sqlx::query(
        "SELECT job_uid, schedule, first_time, last_time, count, fate FROM ledger \
         UNION ALL SELECT job_uid, name, open_first, open_last, open_count, open_fate FROM schedule \
         WHERE open_first IS NOT NULL ORDER BY 1, 2, 3",
    )
    .fetch_all(&mut *db)
    .await?;
    let mut ranges: BTreeMap<(String, String), Vec<Range>> = BTreeMap::new();
    for row in &ledger {
        let range = Range { first: row.get(2), last: row.get(3), count: row.get(4), fate: row.get(5) };
        ranges.entry((id(row, 0), row.get(1))).or_default().push(range);
    }
    let rows = sqlx::query(
        "SELECT schedule.job_uid, schedule.name, job.create_time, schedule.cursor_time FROM schedule \
         JOIN job ON job.uid = schedule.job_uid",
    )
    .fetch_all(db)
    .await?;
    let mut read = |row: &SqliteRow| {
        let (job, name): (String, String) = (id(row, 0), row.get(1));
        let ranges = ranges.remove(&(job.clone(), name.clone())).unwrap_or_default();
        Schedule { job, name, create_time: row.get(2), cursor: row.get(3), ranges }
    };
    Ok(rows.iter().map(&mut read).collect())
}

async fn witnessed(db: &mut SqliteConnection) -> Result<Option<Vec<Witnessed>>> {
    let armed = sqlx::query("SELECT count(*) FROM sqlite_schema WHERE type = 'trigger' AND name LIKE 'check_%'")
        .fetch_one(&mut *db)
        .await?
        .get::<i64, _>(0);
    if armed < crate::arm::TRIGGERS {
        return Ok(None);
    }
    let rows = sqlx::query("SELECT what, run, before, after FROM check_witness ORDER BY seq").fetch_all(db).await?;
    let read = |row: &SqliteRow| Witnessed { what: row.get(0), run: id(row, 1), before: row.get(2), after: row.get(3) };
    Ok(Some(rows.iter().map(read).collect()))
}

fn id(row: &SqliteRow, column: usize) -> String {
    uuid(&row.get::<Vec<u8>, _>(column))
}

/// Sixteen bytes in the form the API shows them.
fn uuid(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let _ = write!(text, "{byte:02x}");
    }
    text
}
