//! Runs as lists show them.

use std::collections::HashMap;

use mainspring_engine::{
    domain::{
        dead::{DeadLetter, Resolution},
        filter::{Filter, Op, Value as Wanted},
        ids::{BackfillId, JobUid, RunId},
        instant::Instant,
        names::{ScheduleName, Scope},
        payload::{Failure, Payload},
        run::{Lifecycle, RunOrigin, RunState},
    },
    ports::store::{Direction, JobRef, Listed, Page, RunDetail, RunView, StoreResult},
};
use sea_orm::{Condition, ConnectionTrait, QueryResult, sea_query::Expr};
use uuid::Uuid;

use super::{
    super::{
        SqliteStore, filter,
        insert::{INPUT, OUTPUT},
        rows::{ID_SLACK, LIFE, first_id, life, maybe, name, read_json, read_labels},
        statement::{Cells, failed, query_in, query_one, single},
    },
    fitting,
};

/// The columns of [`view`], in order; those of [`detail`] follow.
pub(super) fn columns(detail: bool) -> String {
    let list = "run.id, run.lane_id, run.job_uid, run.job_version, run.schedule, run.origin, run.labels, run.priority, \
         run.fairness_key, \
         (SELECT limit_key.key FROM limit_key WHERE limit_key.id = run.key_id), run.unique_key, run.nominal_time, run.zone_data_id, run.backfill_id, run.due_time, run.late, run.parent_id, run.request_id, run.note, \
         run.fingerprint, run.resolution, run.resolve_time, run.resolve_note, run.resolve_actor";
    let more = ", payload_type, payload, spilled, output_type, output, policy";
    format!("{list}, {LIFE}{}", if detail { more } else { "" })
}

pub(super) async fn one(store: &SqliteStore, scope: &Scope, run: RunId) -> StoreResult<Option<RunView>> {
    let sql = format!("SELECT {} FROM run WHERE id = ?", columns(true));
    let Some(row) = query_one(&store.reads, sql, vec![run.uuid().into()]).await? else { return Ok(None) };
    let found = views(store, &[row], true).await?.pop();
    Ok(found.filter(|run| run.namespace == scope.0))
}

pub(super) async fn lifecycle(store: &SqliteStore, scope: &Scope, run: RunId) -> StoreResult<Option<Lifecycle>> {
    let sql = format!("SELECT lane_id, {LIFE} FROM run WHERE id = ?");
    let Some(row) = query_one(&store.reads, sql, vec![run.uuid().into()]).await? else { return Ok(None) };
    let mut cells = Cells::of(&row);
    let here = store.known.lanes.of(cells.next()?)?.lane.namespace == scope.0;
    let life = life(&mut cells)?;
    Ok(here.then_some(life))
}

/// How many bytes the detail of a run has, about.
const SIZE: &str = "coalesce(octet_length(run.payload), 0) + coalesce(octet_length(run.output), 0) \
     + coalesce((SELECT sum(octet_length(run_data.data)) FROM run_data WHERE run_data.run_id = run.id), 0) \
     + coalesce((SELECT octet_length(attempt_end.failure) FROM attempt_end WHERE attempt_end.run_id = run.id \
     AND attempt_end.failure IS NOT NULL ORDER BY attempt_end.attempt DESC LIMIT 1), 0)";

pub(super) async fn list(
    store: &SqliteStore,
    scope: &Scope,
    filter: &Filter,
    direction: Direction,
    page: Page,
    detail: bool,
) -> StoreResult<Listed<RunView>> {
    let Page { after, limit, bytes } = page;
    let none = || Ok(Listed { entries: Vec::new(), cut: false });
    let Some(namespace) = store.known.lanes.namespace(&scope.0) else { return none() };
    let mut wanted = wanted(store, namespace, filter).await?;
    if let Some(after) = after {
        let Ok(after) = after.parse::<RunId>() else { return none() };
        let beyond = format!("run.id {} ?", filter::beyond(direction));
        wanted = Condition::all().add(wanted).add(Expr::cust_with_values(beyond, [after.uuid()]));
    }
    let select = |columns: &str| filter::select(columns, "run", wanted, &["run.id"], direction, limit);
    if !detail {
        let rows = store.reads.query_all(&select(&columns(false))).await.map_err(failed)?;
        return Ok(Listed { entries: views(store, &rows, false).await?, cut: false });
    }
    // What is large is read only once it is known to fit.
    let rows = store.reads.query_all(&select(&format!("run.id, {SIZE}"))).await.map_err(failed)?;
    let sized = rows.iter().map(|row| {
        let mut cells = Cells::of(row);
        Ok((cells.next::<Uuid>()?, cells.next::<i64>()?))
    });
    let (ids, cut) = fitting(sized.collect::<StoreResult<_>>()?, bytes);
    let head = format!("SELECT {} FROM run WHERE id IN", columns(true));
    let rows = query_in(&store.reads, &head, &ids, "").await?;
    let mut found: HashMap<Uuid, RunView> =
        views(store, &rows, true).await?.into_iter().map(|run| (run.run.uuid(), run)).collect();
    // One that retention has taken in between is no longer there.
    Ok(Listed { entries: ids.iter().filter_map(|id| found.remove(id)).collect(), cut })
}

