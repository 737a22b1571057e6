//! Lanes as numbers.
//!
//! A lane (namespace, queue, job type, required labels) keeps its number as long as anybody uses it, so what was read once stays true.
//! Numbers are given out in a batch of their own *before* the batch that needs them: a number that a savepoint takes back
//! must not have been remembered.
//!
//! Names are made up by callers, so a namespace has a [`Quota`] of them, and [`super::unused`] lets go of what nobody has
//! named for months. That a lane is named is noted once a day, before it is used: what was let go of was named by nobody
//! for so long that nobody can still be about to use its number.

use std::{collections::HashMap, sync::Arc, time::Duration};

use mainspring_engine::{
    domain::{
        instant::Instant,
        names::{Lane, NamespaceName, QueueName},
        namespace::{Namespace, NamespaceSettings},
        selector::Selector,
    },
    ports::store::{Quota, StoreError, StoreResult},
};
use parking_lot::RwLock;
use sea_orm::{ConnectionTrait, QueryResult};

use super::{
    SqliteStore,
    rows::{name, read_json, readable},
    statement::{Cells, exec, query, query_one, single},
    writer::Tx,
};

/// What a lane's number stands for.
#[derive(Clone, Debug)]
pub(super) struct KnownLane {
    /// The number.
    pub(super) id: i32,
    /// Its queue's.
    pub(super) queue: i32,
    /// Its namespace's.
    pub(super) namespace: i32,
    /// The lane.
    pub(super) lane: Lane,
    /// When it was last noted that it is named.
    pub(super) used: Instant,
}

/// That a lane is named is noted no more often.
pub(super) const NOTED_EVERY: Duration = Duration::from_secs(24 * 3_600);

/// Whether a full namespace refuses new names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Bound {
    /// It does.
    Kept,
    /// What is named was accepted before: a job's schedule fires.
    Lifted,
}

#[derive(Debug, Default)]
struct Maps {
    by_id: HashMap<i32, Arc<KnownLane>>,
    by_lane: HashMap<Lane, Arc<KnownLane>>,
    namespaces: HashMap<NamespaceName, i32>,
    /// What those say that ever said anything.
    standing: HashMap<NamespaceName, Arc<Namespace>>,
}

/// Every lane there is.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    maps: RwLock<Maps>,
}

const LANES: &str = "SELECT lane.id, lane.queue_id, lane.namespace_id, namespace.name, queue.name, lane.job_type, \
     lane.selector, lane.use_time FROM lane JOIN queue ON queue.id = lane.queue_id JOIN namespace ON namespace.id = lane.namespace_id";

fn lane(row: &QueryResult) -> StoreResult<KnownLane> {
    let mut cells = Cells::of(row);
    let (id, queue, namespace) = (cells.next()?, cells.next()?, cells.next()?);
    let (namespace_name, queue_name, job_type) = (name(cells.next()?)?, name(cells.next()?)?, name(cells.next()?)?);
    let selector = cells.parse("required labels", |text: &String| Selector::read(text.clone()))?;
    let lane = Lane { namespace: namespace_name, queue: queue_name, job_type, selector };
    Ok(KnownLane { id, queue, namespace, lane, used: Instant::from_micros(cells.next()?) })
}

impl Lanes {
    /// Reads all of them. The namespace `default` is there from the start.
    pub(super) async fn load<C: ConnectionTrait>(connection: &C) -> StoreResult<Self> {
        let lanes = Self::default();
        let default = vec![NamespaceName::default().as_str().into()];
        let sql = "INSERT INTO namespace (name) VALUES (?) ON CONFLICT DO NOTHING";
        exec(connection, sql, default).await?;
        let namespaces = query(connection, "SELECT id, name, revision, settings FROM namespace", Vec::new()).await?;
        for row in namespaces {
            let mut cells = Cells::of(&row);
            let id = cells.next()?;
            let name: NamespaceName = name(cells.next()?)?;
            let (revision, settings): (i64, String) = (cells.next()?, cells.next()?);
            let settings = readable(read_json(&settings))?.unwrap_or_else(|why| {
                // It says nothing then, and can be told anew.
                tracing::error!(namespace = %name, why, "what is said for all of a namespace cannot be read");
                NamespaceSettings::default()
            });
            lanes.maps.write().namespaces.insert(name.clone(), id);
            lanes.stands(Arc::new(Namespace { name, revision, settings: Arc::new(settings) }));
        }
        for row in query(connection, LANES, Vec::new()).await? {
            lanes.remember(lane(&row)?);
        }
        Ok(lanes)
    }

    fn remember(&self, lane: KnownLane) {
        let lane = Arc::new(lane);
        let mut maps = self.maps.write();
        maps.namespaces.insert(lane.lane.namespace.clone(), lane.namespace);
        maps.by_lane.insert(lane.lane.clone(), Arc::clone(&lane));
        maps.by_id.insert(lane.id, lane);
    }

