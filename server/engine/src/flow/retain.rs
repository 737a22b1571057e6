//! Retain: what may go, goes, in small steps. Last stage of the way of a run.

use std::{sync::Arc, time::Duration};

use super::Core;
use crate::ports::store::RetentionPolicy;

/// Rows of a kind deleted in one step, so that no step holds the writer for long.
const BATCH: usize = 200;
/// Between two steps while there is more.
const PAUSE: Duration = Duration::from_millis(200);
/// Looks of other stages between two of this one when there was nothing more: nothing becomes old in a minute.
const LOOKS: u32 = 60;

pub(crate) fn start(core: &Arc<Core>, policy: RetentionPolicy) {
    let core = core.clone();
    core.tasks.clone().spawn("retain", async move {
        let mut timer = core.clock.timer("retain");
        while !core.tasks.is_stopping() {
            let wait = match core.store.sweep(core.now(), policy, BATCH).await {
                Ok(swept) if swept.more => PAUSE,
                Ok(_) => core.look * LOOKS,
                Err(error) => {
                    tracing::warn!(%error, "old rows cannot be deleted for now");
                    core.look * LOOKS
                }
            };
            tokio::select! {
                () = timer.sleep_until(core.now().plus(wait)) => {}
                () = core.tasks.stopping() => {}
            }
        }
    });
}
