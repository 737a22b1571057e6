//! Rescue: attempts whose worker is gone, and runs whose time is over. Beside the way of a run.
//!
//! Workers own leases; one that is not heard for a lease loses them, and its attempts go back by the transition table. A
//! server cannot judge others for what it slept through itself: after its start, after a sleep of its machine, and whenever
//! the store was away or slow, it waits one lease before it judges anybody ([`Vigil`]), so that an outage does not turn
//! into a storm of lost attempts.

use std::{sync::Arc, time::Duration};

use super::{Core, batch::Undone, outcome::Settler};
use crate::{
    domain::{instant::Instant, rules::LeaseRules, transition::Event, worker::WorkerStatus},
    ports::{
        clock::Jump,
        store::{Applied, Apply, Judged, LostWorker, StoreError, StoreResult},
    },
};

/// Runs given back, or ended by time, in one step.
const BATCH: usize = 500;

pub(crate) fn start(core: &Arc<Core>, outcome: Settler) {
    let reaper = core.clone();
    core.tasks.spawn("reaper", async move { reap(&reaper).await });
    let keeper = core.clone();
    core.tasks.spawn("deadlines", async move { keep_deadlines(&keeper, &outcome).await });
}

/// Since when this server has been awake and able to hear workers. It judges them only after one whole lease of that.
#[derive(Debug)]
struct Vigil {
    rules: LeaseRules,
    /// Between two looks.
    every: Duration,
    looked: Instant,
    judge_from: Instant,
}

impl Vigil {
    fn begin(rules: LeaseRules, look: Duration, now: Instant) -> Self {
        let every = (rules.lease_ttl / 20).clamp(Duration::from_millis(50), look);
        Self { rules, every, looked: now, judge_from: now.plus(rules.lease_ttl) }
    }

    /// When to look next.
    fn next(&self) -> Instant {
        self.looked.plus(self.every)
    }

    /// Whether others may be judged at `now`. Who comes so late to its look has slept: heartbeats that came meanwhile still
    /// wait somewhere.
    fn may_judge(&mut self, now: Instant) -> bool {
        if self.rules.has_slept(now.since(self.next())) {
            tracing::warn!(slept = ?now.since(self.looked), "this server slept; it judges nobody for one lease");
            self.begin_again(now);
        }
        self.looked = now;
        now >= self.judge_from
    }

    /// The look that began before is over. A store that took longer than a heartbeat, or did not answer, may not have taken
    /// the heartbeats that came meanwhile.
    fn looked(&mut self, answered: bool, now: Instant) {
        if !answered || now.since(self.looked) > self.rules.heartbeat_interval {
            self.begin_again(now);
        }
        self.looked = now;
    }

    fn begin_again(&mut self, now: Instant) {
        self.judge_from = now.plus(self.rules.lease_ttl);
    }
}

async fn reap(core: &Core) {
    let mut timer = core.clock.timer("reaper");
    let mut vigil = Vigil::begin(core.rules, core.look, core.start_time);
    while !core.tasks.is_stopping() {
        let now = core.now();
        tell_jumps(core, now);
        if vigil.may_judge(now) {
            let judged = expire(core, now).await;
            if let Err(error) = &judged {
                put_off!(error, "lost workers cannot be judged for now");
            }
            vigil.looked(judged.is_ok(), core.now());
        }
        tokio::select! {
            () = timer.sleep_until(vigil.next()) => {}
            () = core.tasks.stopping() => {}
        }
    }
}

/// Tells of a clock that was set, or a machine that slept: what was due meanwhile is late, or is due twice on the wall.
fn tell_jumps(core: &Core, now: Instant) {
    for jump in core.clock.jumps() {
        let Jump { from, to } = jump;
        tracing::warn!(%from, %to, "the clock of this machine jumped; schedules go by it, and never go back");
        core.news.clock(now, core.server, jump);
    }
}

async fn expire(core: &Core, now: Instant) -> StoreResult<()> {
    let before = now.minus(core.clock.error_bound());
    loop {
        let Judged { moved, lost, more } = core.store.expire(now, before, BATCH).await?;
        for LostWorker { worker, scope, name } in &lost {
            tracing::info!(%worker, name, "a worker was not heard for a lease; it is lost");
            core.news.worker(now, scope, *worker, name, WorkerStatus::Lost);
        }
        for run in &moved {
            let worker = run.worker.map(tracing::field::display);
            tracing::debug!(run_id = %run.run, attempt = run.attempt, worker, to = run.to.name(), "lease expired");
        }
        if !moved.is_empty() {
            tracing::info!(runs = moved.len(), "the leases of runs expired with their workers'");
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
                put_off!(error, "deadlines cannot be kept for now");
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
        let steps = runs.into_iter().map(|run| Apply { run, event: Event::Deadline, owner: None, scope: None });
        let mut progress = false;
        for answer in outcome.steps().each(steps.collect()).await? {
            match answer {
                Ok(applied) => progress |= matches!(applied, Applied::Changed(_)),
                Err(Undone { error: StoreError::Corrupt(_), .. }) => {}
                Err(undone) => return Err(undone.error),
            }
        }
        if !progress {
            // They cannot be read. Asking again at once would come to the same.
            return Ok(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, Instant, LeaseRules, Vigil};

    const SECOND: Duration = Duration::from_secs(1);

    /// Looks in time, as a server that is awake does, until `end`.
    fn look_until(vigil: &mut Vigil, end: Instant) -> Vec<Instant> {
        let mut judged = Vec::new();
        while vigil.next() <= end {
            let now = vigil.next();
            if vigil.may_judge(now) {
                judged.push(now);
                vigil.looked(true, now);
            }
        }
        judged
    }

    #[test]
    fn a_server_that_slept_judges_nobody_for_one_lease() {
        let rules = LeaseRules::default();
        let start = Instant::EPOCH;
        let mut vigil = Vigil::begin(rules, Duration::from_secs(1), start);
        let judged = look_until(&mut vigil, start.plus(SECOND * 40));
        assert_eq!(judged.first(), Some(&start.plus(rules.lease_ttl)));
        let woke = start.plus(SECOND * 100);
        assert!(!vigil.may_judge(woke));
        let judged = look_until(&mut vigil, woke.plus(SECOND * 40));
        assert_eq!(judged.first(), Some(&woke.plus(rules.lease_ttl)));
    }

    #[test]
    fn a_store_that_was_slow_or_away_is_a_sleep_too() {
        let rules = LeaseRules::default();
        for (answered, took) in [(true, SECOND * 6), (false, Duration::ZERO)] {
            let mut vigil = Vigil::begin(rules, Duration::from_secs(1), Instant::EPOCH);
            let begin = *look_until(&mut vigil, Instant::EPOCH.plus(SECOND * 40)).last().unwrap();
            let end = begin.plus(took);
            vigil.looked(answered, end);
            let judged = look_until(&mut vigil, end.plus(SECOND * 40));
            assert_eq!(judged.first(), Some(&end.plus(rules.lease_ttl)));
        }
    }

    #[test]
    fn a_busy_machine_still_judges() {
        let rules = LeaseRules::default();
        let mut vigil = Vigil::begin(rules, Duration::from_secs(1), Instant::EPOCH);
        look_until(&mut vigil, Instant::EPOCH.plus(SECOND * 40));
        for _ in 0..100 {
            let now = vigil.next().plus(rules.heartbeat_interval);
            assert!(vigil.may_judge(now));
            vigil.looked(true, now);
        }
    }
}
