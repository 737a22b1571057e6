//! Retain: what may go, goes, in small steps. Last stage of the way of a run. What waits of deleted jobs goes with them.

use std::{sync::Arc, time::Duration};

use super::{Core, jobs};
use crate::ports::store::RetentionPolicy;

/// Rows of a kind deleted in one step, so that no step holds the writer for long.
const BATCH: usize = 200;
/// Between two steps while there is more.
const PAUSE: Duration = Duration::from_millis(200);
/// Between two looks when there was nothing more.
const LOOK: Duration = Duration::from_secs(60);

pub(crate) fn start(core: &Arc<Core>, policy: RetentionPolicy) {
    let core = core.clone();
    core.tasks.clone().spawn("retain", async move {
        let mut timer = core.clock.timer("retain");
        while !core.tasks.is_stopping() {
            if let Err(error) = jobs::finish_deletes(&core).await {
                tracing::warn!(%error, "runs of deleted jobs cannot be ended for now");
            }
            let wait = match core.store.sweep(core.now(), policy, BATCH).await {
                Ok(swept) if swept.more => PAUSE,
                Ok(_) => LOOK,
                Err(error) => {
                    tracing::warn!(%error, "old rows cannot be deleted for now");
                    LOOK
                }
            };
            tokio::select! {
                () = timer.sleep_until(core.now().plus(wait)) => {}
                () = core.tasks.stopping() => {}
            }
        }
    });
}
