//! The [`Views`] role: what people look at. Reads only, by keyset, from the reading connections.

use std::path::Path;

use async_trait::async_trait;
use mainspring_engine::{
    domain::{
        filter::Filter,
        ids::{JobUid, RunId, WorkerId},
        instant::Instant,
        job::Job,
        names::{QueueName, Scope},
        run::RunState,
    },
    ports::store::{
        AttemptView, InstantRange, JobTypeView, Order, Page, QueueView, RunView, StatsView, StoreResult, Views,
        WaitFacts, WorkerView,
    },
};

use super::SqliteStore;

mod attempts;
mod jobs;
mod queues;
mod runs;
mod stats;
mod workers;

/// A limit for a statement.
fn limit(limit: usize) -> sea_orm::Value {
    i64::try_from(limit).unwrap_or(i64::MAX).into()
}

#[async_trait]
impl Views for SqliteStore {
    async fn run(&self, scope: &Scope, run: RunId) -> StoreResult<Option<RunView>> {
        runs::one(self, scope, run).await
    }

    async fn runs(
        &self,
        scope: &Scope,
        filter: &Filter,
        order: Order,
        page: Page,
        detail: bool,
    ) -> StoreResult<Vec<RunView>> {
        runs::list(self, scope, filter, order, page, detail).await
    }

    async fn attempts(&self, scope: &Scope, run: RunId) -> StoreResult<Option<Vec<AttemptView>>> {
        attempts::list(self, scope, run).await
    }

    async fn jobs(&self, scope: &Scope, filter: &Filter, page: Page) -> StoreResult<Vec<Job>> {
        jobs::list(self, scope, filter, page).await
    }

    async fn ledger(&self, job: JobUid, from: Instant, to: Instant) -> StoreResult<Vec<InstantRange>> {
        jobs::ledger(self, job, from, to).await
    }

    async fn scheduled_runs(
        &self,
        job: JobUid,
        from: Instant,
        to: Instant,
        limit: usize,
    ) -> StoreResult<Vec<(Instant, RunId, RunState)>> {
        jobs::scheduled_runs(self, job, from, to, limit).await
    }

    async fn queues(&self, scope: &Scope, page: Page) -> StoreResult<Vec<QueueView>> {
        queues::list(self, scope, page).await
    }

    async fn queue(&self, scope: &Scope, queue: &QueueName) -> StoreResult<Option<QueueView>> {
        queues::one(self, scope, queue).await
    }

    async fn workers(&self, scope: &Scope, include_gone: bool, page: Page) -> StoreResult<Vec<WorkerView>> {
        workers::list(self, scope, include_gone, page).await
    }

    async fn worker(&self, scope: &Scope, worker: WorkerId) -> StoreResult<Option<WorkerView>> {
        workers::one(self, scope, worker).await
    }

    async fn job_types(&self, scope: &Scope, page: Page) -> StoreResult<Vec<JobTypeView>> {
        workers::job_types(self, scope, page).await
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

    async fn backup(&self, path: &Path) -> StoreResult<Option<u64>> {
        self.copy(path).await.map(Some)
    }
}
