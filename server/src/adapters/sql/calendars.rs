//! The [`Calendars`] role, and what calendars mean for the definitions that leave them out.
//!
//! A definition names the version of each calendar that it counts with; what that version holds is stored once, never
//! changes, and is remembered here once it was read ([`fill`]). In the transaction that stores a definition, it is brought to
//! the versions in force ([`pin`]), so that a change of a calendar that comes in between is not lost.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use async_trait::async_trait;
use mainspring_cron::Calendar;
use mainspring_engine::{
    domain::{
        calendar::{CalendarSpec, Exclusion, NamedCalendar},
        ids::{CalendarUid, JobUid},
        instant::Instant,
        job::JobSpec,
        names::{CalendarName, Scope},
    },
    ports::store::{
        CalendarChange, CalendarUser, Calendars, NewCalendar, Pinned, StoreError, StoreResult, UpdateCalendar,
    },
};
use parking_lot::Mutex;
use sea_orm::{ConnectionTrait, QueryResult, Value};
use uuid::Uuid;

use super::{
    Known, SqliteStore,
    catalog::{by_uid, define},
    jobs::{ScheduleRow, schedules, sound_job},
    lapsed::By,
    rows::{json, name, read_json, readable, time},
    skipped,
    statement::{Cells, exec, insert, places, query, query_one},
    told,
    writer::Tx,
    zones::Numbered,
};

/// So many versions are remembered; then the memory starts anew.
const REMEMBERED: usize = 1_000;
/// So many jobs are told of those that stand in the way of a delete.
const TOLD: usize = 5;

/// What versions hold that were read lately, by the zone data that they count with.
#[derive(Debug, Default)]
pub(super) struct Held(Mutex<HashMap<(CalendarUid, i64, i32), Arc<Calendar>>>);

/// Calendars that have changed, and perhaps not for all jobs that use them.
pub(super) const HALF_UPDATED: &str = "SELECT uid FROM calendar WHERE half_updated ORDER BY uid LIMIT ?";

/// The columns of [`read`], in order.
const COLUMNS: &str = "calendar.uid, calendar.name, calendar.version, calendar.create_time, calendar.update_time, \
     calendar_version.spec FROM calendar JOIN calendar_version ON calendar_version.calendar_uid = calendar.uid \
     AND calendar_version.version = calendar.version";

#[async_trait]
impl Calendars for SqliteStore {
    async fn create_calendar(&self, now: Instant, calendar: NewCalendar) -> StoreResult<CalendarChange> {
        let namespace = self.ensure_namespace(&calendar.scope.0).await?;
        self.write(move |tx| Box::pin(async move { create(tx, now, namespace, calendar).await })).await
    }

    async fn calendars_named(&self, scope: &Scope, names: &[CalendarName]) -> StoreResult<Vec<NamedCalendar>> {
        let Some(namespace) = self.known.lanes.namespace(&scope.0) else { return Ok(Vec::new()) };
        let rest = format!("calendar.name IN ({})", places(names.len()));
        let mut found = find(&self.reads, namespace, &rest, names.iter().map(|name| name.as_str().into())).await?;
        let zones = self.known.zones.current().zones;
        for calendar in &mut found {
            if let Some(counted) = calendar.spec.calendar.counted_with(&zones) {
                calendar.spec.calendar = Arc::new(counted);
            }
        }
        Ok(found)
    }

    async fn calendars(
        &self,
        scope: &Scope,
        after: Option<CalendarName>,
        limit: usize,
    ) -> StoreResult<Vec<NamedCalendar>> {
        let Some(namespace) = self.known.lanes.namespace(&scope.0) else { return Ok(Vec::new()) };
        let after = after.map_or_else(String::new, String::from);
        let values = [after.into(), i64::try_from(limit).unwrap_or(i64::MAX).into()];
        find(&self.reads, namespace, "calendar.name > ? ORDER BY calendar.name LIMIT ?", values).await
    }

    async fn update_calendar(&self, now: Instant, update: UpdateCalendar) -> StoreResult<CalendarChange> {
        let Some(namespace) = self.known.lanes.namespace(&update.scope.0) else { return Ok(CalendarChange::Missing) };
        self.write(move |tx| Box::pin(async move { change(tx, now, namespace, update).await })).await
    }

    async fn pin_jobs(&self, now: Instant, calendar: CalendarUid, most: usize) -> StoreResult<Pinned> {
        let known = Arc::clone(&self.known);
        self.write(move |tx| Box::pin(async move { pin_jobs(tx, &known, now, calendar, most).await })).await
    }

