//! The two steps that nearly everything is: a lease of a fresh run, and a success.
//!
//! Each is one guarded statement per piece that says at once what it did, without reading the runs before. Its guard lets
//! only those rows through whose row in the transition table is certain from the guard alone; whatever it leaves is loaded
//! and taken through the table ([`super::steps`]), which finds why. The conformance suite's random batches hold both ways
//! to the same table.

use std::collections::HashMap;

use mainspring_engine::{
    domain::{
        attempt::{AttemptKey, Outcome},
        ids::{JobUid, RunId, WorkerId},
        instant::Instant,
        payload::Payload,
        run::RunState,
    },
    ports::{
        broker::Pointer,
        store::{Dispatchable, Moved, Report, StoreResult},
    },
};
use sea_orm::{QueryResult, Value};
use uuid::Uuid;

use super::{
    Known,
    dispatch::{Extra, dispatchable, extra_columns, spilled_inputs},
    insert::keep_inline,
    restricted::Restricted,
    rows::{maybe_count, maybe_time, time},
    statement::{Cells, chunks, query, tuples},
    writer::Tx,
};

/// Which rows a hot statement may touch beyond its own guard. Empty where nothing stands in the way, which is nearly
/// always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fence {
    /// There are other namespaces.
    pub(super) namespaces: bool,
    /// There are queues whose counter or pause must be looked at.
    pub(super) queues: bool,
}

impl Fence {
    fn sql(self) -> String {
        let mut sql = String::new();
        if self.namespaces {
            sql += " AND EXISTS (SELECT 1 FROM lane WHERE lane.id = run.lane_id AND lane.namespace_id = ?)";
        }
        if self.queues {
            sql += " AND NOT EXISTS (SELECT 1 FROM lane JOIN queue ON queue.id = lane.queue_id \
                 WHERE lane.id = run.lane_id AND (queue.paused OR queue.concurrency_limit > 0))";
        }
        sql
    }

    /// For rows of one namespace.
    pub(super) fn around(known: &Known, restricted: &Restricted, namespace: i32) -> Self {
        Self { namespaces: known.lanes.has_other_than(namespace), queues: !restricted.is_empty() }
    }

    fn values(self, namespace: i32) -> Option<Value> {
        self.namespaces.then(|| namespace.into())
    }
}

/// Leases `count` fresh runs: never leased under this generation, no attempt open, and nothing about the run but the lease
/// itself (`plain_lease`).
pub(super) fn lease_sql(count: usize, fence: Fence) -> String {
    format!(
        "WITH t(id, generation) AS (VALUES {}) UPDATE run SET state = 3, attempt = attempt + 1, \
         open_token = attempt + 1, worker_id = ?, lease_time = ?, start_time = NULL, reason = NULL, ready_lane = NULL, \
         deadline_time = NULL FROM t WHERE run.id = t.id AND state = 2 AND run.generation = t.generation \
         AND open_token IS NULL AND plain_lease{} \
         RETURNING id, lane_id, job_uid, job_version, policy, attempt, failures{}",
        tuples(count, 2),
        fence.sql(),
        extra_columns()
    )
}

/// Leases what can be leased without a look; the rest is not in the answer.
pub(super) async fn lease(
    tx: &Tx,
    known: &Known,
    now: Instant,
    (worker, namespace): (WorkerId, i32),
    fence: Fence,
    pointers: &[Pointer],
) -> StoreResult<HashMap<RunId, Dispatchable>> {
    let mut rows = Vec::with_capacity(pointers.len());
    for piece in chunks(pointers) {
        let mut values = Vec::with_capacity(2 * piece.len() + 3);
        for Pointer { run, generation } in piece {
            values.extend([run.uuid().into(), (*generation).into()]);
        }
        values.extend([worker.uuid().into(), time(now)]);
        values.extend(fence.values(namespace));
        rows.extend(query(tx, lease_sql(piece.len(), fence), values).await?);
    }
    let mut leased = HashMap::with_capacity(rows.len());
    let mut jobs = Vec::new();
    let mut spilled = Vec::new();
    for row in &rows {
        let (attempt, job, elsewhere) = read(row, known)?;
        let run = attempt.key.run;
        jobs.extend(job.map(|job| (run, job)));
        if elsewhere {
            spilled.push(run);
        }
        leased.insert(run, attempt);
    }
    let names = known.names.resolve(tx, jobs.iter().map(|(_, (job, _))| *job)).await?;
    for (run, (job, version)) in jobs {
        if let (Some(attempt), Some(name)) = (leased.get_mut(&run), names.get(&job)) {
            attempt.job = Some((job, name.clone(), version));
        }
    }
    for (run, data) in spilled_inputs(tx, &spilled).await? {
        if let Some(attempt) = leased.get_mut(&run) {
            attempt.payload.data = data;
        }
    }
    Ok(leased)
}

/// An attempt without its job's name, its job, and whether its input is elsewhere.
type Read = (Dispatchable, Option<(JobUid, i64)>, bool);

