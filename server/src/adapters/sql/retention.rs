//! The [`Retention`] role: what may go, a little at a time.
//!
//! Runs have no index by their end: it would cost every run two writes for the sake of the few that are old enough today.
//! Ids sort by creation, so the sweep walks through the old end of the table, some rows a step, and begins anew when it
//! reaches runs that are too young to be over long enough. What is kept for different times has a round each, and a round
//! begins at the first run that the last one left behind, so what is kept for long is not walked through every time. Only a
//! dead letter that somebody settles is kept for another time from then on, and the rounds of the dead begin anew.

use std::{collections::HashMap, time::Duration};

use async_trait::async_trait;
use mainspring_engine::{
    domain::{dead::Resolution, ids::JobUid, instant::Instant, run::RunState},
    ports::store::{Retention, RetentionPolicy, StoreResult, Swept},
};
use sea_orm::{ConnectionTrait, QueryResult};
use uuid::Uuid;

use super::{
    SqliteStore, calendars, claims, deliveries, keys,
    rows::{ID_SLACK, first_id, maybe, run_state, time},
    statement::{Cells, chunks, exec, places, query, query_in},
    unused::{self, LaneRound},
    writer::Tx,
};

/// Rows looked at for each that may be deleted in one step.
const LOOK: usize = 8;

/// Where the rounds through the runs stand.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rounds {
    ended_well: Round,
    settled: Round,
    unresolved: Round,
    /// How often dead letters were settled.
    settlements: u64,
    lanes: LaneRound,
}

impl Rounds {
    /// Dead letters are kept for another time from now on.
    pub(super) fn begin_anew(&mut self) {
        (self.settled, self.unresolved) = Default::default();
        self.settlements += 1;
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Round {
    /// What comes next lies behind it; nil where the round begins at the oldest.
    after: Uuid,
    /// The first of this round that stays and will go, and the one before it.
    left: Option<Uuid>,
}

#[async_trait]
impl Retention for SqliteStore {
    async fn sweep(&self, now: Instant, policy: RetentionPolicy, limit: usize) -> StoreResult<Swept> {
        let mut rounds = *self.rounds.lock();
        let (mut old, well) = rounds.ended_well.step(self, Class::EndedWell, now, policy.succeeded, limit).await?;
        let (settled, dealt) = rounds.settled.step(self, Class::Settled, now, policy.failed, limit).await?;
        let (open, bad) = rounds.unresolved.step(self, Class::Unresolved, now, policy.unresolved, limit).await?;
        old.extend(settled.into_iter().chain(open));
        let idle = unused::lanes(self, now, policy, &mut rounds.lanes).await?;
        let logs = sweep_logs(self, now.minus(policy.logs), limit).await?;
        let most = i64::try_from(limit).unwrap_or(i64::MAX);
        let (swept, gone) = self
            .write(move |tx| {
                Box::pin(async move {
                    let swept = sweep(tx, now, policy, old, most).await?;
                    let (rows, gone) = unused::sweep(tx, now, policy, idle, most).await?;
                    Ok((Swept { rows: swept.rows + rows, ..swept }, gone))
                })
            })
            .await?;
        self.known.lanes.forget(&gone);
        // Where this failed, the same step is taken again.
        let mut stands = self.rounds.lock();
        let was_settled = stands.settlements != rounds.settlements;
        *stands = Rounds { settlements: stands.settlements, ..rounds };
        if was_settled {
            stands.begin_anew();
        }
        drop(stands);
        Ok(Swept { rows: swept.rows + logs.rows, more: swept.more || logs.more || !well || !dealt || !bad })
    }
}

/// Runs that are kept for the same time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    EndedWell,
    /// Dead letters that are not open.
    Settled,
    /// Dead letters that are open.
    Unresolved,
}

impl Class {
    /// Of a run that is over.
    fn of(state: RunState, resolution: Option<Resolution>) -> Self {
        match state {
            RunState::Succeeded | RunState::Cancelled => Self::EndedWell,
            RunState::Failed
            | RunState::TimedOut
            | RunState::Scheduled
            | RunState::Queued
            | RunState::Leased
            | RunState::Running
            | RunState::RetryWait => match resolution {
                Some(Resolution::Resolved | Resolution::Redriven | Resolution::Ignored) => Self::Settled,
                Some(Resolution::Open) | None => Self::Unresolved,
            },
        }
    }
}

/// A run as retention sees it.
struct Old {
    id: Uuid,
    /// It is over for long enough.
    gone: bool,
    instant: Option<(JobUid, Instant)>,
}

impl Round {
    /// Runs that may go, at most `limit`, and whether the round is finished with them.
    async fn step(
        &mut self,
        store: &SqliteStore,
        class: Class,
        now: Instant,
        kept: Duration,
        limit: usize,
    ) -> StoreResult<(Vec<Uuid>, bool)> {
        let look = limit.saturating_mul(LOOK);
        let youngest = now.minus(kept);
        let sql = "SELECT id, state, resolution, end_time, job_uid, nominal_time, backfill_id IS NOT NULL AND EXISTS \
             (SELECT 1 FROM backfill WHERE backfill.id = run.backfill_id AND backfill.end_time IS NULL) FROM run \
             WHERE id > ? AND id < ? ORDER BY id LIMIT ?";
        let values = vec![
            self.after.into(),
            first_id(youngest.plus(ID_SLACK)).into(),
            i64::try_from(look).unwrap_or(i64::MAX).into(),
        ];
        let rows = query(&store.reads, sql, values).await?;
        let seen = rows.iter().map(|row| old(row, class, youngest)).collect::<StoreResult<Vec<_>>>()?;
        let jobs = seen.iter().flatten().filter(|run| run.gone).filter_map(|run| Some(run.instant?.0));
        let cursors = smallest_cursors(&store.reads, jobs).await?;
        let mut found = Vec::new();
        let mut last = self.after;
        for (run, row) in seen.iter().zip(&rows) {
            let id = Cells::of(row).next()?;
            // Another schedule of the job may still name this instant, and must find that it has its run.
            let named = |(job, at)| cursors.get(&job).is_some_and(|cursor| at > *cursor);
            match run {
                // It is another round's.
                None => {}
                Some(run) if run.gone && !run.instant.is_some_and(named) => {
                    if found.len() == limit {
                        return Ok((found, self.pause(last)));
                    }
                    found.push(run.id);
                }
                // The next round begins right before it.
                Some(_) => self.left = self.left.or(Some(last)),
            }
            last = id;
        }
        let finished = seen.len() < look;
        if finished {
            *self = Self { after: self.left.unwrap_or(last), left: None };
        } else {
            self.pause(last);
        }
        Ok((found, finished))
    }

