//! Claims of unique keys, as a batch of new runs meets and makes them.
//!
//! A claim is a row that names its run, and is looked at only where a request wants its key: whether it still stands follows
//! from how its run stands and from its window ([`Unique::meet`]). So no end of a run costs anything here. What stands no
//! longer is taken over, or goes with retention.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use mainspring_engine::{
    domain::{
        ids::RunId,
        instant::Instant,
        names::{NamespaceName, UniqueKey},
        run::RunState,
        transition::Event,
        unique::{Claim, Holder, Met},
    },
    ports::store::{Moved, NewRun, StoreError, StoreResult},
};
use sea_orm::QueryResult;

use super::{
    Known, keys,
    rows::{name, time},
    statement::{Cells, chunks, exec, insert, query, tuples},
    steps::Steps,
    writer::Tx,
};

/// A key, with the number of its namespace.
type Key = (i32, UniqueKey);

/// The claims that a batch speaks of.
#[derive(Debug, Default)]
pub(super) struct Claims {
    held: HashMap<Key, Claim>,
    changed: HashSet<Key>,
    /// Runs that make room, with those that take their place.
    replaced: Vec<(RunId, RunId)>,
}

/// Who holds `count` keys, and how those runs stand.
pub(super) fn claims_sql(count: usize) -> String {
    format!(
        "WITH t(namespace_id, key) AS (VALUES {}) SELECT t.namespace_id, t.key, unique_claim.run_id, \
         unique_claim.expire_time, run.state, run.open_token IS NOT NULL FROM t CROSS JOIN unique_claim \
         ON unique_claim.namespace_id = t.namespace_id AND unique_claim.key = t.key \
         LEFT JOIN run ON run.id = unique_claim.run_id",
        tuples(count, 2)
    )
}

impl Claims {
    /// Reads the claims of the keys that runs want.
    pub(super) async fn read(
        tx: &Tx,
        runs: &[NewRun],
        namespace: &impl Fn(&NamespaceName) -> StoreResult<i32>,
    ) -> StoreResult<Self> {
        let mut keys = HashSet::new();
        for run in runs {
            if let Some(unique) = &run.unique {
                keys.insert((namespace(&run.lane.namespace)?, unique.key.clone()));
            }
        }
        let keys: Vec<Key> = keys.into_iter().collect();
        let mut held = HashMap::new();
        for piece in chunks(&keys) {
            let values = piece.iter().flat_map(|(namespace, key)| [(*namespace).into(), key.as_str().into()]);
            for row in query(tx, claims_sql(piece.len()), values.collect()).await? {
                let (key, claim) = read_claim(&row)?;
                held.insert(key, claim);
            }
        }
        Ok(Self { held, ..Self::default() })
    }

    /// How a run meets the claim of its key; with the claim, where there is one.
    pub(super) fn meet(&self, namespace: i32, run: &NewRun, now: Instant) -> (Met, Option<Claim>) {
        let claim = run.unique.as_ref().and_then(|unique| self.held.get(&(namespace, unique.key.clone())));
        match (&run.unique, claim) {
            (Some(unique), Some(claim)) => (unique.meet(claim, run.id, run.parent, now), Some(*claim)),
            (Some(_), None) | (None, _) => (Met::Free, None),
        }
    }

    /// A run that met no resistance holds its key from now on.
    pub(super) fn take(&mut self, namespace: i32, run: &NewRun, met: Met, now: Instant) {
        let Some(unique) = &run.unique else { return };
        let key = (namespace, unique.key.clone());
        let before = self.held.get(&key);
        if let (Met::Replaces, Some(before)) = (met, before) {
            self.replaced.push((before.run, run.id));
        }
        let until = unique.until(before, run.parent, now);
        self.held.insert(key.clone(), Claim { run: run.id, until, holder: Holder::Waits });
        self.changed.insert(key);
    }

