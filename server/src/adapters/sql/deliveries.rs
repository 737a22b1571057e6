//! The [`Deliveries`] role: what is due to be sent, what came of it, and what people ask of it.

use async_trait::async_trait;
use mainspring_engine::{
    domain::{
        delivery::{Delivery, DeliveryState, Outgoing, Verdict},
        ids::{NoticeId, SinkUid},
        instant::Instant,
        names::{NamespaceName, SinkName},
        notice::Kind,
        sink::{Disabled, Sealed},
    },
    ports::store::{Deliveries, Noted, RetentionPolicy, StoreResult, Swept},
};
use sea_orm::{ConnectionTrait, QueryResult};
use uuid::Uuid;

use super::{
    SqliteStore,
    rows::{maybe, maybe_time, name, time},
    statement::{Cells, exec, query, query_one, single},
    writer::Tx,
};

/// The columns of [`read`], in order.
const COLUMNS: &str = "id, kind, state, attempts, status, error, next_time, create_time, end_time, body";

/// Sinks that something is due for.
pub(super) const WAITING: &str = "SELECT uid, namespace_id, name, url, secret FROM sink WHERE delete_time IS NULL \
     AND disabled IS NULL AND EXISTS (SELECT 1 FROM delivery WHERE delivery.sink_uid = sink.uid \
     AND delivery.next_time IS NOT NULL AND delivery.next_time <= ?)";

/// What is due of one sink, the longest due first.
pub(super) const DUE: &str = "SELECT id, attempts, body FROM delivery WHERE sink_uid = ? AND next_time IS NOT NULL \
     AND next_time <= ? ORDER BY next_time LIMIT ?";

/// When something comes due for any sink.
pub(super) const NEXT: &str = "SELECT min((SELECT min(next_time) FROM delivery WHERE delivery.sink_uid = sink.uid \
     AND next_time IS NOT NULL AND next_time > ?)) FROM sink WHERE delete_time IS NULL AND disabled IS NULL";

#[async_trait]
impl Deliveries for SqliteStore {
    async fn deliveries(
        &self,
        sink: SinkUid,
        state: Option<DeliveryState>,
        before: Option<NoticeId>,
        limit: usize,
    ) -> StoreResult<Vec<Delivery>> {
        let mut sql = format!("SELECT {COLUMNS} FROM delivery WHERE sink_uid = ?");
        let mut values = vec![sink.uuid().into()];
        if let Some(before) = before {
            sql.push_str(" AND id < ?");
            values.push(before.uuid().into());
        }
        if let Some(state) = state {
            sql.push_str(" AND state = ?");
            values.push(state.code().into());
        }
        sql.push_str(" ORDER BY id DESC LIMIT ?");
        values.push(i64::try_from(limit).unwrap_or(i64::MAX).into());
        query(&self.reads, sql, values).await?.iter().map(read).collect()
    }

    async fn redeliver(&self, now: Instant, sink: SinkUid, id: NoticeId) -> StoreResult<Option<Delivery>> {
        self.write(move |tx| {
            Box::pin(async move {
                let sql = "UPDATE delivery SET state = ?, attempts = 0, next_time = ?, end_time = NULL \
                     WHERE sink_uid = ? AND id = ?";
                let pending = DeliveryState::Pending.code();
                exec(tx, sql, vec![pending.into(), time(now), sink.uuid().into(), id.uuid().into()]).await?;
                one(tx, sink, id).await
            })
        })
        .await
    }

    async fn due_deliveries(&self, now: Instant, most: usize) -> StoreResult<Vec<Outgoing>> {
        if !self.known.sinks.may() {
            return Ok(Vec::new());
        }
        let mut due = Vec::new();
        for row in query(&self.stage_reads, WAITING, vec![time(now)]).await? {
            let mut cells = Cells::of(&row);
            let uid: Uuid = cells.next()?;
            let namespace = self.known.lanes.namespace_name(cells.next()?)?;
            let name: SinkName = name(cells.next()?)?;
            let (url, secret): (String, _) = (cells.next()?, Sealed(cells.next()?));
            let limit = i64::try_from(most).unwrap_or(i64::MAX);
            for row in query(&self.stage_reads, DUE, vec![uid.into(), time(now), limit.into()]).await? {
                let mut cells = Cells::of(&row);
                due.push(Outgoing {
                    sink: SinkUid::from_uuid(uid),
                    namespace: namespace.clone(),
                    name: name.clone(),
                    url: url.clone(),
                    secret: secret.clone(),
                    id: NoticeId::from_uuid(cells.next()?),
                    attempts: counted(&mut cells)?,
                    body: cells.next()?,
                });
            }
        }
        Ok(due)
    }

    async fn next_delivery(&self, after: Instant) -> StoreResult<Option<Instant>> {
        if !self.known.sinks.may() {
            return Ok(None);
        }
        let row = query_one(&self.stage_reads, NEXT, vec![time(after)]).await?;
        Ok(maybe(row.map(|row| single(&row)).transpose()?.flatten()))
    }

