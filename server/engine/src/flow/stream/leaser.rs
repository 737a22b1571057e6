//! Leasing: pointers become attempts of this server's sessions.
//!
//! One task takes what the broker delivers, sets slots of fitting sessions aside, leases all of it in one store step, and
//! settles the deliveries after the commit: never when the job ends. A step whose commit is unknown is repeated with the
//! same pointers, generations and epochs until every answer is final, and holds its slots until then; a read alone would
//! not do, since the first try may still land (test `v12_…`).
//!
//! What was leased and could not be sent any more goes back at once: its worker never saw it, so it costs nothing.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures::FutureExt as _;

use super::{
    Hub,
    demand::SessionNumber,
    live::Live,
    messages::{SessionEnd, ToWorker},
};
use crate::{
    domain::{attempt::AttemptKey, instant::Instant, names::Lane, transition::Event},
    flow::batch::isolate,
    ports::{
        broker::{Broker, Delivery, DeliveryTag, Pointer},
        store::{Apply, Dispatchable, LeaseAnswer, LeaseBatch, LeaseResult, Owner, StoreError, StoreResult},
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
        let mut more = false;
        loop {
            tokio::select! {
                biased;
                () = tasks.stopping() => return,
                () = hub.0.lanes.notified() => leaser.subscribe().await,
                delivery = leaser.broker.next() => match delivery {
                    Ok(delivery) => leaser.take(delivery).await,
                    Err(error) => {
                        tracing::warn!(%error, "no pointers for now");
                        leaser.pause().await;
                    }
                },
                () = hub.0.slots.notified() => {}
                () = std::future::ready(()), if more => {}
            }
            leaser.take_what_is_there().await;
            more = leaser.lease().await;
        }
    });
}

struct Leaser {
    hub: Hub,
    broker: Arc<dyn Broker>,
    /// Delivered and not leased yet.
    ready: HashMap<Lane, Ready>,
    /// How many pointers of each delivery are not dealt with.
    open: HashMap<DeliveryTag, usize>,
    /// Who came last, so that sessions take turns.
    turn: SessionNumber,
}

/// What waits for a slot, best first, each pointer once: what is released again because it waited long is here already.
#[derive(Debug, Default)]
struct Ready {
    queue: VecDeque<(Pointer, DeliveryTag)>,
    known: HashSet<Pointer>,
}

impl Ready {
    /// Adds a pointer; `false` where it is there.
    fn add(&mut self, pointer: Pointer, tag: DeliveryTag) -> bool {
        let new = self.known.insert(pointer);
        if new {
            self.queue.push_back((pointer, tag));
        }
        new
    }

    /// Puts back what was taken; `false` where it came again meanwhile.
    fn put_back(&mut self, pointer: Pointer, tag: DeliveryTag) -> bool {
        let new = self.known.insert(pointer);
        if new {
            self.queue.push_front((pointer, tag));
        }
        new
    }

    fn next(&mut self) -> Option<(Pointer, DeliveryTag)> {
        let (pointer, tag) = self.queue.pop_front()?;
        self.known.remove(&pointer);
        Some((pointer, tag))
    }
}

/// Pointers of one lane, for one session.
struct Claim {
    live: Arc<Live>,
    basis: i64,
    pointers: Vec<(Lane, Pointer, DeliveryTag)>,
}

/// What became of one pointer.
enum Leased {
    /// Its session is no longer the worker's.
    SessionGone,
    Result(LeaseResult),
}

impl Leaser {
    async fn take(&mut self, delivery: Delivery) {
        let Delivery { tag, batch } = delivery;
        self.open.insert(tag, batch.pointers.len());
        let ready = self.ready.entry(batch.lane).or_default();
        let doubles = batch.pointers.into_iter().filter(|pointer| !ready.add(*pointer, tag)).count();
        let mut settled = Vec::new();
        (0..doubles).for_each(|_| self.dealt_with(tag, &mut settled));
        self.settle(settled).await;
    }