fn read(row: &QueryResult, known: &Known) -> StoreResult<Read> {
    let mut cells = Cells::of(row);
    let run = RunId::from_uuid(cells.next()?);
    let lane = known.lanes.of(cells.next()?)?;
    let job = cells.next::<Option<Uuid>>()?.map(JobUid::from_uuid).zip(cells.next::<Option<i64>>()?);
    let policy = known.policies.read(cells.next()?)?;
    let attempt = cells.next()?;
    let failures = cells.parse("a count", |number: &i64| u32::try_from(*number).ok())?;
    let (extra, elsewhere) = Extra::read(&mut cells)?;
    let key = AttemptKey { run, attempt };
    Ok((dispatchable(key, &lane, None, &policy, failures, extra), job, elsewhere))
}

/// Ends `count` runs well whose attempt is open in one state. A run at a worker has no reason to lose: its lease took it.
pub(super) fn success_sql(count: usize, fence: Fence) -> String {
    format!(
        "WITH t(id, attempt, started, lines, kind, data) AS (VALUES {}) UPDATE run SET state = 6, open_token = NULL, \
         decided_token = t.attempt, start_time = coalesce(run.start_time, t.started), end_time = ?, stop_deadline = NULL, \
         deadline_time = NULL, log_lines = t.lines, output_type = t.kind, output = t.data FROM t \
         WHERE run.id = t.id AND open_token = t.attempt AND state = ?{} \
         RETURNING id, lane_id, job_uid, worker_id, generation",
        tuples(count, 6),
        fence.sql()
    )
}

/// Applies what are plain successes; the rest is not in the answer.
pub(super) async fn succeed(
    tx: &Tx,
    known: &Known,
    now: Instant,
    namespace: i32,
    fence: Fence,
    reports: &[&Report],
) -> StoreResult<HashMap<RunId, Moved>> {
    let mut moved = HashMap::with_capacity(reports.len());
    let mut left: Vec<&Report> = reports.iter().copied().filter(|report| is_plain(report)).collect();
    // The answer tells what a run was: most were never noted to have started, and the others are asked for by themselves.
    for from in [RunState::Leased, RunState::Running] {
        let mut jobs = Vec::new();
        for piece in chunks(&left) {
            for row in succeed_piece(tx, now, namespace, fence, from, piece).await? {
                let (run, job) = ended(&row, known, from)?;
                jobs.extend(job.map(|job| (run.run, job)));
                moved.insert(run.run, run);
            }
        }
        let names = known.names.resolve(tx, jobs.iter().map(|(_, job)| *job)).await?;
        for (run, job) in jobs {
            if let Some(moved) = moved.get_mut(&run) {
                moved.job = names.get(&job).cloned();
            }
        }
        left.retain(|report| !moved.contains_key(&report.key.run));
    }
    for report in reports {
        if let Some(moved) = moved.get_mut(&report.key.run) {
            moved.attempt = report.key.attempt;
        }
    }
    Ok(moved)
}

/// Whether a report is a success that fits into its run's row.
fn is_plain(report: &Report) -> bool {
    let fits = report.output.as_ref().is_none_or(|output| keep_inline(&output.data));
    report.outcome == Outcome::Succeeded && fits
}

async fn succeed_piece(
    tx: &Tx,
    now: Instant,
    namespace: i32,
    fence: Fence,
    from: RunState,
    piece: &[&Report],
) -> StoreResult<Vec<QueryResult>> {
    let mut values: Vec<Value> = Vec::with_capacity(6 * piece.len() + 3);
    for report in piece {
        let AttemptKey { run, attempt } = report.key;
        let lines = maybe_count(report.log_lines);
        values.extend([run.uuid().into(), attempt.into(), maybe_time(report.start_time), lines]);
        match &report.output {
            Some(Payload { content_type, data }) => values.extend([content_type.clone().into(), data.clone().into()]),
            None => values.extend([Value::String(None), Value::Bytes(None)]),
        }
    }
    values.extend([time(now), from.code().into()]);
    values.extend(fence.values(namespace));
    query(tx, success_sql(piece.len(), fence), values).await
}

fn ended(row: &QueryResult, known: &Known, from: RunState) -> StoreResult<(Moved, Option<JobUid>)> {
    let mut cells = Cells::of(row);
    let run = RunId::from_uuid(cells.next()?);
    let lane = known.lanes.of(cells.next()?)?.lane.clone();
    let job = cells.next::<Option<Uuid>>()?.map(JobUid::from_uuid);
    let moved = Moved {
        run,
        lane,
        job: None,
        from: Some(from),
        to: RunState::Succeeded,
        worker: cells.next::<Option<Uuid>>()?.map(WorkerId::from_uuid),
        generation: cells.next()?,
        attempt: 0,
        reason: String::new(),
        wake_time: None,
        deadline: None,
        tell: None,
    };
    Ok((moved, job))
}
