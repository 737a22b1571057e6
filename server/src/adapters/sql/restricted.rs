//! Queues that are paused or limited, as a batch sees them while it leases and ends attempts.
//!
//! The counter of a limited queue changes in the same transaction as the run does, so a limit is never exceeded (I8).
//! Unlimited queues have no counter: a limit that is set counts what is there once.
//!
//! Mostly there are none, and every step would ask. [`Any`] knows when there is nothing to ask for.

use std::collections::HashMap;

use mainspring_engine::{domain::run::RunState, ports::store::StoreResult};

use super::{
    any::Any,
    statement::{Cells, exec, query},
    writer::Tx,
};

/// Queues that the dispatcher, or a lease, must know something of.
pub(super) const RESTRICTED: &str = "(queue.paused OR queue.concurrency_limit > 0 OR queue.rate_count IS NOT NULL)";

#[derive(Debug)]
struct Restriction {
    paused: bool,
    limit: i64,
    in_flight: i64,
    stored: i64,
}

/// The restricted queues, by number.
#[derive(Debug, Default)]
pub(super) struct Restricted {
    queues: HashMap<i32, Restriction>,
}

impl Restricted {
    /// Reads them in the writer's transaction; there are few.
    pub(super) async fn load(tx: &Tx, any: &Any) -> StoreResult<Self> {
        if !any.may() {
            return Ok(Self::default());
        }
        let sql = format!("SELECT id, paused, concurrency_limit, in_flight FROM queue WHERE {RESTRICTED}");
        let rows = query(tx, sql, Vec::new()).await?;
        if rows.is_empty() {
            any.none();
        }
        let mut queues = HashMap::new();
        for row in rows {
            let mut cells = Cells::of(&row);
            let id = cells.next()?;
            let (paused, limit, in_flight) = (cells.next()?, cells.next()?, cells.next()?);
            // Rates are the dispatcher's: whatever it released may be leased.
            if paused || limit > 0 {
                queues.insert(id, Restriction { paused, limit, in_flight, stored: in_flight });
            }
        }
        Ok(Self { queues })
    }

    /// Whether every queue is open.
    pub(super) fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// Whether one more run of the queue may go to a worker.
    pub(super) fn has_room(&self, queue: i32) -> bool {
        self.queues.get(&queue).is_none_or(|queue| !queue.paused && (queue.limit == 0 || queue.in_flight < queue.limit))
    }

    /// Whether as many runs of the queue are at workers as may be. A pause has no say in what has begun.
    pub(super) fn is_full(&self, queue: i32) -> bool {
        self.queues.get(&queue).is_some_and(|queue| queue.limit > 0 && queue.in_flight >= queue.limit)
    }

    /// Notes that a run of the queue has moved.
    pub(super) fn moved(&mut self, queue: i32, from: RunState, to: RunState) {
        if from.is_active() == to.is_active() {
            return;
        }
        if let Some(queue) = self.queues.get_mut(&queue).filter(|queue| queue.limit > 0) {
            queue.in_flight += if to.is_active() { 1 } else { -1 };
        }
    }

    /// Writes the counters that changed.
    pub(super) async fn save(&mut self, tx: &Tx) -> StoreResult<()> {
        for (id, queue) in &mut self.queues {
            if queue.in_flight != queue.stored {
                let values = vec![queue.in_flight.into(), (*id).into()];
                exec(tx, "UPDATE queue SET in_flight = ? WHERE id = ?", values).await?;
                queue.stored = queue.in_flight;
            }
        }
        Ok(())
    }
}
