//! The [`Views`] role: what people look at. Reads only, by keyset, from the reading connections.

use async_trait::async_trait;
use mainspring_engine::{
    domain::{
        explain::InTheWay,
        filter::Filter,
        ids::{JobUid, RunId, WorkerId},
        instant::Instant,
        job::Job,
        lapse::Lapsed,
        names::{ConcurrencyKey, JobType, QueueName, Scope},
        run::{Lifecycle, RunState},
    },
    ports::store::{
        AttemptView, Direction, DroppedRun, JobOrder, JobTypeView, LedgerPart, Listed, Page, QueueView, RunView,
        SkippedRule, StatsView, StoreResult, Views, WaitFacts, WorkerView,
    },
};

use super::{SqliteStore, lapsed};

mod attempts;
pub(super) mod dead;
mod jobs;
pub(super) mod ledger;
pub(super) mod queues;
mod runs;
mod stats;
mod types;
pub(super) mod vitals;
mod workers;

/// A limit for a statement.
pub(super) fn limit(limit: usize) -> sea_orm::Value {
    i64::try_from(limit).unwrap_or(i64::MAX).into()
}

/// As many of what was found, with its size, as fit into `bytes`, one at least; and whether that were not all.
fn fitting<K>(found: Vec<(K, i64)>, bytes: usize) -> (Vec<K>, bool) {
    let (mut fitting, mut room) = (Vec::with_capacity(found.len()), bytes);
    for (key, size) in found {
        let size = usize::try_from(size).unwrap_or_default();
        if size > room && !fitting.is_empty() {
            return (fitting, true);
        }
        room = room.saturating_sub(size);
        fitting.push(key);
    }
    (fitting, false)
}

#[async_trait]
impl Views for SqliteStore {
    async fn run(&self, scope: &Scope, run: RunId) -> StoreResult<Option<RunView>> {
        runs::one(self, scope, run).await
    }

    async fn lifecycle(&self, scope: &Scope, run: RunId) -> StoreResult<Option<Lifecycle>> {
        runs::lifecycle(self, scope, run).await
    }

    async fn runs(
        &self,
        scope: &Scope,
        filter: &Filter,
        direction: Direction,
        page: Page,
        detail: bool,
    ) -> StoreResult<Listed<RunView>> {
        runs::list(self, scope, filter, direction, page, detail).await
    }

    async fn run_ids(
        &self,
        scope: &Scope,
        filter: &Filter,
        after: Option<RunId>,
        limit: usize,
    ) -> StoreResult<Vec<RunId>> {
        runs::ids(self, scope, filter, after, limit).await
    }

    async fn attempts(&self, scope: &Scope, run: RunId, page: Page) -> StoreResult<Option<Listed<AttemptView>>> {
        attempts::list(self, scope, run, page).await
    }

    async fn jobs(
        &self,
        scope: &Scope,
        filter: &Filter,
        order: JobOrder,
        page: Page,
        detail: bool,
    ) -> StoreResult<Listed<Job>> {
        jobs::list(self, scope, filter, order, page, detail).await
    }

    async fn ledger(&self, job: JobUid, from: Instant, to: Instant, limit: usize) -> StoreResult<LedgerPart> {
        ledger::part(self, job, from, to, limit).await
    }

    async fn scheduled_runs(&self, job: JobUid, instants: &[Instant]) -> StoreResult<Vec<(Instant, RunId, RunState)>> {
        ledger::runs(self, job, instants).await
    }

    async fn dropped_runs(&self, job: JobUid, instants: &[Instant]) -> StoreResult<Vec<DroppedRun>> {
        ledger::dropped(self, job, instants).await
    }

    async fn skipped_walls(&self, job: JobUid, from: Instant, to: Instant) -> StoreResult<Vec<SkippedRule>> {
        ledger::skipped_walls(self, job, from, to).await
    }

    async fn lapses(&self, job: JobUid, at: Instant, limit: usize) -> StoreResult<Vec<Lapsed>> {
        lapsed::around(&self.reads, &self.known, job, at, limit).await
    }

    async fn backfilled_runs(&self, job: JobUid, at: Instant) -> StoreResult<Vec<(RunId, RunState)>> {
        lapsed::backfilled(&self.reads, job, at).await
    }

    async fn overlapping_run(
        &self,
        scope: &Scope,
        job: JobUid,
        key: Option<&ConcurrencyKey>,
        at: Instant,
    ) -> StoreResult<Option<InTheWay>> {
        ledger::met(self, scope, job, key, at).await
    }

    async fn queues(
        &self,
        scope: &Scope,
        filter: &Filter,
        direction: Direction,
        page: Page,
    ) -> StoreResult<Vec<QueueView>> {
        queues::list(self, scope, filter, direction, page).await
    }

    async fn queue(&self, scope: &Scope, queue: &QueueName) -> StoreResult<Option<QueueView>> {
        queues::one(self, scope, queue).await
    }

    async fn workers(
        &self,
        scope: &Scope,
        include_gone: bool,
        filter: &Filter,
        direction: Direction,
        page: Page,
    ) -> StoreResult<Vec<WorkerView>> {
        workers::list(self, scope, include_gone, filter, direction, page).await
    }

    async fn worker(&self, scope: &Scope, worker: WorkerId) -> StoreResult<Option<WorkerView>> {
        workers::one(self, scope, worker).await
    }

    async fn job_types(
        &self,
        scope: &Scope,
        filter: &Filter,
        direction: Direction,
        page: Page,
    ) -> StoreResult<Listed<JobTypeView>> {
        types::list(self, scope, filter, direction, page).await
    }

    async fn input_schemas(&self, scope: &Scope, job_type: &JobType) -> StoreResult<Vec<String>> {
        types::input_schemas(self, scope, job_type).await
    }

    async fn stats(&self, scope: &Scope, from: Instant, to: Instant) -> StoreResult<StatsView> {
        stats::counts(self, scope, from, to).await
    }

    async fn wait_facts(&self, scope: &Scope, run: RunId) -> StoreResult<WaitFacts> {
        stats::wait_facts(self, scope, run).await
    }

    async fn last_success(&self, job: JobUid) -> StoreResult<Option<Instant>> {
        jobs::last_success(self, job).await
    }
}