    /// Forgets lanes that are gone, unless their number was given out again since.
    pub(super) fn forget(&self, gone: &[(i32, Instant)]) {
        let mut maps = self.maps.write();
        for (id, used) in gone {
            let Some(known) = maps.by_id.get(id).filter(|known| known.used <= *used).cloned() else { continue };
            maps.by_id.remove(id);
            if maps.by_lane.get(&known.lane).is_some_and(|there| there.id == *id) {
                maps.by_lane.remove(&known.lane);
            }
        }
    }

    /// The lane behind a number.
    pub(super) fn of(&self, id: i32) -> StoreResult<Arc<KnownLane>> {
        let found = self.maps.read().by_id.get(&id).cloned();
        found.ok_or_else(|| StoreError::Corrupt(format!("there is no lane {id}")))
    }

    /// The number of a lane, if it has one.
    pub(super) fn find(&self, lane: &Lane) -> Option<Arc<KnownLane>> {
        self.maps.read().by_lane.get(lane).cloned()
    }

    /// The number of a namespace, if it has one. A namespace without a number has no rows.
    pub(super) fn namespace(&self, name: &NamespaceName) -> Option<i32> {
        self.maps.read().namespaces.get(name).copied()
    }

    /// A namespace as it stands.
    pub(super) fn standing(&self, name: &NamespaceName) -> Option<Arc<Namespace>> {
        let maps = self.maps.read();
        maps.namespaces.contains_key(name).then(|| stands_by(&maps, name))
    }

    /// A namespace stands like that, unless something newer is known.
    pub(super) fn stands(&self, namespace: Arc<Namespace>) {
        let mut maps = self.maps.write();
        if maps.standing.get(&namespace.name).is_none_or(|known| known.revision < namespace.revision) {
            maps.standing.insert(namespace.name.clone(), namespace);
        }
    }

    /// The name of a namespace.
    pub(super) fn namespace_name(&self, id: i32) -> StoreResult<NamespaceName> {
        let maps = self.maps.read();
        let found = maps.namespaces.iter().find(|(_, known)| **known == id).map(|(name, _)| name.clone());
        found.ok_or_else(|| StoreError::Corrupt(format!("there is no namespace {id}")))
    }

    /// Whether rows may be of other namespaces as well.
    pub(super) fn has_other_than(&self, namespace: i32) -> bool {
        self.maps.read().namespaces.values().any(|known| *known != namespace)
    }

    /// The lanes of a namespace that wait for workers with labels.
    pub(super) fn selective(&self, namespace: &NamespaceName) -> Vec<Lane> {
        let maps = self.maps.read();
        let all = maps.by_lane.keys();
        all.filter(|lane| lane.namespace == *namespace && !lane.selector.is_empty()).cloned().collect()
    }

    /// The lanes that pass a test.
    pub(super) fn ids(&self, pass: impl Fn(&KnownLane) -> bool) -> Vec<i32> {
        self.maps.read().by_id.values().filter(|lane| pass(lane)).map(|lane| lane.id).collect()
    }
}

fn stands_by(maps: &Maps, name: &NamespaceName) -> Arc<Namespace> {
    let new = || Arc::new(Namespace { name: name.clone(), revision: 1, settings: Arc::default() });
    maps.standing.get(name).cloned().unwrap_or_else(new)
}

impl SqliteStore {
    /// Sees to it that lanes have numbers; those that are refused, since their namespace is full, have none afterwards.
    /// Costs a transaction only for what is new, and for each lane once a day.
    pub(super) async fn ensure_lanes(
        &self,
        now: Instant,
        lanes: impl IntoIterator<Item = &Lane>,
        bound: Bound,
    ) -> StoreResult<HashMap<Lane, Quota>> {
        let is_noted = |lane: &Lane| {
            let known = self.known.lanes.find(lane);
            known.is_some_and(|known| known.used.plus(NOTED_EVERY) > now)
        };
        let mut missing: Vec<Lane> = lanes.into_iter().filter(|lane| !is_noted(lane)).cloned().collect();
        if missing.is_empty() {
            return Ok(HashMap::new());
        }
        missing.sort();
        missing.dedup();
        let made = self
            .write(move |tx| {
                Box::pin(async move {
                    let mut made = Vec::with_capacity(missing.len());
                    let mut counted = HashMap::new();
                    for lane in missing {
                        made.push((lane.clone(), intern(tx, now, lane, bound, &mut counted).await?));
                    }
                    Ok(made)
                })
            })
            .await?;
        let mut refused = HashMap::new();
        for (lane, made) in made {
            match made {
                Ok(known) => self.known.lanes.remember(known),
                Err(quota) => drop(refused.insert(lane, quota)),
            }
        }
        Ok(refused)
    }

