//! The [`Catalog`] role: jobs and queues as people change them.

use std::{collections::HashSet, sync::Arc};

use async_trait::async_trait;
use mainspring_engine::{
    domain::{
        catch_up::Mode,
        ids::JobUid,
        instant::Instant,
        job::{Job, JobSpec, JobState, Pause},
        names::{JobName, NamespaceName, QueueName, Scope},
        schedule::ScheduleSpec,
        stop::Running,
        supersede::Pending,
    },
    ports::store::{
        Catalog, CreateJob, JobChange, JobVersion, NewJob, QueueChange, QueueSettings, Quota, Resume, StoreError,
        StoreResult, Undelete, UpdateJob,
    },
};
use sea_orm::{ConnectionTrait, Value};
use uuid::Uuid;

use super::{
    Known, SqliteStore, backfills, calendars,
    failing::failing,
    jobs::{ScheduleRow, insert_ledger, insert_schedules, jobs, schedules, write_schedules},
    lanes::{Bound, intern_queue},
    lapsed::{self, By},
    pauses,
    pending::{drop_starts, start_anew},
    rows::{json, maybe_time, time},
    skipped,
    statement::{Cells, exec, insert, query_one, single},
    submit::{REQUESTS, made, request_cells},
    told, versions,
    writer::Tx,
    zones::{Numbered, keep_files},
};

#[async_trait]
impl Catalog for SqliteStore {
    async fn create_job(&self, now: Instant, job: NewJob) -> StoreResult<CreateJob> {
        let namespace = self.ensure_namespace(&job.scope.0).await?;
        let full = self.full(now, &job.scope.0, &job.spec).await?;
        let known = Arc::clone(&self.known);
        self.write(move |tx| Box::pin(async move { create(tx, &known, now, namespace, job, full).await })).await
    }

    async fn job_by_uid(&self, scope: &Scope, uid: JobUid) -> StoreResult<Option<Job>> {
        let found = jobs(&self.reads, &self.known, "job.uid = ?", vec![uid.uuid().into()]).await?.pop();
        Ok(found.filter(|job| job.namespace == scope.0))
    }

    async fn job(&self, scope: &Scope, name: &JobName) -> StoreResult<Option<Job>> {
        let Some(namespace) = self.known.lanes.namespace(&scope.0) else { return Ok(None) };
        Ok(jobs(&self.reads, &self.known, NAMED, named(namespace, name)).await?.pop())
    }

    async fn deleted_job(&self, scope: &Scope, name: &JobName) -> StoreResult<Option<(Job, Instant)>> {
        let Some(namespace) = self.known.lanes.namespace(&scope.0) else { return Ok(None) };
        let Some(row) = query_one(&self.reads, DELETED, named(namespace, name)).await? else { return Ok(None) };
        let mut cells = Cells::of(&row);
        let (uid, time): (Uuid, i64) = (cells.next()?, cells.next()?);
        let job = jobs(&self.reads, &self.known, "job.uid = ?", vec![uid.into()]).await?.pop();
        Ok(job.map(|job| (job, Instant::from_micros(time))))
    }

    async fn undelete_job(&self, now: Instant, scope: &Scope, name: &JobName) -> StoreResult<Undelete> {
        if self.job(scope, name).await?.is_some() {
            return Ok(Undelete::NameTaken);
        }
        let Some((job, _)) = self.deleted_job(scope, name).await? else { return Ok(Undelete::Missing) };
        if let Some(quota) = self.full(now, &scope.0, &job.spec).await? {
            return Ok(Undelete::Full(quota));
        }
        let Some(namespace) = self.known.lanes.namespace(&scope.0) else { return Ok(Undelete::Missing) };
        let (known, name) = (Arc::clone(&self.known), name.clone());
        self.write(move |tx| Box::pin(async move { versions::undelete(tx, &known, now, namespace, &name).await })).await
    }

    async fn job_version(&self, job: JobUid, version: i64) -> StoreResult<Option<JobSpec>> {
        versions::one(&self.reads, &self.known, job, version).await
    }

    async fn job_versions(&self, job: JobUid, before: Option<i64>, limit: usize) -> StoreResult<Vec<JobVersion>> {
        versions::list(&self.reads, &self.known, job, before, limit).await
    }

