//! Slots: runs that wait for others of their job or of their concurrency key go on, or give way. Beside the way of a run, between due and dispatch.
//!
//! What becomes of an instant or a trigger is decided where its run is made; a run that was made to wait is a row without a
//! time to wake. Here [`overlap::settle`] says what to do about the slot of a job, and the steps of the transition table do
//! it, each guarded by itself: looking twice, or two servers looking at once, does nothing twice.
//!
//! News of an end wakes the stage, where the run's job is one of those that somebody was seen to wait for ([`Watched`]), or
//! where somebody waits for a key, which any run may have; and it looks now and then whatever it heard.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::AtomicBool, atomic::Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Core, outcome::Settler};
use crate::{
    domain::{
        instant::Instant,
        names::{JobName, NamespaceName},
        overlap::{self, Act, Slot},
        transition::Event,
    },
    ports::store::{Apply, JobSlot, KeySlot, Moved, StoreResult},
};

/// Runs that wait, read in one step.
const BATCH: usize = 2_000;
/// After the store failed.
const PAUSE: Duration = Duration::from_millis(250);
/// For the handler that is to stop, and for people.
const MAKES_ROOM: &str = "a newer run of the job is to begin (overlap policy)";

type Job = (NamespaceName, JobName);

/// The jobs whose runs' ends this stage wants to hear of.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    /// With the look that last found somebody waiting, or was under way when somebody began to.
    jobs: Mutex<(u64, HashMap<Job, u64>)>,
    any: AtomicBool,
    /// Somebody waits for a key.
    keys: AtomicBool,
    wake: Notify,
}

impl Watched {
    /// A run moved.
    pub(crate) fn moved(&self, run: &Moved) {
        if run.to.is_terminal() && self.keys.load(Ordering::SeqCst) {
            self.wake.notify_one();
        }
        let Some(job) = &run.job else { return };
        if run.is_buffered() {
            let mut jobs = self.jobs.lock();
            let look = jobs.0;
            jobs.1.insert((run.lane.namespace.clone(), job.clone()), look);
            self.any.store(true, Ordering::SeqCst);
            self.wake.notify_one();
        } else if run.to.is_terminal() && self.any.load(Ordering::SeqCst) {
            let key = (run.lane.namespace.clone(), job.clone());
            if self.jobs.lock().1.contains_key(&key) {
                self.wake.notify_one();
            }
        }
    }

    /// A look begins.
    fn begin(&self) {
        self.jobs.lock().0 += 1;
    }

    /// A look found these, and is the whole of what there is. Whether one of them was not watched while it looked: an end
    /// in between was not heard.
    fn found(&self, slots: &[JobSlot], by_key: bool) -> bool {
        let mut jobs = self.jobs.lock();
        let (look, watched) = &mut *jobs;
        let mut news = by_key && !self.keys.load(Ordering::SeqCst);
        self.keys.store(by_key, Ordering::SeqCst);
        for JobSlot { namespace, name, .. } in slots {
            news |= watched.insert((namespace.clone(), name.clone()), *look).is_none();
        }
        watched.retain(|_, seen| *seen >= *look);
        self.any.store(!watched.is_empty(), Ordering::SeqCst);
        news
    }
}

pub(crate) fn start(core: &Arc<Core>, outcome: Settler) {
    let core = core.clone();
    core.tasks.clone().spawn("slots", async move {
        let mut timer = core.clock.timer("slots");
        while !core.tasks.is_stopping() {
            let until = match look(&core, &outcome).await {
                Ok(true) => continue,
                Ok(false) => core.now().plus(core.look),
                Err(error) => {
                    put_off!(error, "runs that wait for others of their job cannot go on for now");
                    core.now().plus(PAUSE)
                }
            };
            tokio::select! {
                () = timer.sleep_until(until) => {}
                () = core.news.watched.wake.notified() => {}
                () = core.tasks.stopping() => return,
            }
        }
    });
}

/// One look; whether another must follow at once.
async fn look(core: &Core, outcome: &Settler) -> StoreResult<bool> {
    core.news.watched.begin();
    let mut slots = Vec::new();
    loop {
        let after = slots.last().map(|slot: &JobSlot| slot.job);
        let (found, more) = core.store.waited_for(after, BATCH).await?;
        let done = !more || found.is_empty();
        slots.extend(found);
        if done {
            break;
        }
    }
    let mut keys = Vec::new();
    loop {
        let after = keys.last().map(|slot: &KeySlot| slot.key);
        let (found, more) = core.store.keys_waited_for(after, BATCH).await?;
        let done = !more || found.is_empty();
        keys.extend(found);
        if done {
            break;
        }
    }
    let again = core.news.watched.found(&slots, !keys.is_empty());
    let now = core.now();
    let slots = slots.iter().map(|slot| &slot.slot).chain(keys.iter().map(|slot| &slot.slot));
    let steps: Vec<_> = slots.flat_map(|slot| steps(slot, now, core.rules.lease_ttl)).collect();
    if !steps.is_empty() {
        outcome.steps().many(steps).await?;
    }
    Ok(again)
}

fn steps(slot: &Slot, now: Instant, lease_ttl: Duration) -> impl Iterator<Item = Apply> {
    overlap::settle(slot, now, lease_ttl).into_iter().map(|act| {
        let (run, event) = match act {
            Act::Replace(run) => (run, Event::Replace),
            Act::Cancel(run, grace) => (run, Event::Cancel { reason: MAKES_ROOM.into(), grace }),
            Act::Release(waits) => (waits.run, Event::Release { due: waits.due }),
        };
        Apply { run, event, owner: None, scope: None }
    })
}
