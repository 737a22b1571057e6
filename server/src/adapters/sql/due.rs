//! The [`Due`] role: who may fire, what is due, and timed runs. Firing itself is in [`super::fire`], waking in
//! [`super::wake`].

use std::sync::Arc;

use async_trait::async_trait;
use mainspring_engine::{
    domain::{
        fire::Position,
        ids::JobUid,
        instant::Instant,
        job::JobState,
        ledger::{Fate, FateReason, Range, append},
        names::ScheduleName,
    },
    ports::store::{
        Due, DueInTurn, DueSchedule, DueSchedules, Fired, Firing, Moved, NextDue, ShardLease, Shares, StoreError,
        StoreResult, UnreadableSchedule,
    },
};
use sea_orm::QueryResult;

use super::{
    Known, SqliteStore, calendars, fire,
    jobs::{SCHEDULE, SPEC, ScheduleRow, insert_ledger, schedules, write_schedules},
    lanes::Bound,
    rows::{maybe, name, readable, time},
    statement::{Cells, exec, query, query_one, single},
    told, wake,
    writer::Tx,
    zones::Numbered,
};

/// The one shard of the embedded family.
pub(super) const SHARD: i32 = 0;

/// When the next schedule and the next timed run are due.
pub(super) const NEXT_DUE: &str = "SELECT (SELECT min(next_time) FROM schedule WHERE next_time IS NOT NULL AND next_time > ?), \
     (SELECT min(wake_time) FROM run WHERE wake_time IS NOT NULL AND wake_time > ?)";

#[async_trait]
impl Due for SqliteStore {
    async fn take_shard(&self, now: Instant) -> StoreResult<ShardLease> {
        self.write(move |tx| {
            Box::pin(async move {
                let sql = "INSERT INTO shard (id, epoch) VALUES (?, 1) \
                     ON CONFLICT (id) DO UPDATE SET epoch = shard.epoch + 1";
                exec(tx, sql, vec![SHARD.into()]).await?;
                let row = query_one(tx, "SELECT epoch FROM shard WHERE id = ?", vec![SHARD.into()]).await?;
                let row = row.ok_or_else(|| StoreError::Corrupt("the shard is gone".into()))?;
                Ok(ShardLease { epoch: single(&row)?, since: now })
            })
        })
        .await
    }

    async fn due(&self, until: Instant, job: Option<JobUid>, limit: usize) -> StoreResult<DueSchedules> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut values = vec![time(until)];
        values.extend(job.map(|job| job.uuid().into()));
        values.push(limit.into());
        let rows = query(&self.stage_reads, due_sql(job.is_some()), values).await?;
        self.read_due(&rows).await
    }

    async fn due_in_turn(&self, missed_until: Instant, until: Instant, most: Shares) -> StoreResult<DueInTurn> {
        let limit = |most: usize| i64::try_from(most).unwrap_or(i64::MAX).into();
        let live = [time(until), time(missed_until), limit(most.live)];
        let behind = [time(until.min(missed_until)), limit(most.missed)];
        let rows = query(&self.stage_reads, turn_sql(), live.into_iter().chain(behind).collect()).await?;
        let missed = rows.iter().map(|row| Cells::at(row, TURN_COLUMN).next::<bool>());
        let missed = missed.collect::<StoreResult<Vec<_>>>()?.into_iter().filter(|missed| *missed).count();
        Ok(DueInTurn {
            due: self.read_due(&rows).await?,
            more_live: rows.len() - missed == most.live,
            more_missed: missed == most.missed,
        })
    }

    async fn fire(&self, now: Instant, shard: ShardLease, firings: Vec<Firing>) -> StoreResult<Vec<Fired>> {
        let lanes: Vec<_> = firings.iter().map(|firing| fire::lane(&firing.due)).collect();
        self.ensure_lanes(now, &lanes, Bound::Lifted).await?;
        let known = Arc::clone(&self.known);
        self.write(move |tx| Box::pin(async move { fire::fire(tx, &known, now, shard, &firings).await })).await
    }

    async fn fail_schedule(
        &self,
        now: Instant,
        job: JobUid,
        schedule: &ScheduleName,
        position: &Position,
        why: FateReason,
    ) -> StoreResult<Option<Range>> {
        let (known, schedule, position) = (Arc::clone(&self.known), schedule.clone(), *position);
        self.write(move |tx| {
            Box::pin(async move { fail_schedule(tx, &known, now, job, (&schedule, &position), why).await })
        })
        .await
    }

    async fn wake(&self, now: Instant, limit: usize) -> StoreResult<Vec<Moved>> {
        let known = Arc::clone(&self.known);
        self.write(move |tx| Box::pin(async move { wake::wake(tx, &known, now, limit).await })).await
    }

    async fn next_due(&self, after: Instant) -> StoreResult<NextDue> {
        let Some(row) = query_one(&self.stage_reads, NEXT_DUE, vec![time(after), time(after)]).await? else {
            return Ok(NextDue::default());
        };
        let mut cells = Cells::of(&row);
        Ok(NextDue { schedule: maybe(cells.next()?), run: maybe(cells.next()?) })
    }
}

/// What a schedule that is due is read by, in order; whether it is behind stands after these.
fn due_columns() -> String {
    format!("{SCHEDULE}, job.name, job.namespace_id, {SPEC}")
}