    async fn update_job(&self, now: Instant, update: UpdateJob) -> StoreResult<JobChange> {
        let UpdateJob { scope, name, revision, spec, pending, actor } = update;
        let full = self.full(now, &scope.0, &spec).await?;
        let what = What::Define(Box::new(spec), pending, full);
        self.change(Change { actor, ..Change::new(now, (&scope, &name), Some(revision), what) }).await
    }

    async fn pause_job(&self, now: Instant, scope: &Scope, name: &JobName, pause: Pause) -> StoreResult<JobChange> {
        self.change(Change::new(now, (scope, name), None, What::Pause(pause))).await
    }

    async fn is_failing(&self, now: Instant, scope: &Scope, name: &JobName) -> StoreResult<bool> {
        let Some(job) = self.job(scope, name).await? else { return Ok(false) };
        Ok(failing(&self.stage_reads, now, &job).await?.is_some())
    }

    async fn disable_job(&self, now: Instant, scope: &Scope, name: &JobName) -> StoreResult<JobChange> {
        self.change(Change::new(now, (scope, name), None, What::Disable)).await
    }

    async fn resume_job(&self, now: Instant, scope: &Scope, name: &JobName, resume: Resume) -> StoreResult<JobChange> {
        self.change(Change::new(now, (scope, name), None, What::Resume(resume))).await
    }

    async fn pauses_over(&self, now: Instant, limit: usize) -> StoreResult<Vec<(Scope, JobName)>> {
        pauses::over(&self.stage_reads, &self.known, now, limit).await
    }

    async fn next_end(&self, after: Instant) -> StoreResult<Option<Instant>> {
        pauses::next_end(&self.stage_reads, after).await
    }

    async fn expired_jobs(&self, now: Instant, limit: usize) -> StoreResult<Vec<(Scope, JobName, i64)>> {
        pauses::expired(&self.stage_reads, &self.known, now, limit).await
    }

    async fn delete_job(
        &self,
        now: Instant,
        scope: &Scope,
        name: &JobName,
        revision: Option<i64>,
        running: Running,
        actor: &str,
    ) -> StoreResult<JobChange> {
        let change = Change::new(now, (scope, name), revision, What::Delete(running));
        self.change(Change { actor: actor.to_owned(), ..change }).await
    }

    async fn update_queue(
        &self,
        _now: Instant,
        scope: &Scope,
        queue: &QueueName,
        settings: QueueSettings,
    ) -> StoreResult<QueueChange> {
        if settings.validate_only {
            let Some(namespace) = self.known.lanes.namespace(&scope.0) else { return Ok(QueueChange::Missing) };
            let there = queue_revision(&self.reads, namespace, queue).await?;
            return Ok(refuses(&settings, there).unwrap_or(QueueChange::Done));
        }
        let namespace = self.ensure_namespace(&scope.0).await?;
        let queue = queue.clone();
        let known = Arc::clone(&self.known);
        self.write(move |tx| {
            Box::pin(async move {
                known.restricted.may_be();
                update_queue(tx, namespace, &queue, settings).await
            })
        })
        .await
    }
}

/// A change of one job.
struct Change {
    now: Instant,
    scope: NamespaceName,
    name: JobName,
    revision: Option<i64>,
    what: What,
    /// Who defines or deletes; empty where nobody does it by hand.
    actor: String,
}

impl Change {
    fn new(now: Instant, (scope, name): (&Scope, &JobName), revision: Option<i64>, what: What) -> Self {
        Self { now, scope: scope.0.clone(), name: name.clone(), revision, what, actor: String::new() }
    }
}

enum What {
    /// With what there are too many of, where its lane is refused.
    Define(Box<JobSpec>, Pending, Option<Quota>),
    Pause(Pause),
    /// If its runs fail so.
    Disable,
    Resume(Resume),
    Delete(Running),
}

impl SqliteStore {
    /// Sees to it that a definition's lane has a number, or says why it cannot: what a schedule will fire into is refused
    /// before, and not when it is due.
    async fn full(&self, now: Instant, namespace: &NamespaceName, spec: &JobSpec) -> StoreResult<Option<Quota>> {
        let refused = self.ensure_lanes(now, [&spec.lane(namespace)], Bound::Kept).await?;
        Ok(refused.into_values().next())
    }

