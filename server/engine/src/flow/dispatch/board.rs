//! What the dispatcher knows of queued and released runs, by lane: its whole memory. Whoever learns of something tells it
//! here; only the stage itself takes anything out.

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{
    lane::{LaneBoard, Plan, Reading},
    rates::Rates,
    rooms::Rooms,
};
use crate::{
    domain::{ids::RunId, instant::Instant, names::Lane, rate::Rate},
    ports::{
        broker::{Pointer, PointerBatch},
        store::{Head, Look, Queued, Waiting},
    },
};

/// A run is held off at most so long, whatever a worker wishes: what it cannot take, another may.
const HOLD_OFF: Duration = Duration::from_secs(60);

/// The lanes, and whether there may be something to do.
#[derive(Debug, Default)]
pub(crate) struct Board {
    lanes: Mutex<HashMap<Lane, LaneBoard>>,
    /// Locked before the lanes, where both are.
    rates: Mutex<Rates>,
    rooms: Rooms,
    pub(super) wake: Notify,
}

impl Board {
    /// A run was queued by this server.
    pub(crate) fn offer(&self, lane: &Lane, waiting: Waiting) {
        let mut lanes = self.lanes.lock();
        if !lanes.contains_key(lane) {
            lanes.insert(lane.clone(), LaneBoard::default());
        }
        if let Some(board) = lanes.get_mut(lane) {
            board.offer(waiting);
        }
        drop(lanes);
        self.wake.notify_one();
    }

    /// Another server queued runs of this lane.
    pub(crate) fn look_at(&self, lane: &Lane) {
        if let Some(board) = self.lanes.lock().get_mut(lane) {
            board.look(false);
        }
        self.wake.notify_one();
    }

    /// Anything may have been queued, or may no longer be released.
    pub(crate) fn look_everywhere(&self) {
        self.lanes.lock().values_mut().for_each(|board| board.look(true));
        self.wake.notify_one();
    }

    /// Pointers were dealt with: leased, or stale.
    pub(crate) fn done<'a>(&self, lane: &Lane, runs: impl IntoIterator<Item = &'a Pointer>) {
        if let Some(board) = self.lanes.lock().get_mut(lane) {
            runs.into_iter().for_each(|pointer| board.done(pointer));
        }
        self.wake.notify_one();
    }

    /// Pointers found no room in their queue: they wait in the store again, and the next look says for what.
    pub(crate) fn no_room(&self, lane: &Lane, runs: &[Pointer]) {
        if let Some(board) = self.lanes.lock().get_mut(lane) {
            board.take_back(runs);
        }
        self.wake.notify_one();
    }

    /// It is about to be read whether the queue of a lane has room.
    pub(super) fn watch_room(&self, lane: &Lane) {
        self.rooms.watch(lane);
    }

    /// Nobody waits for room in the queue of a lane.
    pub(super) fn has_room(&self, lane: &Lane) {
        self.rooms.has_room(lane);
    }

    /// An attempt of a lane is over.
    pub(crate) fn ended(&self, lane: &Lane) {
        if self.rooms.ended(lane) {
            self.wake.notify_one();
        }
    }

    /// A worker wishes that a run is not offered again for so long.
    pub(crate) fn hold_off(&self, lane: &Lane, run: RunId, now: Instant, delay: Duration) {
        let until = now.plus(delay.min(HOLD_OFF));
        self.lanes.lock().entry(lane.clone()).or_default().hold_off(run, until);
    }

    /// Nobody serves a lane any more: what was released for it may be lost.
    pub(crate) fn forget_lane(&self, lane: &Lane) {
        self.lanes.lock().remove(lane);
    }

    /// Slots may have become free.
    pub(crate) fn demand_changed(&self) {
        self.wake.notify_one();
    }

    /// What is to be done for a lane with free slots.
    pub(super) fn plan(&self, lane: &Lane, free: usize, now: Instant, look: Duration) -> Plan {
        let mut rates = self.rates.lock();
        let tokens = rates.tokens(lane, now);
        let plan = self.lanes.lock().entry(lane.clone()).or_default().plan(lane, free, tokens, now, look);
        if let Plan::Release(pointers, _) = &plan {
            rates.take(lane, pointers.len(), now);
        }
        drop(rates);
        if let Plan::Release(_, true) = plan {
            self.wake.notify_one();
        }
        plan
    }

    /// What the store says of queues.
    pub(super) fn learn(&self, restricted: &[Queued], now: Instant) {
        self.rates.lock().learn(restricted, now);
    }

    /// Takes the tokens for a reading, as many as there are; `false` where there is none before some instant.
    pub(super) fn pace(&self, lane: &Lane, reading: &mut Reading, now: Instant) -> bool {
        let mut rates = self.rates.lock();
        let paid = reading.pay(rates.tokens(lane, now));
        rates.take(lane, paid, now);
        let next = rates.next(lane, now).filter(|_| paid == 0);
        drop(rates);
        if let Some((next, _)) = next {
            self.block(lane, next);
        }
        paid > 0
    }

    /// When to look next for the sake of these lanes, where the rate of a queue lets none go now.
    pub(super) fn next<'a>(&self, lanes: impl Iterator<Item = &'a Lane>, now: Instant) -> Option<Instant> {
        self.rates.lock().wake(lanes, now)
    }

    /// When the next of a lane may go, where its queue has gone as fast as it may; and how fast that is.
    pub(crate) fn paced(&self, lane: &Lane, now: Instant) -> Option<(Instant, Rate)> {
        self.rates.lock().next(lane, now)
    }

    /// Readings came to nothing.
    pub(super) fn not_read<'a>(&self, readings: impl Iterator<Item = (&'a Look, &'a Reading)>) {
        let mut rates = self.rates.lock();
        for (look, reading) in readings {
            rates.give_back(&look.lane, reading.left(0));
        }
    }

    /// The queue of a lane is paused, or has gone as fast as it may.
    pub(super) fn block(&self, lane: &Lane, until: Instant) {
        if let Some(board) = self.lanes.lock().get_mut(lane) {
            board.block(until);
        }
    }

    /// What the store answered to a reading; what goes out of it.
    pub(super) fn take(&self, lane: &Lane, reading: &Reading, head: Head, now: Instant) -> Vec<Pointer> {
        let (taken, again) = self.lanes.lock().entry(lane.clone()).or_default().take(reading, head, now);
        self.rates.lock().give_back(lane, reading.left(taken.len()));
        if again {
            self.wake.notify_one();
        }
        taken
    }

    /// The broker did not take them.
    pub(super) fn take_back(&self, batches: &[PointerBatch]) {
        let mut lanes = self.lanes.lock();
        for batch in batches {
            if let Some(board) = lanes.get_mut(&batch.lane) {
                board.take_back(&batch.pointers);
            }
        }
    }

    /// Lanes nobody has demand for are not remembered.
    pub(super) fn keep_only(&self, lanes: &HashMap<Lane, usize>) {
        self.lanes.lock().retain(|lane, _| lanes.contains_key(lane));
    }
}

#[cfg(test)]
mod tests;