    /// Sees to it that a namespace has a number, and says which.
    pub(super) async fn ensure_namespace(&self, name: &NamespaceName) -> StoreResult<i32> {
        if let Some(id) = self.known.lanes.namespace(name) {
            return Ok(id);
        }
        let wanted = name.clone();
        let id = self.write(move |tx| Box::pin(async move { intern_namespace(tx, &wanted).await })).await?;
        self.known.lanes.maps.write().namespaces.insert(name.clone(), id);
        Ok(id)
    }
}

async fn intern_namespace(tx: &Tx, name: &NamespaceName) -> StoreResult<i32> {
    let values = vec![name.as_str().into()];
    exec(tx, "INSERT INTO namespace (name) VALUES (?) ON CONFLICT DO NOTHING", values).await?;
    let row = query_one(tx, "SELECT id FROM namespace WHERE name = ?", vec![name.as_str().into()]).await?;
    single(&row.ok_or_else(gone)?)
}

async fn queue_id(tx: &Tx, namespace: i32, queue: &QueueName) -> StoreResult<Option<i32>> {
    let values = vec![namespace.into(), queue.as_str().into()];
    let row = query_one(tx, "SELECT id FROM queue WHERE namespace_id = ? AND name = ?", values).await?;
    row.map(|row| single(&row)).transpose()
}

/// The number of a queue, which exists from then on, unless there are too many.
pub(super) async fn intern_queue(
    tx: &Tx,
    namespace: i32,
    queue: &QueueName,
    bound: Bound,
) -> StoreResult<Result<i32, Quota>> {
    if let Some(id) = queue_id(tx, namespace, queue).await? {
        return Ok(Ok(id));
    }
    if bound == Bound::Kept && count(tx, "queue", namespace).await? >= Quota::Queues.limit() {
        return Ok(Err(Quota::Queues));
    }
    let values = vec![namespace.into(), queue.as_str().into()];
    exec(tx, "INSERT INTO queue (namespace_id, name) VALUES (?, ?)", values).await?;
    queue_id(tx, namespace, queue).await?.ok_or_else(gone).map(Ok)
}

async fn count(tx: &Tx, table: &str, namespace: i32) -> StoreResult<usize> {
    let sql = format!("SELECT count(*) FROM {table} WHERE namespace_id = ?");
    let row = query_one(tx, sql, vec![namespace.into()]).await?.ok_or_else(gone)?;
    Ok(usize::try_from(single::<i64>(&row)?).unwrap_or_default())
}

/// The number of a lane, which is named now. `counted` holds how many lanes there are by namespace, as far as one batch
/// has had to know.
async fn intern(
    tx: &Tx,
    now: Instant,
    lane: Lane,
    bound: Bound,
    counted: &mut HashMap<i32, usize>,
) -> StoreResult<Result<KnownLane, Quota>> {
    let namespace = intern_namespace(tx, &lane.namespace).await?;
    let known = |id, queue, lane| Ok(Ok(KnownLane { id, queue, namespace, lane, used: now }));
    if let Some(queue) = queue_id(tx, namespace, &lane.queue).await? {
        let (job_type, selector) = (lane.job_type.as_str().into(), lane.selector.as_str().into());
        let values = vec![now.as_micros().into(), queue.into(), job_type, selector];
        let note = "UPDATE lane SET use_time = ? WHERE queue_id = ? AND job_type = ? AND selector = ? RETURNING id";
        if let Some(row) = query_one(tx, note, values).await? {
            return known(single(&row)?, queue, lane);
        }
    }
    let there = match counted.get(&namespace) {
        Some(there) => *there,
        None => count(tx, "lane", namespace).await?,
    };
    if bound == Bound::Kept && there >= Quota::Lanes.limit() {
        return Ok(Err(Quota::Lanes));
    }
    let queue = match intern_queue(tx, namespace, &lane.queue, bound).await? {
        Ok(queue) => queue,
        Err(quota) => return Ok(Err(quota)),
    };
    let (job_type, selector) = (lane.job_type.as_str().into(), lane.selector.as_str().into());
    let values = vec![namespace.into(), queue.into(), job_type, selector, now.as_micros().into()];
    let insert =
        "INSERT INTO lane (namespace_id, queue_id, job_type, selector, use_time) VALUES (?, ?, ?, ?, ?) RETURNING id";
    let row = query_one(tx, insert, values).await?.ok_or_else(gone)?;
    counted.insert(namespace, there + 1);
    known(single(&row)?, queue, lane)
}

fn gone() -> StoreError {
    StoreError::Corrupt("a row that was just made is not there".into())
}
