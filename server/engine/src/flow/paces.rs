//! Paces: runs of concurrency keys that have gone as fast as they may are let go at the instant of the next. Beside the way of
//! a run, before dispatch.
//!
//! The store knows the instants, and each step of its own that makes one, or an earlier one, is heard here. So the stage
//! sleeps until there is something to do, and looks now and then for what other servers did.

use std::{sync::Arc, time::Duration};

use super::Core;
use crate::{domain::instant::Instant, ports::store::Paced};

/// Keys looked at in one step.
const BATCH: usize = 200;
/// After the store failed.
const PAUSE: Duration = Duration::from_millis(250);

pub(crate) fn start(core: &Arc<Core>) {
    let core = core.clone();
    core.tasks.clone().spawn("paces", async move {
        let mut timer = core.clock.timer("paces");
        while !core.tasks.is_stopping() {
            let until = look(&core).await;
            tokio::select! {
                () = timer.sleep_until(until) => {}
                () = core.store.pace_changed() => {}
                () = core.tasks.stopping() => return,
            }
        }
    });
}

/// One look; when the next is to be taken.
async fn look(core: &Core) -> Instant {
    let now = core.now();
    match core.store.pace(now, BATCH).await {
        Ok(Paced { moved, next }) => {
            core.news.moved(now, &moved);
            let look = now.plus(core.look);
            next.map_or(look, |next| next.min(look))
        }
        Err(error) => {
            put_off!(error, "runs of keys that have a rate cannot be let go for now");
            now.plus(PAUSE)
        }
    }
}
