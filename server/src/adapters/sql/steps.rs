//! Steps of runs: load, decide, write.
//!
//! A batch loads the runs it speaks of, takes every event through the engine's transition table in memory, one after the
//! other, and writes the whole [`Lifecycle`] of what changed in as few statements as there are pieces of 64. The two steps
//! that need no look before are in [`super::hot`].
//!
//! A write is guarded by the state, attempt and generation that were loaded, and must hit every row: a row that moved in
//! between would mean that two writers are there, and takes the batch back.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use mainspring_engine::{
    domain::{
        attempt::{AttemptEnd, AttemptKey, AttemptState, LossReason},
        dead::{Death, Fingerprint, Resolution},
        ids::{JobUid, RunId, WorkerId},
        instant::Instant,
        names::{JobName, ScheduleName},
        payload::Payload,
        place::Place,
        policy::RunPolicy,
        run::{Lifecycle, RunState},
        transition::{Context, Event, Refusal, Tell, step},
    },
    ports::store::{Moved, StoreError, StoreResult},
};
use sea_orm::{ConnectionTrait, QueryResult};
use uuid::Uuid;

use super::{
    Known,
    delays::{self, Over},
    dialect::LOCK_RUNS,
    insert::{OUTPUT, keep_inline, spill},
    keys::Keys,
    lanes::KnownLane,
    restricted::Restricted,
    rows::{LIFE, json, life, life_values, maybe, maybe_count, maybe_time, name, place, readable, time},
    statement::{Cells, chunks, exec, insert, query, query_in, tuples},
    told,
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
    /// Where it waits, whenever it does.
    place: Place,
    /// Its concurrency key.
    key_id: Option<i32>,
    /// It waits in no lane, since its key is full.
    pub(super) parked: bool,
    /// The schedule whose next instant follows from its end.
    paces: Option<ScheduleName>,
    /// No retry of it begins then or later.
    retry_until: Option<Instant>,
    /// As it is now.
    pub(super) life: Lifecycle,
    /// What went wrong, once it is dead.
    pub(super) dead: Option<Death>,
    guard: Guard,
    changed: bool,
}

/// What a run was when it was loaded.
#[derive(Clone, Copy, Debug)]
struct Guard {
    state: RunState,
    attempt: i64,
    generation: i64,
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
    unreadable: HashSet<RunId>,
    names: HashMap<JobUid, JobName>,
    deleted: HashSet<JobUid>,
    restricted: Restricted,
    keys: Keys,
    ends: Vec<Ended>,
    outputs: HashMap<RunId, Payload>,
    over: Vec<Over>,
}

/// The columns of [`Loaded::read`], in order.
pub(super) fn columns() -> String {
    format!(
        "id, lane_id, job_uid, job_version, policy, priority, fairness_key, due_time, key_id, parked_key IS NOT NULL, \
         CASE WHEN plain_end THEN NULL ELSE schedule END, retry_until, {LIFE}"
    )
}

impl Loaded {
    /// Reads the columns of [`columns`]: which run it is, and the run, where its row can be what it is. One that cannot is
    /// left alone until a person has looked, and holds up nobody else.
    pub(super) fn read(row: &QueryResult, known: &Known) -> StoreResult<(RunId, Option<Self>)> {
        let mut cells = Cells::of(row);
        let id = RunId::from_uuid(cells.next()?);
        match readable(Self::read_rest(id, &mut cells, known))? {
            Ok(run) => Ok((id, Some(run))),
            Err(why) => {
                tracing::error!(run_id = %id, why, "a run's row cannot be read; the run is skipped");
                Ok((id, None))
            }
        }
    }

