//! Due: time rules become runs, and timed runs come into the queue. Second stage of the way of a run.
//!
//! Each schedule has a persisted cursor ("evaluated up to here"). The stage asks which schedules have an instant after
//! their cursor that has come, lets [`fire::evaluate`] say what that means, and commits it: runs, ledger and cursor in one
//! transaction, guarded by the shard's epoch and the cursor itself. A crash anywhere repeats the step; another server at
//! the same time loses the compare-and-set. Timers only wake the stage, which sleeps to the exact instant.
//!
//! A step is bounded by schedules and by instants, so that whatever was missed is worked off in small pieces; and one
//! schedule that cannot be read or evaluated is that job's error, never the stage's.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use super::Core;
use crate::{
    domain::{
        event::JobChange,
        fire::{self, Entry, MAX_INSTANTS},
        ids::{JobUid, RunId},
        instant::Instant,
        job::JobState,
        ledger::FateReason,
    },
    ports::store::{DueSchedule, DueSchedules, Fired, Firing, ShardLease, StoreResult, UnreadableSchedule},
};

/// Schedules fired, or runs woken, in one step.
const BATCH: usize = 500;
/// After the store failed.
const PAUSE: Duration = Duration::from_millis(250);

pub(crate) fn start(core: &Arc<Core>) {
    let core = core.clone();
    core.tasks.clone().spawn("due", async move {
        let mut timer = core.clock.exact_timer("due");
        let mut look = Look::WHOLE;
        while !core.tasks.is_stopping() {
            let until = match turn(&core, look).await {
                Ok(Some(until)) => until,
                Ok(None) => {
                    look = Look::WHOLE;
                    continue;
                }
                Err(error) => {
                    put_off!(error, "time rules cannot be evaluated for now");
                    Until { look: Look::WHOLE, at: core.now().plus(PAUSE) }
                }
            };
            look = tokio::select! {
                () = timer.sleep_until(until.at) => until.look,
                () = core.news.due.notified() => Look::WHOLE,
                () = core.tasks.stopping() => return,
            };
        }
    });
}

/// What to look at: whoever waits for an instant waits for one look less where it is known whose instant it is.
#[derive(Clone, Copy, Debug)]
struct Look {
    schedules: bool,
    runs: bool,
}

impl Look {
    const WHOLE: Self = Self { schedules: true, runs: true };
}

/// When to look again, and at what.
#[derive(Clone, Copy, Debug)]
struct Until {
    at: Instant,
    look: Look,
}

/// One look: what comes next, or `None` for another whole look at once.
async fn turn(core: &Core, look: Look) -> StoreResult<Option<Until>> {
    let now = core.now();
    let (fired, woken) =
        tokio::join!(async { if look.schedules { fire_due(core, now).await } else { Ok(true) } }, async {
            if look.runs { wake(core, now).await } else { Ok(true) }
        },);
    // Each is done to its end whatever became of the other.
    if !(fired? && woken?) {
        return Ok(None);
    }
    let whole = Until { at: core.now().plus(core.look), look: Look::WHOLE };
    // What has been due all the while and cannot be read keeps nobody from sleeping to the next instant.
    let next = core.store.next_due(now).await?;
    Ok(Some(match next.first().filter(|first| *first < whole.at) {
        Some(at) => {
            let comes = |instant: Option<Instant>| instant.is_some_and(|instant| instant <= at);
            Until { at, look: Look { schedules: comes(next.schedule), runs: comes(next.run) } }
        }
        None => whole,
    }))
}

/// Fires schedules that are due; whether that was all.
async fn fire_due(core: &Core, now: Instant) -> StoreResult<bool> {
    let held = *core.shard.lock();
    let lease = match held {
        Some(lease) => lease,
        None => {
            let taken = core.store.take_shard(core.now()).await?;
            *core.shard.lock().insert(taken)
        }
    };
    let due = core.store.due(now, None, BATCH).await?;
    let full = due.ready.len() + due.unreadable.len() == BATCH;
    match fire_all(core, lease, now, due).await? {
        FiredAll::Done { left, any: _ } => Ok(!full && !left),
        FiredAll::NotOwner => {
            *core.shard.lock() = None;
            Ok(false)
        }
    }
}

/// Brings timed runs that are due into the queue; whether that was all.
async fn wake(core: &Core, now: Instant) -> StoreResult<bool> {
    let woken = core.store.wake(now, BATCH).await?;
    core.news.moved(now, &woken);
    Ok(woken.len() < BATCH)
}

