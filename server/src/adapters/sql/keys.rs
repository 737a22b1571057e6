//! Concurrency keys, as a batch meets them while it makes runs, leases them and ends attempts.
//!
//! The counter of a key changes in the transaction that opens or ends an attempt, so a limit is never exceeded (I8). A run
//! of a key waits either in its lane or *parked*, in an index of the key's own. Whoever comes into a queue is parked first,
//! and whatever changed about a key is followed by [`let_go`], in the same transaction: so while a key has room, the best of
//! each lane that wait for it are in the lane, whatever the server does in between.
//!
//! Ordinary runs have no key, and nothing here is asked for them.

use std::collections::{BTreeMap, HashMap, HashSet};

use mainspring_engine::{
    domain::{
        ids::RunId,
        instant::Instant,
        limit::{self, Concurrency},
        names::ConcurrencyKey,
        run::RunState,
    },
    ports::store::{Moved, StoreError, StoreResult},
};
use sea_orm::ConnectionTrait;
use uuid::Uuid;

use super::{
    Known,
    rows::{name, time},
    statement::{Cells, chunks, exec, insert, places, query, query_in, single, tuples},
    steps::{Loaded, all_hit, columns},
    writer::Tx,
};

/// So many runs of a lane are let go at once: more than are leased before the next end.
const MOST: i64 = 1_000;
/// A key that some run may still name is not looked at again before.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_secs(24 * 3_600);

/// A key's place in a name: its namespace's number, and the key.
pub(super) type Name = (i32, ConcurrencyKey);

#[derive(Clone, Copy, Debug)]
struct Counter {
    limit: i64,
    in_flight: i64,
    stored: i64,
}

/// The keys of the runs of a batch, by number.
#[derive(Debug, Default)]
pub(super) struct Keys {
    counters: HashMap<i32, Counter>,
    touched: HashSet<i32>,
}

impl Keys {
    /// Reads those that are not known yet.
    pub(super) async fn load<C: ConnectionTrait>(
        &mut self,
        connection: &C,
        keys: impl IntoIterator<Item = i32>,
    ) -> StoreResult<()> {
        let mut ids: Vec<i32> = keys.into_iter().filter(|key| !self.counters.contains_key(key)).collect();
        ids.sort_unstable();
        ids.dedup();
        for row in query_in(connection, "SELECT id, run_limit, in_flight FROM limit_key WHERE id IN", &ids, "").await? {
            let mut cells = Cells::of(&row);
            let (id, limit, in_flight) = (cells.next()?, cells.next()?, cells.next()?);
            self.counters.insert(id, Counter { limit, in_flight, stored: in_flight });
        }
        Ok(())
    }

    /// Whether one more run of a key may go to a worker.
    pub(super) fn has_room(&self, key: i32) -> bool {
        self.counters.get(&key).is_none_or(|counter| counter.in_flight < counter.limit)
    }

    /// A run of a key has moved, and had and has an attempt open or not.
    pub(super) fn moved(&mut self, key: i32, was_open: bool, is_open: bool) {
        self.touched.insert(key);
        if let Some(counter) = self.counters.get_mut(&key) {
            counter.in_flight += i64::from(is_open) - i64::from(was_open);
        }
    }

    /// Runs of these keys are new, or their limits.
    pub(super) fn touch(&mut self, keys: impl IntoIterator<Item = i32>) {
        self.touched.extend(keys);
    }

    /// Writes the counters that changed, and lets go whom there is room for.
    pub(super) async fn save(mut self, tx: &Tx, known: &Known) -> StoreResult<Vec<Moved>> {
        if self.touched.is_empty() {
            return Ok(Vec::new());
        }
        let touched = std::mem::take(&mut self.touched);
        self.load(tx, touched.iter().copied()).await?;
        let mut rooms = BTreeMap::new();
        for id in touched {
            let Some(counter) = self.counters.get(&id) else { continue };
            if counter.in_flight != counter.stored {
                let values = vec![counter.in_flight.into(), id.into()];
                exec(tx, "UPDATE limit_key SET in_flight = ? WHERE id = ?", values).await?;
            }
            if counter.in_flight < counter.limit {
                rooms.insert(id, (counter.limit - counter.in_flight).min(MOST));
            }
        }
        let_go(tx, known, &rooms).await
    }
}

/// Lanes in which runs of a key are parked, by a seek each.
pub(super) const LANES: &str = "WITH RECURSIVE lane(id) AS ( \
         SELECT min(lane_id) FROM run WHERE parked_key = ?1 \
         UNION ALL SELECT (SELECT min(lane_id) FROM run WHERE parked_key = ?1 AND lane_id > lane.id) FROM lane \
         WHERE lane.id IS NOT NULL \
     ) SELECT id FROM lane WHERE id IS NOT NULL";

