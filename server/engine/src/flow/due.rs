//! Due: time rules become runs, and timed runs come into the queue. Second stage of the way of a run.
//!
//! Each schedule has a persisted cursor ("evaluated up to here"). The stage asks which schedules have an instant after
//! their cursor that has come, lets [`fire::evaluate`] say what that means, and commits it: runs, ledger and cursor in one
//! transaction, guarded by the shard's epoch and the cursor itself. A crash anywhere repeats the step; another server at
//! the same time loses the compare-and-set. Timers only wake the stage, which sleeps to the exact instant.
//!
//! A step is bounded by schedules and by instants, of which each schedule has its share, so that whatever was missed is
//! worked off in small pieces; those on time come first, and what was missed makes so many runs a second
//! ([`Budget`]). One schedule that cannot be read or evaluated is that job's error, never the stage's.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use super::{Core, zones};
use crate::{
    domain::{
        budget::Budget,
        event::JobChange,
        fire::{self, Entry, MAX_INSTANTS, MISSED_AFTER},
        guard::guarded,
        ids::{JobUid, RunId},
        instant::Instant,
        job::JobState,
        ledger::{FateReason, Range},
    },
    ports::store::{
        DueInTurn, DueSchedule, DueSchedules, Fired, Firing, ShardLease, Shares, StoreResult, UnreadableSchedule,
    },
};

/// Schedules fired, or runs woken, in one step.
const BATCH: usize = 500;
/// After the store failed.
const PAUSE: Duration = Duration::from_millis(250);

