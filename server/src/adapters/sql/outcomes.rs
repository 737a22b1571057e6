//! The [`Outcomes`] role: results, every other step by the table, and what time alone will change.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use async_trait::async_trait;
use mainspring_engine::{
    domain::{
        attempt::AttemptKey,
        ids::{JobUid, RunId, WorkerId},
        instant::Instant,
        names::Scope,
        run::RunState,
        transition::Event,
    },
    ports::store::{Applied, Apply, Moved, Outcomes, Report, ReportAnswer, StoreError, StoreResult},
};

use super::{
    Known, SqliteStore,
    hot::{self, Fence},
    keys,
    leases::owners,
    restricted::Restricted,
    rows::{maybe, time},
    statement::{Cells, chunks, query, query_one, single, tuples},
    steps::Steps,
    stops,
    writer::Tx,
};

#[async_trait]
impl Outcomes for SqliteStore {
    async fn report(&self, now: Instant, reports: Vec<Report>) -> StoreResult<Vec<ReportAnswer>> {
        let known = Arc::clone(&self.known);
        self.write(move |tx| Box::pin(async move { report(tx, &known, now, reports).await })).await
    }

    async fn apply(&self, now: Instant, steps: Vec<Apply>) -> StoreResult<Vec<Applied>> {
        let known = Arc::clone(&self.known);
        self.write(move |tx| Box::pin(async move { apply(tx, &known, now, steps).await })).await
    }

    async fn past_deadline(&self, now: Instant, limit: usize) -> StoreResult<Vec<RunId>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = query(&self.stage_reads, PAST_DEADLINE, vec![time(now), limit.into()]).await?;
        rows.iter().map(|row| single(row).map(RunId::from_uuid)).collect()
    }

    async fn next_deadline(&self) -> StoreResult<Option<Instant>> {
        let row = query_one(&self.stage_reads, NEXT_DEADLINE, Vec::new()).await?;
        Ok(maybe(row.map(|row| single(&row)).transpose()?.flatten()))
    }

    async fn cancel_waiting(&self, now: Instant, job: JobUid, limit: usize) -> StoreResult<(Vec<Moved>, bool)> {
        let known = Arc::clone(&self.known);
        self.write(move |tx| Box::pin(async move { stops::of_deleted(tx, &known, now, job, limit).await })).await
    }

    async fn cancel_paused(
        &self,
        now: Instant,
        job: JobUid,
        workers: bool,
        limit: usize,
    ) -> StoreResult<(Vec<Moved>, bool)> {
        let known = Arc::clone(&self.known);
        self.write(move |tx| Box::pin(async move { stops::of_paused(tx, &known, now, job, workers, limit).await }))
            .await
    }

    async fn half_deleted(&self, before: Instant, limit: usize) -> StoreResult<Vec<JobUid>> {
        let values = vec![time(before), i64::try_from(limit).unwrap_or(i64::MAX).into()];
        let rows = query(&self.stage_reads, HALF_DELETED, values).await?;
        rows.iter().map(|row| single(row).map(JobUid::from_uuid)).collect()
    }
}

/// When time alone changes any run next.
pub(super) const NEXT_DEADLINE: &str = "SELECT min(deadline_time) FROM run WHERE deadline_time IS NOT NULL";

/// Jobs whose delete is not done.
pub(super) const HALF_DELETED: &str =
    "SELECT uid FROM job WHERE half_deleted AND delete_time <= ? ORDER BY delete_time LIMIT ?";

/// Runs that time alone changes next.
pub(super) const PAST_DEADLINE: &str = "SELECT id FROM run WHERE deadline_time IS NOT NULL AND deadline_time <= ? \
     ORDER BY deadline_time LIMIT ?";

