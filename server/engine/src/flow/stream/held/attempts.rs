//! The attempts a session holds, and how many slots of each queue they take.
//!
//! The number is kept beside the set, because it is asked for with every message of every worker. Whatever changes it goes
//! through [`Attempts`]: an attempt comes, goes, or changes its [`State`]. The property tests hold it to the set.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use crate::{
    domain::{
        attempt::AttemptKey,
        event::Progress,
        ids::RunId,
        instant::Instant,
        names::{Lane, QueueName},
        worker::{AbandonReason, Phase},
    },
    flow::stream::messages::Stop,
    ports::store::Dispatchable,
};

/// Every attempt, at most one of a run.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    entries: HashMap<RunId, Entry>,
    /// Slots that are taken, by queue.
    taken: BTreeMap<QueueName, usize>,
}

/// One attempt.
#[derive(Debug)]
pub(super) struct Entry {
    attempt: i64,
    lane: Lane,
    state: State,
    pub(super) stop: Option<Stop>,
    pub(super) grace: Option<Duration>,
    pub(super) start: Start,
    pub(super) progress: Option<Progress>,
}

/// Where an attempt stands between this server and its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Dispatched at this time, not answered.
    Sent(Instant),
    /// The worker has it.
    Accepted,
    /// Its result is being committed.
    Reporting,
    /// It lost its lease; the worker may not know, or may still be running it.
    Revoked(AbandonReason),
}

/// Whether an attempt is written as RUNNING. Most are over before it would be worth a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// User code was not seen running.
    Unseen,
    /// It was, since then.
    Seen(Instant),
    /// It is written, or needs not be.
    Written,
}

impl State {
    /// A slot is free when the result has been received, not when it is committed.
    fn takes_a_slot(self) -> bool {
        match self {
            Self::Sent(_) | Self::Accepted | Self::Revoked(_) => true,
            Self::Reporting => false,
        }
    }
}

impl Entry {
    /// An attempt that was given to the worker.
    pub(super) fn new(attempt: &Dispatchable, state: State) -> Self {
        let (lane, grace) = (attempt.lane.clone(), attempt.stop_grace);
        Self { attempt: attempt.key.attempt, lane, state, stop: None, grace, start: Start::Unseen, progress: None }
    }

    pub(super) fn lane(&self) -> &Lane {
        &self.lane
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    /// The worker said that it is so far.
    pub(super) fn saw(&mut self, phase: Phase, now: Instant) {
        if phase == Phase::Running && self.start == Start::Unseen {
            self.start = Start::Seen(now);
        }
    }
}

impl Attempts {
    /// An attempt, unless the session holds none or another of its run.
    pub(super) fn get(&self, key: AttemptKey) -> Option<&Entry> {
        self.entries.get(&key.run).filter(|entry| entry.attempt == key.attempt)
    }

    /// The same, to be changed; not in what it takes.
    pub(super) fn get_mut(&mut self, key: AttemptKey) -> Option<&mut Entry> {
        self.entries.get_mut(&key.run).filter(|entry| entry.attempt == key.attempt)
    }

    /// Whatever attempt of a run there is.
    pub(super) fn of(&self, run: RunId) -> Option<&Entry> {
        self.entries.get(&run)
    }

    /// Adds an attempt, in the place of an earlier one of its run.
    pub(super) fn insert(&mut self, run: RunId, entry: Entry) {
        self.take(&entry);
        if let Some(before) = self.entries.insert(run, entry) {
            self.free(&before);
        }
    }

    /// Takes an attempt out.
    pub(super) fn remove(&mut self, key: AttemptKey) -> Option<Entry> {
        self.get(key)?;
        let entry = self.entries.remove(&key.run)?;
        self.free(&entry);
        Some(entry)
    }

    /// Changes where an attempt stands; `false` where there is none.
    pub(super) fn set(&mut self, key: AttemptKey, state: State) -> bool {
        let Some(mut entry) = self.remove(key) else { return false };
        entry.state = state;
        self.insert(key.run, entry);
        true
    }

    /// Every attempt.
    pub(super) fn iter(&self) -> impl Iterator<Item = (AttemptKey, &Entry)> {
        self.entries.iter().map(|(run, entry)| (AttemptKey { run: *run, attempt: entry.attempt }, entry))
    }

    /// Every attempt, to be changed; not in what it takes.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (AttemptKey, &mut Entry)> {
        self.entries.iter_mut().map(|(run, entry)| (AttemptKey { run: *run, attempt: entry.attempt }, entry))
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Slots of a queue that are taken.
    pub(super) fn taken(&self, queue: &QueueName) -> usize {
        self.taken.get(queue).copied().unwrap_or(0)
    }

    fn take(&mut self, entry: &Entry) {
        if entry.state.takes_a_slot() {
            *self.taken.entry(entry.lane.queue.clone()).or_default() += 1;
        }
    }

    fn free(&mut self, entry: &Entry) {
        if entry.state.takes_a_slot()
            && let Some(taken) = self.taken.get_mut(&entry.lane.queue)
        {
            *taken -= 1;
        }
    }
}
