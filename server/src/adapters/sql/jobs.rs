//! Jobs, their definitions and their schedules as rows.

use std::{
    collections::HashMap,
    hash::{Hash as _, Hasher as _},
    sync::Arc,
};

use mainspring_cron::Zones;
use mainspring_engine::{
    domain::{
        catch_up::Mode,
        fire::{PauseEnd, Position, Resumed},
        ids::{JobUid, RunId},
        instant::Instant,
        job::{Job, JobError, JobSpec, JobState, Pause},
        ledger::{Fate, FateReason, Range},
        names::ScheduleName,
        payload::Payload,
        schedule::ScheduleSpec,
    },
    ports::store::{StoreError, StoreResult},
};
use parking_lot::Mutex;
use sea_orm::{ConnectionTrait, QueryResult, Value};
use uuid::Uuid;

use super::{
    Known, calendars,
    rows::{maybe, maybe_time, name, read_json, readable, time},
    salvage::salvaged,
    statement::{Cells, chunks, exec, insert, query, query_in, tuples},
    writer::Tx,
    zones::Numbered,
};

/// So many definitions are remembered; then the memory starts anew.
const REMEMBERED: usize = 2_000;

/// Definitions that were read lately: a version that is stored never changes, and a text is long to parse.
///
/// A version is one by its text as well as by its number: one that a transaction has read of itself may be rolled back,
/// and its number be given to another.
#[derive(Debug, Default)]
pub(super) struct Specs {
    read: Mutex<HashMap<(JobUid, i64), Read>>,
}

/// A definition, and what its text was told by.
type Read = (u64, Arc<JobSpec>);

/// A definition without its payload.
const BARE_SPEC: &str = "job_version.spec";

/// The columns of [`Specs::read`], in order.
pub(super) const SPEC: &str = "job_version.job_uid, job_version.version, job_version.spec, job_version.payload_type, \
     job_version.payload";

impl Specs {
    /// Reads the columns of [`SPEC`], to count with these zone data.
    pub(super) fn read(&self, cells: &mut Cells<'_>, zones: &Numbered) -> StoreResult<Arc<JobSpec>> {
        let key = (JobUid::from_uuid(cells.next()?), cells.next()?);
        let text: String = cells.next()?;
        let payload = Payload { content_type: cells.next()?, data: cells.next()? };
        let print = fingerprint(&text, &payload, zones.id);
        if let Some((known, spec)) = self.read.lock().get(&key)
            && *known == print
        {
            return Ok(Arc::clone(spec));
        }
        let spec = Arc::new(JobSpec { payload, ..read_spec(&text, &zones.zones)? });
        let mut known = self.read.lock();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(key, (print, Arc::clone(&spec)));
        Ok(spec)
    }
}

impl Specs {
    /// The calendars of a definition were read.
    pub(super) fn filled(&self, job: JobUid, version: i64, (before, spec): (&Arc<JobSpec>, &Arc<JobSpec>)) {
        if let Some((_, known)) = self.read.lock().get_mut(&(job, version))
            // What was read anew in between may count with other zone data.
            && Arc::ptr_eq(known, before)
        {
            *known = Arc::clone(spec);
        }
    }
}

/// A definition without its payload, and without what its calendars hold, that counts with these zone data.
pub(super) fn read_spec(text: &str, zones: &Zones) -> StoreResult<JobSpec> {
    let mut spec: JobSpec = read_json(text)?;
    spec.count_with(zones);
    Ok(spec)
}

/// Tells two texts of one version apart, and what was read by other zone data. Lives in memory only, so any good hash will do.
fn fingerprint(text: &str, payload: &Payload, zones: i32) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    (text, &payload.content_type, &payload.data, zones).hash(&mut hasher);
    hasher.finish()
}

/// A job as its row has it: its state apart from a pause.
pub(super) fn base_state(cells: &mut Cells<'_>) -> StoreResult<JobState> {
    cells.parse("a job's state", |code: &i32| JobState::from_code(*code))
}

/// How definitions are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// With their payloads; of what cannot be read, what there is.
    Whole,
    /// The same, without their payloads.
    Bare,
    /// With their payloads, or not at all.
    Sound,
}

/// Jobs with their definition in force; `rest` follows `WHERE`. One whose definition cannot be read has what can be read of
/// it, and is in ERROR.
pub(super) async fn jobs<C: ConnectionTrait>(
    connection: &C,
    known: &Known,
    rest: &str,
    values: Vec<Value>,
) -> StoreResult<Vec<Job>> {
    read_jobs(connection, known, Reading::Whole, rest, values).await
}

