//! The [`ZoneData`] role: the data in force and those that were, as numbers, and schedules that follow from one to the other.
//!
//! A definition is stored with the names of its zones and is read with the data in force; a schedule's row says by which its
//! next instant was named, and a firing is committed only where that is still so. Data come into force before schedules follow
//! them, so a row that names others is stale, and is found by its index.
//!
//! What the ledger has was named by the data of its time and is named again by those ([`Former`]): the compiled files of the
//! zones that definitions use are kept under the number of their data, and where a schedule was retimed it is kept up to
//! which instant the data before named what it had ([`Changes`]). Data that do not touch a schedule's zones leave nothing behind.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use async_trait::async_trait;
use mainspring_cron::Zones;
use mainspring_engine::{
    domain::{
        catch_up::Mode,
        fire::Resumed,
        guard::guarded,
        ids::JobUid,
        instant::Instant,
        job::{JobSpec, JobState},
        ledger::{Fate, FateReason, Range},
        names::ScheduleName,
        retime::{Followed, Retiming},
        schedule::ScheduleSpec,
    },
    ports::store::{Retimed, RetimedSchedule, StoreError, StoreResult, Told, ZoneData},
};
use parking_lot::RwLock;
use sea_orm::{ConnectionTrait, Value};
use uuid::Uuid;

use super::{
    Known, SqliteStore, due,
    jobs::{ScheduleRow, base_state, insert_ledger, schedules, sound_job, write_schedules},
    rows::{name, readable, time},
    skipped,
    statement::{Cells, exec, insert, places, query, query_one, single},
    told,
    writer::Tx,
};

/// Zone data, and the number that stands for them.
#[derive(Clone, Debug)]
pub(super) struct Numbered {
    pub(super) id: i32,
    pub(super) zones: Zones,
}

/// The data in force, and the versions of all that ever were.
#[derive(Debug)]
pub(super) struct InForce {
    current: RwLock<Numbered>,
    versions: RwLock<HashMap<i32, Marks>>,
}

/// What data are known by: their version, and the print of their files.
type Marks = (Arc<str>, Arc<str>);

impl InForce {
    /// Puts data in force before anything is read.
    pub(super) async fn begin<C: ConnectionTrait>(connection: &C, zones: Zones) -> StoreResult<Self> {
        let id = intern(connection, &zones).await?;
        let mut versions = HashMap::new();
        for row in query(connection, "SELECT id, version, print FROM zone_data", Vec::new()).await? {
            let mut cells = Cells::of(&row);
            let id = cells.next()?;
            versions.insert(id, (cells.next::<String>()?.into(), cells.next::<String>()?.into()));
        }
        Ok(Self { current: RwLock::new(Numbered { id, zones }), versions: RwLock::new(versions) })
    }

    /// The data in force.
    pub(super) fn current(&self) -> Numbered {
        self.current.read().clone()
    }

    /// The version behind a number.
    pub(super) fn version(&self, id: i32) -> Option<Arc<str>> {
        self.versions.read().get(&id).map(|(version, _)| Arc::clone(version))
    }

    /// The number of data that are or were in force.
    pub(super) fn number(&self, zones: &Zones) -> Option<i32> {
        let versions = self.versions.read();
        let is_it =
            |(version, print): &(Arc<str>, Arc<str>)| **version == *zones.version() && **print == *zones.print();
        versions.iter().find(|(_, known)| is_it(known)).map(|(id, _)| *id)
    }

    fn put(&self, numbered: Numbered) {
        self.versions.write().insert(numbered.id, (numbered.zones.version().into(), numbered.zones.print().into()));
        *self.current.write() = numbered;
    }
}

/// The number of data.
async fn intern<C: ConnectionTrait>(connection: &C, zones: &Zones) -> StoreResult<i32> {
    let values = || vec![zones.version().into(), zones.print().into()];
    exec(connection, "INSERT INTO zone_data (version, print) VALUES (?, ?) ON CONFLICT DO NOTHING", values()).await?;
    let row = query_one(connection, "SELECT id FROM zone_data WHERE version = ? AND print = ?", values()).await?;
    single(&row.ok_or_else(|| StoreError::Corrupt("zone data have no number".into()))?)
}

