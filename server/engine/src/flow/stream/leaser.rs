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

use super::{Hub, demand::SessionNumber, live::Live, messages::ToWorker};
use crate::{
    domain::{
        attempt::Outcome,
        names::Lane,
        payload::{Failure, RetryHint},
    },
    ports::{
        broker::{Broker, Delivery, DeliveryTag, Pointer},
        store::{Dispatchable, LeaseAnswer, LeaseBatch, LeaseResult, Report},
    },
};

/// Pointers leased in one step.
const BATCH: usize = 1_000;
/// Between two tries of a step whose commit is unknown.
const PAUSE: Duration = Duration::from_millis(100);
/// What a dispatch weighs beside its payload, at most.
const ENVELOPE: usize = 64 * 1024;

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
    /// Who came last, so that sessions take turns.
    turn: SessionNumber,
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
        let lanes: HashSet<Lane> = self.hub.0.demand.lanes().into_keys().collect();
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
        let mut places: HashMap<SessionNumber, usize> = HashMap::new();
        let mut left = BATCH;
        let sessions = self.hub.0.sessions.lock();
        for (lane, ready) in &mut self.ready {
            while left > 0 && !ready.is_empty() {
                let Some(number) = self.hub.0.demand.next(lane, self.turn) else { break };
                let Some(live) = sessions.by_number.get(&number) else { break };
                self.turn = number;
                let mut held = live.held();
                // It may have been taken meanwhile; then another session is next.
                if held.free(&lane.queue) == 0 {
                    continue;
                }
                let Some((pointer, tag)) = ready.pop_front() else { break };
                left -= 1;
                held.reserve(&lane.queue);
                let place = *places.entry(number).or_insert_with(|| {
                    // The basis is what had been read before the lease began.
                    claims.push(Claim { basis: held.basis(), live: live.clone(), pointers: Vec::new() });
                    claims.len() - 1
                });
                claims[place].pointers.push((lane.clone(), pointer, tag));
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

    fn dispatch(&self, live: &Live, basis: i64, attempt: Box<Dispatchable>, now: crate::domain::instant::Instant) {
        if attempt.payload.data.len() + ENVELOPE > live.max_message {
            live.held().unreserve(&attempt.lane.queue);
            self.too_large(live, &attempt);
            return;
        }
        live.held().dispatched(&attempt, now);
        let reply_timeout = self.hub.0.core.rules.reply_timeout;
        live.send(ToWorker::Dispatch { attempt, basis_sequence: basis, reply_timeout });
    }

    /// A payload that the worker cannot decode would end its stream, again and again: the run fails instead.
    fn too_large(&self, live: &Live, attempt: &Dispatchable) {
        let failure = Failure {
            hint: Some(RetryHint { retry: Some(false), delay: None }),
            ..Failure::of_platform("PAYLOAD_TOO_LARGE", "the worker cannot receive messages as large as this payload")
        };
        let report = Report {
            scope: live.scope.clone(),
            key: attempt.key,
            outcome: Outcome::Failed(failure),
            output: None,
            start_time: None,
        };
        let outcome = self.hub.0.outcome.clone();
        self.hub.0.core.tasks.spawn("refuse", async move {
            if let Err(error) = outcome.report(report).await {
                tracing::warn!(%error, "a run that is too large for its worker could not be failed; its lease will end");
            }
        });
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