/// How many these are.
const TURN_COLUMN: usize = 25;

const DUE: &str = "FROM schedule JOIN job ON job.uid = schedule.job_uid JOIN job_version ON \
     job_version.job_uid = schedule.job_uid AND job_version.version = schedule.version \
     WHERE schedule.next_time IS NOT NULL AND schedule.next_time <= ?";

/// Schedules that are due; those of one job where asked.
pub(super) fn due_sql(of_job: bool) -> String {
    let of_job = if of_job { "AND schedule.job_uid = ?" } else { "" };
    format!("SELECT {} {DUE} {of_job} ORDER BY schedule.next_time LIMIT ?", due_columns())
}

/// Schedules that are on time, then those that are behind, in one look.
pub(super) fn turn_sql() -> String {
    let columns = due_columns();
    let part = |behind: &str, bound: &str| {
        format!(
            "SELECT * FROM (SELECT {columns}, {behind} AS behind {DUE} {bound} ORDER BY schedule.next_time LIMIT ?)"
        )
    };
    format!("{} UNION ALL {}", part("FALSE", "AND schedule.next_time > ?"), part("TRUE", ""))
}

impl SqliteStore {
    /// Reads schedules that are due, and says which of them cannot be.
    async fn read_due(&self, rows: &[QueryResult]) -> StoreResult<DueSchedules> {
        let zones = self.known.zones.current();
        let mut due = read_rows(rows, &self.known, &zones)?;
        for ready in due.ready.iter_mut().filter(|ready| !calendars::is_whole(&ready.spec)) {
            let (job, version) = (ready.job, ready.position.version);
            calendars::fill_shared(&self.stage_reads, &self.known, &zones, (job, version), &mut ready.spec).await?;
        }
        Ok(due)
    }
}

fn read_rows(rows: &[QueryResult], known: &Known, zones: &Numbered) -> StoreResult<DueSchedules> {
    let mut due = DueSchedules::default();
    for row in rows {
        match readable(due_schedule(row, known, zones))? {
            Ok(Ok(ready)) => due.ready.push(ready),
            Ok(Err(unreadable)) => due.unreadable.push(unreadable),
            Err(why) => tracing::error!(why, "a schedule's row cannot be read; it is skipped"),
        }
    }
    Ok(due)
}

fn due_schedule(
    row: &QueryResult,
    known: &Known,
    data: &Numbered,
) -> StoreResult<Result<DueSchedule, UnreadableSchedule>> {
    let mut cells = Cells::of(row);
    let row = ScheduleRow::read(&mut cells)?;
    let position = row.position();
    let ScheduleRow { job, name: schedule, zone_data, .. } = row;
    let job_name = name(cells.next()?)?;
    let namespace = known.lanes.namespace_name(cells.next()?)?;
    Ok(match readable(known.specs.read(&mut cells, data))? {
        Ok(spec) => match spec.keys(&spec.payload) {
            Ok(keys) => {
                let (zones, is_stale) = (data.zones.clone(), zone_data != Some(data.id));
                Ok(DueSchedule { job, job_name, namespace, schedule, spec, keys, position, zones, is_stale })
            }
            Err(why) => {
                let why = why.to_string();
                Err(UnreadableSchedule { job, job_name, namespace, schedule, position, why })
            }
        },
        Err(why) => Err(UnreadableSchedule { job, job_name, namespace, schedule, position, why }),
    })
}

/// Whether a schedule still stands where it was evaluated.
pub(super) fn still_at(row: &ScheduleRow, position: &Position) -> bool {
    row.position() == *position
}

/// A schedule that fires no more, since its instant at this time cannot be evaluated; that one's range, and those that it closes.
pub(super) fn failed(row: ScheduleRow, at: Instant, why: FateReason) -> (ScheduleRow, Range, Vec<Range>) {
    let range = Range::one(row.version, at, Fate::Error, Some(why));
    let (open, closed) = append(row.open.clone(), [range.clone()]);
    (ScheduleRow { cursor: at, next: None, open, ..row }, range, closed)
}

async fn fail_schedule(
    tx: &Tx,
    known: &Known,
    now: Instant,
    job: JobUid,
    (schedule, position): (&ScheduleName, &Position),
    why: FateReason,
) -> StoreResult<Option<Range>> {
    let rows = schedules(tx, &[job.uuid()]).await?;
    let row = rows.into_iter().find(|row| row.name == *schedule && still_at(row, position));
    let Some((row, at)) = row.and_then(|row| row.next.map(|at| (row, at))) else { return Ok(None) };
    let cursor = row.cursor;
    let (failed, range, closed) = failed(row, at, why);
    let closed = closed.into_iter().map(|range| (failed.job, failed.name.clone(), range)).collect();
    insert_ledger(tx, closed).await?;
    write_schedules(tx, &[(failed, cursor)]).await?;
    let values = vec![JobState::Error.code().into(), time(now), job.uuid().into()];
    exec(tx, "UPDATE job SET state = ?, revision = revision + 1, update_time = ? WHERE uid = ?", values).await?;
    told::of_schedule(tx, known, now, job, (schedule, range.clone())).await?;
    Ok(Some(range))
}
