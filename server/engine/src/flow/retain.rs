//! Retain: what may go, goes, in small steps. Last stage of the way of a run. What waits of deleted jobs goes with them.

use std::{sync::Arc, time::Duration};

use super::{Core, jobs};

/// Rows of a kind deleted in one step, so that no step holds the writer for long.
const BATCH: usize = 500;
/// Between two steps while there is more: so many times as long as the step took, so that the writer has most of its time
/// for others, and what is deleted keeps up with what is made.
const REST: u32 = 3;
/// At least, and at most.
const PAUSE: [Duration; 2] = [Duration::from_millis(10), Duration::from_secs(5)];
/// Looks of other stages between two of this one when there was nothing more: nothing becomes old in a minute.
const LOOKS: u32 = 60;

pub(crate) fn start(core: &Arc<Core>) {
    let core = core.clone();
    core.tasks.clone().spawn("retain", async move {
        let mut timer = core.clock.timer("retain");
        while !core.tasks.is_stopping() {
            if let Err(error) = jobs::finish_deletes(&core).await {
                put_off!(error, "runs of deleted jobs cannot be ended for now");
            }
            let begin = core.now();
            let wait = match core.store.sweep(begin, core.retention, BATCH).await {
                Ok(swept) if swept.more => (core.now().since(begin) * REST).clamp(PAUSE[0], PAUSE[1]),
                Ok(_) => core.look * LOOKS,
                Err(error) => {
                    put_off!(error, "old rows cannot be deleted for now");
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
