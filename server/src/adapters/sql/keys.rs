//! Concurrency keys, as a batch meets them while it makes runs, leases them and ends attempts.
//!
//! The counter of a key changes in the transaction that opens or ends an attempt, so a limit is never exceeded (I8). A run
//! of a key waits either in its lane or *parked*, in an index of the key's own. Whoever comes into a queue is parked first,
//! and whatever changed about a key is followed by [`let_go`], in the same transaction: so while a key has room, the best of
//! each lane that wait for it are in the lane, whatever the server does in between.
//!
//! The bucket of a key that has a rate changes likewise, and is as exact. But room comes back to it by itself, so its row says
//! when somebody must look (`go_time`), as long as somebody waits whom only the rate keeps back; [`super::paces`] does.
//!
//! Ordinary runs have no key, and nothing here is asked for them.

mod said;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use mainspring_engine::{
    domain::{ids::RunId, instant::Instant, limit, run::RunState},
    ports::store::{Moved, StoreResult},
};
use sea_orm::ConnectionTrait;
use uuid::Uuid;

#[cfg(test)]
pub(super) use self::said::named_sql;
pub(super) use self::said::{Name, SAID, Said, intern, number, numbers};
use super::{
    Known,
    rows::{maybe, maybe_time, time},
    statement::{Cells, chunks, exec, places, query, query_in, single},
    steps::{Loaded, all_hit, columns},
    writer::Tx,
};

/// So many runs of a lane are let go at once: more than are leased before the next end.
const MOST: i64 = 1_000;
/// A key that some run may still name is not looked at again before.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_secs(24 * 3_600);

#[derive(Clone, Copy, Debug)]
struct Counter {
    said: Said,
    in_flight: i64,
    /// When somebody must look.
    go: Option<Instant>,
}

impl Counter {
    /// So many more may have an attempt open, whatever the rate.
    fn places(&self) -> i64 {
        let rate = self.said.bucket.map(|bucket| bucket.rate());
        limit::at_once(self.said.limit, rate).map_or(MOST, |limit| i64::from(limit.get()) - self.in_flight)
    }

    /// So many more may go to workers.
    fn room(&self, now: Instant) -> i64 {
        let tokens = self.said.bucket.map(|mut bucket| i64::try_from(bucket.tokens(now)).unwrap_or(MOST));
        self.places().min(tokens.unwrap_or(MOST)).min(MOST)
    }
}

