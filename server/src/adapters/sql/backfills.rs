//! The [`Backfills`] role: instants that have passed, and the runs that are made of them.
//!
//! A step is guarded by the cursor it was read at, and counts in its own transaction how many runs of the backfill are under
//! way; so there are never more than it may have, and no instant has two runs of it, whoever else is at it. What became of its
//! runs is counted by their rows, which retention leaves alone until the backfill is over, and kept from then on.

pub(super) mod read;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use async_trait::async_trait;
use mainspring_engine::{
    domain::{
        backfill::{
            Backfill, BackfillSpec, BackfillState, Beside, Had, MOST_OPEN, Named, RunCounts,
            template::{About, Template},
        },
        ids::{BackfillId, JobUid, RunId},
        instant::Instant,
        job::JobSpec,
        names::{ConcurrencyKey, Lane, Scope},
        payload::Payload,
        run::RunOrigin,
        transition::Event,
    },
    ports::store::{
        Advanced, BackfillStep, Backfills, CancelBackfill, CreateBackfill, EndedRuns, Moved, NewBackfill, OpenBackfill,
        StoreError, StoreResult,
    },
};
use sea_orm::Value;
use uuid::Uuid;

use super::{
    Known, SqliteStore,
    insert::{Row, insert_runs},
    keys,
    lanes::Bound,
    rows::{json, readable, time},
    statement::{Cells, exec, insert, query, query_one, single},
    steps::{Steps, columns},
    submit::{REQUESTS, made, request_cells},
    successes,
    writer::Tx,
};

use read::{COLUMNS, count, counts, had_runs, one, open, read_all, under_way};

/// Backfills that are not over.
pub(super) const OPEN: &str = "SELECT id FROM backfill WHERE end_time IS NULL ORDER BY id";

/// Whether a run of the job is not over that others wait for, and is none of a backfill's.
pub(super) const OTHERS: &str = "SELECT EXISTS (SELECT 1 FROM run WHERE job_uid = ? AND end_time IS NULL AND NOT apart \
     AND (backfill_id IS NULL OR backfill_id <> ?))";

/// The same of the runs of a concurrency key, whatever their jobs.
pub(super) const OTHERS_OF_KEY: &str = "SELECT EXISTS (SELECT 1 FROM run WHERE key_id = ? AND end_time IS NULL AND NOT apart \
     AND (backfill_id IS NULL OR backfill_id <> ?))";

/// Runs of a backfill that are not over behind one: at no worker, or at one and not asked to stop.
pub(super) fn ending_sql(at_workers: bool) -> String {
    let which = if at_workers { "state IN (3, 4) AND NOT cancel_requested" } else { "state IN (1, 2, 5)" };
    format!(
        "SELECT {} FROM run WHERE backfill_id = ? AND end_time IS NULL AND id > ? AND {which} ORDER BY id LIMIT ?",
        columns()
    )
}

#[async_trait]
impl Backfills for SqliteStore {
    async fn create_backfill(&self, now: Instant, backfill: NewBackfill) -> StoreResult<CreateBackfill> {
        let namespace = self.ensure_namespace(&backfill.scope.0).await?;
        let known = Arc::clone(&self.known);
        self.write(move |tx| Box::pin(async move { create(tx, &known, now, namespace, backfill).await })).await
    }

    async fn backfill(&self, scope: &Scope, id: BackfillId) -> StoreResult<Option<Backfill>> {
        Ok(one(&self.reads, &self.known, id).await?.filter(|backfill| backfill.namespace == scope.0))
    }

    async fn backfills(
        &self,
        scope: &Scope,
        job: Option<JobUid>,
        before: Option<BackfillId>,
        limit: usize,
    ) -> StoreResult<Vec<Backfill>> {
        let Some(namespace) = self.known.lanes.namespace(&scope.0) else { return Ok(Vec::new()) };
        let before = before.map_or(Uuid::max(), BackfillId::uuid);
        let mut values: Vec<Value> = vec![namespace.into(), before.into()];
        let of_job = if job.is_some() { "AND job_uid = ?" } else { "" };
        values.extend(job.map(|job| Value::from(job.uuid())));
        values.push(i64::try_from(limit).unwrap_or(i64::MAX).into());
        let sql = format!(
            "SELECT {COLUMNS} FROM backfill WHERE namespace_id = ? AND id < ? {of_job} ORDER BY id DESC LIMIT ?"
        );
        let rows = query(&self.reads, sql, values).await?;
        let mut found = read_all(&self.reads, &self.known, &rows).await?;
        for backfill in found.iter_mut().filter(|backfill| backfill.end_time.is_none()) {
            backfill.runs = counts(&self.reads, backfill.id).await?;
        }
        Ok(found)
    }