    fn pause(&mut self, last: Uuid) -> bool {
        self.after = last;
        false
    }
}

/// A run of a class; none where it is of another.
fn old(row: &QueryResult, class: Class, youngest: Instant) -> StoreResult<Option<Old>> {
    let mut cells = Cells::of(row);
    let id = cells.next()?;
    let state = run_state(&mut cells)?;
    let resolution = cells.next::<Option<i32>>()?.and_then(Resolution::from_code);
    let end = maybe(cells.next()?);
    let (job, at) = (cells.next::<Option<Uuid>>()?.map(JobUid::from_uuid), maybe(cells.next()?));
    // What became of it is counted by its backfill.
    let is_counted: bool = cells.next()?;
    let gone = !is_counted && end.is_some_and(|end| end < youngest);
    // What is not over may yet end in either way.
    let here = end.is_none() || Class::of(state, resolution) == class;
    Ok(here.then_some(Old { id, gone, instant: job.zip(at) }))
}

async fn smallest_cursors<C: ConnectionTrait>(
    connection: &C,
    jobs: impl Iterator<Item = JobUid>,
) -> StoreResult<HashMap<JobUid, Instant>> {
    let mut uids: Vec<Uuid> = jobs.map(JobUid::uuid).collect();
    uids.sort_unstable();
    uids.dedup();
    let mut found = HashMap::new();
    let head = "SELECT job_uid, min(cursor_time) FROM schedule WHERE job_uid IN";
    for row in query_in(connection, head, &uids, "GROUP BY job_uid").await? {
        let mut cells = Cells::of(&row);
        found.insert(JobUid::from_uuid(cells.next()?), Instant::from_micros(cells.next()?));
    }
    Ok(found)
}

/// Deletes `count` runs. What is not over stays, whatever is asked.
pub(super) fn delete_sql(count: usize) -> String {
    format!("DELETE FROM run WHERE end_time IS NOT NULL AND id IN ({})", places(count))
}

async fn sweep(tx: &Tx, now: Instant, policy: RetentionPolicy, runs: Vec<Uuid>, limit: i64) -> StoreResult<Swept> {
    let mut swept = Swept::default();
    for piece in chunks(&runs) {
        swept.rows += exec(tx, delete_sql(piece.len()), piece.iter().map(|id| (*id).into()).collect()).await?;
    }
    // Its runs and its ledger hold a job by themselves; a repeat of the request that made it must find it, and whoever wants
    // it back.
    let forgotten = now.minus(policy.requests.max(policy.jobs));
    // A worker that was judged is LOST or GONE until it is heard again.
    let kinds: [(&str, Instant); 9] = [
        (
            "DELETE FROM ledger WHERE (job_uid, schedule, first_time) IN (SELECT job_uid, schedule, first_time \
             FROM ledger WHERE last_time < ? ORDER BY last_time LIMIT ?)",
            now.minus(policy.ledger),
        ),
        (
            "DELETE FROM skipped_wall WHERE (job_uid, change_time, schedule) IN (SELECT job_uid, change_time, schedule \
             FROM skipped_wall WHERE change_time < ? ORDER BY change_time LIMIT ?)",
            now.minus(policy.ledger),
        ),
        (
            "DELETE FROM lapsed WHERE (job_uid, lapse_time, schedule, version) IN (SELECT job_uid, lapse_time, schedule, version \
             FROM lapsed WHERE shown_time < ? ORDER BY shown_time LIMIT ?)",
            now.minus(policy.ledger),
        ),
        (
            "DELETE FROM zone_change WHERE (job_uid, schedule, until_time) IN (SELECT job_uid, schedule, until_time \
             FROM zone_change WHERE until_time < ? ORDER BY until_time LIMIT ?)",
            now.minus(policy.ledger),
        ),
        (
            "DELETE FROM request WHERE (namespace_id, call, id) IN (SELECT namespace_id, call, id FROM request \
             WHERE create_time < ? ORDER BY create_time LIMIT ?)",
            now.minus(policy.requests),
        ),
        (
            "DELETE FROM worker WHERE id IN (SELECT id FROM worker WHERE judged = 2 AND heartbeat_time < ? LIMIT ?)",
            now.minus(policy.workers),
        ),
        // A refresh token of a session that ended long ago is as unknown as any other.
        (
            "DELETE FROM session WHERE id IN (SELECT id FROM session WHERE expire_time < ? LIMIT ?)",
            now.minus(policy.workers),
        ),
        (
            "DELETE FROM backfill WHERE id IN (SELECT id FROM backfill WHERE end_time IS NOT NULL AND end_time < ? \
             AND NOT EXISTS (SELECT 1 FROM run WHERE run.backfill_id = backfill.id) ORDER BY end_time LIMIT ?)",
            now.minus(policy.succeeded),
        ),
        (
            "DELETE FROM job WHERE uid IN (SELECT uid FROM job WHERE delete_time < ? AND NOT EXISTS (SELECT 1 FROM run \
             WHERE run.job_uid = job.uid) AND NOT EXISTS (SELECT 1 FROM ledger WHERE ledger.job_uid = job.uid) LIMIT ?)",
            forgotten,
        ),
    ];
    for (sql, before) in kinds {
        let rows = exec(tx, sql, vec![time(before), limit.into()]).await?;
        swept.rows += rows;
        swept.more |= i64::try_from(rows).is_ok_and(|rows| rows >= limit);
    }
    let told = deliveries::sweep(tx, now, policy, limit).await?;
    swept.rows += told.rows;
    swept.more |= told.more;
    let others =
        [claims::sweep(tx, now, limit).await?, keys::sweep(tx, now, limit).await?, calendars::sweep(tx, limit).await?];
    for (rows, more) in others {
        swept.rows += rows;
        swept.more |= more;
    }
    Ok(swept)
}

/// Deletes the logs of attempts that nothing was added to since `before`.
async fn sweep_logs(store: &SqliteStore, before: Instant, limit: usize) -> StoreResult<Swept> {
    store
        .logs
        .writer
        .write(move |tx| {
            Box::pin(async move {
                let most = i64::try_from(limit).unwrap_or(i64::MAX);
                let sql = "SELECT run_id, attempt FROM log_attempt WHERE update_time < ? ORDER BY update_time LIMIT ?";
                let old = query(tx, sql, vec![time(before), most.into()]).await?;
                let mut rows = 0;
                for row in &old {
                    let mut cells = Cells::of(row);
                    let (run, attempt): (Uuid, i64) = (cells.next()?, cells.next()?);
                    for table in ["log_batch", "log_attempt"] {
                        let sql = format!("DELETE FROM {table} WHERE run_id = ? AND attempt = ?");
                        rows += exec(tx, sql, vec![run.into(), attempt.into()]).await?;
                    }
                }
                Ok(Swept { rows, more: old.len() == limit && limit > 0 })
            })
        })
        .await
}