    async fn half_updated(&self, limit: usize) -> StoreResult<Vec<CalendarUid>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = query(&self.stage_reads, HALF_UPDATED, vec![limit.into()]).await?;
        rows.iter().map(|row| Ok(CalendarUid::from_uuid(Cells::of(row).next()?))).collect()
    }

    async fn delete_calendar(
        &self,
        now: Instant,
        scope: &Scope,
        name: &CalendarName,
        version: Option<i64>,
    ) -> StoreResult<CalendarChange> {
        let Some(namespace) = self.known.lanes.namespace(&scope.0) else { return Ok(CalendarChange::Missing) };
        let name = name.clone();
        self.write(move |tx| Box::pin(async move { delete(tx, now, namespace, &name, version).await })).await
    }
}

fn read(row: &QueryResult) -> StoreResult<NamedCalendar> {
    let mut cells = Cells::of(row);
    Ok(NamedCalendar {
        uid: CalendarUid::from_uuid(cells.next()?),
        name: name(cells.next()?)?,
        version: cells.next()?,
        create_time: Instant::from_micros(cells.next()?),
        update_time: Instant::from_micros(cells.next()?),
        spec: read_json(&cells.next::<String>()?)?,
    })
}

async fn find<C: ConnectionTrait>(
    connection: &C,
    namespace: i32,
    rest: &str,
    values: impl IntoIterator<Item = Value>,
) -> StoreResult<Vec<NamedCalendar>> {
    let sql = format!("SELECT {COLUMNS} WHERE calendar.namespace_id = ? AND calendar.delete_time IS NULL AND {rest}");
    let values = std::iter::once(namespace.into()).chain(values).collect();
    query(connection, sql, values).await?.iter().map(read).collect()
}

async fn named(tx: &Tx, namespace: i32, name: &CalendarName) -> StoreResult<Option<NamedCalendar>> {
    Ok(find(tx, namespace, "calendar.name = ?", [name.as_str().into()]).await?.pop())
}

async fn create(tx: &Tx, now: Instant, namespace: i32, calendar: NewCalendar) -> StoreResult<CalendarChange> {
    let NewCalendar { scope: _, uid, name, spec } = calendar;
    if let Some(there) = named(tx, namespace, &name).await? {
        // The same uid is the same call, tried again after an unknown commit.
        let again = there.uid == uid;
        return Ok(if again { CalendarChange::Done(there) } else { CalendarChange::NameTaken });
    }
    let values = [uid.uuid().into(), namespace.into(), name.as_str().into(), 1.into(), time(now), time(now)];
    insert(tx, "calendar (uid, namespace_id, name, version, create_time, update_time)", vec![values], "").await?;
    insert_version(tx, uid, 1, &spec).await?;
    let made = NamedCalendar { uid, name, version: 1, spec, create_time: now, update_time: now };
    Ok(CalendarChange::Done(made))
}

async fn insert_version(tx: &Tx, uid: CalendarUid, version: i64, spec: &CalendarSpec) -> StoreResult<()> {
    let values = [uid.uuid().into(), version.into(), json(spec)?.into()];
    insert(tx, "calendar_version (calendar_uid, version, spec)", vec![values], "").await.map(drop)
}

async fn change(tx: &Tx, now: Instant, namespace: i32, update: UpdateCalendar) -> StoreResult<CalendarChange> {
    let UpdateCalendar { scope: _, name, version, spec } = update;
    let Some(there) = named(tx, namespace, &name).await? else { return Ok(CalendarChange::Missing) };
    if there.version != version {
        return Ok(CalendarChange::VersionMismatch);
    }
    if there.spec == spec {
        return Ok(CalendarChange::Unchanged(there));
    }
    let changed = NamedCalendar { version: version + 1, spec, update_time: now, ..there };
    let values = vec![changed.version.into(), time(now), changed.uid.uuid().into()];
    let sql = "UPDATE calendar SET version = ?, update_time = ?, half_updated = TRUE WHERE uid = ?";
    exec(tx, sql, values).await?;
    insert_version(tx, changed.uid, changed.version, &changed.spec).await?;
    Ok(CalendarChange::Done(changed))
}

/// Jobs that count with an older version of a calendar than is in force.
pub(super) const BEHIND: &str = "SELECT job.uid FROM calendar_use JOIN job ON job.uid = calendar_use.job_uid \
     WHERE calendar_use.calendar_uid = ? AND calendar_use.version < ? AND job.delete_time IS NULL \
     ORDER BY calendar_use.job_uid LIMIT ?";

