//! The [`Logs`] role: a file and a writer of its own.
//!
//! One row per batch, its lines as compressed JSON. Where an attempt's log stands is a row too, so that a line is stored
//! once whatever is sent again: the offset decides. Over the limits one marker takes the place of the first line that is
//! not kept, and the rest are only counted.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use mainspring_engine::{
    domain::{
        attempt::AttemptKey,
        ids::RunId,
        instant::Instant,
        log::{Batch, Level, Line, MAX_ATTEMPT_BYTES, MAX_ATTEMPT_LINES, Position, Reach, Stored},
        names::Scope,
    },
    ports::store::{Logs, StoreError, StoreResult},
};
use sea_orm::{ConnectionTrait, QueryResult, Value};

use super::{
    SqliteStore,
    reads::Reads,
    rows::{json, maybe, maybe_time, read_json, time},
    statement::{Cells, chunks, exec, insert, query, query_one, single, tuples},
    writer::{Tx, Writer},
};

/// Batches read at once while a reader is served.
const STEP: i64 = 64;
/// zstd's level: log lines repeat themselves, and more effort finds little more.
const COMPRESSION: i32 = 3;

/// The logs' file.
#[derive(Debug)]
pub(super) struct LogStore {
    pub(super) writer: Writer,
    pub(super) reads: Reads,
}

impl LogStore {
    /// Over connections to the logs' file.
    pub(super) fn new(writer: Writer, reads: Reads) -> Self {
        Self { writer, reads }
    }

    /// Ends the writer after what it was given, and closes the file; readers first, as [`SqliteStore::close`] says.
    pub(super) async fn close(&self) {
        self.reads.close().await;
        self.writer.close().await;
    }
}

#[async_trait]
impl Logs for SqliteStore {
    async fn append(&self, now: Instant, batches: Vec<Batch>) -> StoreResult<Vec<u64>> {
        self.logs.writer.write(move |tx| Box::pin(async move { append(tx, now, batches).await })).await
    }

    async fn read(
        &self,
        scope: &Scope,
        run: RunId,
        attempt: Option<i64>,
        after: Option<Position>,
        level: Level,
        limit: usize,
    ) -> StoreResult<Vec<Stored>> {
        if !self.is_in(scope, run).await? {
            return Ok(Vec::new());
        }
        let mut reader = Reader { connection: &self.logs.reads, run, attempt, level, limit, lines: Vec::new() };
        reader.read(after).await?;
        Ok(reader.lines)
    }

    async fn reach(&self, scope: &Scope, key: AttemptKey) -> StoreResult<Option<Reach>> {
        if !self.is_in(scope, key.run).await? {
            return Ok(None);
        }
        let sql = "SELECT next_offset, update_time FROM log_attempt WHERE run_id = ? AND attempt = ?";
        let row = query_one(&self.logs.reads, sql, vec![key.run.uuid().into(), key.attempt.into()]).await?;
        row.map(|row| {
            let mut cells = Cells::of(&row);
            Ok(Reach { next_offset: unsigned(&mut cells)?, update_time: Instant::from_micros(cells.next()?) })
        })
        .transpose()
    }
}

impl SqliteStore {
    /// Whether there is such a run in a namespace.
    async fn is_in(&self, scope: &Scope, run: RunId) -> StoreResult<bool> {
        let row = query_one(&self.reads, "SELECT lane_id FROM run WHERE id = ?", vec![run.uuid().into()]).await?;
        let Some(lane) = row.map(|row| single::<i32>(&row)).transpose()? else { return Ok(false) };
        Ok(self.known.lanes.of(lane)?.lane.namespace == scope.0)
    }
}

/// Where an attempt's log stands.
#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    next_offset: u64,
    kept_lines: u64,
    kept_bytes: u64,
    marker: Option<(u64, Instant)>,
    suppressed: u64,
}

/// The columns of a [`Standing`], in order.
const STANDING: &str = "run_id, attempt, next_offset, kept_lines, kept_bytes, marker_offset, marker_time, suppressed";