/// The best of a key in a lane that may be leased. One with an attempt open needs no room.
pub(super) const READY: &str = "SELECT priority FROM run WHERE key_id = ? AND ready_lane = ? AND open_token IS NULL \
     ORDER BY priority DESC LIMIT ?";

/// The best of a key that are parked in a lane.
pub(super) fn parked_sql() -> String {
    format!(
        "SELECT {} FROM run WHERE parked_key = ? AND lane_id = ? ORDER BY priority DESC, due_time, id LIMIT ?",
        columns()
    )
}

/// Which of `count` keys have runs that are parked.
pub(super) fn waited_for_sql(count: usize) -> String {
    format!(
        "SELECT id FROM limit_key WHERE id IN ({}) AND EXISTS (SELECT 1 FROM run WHERE run.parked_key = limit_key.id)",
        places(count)
    )
}

/// Puts `count` runs that were parked into their lanes.
pub(super) fn unpark_sql(count: usize) -> String {
    format!(
        "UPDATE run SET ready_lane = lane_id, parked_key = NULL WHERE parked_key IS NOT NULL AND id IN ({})",
        places(count)
    )
}

/// Lets go the best that are parked, where their keys have so much room.
async fn let_go(tx: &Tx, known: &Known, rooms: &BTreeMap<i32, i64>) -> StoreResult<Vec<Moved>> {
    let keys: Vec<i32> = rooms.keys().copied().collect();
    let mut waited_for = Vec::new();
    for piece in chunks(&keys) {
        let values = piece.iter().map(|key| (*key).into()).collect();
        for row in query(tx, waited_for_sql(piece.len()), values).await? {
            waited_for.push(single::<i32>(&row)?);
        }
    }
    let mut free = Vec::new();
    for key in waited_for {
        let room = rooms.get(&key).copied().unwrap_or_default();
        for row in query(tx, LANES, vec![key.into()]).await? {
            free.extend(best_of(tx, known, key, single(&row)?, room).await?);
        }
    }
    let ids: Vec<Uuid> = free.iter().map(|run| run.id.uuid()).collect();
    for piece in chunks(&ids) {
        let values = piece.iter().map(|id| (*id).into()).collect();
        all_hit(exec(tx, unpark_sql(piece.len()), values).await?, piece.len())?;
    }
    let names = known.names.resolve(tx, free.iter().filter_map(|run| Some(run.job?.0))).await?;
    Ok(free.iter().map(|run| run.let_go(run.job.and_then(|(job, _)| names.get(&job).cloned()))).collect())
}

/// Those of a lane that are let go.
async fn best_of(tx: &Tx, known: &Known, key: i32, lane: i32, room: i64) -> StoreResult<Vec<Loaded>> {
    let values = || vec![key.into(), lane.into(), room.into()];
    let mut ready = Vec::new();
    for row in query(tx, READY, values()).await? {
        ready.push(Cells::of(&row).parse("a priority", |number: &i32| u8::try_from(*number).ok())?);
    }
    let mut parked = Vec::new();
    for row in query(tx, parked_sql(), values()).await? {
        // One that cannot be read stays where it is, and holds up nobody else.
        parked.extend(Loaded::read(&row, known)?.1);
    }
    let priorities: Vec<u8> = parked.iter().map(Loaded::priority).collect();
    parked.truncate(limit::let_go(usize::try_from(room).unwrap_or_default(), &ready, &priorities));
    Ok(parked)
}

/// Tells what was let go with what it was let go by: in its own news, where it moved in this batch, or with the first.
pub(super) fn tell<'a>(moved: impl IntoIterator<Item = &'a mut Moved>, free: Vec<Moved>) {
    if free.is_empty() {
        return;
    }
    let mut free: HashMap<RunId, Moved> = free.into_iter().map(|run| (run.run, run)).collect();
    let mut moved: Vec<&mut Moved> = moved.into_iter().collect();
    for run in &mut moved {
        // Of a run that moved twice in a batch, the last is how it stands.
        if run.to == RunState::Queued
            && let Some(there) = free.get(&run.run).filter(|there| there.generation == run.generation)
        {
            run.place.clone_from(&there.place);
        }
    }
    for run in &moved {
        if run.place.is_some() {
            free.remove(&run.run);
        }
    }
    if let Some(first) = moved.into_iter().next() {
        first.let_go.extend(free.into_values());
    }
}