    /// Everything that was delivered goes into one step: a step for each delivery would make the next ones as small.
    async fn take_what_is_there(&mut self) {
        while self.ready.values().map(|ready| ready.queue.len()).sum::<usize>() < BATCH
            && let Some(Ok(delivery)) = self.broker.next().now_or_never()
        {
            self.take(delivery).await;
        }
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
            for (_, tag) in self.ready.remove(lane).unwrap_or_default().queue {
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
        let owned = |claim: &Claim| {
            let owner = claim.live.owner;
            claim.pointers.iter().map(move |(_, pointer, _)| (owner, *pointer)).collect::<Vec<_>>()
        };
        let items = claims.iter().flat_map(owned).collect();
        let mut answers = isolate("lease", items, |items| self.lease_all(items)).await.into_iter();
        let (mut settled, mut unsent) = (Vec::new(), Vec::new());
        for Claim { live, basis, pointers } in claims {
            for ((lane, pointer, tag), answer) in pointers.into_iter().zip(answers.by_ref()) {
                let leased = match answer {
                    Ok(leased) => leased,
                    Err(undone) if matches!(undone.error, StoreError::Corrupt(_)) => {
                        Leased::Result(LeaseResult::Unreadable)
                    }
                    // The server is stopping.
                    Err(_) => return false,
                };
                match leased {
                    Leased::SessionGone => self.give_back(&live, lane, pointer, tag, &mut settled),
                    Leased::Result(result) => {
                        unsent.extend(self.leased(&live, basis, &lane, pointer, result));
                        self.dealt_with(tag, &mut settled);
                    }
                }
            }
        }
        self.hand_back(unsent);
        self.settle(settled).await;
        true
    }

    /// Leases, until the answer is final for each of them or the server stops.
    async fn lease_all(&self, items: Vec<(Owner, Pointer)>) -> StoreResult<Vec<Leased>> {
        let core = &self.hub.0.core;
        core.meter.step("lease", items.len());
        let mut batches: Vec<LeaseBatch> = Vec::new();
        for (owner, pointer) in items {
            match batches.last_mut() {
                Some(batch) if batch.owner == owner => batch.pointers.push(pointer),
                _ => batches.push(LeaseBatch { owner, pointers: vec![pointer] }),
            }
        }
        let answers = loop {
            match core.store.lease(core.now(), batches.clone()).await {
                Ok(answers) => break answers,
                Err(error @ StoreError::Corrupt(_)) => return Err(error),
                Err(error) => {
                    put_off!(error, "a lease's commit is unknown; it is repeated");
                    if core.tasks.is_stopping() {
                        return Err(error);
                    }
                    self.pause().await;
                }
            }
        };
        let mut leased = Vec::new();
        for (batch, answer) in batches.iter().zip(answers) {
            match answer {
                LeaseAnswer::Results(results) => leased.extend(results.into_iter().map(Leased::Result)),
                LeaseAnswer::SessionGone => leased.extend(batch.pointers.iter().map(|_| Leased::SessionGone)),
            }
        }
        Ok(leased)
    }

    /// Sets slots aside: sessions of a lane take turns, one pointer each.
    fn claim(&mut self) -> Vec<Claim> {
        let mut claims: Vec<Claim> = Vec::new();
        let mut places: HashMap<SessionNumber, usize> = HashMap::new();
        let mut left = BATCH;
        let sessions = self.hub.0.sessions.lock();
        for (lane, ready) in &mut self.ready {
            while left > 0 && !ready.queue.is_empty() {
                let Some(number) = self.hub.0.demand.next(lane, self.turn) else { break };
                let Some(live) = sessions.by_number.get(&number) else { break };
                self.turn = number;
                if live.ended().is_some() {
                    // Its task has not removed it yet.
                    live.leave();
                    continue;
                }
                let mut held = live.held();
                // It may have been taken meanwhile; then another session is next.
                if held.free(&lane.queue) == 0 {
                    continue;
                }
                let Some((pointer, tag)) = ready.next() else { break };
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
        self.ready.retain(|_, ready| !ready.queue.is_empty());
        claims
    }

    /// What the store said of one pointer; the attempt that was leased and could not be sent, if so.
    fn leased(
        &self,
        live: &Live,
        basis: i64,
        lane: &Lane,
        pointer: Pointer,
        result: LeaseResult,
    ) -> Option<AttemptKey> {
        let core = &self.hub.0.core;
        let now = core.now();
        match result {
            LeaseResult::Leased(attempt) => {
                core.news.board.done(lane, [&pointer]);
                let key = attempt.key;
                return (!self.dispatch(live, basis, attempt, now)).then_some(key);
            }
            LeaseResult::Stale | LeaseResult::Parked => {
                live.held().unreserve(&lane.queue);
                core.news.board.done(lane, [&pointer]);
            }
            LeaseResult::NoRoom => {
                live.held().unreserve(&lane.queue);
                core.news.board.no_room(lane, &[pointer]);
            }
            LeaseResult::Unreadable => {
                live.held().unreserve(&lane.queue);
                tracing::error!(run_id = %pointer.run, "a queued run cannot be read; it waits until a person has looked");
                core.news.board.done(lane, [&pointer]);
                core.news.board.hold_off(lane, pointer.run, now, Duration::MAX);
            }
        }
        None
    }

    /// Sends an attempt; `false` where the session was over before.
    fn dispatch(&self, live: &Live, basis: i64, attempt: Box<Dispatchable>, now: Instant) -> bool {
        let key = attempt.key;
        {
            let mut held = live.held();
            if held.holds(key) {
                // Its pointer came twice; the session knows more of the attempt than that it was leased.
                held.unreserve(&attempt.lane.queue);
                return true;
            }
            held.dispatched(&attempt, now);
        }
        if let Some(since) = attempt.queue_time {
            self.hub.0.core.meter.leased(&attempt.lane, now.since(since));
        }
        let reply_timeout = self.hub.0.core.rules.reply_timeout;
        let sent = live.send(ToWorker::Dispatch { attempt, basis_sequence: basis, reply_timeout });
        if !sent {
            live.held().not_sent(key);
        }
        sent
    }

    /// Attempts that were leased and never sent: proven not started.
    fn hand_back(&self, unsent: Vec<AttemptKey>) {
        if unsent.is_empty() {
            return;
        }
        let (core, outcome) = (self.hub.0.core.clone(), self.hub.0.outcome.clone());
        core.tasks.clone().spawn("hand-back", async move {
            let step = |key: AttemptKey| Apply {
                run: key.run,
                event: Event::Rejected { attempt: key.attempt },
                owner: None,
                scope: None,
            };
            drop(outcome.steps().insist(&core, unsent.into_iter().map(step).collect()).await);
        });
    }

    /// The session is gone: its pointer goes to another.
    fn give_back(
        &mut self,
        live: &Live,
        lane: Lane,
        pointer: Pointer,
        tag: DeliveryTag,
        settled: &mut Vec<DeliveryTag>,
    ) {
        live.held().unreserve(&lane.queue);
        live.end(SessionEnd::Superseded);
        if !self.ready.entry(lane).or_default().put_back(pointer, tag) {
            self.dealt_with(tag, settled);
        }
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
