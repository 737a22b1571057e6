//! Starts that are pending when a job is edited: dropped, or made anew by the new definition.
//!
//! Called by [`super::catalog`] in the transaction of the edit, before the schedules go on: what is dropped loses its fate in
//! the open ranges that they keep.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use mainspring_engine::{
    domain::{
        ids::{JobUid, RunId},
        instant::Instant,
        job::{Job, JobSpec},
        ledger::{Fate, Range},
        names::ScheduleName,
        overlap::Buffer,
        run::{RunOrigin, RunState},
        schedule::ScheduleSpec,
        supersede::{DROPPED, Pending, carve},
        transition::Event,
    },
    ports::store::{Moved, StoreError, StoreResult},
};
use uuid::Uuid;

use super::{
    Known,
    insert::{Row, insert_runs},
    jobs::{ScheduleRow, insert_ledger, range, schedules},
    keys,
    rows::{name, time},
    statement::{Cells, exec, places, query, query_one},
    steps::Steps,
    successes,
    views::ledger::specs,
    writer::Tx,
    zones::Changes,
};

/// A run of a schedule that has not begun.
#[derive(Clone, Debug)]
struct Start {
    run: RunId,
    schedule: ScheduleName,
    nominal: Instant,
    due: Instant,
    late: bool,
    buffer: Option<Buffer>,
    zone_data: Option<i32>,
}

/// What an edit makes of starts, before it is made.
#[derive(Debug, Default)]
pub(super) struct Plan {
    anew: Vec<Start>,
}

/// Runs of a job's schedules that have not begun, by instant.
pub(super) const PENDING: &str = "SELECT id, schedule, nominal_time, due_time, late, buffer, zone_data_id FROM run WHERE job_uid = ? \
     AND end_time IS NULL AND state = 1 AND origin = 1 ORDER BY nominal_time";

async fn pending(tx: &Tx, job: JobUid) -> StoreResult<Vec<Start>> {
    let rows = query(tx, PENDING, vec![job.uuid().into()]).await?;
    let read = rows.iter().map(|row| {
        let mut cells = Cells::of(row);
        Ok(Start {
            run: RunId::from_uuid(cells.next()?),
            schedule: name(cells.next()?)?,
            nominal: Instant::from_micros(cells.next()?),
            due: Instant::from_micros(cells.next()?),
            late: cells.next()?,
            buffer: cells.parse("how a run waits", |code: &Option<i32>| match code {
                Some(code) => Buffer::from_code(*code).map(Some),
                None => Some(None),
            })?,
            zone_data: cells.next()?,
        })
    });
    read.collect()
}

/// Drops what is to be dropped, and says what is to be made anew once the new definition is there.
pub(super) async fn drop_starts(
    tx: &Tx,
    known: &Arc<Known>,
    now: Instant,
    job: &Job,
    rows: &mut [ScheduleRow],
    (what, spec): (Pending, &JobSpec),
) -> StoreResult<(Vec<Moved>, Plan)> {
    if what == Pending::Keep {
        return Ok(Default::default());
    }
    let is_named = |start: &Start| {
        let rule = spec.schedules.iter().find(|schedule| schedule.name == start.schedule);
        let names = |rule: &ScheduleSpec| {
            let is_named = rule.delay().is_some() || rule.names(start.nominal);
            is_named && rule.excluded(start.nominal).is_none()
        };
        what == Pending::Recompute && rule.is_some_and(names)
    };
    let (anew, dropped): (Vec<_>, Vec<_>) = pending(tx, job.uid).await?.into_iter().partition(is_named);
    let mut steps = Steps::begin(tx, known, now).await?;
    steps.load(tx, dropped.iter().map(|start| start.run)).await?;
    let cancel = Event::Cancel { reason: DROPPED.into(), grace: None };
    let moved: Vec<_> = dropped.iter().filter_map(|start| steps.apply(start.run, &cancel)?.ok()).collect();
    steps.save(tx).await?;
    // What counts from the end of one of them goes on from there.
    for now in schedules(tx, &[job.uid.uuid()]).await? {
        if let Some(row) = rows.iter_mut().find(|row| row.name == now.name) {
            (row.cursor, row.next, row.open_run) = (now.cursor, now.next, now.open_run);
        }
    }
    let mut instants: BTreeMap<ScheduleName, BTreeSet<Instant>> = BTreeMap::new();
    let ended: BTreeSet<_> = moved.iter().map(|moved| moved.run).collect();
    for start in dropped.into_iter().filter(|start| ended.contains(&start.run)) {
        instants.entry(start.schedule).or_default().insert(start.nominal);
    }
    for (schedule, instants) in instants {
        supersede(tx, known, job.uid, rows.iter_mut().find(|row| row.name == schedule), (&schedule, &instants)).await?;
    }
    Ok((moved, Plan { anew }))
}

