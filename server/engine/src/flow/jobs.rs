//! Jobs: changes of definitions, in order with the instants they are about.
//!
//! What a pause or an edit means for an instant that is due must not depend on who was faster, the caller or the clock. So
//! the store refuses a change while an instant of the job is due and not evaluated; here it is evaluated, and the change
//! tried again.

use std::time::Duration;

use super::{Core, due};
use crate::{
    domain::{
        event,
        job::{JobState, Pause},
        names::{JobName, Scope},
    },
    ports::store::{CreateJob, JobChange, NewJob, StoreError, StoreResult, UpdateJob},
};

/// Tries before a change gives up against instants that become due faster than they are evaluated.
const TRIES: usize = 50;
/// Between two tries where another server evaluates.
const PAUSE: Duration = Duration::from_millis(20);
/// Runs of a deleted job cancelled in one step.
const BATCH: usize = 500;

/// Jobs, as the services change them.
#[derive(Debug)]
pub struct Jobs<'a> {
    core: &'a Core,
}

impl<'a> Jobs<'a> {
    pub(super) fn new(core: &'a Core) -> Self {
        Self { core }
    }

    /// Creates a job.
    pub async fn create(&self, job: NewJob) -> StoreResult<CreateJob> {
        let now = self.core.now();
        let created = self.core.store.create_job(now, job).await?;
        if let CreateJob::Created(job) = &created {
            self.core.news.job(now, job, Some(job.state), event::JobChange::Created);
        }
        Ok(created)
    }

    /// Replaces a definition. Never answers [`JobChange::Unsettled`].
    pub async fn update(&self, update: UpdateJob) -> StoreResult<JobChange> {
        let (scope, name) = (update.scope.clone(), update.name.clone());
        let change =
            self.settled(&scope, &name, || self.core.store.update_job(self.core.now(), update.clone())).await?;
        Ok(self.told(change, event::JobChange::Updated))
    }

    /// Pauses. Never answers [`JobChange::Unsettled`].
    pub async fn pause(&self, scope: &Scope, name: &JobName, pause: Pause) -> StoreResult<JobChange> {
        let change = self
            .settled(scope, name, || self.core.store.pause_job(self.core.now(), scope, name, pause.clone()))
            .await?;
        Ok(self.told(change, event::JobChange::Paused))
    }

    /// Resumes. Never answers [`JobChange::Unsettled`].
    pub async fn resume(&self, scope: &Scope, name: &JobName) -> StoreResult<JobChange> {
        let change = self.settled(scope, name, || self.core.store.resume_job(self.core.now(), scope, name)).await?;
        Ok(self.told(change, event::JobChange::Resumed))
    }

    /// Deletes, and cancels the runs that wait; answers how many. Never answers [`JobChange::Unsettled`].
    pub async fn delete(&self, scope: &Scope, name: &JobName, revision: Option<i64>) -> StoreResult<(JobChange, u64)> {
        let change =
            self.settled(scope, name, || self.core.store.delete_job(self.core.now(), scope, name, revision)).await?;
        let mut cancelled = 0;
        if let JobChange::Done(job) = &change {
            self.core.news.job(self.core.now(), job, None, event::JobChange::Deleted);
            loop {
                let now = self.core.now();
                let (moved, more) = self.core.store.cancel_waiting(now, job.uid, BATCH).await?;
                cancelled += moved.len() as u64;
                self.core.news.moved(now, &moved);
                if !more {
                    break;
                }
            }
        }
        Ok((change, cancelled))
    }

    fn told(&self, change: JobChange, what: event::JobChange) -> JobChange {
        if let JobChange::Done(job) = &change {
            let state: JobState = job.state;
            self.core.news.job(self.core.now(), job, Some(state), what);
        }
        change
    }

    async fn settled<F>(&self, scope: &Scope, name: &JobName, change: impl Fn() -> F) -> StoreResult<JobChange>
    where
        F: Future<Output = StoreResult<JobChange>>,
    {
        let mut timer = self.core.clock.timer("settle");
        for _ in 0..TRIES {
            match change().await? {
                JobChange::Unsettled => {}
                done @ (JobChange::Done(_)
                | JobChange::Unchanged(_)
                | JobChange::Missing
                | JobChange::RevisionMismatch) => return Ok(done),
            }
            let owner = self.core.shard.lock().is_some();
            match self.core.store.job(scope, name).await? {
                Some(job) if owner => due::settle(self.core, job.uid).await?,
                Some(_) => {
                    self.core.news.due.notify_one();
                    timer.sleep_until(self.core.now().plus(PAUSE)).await;
                }
                None => return Ok(JobChange::Missing),
            }
        }
        Err(StoreError::Conflict(format!("job {name} becomes due faster than it is evaluated")))
    }
}
