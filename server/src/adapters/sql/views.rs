//! The [`Views`] role.
#![allow(unused_variables, reason = "first version")]

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
        AttemptView, InstantRange, JobTypeView, Order, Page, QueueView, RunView, StatsView, StoreError, StoreResult,
        Views, WaitFacts, WorkerView,
    },
};

use super::SqliteStore;

fn later<T>() -> StoreResult<T> {
    Err(StoreError::Unavailable("views come next".into()))
}

#[async_trait]
impl Views for SqliteStore {
    async fn run(&self, scope: &Scope, run: RunId) -> StoreResult<Option<RunView>> {
        later()
    }
    async fn runs(
        &self,
        scope: &Scope,
        filter: &Filter,
        order: Order,
        page: Page,
        detail: bool,
    ) -> StoreResult<Vec<RunView>> {
        later()
    }
    async fn attempts(&self, scope: &Scope, run: RunId) -> StoreResult<Option<Vec<AttemptView>>> {
        later()
    }
    async fn jobs(&self, scope: &Scope, filter: &Filter, page: Page) -> StoreResult<Vec<Job>> {
        later()
    }
    async fn ledger(&self, job: JobUid, from: Instant, to: Instant) -> StoreResult<Vec<InstantRange>> {
        later()
    }
    async fn scheduled_runs(
        &self,
        job: JobUid,
        from: Instant,
        to: Instant,
        limit: usize,
    ) -> StoreResult<Vec<(Instant, RunId, RunState)>> {
        later()
    }
    async fn queues(&self, scope: &Scope, page: Page) -> StoreResult<Vec<QueueView>> {
        later()
    }
    async fn queue(&self, scope: &Scope, queue: &QueueName) -> StoreResult<Option<QueueView>> {
        later()
    }
    async fn workers(&self, scope: &Scope, include_gone: bool, page: Page) -> StoreResult<Vec<WorkerView>> {
        later()
    }
    async fn worker(&self, scope: &Scope, worker: WorkerId) -> StoreResult<Option<WorkerView>> {
        later()
    }
    async fn job_types(&self, scope: &Scope, page: Page) -> StoreResult<Vec<JobTypeView>> {
        later()
    }
    async fn stats(&self, scope: &Scope, from: Instant, to: Instant) -> StoreResult<StatsView> {
        later()
    }
    async fn wait_facts(&self, scope: &Scope, run: RunId) -> StoreResult<WaitFacts> {
        later()
    }
    async fn last_success(&self, job: JobUid) -> StoreResult<Option<Instant>> {
        later()
    }
    async fn backup(&self, path: &std::path::Path) -> StoreResult<Option<u64>> {
        self.copy(path).await.map(Some)
    }
}