    async fn change(&self, change: Change) -> StoreResult<JobChange> {
        let Some(namespace) = self.known.lanes.namespace(&change.scope) else { return Ok(JobChange::Missing) };
        let known = Arc::clone(&self.known);
        self.write(move |tx| Box::pin(async move { apply(tx, &known, namespace, change).await })).await
    }
}

pub(super) const NAMED: &str = "job.namespace_id = ? AND job.name = ? AND job.delete_time IS NULL";

/// The one of a name that was deleted last, and when.
pub(super) const DELETED: &str = "SELECT uid, delete_time FROM job WHERE namespace_id = ? AND name = ? \
     AND delete_time IS NOT NULL ORDER BY delete_time DESC LIMIT 1";

pub(super) fn named(namespace: i32, name: &JobName) -> Vec<Value> {
    vec![namespace.into(), name.as_str().into()]
}

/// A job that this transaction has just read or written.
pub(super) async fn by_uid(tx: &Tx, known: &Known, uid: JobUid) -> StoreResult<Job> {
    let found = jobs(tx, known, "job.uid = ?", vec![uid.uuid().into()]).await?.pop();
    found.ok_or_else(|| StoreError::Corrupt(format!("job {uid} is gone")))
}

async fn create(
    tx: &Tx,
    known: &Known,
    now: Instant,
    namespace: i32,
    job: NewJob,
    full: Option<Quota>,
) -> StoreResult<CreateJob> {
    let NewJob { scope: _, uid, name, mut spec, request } = job;
    let request = request.map(|request| ((namespace, request.call, request.id), request.body));
    if let Some((key, body)) = &request
        && let Some(made) = made(tx, std::slice::from_ref(key)).await?.get(key)
    {
        return match made.body == *body {
            true => by_uid(tx, known, JobUid::from_uuid(made.target)).await.map(CreateJob::Replayed),
            false => Ok(CreateJob::RequestReused),
        };
    }
    if let Some(there) = jobs(tx, known, NAMED, named(namespace, &name)).await?.pop() {
        // The same uid is the same call, tried again after an unknown commit.
        return Ok(if there.uid == uid { CreateJob::Replayed(there) } else { CreateJob::NameTaken });
    }
    if let Some(quota) = full {
        return Ok(CreateJob::Full(quota));
    }
    calendars::pin(tx, &mut spec).await?;
    let zones = known.zones.current();
    spec.count_with(&zones.zones);
    let values = [
        uid.uuid().into(),
        namespace.into(),
        name.as_str().into(),
        1.into(),
        1.into(),
        JobState::Active.code().into(),
        spec.job_type.as_str().into(),
        spec.queue.as_str().into(),
        spec.owner.clone().into(),
        time(now),
        time(now),
    ];
    let into =
        "job (uid, namespace_id, name, version, revision, state, job_type, queue, owner, create_time, update_time)";
    insert(tx, into, vec![values], "").await?;
    insert_version(tx, now, uid, 1, (&spec, &zones)).await?;
    calendars::note_use(tx, uid, None, &spec).await?;
    insert_schedules(tx, &fresh(uid, 1, None, now, (&spec, zones.id))).await?;
    if let Some((key, body)) = request {
        insert(tx, REQUESTS, vec![request_cells(now, &key, body, uid.uuid())], "").await?;
    }
    by_uid(tx, known, uid).await.map(CreateJob::Created)
}

async fn insert_version(
    tx: &Tx,
    now: Instant,
    uid: JobUid,
    version: i64,
    (spec, zones): (&JobSpec, &Numbered),
) -> StoreResult<()> {
    let values = [
        uid.uuid().into(),
        version.into(),
        json(spec)?.into(),
        spec.payload.content_type.clone().into(),
        spec.payload.data.clone().into(),
        time(now),
    ];
    let into = "job_version (job_uid, version, spec, payload_type, payload, create_time)";
    insert(tx, into, vec![values], "").await?;
    keep_files(tx, zones, spec).await?;
    calendars::note_pins(tx, uid, spec).await
}