    fn read_rest(id: RunId, cells: &mut Cells<'_>, known: &Known) -> StoreResult<Self> {
        let lane = known.lanes.of(cells.next()?)?;
        let job = cells.next::<Option<Uuid>>()?.map(JobUid::from_uuid);
        let job = job.zip(cells.next::<Option<i64>>()?);
        let policy = known.policies.read(cells.next()?)?;
        let place = place(cells)?;
        let (key_id, parked) = (cells.next()?, cells.next()?);
        let paces = cells.next::<Option<String>>()?.map(name).transpose()?;
        let retry_until = maybe(cells.next()?);
        let life = life(cells)?;
        let guard = Guard { state: life.state, attempt: life.attempt, generation: life.generation };
        let (dead, changed) = (None, false);
        Ok(Self { id, lane, job, policy, place, key_id, parked, paces, retry_until, life, dead, guard, changed })
    }

    /// 0 to 9.
    pub(super) fn priority(&self) -> u8 {
        self.place.priority
    }

    /// How it stands once it was let go into its lane, by the name of its job.
    pub(super) fn let_go(&self, job: Option<JobName>) -> Moved {
        let waits = self.moved(self.life.state, job, None);
        Moved { place: Some(self.place.clone()), ..waits }
    }

    /// How it stands now, and stood before.
    fn moved(&self, from: RunState, job: Option<JobName>, tell: Option<Tell>) -> Moved {
        let life = &self.life;
        Moved {
            run: self.id,
            lane: self.lane.lane.clone(),
            job,
            from: Some(from),
            to: life.state,
            generation: life.generation,
            attempt: life.attempt,
            worker: life.worker,
            reason: life.reason.clone().unwrap_or_default(),
            dead: self.dead.clone().map(Box::new),
            wake_time: life.wake_time,
            deadline: life.deadline(&self.policy),
            tell,
            place: (life.state == RunState::Queued && !self.parked).then(|| self.place.clone()),
            let_go: Vec::new(),
        }
    }

    /// Its last attempt.
    pub(super) fn key(&self) -> AttemptKey {
        AttemptKey { run: self.id, attempt: self.life.attempt }
    }
}

impl Steps {
    /// For a batch at `now`.
    pub(super) async fn begin(tx: &Tx, known: &Arc<Known>, now: Instant) -> StoreResult<Self> {
        Ok(Self::with(known, now, Restricted::load(tx, &known.restricted).await?))
    }

    /// For a batch that has looked at the queues already.
    pub(super) fn with(known: &Arc<Known>, now: Instant, restricted: Restricted) -> Self {
        Self {
            known: Arc::clone(known),
            now,
            runs: HashMap::new(),
            unreadable: HashSet::new(),
            names: HashMap::new(),
            deleted: HashSet::new(),
            restricted,
            keys: Keys::default(),
            ends: Vec::new(),
            outputs: HashMap::new(),
            over: Vec::new(),
        }
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
        let mut keys = Vec::new();
        for row in rows {
            match Loaded::read(row, &self.known)? {
                (run, Some(loaded)) => {
                    jobs.extend(loaded.job.map(|(job, _)| job));
                    keys.extend(loaded.key_id);
                    self.runs.entry(run).or_insert(loaded);
                }
                (run, None) => self.skip(run),
            }
        }
        jobs.retain(|job| !self.names.contains_key(job));
        jobs.sort_unstable();
        jobs.dedup();
        let uids: Vec<Uuid> = jobs.iter().map(|job| job.uuid()).collect();
        for row in query_in(connection, "SELECT uid, delete_time FROM job WHERE uid IN", &uids, "").await? {
            let mut cells = Cells::of(&row);
            let uid = JobUid::from_uuid(cells.next()?);
            if cells.next::<Option<i64>>()?.is_some() {
                self.deleted.insert(uid);
            }
        }
        self.names.extend(self.known.names.resolve(connection, jobs).await?);
        self.keys.load(connection, keys).await
    }

    /// A run cannot be read: nothing happens to it in this batch.
    pub(super) fn skip(&mut self, run: RunId) {
        self.runs.remove(&run);
        self.unreadable.insert(run);
    }

