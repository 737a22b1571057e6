//! What was said of concurrency keys: their limits and rates, and the numbers that stand for them.

use std::{
    collections::{BTreeMap, HashMap},
    num::NonZeroU32,
};

use mainspring_engine::{
    domain::{
        instant::Instant,
        limit::{Concurrency, Pace},
        names::ConcurrencyKey,
        rate::Bucket,
    },
    ports::store::{StoreError, StoreResult},
};
use sea_orm::Value;

use super::{
    super::{
        rows::{maybe, maybe_time, name, rate, time},
        statement::{Cells, chunks, insert, query, tuples},
        writer::Tx,
    },
    LOOK_EVERY,
};

/// A key's place in a name: its namespace's number, and the key.
pub(in super::super) type Name = (i32, ConcurrencyKey);

/// What was said of a key, and how many tokens its bucket holds: the columns of [`Said::read`], in order.
pub(in super::super) const SAID: &str = "run_limit, rate_count, rate_per, rate_burst, rate_level, rate_time";

/// What was said of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Said {
    /// How many may have an attempt open; none where nobody has said it.
    pub(in super::super) limit: Option<NonZeroU32>,
    /// Who may go now; none where any number may.
    pub(in super::super) bucket: Option<Bucket>,
}

impl Said {
    /// What nobody has said anything of.
    const NOTHING: Self = Self { limit: None, bucket: None };

    pub(in super::super) fn read(cells: &mut Cells<'_>) -> StoreResult<Self> {
        let limit = cells.parse("a limit", |limit: &Option<i64>| match limit {
            Some(limit) => u32::try_from(*limit).ok().and_then(NonZeroU32::new).map(Some),
            None => Some(None),
        })?;
        let rate = rate(cells)?;
        let level: Option<i64> = cells.next()?;
        let kept = level.zip(maybe(cells.next()?));
        let bucket = rate.zip(kept).map(|(rate, (level, at))| Bucket::kept(rate, level, at));
        Ok(Self { limit, bucket })
    }

    /// Once somebody has said this as well.
    fn then(self, limit: Option<NonZeroU32>, pace: Pace, now: Instant) -> Self {
        let bucket = match (pace, self.bucket) {
            (Pace::Kept, bucket) => bucket,
            (Pace::Free, _) => None,
            (Pace::At(rate), None) => Some(Bucket::full(rate, now)),
            (Pace::At(rate), Some(bucket)) if bucket.rate() == rate => Some(bucket),
            (Pace::At(rate), Some(bucket)) => Some(bucket.at_rate(rate, now)),
        };
        Self { limit: limit.or(self.limit), bucket }
    }

    fn values(&self) -> [Value; 6] {
        let rate = self.bucket.map(|bucket| bucket.rate());
        let kept = self.bucket.map(|bucket| bucket.keep());
        [
            self.limit.map(|limit| i64::from(limit.get())).into(),
            rate.map(|rate| i64::from(rate.count.get())).into(),
            rate.map(|rate| i64::try_from(rate.per.as_micros()).unwrap_or(i64::MAX)).into(),
            rate.map(|rate| i64::from(rate.burst.get())).into(),
            kept.map(|(level, _)| level).into(),
            maybe_time(kept.map(|(_, at)| at)),
        ]
    }
}

/// The keys of `count` names.
pub(in super::super) fn named_sql(count: usize) -> String {
    format!(
        "WITH t(namespace_id, key) AS (VALUES {}) SELECT t.namespace_id, t.key, limit_key.id, {SAID} FROM t CROSS JOIN limit_key ON limit_key.namespace_id = t.namespace_id AND limit_key.key = t.key",
        tuples(count, 2)
    )
}

async fn named(tx: &Tx, names: &[Name]) -> StoreResult<HashMap<Name, (i32, Said)>> {
    let mut found = HashMap::new();
    for piece in chunks(names) {
        let values = piece.iter().flat_map(|(namespace, key)| [(*namespace).into(), key.as_str().into()]);
        for row in query(tx, named_sql(piece.len()), values.collect()).await? {
            let mut cells = Cells::of(&row);
            let key = (cells.next()?, name(cells.next()?)?);
            found.insert(key, (cells.next()?, Said::read(&mut cells)?));
        }
    }
    Ok(found)
}

/// The numbers of keys that are there.
pub(in super::super) async fn numbers(tx: &Tx, names: &[Name]) -> StoreResult<HashMap<Name, i32>> {
    Ok(named(tx, names).await?.into_iter().map(|(name, (id, _))| (name, id)).collect())
}

/// The numbers of the keys that new runs name; from now on what was said last of them holds.
pub(in super::super) async fn intern(
    tx: &Tx,
    now: Instant,
    wanted: impl IntoIterator<Item = (i32, &Concurrency)>,
) -> StoreResult<HashMap<Name, i32>> {
    let mut said: BTreeMap<Name, (Option<NonZeroU32>, Pace)> = BTreeMap::new();
    for (namespace, Concurrency { key, limit, pace }) in wanted {
        let (last, last_pace) = said.entry((namespace, key.clone())).or_default();
        *last = limit.or(*last);
        if *pace != Pace::Kept {
            *last_pace = *pace;
        }
    }
    if said.is_empty() {
        return Ok(HashMap::new());
    }
    let names: Vec<Name> = said.keys().cloned().collect();
    let there = named(tx, &names).await?;
    let mut rows = Vec::new();
    for (key, (limit, pace)) in &said {
        let stored = there.get(key).map(|(_, stored)| *stored);
        let says = stored.unwrap_or(Said::NOTHING).then(*limit, *pace, now);
        if stored != Some(says) {
            let [limit, count, per, burst, level, at] = says.values();
            let look = time(now.plus(LOOK_EVERY));
            rows.push([key.0.into(), key.1.as_str().into(), limit, count, per, burst, level, at, look]);
        }
    }
    let found = if rows.is_empty() {
        there
    } else {
        let into = format!("limit_key (namespace_id, key, {SAID}, look_time)");
        let again = "ON CONFLICT (namespace_id, key) DO UPDATE SET run_limit = excluded.run_limit, \
             rate_count = excluded.rate_count, rate_per = excluded.rate_per, rate_burst = excluded.rate_burst, \
             rate_level = excluded.rate_level, rate_time = excluded.rate_time, \
             go_time = CASE WHEN excluded.rate_count IS NULL THEN NULL ELSE limit_key.go_time END";
        insert(tx, &into, rows, again).await?;
        named(tx, &names).await?
    };
    Ok(found.into_iter().map(|(key, (id, _))| (key, id)).collect())
}

/// The number of a key that was interned.
pub(in super::super) fn number(
    interned: &HashMap<Name, i32>,
    namespace: i32,
    concurrency: Option<&Concurrency>,
) -> StoreResult<Option<i32>> {
    let Some(Concurrency { key, limit: _, pace: _ }) = concurrency else { return Ok(None) };
    let id = interned.get(&(namespace, key.clone())).copied();
    id.map(Some).ok_or_else(|| StoreError::Corrupt(format!("concurrency key {key} has no number")))
}