/// Jobs as [`jobs`] has them, without their payloads.
pub(super) async fn bare_jobs<C: ConnectionTrait>(
    connection: &C,
    known: &Known,
    rest: &str,
    values: Vec<Value>,
) -> StoreResult<Vec<Job>> {
    read_jobs(connection, known, Reading::Bare, rest, values).await
}

/// A job as [`jobs`] has it, whose definition can be read.
pub(super) async fn sound_job<C: ConnectionTrait>(connection: &C, known: &Known, uid: JobUid) -> StoreResult<Job> {
    let found = read_jobs(connection, known, Reading::Sound, "job.uid = ?", vec![uid.uuid().into()]).await?.pop();
    found.ok_or_else(|| StoreError::Corrupt(format!("job {uid} is gone")))
}

async fn read_jobs<C: ConnectionTrait>(
    connection: &C,
    known: &Known,
    reading: Reading,
    rest: &str,
    values: Vec<Value>,
) -> StoreResult<Vec<Job>> {
    let spec = if reading == Reading::Bare { BARE_SPEC } else { SPEC };
    let sql = format!(
        "SELECT job.uid, job.namespace_id, job.name, job.version, job.revision, job.state, job.pause_time, \
         job.pause_note, job.pause_actor, job.pause_until, job.auto_disabled, job.create_time, job.update_time, job_version.create_time, {spec} FROM job JOIN job_version \
         ON job_version.job_uid = job.uid AND job_version.version = job.version WHERE {rest}"
    );
    let mut found = Vec::new();
    let zones = known.zones.current();
    for row in query(connection, sql, values).await? {
        found.push(job(&row, known, &zones, reading)?);
    }
    let uids: Vec<Uuid> = found.iter().map(|(job, _)| job.uid.uuid()).collect();
    let mut standing: HashMap<(JobUid, ScheduleName), Standing> = HashMap::new();
    let sql =
        "SELECT job_uid, name, next_time, run_count, open_last, open_fate, open_reason FROM schedule WHERE job_uid IN";
    for row in query_in(connection, sql, &uids, "").await? {
        let mut cells = Cells::of(&row);
        let key = (JobUid::from_uuid(cells.next()?), name(cells.next()?)?);
        standing.insert(key, Standing::read(&mut cells)?);
    }
    let mut jobs = Vec::with_capacity(found.len());
    for (mut job, trouble) in found {
        let uid = job.uid;
        calendars::fill(connection, known, &zones, &mut job.spec).await?;
        let stands = job.spec.schedules.iter().map(|schedule| standing.remove(&(uid, schedule.name.clone())));
        let stands: Vec<_> = stands.map(Option::unwrap_or_default).collect();
        job.error = trouble.and_then(|trouble| match trouble {
            Trouble::Unreadable => Some(JobError { schedule: None, reason: FateReason::RuleBroken }),
            Trouble::Stopped => why(&job, &stands),
        });
        job.next_times = stands.iter().map(|stands| stands.next).collect();
        job.run_counts = stands.iter().map(|stands| stands.made).collect();
        job.last_times = stands.iter().map(Standing::fired).collect();
        // What is evaluated next may be an instant that a calendar leaves out.
        for (next, schedule) in job.next_times.iter_mut().zip(&job.spec.schedules) {
            if schedule.has_calendars() {
                *next = next.and_then(|next| schedule.next_fire(schedule.cursor_before(next)));
            }
        }
        jobs.push(job);
    }
    Ok(jobs)
}

/// Where a schedule stands, as far as people are told.
#[derive(Clone, Debug, Default)]
struct Standing {
    next: Option<Instant>,
    made: u64,
    /// The last of its open range, with its fate and why.
    last: Option<(Instant, Fate, Option<FateReason>)>,
}

impl Standing {
    fn read(cells: &mut Cells<'_>) -> StoreResult<Self> {
        let (next, made) = (maybe(cells.next()?), counted(cells)?);
        let last: Option<Instant> = maybe(cells.next()?);
        let fate = cells.next::<Option<i32>>()?.and_then(Fate::from_code);
        let reason = cells.next::<Option<String>>()?.as_deref().and_then(FateReason::from_name);
        Ok(Self { next, made, last: last.zip(fate).map(|(last, fate)| (last, fate, reason)) })
    }

