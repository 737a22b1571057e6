//! Steps of runs: load, decide, write.
//!
//! A batch loads the runs it speaks of, takes every event through the engine's transition table in memory, one after the
//! other, and writes what changed in as few statements as there are pieces of 64. The table alone decides; what differs is
//! only how much of a row must be written:
//!
//! * a lease of a fresh run and a success touch few columns and are nearly everything that happens, so they have a narrow
//!   statement each;
//! * every other change writes the whole [`Lifecycle`].
//!
//! Each statement is guarded by the state, attempt and generation that were loaded, and must hit every row: a row that
//! moved in between would mean that two writers are there, and takes the batch back.

use std::{collections::HashMap, sync::Arc};

use mainspring_engine::{
    domain::{
        attempt::{AttemptEnd, AttemptKey},
        ids::{JobUid, RunId, WorkerId},
        instant::Instant,
        names::JobName,
        payload::Payload,
        policy::RunPolicy,
        run::{Lifecycle, RunState},
        transition::{Context, Event, Refusal, step},
    },
    ports::store::{Moved, StoreError, StoreResult},
};
use sea_orm::{ConnectionTrait, QueryResult, Value};
use uuid::Uuid;

use super::{
    Known,
    dialect::LOCK_RUNS,
    insert::{OUTPUT, keep_inline, spill},
    lanes::KnownLane,
    restricted::Restricted,
    rows::{LIFE, json, life, life_values, maybe_time, time},
    statement::{Cells, chunks, exec, insert, query_in, tuples},
    writer::Tx,
};

/// A run in memory, as it was loaded and as it is now.
#[derive(Debug)]
pub(super) struct Loaded {
    /// Which.
    pub(super) id: RunId,
    /// Its lane.
    pub(super) lane: Arc<KnownLane>,
    /// Its job, and the version that made it.
    pub(super) job: Option<(JobUid, i64)>,
    /// What it was promised.
    pub(super) policy: Arc<RunPolicy>,
    /// As it is now.
    pub(super) life: Lifecycle,
    guard: Guard,
    write: Write,
}

/// What a run was when it was loaded.
#[derive(Clone, Copy, Debug)]
struct Guard {
    state: RunState,
    attempt: i64,
    generation: i64,
}

/// How a run that changed is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Write {
    Nothing,
    Lease,
    Success,
    Whole,
}

/// A run's end that is written with it.
#[derive(Debug)]
struct Ended {
    run: RunId,
    worker: Option<WorkerId>,
    lease_time: Option<Instant>,
    start_time: Option<Instant>,
    end: AttemptEnd,
}

/// The runs of one batch.
#[derive(Debug)]
pub(super) struct Steps {
    known: Arc<Known>,
    now: Instant,
    runs: HashMap<RunId, Loaded>,
    names: HashMap<JobUid, JobName>,
    restricted: Restricted,
    ends: Vec<Ended>,
    outputs: HashMap<RunId, Payload>,
}

/// The columns of [`Loaded::read`], in order.
pub(super) fn columns() -> String {
    format!("id, lane_id, job_uid, job_version, policy, {LIFE}")
}

impl Loaded {
    /// Reads the columns of [`columns`].
    pub(super) fn read(cells: &mut Cells<'_>, known: &Known) -> StoreResult<Self> {
        let id = RunId::from_uuid(cells.next()?);
        let lane = known.lanes.of(cells.next()?)?;
        let job = cells.next::<Option<Uuid>>()?.map(JobUid::from_uuid);
        let job = job.zip(cells.next::<Option<i64>>()?);
        let policy = known.policies.read(cells.next()?)?;
        let life = life(cells)?;
        let guard = Guard { state: life.state, attempt: life.attempt, generation: life.generation };
        Ok(Self { id, lane, job, policy, life, guard, write: Write::Nothing })
    }

    /// Its last attempt.
    pub(super) fn key(&self) -> AttemptKey {
        AttemptKey { run: self.id, attempt: self.life.attempt }
    }
}

impl Steps {
    /// For a batch at `now`.
    pub(super) async fn begin(tx: &Tx, known: &Arc<Known>, now: Instant) -> StoreResult<Self> {
        Ok(Self {
            known: Arc::clone(known),
            now,
            runs: HashMap::new(),
            names: HashMap::new(),
            restricted: Restricted::load(tx).await?,
            ends: Vec::new(),
            outputs: HashMap::new(),
        })
    }

