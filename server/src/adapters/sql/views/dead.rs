//! Dead letters by what went wrong: groups that one index counts, where the filter asks for nothing else.

use mainspring_engine::{
    domain::{dead::Fingerprint, filter::Filter, instant::Instant, names::Scope},
    ports::store::{DeadGroup, Direction, StoreResult},
};
use sea_orm::{
    Condition, ConnectionTrait,
    sea_query::{Expr, SelectStatement},
};
use uuid::Uuid;

use super::{
    super::{
        SqliteStore, filter,
        rows::name,
        statement::{Cells, failed, query_in},
    },
    runs,
};

/// The columns of a group.
const GROUP: &str = "run.fingerprint, count(*), min(run.end_time), max(run.end_time), max(run.id)";

pub(in super::super) async fn groups(
    store: &SqliteStore,
    scope: &Scope,
    filter: &Filter,
    after: Option<(Instant, Fingerprint)>,
    limit: usize,
) -> StoreResult<Vec<DeadGroup>> {
    let Some(namespace) = store.known.lanes.namespace(&scope.0) else { return Ok(Vec::new()) };
    let wanted = runs::passing(store, namespace, filter).await?;
    let rows = store.reads.query_all(&select(wanted, after, limit)).await.map_err(failed)?;
    let mut groups = Vec::with_capacity(rows.len());
    for row in &rows {
        let mut cells = Cells::of(row);
        let fingerprint: Fingerprint = name(cells.next()?)?;
        let count = cells.parse("a count", |count: &i64| u64::try_from(*count).ok())?;
        let (first, last) = (Instant::from_micros(cells.next()?), Instant::from_micros(cells.next()?));
        groups.push((fingerprint, count, first, last, cells.next::<Uuid>()?));
    }
    let ids: Vec<Uuid> = groups.iter().map(|(.., example)| *example).collect();
    let head = format!("SELECT {} FROM run WHERE id IN", runs::columns(false));
    let examples = runs::views(store, &query_in(&store.reads, &head, &ids, "").await?, false).await?;
    let mut failures = runs::failures(store, &examples).await?;
    let shown = groups.into_iter().map(|(fingerprint, count, first, last, id)| {
        let example = examples.iter().find(|run| run.run.uuid() == id)?.clone();
        let failure = failures.remove(&example.run);
        Some(DeadGroup { fingerprint, count, first, last, example, failure })
    });
    // One whose example retention has taken in between comes with another one the next time.
    Ok(shown.flatten().collect())
}

/// Groups of what passes, the one that grew last first.
pub(in super::super) fn select(
    wanted: Condition,
    after: Option<(Instant, Fingerprint)>,
    limit: usize,
) -> SelectStatement {
    let wanted = Condition::all().add(wanted).add(Expr::cust("run.fingerprint IS NOT NULL"));
    let keys = ["max(run.end_time)", "run.fingerprint"];
    let mut select = filter::select(GROUP, "run", wanted, &keys, Direction::Down, limit);
    select.add_group_by([Expr::cust("run.fingerprint")]);
    if let Some((last, fingerprint)) = after {
        let values = [last.as_micros().into(), sea_orm::Value::from(fingerprint.to_string())];
        select.and_having(Expr::cust_with_values("(max(run.end_time), run.fingerprint) < (?, ?)", values));
    }
    select
}
