//! New rows of runs, whoever makes them: a caller, or a schedule.

use std::collections::{BTreeMap, HashSet};

use mainspring_engine::{
    domain::{
        ids::{BackfillId, JobUid, RunId},
        instant::Instant,
        names::{FairnessKey, JobName, ScheduleName},
        overlap::Buffer,
        payload::Payload,
        place::Place,
        policy::RunPolicy,
        run::{Lifecycle, RunOrigin, RunState},
    },
    ports::store::{Moved, StoreResult},
};

use super::{
    Known,
    keys::{self, Keys},
    lanes::KnownLane,
    rows::{labels, policy},
    sheet::{self, Kind, SHEET, Sheet, bytes, insert_sql},
    statement::{exec, insert_unless_there, query, single},
    writer::Tx,
};

/// Input in `run_data`, and its bit in `spilled`.
pub(super) const INPUT: i32 = 1;
/// Output in `run_data`, and its bit in `spilled`.
pub(super) const OUTPUT: i32 = 2;

/// Whether bytes are few enough to be written again with every step of their run.
pub(super) fn keep_inline(data: &[u8]) -> bool {
    data.len() <= 1_024
}

/// Keeps bytes beside their run.
pub(super) async fn spill(tx: &Tx, run: RunId, kind: i32, data: &[u8]) -> StoreResult<()> {
    let sql = "INSERT INTO run_data (run_id, kind, data) VALUES (?, ?, ?)";
    exec(tx, sql, vec![run.uuid().into(), kind.into(), data.into()]).await.map(drop)
}

/// A run to be stored.
#[derive(Debug)]
pub(super) struct Row<'a> {
    /// Its id.
    pub(super) id: RunId,
    /// Its lane.
    pub(super) lane: &'a KnownLane,
    /// Its job, with the version that makes it.
    pub(super) job: Option<(JobUid, &'a JobName, i64)>,
    /// How it came to be.
    pub(super) origin: RunOrigin,
    /// The schedule and the instant it named.
    pub(super) instant: Option<(&'a ScheduleName, Instant)>,
    /// The backfill that makes it.
    pub(super) backfill: Option<BackfillId>,
    /// It stands for instants that were missed.
    pub(super) late: bool,
    /// When it is due.
    pub(super) due: Instant,
    /// It waits for the slot of its job.
    pub(super) buffer: Option<Buffer>,
    /// It meets the runs of its concurrency key, and not only those of its job.
    pub(super) by_key: bool,
    /// It holds no slot of its job.
    pub(super) apart: bool,
    /// Its end does nothing but end it.
    pub(super) plain_end: bool,
    /// No retry of it begins then or later.
    pub(super) retry_until: Option<Instant>,
    /// The last instant of its job that has succeeded, where its handler is to be told.
    pub(super) previous_success: Option<Instant>,
    /// The zone data that its instant was named by.
    pub(super) zone_data: Option<i32>,
    /// 0 to 9.
    pub(super) priority: u8,
    /// Its fairness key.
    pub(super) fairness_key: &'a FairnessKey,
    /// Its concurrency key.
    pub(super) key: Option<i32>,
    /// The unique key it holds.
    pub(super) unique_key: Option<&'a str>,
    /// Labels.
    pub(super) labels: &'a BTreeMap<String, String>,
    /// For the worker.
    pub(super) headers: &'a BTreeMap<String, String>,
    /// Input.
    pub(super) payload: &'a Payload,
    /// What it is promised.
    pub(super) policy: &'a RunPolicy,
    /// The caller's id of the request.
    pub(super) request: Option<&'a str>,
    /// Why, in the caller's words.
    pub(super) note: &'a str,
    /// The run it was made from.
    pub(super) parent: Option<RunId>,
}

impl Row<'_> {
    /// Whether a lease of it does nothing but lease.
    fn has_plain_lease(&self) -> bool {
        !self.policy.at_most_once() && self.policy.timeouts.total.is_none() && self.previous_success.is_none()
    }

    /// The key under which it waits in no lane. Every run of a key begins so; who is let go is settled afterwards.
    fn parked(&self, life: &Lifecycle) -> Option<i32> {
        self.key.filter(|_| life.state == RunState::Queued)
    }
}

