//! What a session gets to know of an attempt, put together from a run's row.

use std::collections::{BTreeMap, HashMap};

use mainspring_engine::{
    domain::{
        attempt::AttemptKey,
        ids::{JobUid, RunId},
        instant::Instant,
        names::JobName,
        payload::Payload,
        policy::RunPolicy,
    },
    ports::store::{Dispatchable, StoreResult},
};
use sea_orm::{ConnectionTrait, QueryResult};
use uuid::Uuid;

use super::{
    insert::INPUT,
    lanes::KnownLane,
    rows::{maybe, read_labels, readable},
    statement::{Cells, query_in},
    steps::{Loaded, Steps, columns},
};

/// What a session needs of a loaded run's last attempt.
pub(super) fn attempt_of(steps: &Steps, run: &Loaded, extra: Extra) -> Dispatchable {
    let job = run.job.and_then(|(job, version)| Some((job, steps.job_name(job)?, version)));
    dispatchable(run.key(), &run.lane, job, &run.policy, run.life.failures, extra)
}

/// The columns of [`Extra::read`], in order, to follow others.
pub(super) const fn extra_columns() -> &'static str {
    ", due_time, queue_time, nominal_time, previous_success, headers, spilled, payload_type, payload"
}

/// What a dispatch carries beside what the table knows.
#[derive(Clone, Debug)]
pub(super) struct Extra {
    pub(super) due_time: Instant,
    pub(super) queue_time: Option<Instant>,
    pub(super) nominal_time: Option<Instant>,
    pub(super) previous_success: Option<Instant>,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) payload: Payload,
}

impl Extra {
    /// Reads the columns of [`extra_columns`]; with whether the input is kept elsewhere.
    pub(super) fn read(cells: &mut Cells<'_>) -> StoreResult<(Self, bool)> {
        let due_time = Instant::from_micros(cells.next()?);
        let queue_time = maybe(cells.next()?);
        let nominal_time = maybe(cells.next()?);
        let previous_success = maybe(cells.next()?);
        let headers = read_labels(cells.next()?)?;
        let elsewhere = cells.next::<i32>()? & INPUT != 0;
        let content_type = cells.next()?;
        let data = cells.next::<Option<Vec<u8>>>()?.unwrap_or_default();
        let payload = Payload { content_type, data };
        Ok((Self { due_time, queue_time, nominal_time, previous_success, headers, payload }, elsewhere))
    }
}

/// The extras of a batch.
#[derive(Debug, Default)]
pub(super) struct Extras {
    extras: HashMap<RunId, Extra>,
}

impl Extras {
    /// Reads rows of [`columns`] with [`extra_columns`], and payloads that are kept elsewhere. A run whose row cannot be read
    /// is skipped by the whole batch.
    pub(super) async fn read<C: ConnectionTrait>(
        connection: &C,
        steps: &mut Steps,
        rows: Vec<QueryResult>,
    ) -> StoreResult<Self> {
        let first = columns().split(", ").count();
        let mut extras = HashMap::with_capacity(rows.len());
        let mut spilled = Vec::new();
        for row in rows {
            let run = RunId::from_uuid(Cells::of(&row).next()?);
            match readable(Extra::read(&mut Cells::at(&row, first)))? {
                Ok((extra, elsewhere)) => {
                    if elsewhere {
                        spilled.push(run);
                    }
                    extras.insert(run, extra);
                }
                Err(why) => {
                    tracing::error!(run_id = %run, why, "a run's row cannot be read; the run is skipped");
                    steps.skip(run);
                }
            }
        }
        for (run, data) in spilled_inputs(connection, &spilled).await? {
            if let Some(extra) = extras.get_mut(&run) {
                extra.payload.data = data;
            }
        }
        Ok(Self { extras })
    }

    /// What a run's dispatch carries. Cloned, since one batch may name a run twice.
    pub(super) fn take(&mut self, run: RunId) -> Option<Extra> {
        self.extras.get(&run).cloned()
    }
}

/// Inputs that are kept beside their runs.
pub(super) async fn spilled_inputs<C: ConnectionTrait>(
    connection: &C,
    runs: &[RunId],
) -> StoreResult<Vec<(RunId, Vec<u8>)>> {
    let ids: Vec<Uuid> = runs.iter().map(|run| run.uuid()).collect();
    let head = "SELECT run_id, data FROM run_data WHERE kind = 1 AND run_id IN";
    let rows = query_in(connection, head, &ids, "").await?;
    rows.iter()
        .map(|row| {
            let mut cells = Cells::of(row);
            Ok((RunId::from_uuid(cells.next()?), cells.next()?))
        })
        .collect()
}

/// Puts together what a session needs of an attempt.
pub(super) fn dispatchable(
    key: AttemptKey,
    lane: &KnownLane,
    job: Option<(JobUid, JobName, i64)>,
    policy: &RunPolicy,
    failures: u32,
    extra: Extra,
) -> Dispatchable {
    let Extra { due_time, queue_time, nominal_time, previous_success, headers, payload } = extra;
    Dispatchable {
        key,
        lane: lane.lane.clone(),
        job,
        payload,
        due_time,
        queue_time,
        nominal_time,
        previous_success,
        execution_timeout: policy.timeouts.execution,
        stop_grace: policy.timeouts.stop_grace,
        heartbeat_timeout: policy.timeouts.heartbeat,
        lease_loss: policy.effective_lease_loss(),
        headers,
        failures,
        max_attempts: policy.retry.max_attempts,
    }
}
