//! New rows of runs, whoever makes them: a caller, or a schedule.

use std::collections::BTreeMap;

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

use super::{
    lanes::KnownLane,
    rows::{labels, maybe_time, policy, text, time},
    statement::{exec, insert},
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

const INTO: &str = "run (id, lane_id, state, generation, create_time, queue_time, wake_time, ready_lane, deadline_time, \
     priority, fairness_key, due_time, origin, job_uid, job_version, schedule, nominal_time, late, parent_id, request_id, \
     note, labels, headers, policy, spilled, payload_type, payload)";

/// Stores runs made at `now`, and says how they stand.
pub(super) async fn insert_runs(tx: &Tx, now: Instant, rows: Vec<Row<'_>>) -> StoreResult<Vec<Moved>> {
    let mut values = Vec::with_capacity(rows.len());
    let mut moved = Vec::with_capacity(rows.len());
    let mut spilled = Vec::new();
    for row in rows {
        let life = Lifecycle::new(now, row.due);
        moved.push(stands(&row, &life));
        if !keep_inline(&row.payload.data) {
            spilled.push((row.id, row.payload));
        }
        values.push(cells(&row, &life)?);
    }
    insert(tx, INTO, values, "").await?;
    for (run, payload) in spilled {
        spill(tx, run, INPUT, &payload.data).await?;
    }
    Ok(moved)
}

fn cells(row: &Row<'_>, life: &Lifecycle) -> StoreResult<[Value; 27]> {
    let Row { id, lane, job, origin, instant, late, due, priority, fairness_key, .. } = row;
    let Row { labels: tags, headers, payload, policy: promised, request, note, parent, .. } = row;
    let inline = keep_inline(&payload.data);
    Ok([
        id.uuid().into(),
        lane.id.into(),
        life.state.code().into(),
        life.generation.into(),
        time(life.create_time),
        maybe_time(life.queue_time),
        maybe_time(life.wake_time),
        (life.state == RunState::Queued).then_some(lane.id).into(),
        maybe_time(life.deadline(promised)),
        i32::from(*priority).into(),
        (*fairness_key).into(),
        time(*due),
        origin.code().into(),
        job.map(|(uid, ..)| uid.uuid()).into(),
        job.map(|(.., version)| version).into(),
        instant.map(|(schedule, _)| schedule.as_str().to_owned()).into(),
        maybe_time(instant.map(|(_, at)| at)),
        (*late).into(),
        parent.map(RunId::uuid).into(),
        request.map(str::to_owned).into(),
        text((*note).to_owned()).into(),
        labels(tags)?.into(),
        labels(headers)?.into(),
        policy(promised)?.into(),
        if inline { 0 } else { INPUT }.into(),
        payload.content_type.clone().into(),
        inline.then(|| payload.data.clone()).into(),
    ])
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
