//! Firing: what a server evaluated becomes runs, ledger entries and cursors, all in one transaction.
//!
//! The evaluation came from a read that may be old by now. So the epoch of the shard, and cursor, version and pause of each
//! schedule are compared again here; a firing whose schedule has moved does nothing at all. What depends on other rows,
//! namely whether the instant has a run already and whether a run of the job is not over, is decided here and only here.

use std::collections::{HashMap, HashSet};

use mainspring_engine::{
    domain::{
        fire::{Entry, Evaluation},
        ids::{JobUid, RunId},
        instant::Instant,
        job::{JobState, OnCompleted},
        ledger::{Fate, FateReason, Range, append_where},
        names::{Lane, NamespaceName, ScheduleName},
        notice::Notice,
        overlap::{Admitted, Buffer, Standing},
        run::RunOrigin,
        schedule::ScheduleSpec,
    },
    ports::store::{DueSchedule, Fired, Firing, ShardLease, StoreError, StoreResult},
};
use uuid::Uuid;

use super::{
    Known,
    due::{SHARD, still_at},
    insert::{Row, insert_runs},
    jobs::{ScheduleRow, base_state, insert_ledger, schedules, write_schedules},
    keys,
    rows::{maybe_time, time},
    skipped::{self, Taken},
    standings::{SlotOf, standings},
    statement::{Cells, chunks, exec, query, query_in, query_one, single, tuples},
    successes, told,
    writer::Tx,
};

/// The lane of a schedule's runs.
pub(super) fn lane(due: &DueSchedule) -> Lane {
    due.spec.lane(&due.namespace)
}

/// Everything a batch of firings decides on.
struct Firings {
    schedules: HashMap<(JobUid, ScheduleName), (ScheduleRow, Instant)>,
    states: HashMap<JobUid, JobState>,
    slots: HashMap<SlotOf, Standing>,
    namespaces: HashMap<NamespaceName, i32>,
    /// The zone data that each firing was evaluated by.
    zones: Vec<Option<i32>>,
    successes: HashMap<JobUid, Instant>,
    instants: HashSet<(JobUid, Instant)>,
    changed: HashSet<(JobUid, ScheduleName)>,
    closed: Vec<(JobUid, ScheduleName, Range)>,
    completed: Vec<(JobUid, OnCompleted)>,
    skipped: Vec<Taken>,
    /// Instants that were missed for good, by the place of their firing.
    lost: Vec<(usize, Range)>,
}

/// A run that a firing makes.
#[derive(Clone, Copy)]
struct Made {
    id: RunId,
    nominal: Instant,
    due: Instant,
    late: bool,
    buffer: Option<Buffer>,
    plain_end: bool,
    retry_until: Option<Instant>,
    previous_success: Option<Instant>,
    zone_data: Option<i32>,
}