fn unsigned(cells: &mut Cells<'_>) -> StoreResult<u64> {
    cells.parse("a count", |number: &i64| u64::try_from(*number).ok())
}

fn signed(number: u64) -> StoreResult<Value> {
    i64::try_from(number).map(Value::from).map_err(|_| StoreError::Corrupt(format!("{number} is too large")))
}

fn standing(row: &QueryResult) -> StoreResult<(AttemptKey, Standing)> {
    let mut cells = Cells::of(row);
    let key = AttemptKey { run: RunId::from_uuid(cells.next()?), attempt: cells.next()? };
    let (next_offset, kept_lines, kept_bytes) = (unsigned(&mut cells)?, unsigned(&mut cells)?, unsigned(&mut cells)?);
    let marker_offset = cells.next::<Option<i64>>()?.and_then(|offset| u64::try_from(offset).ok());
    let marker = marker_offset.zip(maybe(cells.next()?));
    let suppressed = unsigned(&mut cells)?;
    Ok((key, Standing { next_offset, kept_lines, kept_bytes, marker, suppressed }))
}

async fn standings(tx: &Tx, keys: &[AttemptKey]) -> StoreResult<HashMap<AttemptKey, Standing>> {
    let mut found = HashMap::new();
    for piece in chunks(keys) {
        let values = piece.iter().flat_map(|key| [key.run.uuid().into(), key.attempt.into()]).collect();
        let columns = STANDING.split(", ").map(|column| format!("log_attempt.{column}")).collect::<Vec<_>>().join(", ");
        let sql = format!(
            "WITH t(run_id, attempt) AS (VALUES {}) SELECT {columns} FROM t CROSS JOIN log_attempt \
             ON log_attempt.run_id = t.run_id AND log_attempt.attempt = t.attempt",
            tuples(piece.len(), 2)
        );
        for row in query(tx, sql, values).await? {
            found.extend([standing(&row)?]);
        }
    }
    Ok(found)
}

/// What of a batch is new.
struct Kept {
    key: AttemptKey,
    first_offset: u64,
    dropped: u64,
    lines: Vec<Line>,
}

impl Standing {
    /// Takes what is new of a batch; nothing where there is nothing, or where lines before it are missing.
    fn take(&mut self, now: Instant, batch: Batch) -> Option<Kept> {
        let Batch { key, first_offset, mut lines, dropped } = batch;
        // One attempt that counts beyond what a column holds must not take the others' batches with it.
        let end = first_offset.checked_add(lines.len() as u64).filter(|end| i64::try_from(*end).is_ok())?;
        // What lies between the end and this batch must be lines that the worker says it dropped.
        let gap = first_offset.saturating_sub(self.next_offset);
        if gap > dropped || end <= self.next_offset {
            return None;
        }
        let known = usize::try_from(self.next_offset.saturating_sub(first_offset)).unwrap_or(usize::MAX);
        lines.drain(..known.min(lines.len()));
        let first_offset = self.next_offset + gap;
        self.next_offset = end;
        if self.marker.is_some() {
            self.suppressed += gap + lines.len() as u64;
            return None;
        }
        let mut fitting = 0;
        for line in &lines {
            let (count, bytes) = (self.kept_lines + 1, self.kept_bytes + line.weight());
            if count > MAX_ATTEMPT_LINES || bytes > MAX_ATTEMPT_BYTES {
                break;
            }
            (self.kept_lines, self.kept_bytes) = (count, bytes);
            fitting += 1;
        }
        if fitting < lines.len() {
            self.marker = Some((first_offset + fitting as u64, now));
            self.suppressed += (lines.len() - fitting) as u64;
            lines.truncate(fitting);
        }
        (!lines.is_empty()).then_some(Kept { key, first_offset, dropped: gap, lines })
    }
}

