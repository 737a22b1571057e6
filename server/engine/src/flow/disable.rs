//! Disable: a job that fails and fails is paused by itself. Beside the way of a run, after outcome.
//!
//! News of a failure wakes the stage, which asks the store how the job's runs ended before it; whether it is failing is
//! decided once more, by the step that pauses it. Nothing is kept between: where a server dies in between, the job's next
//! failure asks again.

use std::{collections::HashSet, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Core, jobs::Jobs};
use crate::{
    domain::{
        names::{JobName, NamespaceName, Scope},
        run::RunState,
    },
    ports::store::{Moved, StoreResult},
};

/// After the store failed.
const PAUSE: Duration = Duration::from_millis(250);

type Job = (NamespaceName, JobName);

/// Jobs of which a run has failed.
#[derive(Debug, Default)]
pub(crate) struct Failing {
    jobs: Mutex<HashSet<Job>>,
    wake: Notify,
}

impl Failing {
    /// A run moved.
    pub(crate) fn moved(&self, run: &Moved) {
        let Some(job) = run.job.as_ref().filter(|_| matches!(run.to, RunState::Failed | RunState::TimedOut)) else {
            return;
        };
        self.jobs.lock().insert((run.lane.namespace.clone(), job.clone()));
        self.wake.notify_one();
    }
}

pub(crate) fn start(core: &Arc<Core>) {
    let core = core.clone();
    core.tasks.clone().spawn("disable", async move {
        let mut timer = core.clock.timer("disable");
        while !core.tasks.is_stopping() {
            let jobs = std::mem::take(&mut *core.news.failing.jobs.lock());
            let mut until = core.now().plus(core.look);
            for (namespace, name) in jobs {
                let scope = Scope(namespace);
                if let Err(error) = judge(&core, &scope, &name).await {
                    put_off!(error, "whether a job keeps failing cannot be judged for now");
                    core.news.failing.jobs.lock().insert((scope.0, name));
                    until = core.now().plus(PAUSE);
                }
            }
            tokio::select! {
                () = timer.sleep_until(until) => {}
                () = core.news.failing.wake.notified() => {}
                () = core.tasks.stopping() => return,
            }
        }
    });
}

async fn judge(core: &Arc<Core>, scope: &Scope, name: &JobName) -> StoreResult<()> {
    if core.store.is_failing(core.now(), scope, name).await? {
        Jobs::new(core).disable(scope, name).await?;
    }
    Ok(())
}
