//! Rescue: attempts whose worker is gone, and runs whose time is over. Beside the way of a run.
//!
//! Workers own leases; one that is not heard for a lease loses them, and its attempts go back by the transition table. A
//! server cannot judge others for what it slept through itself: after its start, and whenever the store was away or slow,
//! it waits one lease before it judges anybody, so that an outage does not turn into a storm of lost attempts.

use std::{sync::Arc, time::Duration};

use super::{Core, outcome::Settler};
use crate::{
    domain::{instant::Instant, transition::Event},
    ports::store::{Apply, StoreResult},
};

/// Runs given back, or ended by time, in one step.
const BATCH: usize = 500;

pub(crate) fn start(core: &Arc<Core>, outcome: Settler) {
    let reaper = core.clone();
    core.tasks.spawn("reaper", async move { reap(&reaper).await });
    let keeper = core.clone();
    core.tasks.spawn("deadlines", async move { keep_deadlines(&keeper, &outcome).await });
}

async fn reap(core: &Core) {
    let every = (core.rules.lease_ttl / 20).clamp(Duration::from_millis(50), core.look);
    let mut timer = core.clock.timer("reaper");
    let mut judge_from = core.start_time.plus(core.rules.lease_ttl);
    while !core.tasks.is_stopping() {
        let asked = core.now();
        if asked >= judge_from {
            let judged = expire(core, asked).await;
            let now = core.now();
            // A store that took longer than a heartbeat may not have taken the heartbeats that came meanwhile.
            let slow = now.since(asked) > core.rules.heartbeat_interval;
            if let Err(error) = &judged {
                tracing::warn!(%error, "lost workers cannot be judged for now");
            }
            if slow || judged.is_err() {
                judge_from = now.plus(core.rules.lease_ttl);
            }
        }
        tokio::select! {
            () = timer.sleep_until(core.now().plus(every)) => {}
            () = core.tasks.stopping() => {}
        }
    }
}

async fn expire(core: &Core, now: Instant) -> StoreResult<()> {
    let before = now.minus(core.clock.error_bound());
    loop {
        let (moved, more) = core.store.expire(now, before, BATCH).await?;
        for run in &moved {
            tracing::info!(run = %run.run, attempt = run.attempt, worker = ?run.worker, to = run.to.name(), "lease expired");
        }
        core.news.moved(now, &moved);
        if !more {
            return Ok(());
        }
    }
}

async fn keep_deadlines(core: &Core, outcome: &Settler) {
    let mut timer = core.clock.timer("deadlines");
    while !core.tasks.is_stopping() {
        let look = core.now().plus(core.look);
        let until = match past_deadlines(core, outcome).await {
            Ok(Some(next)) => next.min(look),
            Ok(None) => look,
            Err(error) => {
                tracing::warn!(%error, "deadlines cannot be kept for now");
                look
            }
        };
        tokio::select! {
            () = timer.sleep_until(until) => {}
            () = core.news.deadline.notified() => {}
            () = core.tasks.stopping() => {}
        }
    }
}

/// Applies every deadline that has passed; answers the next one.
async fn past_deadlines(core: &Core, outcome: &Settler) -> StoreResult<Option<Instant>> {
    loop {
        let runs = core.store.past_deadline(core.now(), BATCH).await?;
        if runs.is_empty() {
            return core.store.next_deadline().await;
        }
        let full = runs.len() == BATCH;
        let steps = runs.into_iter().map(|run| Apply { run, event: Event::Deadline, owner: None, scope: None });
        outcome.apply(steps.collect()).await?;
        if !full {
            return core.store.next_deadline().await;
        }
    }
}