    /// Loads runs; those that do not exist are simply not there.
    pub(super) async fn load(&mut self, tx: &Tx, runs: impl IntoIterator<Item = RunId>) -> StoreResult<()> {
        let rows = self.load_with(tx, runs, "").await?;
        drop(rows);
        Ok(())
    }

    /// Loads runs with further columns, which are left in the rows after those of [`columns`].
    pub(super) async fn load_with(
        &mut self,
        tx: &Tx,
        runs: impl IntoIterator<Item = RunId>,
        more: &str,
    ) -> StoreResult<Vec<QueryResult>> {
        let mut ids: Vec<Uuid> = runs.into_iter().filter(|run| !self.runs.contains_key(run)).map(RunId::uuid).collect();
        ids.sort_unstable();
        ids.dedup();
        let head = format!("SELECT {}{more} FROM run WHERE id IN", columns());
        let rows = query_in(tx, &head, &ids, LOCK_RUNS).await?;
        self.take(tx, &rows).await?;
        Ok(rows)
    }

    /// Takes rows that begin with the columns of [`columns`]; those loaded before stay as they are.
    pub(super) async fn take<C: ConnectionTrait>(&mut self, connection: &C, rows: &[QueryResult]) -> StoreResult<()> {
        let mut jobs = Vec::new();
        for row in rows {
            let loaded = Loaded::read(&mut Cells::of(row), &self.known)?;
            jobs.extend(loaded.job.map(|(job, _)| job));
            self.runs.entry(loaded.id).or_insert(loaded);
        }
        jobs.retain(|job| !self.names.contains_key(job));
        self.names.extend(self.known.names.resolve(connection, jobs).await?);
        Ok(())
    }

    /// A run that was loaded, as it is now.
    pub(super) fn run(&self, run: RunId) -> Option<&Loaded> {
        self.runs.get(&run)
    }

    /// The name of a job that a loaded run is of.
    pub(super) fn job_name(&self, job: JobUid) -> Option<JobName> {
        self.names.get(&job).cloned()
    }

    /// Whether a run's queue lets one more go to a worker.
    pub(super) fn has_room(&self, run: RunId) -> bool {
        self.runs.get(&run).is_none_or(|run| self.restricted.has_room(run.lane.queue))
    }

    /// Whether an attempt ended in this very batch by its worker's word.
    pub(super) fn reported_here(&self, key: AttemptKey) -> bool {
        self.ends.iter().any(|ended| ended.run == key.run && ended.end.attempt == key.attempt && ended.end.reported)
    }

    /// Keeps what a handler returned, to be written with its run.
    pub(super) fn keep_output(&mut self, run: RunId, output: Payload) {
        self.outputs.insert(run, output);
    }

    /// Takes one event through the table. `None` where there is no such run.
    pub(super) fn apply(&mut self, run: RunId, event: &Event) -> Option<Result<Moved, Refusal>> {
        let loaded = self.runs.get_mut(&run)?;
        let context = Context { run, policy: &loaded.policy, rules: &self.known.rules, now: self.now };
        let change = match step(&loaded.life, event, context) {
            Ok(change) => change,
            Err(refusal) => return Some(Err(refusal)),
        };
        let before = std::mem::replace(&mut loaded.life, change.next);
        let after = &loaded.life;
        loaded.write = match (event, loaded.write, &change.end) {
            (Event::Lease { .. }, Write::Nothing, None) if after.state == RunState::Leased => Write::Lease,
            (Event::Report { .. }, Write::Nothing, None) if after.state == RunState::Succeeded => Write::Success,
            _ => Write::Whole,
        };
        self.restricted.moved(loaded.lane.queue, before.state, after.state);
        if let Some(end) = change.end {
            // A lease has overwritten what was known of the attempt that it ends.
            let started = if after.attempt == end.attempt { after.start_time } else { None };
            self.ends.push(Ended {
                run,
                worker: before.worker,
                lease_time: before.lease_time,
                start_time: before.start_time.or(started),
                end,
            });
        }
        Some(Ok(Moved {
            run,
            lane: loaded.lane.lane.clone(),
            job: loaded.job.and_then(|(job, _)| self.names.get(&job).cloned()),
            from: Some(before.state),
            to: after.state,
            generation: after.generation,
            attempt: after.attempt,
            worker: after.worker,
            reason: after.reason.clone().unwrap_or_default(),
            wake_time: after.wake_time,
            deadline: after.deadline(&loaded.policy),
            tell: change.tell,
        }))
    }

