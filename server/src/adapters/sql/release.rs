//! The [`Release`] role: the heads of lanes, read by an index that holds exactly what waits.

use async_trait::async_trait;
use mainspring_engine::{
    domain::{
        ids::RunId,
        names::{Lane, Scope},
    },
    ports::{
        broker::Pointer,
        store::{Queued, Release, StoreResult},
    },
};
use sea_orm::Value;

use super::{
    SqliteStore,
    rows::name,
    sheet::{array_of, in_hex, numbers, query_rows},
    statement::{Cells, query},
};

/// The head of a lane. `run_ready` holds its runs in this very order, and all that is asked of them.
pub(super) const HEAD: &str = "SELECT id, generation FROM run WHERE ready_lane = ? \
     ORDER BY priority DESC, fairness_key, due_time, id LIMIT ?";

/// The same as one row.
pub(super) fn head_sql() -> String {
    let columns = array_of(&format!("{}, generation", in_hex("id")));
    format!("SELECT {columns} FROM ({HEAD}) WHERE TRUE{}", numbers(&["generation"]))
}

#[async_trait]
impl Release for SqliteStore {
    async fn queued(&self, lanes: &[(Lane, usize)]) -> StoreResult<Vec<Vec<Pointer>>> {
        let mut answers = Vec::with_capacity(lanes.len());
        for (lane, limit) in lanes {
            let Some(lane) = self.known.lanes.find(lane) else {
                answers.push(Vec::new());
                continue;
            };
            let limit = i64::try_from(*limit).unwrap_or(i64::MAX);
            let rows = query_rows(&self.stage_reads, head_sql(), vec![lane.id.into(), limit.into()]).await?;
            let pointer = |(run, generation)| Pointer { run: RunId::from_uuid(run), generation };
            answers.push(rows.into_iter().map(pointer).collect());
        }
        Ok(answers)
    }

    async fn restricted_queues(&self) -> StoreResult<Vec<Queued>> {
        if !self.known.restricted.may() {
            return Ok(Vec::new());
        }
        let sql = "SELECT namespace.name, queue.name, queue.paused, queue.concurrency_limit, queue.in_flight FROM queue \
             JOIN namespace ON namespace.id = queue.namespace_id WHERE queue.paused OR queue.concurrency_limit > 0";
        let rows = query(&self.stage_reads, sql, Vec::<Value>::new()).await?;
        rows.iter()
            .map(|row| {
                let mut cells = Cells::of(row);
                let (scope, queue) = (Scope(name(cells.next()?)?), name(cells.next()?)?);
                let paused = cells.next()?;
                let (limit, in_flight): (i64, i64) = (cells.next()?, cells.next()?);
                let room = (limit > 0).then(|| u32::try_from((limit - in_flight).max(0)).unwrap_or(u32::MAX));
                Ok(Queued { scope, queue, paused, room })
            })
            .collect()
    }
}