/// Schedules of a definition that begin at `now`.
pub(super) fn fresh(
    job: JobUid,
    version: i64,
    pause: Option<&Pause>,
    now: Instant,
    (spec, zone_data): (&JobSpec, i32),
) -> Vec<ScheduleRow> {
    let row = |schedule: &ScheduleSpec| ScheduleRow {
        job,
        name: schedule.name.clone(),
        version,
        paused: pause.is_some(),
        pause_until: pause.and_then(|pause| pause.until),
        resumed: None,
        cursor: schedule.begin(now, spec.catch_up),
        next: schedule.next_after(schedule.begin(now, spec.catch_up)),
        made: 0,
        zone_data: Some(zone_data),
        open_run: None,
        open: None,
    };
    spec.schedules.iter().map(row).collect()
}

async fn apply(tx: &Tx, known: &Arc<Known>, namespace: i32, change: Change) -> StoreResult<JobChange> {
    let Change { now, scope: _, name, revision, what, actor } = change;
    let by = By { now, actor: &actor };
    let Some(job) = jobs(tx, known, NAMED, named(namespace, &name)).await?.pop() else {
        return Ok(JobChange::Missing);
    };
    if revision.is_some_and(|revision| revision != job.revision) {
        return Ok(JobChange::RevisionMismatch);
    }
    let same = match &what {
        What::Define(spec, ..) => **spec == job.spec,
        What::Resume(Resume::Asked(_)) => job.pause.is_none(),
        What::Resume(Resume::TimeOver) => {
            job.pause.as_ref().is_none_or(|pause| pause.until.is_none_or(|until| until > now))
        }
        What::Disable => failing(tx, now, &job).await?.is_none(),
        What::Pause(_) | What::Delete(_) => false,
    };
    if same {
        return Ok(JobChange::Unchanged(job));
    }
    let mut rows = schedules(tx, &[job.uid.uuid()]).await?;
    if rows.iter().any(|row| row.next.is_some_and(|next| next <= now)) {
        return Ok(JobChange::Unsettled);
    }
    if let What::Define(_, _, None) | What::Delete(_) = &what {
        skipped::keep_rest(tx, now, &job, &rows).await?;
    }
    match what {
        What::Define(_, _, Some(quota)) => return Ok(JobChange::Full(quota)),
        What::Define(mut spec, pending, None) => {
            calendars::pin(tx, &mut spec).await?;
            let zones = known.zones.current();
            spec.count_with(&zones.zones);
            let (mut moved, plan) = drop_starts(tx, known, now, &job, &mut rows, (pending, &spec)).await?;
            define(tx, by, &job, rows, (&spec, &zones)).await?;
            let before = job.state;
            let job = by_uid(tx, known, job.uid).await?;
            told::broken(tx, known, now, before, &job).await?;
            moved.extend(start_anew(tx, known, now, &job, plan).await?);
            return Ok(if moved.is_empty() { JobChange::Done(job) } else { JobChange::DoneWith(job, moved) });
        }
        What::Pause(pause) => pauses::set(tx, now, &job, Some(pause), false).await?,
        What::Disable => {
            let pause = job.spec.auto_disable.pause(now);
            told::disabled(tx, known, now, &job, &pause).await?;
            pauses::set(tx, now, &job, Some(pause), true).await?;
        }
        What::Resume(resume) => {
            pauses::set(tx, now, &job, None, false).await?;
            if let Resume::Asked(mode @ (Mode::Latest | Mode::All)) = resume {
                pauses::catch_up(tx, now, &job, rows, mode).await?;
            }
        }
        What::Delete(running) => {
            lapsed::deleted(tx, by, &job, &rows).await?;
            delete(tx, now, &job, rows, running).await?;
            return Ok(JobChange::Done(job));
        }
    }
    by_uid(tx, known, job.uid).await.map(JobChange::Done)
}

