//! Leasing: pointers become attempts of this server's sessions.
//!
//! One task takes what the broker delivers, sets slots of fitting sessions aside, leases all of it in one store step, and
//! settles the deliveries after the commit: never when the job ends. A step whose commit is unknown is repeated with the
//! same pointers, generations and epochs until every answer is final, and holds its slots until then; a read alone would
//! not do, since the first try may still land (test `v12_…`).

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use super::{Hub, messages::ToWorker, session::Live};
use crate::{
    domain::{instant::Instant, names::Lane},
    ports::{
        broker::{Broker, Delivery, DeliveryTag, Pointer},
        store::{Dispatchable, LeaseAnswer, LeaseBatch, LeaseResult},
    },
};

/// Pointers leased in one step.
const BATCH: usize = 1_000;
/// Between two tries of a step whose commit is unknown.
const PAUSE: Duration = Duration::from_millis(100);

pub(super) fn start(hub: &Hub, broker: Arc<dyn Broker>) {
    let hub = hub.clone();
    let tasks = hub.0.core.tasks.clone();
    tasks.clone().spawn("lease", async move {
        let mut leaser = Leaser { hub: hub.clone(), broker, ready: HashMap::new(), open: HashMap::new(), turn: 0 };
        loop {
            tokio::select! {
                delivery = leaser.broker.next() => match delivery {
                    Ok(delivery) => leaser.take(delivery),
                    Err(error) => {
                        tracing::warn!(%error, "no pointers for now");
                        leaser.pause().await;
                    }
                },
                () = hub.0.slots.notified() => {}
                () = hub.0.lanes.notified() => leaser.subscribe().await,
                () = tasks.stopping() => return,
            }
            while leaser.lease().await {}
        }
    });
}

struct Leaser {
    hub: Hub,
    broker: Arc<dyn Broker>,
    /// Delivered and not leased yet, best first.
    ready: HashMap<Lane, VecDeque<(Pointer, DeliveryTag)>>,
    /// How many pointers of each delivery are not dealt with.
    open: HashMap<DeliveryTag, usize>,
    /// Who comes first, so that sessions take turns.
    turn: usize,
}

/// Pointers of one lane, for one session.
struct Claim {
    live: Arc<Live>,
    basis: i64,
    pointers: Vec<(Lane, Pointer, DeliveryTag)>,
}

impl Leaser {
    fn take(&mut self, delivery: Delivery) {
        let Delivery { tag, batch } = delivery;
        self.open.insert(tag, batch.pointers.len());
        let ready = self.ready.entry(batch.lane).or_default();
        ready.extend(batch.pointers.into_iter().map(|pointer| (pointer, tag)));
    }

    /// Tells the broker which lanes have sessions, and the dispatcher which of them are delivered.
    async fn subscribe(&mut self) {
        let lanes: HashSet<Lane> = self.hub.0.sessions.lock().by_lane.keys().cloned().collect();
        if let Err(error) = self.broker.subscribe(lanes.iter().cloned().collect()).await {
            tracing::warn!(%error, "subscriptions could not be changed");
            return;
        }
        let core = self.hub.0.core.clone();
        let before = std::mem::replace(&mut self.hub.0.sessions.lock().subscribed, lanes.clone());
        // What was on its way to a lane that nobody serves any more may be lost: it is released again, if ever.
        let mut settled = Vec::new();
        for lane in before.difference(&lanes) {
            for (_, tag) in self.ready.remove(lane).unwrap_or_default() {
                self.dealt_with(tag, &mut settled);
            }
            core.news.board.forget_lane(lane);
        }
        core.news.board.demand_changed();
        self.settle(settled).await;
    }

    async fn settle(&self, deliveries: Vec<DeliveryTag>) {
        if !deliveries.is_empty()
            && let Err(error) = self.broker.settle(deliveries).await
        {
            tracing::debug!(%error, "deliveries were not settled; they come again and are stale");
        }
    }

