//! Queues that are full: who finds no room in one waits for an end and not for the next look.
//!
//! Whether there is room is read from the store, and an end may come between the reading and what is made of it. So a queue
//! is watched from before it is read; an end takes it from here and wakes the stage, which reads again.

use std::collections::HashSet;

use parking_lot::Mutex;

use crate::domain::names::{Lane, NamespaceName, QueueName};

/// The queues whose next end somebody waits for, or reads whether to wait for.
#[derive(Debug, Default)]
pub(super) struct Rooms(Mutex<HashSet<(NamespaceName, QueueName)>>);

fn of(lane: &Lane) -> (NamespaceName, QueueName) {
    (lane.namespace.clone(), lane.queue.clone())
}

impl Rooms {
    /// It is about to be read whether the queue of a lane has room.
    pub(super) fn watch(&self, lane: &Lane) {
        self.0.lock().insert(of(lane));
    }

    /// It has room, or knows no limit.
    pub(super) fn has_room(&self, lane: &Lane) {
        self.0.lock().remove(&of(lane));
    }

    /// An attempt of a lane is over; whether somebody waits for that.
    pub(super) fn ended(&self, lane: &Lane) -> bool {
        let mut queues = self.0.lock();
        !queues.is_empty() && queues.remove(&of(lane))
    }
}
