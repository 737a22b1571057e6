//! Jobs: changes of definitions, in order with the instants they are about.
//!
//! What a pause or an edit means for an instant that is due must not depend on who was faster, the caller or the clock. So
//! the store refuses a change while an instant of the job is due and not evaluated; here it is evaluated, and the change
//! tried again.
//!
//! A pause may end by itself, and a job that is COMPLETED be deleted after a while ([`keep_times`]). Until a pause is ended
//! the evaluation knows the time, so that nothing depends on how soon it is.
//!
//! A delete is two steps: the job is gone, then its waiting runs end. The second goes on when the caller has gone away, and
//! what a crash leaves of it is found by [`finish_deletes`].

use std::{sync::Arc, time::Duration};

use tokio::sync::oneshot;

use super::{Core, calendars, due};
use crate::{
    domain::{
        event,
        ids::JobUid,
        instant::Instant,
        job::{JobState, Pause},
        names::{JobName, Scope},
        stop::{Paused, Running},
    },
    ports::store::{CreateJob, JobChange, NewJob, Resume, StoreError, StoreResult, Undelete, UpdateJob},
};

/// Tries without anything evaluated in between before a change gives up.
const TRIES: usize = 50;
/// Between two tries where another server evaluates.
const PAUSE: Duration = Duration::from_millis(20);
/// Runs of a deleted job cancelled in one step, and jobs looked at.
const BATCH: usize = 500;
/// Whoever deleted a job has so long to end its runs before somebody else does it.
const LEFT: Duration = Duration::from_secs(60);

/// After the store failed.
const PUT_OFF: Duration = Duration::from_millis(250);

/// Ends the pauses whose time is over, and the jobs; and completes what was left half done of changes of calendars.
pub(super) fn keep_times(core: &Arc<Core>) {
    let core = core.clone();
    core.tasks.clone().spawn("job-times", async move {
        let mut timer = core.clock.timer("job-times");
        while !core.tasks.is_stopping() {
            let until = match end_what_is_over(&core).await {
                Ok(Some(until)) => until,
                Ok(None) => continue,
                Err(error) => {
                    put_off!(error, "pauses and jobs whose time is over cannot be ended for now");
                    core.now().plus(PUT_OFF)
                }
            };
            tokio::select! {
                () = timer.sleep_until(until) => {}
                () = core.news.job_times.notified() => {}
                () = core.tasks.stopping() => return,
            }
        }
    });
}

/// When to look again; none for at once.
async fn end_what_is_over(core: &Arc<Core>) -> StoreResult<Option<Instant>> {
    let now = core.now();
    // Nothing can be settled before there is an owner, who calls when it is one.
    if core.shard.lock().is_none() {
        return Ok(Some(now.plus(core.look)));
    }
    if let Err(error) = calendars::finish_updates(core).await {
        put_off!(error, "the change of a calendar cannot be completed for now");
    }
    let over = core.store.pauses_over(now, BATCH).await?;
    for (scope, name) in &over {
        Jobs::new(core).resume(scope, name, Resume::TimeOver).await?;
    }
    let expired = core.store.expired_jobs(now, BATCH).await?;
    for (scope, name, revision) in &expired {
        Jobs::new(core).delete(scope, name, Some(*revision), Running::Detach, "").await?;
    }
    if over.len() == BATCH || expired.len() == BATCH {
        return Ok(None);
    }
    // A job that waits for its runs to be over is looked at again and again.
    let next = core.store.next_end(now).await?;
    let look = core.now().plus(core.look);
    Ok(Some(next.map_or(look, |next| next.min(look))))
}

/// Jobs, as the services change them.
#[derive(Debug)]
pub struct Jobs<'a> {
    core: &'a Arc<Core>,
}