/// The ids of runs that pass a filter, the smallest first.
pub(super) async fn ids(
    store: &SqliteStore,
    scope: &Scope,
    filter: &Filter,
    after: Option<RunId>,
    limit: usize,
) -> StoreResult<Vec<RunId>> {
    let Some(namespace) = store.known.lanes.namespace(&scope.0) else { return Ok(Vec::new()) };
    let mut wanted = wanted(store, namespace, filter).await?;
    if let Some(after) = after {
        wanted = Condition::all().add(wanted).add(Expr::cust_with_values("run.id > ?", [after.uuid()]));
    }
    let select = filter::select("run.id", "run", wanted, &["run.id"], Direction::Up, limit);
    let rows = store.reads.query_all(&select).await.map_err(failed)?;
    rows.iter().map(|row| single(row).map(RunId::from_uuid)).collect()
}

/// What passes a filter, as the index of a list finds it.
async fn wanted(store: &SqliteStore, namespace: i32, filter: &Filter) -> StoreResult<Condition> {
    let mut wanted = passing(store, namespace, filter).await?;
    if let Some(hint) = narrow(store, filter).await? {
        wanted = Condition::all().add(wanted).add(Expr::cust(hint));
    }
    Ok(wanted)
}

/// What passes a filter.
pub(super) async fn passing(store: &SqliteStore, namespace: i32, filter: &Filter) -> StoreResult<Condition> {
    let mut wanted = filter::runs(&store.reads, namespace, filter).await?;
    if store.known.lanes.has_other_than(namespace) {
        let sql = "run.lane_id IN (SELECT lane.id FROM lane WHERE lane.namespace_id = ?)";
        wanted = Condition::all().add(wanted).add(Expr::cust_with_values(sql, [namespace]));
    }
    let made = Made::by(filter);
    for (test, bound) in [("run.id >= ?", made.from), ("run.id < ?", made.before)] {
        if let Some(bound) = bound {
            wanted = Condition::all().add(wanted).add(Expr::cust_with_values(test, [first_id(bound)]));
        }
    }
    Ok(wanted)
}

/// When the ids of the runs that pass a filter were made: ids sort by that, so a list of the last hour does not read last
/// year.
#[derive(Clone, Copy, Default)]
struct Made {
    from: Option<Instant>,
    before: Option<Instant>,
}

impl Made {
    fn by(filter: &Filter) -> Self {
        match filter {
            Filter::And(parts) => parts.iter().map(Self::by).fold(Self::default(), Self::both),
            Filter::Test { field: "create_time", op, value: Wanted::Time(at) } => {
                let from = matches!(op, Op::Equal | Op::Greater | Op::GreaterEqual).then(|| at.minus(ID_SLACK));
                let before = matches!(op, Op::Equal | Op::Less | Op::LessEqual).then(|| at.plus(ID_SLACK));
                Self { from, before }
            }
            Filter::All | Filter::Or(_) | Filter::Not(_) | Filter::Test { .. } => Self::default(),
        }
    }

    fn both(self, other: Self) -> Self {
        Self {
            from: [self.from, other.from].into_iter().flatten().max(),
            before: [self.before, other.before].into_iter().flatten().min(),
        }
    }
}

/// So many rows are read by an index and sorted; where there are more, they are dense enough to be met in order.
const FEW: i64 = 2_000;