async fn pin_jobs(tx: &Tx, known: &Arc<Known>, now: Instant, uid: CalendarUid, most: usize) -> StoreResult<Pinned> {
    let rest = "calendar.uid = ?";
    let sql = format!("SELECT {COLUMNS} WHERE calendar.delete_time IS NULL AND {rest}");
    let Some(row) = query_one(tx, sql, vec![uid.uuid().into()]).await? else { return Ok(Pinned::default()) };
    let calendar = read(&row)?;
    let limit = i64::try_from(most).unwrap_or(i64::MAX);
    let rows = query(tx, BEHIND, vec![uid.uuid().into(), calendar.version.into(), limit.into()]).await?;
    let jobs = rows.iter().map(|row| Cells::of(row).next::<Uuid>()).collect::<StoreResult<Vec<_>>>()?;
    if jobs.is_empty() {
        exec(tx, "UPDATE calendar SET half_updated = FALSE WHERE uid = ?", vec![uid.uuid().into()]).await?;
        return Ok(Pinned::default());
    }
    let mut standing: BTreeMap<JobUid, Vec<ScheduleRow>> = BTreeMap::new();
    for row in schedules(tx, &jobs).await? {
        standing.entry(row.job).or_default().push(row);
    }
    let pinned = BTreeMap::from([(uid, Exclusion::from(&calendar))]);
    let mut step = Pinned { more: true, ..Pinned::default() };
    for uid in jobs.into_iter().map(JobUid::from_uuid) {
        let rows = standing.remove(&uid).unwrap_or_default();
        if rows.iter().any(|row| row.next.is_some_and(|next| next <= now)) {
            step.unsettled.push(uid);
            continue;
        }
        let job = match readable(sound_job(tx, known, uid).await)? {
            Ok(job) => job,
            Err(why) => {
                // It fires nothing by any calendar, until somebody has defined it anew.
                tracing::error!(job = %uid, why, "a definition cannot be read, and does not follow its calendar");
                let sql = "UPDATE calendar_use SET version = ? WHERE calendar_uid = ? AND job_uid = ?";
                let values = vec![calendar.version.into(), calendar.uid.uuid().into(), uid.uuid().into()];
                exec(tx, sql, values).await?;
                continue;
            }
        };
        let mut spec = job.spec.clone();
        spec.pin(&pinned);
        let zones = known.zones.current();
        spec.count_with(&zones.zones);
        skipped::keep_rest(tx, now, &job, &rows).await?;
        define(tx, By { now, actor: "" }, &job, rows, (&spec, &zones)).await?;
        let changed = by_uid(tx, known, uid).await?;
        told::broken(tx, known, now, job.state, &changed).await?;
        step.jobs.push(changed);
    }
    Ok(step)
}

async fn delete(
    tx: &Tx,
    now: Instant,
    namespace: i32,
    name: &CalendarName,
    version: Option<i64>,
) -> StoreResult<CalendarChange> {
    let Some(there) = named(tx, namespace, name).await? else { return Ok(CalendarChange::Missing) };
    if version.is_some_and(|version| version != there.version) {
        return Ok(CalendarChange::VersionMismatch);
    }
    let sql = "SELECT job.name, job.delete_time IS NOT NULL FROM calendar_use JOIN job ON job.uid = calendar_use.job_uid \
         WHERE calendar_use.calendar_uid = ? ORDER BY job.delete_time IS NOT NULL, job.name";
    let users = query(tx, sql, vec![there.uid.uuid().into()]).await?;
    if !users.is_empty() {
        let told = users.iter().take(TOLD).map(|row| {
            let mut cells = Cells::of(row);
            Ok(CalendarUser { job: super::rows::name(cells.next()?)?, is_deleted: cells.next()? })
        });
        return Ok(CalendarChange::InUse(users.len() as u64, told.collect::<StoreResult<_>>()?));
    }
    exec(tx, "UPDATE calendar SET delete_time = ? WHERE uid = ?", vec![time(now), there.uid.uuid().into()]).await?;
    Ok(CalendarChange::Done(there))
}

/// Reads what the calendars of a definition hold, as far as that is not known; whether anything was missing.
pub(super) async fn fill<C: ConnectionTrait>(
    connection: &C,
    known: &Known,
    data: &Numbered,
    spec: &mut JobSpec,
) -> StoreResult<()> {
    for exclusion in spec.exclusions_mut() {
        if exclusion.calendar.is_some() {
            continue;
        }
        let key = (exclusion.uid, exclusion.version, data.id);
        let held = known.calendars.0.lock().get(&key).cloned();
        exclusion.calendar = Some(match held {
            Some(held) => held,
            None => {
                let sql = "SELECT spec FROM calendar_version WHERE calendar_uid = ? AND version = ?";
                let row = query_one(connection, sql, vec![key.0.uuid().into(), key.1.into()]).await?;
                let missing = || StoreError::Corrupt(format!("calendar {} has no version {}", key.0, key.1));
                let spec: CalendarSpec = read_json(&Cells::of(&row.ok_or_else(missing)?).next::<String>()?)?;
                let calendar = spec.calendar.counted_with(&data.zones).map_or(spec.calendar, Arc::new);
                let mut held = known.calendars.0.lock();
                if held.len() >= REMEMBERED {
                    held.clear();
                }
                held.insert(key, Arc::clone(&calendar));
                calendar
            }
        });
    }
    Ok(())
}

