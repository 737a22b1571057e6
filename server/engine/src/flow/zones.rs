//! Zones: schedules follow the zone data in force. Beside the way of a run, before due.
//!
//! Where other data come into force, or a server starts with others than those before, every schedule is looked at in small
//! steps, so that none holds the writer for long. What becomes due before its turn is retimed by [`super::due`] itself, by the
//! same step. Which schedules have followed is in their rows, so a crash costs nothing but time.

use std::{sync::Arc, time::Duration};

use super::Core;
use crate::{
    domain::{event::JobChange, ids::JobUid, instant::Instant, job::JobState, ledger::FateReason},
    ports::store::{Retimed, RetimedSchedule, StoreResult, Told},
};

/// Jobs that follow in one step.
const BATCH: usize = 50;
/// After the store failed.
const PAUSE: Duration = Duration::from_millis(250);

pub(crate) fn start(core: &Arc<Core>) {
    let core = core.clone();
    core.tasks.clone().spawn("zones", async move {
        let mut timer = core.clock.timer("zones");
        while !core.tasks.is_stopping() {
            // Data come into force in this process alone, which says so.
            let until = match retime(&core, None).await {
                Ok(true) => continue,
                Ok(false) => Instant::MAX,
                Err(error) => {
                    put_off!(error, "schedules cannot follow the zone data for now");
                    core.now().plus(PAUSE)
                }
            };
            tokio::select! {
                () = timer.sleep_until(until) => {}
                () = core.news.zones.notified() => {}
                () = core.tasks.stopping() => return,
            }
        }
    });
}

/// One step, of these jobs or of all; whether there are more.
pub(super) async fn retime(core: &Core, jobs: Option<Vec<JobUid>>) -> StoreResult<bool> {
    let now = core.now();
    let most = jobs.as_ref().map_or(BATCH, Vec::len);
    let Retimed { told, more } = core.store.retime(now, jobs, most).await?;
    if !told.is_empty() {
        // What is next may be so earlier than the time stage knows.
        core.news.due.notify_one();
    }
    for retimed in told {
        tell(core, now, retimed);
    }
    Ok(more)
}

fn tell(core: &Core, now: Instant, retimed: RetimedSchedule) {
    let RetimedSchedule { namespace, job, version, schedule, told } = retimed;
    let news = &core.news;
    match told {
        Told::Moved(retiming) => {
            tracing::info!(%job, %schedule, from = retiming.from, to = retiming.to, "other zone data move a schedule");
            news.retimed(now, &namespace, &job, &schedule, retiming);
        }
        Told::Failed(range) => {
            let reason = range.reason.map(FateReason::name);
            tracing::error!(%job, %schedule, reason, "the zone data in force cannot evaluate a schedule; its job goes to ERROR");
            news.schedule(now, &namespace, &job, &schedule, range);
            news.stopped_firing(now, &namespace, &job, version, JobState::Error, JobChange::Failed);
        }
        Told::Found(state) => {
            tracing::info!(%job, %schedule, "the zone data have the zone of a schedule again");
            news.stopped_firing(now, &namespace, &job, version, state, JobChange::Updated);
        }
    }
}