    /// One step; `false` where there was nothing to lease.
    async fn lease(&mut self) -> bool {
        let claims = self.claim();
        if claims.is_empty() {
            return false;
        }
        let batches: Vec<_> = claims
            .iter()
            .map(|claim| LeaseBatch {
                owner: claim.live.owner,
                pointers: claim.pointers.iter().map(|(_, pointer, _)| *pointer).collect(),
            })
            .collect();
        let core = self.hub.0.core.clone();
        let answers = loop {
            match core.store.lease(core.now(), batches.clone()).await {
                Ok(answers) => break answers,
                Err(error) => {
                    tracing::warn!(%error, "a lease's commit is unknown; it is repeated");
                    if core.tasks.is_stopping() {
                        return false;
                    }
                    self.pause().await;
                }
            }
        };
        let mut settled = Vec::new();
        for (claim, answer) in claims.into_iter().zip(answers) {
            match answer {
                LeaseAnswer::Results(results) => self.leased(claim, results, &mut settled),
                LeaseAnswer::SessionGone => self.give_back(claim),
            }
        }
        self.settle(settled).await;
        true
    }

    /// Sets slots aside: sessions of a lane take turns, one pointer each.
    fn claim(&mut self) -> Vec<Claim> {
        let mut claims: Vec<Claim> = Vec::new();
        let mut left = BATCH;
        let sessions = self.hub.0.sessions.lock();
        for (lane, ready) in &mut self.ready {
            let Some(fitting) = sessions.by_lane.get(lane) else { continue };
            let mut full = 0;
            while full < fitting.len() && left > 0 && !ready.is_empty() {
                let live = &fitting[self.turn % fitting.len()];
                self.turn = self.turn.wrapping_add(1);
                let mut held = live.held();
                if held.free(&lane.queue) == 0 {
                    full += 1;
                    continue;
                }
                let Some((pointer, tag)) = ready.pop_front() else { break };
                full = 0;
                left -= 1;
                held.reserve(&lane.queue);
                let entry = (lane.clone(), pointer, tag);
                match claims.iter_mut().find(|claim| Arc::ptr_eq(&claim.live, live)) {
                    Some(claim) => claim.pointers.push(entry),
                    // The basis is what had been read before the lease began.
                    None => claims.push(Claim { basis: held.basis(), live: live.clone(), pointers: vec![entry] }),
                }
            }
        }
        drop(sessions);
        self.ready.retain(|_, ready| !ready.is_empty());
        claims
    }

    fn leased(&mut self, claim: Claim, results: Vec<LeaseResult>, settled: &mut Vec<DeliveryTag>) {
        let core = self.hub.0.core.clone();
        let now = core.now();
        let Claim { live, basis, pointers } = claim;
        for ((lane, pointer, tag), result) in pointers.into_iter().zip(results) {
            match result {
                LeaseResult::Leased(attempt) => {
                    core.news.board.done(&lane, [&pointer]);
                    self.dispatch(&live, basis, attempt, now);
                }
                LeaseResult::Stale => {
                    live.held().unreserve(&lane.queue);
                    core.news.board.done(&lane, [&pointer]);
                }
                LeaseResult::NoRoom => {
                    live.held().unreserve(&lane.queue);
                    core.news.board.no_room(&lane, &[pointer]);
                }
            }
            self.dealt_with(tag, settled);
        }
    }

    fn dispatch(&self, live: &Live, basis: i64, attempt: Box<Dispatchable>, now: Instant) {
        live.held().dispatched(&attempt, now);
        let reply_timeout = self.hub.0.core.rules.reply_timeout;
        live.send(ToWorker::Dispatch { attempt, basis_sequence: basis, reply_timeout });
    }

    /// The session is gone: its pointers go to another.
    fn give_back(&mut self, claim: Claim) {
        let Claim { live, pointers, .. } = claim;
        for (lane, pointer, tag) in pointers.into_iter().rev() {
            live.held().unreserve(&lane.queue);
            self.ready.entry(lane).or_default().push_front((pointer, tag));
        }
        live.end(super::messages::SessionEnd::Superseded);
    }

    fn dealt_with(&mut self, tag: DeliveryTag, settled: &mut Vec<DeliveryTag>) {
        if let Some(open) = self.open.get_mut(&tag) {
            *open -= 1;
            if *open == 0 {
                self.open.remove(&tag);
                settled.push(tag);
            }
        }
    }

    async fn pause(&self) {
        let core = &self.hub.0.core;
        core.clock.timer("lease").sleep_until(core.now().plus(PAUSE)).await;
    }
}
