//! The [`DeadLetters`] role: runs that failed or took too long, by what went wrong, and what becomes of them.
//!
//! What went wrong is written by the step that ends a run ([`super::steps`]). Here is what comes afterwards, and only the
//! columns of a resolution are written: a run that is over does not change.

use std::{collections::HashSet, sync::Arc};

use async_trait::async_trait;
use mainspring_engine::{
    domain::{
        dead::{Fingerprint, Resolution, Verdict},
        filter::Filter,
        ids::RunId,
        instant::Instant,
        names::Scope,
    },
    ports::store::{DeadGroup, DeadLetters, NewRun, Settled, StoreResult, Submitted},
};
use uuid::Uuid;

use super::{
    SqliteStore,
    lanes::Bound,
    rows::time,
    statement::{chunks, exec, places, query_in, single},
    submit::submit,
    views::dead,
    writer::Tx,
};

#[async_trait]
impl DeadLetters for SqliteStore {
    async fn dead_groups(
        &self,
        scope: &Scope,
        filter: &Filter,
        after: Option<(Instant, Fingerprint)>,
        limit: usize,
    ) -> StoreResult<Vec<DeadGroup>> {
        dead::groups(self, scope, filter, after, limit).await
    }

    async fn resolve(
        &self,
        now: Instant,
        scope: &Scope,
        runs: Vec<RunId>,
        verdict: Verdict,
        by: Settled,
    ) -> StoreResult<u64> {
        let Some(namespace) = self.known.lanes.namespace(&scope.0) else { return Ok(0) };
        let ids: Vec<Uuid> = runs.into_iter().map(RunId::uuid).collect();
        let here = format!("AND lane_id IN (SELECT lane.id FROM lane WHERE lane.namespace_id = {namespace})");
        let settled = self
            .write(move |tx| {
                Box::pin(async move { settle(tx, now, &ids, verdict.resolution(), verdict.of(), &here, &by).await })
            })
            .await?;
        self.rounds.lock().begin_anew();
        Ok(settled)
    }

    async fn redrive(&self, now: Instant, runs: Vec<NewRun>, by: Settled) -> StoreResult<Vec<Option<Submitted>>> {
        let full = self.ensure_lanes(now, runs.iter().map(|run| &run.lane), Bound::Kept).await?;
        let known = Arc::clone(&self.known);
        let answers = self
            .write(move |tx| {
                Box::pin(async move {
                    let mut open = open(tx, &runs).await?;
                    // Whoever is named twice is made again once.
                    let is_open: Vec<bool> =
                        runs.iter().map(|run| run.parent.is_some_and(|dead| open.remove(&dead.uuid()))).collect();
                    let again = runs.into_iter().zip(&is_open).filter(|(_, is_open)| **is_open);
                    let (dead, again): (Vec<_>, Vec<_>) = again.map(|(run, _)| (run.parent, run)).unzip();
                    let submitted = submit(tx, &known, now, again, full).await?;
                    let is_stored = |answer: &Submitted| matches!(answer, Submitted::Stored(_));
                    let stored = dead.into_iter().zip(&submitted).filter(|(_, answer)| is_stored(answer));
                    let stored: Vec<Uuid> = stored.filter_map(|(dead, _)| Some(dead?.uuid())).collect();
                    settle(tx, now, &stored, Resolution::Redriven, &[Resolution::Open], "", &by).await?;
                    let mut submitted = submitted.into_iter();
                    Ok(is_open.into_iter().map(|is_open| if is_open { submitted.next() } else { None }).collect())
                })
            })
            .await?;
        self.rounds.lock().begin_anew();
        Ok(answers)
    }
}

/// Which of the runs that these are made of are open dead letters.
async fn open(tx: &Tx, runs: &[NewRun]) -> StoreResult<HashSet<Uuid>> {
    let dead: Vec<Uuid> = runs.iter().filter_map(|run| Some(run.parent?.uuid())).collect();
    let tail = format!("AND resolution = {}", Resolution::Open.code());
    let rows = query_in(tx, "SELECT id FROM run WHERE id IN", &dead, &tail).await?;
    rows.iter().map(single).collect()
}

/// Says what became of dead letters that stand so; of how many.
async fn settle(
    tx: &Tx,
    now: Instant,
    ids: &[Uuid],
    to: Resolution,
    from: &[Resolution],
    here: &str,
    by: &Settled,
) -> StoreResult<u64> {
    let Settled { note, actor } = by;
    let is_settled = to != Resolution::Open;
    let mut settled = 0;
    for piece in chunks(ids) {
        let mut values = vec![
            to.code().into(),
            if is_settled { time(now) } else { None::<i64>.into() },
            is_settled.then(|| note.clone()).into(),
            is_settled.then(|| actor.clone()).into(),
        ];
        values.extend(piece.iter().map(|id| (*id).into()));
        settled += exec(tx, settle_sql(piece.len(), from, here), values).await?;
    }
    Ok(settled)
}

/// Settles `count` runs.
pub(super) fn settle_sql(count: usize, from: &[Resolution], here: &str) -> String {
    let from: Vec<_> = from.iter().map(|from| from.code().to_string()).collect();
    format!(
        "UPDATE run SET resolution = ?, resolve_time = ?, resolve_note = ?, resolve_actor = ? WHERE id IN ({}) \
         AND resolution IN ({}) {here}",
        places(count),
        from.join(", ")
    )
}
