//! Due: time rules become runs, and timed runs come into the queue. Second stage of the way of a run.
//!
//! Each schedule has a persisted cursor ("evaluated up to here"). The stage asks which schedules have an instant after
//! their cursor that has come, lets [`fire::evaluate`] say what that means, and commits it: runs, ledger and cursor in one
//! transaction, guarded by the shard's epoch and the cursor itself. A crash anywhere repeats the step; another server at
//! the same time loses the compare-and-set. Timers only wake the stage, which sleeps to the exact instant.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use super::Core;
use crate::{
    domain::{
        fire::{self, Entry},
        ids::{JobUid, RunId},
        instant::Instant,
        job::JobState,
    },
    ports::store::{DueSchedule, Fired, Firing, ShardLease, StoreResult},
};

/// Schedules fired, or runs woken, in one step.
const BATCH: usize = 500;
/// After the store failed.
const PAUSE: Duration = Duration::from_millis(250);

pub(crate) fn start(core: &Arc<Core>) {
    let core = core.clone();
    core.tasks.clone().spawn("due", async move {
        let mut timer = core.clock.timer("due");
        while !core.tasks.is_stopping() {
            let until = match turn(&core).await {
                Ok(Some(until)) => until,
                Ok(None) => continue,
                Err(error) => {
                    tracing::warn!(%error, "time rules cannot be evaluated for now");
                    core.now().plus(PAUSE)
                }
            };
            tokio::select! {
                () = timer.sleep_until(until) => {}
                () = core.news.due.notified() => {}
                () = core.tasks.stopping() => {}
            }
        }
    });
}

/// One look: when to look again, or `None` for at once.
async fn turn(core: &Core) -> StoreResult<Option<Instant>> {
    let held = *core.shard.lock();
    let lease = match held {
        Some(lease) => lease,
        None => {
            let taken = core.store.take_shard(core.now(), core.server).await?;
            *core.shard.lock().insert(taken)
        }
    };
    let now = core.now();
    let schedules = core.store.due(now, None, BATCH).await?;
    let full = schedules.len() == BATCH;
    if !fire_all(core, lease, now, schedules).await? {
        *core.shard.lock() = None;
        return Ok(None);
    }
    let woken = core.store.wake(now, BATCH).await?;
    core.news.moved(now, &woken);
    if full || woken.len() == BATCH {
        return Ok(None);
    }
    let next = core.store.next_due().await?;
    let look = core.now().plus(core.look);
    Ok(Some(next.map_or(look, |next| next.min(look))))
}

/// Evaluates what is due of one job, so that a change of the job finds nothing unsettled.
pub(super) async fn settle(core: &Core, job: JobUid) -> StoreResult<()> {
    let held = *core.shard.lock();
    if let Some(lease) = held {
        let now = core.now();
        let schedules = core.store.due(now, Some(job), BATCH).await?;
        fire_all(core, lease, now, schedules).await?;
    }
    Ok(())
}

/// Evaluates and commits; `false` where the shard has another owner.
async fn fire_all(core: &Core, lease: ShardLease, now: Instant, schedules: Vec<DueSchedule>) -> StoreResult<bool> {
    let mut firings = Vec::with_capacity(schedules.len());
    for due in schedules {
        match evaluate(&due, lease.since, now) {
            Ok(evaluation) => {
                let runs = evaluation.entries.iter().filter(|entry| matches!(entry, Entry::Run { .. }));
                let run_ids = runs.map(|_| RunId::new(now)).collect();
                firings.push(Firing { due, evaluation, run_ids });
            }
            Err(why) => {
                tracing::error!(job = %due.job_name, schedule = %due.schedule, why, "a schedule cannot be evaluated");
                core.store.fail_schedule(now, &due, &why).await?;
                core.news.stopped_firing(now, &due, JobState::Error, "error");
            }
        }
    }
    if firings.is_empty() {
        return Ok(true);
    }
    let fired_of: Vec<_> = firings.iter().map(|firing| firing.due.clone()).collect();
    let mut owner = true;
    for (due, fired) in fired_of.iter().zip(core.store.fire(now, lease, firings).await?) {
        match fired {
            Fired::Done { runs, completed } => {
                core.news.moved(now, &runs);
                if completed {
                    core.news.stopped_firing(now, due, JobState::Completed, "completed");
                }
            }
            Fired::Overtaken => {}
            Fired::NotOwner => owner = false,
        }
    }
    Ok(owner)
}

/// One bad rule must not stop the others: a panic in the evaluation is that schedule's error.
fn evaluate(due: &DueSchedule, owned_since: Instant, now: Instant) -> Result<fire::Evaluation, String> {
    let Some(schedule) = due.spec.schedules.iter().find(|schedule| schedule.name == due.schedule) else {
        return Err("the job's definition has no such schedule".into());
    };
    catch_unwind(AssertUnwindSafe(|| fire::evaluate(schedule, &due.position, due.spec.catch_up, owned_since, now)))
        .map_err(|_| "the rule could not be evaluated".into())
}