/// The keys of `count` names.
pub(super) fn named_sql(count: usize) -> String {
    format!(
        "WITH t(namespace_id, key) AS (VALUES {}) SELECT t.namespace_id, t.key, limit_key.id, limit_key.run_limit \
         FROM t CROSS JOIN limit_key ON limit_key.namespace_id = t.namespace_id AND limit_key.key = t.key",
        tuples(count, 2)
    )
}

async fn named(tx: &Tx, names: &[Name]) -> StoreResult<HashMap<Name, (i32, i64)>> {
    let mut found = HashMap::new();
    for piece in chunks(names) {
        let values = piece.iter().flat_map(|(namespace, key)| [(*namespace).into(), key.as_str().into()]);
        for row in query(tx, named_sql(piece.len()), values.collect()).await? {
            let mut cells = Cells::of(&row);
            let key = (cells.next()?, name(cells.next()?)?);
            found.insert(key, (cells.next()?, cells.next()?));
        }
    }
    Ok(found)
}

/// The numbers of keys that are there.
pub(super) async fn numbers(tx: &Tx, names: &[Name]) -> StoreResult<HashMap<Name, i32>> {
    Ok(named(tx, names).await?.into_iter().map(|(name, (id, _))| (name, id)).collect())
}

/// The numbers of the keys that new runs name; from now on they have the limits that were said last.
pub(super) async fn intern(
    tx: &Tx,
    now: Instant,
    wanted: impl IntoIterator<Item = (i32, &Concurrency)>,
) -> StoreResult<HashMap<Name, i32>> {
    let mut limits: BTreeMap<Name, Option<i64>> = BTreeMap::new();
    for (namespace, Concurrency { key, limit }) in wanted {
        let said = limits.entry((namespace, key.clone())).or_default();
        *said = limit.map(|limit| i64::from(limit.get())).or(*said);
    }
    if limits.is_empty() {
        return Ok(HashMap::new());
    }
    let names: Vec<Name> = limits.keys().cloned().collect();
    let there = named(tx, &names).await?;
    let mut rows = Vec::new();
    for (key, said) in &limits {
        let limit = match there.get(key) {
            Some((_, stored)) => said.filter(|said| said != stored),
            None => Some(said.unwrap_or(i64::from(Concurrency::FIRST.get()))),
        };
        let look = time(now.plus(LOOK_EVERY));
        rows.extend(limit.map(|limit| [key.0.into(), key.1.as_str().into(), limit.into(), look]));
    }
    let found = if rows.is_empty() {
        there
    } else {
        let into = "limit_key (namespace_id, key, run_limit, look_time)";
        let again = "ON CONFLICT (namespace_id, key) DO UPDATE SET run_limit = excluded.run_limit";
        insert(tx, into, rows, again).await?;
        named(tx, &names).await?
    };
    Ok(found.into_iter().map(|(key, (id, _))| (key, id)).collect())
}

/// The number of a key that was interned.
pub(super) fn number(
    interned: &HashMap<Name, i32>,
    namespace: i32,
    concurrency: Option<&Concurrency>,
) -> StoreResult<Option<i32>> {
    let Some(Concurrency { key, limit: _ }) = concurrency else { return Ok(None) };
    let id = interned.get(&(namespace, key.clone())).copied();
    id.map(Some).ok_or_else(|| StoreError::Corrupt(format!("concurrency key {key} has no number")))
}

/// Of the keys that were not looked at for the longest, those that no run names.
pub(super) const UNUSED: &str = "DELETE FROM limit_key WHERE id IN (SELECT id FROM limit_key WHERE look_time <= ? \
     ORDER BY look_time LIMIT ?) AND NOT EXISTS (SELECT 1 FROM run WHERE run.key_id = limit_key.id)";

/// The others are not looked at before.
pub(super) const USED: &str = "UPDATE limit_key SET look_time = ? WHERE id IN (SELECT id FROM limit_key \
     WHERE look_time <= ? ORDER BY look_time LIMIT ?)";

/// Deletes keys that no run names any more, of `limit` that were not looked at for the longest; how many, and whether there
/// may be more.
pub(super) async fn sweep(tx: &Tx, now: Instant, limit: i64) -> StoreResult<(u64, bool)> {
    let deleted = exec(tx, UNUSED, vec![time(now), limit.into()]).await?;
    let left = limit - i64::try_from(deleted).unwrap_or(limit);
    let later = time(now.plus(LOOK_EVERY));
    let used = if left > 0 { exec(tx, USED, vec![later, time(now), left.into()]).await? } else { 0 };
    Ok((deleted, i64::try_from(deleted + used).is_ok_and(|seen| seen >= limit)))
}
