//! Backfill: instants that have passed become runs, a few at a time. Beside the way of a run, before dispatch.
//!
//! Each backfill has a persisted cursor. The stage asks which are not over, lets the domain say what comes behind the cursor
//! of each, and commits that in steps ([`Backfills::advance_backfill`](crate::ports::store::Backfills)): runs and cursor in
//! one transaction, in which it is counted how many of its runs are under way. So a crash repeats a step or has none, and
//! another server at the same time loses the compare-and-set. One that was cancelled has its runs ended here.
//!
//! News of an end wakes the stage where the run's job is one that is backfilled, or where a backfill waits for a concurrency
//! key, which any run may have ([`Backfilled`]); it looks now and then whatever it heard. A step is small, so that live instants wait for none.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Core;
use crate::{
    domain::{
        backfill::{Backfill, BackfillState, Beside, Named},
        guard::guarded,
        ids::{BackfillId, RunId},
        names::{JobName, NamespaceName, Scope},
        run::RunState,
        schedule::ScheduleSpec,
    },
    ports::store::{
        Advanced, BackfillStep, CancelBackfill, CreateBackfill, EndedRuns, Moved, NewBackfill, OpenBackfill,
        StoreResult,
    },
};

/// Runs made, or ended, in one step.
const BATCH: usize = 200;
/// Instants looked at in one step, where fewer runs can be made: some of them may be passed over.
const AHEAD: usize = 32;
/// After the store failed.
const PAUSE: Duration = Duration::from_millis(250);
/// For people, where nobody cancelled it.
const BROKEN: &str = "its definition cannot be evaluated";

type Job = (NamespaceName, JobName);

/// The jobs whose runs' ends this stage wants to hear of.
#[derive(Debug, Default)]
pub(crate) struct Backfilled {
    jobs: Mutex<HashSet<Job>>,
    any: AtomicBool,
    /// One of them waits for the runs of a key.
    keys: AtomicBool,
    wake: Notify,
}

impl Backfilled {
    /// A run moved.
    pub(crate) fn moved(&self, run: &Moved) {
        // What is to wait for another attempt may have to be ended.
        let is_news = run.to.is_terminal() || run.to == RunState::RetryWait;
        if !is_news || !self.any.load(Ordering::SeqCst) {
            return;
        }
        if run.to.is_terminal() && self.keys.load(Ordering::SeqCst) {
            self.wake.notify_one();
        }
        let Some(job) = &run.job else { return };
        if self.jobs.lock().contains(&(run.lane.namespace.clone(), job.clone())) {
            self.wake.notify_one();
        }
    }

    /// A job changed, or a backfill did.
    pub(crate) fn look(&self) {
        self.wake.notify_one();
    }

    /// These are not over. An end that comes after this is heard; what came before is counted by the step.
    fn watch(&self, open: &[OpenBackfill]) {
        let jobs = open.iter().map(|open| (open.backfill.namespace.clone(), open.backfill.job_name.clone())).collect();
        self.any.store(!open.is_empty(), Ordering::SeqCst);
        self.keys.store(open.iter().any(waits_for_a_key), Ordering::SeqCst);
        *self.jobs.lock() = jobs;
    }
}

fn waits_for_a_key(open: &OpenBackfill) -> bool {
    let by_key = open.definition.as_ref().is_some_and(|definition| definition.overlaps_by_key());
    by_key && open.backfill.spec.beside == Beside::Wait
}

pub(crate) fn start(core: &Arc<Core>) {
    let core = core.clone();
    core.tasks.clone().spawn("backfill", async move {
        let mut timer = core.clock.timer("backfill");
        while !core.tasks.is_stopping() {
            let until = match look(&core).await {
                Ok(true) => continue,
                Ok(false) => core.now().plus(core.look),
                Err(error) => {
                    put_off!(error, "backfills cannot go on for now");
                    core.now().plus(PAUSE)
                }
            };
            tokio::select! {
                () = timer.sleep_until(until) => {}
                () = core.news.backfilled.wake.notified() => {}
                () = core.tasks.stopping() => return,
            }
        }
    });
}