/// Keeps the files of the zones that a definition depends on.
pub(super) async fn keep_files(tx: &Tx, data: &Numbered, spec: &JobSpec) -> StoreResult<()> {
    let names = spec.zone_names();
    let rows = names.into_iter().filter_map(|name| {
        let file = data.zones.file(name)?;
        Some([data.id.into(), name.into(), file.to_vec().into()])
    });
    insert(tx, "zone_file (zone_data_id, name, file)", rows.collect(), "ON CONFLICT DO NOTHING").await.map(drop)
}

/// The data of some zones as they were under a number; none where one of them is not kept.
struct Former(Zones);

impl Former {
    async fn read<C: ConnectionTrait>(
        connection: &C,
        known: &Known,
        id: i32,
        names: &BTreeSet<&str>,
    ) -> StoreResult<Option<Self>> {
        let sql =
            format!("SELECT name, file FROM zone_file WHERE zone_data_id = ? AND name IN ({})", places(names.len()));
        let values = std::iter::once(Value::from(id)).chain(names.iter().map(|name| (*name).into()));
        let mut files: Vec<(String, Vec<u8>)> = Vec::new();
        for row in query(connection, sql, values.collect()).await? {
            let mut cells = Cells::of(&row);
            files.push((cells.next()?, cells.next()?));
        }
        let has = |name: &str| name == "UTC" || files.iter().any(|(kept, _)| kept == name);
        if !names.iter().all(|name| has(name)) {
            return Ok(None);
        }
        let version = known.zones.version(id).map(|version| version.to_string());
        // Without a file all of them are UTC, which is the same in all data.
        Ok(Some(Self(match Zones::read(version, files) {
            Ok(zones) => zones,
            Err(_) => known.zones.current().zones,
        })))
    }

    /// Whether these zones are the same in other data.
    fn are(&self, others: &Zones, names: &BTreeSet<&str>) -> bool {
        names.iter().all(|name| self.0.file(name) == others.file(name) || *name == "UTC")
    }
}

#[async_trait]
impl ZoneData for SqliteStore {
    fn zones(&self) -> Zones {
        self.known.zones.current().zones
    }

    async fn use_zones(&self, zones: Zones) -> StoreResult<()> {
        let noted = zones.clone();
        let id = self.write(move |tx| Box::pin(async move { intern(tx, &noted).await })).await?;
        self.known.zones.put(Numbered { id, zones });
        Ok(())
    }

    async fn retime(&self, now: Instant, jobs: Option<Vec<JobUid>>, most: usize) -> StoreResult<Retimed> {
        // Whoever wrote by the data before is seen: the writer comes to this after all that it began before.
        let known = Arc::clone(&self.known);
        self.write(move |tx| Box::pin(async move { retime(tx, &known, now, jobs, most).await })).await
    }
}

/// Jobs with a schedule whose next instant was named by other data.
/// A job may be found by several of its schedules.
pub(super) const STALE: &str = "SELECT job_uid FROM (SELECT job_uid FROM schedule WHERE zone_data_id < ? LIMIT ?) \
     UNION SELECT job_uid FROM (SELECT job_uid FROM schedule WHERE zone_data_id > ? LIMIT ?) \
     UNION SELECT job_uid FROM (SELECT job_uid FROM schedule WHERE zone_data_id IS NULL LIMIT ?)";

async fn stale<C: ConnectionTrait>(connection: &C, id: i32, most: usize) -> StoreResult<Vec<JobUid>> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let values = vec![id.into(), most.into(), id.into(), most.into(), most.into()];
    let rows = query(connection, STALE, values).await?;
    rows.iter().map(|row| single::<Uuid>(row).map(JobUid::from_uuid)).collect()
}