    fn fired(&self) -> Option<Instant> {
        self.last.filter(|(_, fate, _)| *fate == Fate::Fired).map(|(last, ..)| last)
    }
}

/// What is wrong with a job that is in ERROR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// A schedule of it has stopped.
    Stopped,
    /// Its definition cannot be read.
    Unreadable,
}

/// Which schedule of a job fires nothing, and why: nothing comes next of it, or nothing that its calendars leave.
fn why(job: &Job, stands: &[Standing]) -> Option<JobError> {
    let reason = |(schedule, stands): (&ScheduleSpec, &Standing)| match stands.last {
        _ if stands.next.is_none() && !schedule.is_known() => Some(FateReason::ZoneMissing),
        Some((_, Fate::Error, reason)) if stands.next.is_none() => Some(reason.unwrap_or(FateReason::RuleBroken)),
        _ => {
            let starved = !schedule.is_done(stands.made) && schedule.is_starved(job.define_time);
            starved.then_some(FateReason::NeverFires)
        }
    };
    let mut schedules = job.spec.schedules.iter().zip(stands);
    schedules.find_map(|standing| {
        let schedule = Some(standing.0.name.clone());
        reason(standing).map(|reason| JobError { schedule, reason })
    })
}

fn job(row: &QueryResult, known: &Known, zones: &Numbered, reading: Reading) -> StoreResult<(Job, Option<Trouble>)> {
    let mut cells = Cells::of(row);
    let uid = JobUid::from_uuid(cells.next()?);
    let namespace = known.lanes.namespace_name(cells.next()?)?;
    let (job_name, version, revision) = (name(cells.next()?)?, cells.next()?, cells.next()?);
    let state = base_state(&mut cells)?;
    let paused = (maybe(cells.next()?), cells.next::<Option<String>>()?, cells.next::<Option<String>>()?);
    let (until, by_itself) = (maybe(cells.next()?), cells.next::<bool>()?);
    let pause = match paused {
        (Some(time), Some(note), Some(actor)) => Some(Pause { note, actor, time, until }),
        _ => None,
    };
    let (create_time, update_time) = (Instant::from_micros(cells.next()?), Instant::from_micros(cells.next()?));
    let define_time = Instant::from_micros(cells.next()?);
    let (spec, is_sound) = match reading {
        Reading::Sound => (JobSpec::clone(&*known.specs.read(&mut cells, zones)?), true),
        Reading::Whole => {
            let mut again = cells.remaining();
            match readable(known.specs.read(&mut cells, zones))? {
                Ok(spec) => (JobSpec::clone(&*spec), true),
                Err(why) => {
                    let (_, _, text): (Uuid, i64, String) = (again.any(), again.any(), again.any());
                    let payload = Payload { content_type: again.any(), data: again.any() };
                    (JobSpec { payload, ..salvaged(uid, &text, &zones.zones, &why)? }, false)
                }
            }
        }
        // Lists read many at once: what they read is not remembered.
        Reading::Bare => {
            let text: String = cells.any();
            match readable(read_spec(&text, &zones.zones))? {
                Ok(spec) => (spec, true),
                Err(why) => (salvaged(uid, &text, &zones.zones, &why)?, false),
            }
        }
    };
    let trouble = match state {
        _ if !is_sound => Some(Trouble::Unreadable),
        JobState::Error => Some(Trouble::Stopped),
        JobState::Active | JobState::Paused | JobState::Completed | JobState::AutoDisabled => None,
    };
    let job = Job {
        uid,
        namespace,
        name: job_name,
        version,
        revision,
        spec,
        state: match (&pause, by_itself) {
            (Some(_), true) => JobState::AutoDisabled,
            (Some(_), false) => JobState::Paused,
            (None, _) if is_sound => state,
            (None, _) => JobState::Error,
        },
        pause,
        next_times: Vec::new(),
        run_counts: Vec::new(),
        last_times: Vec::new(),
        error: None,
        create_time,
        update_time,
        define_time,
    };
    Ok((job, trouble))
}