    /// Writes everything that changed.
    pub(super) async fn save(mut self, tx: &Tx) -> StoreResult<()> {
        let outputs = std::mem::take(&mut self.outputs);
        let changed = |write| self.runs.values().filter(move |run| run.write == write);
        let mut leases: HashMap<Option<WorkerId>, Vec<&Loaded>> = HashMap::new();
        for run in changed(Write::Lease) {
            leases.entry(run.life.worker).or_default().push(run);
        }
        for (worker, runs) in leases {
            write_leases(tx, worker, self.now, &runs).await?;
        }
        let successes: Vec<_> = changed(Write::Success).collect();
        write_successes(tx, self.now, &successes, &outputs).await?;
        let whole: Vec<_> = changed(Write::Whole).collect();
        write_whole(tx, &whole).await?;
        for run in whole {
            if let Some(output) = outputs.get(&run.id) {
                write_output(tx, run.id, output).await?;
            }
        }
        for (run, output) in outputs.iter().filter(|(_, output)| !keep_inline(&output.data)) {
            spill(tx, *run, OUTPUT, &output.data).await?;
        }
        write_ends(tx, self.now, std::mem::take(&mut self.ends)).await?;
        self.restricted.save(tx).await
    }
}

/// Every row of a piece must have been hit.
fn all_hit(hit: u64, runs: &[&Loaded]) -> StoreResult<()> {
    if hit == runs.len() as u64 {
        Ok(())
    } else {
        Err(StoreError::Conflict(format!("{} of {} runs moved meanwhile", runs.len() as u64 - hit, runs.len())))
    }
}

async fn write_leases(tx: &Tx, worker: Option<WorkerId>, now: Instant, runs: &[&Loaded]) -> StoreResult<()> {
    for piece in chunks(runs) {
        let mut values = Vec::with_capacity(3 * piece.len() + 2);
        for run in piece {
            values.extend([run.id.uuid().into(), run.guard.generation.into()]);
            values.push(maybe_time(run.life.deadline(&run.policy)));
        }
        values.extend([worker.map(WorkerId::uuid).into(), time(now)]);
        let sql = lease_sql(piece.len());
        all_hit(exec(tx, sql, values).await?, piece)?;
    }
    Ok(())
}

/// Leases `count` fresh runs.
pub(super) fn lease_sql(count: usize) -> String {
    format!(
        "WITH t(id, generation, deadline) AS (VALUES {}) UPDATE run SET state = 3, attempt = attempt + 1, \
         open_token = attempt + 1, worker_id = ?, lease_time = ?, start_time = NULL, reason = NULL, ready_lane = NULL, \
         deadline_time = t.deadline FROM t \
         WHERE run.id = t.id AND state = 2 AND run.generation = t.generation AND open_token IS NULL",
        tuples(count, 3)
    )
}

async fn write_successes(
    tx: &Tx,
    now: Instant,
    runs: &[&Loaded],
    outputs: &HashMap<RunId, Payload>,
) -> StoreResult<()> {
    for piece in chunks(runs) {
        let mut values = Vec::with_capacity(6 * piece.len() + 1);
        for run in piece {
            let (kind, data, spilled) = output_cells(outputs.get(&run.id));
            values.extend([run.id.uuid().into(), run.guard.attempt.into(), maybe_time(run.life.start_time)]);
            values.extend([kind, data, spilled]);
        }
        values.push(time(now));
        all_hit(exec(tx, success_sql(piece.len()), values).await?, piece)?;
    }
    Ok(())
}

/// Ends `count` runs well.
pub(super) fn success_sql(count: usize) -> String {
    format!(
        "WITH t(id, attempt, started, kind, data, spilled) AS (VALUES {}) UPDATE run SET state = 6, open_token = NULL, \
         decided_token = t.attempt, start_time = t.started, end_time = ?, wake_time = NULL, stop_deadline = NULL, \
         reason = NULL, ready_lane = NULL, deadline_time = NULL, output_type = t.kind, output = t.data, \
         spilled = run.spilled + t.spilled FROM t \
         WHERE run.id = t.id AND open_token = t.attempt AND state IN (2, 3, 4, 5)",
        tuples(count, 6)
    )
}

