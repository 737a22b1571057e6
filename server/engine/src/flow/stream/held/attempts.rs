//! The attempts a session holds, and how many slots of each queue they take.
//!
//! The numbers are kept beside the set, because they are asked for with every message of every worker. Whatever changes them
//! goes through [`Attempts`]: an attempt comes, goes, or changes its [`State`]. So they cannot leak; the property tests hold
//! them to the set.

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
        names::{JobName, Lane, QueueName},
        worker::{AbandonReason, Phase},
    },
    flow::stream::messages::Stop,
    ports::store::Dispatchable,
};

/// Every attempt, at most one of a run.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    entries: HashMap<RunId, Entry>,
    counts: Counts,
}

/// One attempt.
#[derive(Debug)]
pub(super) struct Entry {
    attempt: i64,
    lane: Lane,
    state: State,
    pub(super) job: Option<JobName>,
    /// Somebody wants it stopped, and when the worker was told.
    pub(super) stop: Option<(Stop, Instant)>,
    pub(super) grace: Option<Duration>,
    pub(super) start: Start,
    pub(super) progress: Option<Progress>,
    /// So long it may be without a sign of life, once it runs.
    patience: Option<Duration>,
    /// The last sign, since it was seen running.
    alive: Option<Instant>,
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

/// How many attempts of a queue there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// Those that take a slot.
    pub(super) held: usize,
    /// Those whose slot is free since their result was received, and which the worker may still list.
    pub(super) reporting: usize,
}

impl Entry {
    /// An attempt that was given to the worker.
    pub(super) fn new(attempt: &Dispatchable, state: State) -> Self {
        Self {
            attempt: attempt.key.attempt,
            lane: attempt.lane.clone(),
            state,
            job: attempt.job.as_ref().map(|(_, name, _)| name.clone()),
            stop: None,
            grace: attempt.stop_grace,
            start: Start::Unseen,
            progress: None,
            patience: attempt.heartbeat_timeout,
            alive: None,
        }
    }

    pub(super) fn lane(&self) -> &Lane {
        &self.lane
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    /// Whether it was told to stop so long ago that it should have been ended without the worker.
    pub(super) fn is_past_its_stop(&self, now: Instant) -> bool {
        let over = self.stop.as_ref().is_some_and(|(stop, told)| told.plus(stop.grace) <= now);
        over && matches!(self.state, State::Sent(_) | State::Accepted)
    }

    /// The worker said that it is so far.
    pub(super) fn saw(&mut self, phase: Phase, now: Instant) {
        if phase == Phase::Running && self.start == Start::Unseen {
            self.start = Start::Seen(now);
        }
        if phase == Phase::Running && self.alive.is_none() {
            self.alive = Some(now);
        }
    }

    /// The session knew it before.
    pub(super) fn lives_on(&mut self, known: &Self) {
        self.alive = known.alive;
    }

    /// It gave a sign of life.
    pub(super) fn lives(&mut self, now: Instant) {
        self.alive = Some(now);
    }

    /// When it has been without a sign of life for too long. Whoever is to stop has a time of its own.
    pub(super) fn stalls(&self) -> Option<Instant> {
        match self.state {
            State::Accepted if self.stop.is_none() => self.alive.zip(self.patience).map(|(at, most)| at.plus(most)),
            State::Accepted | State::Sent(_) | State::Reporting | State::Revoked(_) => None,
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

    /// Adds an attempt, in the place of any other of its run.
    pub(super) fn insert(&mut self, run: RunId, entry: Entry) {
        self.counts.add(&entry);
        if let Some(before) = self.entries.insert(run, entry) {
            self.counts.subtract(&before);
        }
    }

    /// Takes an attempt out.
    pub(super) fn remove(&mut self, key: AttemptKey) -> Option<Entry> {
        self.get(key)?;
        let entry = self.entries.remove(&key.run)?;
        self.counts.subtract(&entry);
        Some(entry)
    }

    /// Changes where an attempt stands; `false` where there is none.
    pub(super) fn set(&mut self, key: AttemptKey, state: State) -> bool {
        let Self { entries, counts } = self;
        let Some(entry) = entries.get_mut(&key.run).filter(|entry| entry.attempt == key.attempt) else { return false };
        counts.subtract(entry);
        entry.state = state;
        counts.add(entry);
        true
    }

    /// What was sent counts as sent now, and what lived as alive.
    pub(super) fn send_anew(&mut self, now: Instant) {
        for entry in self.entries.values_mut() {
            entry.alive = entry.alive.map(|_| now);
            if let State::Sent(sent) = &mut entry.state {
                *sent = now;
            }
        }
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

    /// How many there are of a queue.
    pub(super) fn count(&self, queue: &QueueName) -> Count {
        self.counts.0.get(queue).copied().unwrap_or_default()
    }
}

/// What the attempts of each queue come to. A queue that has none is not named.
#[derive(Debug, Default)]
struct Counts(BTreeMap<QueueName, Count>);

impl Counts {
    fn add(&mut self, entry: &Entry) {
        match self.0.get_mut(&entry.lane.queue) {
            Some(count) => *count.of(entry.state) += 1,
            None => *self.0.entry(entry.lane.queue.clone()).or_default().of(entry.state) += 1,
        }
    }

    fn subtract(&mut self, entry: &Entry) {
        if let Some(count) = self.0.get_mut(&entry.lane.queue) {
            *count.of(entry.state) -= 1;
            if *count == Count::default() {
                self.0.remove(&entry.lane.queue);
            }
        }
    }
}

impl Count {
    fn of(&mut self, state: State) -> &mut usize {
        match state {
            State::Sent(_) | State::Accepted | State::Revoked(_) => &mut self.held,
            State::Reporting => &mut self.reporting,
        }
    }
}