pub(super) async fn define(
    tx: &Tx,
    by: By<'_>,
    job: &Job,
    rows: Vec<ScheduleRow>,
    (spec, zones): (&JobSpec, &Numbered),
) -> StoreResult<()> {
    let now = by.now;
    let version = job.version + 1;
    insert_version(tx, now, job.uid, version, (spec, zones)).await?;
    calendars::note_use(tx, job.uid, Some(&job.spec), spec).await?;
    let mut wanted = fresh(job.uid, version, job.pause.as_ref(), now, (spec, zones.id));
    for (row, schedule) in wanted.iter_mut().zip(&spec.schedules) {
        if let Some(old) = rows.iter().find(|old| old.name == row.name) {
            let was = job.spec.schedules.iter().find(|was| was.name == row.name);
            let settled = settled(tx, old, now).await?;
            go_on(row, &settled, (was, schedule), now);
        }
    }
    // One whose calendars leave nothing of it, or of whose zone there are no data, never fires, whatever its rule names. What the
    // rule names under the first is left out instant by instant, as ever; of the second nobody can say what it is.
    let mut broken = false;
    for (row, schedule) in wanted.iter_mut().zip(&spec.schedules) {
        if schedule.is_done(row.made) {
            continue;
        }
        if !schedule.is_known() {
            (row.next, broken) = (None, true);
        } else if schedule.is_starved(row.cursor) {
            broken = true;
        }
    }
    lapsed::replaced(tx, by, job, &rows, (spec, &wanted)).await?;
    // One whose last instant has passed has nothing to be active for, whatever else of it is edited.
    let over = !wanted.is_empty() && wanted.iter().all(|row| row.next.is_none() && row.open_run.is_none());
    let over = over && !broken;
    let state = match (broken, over) {
        (true, _) => JobState::Error,
        (false, true) => JobState::Completed,
        (false, false) => JobState::Active,
    };
    let expires = if over { spec.on_completed.delete_time(now) } else { None };
    // What is over already and was brought back stays: no edit of something else deletes it again.
    let stays_over = over && spec.on_completed == job.spec.on_completed;
    let values = vec![
        version.into(),
        state.code().into(),
        stays_over.into(),
        JobState::Completed.code().into(),
        maybe_time(expires),
        spec.job_type.as_str().into(),
        spec.queue.as_str().into(),
        spec.owner.clone().into(),
        time(now),
        job.uid.uuid().into(),
    ];
    let sql = "UPDATE job SET version = ?, revision = revision + 1, state = ?, \
         expire_time = CASE WHEN ? AND state = ? AND expire_time IS NULL THEN NULL ELSE ? END, job_type = ?, queue = ?, owner = ?, \
         update_time = ? WHERE uid = ?";
    exec(tx, sql, values).await?;
    let names: HashSet<_> = wanted.iter().map(|row| row.name.clone()).collect();
    let (kept, gone): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| names.contains(&row.name));
    close(tx, gone).await?;
    let mut changed = Vec::new();
    let mut added = Vec::new();
    for row in wanted {
        match kept.iter().find(|old| old.name == row.name) {
            Some(old) => changed.push((row, old.cursor)),
            None => added.push(row),
        }
    }
    write_schedules(tx, &changed).await?;
    insert_schedules(tx, &added).await
}

/// A schedule whose cursor is in the future, where other zone data put it past what had come already: by another rule, what
/// has a fate is behind it and nothing else.
async fn settled(tx: &Tx, old: &ScheduleRow, now: Instant) -> StoreResult<ScheduleRow> {
    if old.cursor <= now {
        return Ok(old.clone());
    }
    let last = match &old.open {
        Some(open) => Some(open.last),
        None => {
            let sql =
                "SELECT last_time FROM ledger WHERE job_uid = ? AND schedule = ? ORDER BY first_time DESC LIMIT 1";
            let row = query_one(tx, sql, vec![old.job.uuid().into(), old.name.as_str().into()]).await?;
            row.map(|row| single(&row)).transpose()?.map(Instant::from_micros)
        }
    };
    Ok(ScheduleRow { cursor: last.map_or(now, |last| last.max(now)), ..old.clone() })
}

/// A new rule goes on from where the old one of its name stands.
fn go_on(
    row: &mut ScheduleRow,
    old: &ScheduleRow,
    (was, schedule): (Option<&ScheduleSpec>, &ScheduleSpec),
    now: Instant,
) {
    // Nothing of the old rule is open before now, and nothing of the new one counts before it: but for a one-shot that is
    // late, which has no fate as long as the last that has one came before it.
    let is_late = row.next.filter(|next| *next <= now);
    let is_new = is_late.is_some_and(|at| old.open.as_ref().is_none_or(|open| open.last < at));
    if !is_new {
        row.cursor = old.cursor.max(now);
    }
    if schedule.delay().is_some() {
        row.open_run = old.open_run.filter(|_| !schedule.is_done(old.made));
        // Where the delay is the same, so is what it is counted from.
        if was.is_some_and(|was| was.delay() == schedule.delay() && was.start == schedule.start) {
            row.cursor = old.cursor;
        }
    }
    row.next = schedule.next_due(row.cursor, old.made).filter(|_| row.open_run.is_none());
    (row.made, row.open) = (old.made, old.open.clone());
}

