//! Attempts of a run: those that ended without success have rows, the last one is told by the run itself.

use std::collections::HashMap;

use mainspring_engine::{
    domain::{
        attempt::{AttemptState, LossReason},
        ids::{RunId, WorkerId},
        names::Scope,
        run::{Lifecycle, RunState},
    },
    ports::store::{AttemptView, Listed, Page, StoreError, StoreResult},
};
use sea_orm::QueryResult;
use uuid::Uuid;

use super::{
    super::{
        SqliteStore,
        rows::{maybe, read_count, read_json},
        statement::{Cells, query, query_in},
    },
    fitting, limit,
};

pub(super) async fn list(
    store: &SqliteStore,
    scope: &Scope,
    run: RunId,
    page: Page,
) -> StoreResult<Option<Listed<AttemptView>>> {
    let Some(life) = super::runs::lifecycle(store, scope, run).await? else { return Ok(None) };
    let Page { after, limit: most, bytes } = page;
    let after: i64 = match after.as_deref().map(str::parse).transpose() {
        Ok(after) => after.unwrap_or_default(),
        Err(_) => return Ok(Some(Listed { entries: Vec::new(), cut: false })),
    };
    // What failed may say much: it is read once it is known to fit.
    let sql = "SELECT attempt, coalesce(octet_length(failure), 0) FROM attempt_end WHERE run_id = ? AND attempt > ? \
         ORDER BY attempt LIMIT ?";
    let sized = query(&store.reads, sql, vec![run.uuid().into(), after.into(), limit(most)]).await?;
    let sized = sized.iter().map(|row| {
        let mut cells = Cells::of(row);
        Ok((cells.next::<i64>()?, cells.next::<i64>()?))
    });
    let (numbers, cut) = fitting(sized.collect::<StoreResult<_>>()?, bytes);
    let sql = "SELECT attempt, state, worker_id, lease_time, start_time, end_time, failure, cause, log_lines FROM attempt_end \
         WHERE run_id = ? AND attempt > ? ORDER BY attempt LIMIT ?";
    let rows = query(&store.reads, sql, vec![run.uuid().into(), after.into(), limit(numbers.len())]).await?;
    let mut attempts = rows.iter().map(ended).collect::<StoreResult<Vec<_>>>()?;
    attempts.extend(last(&life).filter(|last| !cut && attempts.len() < most && last.attempt > after));
    let workers: Vec<Uuid> = attempts.iter().filter_map(|attempt| Some(attempt.worker?.uuid())).collect();
    let mut names = HashMap::new();
    for row in
        query_in(&store.reads, "SELECT worker_id, name FROM worker_profile WHERE worker_id IN", &workers, "").await?
    {
        let mut cells = Cells::of(&row);
        names.insert(WorkerId::from_uuid(cells.next()?), cells.next::<String>()?);
    }
    for attempt in &mut attempts {
        attempt.worker_name = attempt.worker.and_then(|worker| names.get(&worker).cloned()).unwrap_or_default();
    }
    Ok(Some(Listed { entries: attempts, cut }))
}

fn ended(row: &QueryResult) -> StoreResult<AttemptView> {
    let mut cells = Cells::of(row);
    Ok(AttemptView {
        attempt: cells.next()?,
        state: cells.parse("an attempt's state", |code: &i32| AttemptState::from_code(*code))?,
        worker: cells.next::<Option<Uuid>>()?.map(WorkerId::from_uuid),
        worker_name: String::new(),
        lease_time: maybe(cells.next()?),
        start_time: maybe(cells.next()?),
        end_time: maybe(cells.next()?),
        failure: cells.next::<Option<String>>()?.map(|text| read_json(&text)).transpose()?,
        cause: match cells.next::<String>()?.as_str() {
            "" => None,
            name => {
                let unknown = || StoreError::Corrupt(format!("an attempt ended for {name}, which is no reason"));
                Some(LossReason::from_name(name).ok_or_else(unknown)?)
            }
        },
        log_lines: read_count(&mut cells)?,
    })
}

/// The attempt that is open, or that succeeded.
fn last(life: &Lifecycle) -> Option<AttemptView> {
    let state = match (life.state, life.open) {
        (RunState::Succeeded, _) => AttemptState::Succeeded,
        (RunState::Leased, _) => AttemptState::Leased,
        (RunState::Running, _) => AttemptState::Running,
        // The lease has expired. Its worker may come back with it until somebody else is given the run; it has no end so far.
        (_, Some(_)) => AttemptState::Lost,
        (_, None) => return None,
    };
    let over = state == AttemptState::Succeeded;
    Some(AttemptView {
        attempt: life.attempt,
        state,
        worker: life.worker,
        worker_name: String::new(),
        lease_time: life.lease_time,
        start_time: life.start_time,
        end_time: life.end_time.filter(|_| over),
        failure: None,
        cause: (state == AttemptState::Lost).then_some(LossReason::Expired),
        log_lines: life.log_lines,
    })
}