async fn append(tx: &Tx, now: Instant, batches: Vec<Batch>) -> StoreResult<Vec<u64>> {
    let mut keys: Vec<AttemptKey> = batches.iter().map(|batch| batch.key).collect();
    keys.sort_unstable();
    keys.dedup();
    let mut standings = standings(tx, &keys).await?;
    let mut ends = Vec::with_capacity(batches.len());
    let mut rows = Vec::new();
    for batch in batches {
        let standing = standings.entry(batch.key).or_default();
        if let Some(kept) = standing.take(now, batch.clone()) {
            rows.push(batch_cells(kept)?);
        }
        ends.push(standing.next_offset);
    }
    let into = "log_batch (run_id, attempt, first_offset, count, dropped, max_level, lines)";
    insert(tx, into, rows, "").await?;
    for (key, standing) in standings {
        let Standing { next_offset, kept_lines, kept_bytes, marker, suppressed } = standing;
        let values = vec![
            key.run.uuid().into(),
            key.attempt.into(),
            signed(next_offset)?,
            signed(kept_lines)?,
            signed(kept_bytes)?,
            marker.map(|(offset, _)| signed(offset)).transpose()?.unwrap_or(Value::BigInt(None)),
            maybe_time(marker.map(|(_, at)| at)),
            signed(suppressed)?,
            time(now),
        ];
        let sql = format!(
            "INSERT INTO log_attempt ({STANDING}, update_time) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) \
             ON CONFLICT (run_id, attempt) DO UPDATE SET next_offset = excluded.next_offset, \
             kept_lines = excluded.kept_lines, kept_bytes = excluded.kept_bytes, marker_offset = excluded.marker_offset, \
             marker_time = excluded.marker_time, suppressed = excluded.suppressed, update_time = excluded.update_time"
        );
        exec(tx, sql, values).await?;
    }
    Ok(ends)
}

fn batch_cells(kept: Kept) -> StoreResult<[Value; 7]> {
    let Kept { key, first_offset, dropped, lines } = kept;
    let mut text = Vec::new();
    for line in &lines {
        text.extend_from_slice(json(line)?.as_bytes());
        text.push(b'\n');
    }
    let packed = zstd::bulk::compress(&text, COMPRESSION).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    let level = lines.iter().map(|line| line.level).max().unwrap_or_default();
    Ok([
        key.run.uuid().into(),
        key.attempt.into(),
        signed(first_offset)?,
        signed(lines.len() as u64)?,
        signed(dropped)?,
        (level as i32).into(),
        packed.into(),
    ])
}

/// Reads lines in order until there are enough.
struct Reader<'a, C> {
    connection: &'a C,
    run: RunId,
    attempt: Option<i64>,
    level: Level,
    limit: usize,
    lines: Vec<Stored>,
}