impl<'a> Jobs<'a> {
    pub(super) fn new(core: &'a Arc<Core>) -> Self {
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

    /// Replaces a definition. Never answers [`JobChange::Unsettled`] or [`JobChange::DoneWith`].
    pub async fn update(&self, update: UpdateJob) -> StoreResult<JobChange> {
        let (scope, name) = (update.scope.clone(), update.name.clone());
        let change =
            self.settled(&scope, &name, || self.core.store.update_job(self.core.now(), update.clone())).await?;
        Ok(self.told(change, event::JobChange::Updated))
    }

    /// Pauses, and cancels runs where that is wanted. Never answers [`JobChange::Unsettled`].
    pub async fn pause(
        &self,
        scope: &Scope,
        name: &JobName,
        pause: Pause,
        runs: Paused,
    ) -> StoreResult<(JobChange, Ended)> {
        let change = self
            .settled(scope, name, || self.core.store.pause_job(self.core.now(), scope, name, pause.clone()))
            .await?;
        self.core.news.job_times.notify_one();
        let change = self.told(change, event::JobChange::Paused);
        let mut ended = Ended::default();
        if let (JobChange::Done(job) | JobChange::Unchanged(job), true) = (&change, runs != Paused::Keep) {
            ended = self.end_all(Which::Paused(job.uid, runs == Paused::CancelAll)).await?;
        }
        Ok((change, ended))
    }

    /// Pauses a job that is failing. Never answers [`JobChange::Unsettled`].
    pub(super) async fn disable(&self, scope: &Scope, name: &JobName) -> StoreResult<JobChange> {
        let change = self.settled(scope, name, || self.core.store.disable_job(self.core.now(), scope, name)).await?;
        if let JobChange::Done(job) = &change {
            let note = job.pause.as_ref().map_or("", |pause| pause.note.as_str());
            tracing::warn!(job = %name, note, "a job was paused by itself");
        }
        self.core.news.job_times.notify_one();
        Ok(self.told(change, event::JobChange::AutoDisabled))
    }

    /// Resumes. Never answers [`JobChange::Unsettled`].
    pub async fn resume(&self, scope: &Scope, name: &JobName, resume: Resume) -> StoreResult<JobChange> {
        let change =
            self.settled(scope, name, || self.core.store.resume_job(self.core.now(), scope, name, resume)).await?;
        Ok(self.told(change, event::JobChange::Resumed))
    }

    /// Deletes for `actor`, cancels the runs that wait and asks those at workers to stop where that is wanted; answers how many. Never
    /// answers [`JobChange::Unsettled`].
    pub async fn delete(
        &self,
        scope: &Scope,
        name: &JobName,
        revision: Option<i64>,
        running: Running,
        actor: &str,
    ) -> StoreResult<(JobChange, Ended)> {
        let change = self
            .settled(scope, name, || self.core.store.delete_job(self.core.now(), scope, name, revision, running, actor))
            .await?;
        let mut ended = Ended::default();
        if let JobChange::Done(job) = &change {
            self.core.news.job(self.core.now(), job, None, event::JobChange::Deleted);
            ended = self.end_all(Which::Deleted(job.uid)).await?;
        }
        Ok((change, ended))
    }

    /// Not in the caller's own future: it would be lost with the call, and a repeat of a delete finds no job.
    async fn end_all(&self, which: Which) -> StoreResult<Ended> {
        let core = self.core.clone();
        let (answer, answered) = oneshot::channel();
        self.core.tasks.spawn("cancel-waiting", async move {
            drop(answer.send(end_all(&core, which).await));
        });
        let stopped = || StoreError::Unavailable("the server is stopping".into());
        answered.await.map_err(|_| stopped())?
    }

    /// Brings back the job of a name that was deleted last.
    pub async fn undelete(&self, scope: &Scope, name: &JobName) -> StoreResult<Undelete> {
        let undeleted = self.core.store.undelete_job(self.core.now(), scope, name).await?;
        if let Undelete::Done(job) = &undeleted {
            self.core.news.job(self.core.now(), job, Some(job.state), event::JobChange::Undeleted);
            self.core.news.job_times.notify_one();
        }
        Ok(undeleted)
    }

    fn told(&self, change: JobChange, what: event::JobChange) -> JobChange {
        let change = match change {
            JobChange::DoneWith(job, moved) => {
                self.core.news.moved(self.core.now(), &moved);
                JobChange::Done(job)
            }
            other @ (JobChange::Done(_)
            | JobChange::Unchanged(_)
            | JobChange::Missing
            | JobChange::RevisionMismatch
            | JobChange::Full(_)
            | JobChange::Unsettled) => other,
        };
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
        let (mut tries, mut overtaken) = (TRIES, false);
        while tries > 0 {
            match change().await? {
                JobChange::Unsettled => {}
                done @ (JobChange::Done(_)
                | JobChange::DoneWith(..)
                | JobChange::Unchanged(_)
                | JobChange::Missing
                | JobChange::RevisionMismatch
                | JobChange::Full(_)) => return Ok(done),
            }
            let owner = self.core.shard.lock().is_some();
            match self.core.store.job(scope, name).await? {
                // However much there is to evaluate, it comes to an end.
                Some(job) if owner && due::settle(self.core, job.uid).await? => overtaken = false,
                // Who found nothing was overtaken by the stage itself, and there is nothing to wait for.
                Some(_) if owner && !overtaken => overtaken = true,
                Some(_) => {
                    tries -= 1;
                    self.core.news.due.notify_one();
                    timer.sleep_until(self.core.now().plus(PAUSE)).await;
                }
                None => return Ok(JobChange::Missing),
            }
        }
        Err(StoreError::Conflict(format!("job {name} is due, and nobody evaluates it")))
    }
}

/// Whose runs are ended.
#[derive(Clone, Copy, Debug)]
enum Which {
    /// Of a job that was deleted, as its delete says.
    Deleted(JobUid),
    /// Of a job that was paused, with those at workers or without.
    Paused(JobUid, bool),
}

/// How many runs were ended with a change of their job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// They waited, and are cancelled.
    pub cancelled: u64,
    /// They are at workers, and were asked to stop.
    pub stopped: u64,
}

async fn end_all(core: &Core, which: Which) -> StoreResult<Ended> {
    let mut ended = Ended::default();
    loop {
        let now = core.now();
        let (moved, more) = match which {
            Which::Deleted(job) => core.store.cancel_waiting(now, job, BATCH).await?,
            Which::Paused(job, workers) => core.store.cancel_paused(now, job, workers, BATCH).await?,
        };
        let stopped = moved.iter().filter(|run| run.to.is_active()).count() as u64;
        ended.stopped += stopped;
        ended.cancelled += moved.len() as u64 - stopped;
        core.news.moved(now, &moved);
        if !more {
            return Ok(ended);
        }
    }
}

/// Ends the waiting runs of jobs whose delete was left half done.
pub(super) async fn finish_deletes(core: &Core) -> StoreResult<()> {
    // Nobody is at work on what was deleted before this server was there.
    let before = core.now().minus(LEFT).max(core.start_time);
    for job in core.store.half_deleted(before, BATCH).await? {
        let Ended { cancelled, stopped } = end_all(core, Which::Deleted(job)).await?;
        tracing::info!(job = %job, cancelled, stopped, "the delete of a job was finished");
    }
    Ok(())
}