/// Takes schedules out; what became of their instants is kept.
async fn close(tx: &Tx, rows: Vec<ScheduleRow>) -> StoreResult<()> {
    for row in &rows {
        let values = vec![row.job.uuid().into(), row.name.as_str().into()];
        exec(tx, "DELETE FROM schedule WHERE job_uid = ? AND name = ?", values).await?;
    }
    let ranges = rows.into_iter().filter_map(|row| Some((row.job, row.name, row.open?)));
    insert_ledger(tx, ranges.collect()).await
}

async fn delete(tx: &Tx, now: Instant, job: &Job, rows: Vec<ScheduleRow>, running: Running) -> StoreResult<()> {
    let values = vec![time(now), running.code().into(), time(now), job.uid.uuid().into()];
    let sql = "UPDATE job SET revision = revision + 1, delete_time = ?, half_deleted = TRUE, delete_stop = ?, \
         update_time = ? WHERE uid = ?";
    exec(tx, sql, values).await?;
    backfills::cancel_of_job(tx, job.uid, running != Running::Detach).await?;
    close(tx, rows).await
}

async fn queue_revision<C: ConnectionTrait>(
    connection: &C,
    namespace: i32,
    queue: &QueueName,
) -> StoreResult<Option<i64>> {
    let sql = "SELECT revision FROM queue WHERE namespace_id = ? AND name = ?";
    let row = query_one(connection, sql, vec![namespace.into(), queue.as_str().into()]).await?;
    row.map(|row| single(&row)).transpose()
}

/// Why settings are not for a queue of this revision.
fn refuses(settings: &QueueSettings, there: Option<i64>) -> Option<QueueChange> {
    match (there, settings.revision) {
        (None, _) if !settings.allow_missing => Some(QueueChange::Missing),
        (there, Some(revision)) if there != Some(revision) => Some(QueueChange::RevisionMismatch),
        (_, None | Some(_)) => None,
    }
}

async fn update_queue(tx: &Tx, namespace: i32, queue: &QueueName, settings: QueueSettings) -> StoreResult<QueueChange> {
    let there = queue_revision(tx, namespace, queue).await?;
    if let Some(refused) = refuses(&settings, there) {
        return Ok(refused);
    }
    let QueueSettings { paused, concurrency_limit, rate, revision: _, allow_missing: _, validate_only: _ } = settings;
    let id = match intern_queue(tx, namespace, queue, Bound::Kept).await? {
        Ok(id) => id,
        Err(quota) => return Ok(QueueChange::Full(quota)),
    };
    if let Some((paused, note)) = paused {
        exec(tx, "UPDATE queue SET paused = ?, note = ? WHERE id = ?", vec![paused.into(), note.into(), id.into()])
            .await?;
    }
    if let Some(limit) = concurrency_limit {
        // A queue without a limit has no counter; the first limit counts what is at workers now.
        let sql = "UPDATE queue SET concurrency_limit = ?, in_flight = CASE WHEN ? = 0 THEN 0 WHEN concurrency_limit > 0 \
             THEN in_flight ELSE (SELECT count(*) FROM run WHERE open_token IS NOT NULL AND state IN (3, 4) \
             AND lane_id IN (SELECT lane.id FROM lane WHERE lane.queue_id = queue.id)) END WHERE id = ?";
        let limit = i64::from(limit);
        exec(tx, sql, vec![limit.into(), limit.into(), id.into()]).await?;
    }
    if let Some(rate) = rate {
        let sql = "UPDATE queue SET rate_count = ?, rate_per = ?, rate_burst = ? WHERE id = ?";
        let per = rate.map(|rate| i64::try_from(rate.per.as_micros()).unwrap_or(i64::MAX));
        let (count, burst) = (rate.map(|rate| rate.count.get()), rate.map(|rate| rate.burst.get()));
        exec(tx, sql, vec![count.map(i64::from).into(), per.into(), burst.map(i64::from).into(), id.into()]).await?;
    }
    if there.is_some() {
        exec(tx, "UPDATE queue SET revision = revision + 1 WHERE id = ?", vec![id.into()]).await?;
    }
    Ok(QueueChange::Done)
}