/// A schedule's row.
#[derive(Clone, Debug)]
pub(super) struct ScheduleRow {
    pub(super) job: JobUid,
    pub(super) name: ScheduleName,
    pub(super) version: i64,
    pub(super) paused: bool,
    pub(super) cursor: Instant,
    pub(super) next: Option<Instant>,
    pub(super) pause_until: Option<Instant>,
    pub(super) resumed: Option<Resumed>,
    pub(super) made: u64,
    /// The zone data that its next instant was named by.
    pub(super) zone_data: Option<i32>,
    /// The run whose end it counts from.
    pub(super) open_run: Option<RunId>,
    pub(super) open: Option<Range>,
}

/// The columns of [`ScheduleRow::read`], in order.
pub(super) const SCHEDULE: &str = "schedule.job_uid, schedule.name, schedule.version, schedule.paused, \
     schedule.cursor_time, schedule.next_time, schedule.pause_until, schedule.resume_until, schedule.resume_mode, \
     schedule.run_count, schedule.zone_data_id, schedule.open_run, schedule.open_version, schedule.open_first, schedule.open_last, \
     schedule.open_count, schedule.open_fate, schedule.open_reason";

impl ScheduleRow {
    /// Reads the columns of [`SCHEDULE`].
    pub(super) fn read(cells: &mut Cells<'_>) -> StoreResult<Self> {
        Ok(Self {
            job: JobUid::from_uuid(cells.next()?),
            name: name(cells.next()?)?,
            version: cells.next()?,
            paused: cells.next()?,
            cursor: Instant::from_micros(cells.next()?),
            next: maybe(cells.next()?),
            pause_until: maybe(cells.next()?),
            resumed: resumed(cells)?,
            made: counted(cells)?,
            zone_data: cells.next()?,
            open_run: cells.next::<Option<Uuid>>()?.map(RunId::from_uuid),
            open: open_range(cells)?,
        })
    }

    /// Where its evaluation stands.
    pub(super) fn position(&self) -> Position {
        let end = self.pause_until.map_or(PauseEnd::Open, PauseEnd::At);
        let (cursor, version, resumed, made) = (self.cursor, self.version, self.resumed, self.made);
        Position { cursor, version, pause: self.paused.then_some(end), resumed, made }
    }

    fn cells(&self) -> StoreResult<[Value; 18]> {
        let Self { job, name, version, paused, cursor, next, pause_until, resumed, made, zone_data, open_run, open } =
            self;
        let (mut of, mut count, mut fate, mut reason) = (None, None, None, None);
        let (mut first, mut last) = (None, None);
        if let Some(range) = open {
            let Range { version, first: from, last: to, count: many, fate: what, reason: why } = range;
            (of, first, last) = (Some(*version), Some(*from), Some(*to));
            (count, fate, reason) = (Some(signed(*many)?), Some(what.code()), Some(why.map_or("", FateReason::name)));
        }
        Ok([
            job.uuid().into(),
            name.as_str().into(),
            (*version).into(),
            (*paused).into(),
            time(*cursor),
            maybe_time(*next),
            maybe_time(*pause_until),
            maybe_time(resumed.map(|resumed| resumed.until)),
            resumed.map(|resumed| resumed.mode.code()).into(),
            signed(*made)?.into(),
            (*zone_data).into(),
            open_run.map(RunId::uuid).into(),
            of.into(),
            maybe_time(first),
            maybe_time(last),
            count.into(),
            fate.into(),
            reason.into(),
        ])
    }
}

/// A number that only grows.
fn counted(cells: &mut Cells<'_>) -> StoreResult<u64> {
    cells.parse("a count", |count: &i64| u64::try_from(*count).ok())
}

fn resumed(cells: &mut Cells<'_>) -> StoreResult<Option<Resumed>> {
    let until = maybe(cells.next()?);
    let mode = cells.parse("how a pause is caught up with", |code: &Option<i32>| match code {
        Some(code) => Mode::from_code(*code).map(Some),
        None => Some(None),
    })?;
    Ok(until.zip(mode).map(|(until, mode)| Resumed { until, mode }))
}

fn open_range(cells: &mut Cells<'_>) -> StoreResult<Option<Range>> {
    let (version, first, last): (Option<i64>, Option<i64>, Option<i64>) = (cells.next()?, cells.next()?, cells.next()?);
    let (count, fate, reason): (Option<i64>, Option<i32>, Option<String>) =
        (cells.next()?, cells.next()?, cells.next()?);
    let (Some(version), Some(first), Some(last), Some(count), Some(fate)) = (version, first, last, count, fate) else {
        return Ok(None);
    };
    range(version, first, last, count, fate, &reason.unwrap_or_default()).map(Some)
}

