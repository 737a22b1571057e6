//! Free slots by lane, over all sessions: what the dispatcher and the leaser ask for at every wake.
//!
//! The sums are kept, not made when they are asked for: a server holds thousands of sessions, most of which have nothing
//! to do with what woke it. Each session has a [`Share`] in them beside what it holds, under the same lock, and brings it
//! up to date before it lets go of that lock (see [`Holding`](super::live::Holding)). So a sum may only be late by what a
//! session is in the middle of. The property test holds it to the scan.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;

use super::held::Held;
use crate::domain::names::{Lane, QueueName};

/// The sums. Its lock is the innermost: whoever has it asks for no other.
#[derive(Debug, Default)]
pub(super) struct Demand {
    next: AtomicU64,
    lanes: Mutex<HashMap<Lane, Slots>>,
}

/// Sessions are told apart by a number, in the order in which they came.
pub(super) type SessionNumber = u64;

#[derive(Debug, Default)]
struct Slots {
    /// Sessions of the lane, whether they have a free slot or not.
    sessions: usize,
    /// Their free slots.
    free: usize,
    /// Those that have one.
    open: BTreeSet<SessionNumber>,
}

impl Demand {
    /// Every lane that has a session, with the free slots of all of them.
    pub(super) fn lanes(&self) -> HashMap<Lane, usize> {
        self.lanes.lock().iter().map(|(lane, slots)| (lane.clone(), slots.free)).collect()
    }

    /// The next session with a free slot in a lane, after the one whose turn it was.
    pub(super) fn next(&self, lane: &Lane, after: SessionNumber) -> Option<SessionNumber> {
        let lanes = self.lanes.lock();
        let open = &lanes.get(lane)?.open;
        open.range((Bound::Excluded(after), Bound::Unbounded)).next().or_else(|| open.first()).copied()
    }
}

/// One session's part in the sums.
#[derive(Debug)]
pub(super) struct Share {
    demand: Arc<Demand>,
    number: SessionNumber,
    /// Its lanes. Those of one queue share its slots.
    queues: BTreeMap<QueueName, Part>,
    /// It is in the sums at all.
    joined: bool,
}

#[derive(Debug, Default)]
struct Part {
    lanes: Vec<Lane>,
    /// What of the queue is in the sums.
    counted: usize,
}

impl Share {
    /// A session that is in no sum so far.
    pub(super) fn new(demand: &Arc<Demand>, lanes: impl IntoIterator<Item = Lane>) -> Self {
        let mut queues: BTreeMap<QueueName, Part> = BTreeMap::new();
        // Each lane once, however often the worker names it.
        for lane in lanes.into_iter().collect::<BTreeSet<_>>() {
            queues.entry(lane.queue.clone()).or_default().lanes.push(lane);
        }
        let number = demand.next.fetch_add(1, Ordering::Relaxed);
        Self { demand: demand.clone(), number, queues, joined: false }
    }

    /// Tells the session from others.
    pub(super) fn number(&self) -> SessionNumber {
        self.number
    }

    /// Whether the session takes work of a lane.
    pub(super) fn serves(&self, lane: &Lane) -> bool {
        self.joined && self.queues.get(&lane.queue).is_some_and(|part| part.lanes.contains(lane))
    }

    /// The session takes work of one more lane.
    pub(super) fn add(&mut self, lane: &Lane) {
        let part = self.queues.entry(lane.queue.clone()).or_default();
        if part.lanes.contains(lane) {
            return;
        }
        part.lanes.push(lane.clone());
        if self.joined {
            let mut lanes = self.demand.lanes.lock();
            let slots = lanes.entry(lane.clone()).or_default();
            slots.sessions += 1;
            slots.free += part.counted;
            if part.counted > 0 {
                slots.open.insert(self.number);
            }
        }
    }

    /// The session takes work from now on.
    pub(super) fn join(&mut self, held: &Held) {
        if !std::mem::replace(&mut self.joined, true) {
            let mut lanes = self.demand.lanes.lock();
            for lane in self.queues.values().flat_map(|part| &part.lanes) {
                lanes.entry(lane.clone()).or_default().sessions += 1;
            }
            drop(lanes);
            self.count(held);
        }
    }

    /// The session takes none any more, whatever it has free.
    pub(super) fn leave(&mut self, held: &Held) {
        if std::mem::replace(&mut self.joined, false) {
            self.count(held);
            let mut lanes = self.demand.lanes.lock();
            for lane in self.queues.values().flat_map(|part| &part.lanes) {
                if let Some(slots) = lanes.get_mut(lane) {
                    slots.sessions -= 1;
                    if slots.sessions == 0 {
                        lanes.remove(lane);
                    }
                }
            }
        }
    }

    /// Brings the sums up to what the session has free now.
    pub(super) fn count(&mut self, held: &Held) {
        for (queue, part) in &mut self.queues {
            let free = if self.joined { held.free(queue) } else { 0 };
            let counted = std::mem::replace(&mut part.counted, free);
            if free == counted {
                continue;
            }
            let mut sums = self.demand.lanes.lock();
            for lane in &part.lanes {
                if let Some(slots) = sums.get_mut(lane) {
                    slots.free = slots.free + free - counted;
                    if free == 0 {
                        slots.open.remove(&self.number);
                    } else {
                        slots.open.insert(self.number);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
