//! The [`Vitals`] role: whether writes get through, and what queues hold. The latter by indexes that hold only what waits or
//! is at a worker.

use std::collections::BTreeMap;

use async_trait::async_trait;
use mainspring_engine::{
    domain::names::{NamespaceName, QueueName},
    ports::store::{Obstacle, QueueLevel, StoreResult, Vitals},
};
use sea_orm::Value;

use super::{
    super::{
        SqliteStore,
        rows::maybe,
        statement::{Cells, query},
    },
    queues::{in_flight, parked},
};

/// What waits, by lane.
pub(in super::super) const WAITING: &str =
    "SELECT ready_lane, count(*), min(queue_time) FROM run WHERE ready_lane IS NOT NULL GROUP BY ready_lane";

#[async_trait]
impl Vitals for SqliteStore {
    async fn answers(&self) -> StoreResult<()> {
        let was_full = self.room.look().await?;
        self.write(|_| Box::pin(async { Ok(()) })).await?;
        if was_full {
            self.writer.prove().await?;
            self.logs.writer.prove().await?;
            self.room.over();
        }
        Ok(())
    }

    async fn refuses(&self) -> Obstacle {
        self.room.refuses().await
    }

    fn waiting_batches(&self) -> usize {
        self.writer.waiting()
    }

    async fn queue_levels(&self) -> StoreResult<Vec<QueueLevel>> {
        let mut levels = BTreeMap::new();
        for row in query(&self.reads, WAITING, Vec::<Value>::new()).await? {
            let mut cells = Cells::of(&row);
            let level = level(self, &mut levels, cells.next()?)?;
            level.depth += cells.parse("a count", |count: &i64| u64::try_from(*count).ok())?;
            level.oldest = [level.oldest, maybe(cells.next()?)].into_iter().flatten().min();
        }
        for (lane, (count, oldest)) in parked(self).await? {
            let level = level(self, &mut levels, lane)?;
            level.depth += count;
            level.oldest = [level.oldest, oldest].into_iter().flatten().min();
        }
        for (lane, count) in in_flight(self).await? {
            level(self, &mut levels, lane)?.in_flight += count;
        }
        Ok(levels.into_values().collect())
    }
}

type Levels = BTreeMap<(NamespaceName, QueueName), QueueLevel>;

/// The level of a lane's queue.
fn level<'a>(store: &SqliteStore, levels: &'a mut Levels, lane: i32) -> StoreResult<&'a mut QueueLevel> {
    let lane = store.known.lanes.of(lane)?;
    let (namespace, queue) = (lane.lane.namespace.clone(), lane.lane.queue.clone());
    Ok(levels.entry((namespace.clone(), queue.clone())).or_insert(QueueLevel {
        namespace,
        queue,
        depth: 0,
        oldest: None,
        in_flight: 0,
    }))
}
