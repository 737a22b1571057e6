//! The [`Slots`] role: runs that wait for others of their job or of their concurrency key, and those they wait for.
//!
//! Few jobs have runs that wait so, and an index that holds nothing else finds them: where there are none, the question
//! costs next to nothing.

use async_trait::async_trait;
use mainspring_engine::{
    domain::{
        ids::{JobUid, RunId},
        instant::Instant,
        names::NamespaceName,
        overlap::{Buffer, Buffered, Holder, Overlap, Slot},
    },
    ports::store::{JobSlot, KeySlot, Slots, StoreResult},
};
use sea_orm::QueryResult;
use uuid::Uuid;

use super::{
    Known, SqliteStore,
    rows::maybe,
    statement::{Cells, chunks, query},
};

/// Runs that wait for the slots of jobs after this one.
pub(super) const WAITING: &str = "SELECT job_uid, lane_id, id, buffer, due_time FROM run \
     WHERE buffer IS NOT NULL AND slot_key IS NULL AND job_uid > ? ORDER BY job_uid, due_time, id LIMIT ?";

/// Runs that wait for the slots of keys after this one.
pub(super) const WAITING_FOR_KEYS: &str = "SELECT slot_key, id, buffer, due_time FROM run \
     WHERE buffer IS NOT NULL AND slot_key IS NOT NULL AND slot_key > ? ORDER BY slot_key, due_time, id LIMIT ?";

/// Who holds the slots of `count` keys.
pub(super) fn key_holders_sql(count: usize) -> String {
    let of_one = "SELECT * FROM (SELECT key_id, id, cancel_requested, stop_deadline FROM run WHERE key_id = ? \
                  AND end_time IS NULL AND buffer IS NULL AND NOT apart LIMIT ?)";
    vec![of_one; count].join(" UNION ALL ")
}

/// Who holds the slots of `count` jobs.
pub(super) fn holders_sql(count: usize) -> String {
    let of_one = "SELECT * FROM (SELECT job_uid, id, cancel_requested, stop_deadline FROM run WHERE job_uid = ? \
                  AND end_time IS NULL AND buffer IS NULL AND NOT apart LIMIT ?)";
    vec![of_one; count].join(" UNION ALL ")
}

#[async_trait]
impl Slots for SqliteStore {
    async fn waited_for(&self, after: Option<JobUid>, limit: usize) -> StoreResult<(Vec<JobSlot>, bool)> {
        // A job with as many as one may have fits in any case.
        let limit = limit.max(2 * Overlap::MOST as usize);
        let after = after.map_or(Uuid::nil(), JobUid::uuid);
        let most = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = query(&self.stage_reads, WAITING, vec![after.into(), most.into()]).await?;
        let mut jobs: Vec<(JobUid, NamespaceName, Slot)> = Vec::new();
        for row in &rows {
            let (job, namespace, waits) = buffered(row, &self.known)?;
            match jobs.last_mut() {
                Some((last, _, slot)) if *last == job => slot.buffered.push(waits),
                _ => jobs.push((job, namespace, Slot { buffered: vec![waits], holders: Vec::new() })),
            }
        }
        let more = rows.len() == limit;
        if more && jobs.len() > 1 {
            // The last may have more that wait; it comes first the next time.
            jobs.pop();
        }
        let uids: Vec<Uuid> = jobs.iter().map(|(job, ..)| job.uuid()).collect();
        for piece in chunks(&uids) {
            let values = piece.iter().flat_map(|job| [(*job).into(), i64::from(Overlap::MOST).into()]).collect();
            for row in query(&self.stage_reads, holders_sql(piece.len()), values).await? {
                let mut cells = Cells::of(&row);
                let (job, holder) = (JobUid::from_uuid(cells.next()?), holder(&mut cells)?);
                if let Ok(at) = jobs.binary_search_by(|(uid, ..)| uid.uuid().cmp(&job.uuid())) {
                    jobs[at].2.holders.push(holder);
                }
            }
        }
        let mut names = self.known.names.resolve(&self.stage_reads, jobs.iter().map(|(job, ..)| *job)).await?;
        let slots = jobs.into_iter().filter_map(|(job, namespace, slot)| {
            let name = names.remove(&job)?;
            Some(JobSlot { job, namespace, name, slot })
        });
        Ok((slots.collect(), more))
    }

    async fn keys_waited_for(&self, after: Option<i32>, limit: usize) -> StoreResult<(Vec<KeySlot>, bool)> {
        // Several jobs may wait for one key, each with as many as it may have.
        let limit = limit.max(2 * Overlap::MOST as usize);
        let most = i64::try_from(limit).unwrap_or(i64::MAX);
        let values = vec![after.unwrap_or(i32::MIN).into(), most.into()];
        let rows = query(&self.stage_reads, WAITING_FOR_KEYS, values).await?;
        let mut slots: Vec<KeySlot> = Vec::new();
        for row in &rows {
            let mut cells = Cells::of(row);
            let (key, waits) = (cells.next()?, waits(&mut cells)?);
            match slots.last_mut() {
                Some(last) if last.key == key => last.slot.buffered.push(waits),
                _ => slots.push(KeySlot { key, slot: Slot { buffered: vec![waits], holders: Vec::new() } }),
            }
        }
        let more = rows.len() == limit;
        if more && slots.len() > 1 {
            slots.pop();
        }
        let keys: Vec<i32> = slots.iter().map(|slot| slot.key).collect();
        for piece in chunks(&keys) {
            let values = piece.iter().flat_map(|key| [(*key).into(), i64::from(Overlap::MOST).into()]).collect();
            for row in query(&self.stage_reads, key_holders_sql(piece.len()), values).await? {
                let mut cells = Cells::of(&row);
                let (key, holder): (i32, _) = (cells.next()?, holder(&mut cells)?);
                if let Ok(at) = slots.binary_search_by_key(&key, |slot| slot.key) {
                    slots[at].slot.holders.push(holder);
                }
            }
        }
        Ok((slots, more))
    }
}

fn buffered(row: &QueryResult, known: &Known) -> StoreResult<(JobUid, NamespaceName, Buffered)> {
    let mut cells = Cells::of(row);
    let job = JobUid::from_uuid(cells.next()?);
    let namespace = known.lanes.of(cells.next()?)?.lane.namespace.clone();
    Ok((job, namespace, waits(&mut cells)?))
}

fn waits(cells: &mut Cells<'_>) -> StoreResult<Buffered> {
    let run = RunId::from_uuid(cells.next()?);
    let buffer = cells.parse("how a run waits", |code: &i32| Buffer::from_code(*code))?;
    Ok(Buffered { run, buffer, due: Instant::from_micros(cells.next()?) })
}

fn holder(cells: &mut Cells<'_>) -> StoreResult<Holder> {
    let run = RunId::from_uuid(cells.next()?);
    let cancelled: bool = cells.next()?;
    let stop_deadline = maybe(cells.next()?).filter(|_| cancelled);
    Ok(Holder { run, stop_deadline })
}