/// What every new run has.
const PLAIN: [(&str, Kind); 14] = [
    ("id", Kind::Bytes),
    ("lane_id", Kind::Int),
    ("state", Kind::Int),
    ("generation", Kind::Int),
    ("create_time", Kind::Int),
    ("queue_time", Kind::Int),
    ("wake_time", Kind::Int),
    ("ready_lane", Kind::Int),
    ("priority", Kind::Int),
    ("fairness_key", Kind::Text),
    ("due_time", Kind::Int),
    ("origin", Kind::Int),
    ("payload_type", Kind::Text),
    ("payload", Kind::Bytes),
];

/// What only some have, after [`PLAIN`].
const MORE: [(&str, Kind); 25] = [
    ("deadline_time", Kind::Int),
    ("job_uid", Kind::Bytes),
    ("job_version", Kind::Int),
    ("schedule", Kind::Text),
    ("nominal_time", Kind::Int),
    ("backfill_id", Kind::Bytes),
    ("late", Kind::Int),
    ("parent_id", Kind::Bytes),
    ("request_id", Kind::Text),
    ("note", Kind::Text),
    ("labels", Kind::Text),
    ("headers", Kind::Text),
    ("policy", Kind::Text),
    ("plain_lease", Kind::Int),
    ("buffer", Kind::Int),
    ("apart", Kind::Int),
    ("spilled", Kind::Int),
    ("unique_key", Kind::Text),
    ("key_id", Kind::Int),
    ("parked_key", Kind::Int),
    ("plain_end", Kind::Int),
    ("retry_until", Kind::Int),
    ("slot_key", Kind::Int),
    ("previous_success", Kind::Int),
    ("zone_data_id", Kind::Int),
];

/// Inserts runs that have no more than every run has, or all that one can have.
pub(super) fn runs_sql(full: bool) -> String {
    if full { insert_sql("run", &[&PLAIN[..], &MORE].concat()) } else { insert_sql("run", &PLAIN) }
}

/// Which runs of a sheet are there.
pub(super) fn there_sql() -> String {
    format!("SELECT run.id FROM {SHEET} CROSS JOIN run ON run.id = {}", bytes(0))
}

/// A run that is to be stored, with what its row is made of.
#[derive(Debug)]
struct New<'a> {
    row: &'a Row<'a>,
    life: Lifecycle,
    /// What it has beyond [`PLAIN`], if anything.
    more: Option<More>,
}

/// What is stored as a text of its own making.
#[derive(Debug)]
struct More {
    labels: Option<String>,
    headers: Option<String>,
    policy: Option<String>,
}

/// Stores runs made at `now`, and says how they stand; `None` for those whose id is there already, which a batch that is
/// tried again after an unknown commit meets.
pub(super) async fn insert_runs(
    tx: &Tx,
    known: &Known,
    now: Instant,
    rows: Vec<Row<'_>>,
) -> StoreResult<Vec<Option<Moved>>> {
    let mut keys = Keys::default();
    keys.touch(rows.iter().filter_map(|row| row.key));
    let mut moved = insert_all(tx, now, rows).await?;
    let free = keys.save(tx, known, now).await?;
    keys::tell(moved.iter_mut().flatten(), free);
    Ok(moved)
}

