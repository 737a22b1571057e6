//! What sinks are told, written by the transaction that it is about.
//!
//! Every step that can bring a run, a schedule or a job to what a sink may want passes its notices to [`tell`]. Where there
//! is no sink that costs nothing ([`super::any`]); where there is one, it costs a look at the sinks, which are few, and a row
//! for each that wants it.

use std::collections::{BTreeSet, HashMap};

use mainspring_engine::{
    domain::{
        auto_disable::AutoDisable,
        dead::{Death, Fingerprint, Resolution},
        delivery::DeliveryState,
        ids::{JobUid, NoticeId, SinkUid},
        instant::Instant,
        job::{Job, JobState, Pause},
        ledger::Range,
        names::{JobName, NamespaceName, ScheduleName},
        notice::{About, Kind, Notice, RunKind},
        sink::MAX_OPEN,
    },
    ports::store::{StoreError, StoreResult},
};
use sea_orm::Value;

use super::{
    Known,
    rows::{name, time},
    statement::{Cells, exec, insert, query, query_one, single},
    steps::Loaded,
    writer::Tx,
};

/// Open dead letters that went wrong alike are counted up to here.
const MAX_ALIKE: i64 = 1_000;

/// Sinks that are told anything.
const TOLD: &str = "SELECT uid, namespace_id, kinds, job FROM sink WHERE delete_time IS NULL AND disabled IS NULL";

/// How many deliveries of a sink are open, as far as it matters.
pub(super) const OPEN: &str =
    "SELECT count(*) FROM (SELECT 1 FROM delivery WHERE sink_uid = ? AND next_time IS NOT NULL LIMIT ?)";

/// How many open dead letters went wrong alike.
pub(super) const ALIKE: &str =
    "SELECT count(*) FROM (SELECT 1 FROM run WHERE fingerprint = ? AND resolution = ? LIMIT ?)";

/// A sink, as far as it decides what it is told.
struct Listener {
    uid: SinkUid,
    namespace: NamespaceName,
    kinds: BTreeSet<Kind>,
    job: Option<JobName>,
}

impl Listener {
    fn wants(&self, notice: &Notice) -> bool {
        self.namespace == notice.namespace
            && self.kinds.contains(&notice.kind())
            && self.job.as_ref().is_none_or(|only| Some(only) == notice.job.as_ref())
    }
}

/// Kinds as a column holds them: a bit each.
pub(super) fn mask(kinds: &BTreeSet<Kind>) -> i32 {
    kinds.iter().map(|kind| 1 << kind.code()).sum()
}

/// Reads kinds.
pub(super) fn kinds(mask: i32) -> BTreeSet<Kind> {
    Kind::ALL.into_iter().filter(|kind| mask & (1 << kind.code()) != 0).collect()
}

/// Makes a delivery of each notice for each sink that wants it.
pub(super) async fn tell(tx: &Tx, known: &Known, now: Instant, notices: Vec<Notice>) -> StoreResult<()> {
    if notices.is_empty() || !known.sinks.may() {
        return Ok(());
    }
    let sinks = listeners(tx, known).await?;
    let mut wanted: HashMap<SinkUid, Vec<[Value; 7]>> = HashMap::new();
    for mut notice in notices {
        let wants: Vec<_> = sinks.iter().filter(|sink| sink.wants(&notice)).collect();
        if wants.is_empty() {
            continue;
        }
        if let About::Run { kind: RunKind::DeadLettered(open), death, .. } = &mut notice.about {
            *open = alike(tx, death.fingerprint).await?;
        }
        let body = notice.body();
        for sink in wants {
            wanted.entry(sink.uid).or_default().push([
                sink.uid.uuid().into(),
                notice.id.uuid().into(),
                notice.kind().code().into(),
                DeliveryState::Pending.code().into(),
                time(now),
                time(now),
                body.clone().into(),
            ]);
        }
    }
    for (sink, mut rows) in wanted {
        let room = MAX_OPEN.saturating_sub(open(tx, sink).await?);
        let dropped = rows.len().saturating_sub(room);
        rows.truncate(room);
        insert(tx, "delivery (sink_uid, id, kind, state, next_time, create_time, body)", rows, "").await?;
        if dropped > 0 {
            let dropped = i64::try_from(dropped).unwrap_or(i64::MAX);
            exec(tx, "UPDATE sink SET dropped = dropped + ? WHERE uid = ?", vec![dropped.into(), sink.uuid().into()])
                .await?;
        }
    }
    Ok(())
}

