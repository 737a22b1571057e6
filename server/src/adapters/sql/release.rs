//! The [`Release`] role: the heads of lanes, read by an index that holds exactly what waits, in a ring.
//!
//! A look reads one priority after the other, from the highest, until it has enough. Of each, it finds as many keys as it
//! wants runs, by a seek each, from behind the one whose turn was last; and reads of all of them as deep as it must. So what
//! it costs follows from what it asks for: neither other keys nor what waits behind is looked at.

use async_trait::async_trait;
use mainspring_engine::{
    domain::{
        ids::RunId,
        instant::Instant,
        names::{FairnessKey, Lane, NamespaceName, Scope},
        place::Place,
    },
    ports::{
        broker::Pointer,
        store::{Head, Look, Queued, Release, StoreError, StoreResult, Waiting},
    },
};
use sea_orm::Value;
use serde::Deserialize;
use uuid::Uuid;

use super::{
    SqliteStore,
    restricted::RESTRICTED,
    rows::{name, rate},
    sheet::{SHEET, Sheet, array_of, bytes, in_hex, int, numbers, read_text, text},
    statement::{Cells, query, query_one, single},
};

/// One priority of a lane: the highest below a bound. Places: the lane's number; the bound; whose turn was last, by
/// priority; how many runs are wanted; what is known.
///
/// `later` and `earlier` are the two arcs of the ring of keys, behind the last turn and up to it; where there was none,
/// all keys are in the second. Each run that is known may have a key of its own, so as many keys more are looked at.
///
/// The highest priority is the first row in order: of a `max` in a subquery whose answer is tested, SQLite reads all rows.
/// What is known is told by a `CASE`: `NOT IN` must tell NULL from false, and for that compares a pair that it does not
/// find with all that are known.
pub(super) fn level_sql() -> String {
    let of_level = "FROM run WHERE ready_lane = ?1 AND priority = level.priority";
    let next = |after: &str| format!("(SELECT min(fairness_key) {of_level} AND fairness_key > {after})");
    let runs = format!(
        "SELECT id, generation, due_time {of_level} AND fairness_key = ring.key \
         AND length(CAST(id AS BLOB)) = 16{} \
         AND CASE WHEN (id, generation) IN (SELECT {}, {} FROM jsonb_each(?5) AS sheet) THEN FALSE ELSE TRUE END \
         ORDER BY due_time, id LIMIT (SELECT deep FROM depth)",
        numbers(&["generation", "due_time"]),
        bytes(0),
        int(1)
    );
    let line = array_of(&format!("{}, generation, due_time", in_hex("id")));
    let keys = array_of(&format!("{}, (SELECT {line} FROM ({runs}))", in_hex("ring.key")));
    format!(
        "WITH RECURSIVE level(priority, last, most) AS MATERIALIZED ( \
             SELECT top.priority, (SELECT {last} FROM {turns} WHERE {turn} = top.priority), ?4 + json_array_length(?5) \
             FROM (SELECT priority FROM run WHERE ready_lane = ?1 AND priority < ?2 ORDER BY priority DESC LIMIT 1) AS top \
         ), later(key) AS ( \
             SELECT {after_last} FROM level \
             UNION ALL SELECT {after_later} FROM later CROSS JOIN level WHERE later.key IS NOT NULL \
             LIMIT (SELECT most FROM level) \
         ), earlier(key) AS ( \
             SELECT (SELECT min(fairness_key) {of_level}) FROM level \
             UNION ALL SELECT {after_earlier} FROM earlier CROSS JOIN level \
             WHERE earlier.key IS NOT NULL AND (level.last IS NULL OR earlier.key < level.last) \
             LIMIT (SELECT most FROM level) \
         ), ring(key) AS MATERIALIZED ( \
             SELECT key FROM later WHERE key IS NOT NULL \
             UNION ALL SELECT key FROM earlier CROSS JOIN level \
             WHERE key IS NOT NULL AND (level.last IS NULL OR key <= level.last) \
             LIMIT (SELECT most FROM level) \
         ), depth(deep) AS MATERIALIZED (SELECT max(1, (?4 + count(*) - 1) / max(1, count(*))) FROM ring) \
         SELECT json_array(level.priority, level.most, deep, (SELECT {keys} FROM ring)) FROM level CROSS JOIN depth",
        last = text(1),
        turns = SHEET.replace('?', "?3"),
        turn = int(0),
        after_last = next("level.last"),
        after_later = next("later.key"),
        after_earlier = next("earlier.key"),
    )
}