    async fn had_runs(&self, job: JobUid, instants: &[Instant]) -> StoreResult<HashMap<Instant, Had>> {
        had_runs(&self.reads, job, instants).await
    }

    async fn open_backfills(&self) -> StoreResult<Vec<OpenBackfill>> {
        let mut found = Vec::new();
        for row in query(&self.stage_reads, OPEN, Vec::new()).await? {
            let id = BackfillId::from_uuid(single(&row)?);
            match readable(open(&self.stage_reads, &self.known, id).await)? {
                Ok(open) => found.extend(open),
                Err(why) => tracing::error!(backfill = %id, why, "a backfill cannot be read, and is passed over"),
            }
        }
        Ok(found)
    }

    async fn advance_backfill(&self, now: Instant, step: BackfillStep) -> StoreResult<Advanced> {
        if !step.instants.is_empty() {
            self.ensure_lanes(now, lane(&step).iter(), Bound::Lifted).await?;
        }
        let known = Arc::clone(&self.known);
        self.write(move |tx| Box::pin(async move { advance(tx, &known, now, &step).await })).await
    }

    async fn cancel_backfill(
        &self,
        _now: Instant,
        scope: &Scope,
        id: BackfillId,
        cancel: CancelBackfill,
    ) -> StoreResult<Option<Backfill>> {
        let Some(namespace) = self.known.lanes.namespace(&scope.0) else { return Ok(None) };
        let known = Arc::clone(&self.known);
        self.write(move |tx| {
            Box::pin(async move {
                let CancelBackfill { note, workers } = cancel;
                let sql = "UPDATE backfill SET state = 3, cancel_note = coalesce(cancel_note, ?), \
                     cancel_workers = cancel_workers OR ? WHERE id = ? AND namespace_id = ? AND state IN (1, 3)";
                exec(tx, sql, vec![note.into(), workers.into(), id.uuid().into(), namespace.into()]).await?;
                let found = one(tx, &known, id).await?;
                Ok(found.filter(|found| known.lanes.namespace(&found.namespace) == Some(namespace)))
            })
        })
        .await
    }

    async fn end_backfill(&self, now: Instant, id: BackfillId, limit: usize) -> StoreResult<EndedRuns> {
        let known = Arc::clone(&self.known);
        self.write(move |tx| Box::pin(async move { end(tx, &known, now, id, limit).await })).await
    }
}

/// The lane of a backfill's runs.
fn lane(step: &BackfillStep) -> Option<Lane> {
    Some(step.open.definition.as_deref()?.lane(&step.open.backfill.namespace))
}

async fn create(
    tx: &Tx,
    known: &Known,
    now: Instant,
    namespace: i32,
    backfill: NewBackfill,
) -> StoreResult<CreateBackfill> {
    let NewBackfill { scope: _, id, job, version, spec, request } = backfill;
    let there = async |id| {
        let there = one(tx, known, id).await?;
        there.map(Box::new).ok_or_else(|| StoreError::Corrupt(format!("backfill {id} is gone")))
    };
    let request = request.map(|request| ((namespace, request.call, request.id), request.body));
    if let Some((key, body)) = &request
        && let Some(made) = made(tx, std::slice::from_ref(key)).await?.get(key)
    {
        return match made.body == *body {
            true => there(BackfillId::from_uuid(made.target)).await.map(CreateBackfill::Replayed),
            false => Ok(CreateBackfill::RequestReused),
        };
    }
    // The same id is the same call, tried again after an unknown commit.
    if let Some(there) = one(tx, known, id).await? {
        return Ok(CreateBackfill::Replayed(Box::new(there)));
    }
    let sql = "SELECT EXISTS (SELECT 1 FROM job WHERE uid = ? AND delete_time IS NULL), \
         (SELECT count(*) FROM backfill WHERE end_time IS NULL AND namespace_id = ?)";
    let row = query_one(tx, sql, vec![job.uuid().into(), namespace.into()]).await?;
    let row = row.ok_or_else(|| StoreError::Corrupt("a question has no answer".into()))?;
    let mut cells = Cells::of(&row);
    if !cells.next::<bool>()? {
        return Ok(CreateBackfill::JobGone);
    }
    if count(cells.next()?)? >= MOST_OPEN as u64 {
        return Ok(CreateBackfill::Full);
    }
    let payload = spec.template.as_ref().map(Template::payload);
    let values = [
        id.uuid().into(),
        namespace.into(),
        job.uuid().into(),
        version.into(),
        json(&spec)?.into(),
        payload.map(|payload| payload.content_type.clone()).into(),
        payload.map(|payload| payload.data.clone()).into(),
        BackfillState::Running.code().into(),
        time(spec.begin()),
        time(now),
    ];
    let into = "backfill (id, namespace_id, job_uid, job_version, spec, payload_type, payload, state, cursor_time, \
         create_time)";
    insert(tx, into, vec![values], "").await?;
    if let Some((key, body)) = request {
        insert(tx, REQUESTS, vec![request_cells(now, &key, body, id.uuid())], "").await?;
    }
    there(id).await.map(CreateBackfill::Created)
}