pub(super) async fn fire(
    tx: &Tx,
    known: &Known,
    now: Instant,
    shard: ShardLease,
    firings: &[Firing],
) -> StoreResult<Vec<Fired>> {
    let epoch = query_one(tx, "SELECT epoch FROM shard WHERE id = ?", vec![SHARD.into()]).await?;
    if epoch.map(|row| single::<i64>(&row)).transpose()? != Some(shard.epoch) {
        return Ok(firings.iter().map(|_| Fired::NotOwner).collect());
    }
    if firings.iter().any(|firing| runs_named(firing).count() > firing.run_ids.len()) {
        return Err(StoreError::Corrupt("a firing has fewer ids than runs".into()));
    }
    let mut around = Firings::read(tx, known, firings).await?;
    // Per firing: how many runs it made and whether its job is over; nothing where it was overtaken.
    let mut decided = Vec::with_capacity(firings.len());
    let mut made = Vec::new();
    for (place, firing) in firings.iter().enumerate() {
        let Some(runs) = around.decide(place, firing, now) else {
            decided.push(None);
            continue;
        };
        decided.push(Some((runs.len(), around.complete(&firing.due))));
        made.extend(runs.into_iter().map(|run| (&firing.due, run)));
    }
    let lanes = made
        .iter()
        .map(|(due, _)| known.lanes.find(&lane(due)).ok_or_else(|| StoreError::Corrupt("a lane has no number".into())))
        .collect::<StoreResult<Vec<_>>>()?;
    let wanted = made.iter().zip(&lanes);
    let wanted = wanted.filter_map(|((due, _), lane)| Some((lane.namespace, due.keys.concurrency.as_ref()?)));
    let interned = keys::intern(tx, now, wanted).await?;
    let numbers = made
        .iter()
        .zip(&lanes)
        .map(|((due, _), lane)| keys::number(&interned, lane.namespace, due.keys.concurrency.as_ref()))
        .collect::<StoreResult<Vec<_>>>()?;
    let no_headers = std::collections::BTreeMap::new();
    let rows = made.iter().zip(&lanes).zip(&numbers).map(|(((due, run), lane), key)| Row {
        id: run.id,
        lane,
        job: Some((due.job, &due.job_name, due.position.version)),
        origin: RunOrigin::Schedule,
        instant: Some((&due.schedule, run.nominal)),
        backfill: None,
        late: run.late,
        due: run.due,
        buffer: run.buffer,
        by_key: due.spec.overlaps_by_key(),
        apart: false,
        plain_end: run.plain_end,
        retry_until: run.retry_until,
        previous_success: run.previous_success,
        zone_data: run.zone_data,
        priority: due.spec.priority,
        fairness_key: &due.keys.fairness,
        key: *key,
        unique_key: None,
        labels: &due.spec.labels,
        headers: &no_headers,
        payload: &due.spec.payload,
        policy: &due.spec.policy,
        request: None,
        note: "",
        parent: None,
    });
    let mut moved = insert_runs(tx, known, now, rows.collect()).await?.into_iter();
    told::tell(tx, known, now, around.lost(now, firings)).await?;
    around.save(tx, now).await?;
    let answers = decided.into_iter().map(|decided| match decided {
        // Ids are made for one evaluation, which commits once: each of them is new.
        Some((runs, completed)) => Fired::Done { runs: moved.by_ref().take(runs).flatten().collect(), completed },
        None => Fired::Overtaken,
    });
    Ok(answers.collect())
}

/// The instants of a firing that may become runs.
fn runs_named(firing: &Firing) -> impl Iterator<Item = (JobUid, Instant)> {
    firing.evaluation.entries.iter().filter_map(|entry| match entry {
        Entry::Run { nominal, .. } => Some((firing.due.job, *nominal)),
        Entry::Fate(_) => None,
    })
}

impl Firings {
    async fn read(tx: &Tx, known: &Known, firings: &[Firing]) -> StoreResult<Self> {
        let mut jobs: Vec<Uuid> = firings.iter().map(|firing| firing.due.job.uuid()).collect();
        jobs.sort_unstable();
        jobs.dedup();
        let rows = schedules(tx, &jobs).await?;
        let mut states = HashMap::new();
        for row in query_in(tx, "SELECT uid, state FROM job WHERE uid IN", &jobs, "").await? {
            let mut cells = Cells::of(&row);
            states.insert(JobUid::from_uuid(cells.next()?), base_state(&mut cells)?);
        }
        let mut namespaces = HashMap::new();
        for DueSchedule { namespace, .. } in firings.iter().map(|firing| &firing.due) {
            namespaces.extend(known.lanes.namespace(namespace).map(|number| (namespace.clone(), number)));
        }
        let asked = firings.iter().map(|firing| (slot_of(&namespaces, &firing.due), firing.due.spec.overlap));
        let slots = standings(tx, asked).await?;
        let asks = firings.iter().filter(|firing| firing.due.spec.previous_success).map(|firing| firing.due.job);
        let successes = successes::last(tx, asks.collect()).await?;
        let named: Vec<_> = firings.iter().flat_map(runs_named).collect();
        Ok(Self {
            schedules: rows.into_iter().map(|row| ((row.job, row.name.clone()), (row.clone(), row.cursor))).collect(),
            states,
            slots: slots.into_iter().map(|(of, (standing, _))| (of, standing)).collect(),
            namespaces,
            zones: firings.iter().map(|firing| known.zones.number(&firing.due.zones)).collect(),
            successes,
            instants: fired(tx, &named).await?,
            changed: HashSet::new(),
            closed: Vec::new(),
            completed: Vec::new(),
            skipped: Vec::new(),
            lost: Vec::new(),
        })
    }