/// Evaluates what is due of one job, so that a change of the job finds nothing unsettled; whether there was anything.
pub(super) async fn settle(core: &Core, job: JobUid) -> StoreResult<bool> {
    let held = *core.shard.lock();
    let Some(lease) = held else { return Ok(false) };
    let now = core.now();
    let due = core.store.due(now, Some(job), BATCH).await?;
    Ok(match fire_all(core, lease, now, due).await? {
        FiredAll::Done { any, left: _ } => any,
        FiredAll::NotOwner => false,
    })
}

/// What became of what was due.
enum FiredAll {
    /// It is committed.
    Done {
        /// Something was evaluated.
        any: bool,
        /// There is more: the step was full.
        left: bool,
    },
    /// The shard has another owner.
    NotOwner,
}

/// Evaluates and commits, up to [`MAX_INSTANTS`].
async fn fire_all(core: &Core, lease: ShardLease, now: Instant, due: DueSchedules) -> StoreResult<FiredAll> {
    let DueSchedules { ready, unreadable } = due;
    let any = !ready.is_empty() || !unreadable.is_empty();
    for UnreadableSchedule { job, job_name, namespace, schedule, position, why } in unreadable {
        tracing::error!(job = %job_name, schedule = %schedule, why, "a definition cannot be read; its job goes to ERROR");
        core.store.fail_schedule(now, job, &schedule, &position, FateReason::RuleBroken).await?;
        core.news.stopped_firing(now, &namespace, &job_name, position.version, JobState::Error, JobChange::Failed);
    }
    let mut firings = Vec::with_capacity(ready.len());
    let mut room = MAX_INSTANTS;
    let mut left = false;
    for due in ready {
        if room == 0 {
            left = true;
            break;
        }
        match evaluate(&due, lease.since, now, room) {
            Ok(evaluation) => {
                room = room.saturating_sub(evaluation.instants());
                let runs = evaluation.entries.iter().filter(|entry| matches!(entry, Entry::Run { .. }));
                let run_ids = runs.map(|_| RunId::new(now)).collect();
                firings.push(Firing { due, evaluation, run_ids });
            }
            Err(why) => {
                let reason = why.name();
                tracing::error!(job = %due.job_name, schedule = %due.schedule, reason, "a schedule cannot be evaluated");
                core.store.fail_schedule(now, due.job, &due.schedule, &due.position, why).await?;
                stopped(core, now, &due, JobState::Error, JobChange::Failed);
            }
        }
    }
    if firings.is_empty() {
        return Ok(FiredAll::Done { any, left });
    }
    let fired_of: Vec<_> = firings.iter().map(|firing| (firing.due.clone(), instants_of(firing))).collect();
    let mut owner = true;
    for ((due, instants), fired) in fired_of.iter().zip(core.store.fire(now, lease, firings).await?) {
        match fired {
            Fired::Done { runs, completed } => {
                let committed = core.now();
                for instant in runs.iter().filter_map(|run| instants.get(&run.run)) {
                    core.meter.fired(committed.since(*instant));
                }
                core.news.moved(now, &runs);
                if completed {
                    core.news.job_times.notify_one();
                    stopped(core, now, due, JobState::Completed, JobChange::Completed);
                }
            }
            Fired::Overtaken => {}
            Fired::NotOwner => owner = false,
        }
    }
    Ok(if owner { FiredAll::Done { any, left: left || room == 0 } } else { FiredAll::NotOwner })
}

/// The instants of the runs that a firing may make.
fn instants_of(firing: &Firing) -> HashMap<RunId, Instant> {
    let nominal = |entry: &Entry| match entry {
        Entry::Run { nominal, .. } => Some(*nominal),
        Entry::Fate(_) => None,
    };
    firing.run_ids.iter().copied().zip(firing.evaluation.entries.iter().filter_map(nominal)).collect()
}

fn stopped(core: &Core, now: Instant, due: &DueSchedule, state: JobState, change: JobChange) {
    core.news.stopped_firing(now, &due.namespace, &due.job_name, due.position.version, state, change);
}

/// One bad rule must not stop the others: a panic in the evaluation is that schedule's error.
fn evaluate(
    due: &DueSchedule,
    owned_since: Instant,
    now: Instant,
    limit: usize,
) -> Result<fire::Evaluation, FateReason> {
    let Some(schedule) = due.spec.schedules.iter().find(|schedule| schedule.name == due.schedule) else {
        return Err(FateReason::ScheduleMissing);
    };
    let evaluate = || fire::evaluate(due.job, schedule, &due.position, due.spec.catch_up, owned_since, now, limit);
    catch_unwind(AssertUnwindSafe(evaluate)).map_err(|_| FateReason::RuleBroken)
}