    /// Whether a run is there and cannot be read.
    pub(super) fn is_unreadable(&self, run: RunId) -> bool {
        self.unreadable.contains(&run)
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

    /// Whether a run waits, and its queue lets no more be at workers.
    pub(super) fn is_shut_out(&self, run: RunId) -> bool {
        self.runs
            .get(&run)
            .is_some_and(|run| run.life.state == RunState::Queued && self.restricted.is_full(run.lane.queue))
    }

    /// Whether a run's concurrency key lets one more go to a worker. One whose attempt is open holds its place.
    pub(super) fn has_key(&self, run: RunId) -> bool {
        let Some(Loaded { key_id: Some(key), life, .. }) = self.runs.get(&run) else { return true };
        life.open.is_some() || self.keys.has_room(*key, self.now)
    }

    /// A run in its lane for whose key there is no room is found by nobody until there is.
    pub(super) fn park(&mut self, run: RunId) {
        if let Some(run) = self.runs.get_mut(&run) {
            (run.parked, run.changed) = (true, true);
            self.keys.touch(run.key_id);
        }
    }

    /// Whether an attempt ended in this very batch.
    pub(super) fn ended_here(&self, key: AttemptKey) -> bool {
        self.ends.iter().any(|ended| ended.run == key.run && ended.end.attempt == key.attempt)
    }

    /// Keeps what a handler returned, to be written with its run.
    pub(super) fn keep_output(&mut self, run: RunId, output: Payload) {
        self.outputs.insert(run, output);
    }

    /// Takes one event through the table. `None` where there is no such run.
    pub(super) fn apply(&mut self, run: RunId, event: &Event) -> Option<Result<Moved, Refusal>> {
        let loaded = self.runs.get_mut(&run)?;
        let job_deleted = loaded.job.is_some_and(|(job, _)| self.deleted.contains(&job));
        let (policy, rules, now, retry_until) = (&*loaded.policy, &self.known.rules, self.now, loaded.retry_until);
        let context = Context { run, policy, rules, now, retry_until, job_deleted };
        let change = match step(&loaded.life, event, context) {
            Ok(change) => change,
            Err(refusal) => return Some(Err(refusal)),
        };
        let before = std::mem::replace(&mut loaded.life, change.next);
        let after = &loaded.life;
        loaded.changed = true;
        self.restricted.moved(loaded.lane.queue, before.state, after.state);
        if let Some(key) = loaded.key_id {
            self.keys.moved(key, before.open.is_some(), after.open.is_some());
            if before.state == RunState::Queued && after.state == RunState::Leased {
                self.keys.begun(key, self.now);
            }
            if change.end.as_ref().is_some_and(|end| end.state == AttemptState::Returned) {
                self.keys.returned(key, self.now);
            }
            // What comes into its queue has to wait for room, unless it holds some.
            let stays = before.state == RunState::Queued;
            loaded.parked = after.state == RunState::Queued && if stays { loaded.parked } else { after.open.is_none() };
        }
        let job = loaded.job.and_then(|(job, _)| self.names.get(&job).cloned());
        if matches!(after.state, RunState::Failed | RunState::TimedOut) {
            let who = job.as_ref().map_or(loaded.lane.lane.job_type.as_str(), JobName::as_str);
            let reason = after.reason.as_deref().unwrap_or_default();
            // What a handler came back with when it was stopped, or failed with before its worker was lost, is not why.
            let failure = change.end.as_ref().and_then(|end| end.failure.as_ref());
            let why = failure.filter(|failure| failure.reason == reason);
            let message = why.map(|why| why.message.clone()).unwrap_or_default();
            loaded.dead = Some(Death { fingerprint: Fingerprint::of(who, reason, why), message });
        }
        if let Some(end) = change.end {
            // A lease overwrites what is known of the attempt that it ends; a report may tell when its own started.
            let (worker, lease_time) = (before.worker, before.lease_time);
            self.ends.push(Ended { run, worker, lease_time, start_time: before.start_time.or(after.start_time), end });
        }
        let moved = loaded.moved(before.state, job, change.tell);
        if let (Some(schedule), Some((job, _))) = (&loaded.paces, loaded.job)
            && loaded.life.state.is_terminal()
        {
            self.over.push((job, schedule.clone(), run));
            return Some(Ok(Moved { wake_time: Some(self.now), ..moved }));
        }
        Some(Ok(moved))
    }

    /// Takes an event to runs of one owner, by id, until it has changed `limit` of them; with whether there are more. `sql`
    /// finds them by their owner, the id before them and how many. One that nothing happens to, since it cannot be read, is
    /// passed over, so that whoever goes on while there are more comes to an end.
    pub(super) async fn apply_to(
        &mut self,
        tx: &Tx,
        sql: &str,
        owner: Uuid,
        event: &Event,
        limit: usize,
    ) -> StoreResult<(Vec<Moved>, bool)> {
        let asked = limit.saturating_add(1);
        let most = i64::try_from(asked).unwrap_or(i64::MAX);
        let mut after = Uuid::nil();
        let mut moved = Vec::new();
        loop {
            let rows = query(tx, sql, vec![owner.into(), after.into(), most.into()]).await?;
            self.take(tx, &rows).await?;
            for row in &rows {
                if moved.len() == limit {
                    return Ok((moved, true));
                }
                after = Cells::of(row).next()?;
                moved.extend(self.apply(RunId::from_uuid(after), event).and_then(Result::ok));
            }
            if rows.len() < asked {
                return Ok((moved, false));
            }
        }
    }

    /// Writes everything that changed; which runs wait in their lanes from now on, since there is room under their keys.
    pub(super) async fn save(self, tx: &Tx) -> StoreResult<Vec<Moved>> {
        let (known, now) = (Arc::clone(&self.known), self.now);
        self.write(tx).await?.save(tx, &known, now).await
    }

    /// Writes everything that changed, where that is leases, by which there is room under no key.
    pub(super) async fn save_leases(self, tx: &Tx) -> StoreResult<()> {
        let (known, now) = (Arc::clone(&self.known), self.now);
        self.write(tx).await?.save_leases(tx, &known, now).await
    }

    /// Writes everything but the keys.
    async fn write(mut self, tx: &Tx) -> StoreResult<Keys> {
        let changed: Vec<_> = self.runs.values().filter(|run| run.changed).collect();
        write_whole(tx, &changed).await?;
        for (run, output) in &self.outputs {
            write_output(tx, *run, output).await?;
        }
        write_ends(tx, self.now, std::mem::take(&mut self.ends)).await?;
        delays::go_on(tx, &self.known, self.now, self.over).await?;
        if self.known.sinks.may() {
            let name = |run: &Loaded| run.job.and_then(|(job, _)| self.names.get(&job));
            let notices = changed.iter().flat_map(|run| told::of_run(self.now, run, name(run))).collect();
            told::tell(tx, &self.known, self.now, notices).await?;
        }
        self.restricted.save(tx).await?;
        Ok(self.keys)
    }
}

/// Every row that was read must have been hit.
pub(super) fn all_hit(hit: u64, runs: usize) -> StoreResult<()> {
    if hit == runs as u64 {
        Ok(())
    } else {
        Err(StoreError::Conflict(format!("{hit} of {runs} runs were hit, the others moved meanwhile")))
    }
}

/// Keeps what a handler returned: beside its run where it is large.
async fn write_output(tx: &Tx, run: RunId, output: &Payload) -> StoreResult<()> {
    let Payload { content_type, data } = output;
    let inline = keep_inline(data);
    let (cell, elsewhere) = if inline { (Some(data.clone()), 0) } else { (None, OUTPUT) };
    let sql = "UPDATE run SET output_type = ?, output = ?, spilled = spilled + ? WHERE id = ?";
    exec(tx, sql, vec![content_type.clone().into(), cell.into(), elsewhere.into(), run.uuid().into()]).await?;
    if inline { Ok(()) } else { spill(tx, run, OUTPUT, data).await }
}

async fn write_whole(tx: &Tx, runs: &[&Loaded]) -> StoreResult<()> {
    for piece in chunks(runs) {
        let mut values = Vec::with_capacity(32 * piece.len());
        for run in piece {
            let Guard { state, attempt, generation } = run.guard;
            values.extend([run.id.uuid().into(), state.code().into(), attempt.into(), generation.into()]);
            values.extend(life_values(&run.life));
            let waits = run.life.state == RunState::Queued;
            values.push((waits && !run.parked).then_some(run.lane.id).into());
            values.push(run.key_id.filter(|_| waits && run.parked).into());
            values.push(maybe_time(run.life.deadline(&run.policy)));
            let dead = matches!(run.life.state, RunState::Failed | RunState::TimedOut);
            values.push(maybe_time(run.life.end_time.filter(|_| dead)));
            values.push(run.dead.as_ref().map(|dead| String::from(dead.fingerprint)).into());
            values.push(run.dead.as_ref().map(|_| Resolution::Open.code()).into());
        }
        all_hit(exec(tx, whole_sql(piece.len()), values).await?, piece.len())?;
    }
    Ok(())
}

/// Writes `count` lifecycles.
pub(super) fn whole_sql(count: usize) -> String {
    format!(
        "WITH t(id, was_state, was_attempt, was_generation, state, attempt, open_token, decided_token, worker_id, \
         generation, cancel_requested, stop_timeout, stop_deadline, failures, losses, returns, reason, queue_time, \
         lease_time, start_time, end_time, wake_time, buffer, cancel_time, cancel_reason, log_lines, ready_lane, \
         parked_key, deadline_time, dead_time, fingerprint, resolution) AS (VALUES {}) UPDATE run SET state = t.state, attempt = t.attempt, open_token = t.open_token, \
         decided_token = t.decided_token, worker_id = t.worker_id, generation = t.generation, \
         cancel_requested = t.cancel_requested, stop_timeout = t.stop_timeout, stop_deadline = t.stop_deadline, \
         failures = t.failures, losses = t.losses, returns = t.returns, reason = t.reason, queue_time = t.queue_time, \
         lease_time = t.lease_time, start_time = t.start_time, end_time = t.end_time, wake_time = t.wake_time, \
         buffer = t.buffer, cancel_time = t.cancel_time, cancel_reason = t.cancel_reason, log_lines = t.log_lines, \
         ready_lane = t.ready_lane, parked_key = t.parked_key, deadline_time = t.deadline_time, dead_time = t.dead_time, \
         fingerprint = t.fingerprint, resolution = t.resolution FROM t \
         WHERE run.id = t.id AND run.state = t.was_state AND run.attempt = t.was_attempt \
         AND run.generation = t.was_generation",
        tuples(count, 32)
    )
}

async fn write_ends(tx: &Tx, now: Instant, ends: Vec<Ended>) -> StoreResult<()> {
    let mut rows = Vec::with_capacity(ends.len());
    for Ended { run, worker, lease_time, start_time, end } in ends {
        let AttemptEnd { attempt, state, reported, cause, failure, log_lines } = end;
        rows.push([
            run.uuid().into(),
            attempt.into(),
            state.code().into(),
            reported.into(),
            cause.map_or("", LossReason::name).into(),
            failure.as_ref().map(json).transpose()?.into(),
            worker.map(WorkerId::uuid).into(),
            maybe_time(lease_time),
            maybe_time(start_time),
            time(now),
            maybe_count(log_lines),
        ]);
    }
    let into = "attempt_end (run_id, attempt, state, reported, cause, failure, worker_id, lease_time, start_time, \
         end_time, log_lines)";
    insert(tx, into, rows, "").await.map(drop)
}