async fn listeners(tx: &Tx, known: &Known) -> StoreResult<Vec<Listener>> {
    let rows = query(tx, TOLD, Vec::new()).await?;
    if rows.is_empty() {
        known.sinks.none();
    }
    let read = rows.iter().map(|row| {
        let mut cells = Cells::of(row);
        Ok(Listener {
            uid: SinkUid::from_uuid(cells.next()?),
            namespace: known.lanes.namespace_name(cells.next()?)?,
            kinds: kinds(cells.next()?),
            job: cells.next::<Option<String>>()?.map(name).transpose()?,
        })
    });
    read.collect()
}

async fn open(tx: &Tx, sink: SinkUid) -> StoreResult<usize> {
    let most = i64::try_from(MAX_OPEN).unwrap_or(i64::MAX);
    let row = query_one(tx, OPEN, vec![sink.uuid().into(), most.into()]).await?;
    let count = row.map(|row| single::<i64>(&row)).transpose()?.unwrap_or_default();
    Ok(usize::try_from(count).unwrap_or_default())
}

async fn alike(tx: &Tx, fingerprint: Fingerprint) -> StoreResult<u64> {
    let values = vec![String::from(fingerprint).into(), Resolution::Open.code().into(), MAX_ALIKE.into()];
    let row = query_one(tx, ALIKE, values).await?;
    let count = row.map(|row| single::<i64>(&row)).transpose()?.unwrap_or_default();
    Ok(u64::try_from(count).unwrap_or_default())
}

/// What there is to tell of a run that came to its end: nothing, unless it is a dead letter from now on.
pub(super) fn of_run(now: Instant, run: &Loaded, job: Option<&JobName>) -> Vec<Notice> {
    let Some(death) = &run.dead else { return Vec::new() };
    let lane = &run.lane.lane;
    let told = |kind| Notice {
        id: NoticeId::new(now),
        time: now,
        namespace: lane.namespace.clone(),
        job: job.cloned(),
        about: About::Run {
            kind,
            run: run.id,
            job_type: lane.job_type.as_str().into(),
            queue: lane.queue.clone(),
            attempt: run.life.attempt,
            reason: run.life.reason.clone().unwrap_or_default(),
            death: Death::clone(death),
        },
    };
    // What is dead is counted once it is written.
    vec![told(RunKind::Failed), told(RunKind::DeadLettered(0))]
}

/// What there is to tell of instants of a schedule.
pub(super) fn of_range(
    now: Instant,
    namespace: &NamespaceName,
    job: &JobName,
    schedule: &ScheduleName,
    range: Range,
) -> Notice {
    let about = About::Schedule { schedule: schedule.clone(), range };
    Notice { id: NoticeId::new(now), time: now, namespace: namespace.clone(), job: Some(job.clone()), about }
}

/// Tells that a job was paused by itself.
pub(super) async fn disabled(tx: &Tx, known: &Known, now: Instant, job: &Job, pause: &Pause) -> StoreResult<()> {
    let failures = match job.spec.auto_disable {
        AutoDisable::Off => 0,
        AutoDisable::After { failures, .. } => u64::from(failures.get()),
    };
    let about = About::AutoDisabled { failures, note: pause.note.clone() };
    tell(tx, known, now, vec![of_job(now, job, about)]).await
}

/// Tells of a job that came to ERROR by a change: what is left of its schedules never fires.
pub(super) async fn broken(tx: &Tx, known: &Known, now: Instant, before: JobState, job: &Job) -> StoreResult<()> {
    let is_new = job.state == JobState::Error && before != JobState::Error;
    let notices = is_new.then(|| of_job(now, job, About::NeverFires)).into_iter().collect();
    tell(tx, known, now, notices).await
}

fn of_job(now: Instant, job: &Job, about: About) -> Notice {
    let (namespace, job) = (job.namespace.clone(), Some(job.name.clone()));
    Notice { id: NoticeId::new(now), time: now, namespace, job, about }
}

/// Tells of a schedule whose job is known by its identity alone, since its definition may be past reading.
pub(super) async fn of_schedule(
    tx: &Tx,
    known: &Known,
    now: Instant,
    job: JobUid,
    (schedule, range): (&ScheduleName, Range),
) -> StoreResult<()> {
    if !known.sinks.may() {
        return Ok(());
    }
    let sql = "SELECT namespace_id, name FROM job WHERE uid = ?";
    let row = query_one(tx, sql, vec![job.uuid().into()]).await?;
    let row = row.ok_or_else(|| StoreError::Corrupt(format!("job {job} is gone")))?;
    let mut cells = Cells::of(&row);
    let (namespace, job) = (known.lanes.namespace_name(cells.next()?)?, name(cells.next()?)?);
    tell(tx, known, now, vec![of_range(now, &namespace, &job, schedule, range)]).await
}