/// One step of each; whether another look must follow at once.
async fn look(core: &Core) -> StoreResult<bool> {
    let open = core.store.open_backfills().await?;
    core.news.backfilled.watch(&open);
    let (mut again, mut failed) = (false, None);
    for one in open {
        let step = match one.backfill.state {
            BackfillState::Running => advance(core, one).await,
            BackfillState::Cancelling => end(core, &one.backfill).await,
            BackfillState::Completed | BackfillState::Cancelled => Ok(false),
        };
        // One that fails stops no other.
        match step {
            Ok(more) => again |= more,
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or(Ok(again), Err)
}

async fn advance(core: &Core, open: OpenBackfill) -> StoreResult<bool> {
    let id = open.backfill.id;
    let Some((instants, all)) = behind(&open) else {
        tracing::error!(backfill = %id, job = %open.backfill.job_name, BROKEN, "a backfill is cancelled");
        let cancel = CancelBackfill { note: BROKEN.into(), workers: false };
        let scope = Scope(open.backfill.namespace.clone());
        core.store.cancel_backfill(core.now(), &scope, id, cancel).await?;
        return Ok(true);
    };
    let now = core.now();
    let run_ids = instants.iter().map(|_| RunId::new(now)).collect();
    let backfill = open.backfill.clone();
    match core.store.advance_backfill(now, BackfillStep { open, instants, all, run_ids }).await? {
        Advanced::Done { runs, again, over } => {
            core.news.moved(now, &runs);
            if over {
                core.news.backfill_ended(now, &backfill);
            }
            Ok(again)
        }
        // Whoever overtook it goes on with it.
        Advanced::Overtaken => Ok(false),
    }
}

/// What comes next, as far as there is room; none where that cannot be evaluated.
fn behind(open: &OpenBackfill) -> Option<(Vec<Named>, bool)> {
    let OpenBackfill { backfill: Backfill { spec, cursor, is_through, runs, .. }, definition, is_paused } = open;
    if *is_through {
        return Some((Vec::new(), true));
    }
    let room = u64::from(spec.concurrency.get()).saturating_sub(runs.open);
    if room == 0 || (*is_paused && !spec.while_paused) {
        return Some((Vec::new(), false));
    }
    let limit = usize::try_from(room).unwrap_or(BATCH).clamp(AHEAD, BATCH);
    let rules = &definition.as_ref()?.schedules;
    if !rules.iter().all(ScheduleSpec::is_known) {
        // Until there are data of its zone again.
        return Some((Vec::new(), false));
    }
    guarded(|| spec.instants(rules, *cursor, limit)).ok()
}

async fn end(core: &Core, backfill: &Backfill) -> StoreResult<bool> {
    let now = core.now();
    let EndedRuns { runs, more, over } = core.store.end_backfill(now, backfill.id, BATCH).await?;
    core.news.moved(now, &runs);
    if over {
        core.news.backfill_ended(now, backfill);
    }
    Ok(more)
}

/// Begins a backfill.
pub(super) async fn create(core: &Core, backfill: NewBackfill) -> StoreResult<CreateBackfill> {
    let created = core.store.create_backfill(core.now(), backfill).await?;
    core.news.backfilled.look();
    Ok(created)
}

/// Cancels a backfill; none where there is none. Its runs that wait are ended when this returns, unless the store fails.
pub(super) async fn cancel(
    core: &Core,
    scope: &Scope,
    id: BackfillId,
    cancel: CancelBackfill,
) -> StoreResult<Option<Backfill>> {
    let Some(cancelled) = core.store.cancel_backfill(core.now(), scope, id, cancel).await? else { return Ok(None) };
    core.news.backfilled.look();
    if cancelled.state != BackfillState::Cancelling {
        return Ok(Some(cancelled));
    }
    // The stage does the same; who is first does it.
    while end(core, &cancelled).await? {}
    core.store.backfill(scope, id).await
}
