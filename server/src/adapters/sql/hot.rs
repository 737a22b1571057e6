//! The two steps that nearly everything is: a lease of a fresh run, and a success.
//!
//! Each is two statements for a batch of any size: one reads, in one row, what a guard lets through and what the caller
//! must know of it, and one writes exactly those. The guard lets only those runs through whose row in the transition table
//! is certain from the guard alone; whatever it leaves is loaded and taken through the table ([`super::steps`]), which finds
//! why. The conformance suite's random batches hold both ways to the same table.

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
use sea_orm::Value;
use serde::Deserialize;
use uuid::Uuid;

use super::{
    Known,
    dispatch::{Extra, dispatchable, spilled_inputs},
    insert::{INPUT, keep_inline},
    restricted::Restricted,
    rows::{maybe, read_labels, time},
    sheet::{self, SHEET, Sheet, array_of, bytes, in_hex, int, numbers, query_rows, text},
    statement::exec,
    steps::all_hit,
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

/// Leases fresh runs of a sheet: never leased under this generation, no attempt open, nothing about the run but the lease
/// itself (`plain_lease`), and nobody else concerned (no concurrency key).
fn leasable() -> String {
    format!(
        "run.id = {} AND run.state = 2 AND run.generation = {} AND run.open_token IS NULL AND run.plain_lease \
         AND run.key_id IS NULL",
        bytes(0),
        int(1)
    )
}

/// What a lease needs to know of the runs that it may touch.
pub(super) fn lease_read_sql(fence: Fence) -> String {
    let columns = format!(
        "{}, lane_id, {}, job_version, {}, run.attempt, failures, due_time, queue_time, nominal_time, {}, spilled, {}, {}",
        in_hex("run.id"),
        in_hex("job_uid"),
        in_hex("policy"),
        in_hex("headers"),
        in_hex("payload_type"),
        in_hex("payload")
    );
    let numbers = numbers(&["lane_id", "job_version", "failures", "due_time", "queue_time", "nominal_time", "spilled"]);
    let guard = format!("{}{numbers}{}", leasable(), fence.sql());
    format!("SELECT {} FROM {SHEET} CROSS JOIN run WHERE {guard}", array_of(&columns))
}

/// Leases what was read.
pub(super) fn lease_sql() -> String {
    format!(
        "UPDATE run SET state = 3, attempt = attempt + 1, open_token = attempt + 1, worker_id = ?, lease_time = ?, \
         start_time = NULL, reason = NULL, ready_lane = NULL, deadline_time = NULL FROM {SHEET} WHERE {}",
        leasable()
    )
}

/// The columns of [`lease_read_sql`].
#[derive(Debug, Deserialize)]
struct Leasable {
    run: Uuid,
    lane: i32,
    job: Option<Uuid>,
    version: Option<i64>,
    policy: Option<String>,
    attempt: i64,
    failures: u32,
    due: i64,
    queued: Option<i64>,
    nominal: Option<i64>,
    headers: Option<String>,
    spilled: i32,
    payload_type: Option<String>,
    payload: Option<String>,
}

/// An attempt without its job's name, its job, and whether its input is elsewhere.
type Read = (Dispatchable, Option<(JobUid, i64)>, bool);

impl Leasable {
    /// As it is once it is leased.
    fn read(self, known: &Known) -> StoreResult<Read> {
        let lane = known.lanes.of(self.lane)?;
        let policy = known.policies.read(sheet::read_text(self.policy)?)?;
        let content_type = sheet::read_text(self.payload_type)?.unwrap_or_default();
        let extra = Extra {
            due_time: Instant::from_micros(self.due),
            queue_time: maybe(self.queued),
            nominal_time: maybe(self.nominal),
            // Whose handler is told has no plain lease.
            previous_success: None,
            headers: read_labels(sheet::read_text(self.headers)?)?,
            payload: Payload { content_type, data: sheet::read_hex(self.payload)? },
        };
        let key = AttemptKey { run: RunId::from_uuid(self.run), attempt: self.attempt + 1 };
        let attempt = dispatchable(key, &lane, None, &policy, self.failures, extra);
        Ok((attempt, self.job.map(JobUid::from_uuid).zip(self.version), self.spilled & INPUT != 0))
    }
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
    let write = |row: &mut sheet::Row<'_>, pointer: &Pointer| {
        row.id(pointer.run.uuid()).int(pointer.generation);
    };
    let mut sheet = Sheet::of(pointers, write);
    let values = [sheet.value()].into_iter().chain(fence.values(namespace)).collect();
    let rows: Vec<Leasable> = query_rows(tx, lease_read_sql(fence), values).await?;
    let mut leased = HashMap::with_capacity(rows.len());
    let (mut jobs, mut spilled) = (Vec::new(), Vec::new());
    for row in rows {
        // One that cannot be read is found to be so by whoever takes what is left.
        let Ok((attempt, job, elsewhere)) = row.read(known) else { continue };
        let run = attempt.key.run;
        jobs.extend(job.map(|job| (run, job)));
        spilled.extend(elsewhere.then_some(run));
        leased.insert(run, attempt);
    }
    if leased.is_empty() {
        return Ok(leased);
    }
    if leased.len() < pointers.len() {
        sheet = Sheet::of(pointers.iter().filter(|pointer| leased.contains_key(&pointer.run)), write);
    }
    let values = vec![worker.uuid().into(), time(now), sheet.value()];
    all_hit(exec(tx, lease_sql(), values).await?, leased.len())?;
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

/// Runs of a sheet whose attempt is open, and whose end concerns nobody else.
fn endable() -> String {
    format!(
        "run.id = {} AND run.open_token = {} AND run.state IN (3, 4) AND run.key_id IS NULL AND run.plain_end",
        bytes(0),
        int(1)
    )
}

/// What a success needs to know of the runs that it may touch.
pub(super) fn success_read_sql(fence: Fence) -> String {
    let columns = format!(
        "{}, run.attempt, lane_id, {}, {}, generation, state",
        in_hex("run.id"),
        in_hex("job_uid"),
        in_hex("worker_id")
    );
    let guard = format!("{}{}{}", endable(), numbers(&["lane_id", "generation"]), fence.sql());
    format!("SELECT {} FROM {SHEET} CROSS JOIN run WHERE {guard}", array_of(&columns))
}

/// Ends runs well. One at a worker has no reason to lose: its lease took it.
pub(super) fn success_sql() -> String {
    format!(
        "UPDATE run SET state = 6, open_token = NULL, decided_token = attempt, start_time = coalesce(start_time, {}), \
         end_time = ?, stop_deadline = NULL, deadline_time = NULL, log_lines = {}, output_type = {}, output = {} \
         FROM {SHEET} WHERE {}",
        int(2),
        int(3),
        text(4),
        bytes(5),
        endable()
    )
}

/// The columns of [`success_read_sql`].
#[derive(Debug, Deserialize)]
struct Endable {
    run: Uuid,
    attempt: i64,
    lane: i32,
    job: Option<Uuid>,
    worker: Option<Uuid>,
    generation: i64,
    state: i32,
}

impl Endable {
    fn read(self, known: &Known) -> StoreResult<(Moved, Option<JobUid>)> {
        let moved = Moved {
            run: RunId::from_uuid(self.run),
            lane: known.lanes.of(self.lane)?.lane.clone(),
            job: None,
            from: RunState::from_code(self.state),
            to: RunState::Succeeded,
            worker: self.worker.map(WorkerId::from_uuid),
            generation: self.generation,
            attempt: self.attempt,
            reason: String::new(),
            dead: None,
            wake_time: None,
            deadline: None,
            tell: None,
            place: None,
            let_go: Vec::new(),
        };
        Ok((moved, self.job.map(JobUid::from_uuid)))
    }
}

/// Applies what are plain successes; the rest is not in the answer. No run is named twice.
pub(super) async fn succeed(
    tx: &Tx,
    known: &Known,
    now: Instant,
    namespace: i32,
    fence: Fence,
    reports: &[&Report],
) -> StoreResult<HashMap<RunId, Moved>> {
    let plain: Vec<&Report> = reports.iter().copied().filter(|report| is_plain(report)).collect();
    let mut sheet = sheet_of(&plain);
    let values = [sheet.value()].into_iter().chain(fence.values(namespace)).collect();
    let rows: Vec<Endable> = query_rows(tx, success_read_sql(fence), values).await?;
    let mut moved = HashMap::with_capacity(rows.len());
    let mut jobs = Vec::new();
    for row in rows {
        let Ok((ended, job)) = row.read(known) else { continue };
        jobs.extend(job.map(|job| (ended.run, job)));
        moved.insert(ended.run, ended);
    }
    if moved.is_empty() {
        return Ok(moved);
    }
    if moved.len() < plain.len() {
        let read: Vec<&Report> = plain.into_iter().filter(|report| moved.contains_key(&report.key.run)).collect();
        sheet = sheet_of(&read);
    }
    all_hit(exec(tx, success_sql(), vec![time(now), sheet.value()]).await?, moved.len())?;
    let names = known.names.resolve(tx, jobs.iter().map(|(_, job)| *job)).await?;
    for (run, job) in jobs {
        if let Some(moved) = moved.get_mut(&run) {
            moved.job = names.get(&job).cloned();
        }
    }
    Ok(moved)
}

fn sheet_of(reports: &[&Report]) -> Sheet {
    Sheet::of(reports, |row, Report { key, start_time, log_lines, output, .. }| {
        let output = output.as_ref().map(|output| (output.content_type.as_str(), output.data.as_slice()));
        row.id(key.run.uuid())
            .int(key.attempt)
            .int(start_time.map(Instant::as_micros))
            // One that no column holds is as good as unknown.
            .int(log_lines.and_then(|lines| i64::try_from(lines).ok()))
            .text(output.map(|(kind, _)| kind))
            .bytes(output.map(|(_, data)| data));
    })
}

/// Whether a report is a success that fits into its run's row.
fn is_plain(report: &Report) -> bool {
    let fits = report.output.as_ref().is_none_or(|output| keep_inline(&output.data));
    report.outcome == Outcome::Succeeded && fits
}