async fn retime(
    tx: &Tx,
    known: &Arc<Known>,
    now: Instant,
    jobs: Option<Vec<JobUid>>,
    most: usize,
) -> StoreResult<Retimed> {
    let current = known.zones.current();
    let mut retimed = Retimed::default();
    let jobs = match jobs {
        Some(jobs) => jobs,
        None => {
            let found = stale(tx, current.id, most).await?;
            // Whatever becomes of them, none of them is stale afterwards.
            retimed.more = !found.is_empty();
            found
        }
    };
    for job in jobs {
        retimed.told.extend(Step { tx, known, now, current: &current }.job(job).await?);
    }
    Ok(retimed)
}

/// One job that follows.
struct Step<'a> {
    tx: &'a Tx,
    known: &'a Arc<Known>,
    now: Instant,
    current: &'a Numbered,
}

/// What becomes of a schedule's row.
struct Change {
    row: ScheduleRow,
    told: Option<Told>,
}

impl Step<'_> {
    async fn job(&self, uid: JobUid) -> StoreResult<Vec<RetimedSchedule>> {
        let Self { tx, known, now, current } = *self;
        let rows = schedules(tx, &[uid.uuid()]).await?;
        let Ok(job) = readable(sound_job(tx, known, uid).await)? else {
            // Whoever evaluates it says what is wrong with it.
            let sql = "UPDATE schedule SET zone_data_id = ? WHERE job_uid = ?";
            exec(tx, sql, vec![current.id.into(), uid.uuid().into()]).await?;
            return Ok(Vec::new());
        };
        let mut spec = job.spec.clone();
        spec.count_with(&current.zones);
        keep_files(tx, current, &spec).await?;
        let row = query_one(tx, "SELECT state FROM job WHERE uid = ?", vec![uid.uuid().into()]).await?;
        let state = row.map(|row| base_state(&mut Cells::of(&row))).transpose()?.unwrap_or(JobState::Active);
        let mut changes = Vec::new();
        for row in rows.iter().filter(|row| row.zone_data != Some(current.id)) {
            changes.push((self.schedule((&spec, state), row).await?, row.cursor));
        }
        let after = self.state(&spec, state, &rows, &changes);
        if after != state {
            let sql = "UPDATE job SET state = ?, revision = revision + 1, update_time = ? WHERE uid = ?";
            exec(tx, sql, vec![after.code().into(), time(now), uid.uuid().into()]).await?;
        }
        let mut told = Vec::new();
        let mut written = Vec::new();
        for (Change { row, told: what }, cursor) in changes {
            if let Some(what) = what {
                let what = if let Told::Found(_) = what { Told::Found(after) } else { what };
                if let Told::Failed(range) = &what {
                    told::of_schedule(tx, known, now, uid, (&row.name, range.clone())).await?;
                }
                told.push(RetimedSchedule {
                    namespace: job.namespace.clone(),
                    job: job.name.clone(),
                    version: job.version,
                    schedule: row.name.clone(),
                    told: what,
                });
            }
            written.push((row, cursor));
        }
        write_schedules(tx, &written).await?;
        Ok(told)
    }

    /// The state of a job, apart from a pause, once its schedules have followed.
    fn state(&self, spec: &JobSpec, state: JobState, rows: &[ScheduleRow], changes: &[(Change, Instant)]) -> JobState {
        let any = |is: fn(&Told) -> bool| changes.iter().any(|(change, _)| change.told.as_ref().is_some_and(is));
        if any(|told| matches!(told, Told::Failed(_))) {
            return JobState::Error;
        }
        let made = |name: &ScheduleName| rows.iter().find(|row| row.name == *name).map_or(0, |row| row.made);
        let stops = |schedule: &ScheduleSpec| {
            !schedule.is_known() || !schedule.is_done(made(&schedule.name)) && schedule.is_starved(self.now)
        };
        let broken = || spec.schedules.iter().any(stops) || rows.iter().any(has_failed);
        if state == JobState::Error && any(|told| matches!(told, Told::Found(_))) && !broken() {
            return JobState::Active;
        }
        state
    }

    async fn schedule(&self, (spec, state): (&JobSpec, JobState), stood: &ScheduleRow) -> StoreResult<Change> {
        let Self { tx, known, now, current } = *self;
        let row = ScheduleRow { zone_data: Some(current.id), ..stood.clone() };
        let Some(schedule) = spec.schedules.iter().find(|schedule| schedule.name == row.name) else {
            return Ok(Change { row, told: None });
        };
        let names = schedule.zone_names().collect();
        let former = match stood.zone_data {
            Some(id) => Former::read(tx, known, id, &names).await?,
            None => None,
        };
        if former.as_ref().is_some_and(|former| former.are(&current.zones, &names)) {
            return Ok(Change { row, told: None });
        }
        let come = self.come(stood).await?;
        self.note_change(stood, come).await?;
        if has_failed(stood) {
            // Its open range says so, until an edit helps.
            return Ok(Change { row, told: None });
        }
        let (row, closed) = (ScheduleRow { open: None, ..row }, row.open);
        let closed = closed.into_iter().map(|range| (row.job, row.name.clone(), range)).collect();
        insert_ledger(tx, closed).await?;
        if !schedule.is_known() {
            return Ok(lose(row, schedule, now));
        }
        let Some(announced) = row.next else {
            let rests = row.open_run.is_some() || state == JobState::Completed || schedule.is_done(row.made);
            // Data that have its zone took nothing from it.
            let rests = rests || former.is_some();
            return Ok(if rests { Change { row, told: None } } else { find(row, schedule, spec.catch_up.mode, now) });
        };
        let followed = guarded(|| {
            let former = former.map(|Former(zones)| {
                let mut former = schedule.clone();
                former.count_with(&zones);
                former
            });
            Followed::by(schedule, former.as_ref(), &row.position(), announced, (come, now))
        });
        let followed = match followed {
            Ok(followed) => followed,
            Err(why) => return Ok(fail(row, announced, why)),
        };
        let moves = followed.moves();
        let Followed { cursor, next, skipped, before, after } = followed;
        let taken = skipped.into_iter().map(|walls| (row.job, row.name.clone(), row.version, walls));
        skipped::keep(tx, taken.collect()).await?;
        let from = stood.zone_data.and_then(|id| known.zones.version(id)).map(|from| from.to_string());
        let retiming =
            Retiming { from: from.unwrap_or_default(), to: current.zones.version().to_owned(), before, after };
        Ok(Change { row: ScheduleRow { cursor, next, ..row }, told: moves.then_some(Told::Moved(retiming)) })
    }

    /// Up to where a schedule's instants have come. A cursor that lies ahead has passed what nobody named: a change moved it there,
    /// which noted where it stood.
    async fn come(&self, row: &ScheduleRow) -> StoreResult<Instant> {
        if row.cursor <= self.now {
            return Ok(row.cursor);
        }
        let sql = "SELECT max(until_time) FROM zone_change WHERE job_uid = ? AND schedule = ?";
        let values = vec![row.job.uuid().into(), row.name.as_str().into()];
        let noted: Option<i64> = match query_one(self.tx, sql, values).await? {
            Some(row) => single(&row)?,
            None => None,
        };
        Ok(noted.map_or(self.now, Instant::from_micros).min(self.now))
    }

    /// Notes that what the ledger has of a schedule up to `come` was named by the data until now.
    async fn note_change(&self, row: &ScheduleRow, come: Instant) -> StoreResult<()> {
        let Some(id) = row.zone_data else { return Ok(()) };
        let values = [row.job.uuid().into(), row.name.as_str().into(), time(come), id.into()];
        let into = "zone_change (job_uid, schedule, until_time, zone_data_id)";
        // Where nothing was named in between, it is the first that named what there is.
        insert(self.tx, into, vec![values], "ON CONFLICT DO NOTHING").await.map(drop)
    }
}

