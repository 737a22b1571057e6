//! Who occupies the slots, and who waits for one.
//!
//! A slot is occupied by code, not by an attempt: by the task that runs the handler and by the threads it started with
//! `spawn_blocking`. Where that code outlives its attempt (it was abandoned, or its result is already reported), the
//! slot is *lost* until the code ends, and the capacity told to the server shrinks by it.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::Key;

#[derive(Default)]
pub(super) struct Slots {
    queues: BTreeMap<String, Queue>,
    occupied: HashMap<Key, Occupied>,
}

struct Queue {
    slots: u32,
    occupied: u32,
    lost: u32,
    /// In the order of arrival. Some may have been taken away since.
    waiting: VecDeque<Key>,
}

pub(super) struct Occupied {
    queue: String,
    pub(super) task: bool,
    pub(super) threads: u32,
    lost: bool,
}

/// What becomes of a waiting attempt whose turn it would be.
pub(super) enum Turn {
    /// It takes the slot.
    Start,
    /// It goes on waiting; the next one may have the slot.
    Wait,
    /// It does not wait any more.
    Leave,
}

impl Slots {
    pub(super) fn new(slots: BTreeMap<String, u32>) -> Self {
        let queue = |slots| Queue { slots, occupied: 0, lost: 0, waiting: VecDeque::new() };
        let queues = slots.into_iter().map(|(name, slots)| (name, queue(slots))).collect();
        Self { queues, occupied: HashMap::new() }
    }

    /// Whether another attempt may be held. Twice the slots leave room for what crossed a change of capacity.
    pub(super) fn has_room(&self, queue: &str) -> bool {
        self.queues
            .get(queue)
            .is_some_and(|queue| (queue.occupied as usize + queue.waiting.len()) < queue.slots as usize * 2)
    }

    pub(super) fn wait(&mut self, queue: &str, key: Key) {
        if let Some(queue) = self.queues.get_mut(queue) {
            queue.waiting.push_back(key);
        }
    }

    /// Back to the front: it had its turn and could not use it.
    pub(super) fn wait_again(&mut self, queue: &str, key: Key) {
        if let Some(queue) = self.queues.get_mut(queue) {
            queue.waiting.push_front(key);
        }
    }

    /// It does not wait any more.
    pub(super) fn leave(&mut self, queue: &str, key: &Key) {
        if let Some(queue) = self.queues.get_mut(queue) {
            queue.waiting.retain(|waiting| waiting != key);
        }
    }

    /// Nobody waits any more.
    pub(super) fn leave_all(&mut self) {
        for queue in self.queues.values_mut() {
            queue.waiting.clear();
        }
    }

    /// The queues in which attempts wait.
    pub(super) fn with_waiting(&self) -> Vec<String> {
        self.queues.iter().filter(|(_, queue)| !queue.waiting.is_empty()).map(|(name, _)| name.clone()).collect()
    }

    /// Gives the free slots of a queue to the attempts that wait, in turn.
    pub(super) fn take_free(&mut self, name: &str, mut turn: impl FnMut(&Key) -> Turn) {
        let Some(queue) = self.queues.get_mut(name) else { return };
        let mut index = 0;
        while queue.occupied < queue.slots
            && let Some(key) = queue.waiting.get(index)
        {
            match turn(key) {
                Turn::Wait => index += 1,
                Turn::Leave => {
                    queue.waiting.remove(index);
                }
                Turn::Start => {
                    let occupied = Occupied { queue: name.to_owned(), task: true, threads: 0, lost: false };
                    self.occupied.insert(key.clone(), occupied);
                    queue.occupied += 1;
                    queue.waiting.remove(index);
                }
            }
        }
    }

    pub(super) fn add_thread(&mut self, key: &Key) {
        if let Some(occupied) = self.occupied.get_mut(key) {
            occupied.threads += 1;
        }
    }

    /// Some of the code that occupies a slot has ended. If the slot became free by that, answers its queue, and whether
    /// it had been lost.
    pub(super) fn release(&mut self, key: &Key, change: impl FnOnce(&mut Occupied)) -> Option<(String, bool)> {
        let occupied = self.occupied.get_mut(key)?;
        change(occupied);
        if occupied.task || occupied.threads > 0 {
            return None;
        }
        let Occupied { queue: name, lost, .. } = self.occupied.remove(key)?;
        let queue = self.queues.get_mut(&name)?;
        queue.occupied -= 1;
        queue.lost -= u32::from(lost);
        Some((name, lost))
    }

    /// The attempt is over; answers whether code still occupies its slot.
    pub(super) fn lose(&mut self, key: &Key) -> bool {
        let Some(occupied) = self.occupied.get_mut(key).filter(|occupied| !occupied.lost) else { return false };
        occupied.lost = true;
        if let Some(queue) = self.queues.get_mut(&occupied.queue) {
            queue.lost += 1;
        }
        true
    }

    pub(super) fn usable(&self) -> BTreeMap<String, u32> {
        self.queues.iter().map(|(name, queue)| (name.clone(), queue.slots.saturating_sub(queue.lost))).collect()
    }

    pub(super) fn none(&self) -> BTreeMap<String, u32> {
        self.queues.keys().map(|name| (name.clone(), 0)).collect()
    }
}
