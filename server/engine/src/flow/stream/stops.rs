//! The poll for attempts that somebody wants stopped: what makes a lost hint harmless.

use super::Hub;
use crate::domain::transition::Tell;

/// Looks of other stages between two of this one.
const LOOKS: u32 = 5;

/// Looks in the store for attempts of this server's sessions that are to stop.
pub(super) fn start(hub: &Hub) {
    let hub = hub.clone();
    let core = hub.0.core.clone();
    core.tasks.clone().spawn("stops", async move {
        let mut timer = core.clock.timer("stops");
        let every = core.rules.heartbeat_interval.min(core.look * LOOKS);
        loop {
            tokio::select! {
                () = timer.sleep_until(core.now().plus(every)) => {}
                () = hub.0.stops.notified() => {}
                () = core.tasks.stopping() => return,
            }
            let sessions = hub.all();
            let owners: Vec<_> =
                sessions.iter().filter(|live| !live.held().is_empty()).map(|live| live.owner).collect();
            if owners.is_empty() {
                continue;
            }
            match core.store.stops(core.now(), &owners).await {
                Ok(stops) => {
                    for (owner, key, reason) in stops {
                        hub.tell(owner.worker, key.run, &Tell::Stop(key.attempt, reason));
                    }
                }
                Err(error) => tracing::debug!(%error, "stops cannot be looked for now"),
            }
        }
    });
}