    async fn note_deliveries(&self, now: Instant, noted: Vec<Noted>) -> StoreResult<Vec<(NamespaceName, SinkName)>> {
        let gone = self
            .write(move |tx| {
                Box::pin(async move {
                    let mut gone = Vec::new();
                    for noted in &noted {
                        gone.extend(note(tx, now, noted).await?);
                    }
                    Ok(gone)
                })
            })
            .await?;
        gone.into_iter().map(|(namespace, sink)| Ok((self.known.lanes.namespace_name(namespace)?, sink))).collect()
    }
}

fn counted(cells: &mut Cells<'_>) -> StoreResult<u32> {
    cells.parse("a count", |count: &i32| u32::try_from(*count).ok())
}

fn read(row: &QueryResult) -> StoreResult<Delivery> {
    let mut cells = Cells::of(row);
    Ok(Delivery {
        id: NoticeId::from_uuid(cells.next()?),
        kind: cells.parse("a kind of notice", |code: &i32| Kind::from_code(*code))?,
        state: cells.parse("a delivery's state", |code: &i32| DeliveryState::from_code(*code))?,
        attempts: counted(&mut cells)?,
        status: cells.parse("a status", |status: &Option<i32>| match status {
            Some(status) => u16::try_from(*status).ok().map(Some),
            None => Some(None),
        })?,
        error: cells.next()?,
        next_time: maybe(cells.next()?),
        create_time: Instant::from_micros(cells.next()?),
        end_time: maybe(cells.next()?),
        body: cells.next()?,
    })
}

async fn one<C: ConnectionTrait>(connection: &C, sink: SinkUid, id: NoticeId) -> StoreResult<Option<Delivery>> {
    let sql = format!("SELECT {COLUMNS} FROM delivery WHERE sink_uid = ? AND id = ?");
    let row = query_one(connection, sql, vec![sink.uuid().into(), id.uuid().into()]).await?;
    row.map(|row| read(&row)).transpose()
}

/// Notes one attempt, if its delivery still stands where it was sent from; the sink that is disabled by it.
async fn note(tx: &Tx, now: Instant, noted: &Noted) -> StoreResult<Option<(i32, SinkName)>> {
    let Noted { sink, id, attempts, outcome, verdict } = noted;
    let (state, next) = match verdict {
        Verdict::Delivered => (DeliveryState::Delivered, None),
        Verdict::Again(at) => (DeliveryState::Pending, Some(*at)),
        Verdict::Failed | Verdict::Gone => (DeliveryState::Failed, None),
    };
    let values = vec![
        state.code().into(),
        outcome.status().map(i32::from).into(),
        outcome.error().into(),
        maybe_time(next),
        maybe_time(next.is_none().then_some(now)),
        sink.uuid().into(),
        id.uuid().into(),
        DeliveryState::Pending.code().into(),
        i64::from(*attempts).into(),
    ];
    let sql = "UPDATE delivery SET state = ?, attempts = attempts + 1, status = ?, error = ?, next_time = ?, end_time = ? \
         WHERE sink_uid = ? AND id = ? AND state = ? AND attempts = ?";
    let hit = exec(tx, sql, values).await?;
    if hit == 0 || *verdict != Verdict::Gone {
        return Ok(None);
    }
    let sql = "UPDATE sink SET disabled = ?, revision = revision + 1, update_time = ? \
         WHERE uid = ? AND disabled IS NULL AND delete_time IS NULL RETURNING namespace_id, name";
    let values = vec![Disabled::Gone.code().into(), time(now), sink.uuid().into()];
    let Some(row) = query_one(tx, sql, values).await? else { return Ok(None) };
    let mut cells = Cells::of(&row);
    Ok(Some((cells.next()?, name(cells.next()?)?)))
}

/// Deletes what came to its end long ago, and what is left of sinks that were deleted.
pub(super) async fn sweep(tx: &Tx, now: Instant, policy: RetentionPolicy, limit: i64) -> StoreResult<Swept> {
    let old = "DELETE FROM delivery WHERE (sink_uid, id) IN (SELECT sink_uid, id FROM delivery WHERE end_time IS NOT NULL \
         AND end_time < ? ORDER BY end_time LIMIT ?)";
    let mut swept = Swept::default();
    let left = "DELETE FROM delivery WHERE (sink_uid, id) IN (SELECT delivery.sink_uid, delivery.id FROM sink \
         JOIN delivery ON delivery.sink_uid = sink.uid WHERE sink.delete_time IS NOT NULL LIMIT ?)";
    let gone = "DELETE FROM sink WHERE uid IN (SELECT uid FROM sink WHERE delete_time IS NOT NULL \
         AND NOT EXISTS (SELECT 1 FROM delivery WHERE delivery.sink_uid = sink.uid) LIMIT ?)";
    let before = time(now.minus(policy.deliveries));
    for (sql, values) in [(old, vec![before, limit.into()]), (left, vec![limit.into()]), (gone, vec![limit.into()])] {
        let rows = exec(tx, sql, values).await?;
        swept.rows += rows;
        swept.more |= i64::try_from(rows).is_ok_and(|rows| rows >= limit);
    }
    Ok(swept)
}