/// What a step comes to.
struct Taken<'a> {
    runs: Vec<(&'a Named, RunId)>,
    cursor: Instant,
    skipped: u64,
    /// Every instant of the step is dealt with.
    all: bool,
}

async fn advance(tx: &Tx, known: &Known, now: Instant, step: &BackfillStep) -> StoreResult<Advanced> {
    let BackfillStep { open: OpenBackfill { backfill, .. }, instants, all, run_ids } = step;
    let sql = "SELECT backfill.state, backfill.cursor_time, job.pause_time IS NOT NULL FROM backfill \
         JOIN job ON job.uid = backfill.job_uid WHERE backfill.id = ? AND job.delete_time IS NULL";
    let Some(row) = query_one(tx, sql, vec![backfill.id.uuid().into()]).await? else { return Ok(Advanced::Overtaken) };
    let mut cells = Cells::of(&row);
    let state = cells.parse("a backfill's state", |code: &i32| BackfillState::from_code(*code))?;
    let (cursor, is_paused) = (Instant::from_micros(cells.next()?), cells.next::<bool>()?);
    if state != BackfillState::Running || cursor != backfill.cursor {
        return Ok(Advanced::Overtaken);
    }
    if run_ids.len() < instants.len() {
        return Err(StoreError::Corrupt("a backfill's step has fewer ids than instants".into()));
    }
    let mut moved = Vec::new();
    let mut again = false;
    if !is_paused || backfill.spec.while_paused {
        let taken = take(tx, known, step).await?;
        let is_through = backfill.is_through || (*all && taken.all);
        again = !instants.is_empty() && taken.all && !is_through;
        moved = insert_taken(tx, known, now, step, &taken).await?;
        let sql =
            "UPDATE backfill SET cursor_time = ?, is_through = ?, made = made + ?, skipped = skipped + ? WHERE id = ?";
        let made = i64::try_from(taken.runs.len()).unwrap_or(i64::MAX);
        let skipped = i64::try_from(taken.skipped).unwrap_or(i64::MAX);
        let id = backfill.id.uuid().into();
        if !instants.is_empty() || is_through != backfill.is_through {
            exec(tx, sql, vec![time(taken.cursor), is_through.into(), made.into(), skipped.into(), id]).await?;
        }
    }
    let over = finish(tx, now, backfill.id).await?;
    Ok(Advanced::Done { runs: moved, again, over })
}

/// Decides on the instants of a step, in order, until there is no room for one that is to become a run.
async fn take<'a>(tx: &Tx, known: &Known, step: &'a BackfillStep) -> StoreResult<Taken<'a>> {
    let BackfillStep { open: OpenBackfill { backfill, .. }, instants, all: _, run_ids } = step;
    let (id, spec) = (backfill.id, &backfill.spec);
    let mut taken = Taken { runs: Vec::new(), cursor: backfill.cursor, skipped: 0, all: true };
    if instants.is_empty() {
        return Ok(taken);
    }
    let mut room = u64::from(spec.concurrency.get()).saturating_sub(under_way(tx, id).await?);
    // Whether somebody has the slot, asked once for each.
    let mut held = HashMap::new();
    let at: Vec<Instant> = instants.iter().map(|named| named.at).collect();
    let had = had_runs(tx, backfill.job, &at).await?;
    for (named, run) in instants.iter().zip(run_ids) {
        if spec.only.makes(had.get(&named.at).copied().unwrap_or_default()) {
            let waits = room > 0 && spec.beside == Beside::Wait && {
                let slot = slot(&step.open, named)?;
                match held.get(&slot) {
                    Some(is_held) => *is_held,
                    None => {
                        let is_held = others(tx, known, &step.open, slot.as_ref()).await?;
                        held.insert(slot, is_held);
                        is_held
                    }
                }
            };
            if room == 0 || waits {
                taken.all = false;
                break;
            }
            room -= 1;
            taken.runs.push((named, *run));
        } else {
            taken.skipped += 1;
        }
        taken.cursor = named.at;
    }
    Ok(taken)
}