    /// What one firing comes to; none where its schedule has moved.
    fn decide(&mut self, place: usize, firing: &Firing, now: Instant) -> Option<Vec<Made>> {
        let Firing { due, evaluation, run_ids } = firing;
        let key = (due.job, due.schedule.clone());
        // A job that was deleted has no schedules.
        let row = &self.schedules.get(&key)?.0;
        if !still_at(row, &due.position) || self.zones[place].is_none() || row.zone_data != self.zones[place] {
            return None;
        }
        let zone_data = row.zone_data;
        let mut ids = run_ids.iter();
        let mut runs = Vec::new();
        let mut ranges = Vec::new();
        let Evaluation { cursor, next, entries, skipped } = evaluation;
        let (mut cursor, mut next) = (*cursor, *next);
        let schedule = due.spec.schedules.iter().find(|schedule| schedule.name == due.schedule);
        let is_done = |made: u64| schedule.is_some_and(|schedule| schedule.is_done(made));
        let mut made = due.position.made;
        let delayed = schedule.filter(|schedule| schedule.delay().is_some());
        let mut open_run = None;
        for entry in entries {
            let range = match entry {
                Entry::Fate(range) => range.clone(),
                Entry::Run { nominal, due: at, late } => {
                    let id = ids.next().copied()?;
                    let (fate, reason, buffer) = self.fate(due, *nominal);
                    if fate == Fate::Fired {
                        made += 1;
                        self.instants.insert((due.job, *nominal));
                        let (nominal, due_at, late, plain_end) = (*nominal, *at, *late, delayed.is_none());
                        let previous_success = self.successes.get(&due.job).copied();
                        let retry_until = schedule.and_then(|of| due.spec.retry_until(of, nominal.max(now)));
                        runs.push(Made {
                            id,
                            nominal,
                            due: due_at,
                            late,
                            buffer,
                            plain_end,
                            retry_until,
                            previous_success,
                            zone_data,
                        });
                    }
                    if let Some(schedule) = delayed {
                        (cursor, next, open_run) = goes_on(schedule, fate, (id, *nominal, made), now);
                    }
                    Range::one(due.position.version, *nominal, fate, reason)
                }
            };
            let last = range.last;
            if range.is_lost() {
                self.lost.push((place, range.clone()));
            }
            ranges.push(range);
            // What comes after its last run is none of its instants.
            if made > due.position.made && is_done(made) {
                (cursor, next, open_run) = (last, None, None);
                break;
            }
        }
        let skipped = skipped.iter().filter(|walls| walls.change <= cursor);
        self.skipped.extend(skipped.map(|walls| (key.0, key.1.clone(), due.position.version, *walls)));
        let (row, _) = self.schedules.get_mut(&key)?;
        let follows = |last, next| schedule.is_none_or(|schedule| schedule.follows(last, next));
        let (open, closed) = append_where(row.open.take(), ranges, follows);
        (row.open, row.cursor, row.next, row.made, row.open_run) = (open, cursor, next, made, open_run);
        self.closed.extend(closed.into_iter().map(|range| (key.0, key.1.clone(), range)));
        self.changed.insert(key);
        Some(runs)
    }

    /// What becomes of an instant that would be a run, and how the run waits, if it does.
    fn fate(&mut self, due: &DueSchedule, nominal: Instant) -> (Fate, Option<FateReason>, Option<Buffer>) {
        if self.instants.contains(&(due.job, nominal)) {
            return (Fate::United, None, None);
        }
        let standing = self.slots.entry(slot_of(&self.namespaces, due)).or_default();
        let admitted = due.spec.overlap.admit(*standing);
        standing.and(admitted);
        match admitted {
            Admitted::Run => (Fate::Fired, None, None),
            Admitted::Buffer(buffer) => (Fate::Fired, None, Some(buffer)),
            Admitted::Busy => (Fate::SkippedOverlap, None, None),
            Admitted::Full => (Fate::Dropped, Some(FateReason::BufferFull), None),
        }
    }