pub(crate) fn start(core: &Arc<Core>, late_runs: u32) {
    let core = core.clone();
    core.tasks.clone().spawn("due", async move {
        let mut budget = Budget::new(late_runs);
        let mut timer = core.clock.exact_timer("due");
        let mut look = Look::WHOLE;
        // When it would have looked at the latest, had nothing been in the way.
        let mut expected = core.now();
        while !core.tasks.is_stopping() {
            let now = core.now();
            if now > expected.plus(MISSED_AFTER) {
                *core.away_until.lock() = now;
            }
            let until = match turn(&core, look, &mut budget).await {
                Ok(Some(until)) => {
                    expected = until.at;
                    until
                }
                Ok(None) => {
                    expected = core.now();
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
async fn turn(core: &Core, look: Look, budget: &mut Budget) -> StoreResult<Option<Until>> {
    let now = core.now();
    let fire = async { if look.schedules { fire_due(core, now, budget).await } else { Ok(Left::Nothing) } };
    let wake = async { if look.runs { wake(core, now).await } else { Ok(true) } };
    let (fired, woken) = tokio::join!(fire, wake);
    // Each is done to its end whatever became of the other.
    let (fired, woken) = (fired?, woken?);
    if !woken {
        return Ok(None);
    }
    let again = match fired {
        Left::More => return Ok(None),
        Left::Nothing => Instant::MAX,
        Left::Missed(at) => at,
    };
    let whole = Until { at: core.now().plus(core.look).min(again), look: Look::WHOLE };
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

/// What a look left to do.
enum Left {
    /// Nothing.
    Nothing,
    /// More than one look takes.
    More,
    /// What was missed, and is caught up with from then on.
    Missed(Instant),
}

/// Fires schedules that are due: those that are on time, then those that are behind as far as the budget goes.
async fn fire_due(core: &Core, now: Instant, budget: &mut Budget) -> StoreResult<Left> {
    let held = *core.shard.lock();
    let lease = match held {
        Some(lease) => lease,
        None => {
            let taken = core.store.take_shard(core.now()).await?;
            let lease = *core.shard.lock().insert(taken);
            core.news.job_times.notify_one();
            lease
        }
    };
    let missed_until = fire::missed_until(lease.since, now);
    let room = budget.room(now);
    let most = Shares { live: BATCH, missed: BATCH.min(room) };
    let DueInTurn { due, more_live, more_missed } = core.store.due_in_turn(missed_until, now, most).await?;
    match fire_all(core, lease, now, due).await? {
        FiredAll::Done { left, late, any } => {
            budget.spend(late);
            // What cannot be read at all is there at every look.
            Ok(match ((more_live || left) && any, more_missed && (any || room == 0)) {
                (true, _) => Left::More,
                (false, true) if budget.room(now) > 0 => Left::More,
                (false, true) => Left::Missed(budget.refilled()),
                (false, false) => Left::Nothing,
            })
        }
        FiredAll::NotOwner => {
            *core.shard.lock() = None;
            Ok(Left::More)
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
        FiredAll::Done { any, left: _, late: _ } => any,
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
        /// So many runs may have been made of what was missed.
        late: usize,
    },
    /// The shard has another owner.
    NotOwner,
}

/// Evaluates and commits, up to [`MAX_INSTANTS`].
async fn fire_all(core: &Core, lease: ShardLease, now: Instant, due: DueSchedules) -> StoreResult<FiredAll> {
    let DueSchedules { ready, unreadable } = due;
    let any = !ready.is_empty() || !unreadable.is_empty();
    // What other zone data make of an instant that was announced comes before what becomes of it.
    let (stale, ready): (Vec<_>, Vec<_>) = ready.into_iter().partition(|due| due.is_stale);
    if !stale.is_empty() {
        let jobs: BTreeSet<_> = stale.iter().map(|due| due.job).collect();
        zones::retime(core, Some(jobs.into_iter().collect())).await?;
    }
    for UnreadableSchedule { job, job_name, namespace, schedule, position, why } in unreadable {
        tracing::error!(job = %job_name, schedule = %schedule, why, "a definition cannot be read; its job goes to ERROR");
        let why = FateReason::RuleBroken;
        if let Some(range) = core.store.fail_schedule(now, job, &schedule, &position, why).await? {
            core.news.schedule(now, &namespace, &job_name, &schedule, range);
        }
        core.news.stopped_firing(now, &namespace, &job_name, position.version, JobState::Error, JobChange::Failed);
    }
    // What is on time comes first, and is caught up with as anything else where nobody looked: that takes nothing of the budget.
    let behind = fire::missed_until(lease.since, now);
    let since = lease.since.max(*core.away_until.lock());
    let mut firings = Vec::with_capacity(ready.len());
    let mut room = MAX_INSTANTS;
    let (mut left, mut late) = (!stale.is_empty(), 0);
    let many = ready.len();
    for (place, due) in ready.into_iter().enumerate() {
        let share = share(room, many - place);
        match evaluate(&due, since, now, share) {
            Ok(evaluation) => {
                left |= evaluation.instants() >= share;
                room = room.saturating_sub(evaluation.instants());
                let is_late =
                    |entry: &&Entry| matches!(entry, Entry::Run { nominal, late: true, .. } if *nominal <= behind);
                late += evaluation.entries.iter().filter(is_late).count();
                let runs = evaluation.entries.iter().filter(|entry| matches!(entry, Entry::Run { .. }));
                let run_ids = runs.map(|_| RunId::new(now)).collect();
                firings.push(Firing { due, evaluation, run_ids });
            }
            Err(why) => {
                let reason = why.name();
                tracing::error!(job = %due.job_name, schedule = %due.schedule, reason, "a schedule cannot be evaluated");
                let failed = core.store.fail_schedule(now, due.job, &due.schedule, &due.position, why).await?;
                if let Some(range) = failed {
                    core.news.schedule(now, &due.namespace, &due.job_name, &due.schedule, range);
                }
                stopped(core, now, &due, JobState::Error, JobChange::Failed);
            }
        }
    }
    if firings.is_empty() {
        return Ok(FiredAll::Done { any, left, late });
    }
    let fired_of: Vec<_> =
        firings.iter().map(|firing| (firing.due.clone(), instants_of(firing), lost_of(firing))).collect();
    let mut owner = true;
    for ((due, instants, lost), fired) in fired_of.iter().zip(core.store.fire(now, lease, firings).await?) {
        match fired {
            Fired::Done { runs, completed } => {
                let committed = core.now();
                for instant in runs.iter().filter_map(|run| instants.get(&run.run)) {
                    core.meter.fired(committed.since(*instant));
                }
                core.news.moved(now, &runs);
                for range in lost {
                    core.news.schedule(now, &due.namespace, &due.job_name, &due.schedule, range.clone());
                }
                if completed {
                    core.news.job_times.notify_one();
                    stopped(core, now, due, JobState::Completed, JobChange::Completed);
                }
            }
            Fired::Overtaken => {}
            Fired::NotOwner => owner = false,
        }
    }
    Ok(if owner { FiredAll::Done { any, left, late } } else { FiredAll::NotOwner })
}

/// How many of the instants that are left one of so many schedules has; what it does not use is for those after it.
fn share(room: usize, schedules: usize) -> usize {
    (room / schedules.max(1)).max(1)
}

/// The instants of the runs that a firing may make.
fn instants_of(firing: &Firing) -> HashMap<RunId, Instant> {
    let nominal = |entry: &Entry| match entry {
        Entry::Run { nominal, .. } => Some(*nominal),
        Entry::Fate(_) => None,
    };
    firing.run_ids.iter().copied().zip(firing.evaluation.entries.iter().filter_map(nominal)).collect()
}

/// What a firing says was missed for good.
fn lost_of(firing: &Firing) -> Vec<Range> {
    let lost = |entry: &Entry| match entry {
        Entry::Fate(range) => range.is_lost().then(|| range.clone()),
        Entry::Run { .. } => None,
    };
    firing.evaluation.entries.iter().filter_map(lost).collect()
}

fn stopped(core: &Core, now: Instant, due: &DueSchedule, state: JobState, change: JobChange) {
    core.news.stopped_firing(now, &due.namespace, &due.job_name, due.position.version, state, change);
}

/// What time means for a schedule that is due; one that cannot be evaluated is its job's error, and stops no other.
fn evaluate(
    due: &DueSchedule,
    owned_since: Instant,
    now: Instant,
    limit: usize,
) -> Result<fire::Evaluation, FateReason> {
    let Some(schedule) = due.spec.schedules.iter().find(|schedule| schedule.name == due.schedule) else {
        return Err(FateReason::ScheduleMissing);
    };
    if !schedule.is_known() {
        return Err(FateReason::ZoneMissing);
    }
    guarded(|| fire::evaluate(due.job, schedule, &due.position, due.spec.catch_up, owned_since, now, limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_far_behind_leaves_the_others_theirs() {
        // What each of them would take.
        let step = |wanted: &[usize]| {
            let (many, mut room) = (wanted.len(), MAX_INSTANTS);
            let taken = wanted.iter().enumerate().map(|(place, wanted)| {
                let taken = share(room, many - place).min(*wanted);
                room = room.saturating_sub(taken);
                taken
            });
            taken.collect::<Vec<_>>()
        };
        assert_eq!(step(&[1_000_000, 1, 1, 1_000_000]), [2_500, 1, 1, 7_498]);
        assert_eq!((share(0, 3), share(7, 500), share(MAX_INSTANTS, 1)), (1, 1, MAX_INSTANTS));
    }
}
