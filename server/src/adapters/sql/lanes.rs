//! Lanes as numbers.
//!
//! A lane (namespace, queue, job type) never changes its number and is never deleted, so what was read once stays true.
//! Numbers are given out in a batch of their own *before* the batch that needs them: a number that a savepoint takes back
//! must not have been remembered.

use std::{collections::HashMap, sync::Arc};

use mainspring_engine::{
    domain::names::{Lane, NamespaceName, QueueName},
    ports::store::{StoreError, StoreResult},
};
use parking_lot::RwLock;
use sea_orm::{ConnectionTrait, QueryResult};

use super::{
    SqliteStore,
    rows::name,
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
}

#[derive(Debug, Default)]
struct Maps {
    by_id: HashMap<i32, Arc<KnownLane>>,
    by_lane: HashMap<Lane, Arc<KnownLane>>,
    namespaces: HashMap<NamespaceName, i32>,
}

/// Every lane there is.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    maps: RwLock<Maps>,
}

const LANES: &str = "SELECT lane.id, lane.queue_id, lane.namespace_id, namespace.name, queue.name, lane.job_type \
     FROM lane JOIN queue ON queue.id = lane.queue_id JOIN namespace ON namespace.id = lane.namespace_id";

fn lane(row: &QueryResult) -> StoreResult<KnownLane> {
    let mut cells = Cells::of(row);
    let (id, queue, namespace) = (cells.next()?, cells.next()?, cells.next()?);
    let lane = Lane { namespace: name(cells.next()?)?, queue: name(cells.next()?)?, job_type: name(cells.next()?)? };
    Ok(KnownLane { id, queue, namespace, lane })
}

impl Lanes {
    /// Reads all of them. The namespace `default` is there from the start.
    pub(super) async fn load<C: ConnectionTrait>(connection: &C) -> StoreResult<Self> {
        let lanes = Self::default();
        let default = vec![NamespaceName::default().as_str().into()];
        let sql = "INSERT INTO namespace (name) VALUES (?) ON CONFLICT DO NOTHING";
        exec(connection, sql, default).await?;
        let namespaces = query(connection, "SELECT id, name FROM namespace", Vec::new()).await?;
        for row in namespaces {
            let mut cells = Cells::of(&row);
            let id = cells.next()?;
            lanes.maps.write().namespaces.insert(name(cells.next()?)?, id);
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

    /// The lanes that pass a test.
    pub(super) fn ids(&self, pass: impl Fn(&KnownLane) -> bool) -> Vec<i32> {
        self.maps.read().by_id.values().filter(|lane| pass(lane)).map(|lane| lane.id).collect()
    }
}

impl SqliteStore {
    /// Sees to it that lanes have numbers. Costs a transaction only for those that had none.
    pub(super) async fn ensure_lanes(&self, lanes: impl IntoIterator<Item = &Lane>) -> StoreResult<()> {
        let mut missing: Vec<Lane> =
            lanes.into_iter().filter(|lane| self.known.lanes.find(lane).is_none()).cloned().collect();
        if missing.is_empty() {
            return Ok(());
        }
        missing.sort();
        missing.dedup();
        let made = self
            .write(move |tx| {
                Box::pin(async move {
                    let mut made = Vec::with_capacity(missing.len());
                    for lane in missing {
                        made.push(intern(tx, lane).await?);
                    }
                    Ok(made)
                })
            })
            .await?;
        for lane in made {
            self.known.lanes.remember(lane);
        }
        Ok(())
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

/// The number of a queue, which exists from then on.
pub(super) async fn intern_queue(tx: &Tx, namespace: i32, queue: &QueueName) -> StoreResult<i32> {
    let values = || vec![namespace.into(), queue.as_str().into()];
    exec(tx, "INSERT INTO queue (namespace_id, name) VALUES (?, ?) ON CONFLICT DO NOTHING", values()).await?;
    let row = query_one(tx, "SELECT id FROM queue WHERE namespace_id = ? AND name = ?", values()).await?;
    single(&row.ok_or_else(gone)?)
}

async fn intern(tx: &Tx, lane: Lane) -> StoreResult<KnownLane> {
    let namespace = intern_namespace(tx, &lane.namespace).await?;
    let queue = intern_queue(tx, namespace, &lane.queue).await?;
    let values = vec![namespace.into(), queue.into(), lane.job_type.as_str().into()];
    let insert = "INSERT INTO lane (namespace_id, queue_id, job_type) VALUES (?, ?, ?) ON CONFLICT DO NOTHING";
    exec(tx, insert, values).await?;
    let values = vec![queue.into(), lane.job_type.as_str().into()];
    let row = query_one(tx, "SELECT id FROM lane WHERE queue_id = ? AND job_type = ?", values).await?;
    Ok(KnownLane { id: single(&row.ok_or_else(gone)?)?, queue, namespace, lane })
}

fn gone() -> StoreError {
    StoreError::Corrupt("a row that was just made is not there".into())
}