    /// What there is to tell of instants that were missed for good.
    fn lost(&mut self, now: Instant, firings: &[Firing]) -> Vec<Notice> {
        let told = self.lost.drain(..).map(|(place, range)| {
            let DueSchedule { namespace, job_name, schedule, .. } = &firings[place].due;
            told::of_range(now, namespace, job_name, schedule, range)
        });
        told.collect()
    }

    /// Whether a job has just had its last instant.
    fn complete(&mut self, due: &DueSchedule) -> bool {
        let job = due.job;
        let mut rows = self.schedules.iter().filter(|((of, _), _)| *of == job);
        let over = rows.all(|(_, (row, _))| row.next.is_none() && row.open_run.is_none());
        let ends = over && self.states.get(&job) == Some(&JobState::Active);
        if ends {
            self.states.insert(job, JobState::Completed);
            self.completed.push((job, due.spec.on_completed));
        }
        ends
    }

    async fn save(mut self, tx: &Tx, now: Instant) -> StoreResult<()> {
        let changed: Vec<_> = self.changed.iter().filter_map(|key| self.schedules.remove(key)).collect();
        let written = write_schedules(tx, &changed).await?;
        if written != changed.len() as u64 {
            return Err(StoreError::Conflict("a schedule moved while it was fired".into()));
        }
        insert_ledger(tx, self.closed).await?;
        if !self.skipped.is_empty() {
            skipped::keep(tx, self.skipped).await?;
        }
        for (job, then) in self.completed {
            let expires = maybe_time(then.delete_time(now));
            let values = vec![JobState::Completed.code().into(), expires, time(now), job.uuid().into()];
            let sql =
                "UPDATE job SET state = ?, expire_time = ?, revision = revision + 1, update_time = ? WHERE uid = ?";
            exec(tx, sql, values).await?;
        }
        Ok(())
    }
}

/// The slot that runs of a schedule meet.
fn slot_of(namespaces: &HashMap<NamespaceName, i32>, due: &DueSchedule) -> SlotOf {
    let concurrency = due.keys.concurrency.as_ref().filter(|_| due.spec.overlaps_by_key());
    match concurrency.zip(namespaces.get(&due.namespace)) {
        Some((concurrency, namespace)) => SlotOf::key(*namespace, &concurrency.key),
        None => SlotOf::Job(due.job),
    }
}

/// Where a schedule that counts from ends stands after an instant with this fate: cursor, next, and whose end it waits for.
fn goes_on(
    schedule: &ScheduleSpec,
    fate: Fate,
    (run, nominal, made): (RunId, Instant, u64),
    now: Instant,
) -> (Instant, Option<Instant>, Option<RunId>) {
    if fate == Fate::Fired {
        return (nominal, None, Some(run));
    }
    // What was in its way may be there for long: it is looked for again a delay later, and not for each that passed.
    let next = schedule.next_due(nominal, made).filter(|next| *next > now);
    let cursor = if next.is_some() { nominal } else { nominal.max(now) };
    (cursor, schedule.next_due(cursor, made), None)
}

/// Which of these instants have a run.
async fn fired(tx: &Tx, named: &[(JobUid, Instant)]) -> StoreResult<HashSet<(JobUid, Instant)>> {
    let mut found = HashSet::new();
    for piece in chunks(named) {
        let values = piece.iter().flat_map(|(job, at)| [job.uuid().into(), time(*at)]).collect();
        for row in query(tx, instants_sql(piece.len()), values).await? {
            let mut cells = Cells::of(&row);
            found.insert((JobUid::from_uuid(cells.next()?), Instant::from_micros(cells.next()?)));
        }
    }
    Ok(found)
}

/// Which of `count` instants have a run.
pub(super) fn instants_sql(count: usize) -> String {
    format!(
        "WITH t(job_uid, nominal_time) AS (VALUES {}) SELECT t.job_uid, t.nominal_time FROM t CROSS JOIN run \
         ON run.job_uid = t.job_uid AND run.nominal_time = t.nominal_time WHERE run.origin = 1",
        tuples(count, 2)
    )
}
