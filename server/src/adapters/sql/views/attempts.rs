//! Attempts of a run: those that ended without success have rows, the last one is told by the run itself.

use std::collections::HashMap;

use mainspring_engine::{
    domain::{
        attempt::AttemptState,
        ids::{RunId, WorkerId},
        names::Scope,
        run::{Lifecycle, RunState},
    },
    ports::store::{AttemptView, StoreResult},
};
use sea_orm::QueryResult;
use uuid::Uuid;

use super::super::{
    SqliteStore,
    rows::{maybe, read_count, read_json},
    statement::{Cells, query, query_in},
};

pub(super) async fn list(store: &SqliteStore, scope: &Scope, run: RunId) -> StoreResult<Option<Vec<AttemptView>>> {
    let Some(run) = super::runs::one(store, scope, run).await? else { return Ok(None) };
    let sql = "SELECT attempt, state, worker_id, lease_time, start_time, end_time, failure, cause, log_lines \
         FROM attempt_end WHERE run_id = ? ORDER BY attempt";
    let rows = query(&store.reads, sql, vec![run.run.uuid().into()]).await?;
    let mut attempts = rows.iter().map(ended).collect::<StoreResult<Vec<_>>>()?;
    attempts.extend(last(&run.life));
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
    Ok(Some(attempts))
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
        cause: cells.next()?,
        log_lines: read_count(&mut cells)?,
    })
}

/// The attempt that is open, or that succeeded.
fn last(life: &Lifecycle) -> Option<AttemptView> {
    let state = match (life.state, life.open) {
        (RunState::Succeeded, _) => AttemptState::Succeeded,
        (RunState::Leased, _) => AttemptState::Leased,
        (RunState::Running, _) => AttemptState::Running,
        // The lease has expired, and nobody knows yet whether its worker comes back.
        (_, Some(_)) if life.start_time.is_some() => AttemptState::Running,
        (_, Some(_)) => AttemptState::Leased,
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
        cause: if life.state.is_active() || over { String::new() } else { "EXPIRED".into() },
        log_lines: life.log_lines,
    })
}