impl<C: ConnectionTrait> Reader<'_, C> {
    async fn read(&mut self, after: Option<Position>) -> StoreResult<()> {
        let markers = self.markers().await?;
        let wanted = move |at: Position| after.is_none_or(|after| at > after);
        let mut behind = self.start(after).await?;
        loop {
            let rows = self.batches(behind).await?;
            for row in &rows {
                let (attempt, first, lines, dropped) = unpack(row)?;
                behind = (attempt, i64::try_from(first).unwrap_or(i64::MAX));
                self.mark(&markers, Position { attempt, offset: first }, wanted);
                let mut dropped_before = dropped;
                for (line, offset) in lines.into_iter().zip(first..) {
                    let dropped_before = std::mem::take(&mut dropped_before);
                    let at = Position { attempt, offset };
                    if wanted(at) && line.level >= self.level && self.lines.len() < self.limit {
                        self.lines.push(Stored { attempt, offset, line, dropped_before });
                    }
                }
            }
            if self.lines.len() >= self.limit || (rows.len() as i64) < STEP {
                break;
            }
        }
        self.mark(&markers, Position { attempt: i64::MAX, offset: u64::MAX }, wanted);
        Ok(())
    }

    /// The key right before the batch that holds what comes after a line, which may be the line's own.
    async fn start(&self, after: Option<Position>) -> StoreResult<(i64, i64)> {
        let Some(Position { attempt, offset }) = after else { return Ok((i64::MIN, 0)) };
        let offset = i64::try_from(offset).unwrap_or(i64::MAX);
        let row = query_one(self.connection, HOLDING, vec![self.run.uuid().into(), attempt.into(), offset.into()]);
        let first: Option<i64> = row.await?.map(|row| single(&row)).transpose()?.flatten();
        Ok((attempt, first.unwrap_or(offset).saturating_sub(1)))
    }

    /// Batches behind a key.
    async fn batches(&self, (attempt, offset): (i64, i64)) -> StoreResult<Vec<QueryResult>> {
        let offset = match self.attempt {
            Some(one) if one < attempt => return Ok(Vec::new()),
            Some(one) if one > attempt => -1,
            Some(_) | None => offset,
        };
        let values = vec![
            self.run.uuid().into(),
            self.attempt.unwrap_or(attempt).into(),
            offset.into(),
            (self.level as i32).into(),
            STEP.into(),
        ];
        query(self.connection, batches_sql(self.attempt.is_some()), values).await
    }

    /// Where attempts of the run went over the limits, as the line that says so.
    async fn markers(&self) -> StoreResult<BTreeMap<Position, Line>> {
        let sql = format!("SELECT {STANDING} FROM log_attempt WHERE run_id = ? AND marker_offset IS NOT NULL");
        let mut markers = BTreeMap::new();
        for row in query(self.connection, sql, vec![self.run.uuid().into()]).await? {
            let (key, standing) = standing(&row)?;
            let Some((offset, at)) = standing.marker else { continue };
            if self.attempt.is_none_or(|attempt| attempt == key.attempt) {
                let fields = BTreeMap::from([("suppressed".to_owned(), standing.suppressed.to_string())]);
                let message = "the attempt's log is full; further lines are only counted".to_owned();
                let line = Line { time: at, level: Level::Warning, message, fields };
                markers.insert(Position { attempt: key.attempt, offset }, line);
            }
        }
        Ok(markers)
    }

    /// Adds the markers that come before a place.
    fn mark(&mut self, markers: &BTreeMap<Position, Line>, before: Position, wanted: impl Fn(Position) -> bool) {
        let from = self.lines.last().map(|line| Position { attempt: line.attempt, offset: line.offset });
        for (at, line) in markers.range(..before) {
            let new = from.is_none_or(|from| *at > from);
            if new && wanted(*at) && line.level >= self.level && self.lines.len() < self.limit {
                let Position { attempt, offset } = *at;
                self.lines.push(Stored { attempt, offset, line: line.clone(), dropped_before: 0 });
            }
        }
    }
}

/// Where the batch begins that may hold a line.
pub(super) const HOLDING: &str =
    "SELECT max(first_offset) FROM log_batch WHERE run_id = ? AND attempt = ? AND first_offset <= ?";

/// Batches of a run behind a key; those of one attempt where asked.
pub(super) fn batches_sql(of_attempt: bool) -> String {
    let behind = if of_attempt { "attempt = ? AND first_offset > ?" } else { "(attempt, first_offset) > (?, ?)" };
    format!(
        "SELECT attempt, first_offset, dropped, lines FROM log_batch WHERE run_id = ? AND {behind} AND max_level >= ? \
         ORDER BY attempt, first_offset LIMIT ?"
    )
}

fn unpack(row: &QueryResult) -> StoreResult<(i64, u64, Vec<Line>, u64)> {
    let mut cells = Cells::of(row);
    let attempt = cells.next()?;
    let (first, dropped) = (unsigned(&mut cells)?, unsigned(&mut cells)?);
    let packed: Vec<u8> = cells.next()?;
    let text = zstd::decode_all(packed.as_slice()).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    let text = String::from_utf8(text).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    Ok((attempt, first, text.lines().map(read_json).collect::<StoreResult<_>>()?, dropped))
}