async fn report(tx: &Tx, known: &Arc<Known>, now: Instant, reports: Vec<Report>) -> StoreResult<Vec<ReportAnswer>> {
    let restricted = Restricted::load(tx, &known.restricted).await?;
    let mut succeeded = succeed(tx, known, now, &restricted, &reports).await?;
    let mut steps = Steps::with(known, now, restricted);
    let left = reports.iter().map(|report| report.key.run).filter(|run| !succeeded.contains_key(run));
    steps.load(tx, left.collect::<Vec<_>>()).await?;
    let mut answers = Vec::with_capacity(reports.len());
    // Refused reports by their place: whether one is a repeat is looked up for all of them at once.
    let mut refused = Vec::new();
    for Report { scope, key, outcome, output, start_time, log_lines } in reports {
        if let Some(moved) = succeeded.remove(&key.run) {
            answers.push(ReportAnswer::Applied(Box::new(moved)));
            continue;
        }
        if steps.is_unreadable(key.run) {
            return Err(StoreError::Corrupt(format!("run {} cannot be read", key.run)));
        }
        if steps.run(key.run).is_none_or(|run| run.lane.lane.namespace != scope.0) {
            answers.push(ReportAnswer::Fenced);
            continue;
        }
        let event = Event::Report { attempt: key.attempt, outcome, start_time, log_lines };
        match steps.apply(key.run, &event) {
            Some(Ok(moved)) => {
                if let Some(output) = output.filter(|_| moved.to == RunState::Succeeded) {
                    steps.keep_output(key.run, output);
                }
                answers.push(ReportAnswer::Applied(Box::new(moved)));
            }
            Some(Err(_)) | None => {
                let decided = steps.run(key.run).is_some_and(|run| run.life.decided == Some(key.attempt));
                // What ends in a batch of reports ends by its worker's word.
                if decided || steps.ended_here(key) {
                    answers.push(ReportAnswer::Duplicate);
                } else {
                    refused.push((answers.len(), key));
                    answers.push(ReportAnswer::Fenced);
                }
            }
        }
    }
    let keys: Vec<AttemptKey> = refused.iter().map(|(_, key)| *key).collect();
    let repeated = reported(tx, &keys).await?;
    for (place, key) in refused {
        if repeated.contains(&key) {
            answers[place] = ReportAnswer::Duplicate;
        }
    }
    let free = steps.save(tx).await?;
    let moved = answers.iter_mut().filter_map(|answer| match answer {
        ReportAnswer::Applied(moved) => Some(&mut **moved),
        ReportAnswer::Duplicate | ReportAnswer::Fenced => None,
    });
    keys::tell(moved, free);
    Ok(answers)
}

/// Applies the successes that need no look, of each namespace by itself. Runs that are named twice are left to the table,
/// which takes them in order.
async fn succeed(
    tx: &Tx,
    known: &Known,
    now: Instant,
    restricted: &Restricted,
    reports: &[Report],
) -> StoreResult<HashMap<RunId, Moved>> {
    let mut named: HashMap<RunId, usize> = HashMap::with_capacity(reports.len());
    for report in reports {
        *named.entry(report.key.run).or_default() += 1;
    }
    let mut scopes: HashMap<&Scope, Vec<&Report>> = HashMap::new();
    for report in reports.iter().filter(|report| named.get(&report.key.run) == Some(&1)) {
        scopes.entry(&report.scope).or_default().push(report);
    }
    let mut succeeded = HashMap::with_capacity(reports.len());
    for (scope, reports) in scopes {
        let Some(namespace) = known.lanes.namespace(&scope.0) else { continue };
        let fence = Fence::around(known, restricted, namespace);
        succeeded.extend(hot::succeed(tx, known, now, namespace, fence, &reports).await?);
    }
    Ok(succeeded)
}

/// Which of these attempts ended by their worker's word, without success.
async fn reported(tx: &Tx, keys: &[AttemptKey]) -> StoreResult<HashSet<AttemptKey>> {
    let mut found = HashSet::new();
    for piece in chunks(keys) {
        let values = piece.iter().flat_map(|key| [key.run.uuid().into(), key.attempt.into()]).collect();
        let sql = format!(
            "WITH t(run_id, attempt) AS (VALUES {}) SELECT t.run_id, t.attempt FROM t CROSS JOIN attempt_end \
             ON attempt_end.run_id = t.run_id AND attempt_end.attempt = t.attempt WHERE attempt_end.reported",
            tuples(piece.len(), 2)
        );
        for row in query(tx, sql, values).await? {
            let mut cells = Cells::of(&row);
            found.insert(AttemptKey { run: RunId::from_uuid(cells.next()?), attempt: cells.next()? });
        }
    }
    Ok(found)
}

async fn apply(tx: &Tx, known: &Arc<Known>, now: Instant, items: Vec<Apply>) -> StoreResult<Vec<Applied>> {
    let workers: Vec<WorkerId> = items.iter().filter_map(|item| Some(item.owner?.worker)).collect();
    let owners = if workers.is_empty() { HashMap::new() } else { owners(tx, &workers).await? };
    let mut steps = Steps::begin(tx, known, now).await?;
    steps.load(tx, items.iter().map(|item| item.run)).await?;
    let mut answers = Vec::with_capacity(items.len());
    for Apply { run, event, owner, scope } in items {
        let owned = owner.is_none_or(|owner| owners.get(&owner.worker).is_some_and(|row| row.epoch == owner.epoch));
        let here = steps.run(run).is_some_and(|run| scope.is_none_or(|scope| run.lane.lane.namespace == scope.0));
        answers.push(match (owned, here) {
            (false, _) => Applied::OwnerGone,
            (true, false) => Applied::Missing,
            (true, true) => match steps.apply(run, &event) {
                Some(Ok(moved)) => Applied::Changed(Box::new(moved)),
                Some(Err(refusal)) => Applied::Refused(refusal),
                None => Applied::Missing,
            },
        });
    }
    let free = steps.save(tx).await?;
    let moved = answers.iter_mut().filter_map(|answer| match answer {
        Applied::Changed(moved) => Some(&mut **moved),
        Applied::Refused(_) | Applied::OwnerGone | Applied::Missing => None,
    });
    keys::tell(moved, free);
    Ok(answers)
}