async fn insert_all(tx: &Tx, now: Instant, rows: Vec<Row<'_>>) -> StoreResult<Vec<Option<Moved>>> {
    let news = rows.iter().map(|row| New::of(row, now)).collect::<StoreResult<Vec<_>>>()?;
    let (full, plain): (Vec<&New<'_>>, Vec<_>) = news.iter().partition(|new| new.more.is_some());
    let mut there = insert_new(tx, runs_sql(false), plain).await?;
    there.extend(insert_new(tx, runs_sql(true), full).await?);
    for row in rows.iter().filter(|row| !keep_inline(&row.payload.data) && !there.contains(&row.id)) {
        spill(tx, row.id, INPUT, &row.payload.data).await?;
    }
    Ok(news.iter().map(|new| (!there.contains(&new.row.id)).then(|| stands(new.row, &new.life))).collect())
}

/// Inserts rows; the ids that were there. Nobody inserts an id twice but a batch tried again, so the ids are looked at only
/// once an insert was refused.
async fn insert_new(tx: &Tx, sql: String, mut news: Vec<&New<'_>>) -> StoreResult<HashSet<RunId>> {
    let sheet = |news: &[&New<'_>]| Sheet::of(news, |row, new| new.write(row)).value();
    if news.is_empty() || insert_unless_there(tx, sql.clone(), vec![sheet(&news)]).await? {
        return Ok(HashSet::new());
    }
    let mut there = HashSet::new();
    for row in query(tx, there_sql(), vec![sheet(&news)]).await? {
        there.insert(RunId::from_uuid(single(&row)?));
    }
    news.retain(|new| !there.contains(&new.row.id));
    exec(tx, sql, vec![sheet(&news)]).await?;
    Ok(there)
}

impl<'a> New<'a> {
    fn of(row: &'a Row<'a>, now: Instant) -> StoreResult<Self> {
        let more = More { labels: labels(row.labels)?, headers: labels(row.headers)?, policy: policy(row.policy)? };
        let says = !row.note.is_empty() || row.request.is_some() || row.unique_key.is_some();
        let made = row.job.is_some() || row.instant.is_some() || row.parent.is_some();
        let made = made || row.key.is_some();
        let has = more.labels.is_some() || more.headers.is_some() || more.policy.is_some();
        let full = has || says || made || row.late || !keep_inline(&row.payload.data);
        Ok(Self { row, life: Lifecycle::made(now, row.due, row.buffer), more: full.then_some(more) })
    }

    /// Writes the cells of [`PLAIN`], and those of [`MORE`] where there are any.
    fn write(&self, cells: &mut sheet::Row<'_>) {
        let Self { row, life, more } = self;
        let Row { id, lane, job, origin, instant, late, due, priority, fairness_key, payload, .. } = row;
        let inline = keep_inline(&payload.data);
        cells
            .id(id.uuid())
            .int(i64::from(lane.id))
            .int(i64::from(life.state.code()))
            .int(life.generation)
            .int(life.create_time.as_micros())
            .int(life.queue_time.map(Instant::as_micros))
            .int(life.wake_time.map(Instant::as_micros))
            .int((life.state == RunState::Queued && row.key.is_none()).then_some(i64::from(lane.id)))
            .int(i64::from(*priority))
            .text(fairness_key.as_str())
            .int(due.as_micros())
            .int(i64::from(origin.code()))
            .text(payload.content_type.as_str())
            .bytes(inline.then_some(payload.data.as_slice()));
        let Some(More { labels, headers, policy }) = more else { return };
        cells
            .int(life.deadline(row.policy).map(Instant::as_micros))
            .id(job.map(|(uid, ..)| uid.uuid()))
            .int(job.map(|(.., version)| version))
            .text(instant.map(|(schedule, _)| schedule.as_str()))
            .int(instant.map(|(_, at)| at.as_micros()))
            .id(row.backfill.map(BackfillId::uuid))
            .int(i64::from(*late))
            .id(row.parent.map(RunId::uuid))
            .text(row.request)
            .text((!row.note.is_empty()).then_some(row.note))
            .text(labels.as_deref())
            .text(headers.as_deref())
            .text(policy.as_deref())
            .int(i64::from(row.has_plain_lease()))
            .int(row.buffer.map(|buffer| i64::from(buffer.code())))
            .int(i64::from(row.apart))
            .int(i64::from(if inline { 0 } else { INPUT }))
            .text(row.unique_key)
            .int(row.key.map(i64::from))
            .int(row.parked(life).map(i64::from))
            .int(i64::from(row.plain_end))
            .int(row.retry_until.map(Instant::as_micros))
            .int(row.key.filter(|_| row.by_key).map(i64::from))
            .int(row.previous_success.map(Instant::as_micros))
            .int(row.zone_data.map(i64::from));
    }
}

fn stands(row: &Row<'_>, life: &Lifecycle) -> Moved {
    Moved {
        run: row.id,
        lane: row.lane.lane.clone(),
        job: row.job.map(|(_, name, _)| name.clone()),
        from: None,
        to: life.state,
        generation: life.generation,
        attempt: 0,
        worker: None,
        reason: String::new(),
        dead: None,
        wake_time: life.wake_time,
        deadline: life.deadline(row.policy),
        tell: None,
        place: (life.state == RunState::Queued && row.key.is_none()).then(|| Place {
            priority: row.priority,
            key: row.fairness_key.clone(),
            due: row.due,
        }),
        let_go: Vec::new(),
    }
}