/// A schedule whose zone is gone names nothing. What was announced has no fate yet: there may be data again before it comes.
fn lose(row: ScheduleRow, schedule: &ScheduleSpec, now: Instant) -> Change {
    let Some(announced) = row.next else { return Change { row, told: None } };
    let cursor = row.cursor.max(schedule.cursor_before(announced)).min(now);
    let range = Range::one(row.version, announced, Fate::Error, Some(FateReason::ZoneMissing));
    Change { row: ScheduleRow { cursor, next: None, ..row }, told: Some(Told::Failed(range)) }
}

/// A schedule whose zone is there again goes on from where it stood; what passed meanwhile was missed.
fn find(row: ScheduleRow, schedule: &ScheduleSpec, mode: Mode, now: Instant) -> Change {
    // Where it stands in a pause that is caught up with, whoever ended that has said how.
    let resumed = row.resumed.filter(|resumed| resumed.until > row.cursor);
    let row = ScheduleRow { resumed: resumed.or(Some(Resumed { until: now, mode })), ..row };
    let next = guarded(|| schedule.next_due(row.cursor, row.made));
    match next {
        // The state is known once all of its job have been looked at.
        Ok(next) => Change { row: ScheduleRow { next, ..row }, told: next.map(|_| Told::Found(JobState::Error)) },
        // Its job is in ERROR as it is, and nothing was announced.
        Err(_) => Change { row, told: None },
    }
}