/// What a filter for one state says about columns that have an index of their own. Runs that wait, are at workers or have
/// failed may be few among many; without this a list of them would read everything.
async fn narrow(store: &SqliteStore, filter: &Filter) -> StoreResult<Option<String>> {
    let columns = match is_dead(filter) {
        true => &[DEAD][..],
        false => state_of(filter).map(indexed).unwrap_or_default(),
    };
    // The index of what has failed is in the order of the list.
    if columns == [DEAD] {
        return Ok(Some(format!("run.{DEAD} IS NOT NULL")));
    }
    let mut few = Vec::with_capacity(columns.len());
    for column in columns {
        let sql = format!("SELECT count(*) FROM (SELECT 1 FROM run WHERE {column} IS NOT NULL LIMIT {FEW})");
        let row = query_one(&store.reads, sql, Vec::new()).await?;
        if row.map(|row| single::<i64>(&row)).transpose()?.is_none_or(|count| count >= FEW) {
            return Ok(None);
        }
        few.push(format!("SELECT few.id FROM run AS few WHERE few.{column} IS NOT NULL"));
    }
    Ok((!few.is_empty()).then(|| format!("run.id IN ({})", few.join(" UNION ALL "))))
}

/// The one state that a filter asks for.
fn state_of(filter: &Filter) -> Option<RunState> {
    match filter {
        Filter::And(parts) => parts.iter().find_map(state_of),
        Filter::Test { field: "state", op: Op::Equal, value: Wanted::Number(code) } => {
            RunState::from_code(i32::try_from(*code).ok()?)
        }
        Filter::All | Filter::Or(_) | Filter::Not(_) | Filter::Test { .. } => None,
    }
}

/// Whether a filter asks for dead letters that are resolved in one way, which are few among runs.
fn is_dead(filter: &Filter) -> bool {
    match filter {
        Filter::And(parts) => parts.iter().any(is_dead),
        Filter::Test { field: "resolution", op: Op::Equal, .. } => true,
        Filter::All | Filter::Or(_) | Filter::Not(_) | Filter::Test { .. } => false,
    }
}

/// Set of what failed or took too long.
const DEAD: &str = "dead_time";

/// Columns of which one is set in a state and in few others, and that have an index each.
fn indexed(state: RunState) -> &'static [&'static str] {
    match state {
        RunState::Queued => &["ready_lane", "parked_key"],
        RunState::Scheduled => &["wake_time", "buffer"],
        RunState::RetryWait => &["wake_time"],
        RunState::Leased | RunState::Running => &["open_token"],
        RunState::Failed | RunState::TimedOut => &[DEAD],
        RunState::Succeeded | RunState::Cancelled => &[],
    }
}

pub(super) async fn views(store: &SqliteStore, rows: &[QueryResult], detailed: bool) -> StoreResult<Vec<RunView>> {
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        found.push(view(store, &mut Cells::of(row), detailed)?);
    }
    let jobs = found.iter().filter_map(|(_, job, _)| Some(job.as_ref()?.0));
    let names = store.known.names.resolve(&store.reads, jobs).await?;
    let mut runs: Vec<RunView> = Vec::with_capacity(found.len());
    let mut spilled = Vec::new();
    for (mut run, job, elsewhere) in found {
        run.job = job.and_then(|(uid, version)| Some(JobRef { uid, name: names.get(&uid)?.clone(), version }));
        if elsewhere != 0 {
            spilled.push(run.run.uuid());
        }
        runs.push(run);
    }
    if detailed {
        complete(store, &mut runs, &spilled).await?;
    }
    Ok(runs)
}

/// A run without its job, the job and its version, and which of its bytes are elsewhere.
type Found = (RunView, Option<(JobUid, i64)>, i32);

fn view(store: &SqliteStore, cells: &mut Cells<'_>, detailed: bool) -> StoreResult<Found> {
    let run = RunId::from_uuid(cells.next()?);
    let lane = store.known.lanes.of(cells.next()?)?.lane.clone();
    let job = cells.next::<Option<Uuid>>()?.map(JobUid::from_uuid).zip(cells.next::<Option<i64>>()?);
    let schedule = cells.next::<Option<String>>()?.map(name::<ScheduleName>).transpose()?;
    let origin = cells.parse("a run's origin", |code: &i32| RunOrigin::from_code(*code))?;
    let labels = read_labels(cells.next()?)?;
    let priority = cells.parse("a priority", |number: &i32| u8::try_from(*number).ok())?;
    let fairness_key = name(cells.next()?)?;
    let concurrency_key = cells.next::<Option<String>>()?.map(name).transpose()?;
    let unique_key = cells.next::<Option<String>>()?.map(name).transpose()?;
    let nominal_time = maybe(cells.next()?);
    let zone_data = cells.next::<Option<i32>>()?.and_then(|id| store.known.zones.version(id));
    let backfill = cells.next::<Option<Uuid>>()?.map(BackfillId::from_uuid);
    let due_time = Instant::from_micros(cells.next()?);
    let late = cells.next()?;
    let parent = cells.next::<Option<Uuid>>()?.map(RunId::from_uuid);
    let request_id = cells.next::<Option<String>>()?.unwrap_or_default();
    let note = cells.next::<Option<String>>()?.unwrap_or_default();
    let dead = dead(cells)?;
    let life = life(cells)?;
    let (detail, spilled) =
        if detailed { detail(store, cells).map(|(detail, bits)| (Some(detail), bits))? } else { (None, 0) };
    let view = RunView {
        run,
        namespace: lane.namespace,
        job: None,
        schedule,
        job_type: lane.job_type,
        selector: lane.selector,
        queue: lane.queue,
        origin,
        life,
        labels,
        priority,
        fairness_key,
        concurrency_key,
        unique_key,
        nominal_time,
        zone_data,
        backfill,
        due_time,
        late,
        parent,
        request_id,
        note,
        dead,
        detail: detail.map(Box::new),
    };
    Ok((view, job, spilled))
}

