//! Timed runs whose time has come.
//!
//! Hundreds may be due at one instant, and all of them wait for this step. So it is two statements for nearly all of them:
//! one reads, in one row, what is due and whether its row in the transition table is certain ([`SURE`]), and one writes
//! exactly those. The rest, runs of deleted jobs and rows that cannot be read, is taken through the table ([`super::steps`]).

use std::sync::Arc;

use mainspring_engine::{
    domain::{
        ids::{JobUid, RunId, WorkerId},
        instant::Instant,
        place::Place,
        run::{Lifecycle, RunState},
        transition::Event,
    },
    ports::store::{Moved, StoreResult},
};
use serde::Deserialize;
use uuid::Uuid;

use super::{
    Known, keys,
    rows::{name, time},
    sheet::{self, SHEET, Sheet, array_of, bytes, in_hex, int, numbers},
    statement::{Cells, exec, query, query_one},
    steps::{Steps, all_hit, columns},
    writer::Tx,
};

/// Runs whose time has come, earliest first.
pub(super) const WAKING: &str =
    "FROM run WHERE wake_time IS NOT NULL AND wake_time <= ? ORDER BY wake_time, id LIMIT ?";

/// A run that waits for its time, with no attempt open, goes into the queue; but for one of a deleted job, or of a key.
const SURE: &str = "state IN (1, 5) AND open_token IS NULL AND key_id IS NULL \
     AND NOT EXISTS (SELECT 1 FROM job WHERE job.uid = run.job_uid AND job.delete_time IS NOT NULL)";

/// What is due, and what must be known of it.
pub(super) fn wake_read_sql() -> String {
    let kept = [
        "id",
        "lane_id",
        "job_uid",
        "state",
        "generation",
        "attempt",
        "worker_id",
        "create_time",
        "due_time",
        "priority",
        "fairness_key",
    ];
    let numbers = numbers(&["lane_id", "generation", "attempt", "create_time", "due_time", "priority"]);
    let rows = format!("SELECT {}, reason, policy, ({SURE}{numbers}) AS sure {WAKING}", kept.join(", "));
    let cells = format!(
        "{}, lane_id, {}, state, generation, attempt, {}, create_time, due_time, {}, {}, priority, {}",
        in_hex("id"),
        in_hex("job_uid"),
        in_hex("worker_id"),
        in_hex("reason"),
        in_hex("policy"),
        in_hex("fairness_key")
    );
    // How many there are in all tells whether something is left.
    format!("SELECT count(*), {} FILTER (WHERE sure) FROM ({rows})", array_of(&cells))
}

/// Puts the runs of a sheet into their queues.
pub(super) fn wake_sql() -> String {
    format!(
        "UPDATE run SET state = 2, generation = generation + 1, queue_time = ?, wake_time = NULL, ready_lane = lane_id, \
         deadline_time = {} FROM {SHEET} WHERE run.id = {} AND run.state IN (1, 5) AND run.open_token IS NULL",
        int(1),
        bytes(0)
    )
}

/// The cells of [`wake_read_sql`].
#[derive(Debug, Deserialize)]
struct Waking {
    run: Uuid,
    lane: i32,
    job: Option<Uuid>,
    state: i32,
    generation: i64,
    attempt: i64,
    worker: Option<Uuid>,
    created: i64,
    due: i64,
    reason: Option<String>,
    policy: Option<String>,
    priority: u8,
    key: Option<String>,
}

impl Waking {
    /// As it is once it waits in its queue.
    fn read(self, known: &Known, now: Instant) -> StoreResult<(Moved, Option<JobUid>)> {
        let policy = known.policies.read(sheet::read_text(self.policy)?)?;
        let mut life = Lifecycle::new(Instant::from_micros(self.created), Instant::from_micros(self.due));
        (life.state, life.queue_time) = (RunState::Queued, Some(now));
        let key = name(sheet::read_text(self.key)?.unwrap_or_default())?;
        let moved = Moved {
            run: RunId::from_uuid(self.run),
            lane: known.lanes.of(self.lane)?.lane.clone(),
            job: None,
            from: RunState::from_code(self.state),
            to: RunState::Queued,
            generation: self.generation + 1,
            attempt: self.attempt,
            worker: self.worker.map(WorkerId::from_uuid),
            reason: sheet::read_text(self.reason)?.unwrap_or_default(),
            dead: None,
            wake_time: None,
            deadline: life.deadline(&policy),
            tell: None,
            place: Some(Place { priority: self.priority, key, due: Instant::from_micros(self.due) }),
            let_go: Vec::new(),
        };
        Ok((moved, self.job.map(JobUid::from_uuid)))
    }
}

/// Moves what is due, `limit` at most.
pub(super) async fn wake(tx: &Tx, known: &Arc<Known>, now: Instant, limit: usize) -> StoreResult<Vec<Moved>> {
    let (mut moved, left) = wake_sure(tx, known, now, limit).await?;
    if left {
        moved.extend(wake_by_table(tx, known, now, limit.saturating_sub(moved.len())).await?);
    }
    Ok(moved)
}

/// Moves what is certain to move; with whether something is left.
async fn wake_sure(tx: &Tx, known: &Known, now: Instant, limit: usize) -> StoreResult<(Vec<Moved>, bool)> {
    let most = i64::try_from(limit).unwrap_or(i64::MAX);
    let Some(row) = query_one(tx, wake_read_sql(), vec![time(now), most.into()]).await? else {
        return Ok((Vec::new(), false));
    };
    let mut cells = Cells::of(&row);
    let (due, rows): (i64, String) = (cells.next()?, cells.next()?);
    // One that cannot be read is found to be so by whoever takes what is left.
    let read = sheet::rows_of::<Waking>(&rows).into_iter().filter_map(|row| row.read(known, now).ok());
    let (mut moved, jobs): (Vec<Moved>, Vec<Option<JobUid>>) = read.unzip();
    if !moved.is_empty() {
        let sheet = Sheet::of(&moved, |row, moved| {
            row.id(moved.run.uuid()).int(moved.deadline.map(Instant::as_micros));
        });
        all_hit(exec(tx, wake_sql(), vec![time(now), sheet.value()]).await?, moved.len())?;
    }
    let names = known.names.resolve(tx, jobs.iter().copied().flatten()).await?;
    for (moved, job) in moved.iter_mut().zip(jobs) {
        moved.job = job.and_then(|job| names.get(&job).cloned());
    }
    let left = i64::try_from(moved.len()).is_ok_and(|moved| moved < due);
    Ok((moved, left))
}

/// Takes what is due through the table.
async fn wake_by_table(tx: &Tx, known: &Arc<Known>, now: Instant, limit: usize) -> StoreResult<Vec<Moved>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = query(tx, format!("SELECT {} {WAKING}", columns()), vec![time(now), limit.into()]).await?;
    let mut steps = Steps::begin(tx, known, now).await?;
    steps.take(tx, &rows).await?;
    let mut moved = Vec::with_capacity(rows.len());
    for row in &rows {
        let run = RunId::from_uuid(Cells::of(row).next()?);
        moved.extend(steps.apply(run, &Event::Due).and_then(Result::ok));
    }
    let free = steps.save(tx).await?;
    keys::tell(&mut moved, free);
    Ok(moved)
}