    /// Writes the claims that changed, once their runs are there, and lets those go that make room. They are told by the run
    /// that took their key.
    pub(super) async fn save(
        mut self,
        tx: &Tx,
        known: &Arc<Known>,
        now: Instant,
    ) -> StoreResult<HashMap<RunId, Moved>> {
        let mut rows = Vec::with_capacity(self.changed.len());
        for key in &self.changed {
            let Some(Claim { run, until, holder: _ }) = self.held.get(key) else { continue };
            rows.push([key.0.into(), key.1.as_str().into(), run.uuid().into(), time(*until), time(*until)]);
        }
        let into = "unique_claim (namespace_id, key, run_id, expire_time, look_time)";
        let taken = "ON CONFLICT (namespace_id, key) DO UPDATE SET run_id = excluded.run_id, \
             expire_time = excluded.expire_time, look_time = excluded.look_time";
        insert(tx, into, rows, taken).await?;
        let mut ended = Vec::new();
        if self.replaced.is_empty() {
            return Ok(HashMap::new());
        }
        let mut steps = Steps::begin(tx, known, now).await?;
        steps.load(tx, self.replaced.iter().map(|(run, _)| *run)).await?;
        for (run, by) in self.replaced.drain(..) {
            match steps.apply(run, &Event::Displace) {
                Some(Ok(moved)) => ended.push((by, moved)),
                Some(Err(_)) | None => {
                    return Err(StoreError::Conflict(format!("run {run} was to make room, and moved meanwhile")));
                }
            }
        }
        let free = steps.save(tx).await?;
        keys::tell(ended.iter_mut().map(|(_, moved)| moved), free);
        Ok(ended.into_iter().collect())
    }
}

fn read_claim(row: &QueryResult) -> StoreResult<(Key, Claim)> {
    let mut cells = Cells::of(row);
    let key = (cells.next()?, name(cells.next()?)?);
    let run = RunId::from_uuid(cells.next()?);
    let until = Instant::from_micros(cells.next()?);
    let state = cells.parse("a run's state", |code: &Option<i32>| match code {
        Some(code) => RunState::from_code(*code).map(Some),
        None => Some(None),
    })?;
    let open: bool = cells.next()?;
    let holder = state.map_or(Holder::Gone, |state| Holder::at(state, open));
    Ok((key, Claim { run, until, holder }))
}

/// Claims that may stand no longer are looked at again after so long.
const LOOK_EVERY: Duration = Duration::from_secs(3_600);

/// Of the claims that were not looked at for the longest, those that stand no longer.
pub(super) const GONE: &str = "DELETE FROM unique_claim WHERE (namespace_id, key) IN (SELECT namespace_id, key \
     FROM unique_claim WHERE look_time <= ? ORDER BY look_time LIMIT ?) \
     AND NOT EXISTS (SELECT 1 FROM run WHERE run.id = unique_claim.run_id AND run.end_time IS NULL)";

/// Those of them that stand are not looked at before.
pub(super) const STAND: &str = "UPDATE unique_claim SET look_time = ? WHERE (namespace_id, key) IN (SELECT namespace_id, key \
     FROM unique_claim WHERE look_time <= ? ORDER BY look_time LIMIT ?)";

/// Deletes claims that stand no longer, of the `limit` that were not looked at for the longest; how many rows, and whether
/// there may be more. The others are left alone for a while, so that a sweep costs the same however many runs wait under
/// keys.
pub(super) async fn sweep(tx: &Tx, now: Instant, limit: i64) -> StoreResult<(u64, bool)> {
    let deleted = exec(tx, GONE, vec![time(now), limit.into()]).await?;
    let left = limit - i64::try_from(deleted).unwrap_or(limit);
    let later = time(now.plus(LOOK_EVERY));
    let stand = if left > 0 { exec(tx, STAND, vec![later, time(now), left.into()]).await? } else { 0 };
    Ok((deleted, i64::try_from(deleted + stand).is_ok_and(|seen| seen >= limit)))
}