fn dead(cells: &mut Cells<'_>) -> StoreResult<Option<DeadLetter>> {
    let fingerprint = cells.next::<Option<String>>()?.map(name).transpose()?;
    let resolution = cells.parse("a resolution", |code: &Option<i32>| match code {
        Some(code) => Resolution::from_code(*code).map(Some),
        None => Some(None),
    })?;
    let time = maybe(cells.next()?);
    let note = cells.next::<Option<String>>()?.unwrap_or_default();
    let actor = cells.next::<Option<String>>()?.unwrap_or_default();
    let dead = fingerprint.zip(resolution);
    Ok(dead.map(|(fingerprint, resolution)| DeadLetter { fingerprint, resolution, note, actor, time }))
}

fn detail(store: &SqliteStore, cells: &mut Cells<'_>) -> StoreResult<(RunDetail, i32)> {
    let payload = Payload { content_type: cells.next()?, data: cells.next::<Option<_>>()?.unwrap_or_default() };
    let spilled = cells.next()?;
    let (content_type, data): (Option<String>, Option<Vec<u8>>) = (cells.next()?, cells.next()?);
    let output = content_type.map(|content_type| Payload { content_type, data: data.unwrap_or_default() });
    let policy = store.known.policies.read(cells.next()?)?;
    Ok((RunDetail { payload, output, failure: None, policy: policy.as_ref().clone() }, spilled))
}

/// Reads what is kept beside the rows: large bytes, and why attempts failed.
async fn complete(store: &SqliteStore, runs: &mut [RunView], spilled: &[Uuid]) -> StoreResult<()> {
    let mut bytes = HashMap::new();
    for row in query_in(&store.reads, "SELECT run_id, kind, data FROM run_data WHERE run_id IN", spilled, "").await? {
        let mut cells = Cells::of(&row);
        let key = (RunId::from_uuid(cells.next()?), cells.next::<i32>()?);
        bytes.insert(key, cells.next::<Vec<u8>>()?);
    }
    let mut failures = failures(store, runs).await?;
    for run in runs {
        let Some(detail) = &mut run.detail else { continue };
        if let Some(data) = bytes.remove(&(run.run, INPUT)) {
            detail.payload.data = data;
        }
        if let (Some(output), Some(data)) = (&mut detail.output, bytes.remove(&(run.run, OUTPUT))) {
            output.data = data;
        }
        // What an earlier attempt failed with says nothing of a run that came to a good end.
        if run.life.state != RunState::Succeeded {
            detail.failure = failures.remove(&run.run);
        }
    }
    Ok(())
}

/// What runs failed with last.
pub(super) async fn failures(store: &SqliteStore, runs: &[RunView]) -> StoreResult<HashMap<RunId, Failure>> {
    let ids: Vec<Uuid> = runs.iter().map(|run| run.run.uuid()).collect();
    let head = "SELECT run_id, failure FROM attempt_end WHERE run_id IN";
    let last = "AND failure IS NOT NULL AND attempt = (SELECT max(last.attempt) FROM attempt_end AS last \
         WHERE last.run_id = attempt_end.run_id AND last.failure IS NOT NULL)";
    let mut failures = HashMap::new();
    for row in query_in(&store.reads, head, &ids, last).await? {
        let mut cells = Cells::of(&row);
        let run = RunId::from_uuid(cells.next()?);
        failures.insert(run, read_json(&cells.next::<String>()?)?);
    }
    Ok(failures)
}