/// Puts a range together.
pub(super) fn range(version: i64, first: i64, last: i64, count: i64, fate: i32, reason: &str) -> StoreResult<Range> {
    let corrupt = |what: &str| StoreError::Corrupt(format!("a ledger range has {what}"));
    Ok(Range {
        version,
        first: Instant::from_micros(first),
        last: Instant::from_micros(last),
        count: u64::try_from(count).map_err(|_| corrupt("a negative count"))?,
        fate: Fate::from_code(fate).ok_or_else(|| corrupt("an unknown fate"))?,
        reason: match reason {
            "" => None,
            name => Some(FateReason::from_name(name).ok_or_else(|| corrupt("an unknown reason"))?),
        },
    })
}

fn signed(count: u64) -> StoreResult<i64> {
    i64::try_from(count).map_err(|_| StoreError::Corrupt(format!("{count} is too many")))
}

/// The schedules of jobs.
pub(super) async fn schedules<C: ConnectionTrait>(connection: &C, jobs: &[Uuid]) -> StoreResult<Vec<ScheduleRow>> {
    let head = format!("SELECT {SCHEDULE} FROM schedule WHERE job_uid IN");
    let rows = query_in(connection, &head, jobs, "").await?;
    rows.iter().map(|row| ScheduleRow::read(&mut Cells::of(row))).collect()
}

/// New schedules.
pub(super) async fn insert_schedules(tx: &Tx, rows: &[ScheduleRow]) -> StoreResult<()> {
    let into = "schedule (job_uid, name, version, paused, cursor_time, next_time, pause_until, resume_until, resume_mode, \
         run_count, zone_data_id, open_run, open_version, open_first, open_last, open_count, open_fate, open_reason)";
    let cells = rows.iter().map(ScheduleRow::cells).collect::<StoreResult<_>>()?;
    insert(tx, into, cells, "").await.map(drop)
}

/// Writes schedules that were read in this transaction, each with the cursor it was read at; how many rows still had it.
pub(super) async fn write_schedules(tx: &Tx, rows: &[(ScheduleRow, Instant)]) -> StoreResult<u64> {
    let mut written = 0;
    for piece in chunks(rows) {
        let mut values = Vec::with_capacity(19 * piece.len());
        for (row, cursor) in piece {
            values.extend(row.cells()?);
            values.push(time(*cursor));
        }
        written += exec(tx, schedule_sql(piece.len()), values).await?;
    }
    Ok(written)
}

/// Writes `count` schedules, each if its cursor is still there. Version and pause were compared when they were read.
pub(super) fn schedule_sql(count: usize) -> String {
    format!(
        "WITH t(job_uid, name, version, paused, cursor_time, next_time, pause_until, resume_until, resume_mode, \
         run_count, zone_data_id, open_run, open_version, open_first, open_last, open_count, open_fate, open_reason, was_cursor) AS (VALUES {}) UPDATE schedule SET version = t.version, paused = t.paused, \
         cursor_time = t.cursor_time, next_time = t.next_time, pause_until = t.pause_until, \
         resume_until = t.resume_until, resume_mode = t.resume_mode, run_count = t.run_count, zone_data_id = t.zone_data_id, open_run = t.open_run, open_version = t.open_version, open_first = t.open_first, \
         open_last = t.open_last, open_count = t.open_count, open_fate = t.open_fate, open_reason = t.open_reason FROM t \
         WHERE schedule.job_uid = t.job_uid AND schedule.name = t.name AND schedule.cursor_time = t.was_cursor",
        tuples(count, 19)
    )
}

/// Closed ranges.
pub(super) async fn insert_ledger(tx: &Tx, ranges: Vec<(JobUid, ScheduleName, Range)>) -> StoreResult<()> {
    let mut rows = Vec::with_capacity(ranges.len());
    for (job, schedule, range) in ranges {
        let Range { version, first, last, count, fate, reason } = range;
        rows.push([
            job.uuid().into(),
            schedule.as_str().into(),
            time(first),
            time(last),
            signed(count)?.into(),
            version.into(),
            fate.code().into(),
            reason.map_or("", FateReason::name).into(),
        ]);
    }
    let into = "ledger (job_uid, schedule, first_time, last_time, count, version, fate, reason)";
    insert(tx, into, rows, "").await.map(drop)
}