/// The key whose slot the run of an instant is to have; none where it is that of the job.
fn slot(open: &OpenBackfill, named: &Named) -> StoreResult<Option<ConcurrencyKey>> {
    let definition = open.definition.as_deref().filter(|definition| definition.overlaps_by_key());
    let Some(definition) = definition else { return Ok(None) };
    let payload = payload(open.backfill.id, &open.backfill.spec, definition, named);
    let keys = definition.keys(payload.as_ref().unwrap_or(&definition.payload));
    // The template was held against the payloads when the backfill began.
    Ok(keys.map_err(|error| StoreError::Corrupt(error.to_string()))?.concurrency.map(|concurrency| concurrency.key))
}

/// Whether somebody else has a slot that runs of a backfill are to have, or waits for it.
async fn others(tx: &Tx, known: &Known, open: &OpenBackfill, key: Option<&ConcurrencyKey>) -> StoreResult<bool> {
    let Backfill { id, job, namespace, .. } = &open.backfill;
    let (sql, of): (_, Value) = match key.and_then(|key| Some((known.lanes.namespace(namespace)?, key))) {
        None => (OTHERS, job.uuid().into()),
        Some((namespace, key)) => {
            let numbers = keys::numbers(tx, &[(namespace, key.clone())]).await?;
            // A key that is new has no run yet.
            let Some(number) = numbers.into_values().next() else { return Ok(false) };
            (OTHERS_OF_KEY, number.into())
        }
    };
    let row = query_one(tx, sql, vec![of, id.uuid().into()]).await?;
    Ok(row.map(|row| single::<bool>(&row)).transpose()? != Some(false))
}

async fn insert_taken(
    tx: &Tx,
    known: &Known,
    now: Instant,
    step: &BackfillStep,
    taken: &Taken<'_>,
) -> StoreResult<Vec<Moved>> {
    let (Some(lane), Some(definition)) = (lane(step), &step.open.definition) else { return Ok(Vec::new()) };
    if taken.runs.is_empty() {
        return Ok(Vec::new());
    }
    let Backfill { id, job, job_name, version, spec, .. } = &step.open.backfill;
    let lane = known.lanes.find(&lane).ok_or_else(|| StoreError::Corrupt("a lane has no number".into()))?;
    let payloads: Vec<Option<Payload>> =
        taken.runs.iter().map(|(named, _)| payload(*id, spec, definition, named)).collect();
    let mut successes = HashMap::new();
    if definition.previous_success {
        for (named, run) in &taken.runs {
            successes.insert(*run, successes::before(tx, *job, named.at).await?);
        }
    }
    let keys = payloads
        .iter()
        // The template was held against them when the backfill began.
        .map(|payload| definition.keys(payload.as_ref().unwrap_or(&definition.payload)))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| StoreError::Corrupt(error.to_string()))?;
    let wanted = keys.iter().filter_map(|keys| Some((lane.namespace, keys.concurrency.as_ref()?)));
    let interned = keys::intern(tx, now, wanted).await?;
    let numbers = keys
        .iter()
        .map(|keys| keys::number(&interned, lane.namespace, keys.concurrency.as_ref()))
        .collect::<StoreResult<Vec<_>>>()?;
    let no_headers = BTreeMap::new();
    let each = taken.runs.iter().zip(&payloads).zip(keys.iter().zip(&numbers));
    let rows = each.map(|(((named, run), payload), (keys, key))| Row {
        id: *run,
        lane: &lane,
        job: Some((*job, job_name, *version)),
        origin: RunOrigin::Backfill,
        instant: Some((&named.schedule, named.at)),
        backfill: Some(*id),
        late: false,
        due: now,
        buffer: None,
        by_key: definition.overlaps_by_key(),
        apart: spec.beside == Beside::Allow,
        plain_end: true,
        retry_until: None,
        previous_success: successes.get(run).copied().flatten(),
        zone_data: Some(known.zones.current().id),
        priority: spec.priority,
        fairness_key: &keys.fairness,
        key: *key,
        unique_key: None,
        labels: &definition.labels,
        headers: &no_headers,
        payload: payload.as_ref().unwrap_or(&definition.payload),
        policy: &definition.policy,
        request: None,
        note: &spec.note,
        parent: None,
    });
    let moved = insert_runs(tx, known, now, rows.collect()).await?;
    Ok(moved.into_iter().flatten().collect())
}