/// Media type, bytes where they are few, and whether they are elsewhere.
fn output_cells(output: Option<&Payload>) -> (Value, Value, Value) {
    match output {
        None => (Value::String(None), Value::Bytes(None), 0.into()),
        Some(Payload { content_type, data }) if keep_inline(data) => {
            (content_type.clone().into(), data.clone().into(), 0.into())
        }
        Some(Payload { content_type, data: _ }) => (content_type.clone().into(), Value::Bytes(None), OUTPUT.into()),
    }
}

async fn write_output(tx: &Tx, run: RunId, output: &Payload) -> StoreResult<()> {
    let (kind, data, spilled) = output_cells(Some(output));
    let sql = "UPDATE run SET output_type = ?, output = ?, spilled = spilled + ? WHERE id = ?";
    exec(tx, sql, vec![kind, data, spilled, run.uuid().into()]).await.map(drop)
}

async fn write_whole(tx: &Tx, runs: &[&Loaded]) -> StoreResult<()> {
    for piece in chunks(runs) {
        let mut values = Vec::with_capacity(27 * piece.len());
        for run in piece {
            let Guard { state, attempt, generation } = run.guard;
            values.extend([run.id.uuid().into(), state.code().into(), attempt.into(), generation.into()]);
            values.extend(life_values(&run.life));
            values.push((run.life.state == RunState::Queued).then_some(run.lane.id).into());
            values.push(maybe_time(run.life.deadline(&run.policy)));
            let dead = matches!(run.life.state, RunState::Failed | RunState::TimedOut);
            values.push(maybe_time(run.life.end_time.filter(|_| dead)));
        }
        all_hit(exec(tx, whole_sql(piece.len()), values).await?, piece)?;
    }
    Ok(())
}

/// Writes `count` lifecycles.
pub(super) fn whole_sql(count: usize) -> String {
    format!(
        "WITH t(id, was_state, was_attempt, was_generation, state, attempt, open_token, decided_token, worker_id, \
         generation, cancel_requested, stop_timeout, stop_deadline, failures, losses, returns, reason, queue_time, \
         lease_time, start_time, end_time, wake_time, cancel_time, cancel_reason, ready_lane, deadline_time, dead_time) \
         AS (VALUES {}) UPDATE run SET state = t.state, attempt = t.attempt, open_token = t.open_token, \
         decided_token = t.decided_token, worker_id = t.worker_id, generation = t.generation, \
         cancel_requested = t.cancel_requested, stop_timeout = t.stop_timeout, stop_deadline = t.stop_deadline, \
         failures = t.failures, losses = t.losses, returns = t.returns, reason = t.reason, queue_time = t.queue_time, \
         lease_time = t.lease_time, start_time = t.start_time, end_time = t.end_time, wake_time = t.wake_time, \
         cancel_time = t.cancel_time, cancel_reason = t.cancel_reason, ready_lane = t.ready_lane, \
         deadline_time = t.deadline_time, dead_time = t.dead_time FROM t \
         WHERE run.id = t.id AND run.state = t.was_state AND run.attempt = t.was_attempt \
         AND run.generation = t.was_generation",
        tuples(count, 27)
    )
}

async fn write_ends(tx: &Tx, now: Instant, ends: Vec<Ended>) -> StoreResult<()> {
    let mut rows = Vec::with_capacity(ends.len());
    for Ended { run, worker, lease_time, start_time, end } in ends {
        let AttemptEnd { attempt, state, reported, cause, failure } = end;
        rows.push([
            run.uuid().into(),
            attempt.into(),
            state.code().into(),
            reported.into(),
            cause.into(),
            failure.as_ref().map(json).transpose()?.into(),
            worker.map(WorkerId::uuid).into(),
            maybe_time(lease_time),
            maybe_time(start_time),
            time(now),
        ]);
    }
    let into =
        "attempt_end (run_id, attempt, state, reported, cause, failure, worker_id, lease_time, start_time, end_time)";
    insert(tx, into, rows, "").await.map(drop)
}