/// The keys of the runs of a batch, by number.
#[derive(Debug, Default)]
pub(super) struct Keys {
    counters: HashMap<i32, Counter>,
    stored: HashMap<i32, Counter>,
    touched: BTreeSet<i32>,
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
        let head = format!("SELECT id, in_flight, go_time, {SAID} FROM limit_key WHERE id IN");
        for row in query_in(connection, &head, &ids, "").await? {
            let mut cells = Cells::of(&row);
            let (id, in_flight, go) = (cells.next()?, cells.next()?, maybe(cells.next()?));
            let counter = Counter { said: Said::read(&mut cells)?, in_flight, go };
            self.counters.insert(id, counter);
            self.stored.insert(id, counter);
        }
        Ok(())
    }

    /// Whether one more run of a key may go to a worker.
    pub(super) fn has_room(&self, key: i32, now: Instant) -> bool {
        self.counters.get(&key).is_none_or(|counter| counter.room(now) > 0)
    }

    /// A run of a key has moved, and had and has an attempt open or not.
    pub(super) fn moved(&mut self, key: i32, was_open: bool, is_open: bool) {
        self.touched.insert(key);
        if let Some(counter) = self.counters.get_mut(&key) {
            counter.in_flight += i64::from(is_open) - i64::from(was_open);
        }
    }

    /// An attempt of a run of a key was leased.
    pub(super) fn begun(&mut self, key: i32, now: Instant) {
        if let Some(bucket) = self.counters.get_mut(&key).and_then(|counter| counter.said.bucket.as_mut()) {
            bucket.gain(now);
            bucket.take(1);
        }
    }

    /// An attempt of a run of a key has never begun.
    pub(super) fn returned(&mut self, key: i32, now: Instant) {
        if let Some(bucket) = self.counters.get_mut(&key).and_then(|counter| counter.said.bucket.as_mut()) {
            bucket.gain(now);
            bucket.give_back(1);
        }
    }

    /// Runs of these keys are new, or wait again, or what was said of them is.
    pub(super) fn touch(&mut self, keys: impl IntoIterator<Item = i32>) {
        self.touched.extend(keys);
    }

    /// Writes the counters that changed, and lets go whom there is room for.
    pub(super) async fn save(mut self, tx: &Tx, known: &Known, now: Instant) -> StoreResult<Vec<Moved>> {
        if self.touched.is_empty() {
            return Ok(Vec::new());
        }
        let touched = self.take_touched(tx).await?;
        let rooms = touched.iter().map(|id| (*id, self.room(*id, now))).filter(|(_, room)| *room > 0).collect();
        let free = let_go(tx, known, &rooms).await?;
        let empty: Vec<i32> = touched.iter().copied().filter(|id| self.is_kept_back(*id, now)).collect();
        let waited_for = waited_for(tx, &empty).await?.into_iter().collect();
        self.write(tx, known, now, &touched, &waited_for).await?;
        Ok(free)
    }

    /// Writes the counters that leases changed. A lease makes no room under any key; what time has brought meanwhile to one
    /// with a rate is let go by whoever looks, since nobody here tells the dispatcher.
    pub(super) async fn save_leases(mut self, tx: &Tx, known: &Known, now: Instant) -> StoreResult<()> {
        if self.touched.is_empty() {
            return Ok(());
        }
        let touched = self.take_touched(tx).await?;
        let looked_for = |id: &i32| self.is_kept_back(*id, now) || self.has_gained(*id, now);
        let some: Vec<i32> = touched.iter().copied().filter(looked_for).collect();
        let waited_for = waited_for(tx, &some).await?.into_iter().collect();
        self.write(tx, known, now, &touched, &waited_for).await
    }

    async fn take_touched(&mut self, tx: &Tx) -> StoreResult<BTreeSet<i32>> {
        let touched = std::mem::take(&mut self.touched);
        self.load(tx, touched.iter().copied()).await?;
        Ok(touched)
    }

    fn room(&self, key: i32, now: Instant) -> i64 {
        self.counters.get(&key).map_or(0, |counter| counter.room(now))
    }

    /// Whether only its rate lets no run of a key go.
    fn is_kept_back(&self, key: i32, now: Instant) -> bool {
        let counter = self.counters.get(&key).filter(|counter| counter.said.bucket.is_some());
        counter.is_some_and(|counter| counter.places() > 0 && counter.room(now) <= 0)
    }

    /// Whether more runs of a key may go than when its row was written last.
    fn has_gained(&self, key: i32, now: Instant) -> bool {
        let bucket = self.stored.get(&key).and_then(|counter| counter.said.bucket);
        let grew = bucket.is_some_and(|mut bucket| bucket.tokens(bucket.keep().1) < bucket.tokens(now));
        grew && self.room(key, now) > 0
    }

    /// Writes what changed of these. Of those that are waited for somebody looks when the next may go.
    async fn write(
        &mut self,
        tx: &Tx,
        known: &Known,
        now: Instant,
        touched: &BTreeSet<i32>,
        waited_for: &HashSet<i32>,
    ) -> StoreResult<()> {
        for id in touched {
            let (Some(counter), Some(stored)) = (self.counters.get_mut(id), self.stored.get(id)) else { continue };
            let bucket = counter.said.bucket.filter(|_| waited_for.contains(id));
            counter.go = bucket.map(|mut bucket| bucket.next(now).unwrap_or(now));
            if counter.in_flight != stored.in_flight {
                let values = vec![counter.in_flight.into(), (*id).into()];
                exec(tx, "UPDATE limit_key SET in_flight = ? WHERE id = ?", values).await?;
            }
            if (counter.said.bucket, counter.go) != (stored.said.bucket, stored.go) {
                let kept = counter.said.bucket.map(|bucket| bucket.keep());
                let (level, at) = (kept.map(|(level, _)| level).into(), maybe_time(kept.map(|(_, at)| at)));
                let sql = "UPDATE limit_key SET rate_level = ?, rate_time = ?, go_time = ? WHERE id = ?";
                exec(tx, sql, vec![level, at, maybe_time(counter.go), (*id).into()]).await?;
            }
            if counter.go.is_some_and(|go| stored.go.is_none_or(|stored| go < stored)) {
                known.rated.changed();
            }
        }
        Ok(())
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

/// Which of these keys have runs that are parked.
async fn waited_for(tx: &Tx, keys: &[i32]) -> StoreResult<Vec<i32>> {
    let mut found = Vec::new();
    for piece in chunks(keys) {
        let values = piece.iter().map(|key| (*key).into()).collect();
        for row in query(tx, waited_for_sql(piece.len()), values).await? {
            found.push(single::<i32>(&row)?);
        }
    }
    Ok(found)
}

/// Lets go the best that are parked, where their keys have so much room.
async fn let_go(tx: &Tx, known: &Known, rooms: &BTreeMap<i32, i64>) -> StoreResult<Vec<Moved>> {
    let keys: Vec<i32> = rooms.keys().copied().collect();
    let mut free = Vec::new();
    for key in waited_for(tx, &keys).await? {
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

/// Of the keys that were not looked at for the longest, those that no run names. One that has gone faster than it could go
/// anew is remembered until that is made up for.
pub(super) const UNUSED: &str = "DELETE FROM limit_key WHERE id IN (SELECT id FROM limit_key WHERE look_time <= ? \
     ORDER BY look_time LIMIT ?) AND NOT EXISTS (SELECT 1 FROM run WHERE run.key_id = limit_key.id) \
     AND (rate_count IS NULL OR (rate_per * rate_burst - rate_level) / rate_count < ? - rate_time)";

/// The others are not looked at before.
pub(super) const USED: &str = "UPDATE limit_key SET look_time = ? WHERE id IN (SELECT id FROM limit_key \
     WHERE look_time <= ? ORDER BY look_time LIMIT ?)";

/// Deletes keys that no run names any more, of `limit` that were not looked at for the longest; how many, and whether there
/// may be more.
pub(super) async fn sweep(tx: &Tx, now: Instant, limit: i64) -> StoreResult<(u64, bool)> {
    let deleted = exec(tx, UNUSED, vec![time(now), limit.into(), time(now)]).await?;
    let left = limit - i64::try_from(deleted).unwrap_or(limit);
    let later = time(now.plus(LOOK_EVERY));
    let used = if left > 0 { exec(tx, USED, vec![later, time(now), left.into()]).await? } else { 0 };
    Ok((deleted, i64::try_from(deleted + used).is_ok_and(|seen| seen >= limit)))
}