/// Whether there is anything to fill.
pub(super) fn is_whole(spec: &JobSpec) -> bool {
    spec.exclusions().all(|exclusion| exclusion.calendar.is_some())
}

/// The same for a definition that others share.
pub(super) async fn fill_shared<C: ConnectionTrait>(
    connection: &C,
    known: &Known,
    data: &Numbered,
    (job, version): (JobUid, i64),
    spec: &mut Arc<JobSpec>,
) -> StoreResult<()> {
    if is_whole(spec) {
        return Ok(());
    }
    let before = Arc::clone(spec);
    fill(connection, known, data, Arc::make_mut(spec)).await?;
    known.specs.filled(job, version, (&before, spec));
    Ok(())
}

/// Brings a definition to the versions of its calendars that are in force.
pub(super) async fn pin(tx: &Tx, spec: &mut JobSpec) -> StoreResult<()> {
    let uids: Vec<Value> = spec.exclusions().map(|exclusion| exclusion.uid.uuid().into()).collect();
    if uids.is_empty() {
        return Ok(());
    }
    let sql =
        format!("SELECT {COLUMNS} WHERE calendar.delete_time IS NULL AND calendar.uid IN ({})", places(uids.len()));
    let found = query(tx, sql, uids).await?.iter().map(read).collect::<StoreResult<Vec<_>>>()?;
    let pinned: BTreeMap<_, _> = found.iter().map(|calendar| (calendar.uid, Exclusion::from(calendar))).collect();
    if let Some(gone) = spec.exclusions().find(|exclusion| !pinned.contains_key(&exclusion.uid)) {
        return Err(StoreError::Conflict(format!("calendar {} was deleted meanwhile", gone.name)));
    }
    spec.pin(&pinned);
    Ok(())
}

/// Notes which versions of calendars a definition of a job counts with, now and whenever its instants are named again.
pub(super) async fn note_pins(tx: &Tx, job: JobUid, spec: &JobSpec) -> StoreResult<()> {
    let pins: BTreeSet<_> = spec.exclusions().map(|exclusion| (exclusion.uid, exclusion.version)).collect();
    let rows = pins.into_iter().map(|(uid, version)| [uid.uuid().into(), version.into(), job.uuid().into()]).collect();
    insert(tx, "calendar_pin (calendar_uid, version, job_uid)", rows, "ON CONFLICT DO NOTHING").await.map(drop)
}

/// Versions of calendars that are not in force, and that no definition counted with.
pub(super) const UNPINNED: &str = "DELETE FROM calendar_version WHERE (calendar_uid, version) IN (SELECT \
     calendar_version.calendar_uid, calendar_version.version FROM calendar_version JOIN calendar \
     ON calendar.uid = calendar_version.calendar_uid WHERE (calendar_version.version < calendar.version \
     OR calendar.delete_time IS NOT NULL) AND NOT EXISTS (SELECT 1 FROM calendar_pin \
     WHERE calendar_pin.calendar_uid = calendar_version.calendar_uid \
     AND calendar_pin.version = calendar_version.version) LIMIT ?)";

/// Calendars that were deleted, and of which no version is kept.
const GONE: &str = "DELETE FROM calendar WHERE delete_time IS NOT NULL AND NOT EXISTS (SELECT 1 FROM calendar_version \
     WHERE calendar_version.calendar_uid = calendar.uid)";

/// Deletes versions that nobody will ask for; how many rows, and whether there may be more.
pub(super) async fn sweep(tx: &Tx, limit: i64) -> StoreResult<(u64, bool)> {
    let versions = exec(tx, UNPINNED, vec![limit.into()]).await?;
    let calendars = exec(tx, GONE, Vec::new()).await?;
    Ok((versions + calendars, i64::try_from(versions).is_ok_and(|versions| versions >= limit)))
}

/// Notes which calendars the definition in force of a job leaves out; `before` is the one until now.
pub(super) async fn note_use(tx: &Tx, job: JobUid, before: Option<&JobSpec>, spec: &JobSpec) -> StoreResult<()> {
    if before.is_some_and(|before| before.exclusions().next().is_some()) {
        exec(tx, "DELETE FROM calendar_use WHERE job_uid = ?", vec![job.uuid().into()]).await?;
    }
    let uses: BTreeMap<_, _> = spec.exclusions().map(|exclusion| (exclusion.uid, exclusion.version)).collect();
    let rows = uses.into_iter().map(|(uid, version)| [uid.uuid().into(), job.uuid().into(), version.into()]).collect();
    insert(tx, "calendar_use (calendar_uid, job_uid, version)", rows, "").await.map(drop)
}
