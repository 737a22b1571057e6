//! New rows of runs, whoever makes them: a caller, or a schedule.

use std::collections::{BTreeMap, HashSet};

use mainspring_engine::{
    domain::{
        ids::{JobUid, RunId},
        instant::Instant,
        names::{JobName, ScheduleName},
        payload::Payload,
        policy::RunPolicy,
        run::{Lifecycle, RunOrigin, RunState},
    },
    ports::store::{Moved, StoreResult},
};
use sea_orm::Value;
use uuid::Uuid;

use super::{
    lanes::KnownLane,
    rows::{labels, maybe_time, policy, text, time},
    statement::{exec, insert, insert_unless_there, pieces, places, query, single},
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
    /// It stands for instants that were missed.
    pub(super) late: bool,
    /// When it is due.
    pub(super) due: Instant,
    /// 0 to 9.
    pub(super) priority: u8,
    /// Its fairness key.
    pub(super) fairness_key: &'a str,
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

/// What every new run has.
const PLAIN: &str = "run (id, lane_id, state, generation, create_time, queue_time, wake_time, ready_lane, priority, \
     fairness_key, due_time, origin, payload_type, payload)";

/// What only some have, after [`PLAIN`].
const FULL: &str = "run (id, lane_id, state, generation, create_time, queue_time, wake_time, ready_lane, priority, \
     fairness_key, due_time, origin, payload_type, payload, deadline_time, job_uid, job_version, schedule, nominal_time, \
     late, parent_id, request_id, note, labels, headers, policy, plain_lease, spilled)";

/// Stores runs made at `now`, and says how they stand; `None` for those whose id is there already, which a batch that is
/// tried again after an unknown commit meets.
pub(super) async fn insert_runs(tx: &Tx, now: Instant, rows: Vec<Row<'_>>) -> StoreResult<Vec<Option<Moved>>> {
    let mut moved = Vec::with_capacity(rows.len());
    let (mut plain, mut full) = (Vec::new(), Vec::new());
    let mut spilled = Vec::new();
    for row in &rows {
        let life = Lifecycle::new(now, row.due);
        moved.push(Some(stands(row, &life)));
        let cells = row.plain_cells(&life);
        match row.full_cells(&life)? {
            None => plain.push(cells),
            Some(more) => full.push(joined(cells, more)),
        }
        if !keep_inline(&row.payload.data) {
            spilled.push((row.id, row.payload));
        }
    }
    let mut there = insert_new(tx, PLAIN, plain).await?;
    there.extend(insert_new(tx, FULL, full).await?);
    for (run, payload) in spilled {
        if !there.contains(&run) {
            spill(tx, run, INPUT, &payload.data).await?;
        }
    }
    if !there.is_empty() {
        for moved in &mut moved {
            *moved = moved.take().filter(|moved| !there.contains(&moved.run));
        }
    }
    Ok(moved)
}

/// Inserts rows that begin with an id; the ids that were there. Nobody inserts an id twice but a batch tried again, so
/// the ids are looked at only once an insert was refused.
async fn insert_new<const N: usize>(tx: &Tx, into: &str, rows: Vec<[Value; N]>) -> StoreResult<HashSet<RunId>> {
    let mut there = HashSet::new();
    for piece in pieces(rows) {
        let ids: Vec<Value> = piece.iter().map(|row| row[0].clone()).collect();
        if insert_unless_there(tx, into, piece.clone()).await? {
            continue;
        }
        let sql = format!("SELECT id FROM run WHERE id IN ({})", places(ids.len()));
        let mut found = HashSet::new();
        for row in query(tx, sql, ids).await? {
            found.insert(single::<Uuid>(&row)?);
        }
        let new = piece.into_iter().filter(|row| !matches!(row[0], Value::Uuid(Some(id)) if found.contains(&id)));
        insert(tx, into, new.collect(), "").await?;
        there.extend(found.into_iter().map(RunId::from_uuid));
    }
    Ok(there)
}

fn joined(plain: [Value; 14], more: [Value; 14]) -> [Value; 28] {
    let mut cells = plain.into_iter().chain(more);
    std::array::from_fn(|_| cells.next().unwrap_or(Value::Int(None)))
}

impl Row<'_> {
    fn plain_cells(&self, life: &Lifecycle) -> [Value; 14] {
        [
            self.id.uuid().into(),
            self.lane.id.into(),
            life.state.code().into(),
            life.generation.into(),
            time(life.create_time),
            maybe_time(life.queue_time),
            maybe_time(life.wake_time),
            (life.state == RunState::Queued).then_some(self.lane.id).into(),
            i32::from(self.priority).into(),
            self.fairness_key.into(),
            time(self.due),
            self.origin.code().into(),
            self.payload.content_type.clone().into(),
            keep_inline(&self.payload.data).then(|| self.payload.data.clone()).into(),
        ]
    }

    /// What this run has beyond [`PLAIN`], if anything.
    fn full_cells(&self, life: &Lifecycle) -> StoreResult<Option<[Value; 14]>> {
        let Self { job, instant, late, parent, request, note, payload, policy: promised, .. } = self;
        let inline = keep_inline(&payload.data);
        let promised_text = policy(promised)?;
        let (tags, headers) = (labels(self.labels)?, labels(self.headers)?);
        let made_by_nothing = job.is_none() && instant.is_none() && parent.is_none() && request.is_none();
        let says_nothing = note.is_empty() && tags.is_none() && headers.is_none() && promised_text.is_none();
        if inline && !late && made_by_nothing && says_nothing {
            return Ok(None);
        }
        Ok(Some([
            maybe_time(life.deadline(promised)),
            job.map(|(uid, ..)| uid.uuid()).into(),
            job.map(|(.., version)| version).into(),
            instant.map(|(schedule, _)| schedule.as_str().to_owned()).into(),
            maybe_time(instant.map(|(_, at)| at)),
            (*late).into(),
            parent.map(RunId::uuid).into(),
            request.map(str::to_owned).into(),
            text((*note).to_owned()).into(),
            tags.into(),
            headers.into(),
            promised_text.into(),
            (!promised.at_most_once() && promised.timeouts.total.is_none()).into(),
            if inline { 0 } else { INPUT }.into(),
        ]))
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
        wake_time: life.wake_time,
        deadline: life.deadline(row.policy),
        tell: None,
    }
}