/// What the run of an instant gets, where it is not the job's payload.
fn payload(id: BackfillId, spec: &BackfillSpec, definition: &JobSpec, named: &Named) -> Option<Payload> {
    let rule = definition.schedules.iter().find(|schedule| schedule.name == named.schedule)?;
    let about = About { nominal: named.at, zone: &rule.zone, backfill: id };
    Some(spec.template.as_ref()?.fill(about))
}

async fn end(tx: &Tx, known: &Arc<Known>, now: Instant, id: BackfillId, limit: usize) -> StoreResult<EndedRuns> {
    let sql = "SELECT cancel_workers, cancel_note FROM backfill WHERE id = ? AND state = 3";
    let Some(row) = query_one(tx, sql, vec![id.uuid().into()]).await? else {
        return Ok(EndedRuns { runs: Vec::new(), more: false, over: false });
    };
    let mut cells = Cells::of(&row);
    let (workers, note) = (cells.next::<bool>()?, cells.next::<Option<String>>()?.unwrap_or_default());
    let reason = if note.is_empty() { "the backfill was cancelled".to_owned() } else { note };
    let event = Event::Cancel { reason, grace: None };
    let mut steps = Steps::begin(tx, known, now).await?;
    let (mut moved, mut more) = steps.apply_to(tx, &ending_sql(false), id.uuid(), &event, limit).await?;
    if workers && !more {
        let left = limit.saturating_sub(moved.len());
        let (stopped, others) = steps.apply_to(tx, &ending_sql(true), id.uuid(), &event, left).await?;
        moved.extend(stopped);
        more = others;
    }
    let free = steps.save(tx).await?;
    keys::tell(&mut moved, free);
    let over = !more && finish(tx, now, id).await?;
    Ok(EndedRuns { runs: moved, more, over })
}

/// Says that a backfill is over, if nothing is left and all its runs are, and keeps what became of them; whether it is.
async fn finish(tx: &Tx, now: Instant, id: BackfillId) -> StoreResult<bool> {
    let sql = "SELECT state FROM backfill WHERE id = ? AND end_time IS NULL AND (state = 3 OR is_through)";
    let Some(row) = query_one(tx, sql, vec![id.uuid().into()]).await? else { return Ok(false) };
    if under_way(tx, id).await? > 0 {
        return Ok(false);
    }
    let state = Cells::of(&row).parse("a backfill's state", |code: &i32| BackfillState::from_code(*code))?;
    let over = match state {
        BackfillState::Running | BackfillState::Completed => BackfillState::Completed,
        BackfillState::Cancelling | BackfillState::Cancelled => BackfillState::Cancelled,
    };
    let RunCounts { open: _, succeeded, failed, cancelled } = counts(tx, id).await?;
    let mut values = vec![over.code().into(), time(now)];
    values.extend([succeeded, failed, cancelled].map(|count| i64::try_from(count).unwrap_or(i64::MAX).into()));
    values.push(id.uuid().into());
    let sql = "UPDATE backfill SET state = ?, end_time = ?, succeeded = ?, failed = ?, cancelled = ? WHERE id = ?";
    exec(tx, sql, values).await?;
    Ok(true)
}

/// The backfills of a job make no more runs, since it is deleted.
pub(super) async fn cancel_of_job(tx: &Tx, job: JobUid, workers: bool) -> StoreResult<()> {
    let sql = "UPDATE backfill SET state = 3, cancel_note = 'the job was deleted', cancel_workers = ? \
         WHERE job_uid = ? AND state = 1 AND end_time IS NULL";
    exec(tx, sql, vec![workers.into(), job.uuid().into()]).await.map(drop)
}