/// Takes instants of a schedule out of the ranges that say that they fired.
async fn supersede(
    tx: &Tx,
    known: &Known,
    job: JobUid,
    row: Option<&mut ScheduleRow>,
    (schedule, instants): (&ScheduleName, &BTreeSet<Instant>),
) -> StoreResult<()> {
    let mut closed: BTreeMap<Instant, Range> = BTreeMap::new();
    for at in instants {
        if let Some(range) = holding(tx, job, schedule, *at).await? {
            closed.insert(range.first, range);
        }
    }
    let open = row.as_ref().and_then(|row| row.open.clone());
    let versions = closed.values().chain(&open).map(|range| range.version);
    let mut specs = specs(tx, known, job, versions).await?;
    let changes = Changes::of(tx, job).await?;
    for range in closed.values().chain(&open) {
        if let Some(spec) = specs.get(&range.version).cloned() {
            // One edit drops instants of a moment: between two data of one version there is none.
            let spec = changes.named_by(tx, known, (schedule, range), spec).await?;
            specs.insert(range.version, spec);
        }
    }
    let carved = |range: Range| {
        let rule = specs.get(&range.version).and_then(|spec| spec.schedules.iter().find(|rule| rule.name == *schedule));
        match rule.filter(|_| range.fate == Fate::Fired) {
            Some(rule) => carve(range, rule, instants),
            None => vec![range],
        }
    };
    let mut pieces = Vec::new();
    for (first, range) in closed {
        let sql = "DELETE FROM ledger WHERE job_uid = ? AND schedule = ? AND first_time = ?";
        exec(tx, sql, vec![job.uuid().into(), schedule.as_str().into(), time(first)]).await?;
        pieces.extend(carved(range));
    }
    if let Some(row) = row {
        let mut parts = open.map(carved).unwrap_or_default();
        row.open = parts.pop();
        pieces.extend(parts);
    }
    insert_ledger(tx, pieces.into_iter().map(|range| (job, schedule.clone(), range)).collect()).await
}

/// The closed range that an instant lies in.
async fn holding(tx: &Tx, job: JobUid, schedule: &ScheduleName, at: Instant) -> StoreResult<Option<Range>> {
    let sql = "SELECT version, first_time, last_time, count, fate, reason FROM ledger WHERE job_uid = ? AND schedule = ? \
         AND first_time <= ? ORDER BY first_time DESC LIMIT 1";
    let row = query_one(tx, sql, vec![job.uuid().into(), schedule.as_str().into(), time(at)]).await?;
    let found = row.map(|row| {
        let mut cells = Cells::of(&row);
        let (version, first, last) = (cells.next()?, cells.next()?, cells.next()?);
        range(version, first, last, cells.next()?, cells.next()?, &cells.next::<String>()?)
    });
    Ok(found.transpose()?.filter(|range| at <= range.last))
}

/// Makes starts anew, under the same ids, by the definition in force.
pub(super) async fn start_anew(tx: &Tx, known: &Known, now: Instant, job: &Job, plan: Plan) -> StoreResult<Vec<Moved>> {
    let Plan { anew } = plan;
    if anew.is_empty() {
        return Ok(Vec::new());
    }
    let Job { uid, namespace, name, version, spec, .. } = job;
    let lane =
        known.lanes.find(&spec.lane(namespace)).ok_or_else(|| StoreError::Corrupt("a lane has no number".into()))?;
    let ids: Vec<Uuid> = anew.iter().map(|start| start.run.uuid()).collect();
    for piece in super::statement::chunks(&ids) {
        // None of them has had an attempt, so nothing else is known of them.
        let sql = format!("DELETE FROM run WHERE state = 1 AND id IN ({})", places(piece.len()));
        exec(tx, sql, piece.iter().map(|id| (*id).into()).collect()).await?;
    }
    // The definition was held against its payload.
    let keys = spec.keys(&spec.payload).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    let wanted = keys.concurrency.iter().map(|concurrency| (lane.namespace, concurrency));
    let interned = keys::intern(tx, now, wanted).await?;
    let key = keys::number(&interned, lane.namespace, keys.concurrency.as_ref())?;
    let asks = if spec.previous_success { vec![*uid] } else { Vec::new() };
    let successes = successes::last(tx, asks).await?;
    let no_headers = BTreeMap::new();
    let rows = anew.iter().map(|start| {
        let rule = spec.schedules.iter().find(|schedule| schedule.name == start.schedule);
        let spread = rule.map(|rule| rule.due(*uid, start.nominal, rule.next_after(start.nominal)));
        Row {
            id: start.run,
            lane: &lane,
            job: Some((*uid, name, *version)),
            origin: RunOrigin::Schedule,
            instant: Some((&start.schedule, start.nominal)),
            backfill: None,
            late: start.late,
            // What is late already keeps its pace.
            due: spread.filter(|_| !start.late).unwrap_or(start.due),
            buffer: start.buffer,
            by_key: spec.overlaps_by_key(),
            apart: false,
            retry_until: rule.and_then(|rule| spec.retry_until(rule, start.nominal.max(now))),
            zone_data: start.zone_data,
            previous_success: successes.get(uid).copied(),
            plain_end: rule.is_none_or(|rule| rule.delay().is_none()),
            priority: spec.priority,
            fairness_key: &keys.fairness,
            key,
            unique_key: None,
            labels: &spec.labels,
            headers: &no_headers,
            payload: &spec.payload,
            policy: &spec.policy,
            request: None,
            note: "",
            parent: None,
        }
    });
    let moved = insert_runs(tx, known, now, rows.collect()).await?;
    Ok(moved.into_iter().flatten().map(|moved| Moved { from: Some(RunState::Scheduled), ..moved }).collect())
}