/// The answer of [`level_sql`].
#[derive(Debug, Deserialize)]
struct Level {
    priority: u8,
    /// So many keys were looked for.
    most: usize,
    /// So many runs of each.
    deep: usize,
    keys: Vec<(Option<String>, Line)>,
}

/// Runs of one key, with their stay and when they were due.
type Line = Vec<(Uuid, i64, i64)>;

impl Level {
    /// Whether something may wait that is not here.
    fn is_cut(&self) -> bool {
        self.keys.len() >= self.most || self.keys.iter().any(|(_, runs)| runs.len() >= self.deep)
    }

    /// Its runs, round by round.
    fn runs(&self) -> Vec<Waiting> {
        // A key that cannot be read holds up nobody else.
        let read = |key: &Option<String>| name::<FairnessKey>(read_text(key.clone()).ok()?.unwrap_or_default()).ok();
        let mut lines: Vec<_> = self.keys.iter().filter_map(|(key, runs)| Some((read(key)?, runs.iter()))).collect();
        let mut waiting = Vec::new();
        for _ in 0..self.deep {
            for (key, runs) in &mut lines {
                waiting.extend(runs.next().map(|(run, generation, due)| Waiting {
                    pointer: Pointer { run: RunId::from_uuid(*run), generation: *generation },
                    place: Place { priority: self.priority, key: key.clone(), due: Instant::from_micros(*due) },
                }));
            }
        }
        waiting
    }
}

impl SqliteStore {
    async fn head(&self, look: &Look) -> StoreResult<Head> {
        let Look { lane, limit, turns, known } = look;
        let mut head = Head::default();
        let Some(lane) = self.known.lanes.find(lane) else { return Ok(head) };
        let turns = Sheet::of(turns, |row, turn| {
            row.int(i64::from(turn.priority)).text(turn.last.as_str());
        });
        let known = Sheet::of(known, |row, pointer| {
            row.id(pointer.run.uuid()).int(pointer.generation);
        });
        let mut bound = 10;
        while head.runs.len() < *limit {
            let wanted = i64::try_from(limit - head.runs.len()).unwrap_or(i64::MAX);
            let values = vec![lane.id.into(), bound.into(), turns.value(), wanted.into(), known.value()];
            let Some(row) = query_one(&self.stage_reads, level_sql(), values).await? else { return Ok(head) };
            let level: Level = serde_json::from_str(&single::<String>(&row)?)
                .map_err(|error| StoreError::Corrupt(format!("what waits in {}: {error}", look.lane)))?;
            head.runs.extend(level.runs());
            if level.is_cut() {
                head.more = true;
                break;
            }
            bound = i32::from(level.priority);
        }
        head.more |= head.runs.len() >= *limit;
        head.runs.truncate(*limit);
        Ok(head)
    }
}

#[async_trait]
impl Release for SqliteStore {
    async fn queued(&self, looks: &[Look]) -> StoreResult<Vec<Head>> {
        let mut heads = Vec::with_capacity(looks.len());
        for look in looks {
            heads.push(self.head(look).await?);
        }
        Ok(heads)
    }

    async fn selective(&self, namespace: &NamespaceName) -> StoreResult<Vec<Lane>> {
        Ok(self.known.lanes.selective(namespace))
    }

    async fn restricted_queues(&self) -> StoreResult<Vec<Queued>> {
        if !self.known.restricted.may() {
            return Ok(Vec::new());
        }
        let sql = format!(
            "SELECT namespace.name, queue.name, queue.paused, queue.concurrency_limit, queue.in_flight, queue.rate_count, \
             queue.rate_per, queue.rate_burst FROM queue JOIN namespace ON namespace.id = queue.namespace_id \
             WHERE {RESTRICTED}"
        );
        let rows = query(&self.stage_reads, sql, Vec::<Value>::new()).await?;
        rows.iter()
            .map(|row| {
                let mut cells = Cells::of(row);
                let (scope, queue) = (Scope(name(cells.next()?)?), name(cells.next()?)?);
                let paused = cells.next()?;
                let (limit, in_flight): (i64, i64) = (cells.next()?, cells.next()?);
                let room = (limit > 0).then(|| u32::try_from((limit - in_flight).max(0)).unwrap_or(u32::MAX));
                Ok(Queued { scope, queue, paused, room, rate: rate(&mut cells)? })
            })
            .collect()
    }
}