/// A schedule whose rule is broken fires no more, as one that breaks when it is due.
fn fail(row: ScheduleRow, announced: Instant, why: FateReason) -> Change {
    // Its open range was closed when it began to follow.
    let (row, range, _) = due::failed(row, announced, why);
    Change { row, told: Some(Told::Failed(range)) }
}

/// Whether a schedule fires no more, for another reason than its zone.
fn has_failed(row: &ScheduleRow) -> bool {
    let failed = |open: &Range| open.fate == Fate::Error && open.reason != Some(FateReason::ZoneMissing);
    row.next.is_none() && row.open.as_ref().is_some_and(|open| failed(open) && open.last == row.cursor)
}

/// Up to which instants other data than those in force named what the ledger has of a job's schedules.
#[derive(Debug)]
pub(super) struct Changes(Vec<(ScheduleName, Instant, i32)>);

/// The changes of a job's schedules, by time.
pub(super) const CHANGES: &str =
    "SELECT schedule, until_time, zone_data_id FROM zone_change WHERE job_uid = ? ORDER BY until_time";

impl Changes {
    /// Reads those of a job: mostly none.
    pub(super) async fn of<C: ConnectionTrait>(connection: &C, job: JobUid) -> StoreResult<Self> {
        let rows = query(connection, CHANGES, vec![job.uuid().into()]).await?;
        let read = rows.iter().map(|row| {
            let mut cells = Cells::of(row);
            Ok((name(cells.next()?)?, Instant::from_micros(cells.next()?), cells.next()?))
        });
        Ok(Self(read.collect::<StoreResult<_>>()?))
    }

    /// The definition as it named what a range holds.
    pub(super) async fn named_by<C: ConnectionTrait>(
        &self,
        connection: &C,
        known: &Known,
        (schedule, range): (&ScheduleName, &Range),
        spec: Arc<JobSpec>,
    ) -> StoreResult<Arc<JobSpec>> {
        let change = self.0.iter().find(|(name, until, _)| name == schedule && range.first <= *until);
        let Some((_, _, id)) = change else { return Ok(spec) };
        let Some(named) = spec.schedules.iter().find(|named| named.name == *schedule) else { return Ok(spec) };
        let former = Former::read(connection, known, *id, &named.zone_names().collect()).await?;
        Ok(match former {
            Some(Former(zones)) => {
                let mut spec = JobSpec::clone(&spec);
                spec.count_with(&zones);
                Arc::new(spec)
            }
            None => spec,
        })
    }
}
