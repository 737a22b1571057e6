//! The [`Paces`] role: keys whose runs only their rate keeps back, looked at when the next may go.
//!
//! A look is a step of the writer's. So whoever hears that there is one to take ([`Rated::changed`]) before it is committed
//! finds it all the same, behind it.

use std::sync::Arc;

use async_trait::async_trait;
use mainspring_engine::{
    domain::instant::Instant,
    ports::store::{Paced, Paces, StoreResult},
};
use tokio::sync::Notify;

use super::{
    Known, SqliteStore,
    any::Any,
    keys::Keys,
    rows::{maybe, time},
    statement::{query, query_one, single},
    writer::Tx,
};

/// Keys of which the next run may go.
pub(super) const GO: &str =
    "SELECT id FROM limit_key WHERE go_time IS NOT NULL AND go_time <= ? ORDER BY go_time LIMIT ?";

/// When the next of any may.
pub(super) const NEXT_GO: &str = "SELECT min(go_time) FROM limit_key WHERE go_time IS NOT NULL";

/// Whether somebody must look, and that it is earlier than before.
#[derive(Debug, Default)]
pub(super) struct Rated {
    any: Any,
    changed: Notify,
}

impl Rated {
    /// The writer's transaction says of a key that somebody must look, and when.
    pub(super) fn changed(&self) {
        self.any.may_be();
        self.changed.notify_one();
    }
}

#[async_trait]
impl Paces for SqliteStore {
    async fn pace(&self, now: Instant, limit: usize) -> StoreResult<Paced> {
        if !self.known.rated.any.may() {
            return Ok(Paced::default());
        }
        let known = Arc::clone(&self.known);
        self.write(move |tx| Box::pin(async move { pace(tx, &known, now, limit).await })).await
    }

    async fn pace_changed(&self) {
        self.known.rated.changed.notified().await;
    }
}

async fn pace(tx: &Tx, known: &Known, now: Instant, limit: usize) -> StoreResult<Paced> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut due = Vec::new();
    for row in query(tx, GO, vec![time(now), limit.into()]).await? {
        due.push(single::<i32>(&row)?);
    }
    let mut keys = Keys::default();
    keys.touch(due);
    let moved = keys.save(tx, known, now).await?;
    let row = query_one(tx, NEXT_GO, Vec::new()).await?;
    let next = maybe(row.map(|row| single(&row)).transpose()?.flatten());
    if next.is_none() {
        known.rated.any.none();
    }
    Ok(Paced { moved, next })
}
