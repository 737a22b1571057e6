//! The order in which runs of a lane are released, over those that are in memory. Pure.
//!
//! The highest priority first. Inside a priority the fairness keys take turns: a round goes through those that have a run,
//! in the order of their bytes, and takes one of each; so what a key gets in a round does not depend on how much of it, or
//! of others, waits. Inside a key, the run that is due first.
//!
//! All that a round needs to go on is whose turn was last. That is kept while the runs are forgotten, and is what a look
//! at the store begins with; a key that comes or goes meanwhile is simply there, or not, when its turn comes.

use std::{
    collections::{BTreeMap, HashSet},
    ops::Bound::{Excluded, Unbounded},
};

use crate::{
    domain::{ids::RunId, instant::Instant, names::FairnessKey, place::Place},
    ports::{
        broker::Pointer,
        store::{Turn, Waiting},
    },
};

/// Runs that wait, and whose turn it is.
#[derive(Debug, Default)]
pub(super) struct Ring {
    levels: BTreeMap<u8, Level>,
    length: usize,
}

/// The runs of one priority.
#[derive(Debug, Default)]
struct Level {
    /// Keys that have runs.
    keys: BTreeMap<FairnessKey, Line>,
    /// Whose turn was last.
    last: Option<FairnessKey>,
}

/// The runs of one key, with their stay in the queue.
type Line = BTreeMap<(Instant, RunId), i64>;

impl Ring {
    /// A run waits. One that is there already has its latest stay.
    pub(super) fn insert(&mut self, waiting: Waiting) {
        let Waiting { pointer: Pointer { run, generation }, place: Place { priority, key, due } } = waiting;
        let line = self.levels.entry(priority).or_default().keys.entry(key).or_default();
        if line.insert((due, run), generation).is_none() {
            self.length += 1;
        }
    }

    /// The best so many, which are gone from it.
    pub(super) fn take(&mut self, wanted: usize) -> Vec<Pointer> {
        let mut taken = Vec::with_capacity(wanted.min(self.length));
        for level in self.levels.values_mut().rev() {
            while taken.len() < wanted
                && let Some(pointer) = level.pop()
            {
                taken.push(pointer);
            }
        }
        self.length -= taken.len();
        taken
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Whether a run of the same priority and key is there that comes after this one.
    pub(super) fn is_followed(&self, waiting: &Waiting) -> bool {
        let Place { priority, key, due } = &waiting.place;
        let line = self.levels.get(priority).and_then(|level| level.keys.get(key));
        line.and_then(|line| line.last_key_value()).is_some_and(|(last, _)| *last > (*due, waiting.pointer.run))
    }

    /// The keys of a priority of which there may be more than is here, where what is here is the beginning of what waits: a
    /// round that was broken off had them, or would have come to them. `None` where that may be any key, as not even the
    /// first round came round.
    pub(super) fn open_keys(&self, priority: u8) -> Option<HashSet<FairnessKey>> {
        let keys = &self.levels.get(&priority)?.keys;
        let rounds = keys.values().map(BTreeMap::len).max().filter(|rounds| *rounds > 1)?;
        Some(keys.iter().filter(|(_, line)| line.len() + 1 >= rounds).map(|(key, _)| key.clone()).collect())
    }

    /// One of them is not to be released.
    pub(super) fn remove(&mut self, run: RunId) {
        for level in self.levels.values_mut() {
            for line in level.keys.values_mut() {
                self.length -= line.extract_if(.., |(_, there), _| *there == run).count();
            }
            level.keys.retain(|_, line| !line.is_empty());
        }
    }

    /// Forgets the runs, and not whose turn it is.
    pub(super) fn clear(&mut self) {
        self.levels.values_mut().for_each(|level| level.keys.clear());
        self.length = 0;
    }

    /// Whose turn was last, by priority.
    pub(super) fn turns(&self) -> Vec<Turn> {
        let last = |(priority, level): (&u8, &Level)| Some(Turn { priority: *priority, last: level.last.clone()? });
        self.levels.iter().filter_map(last).collect()
    }
}

impl Level {
    fn pop(&mut self) -> Option<Pointer> {
        let Self { keys, last } = self;
        let after = last.as_ref().map_or(Unbounded, Excluded);
        // From the last of a round to the first of the next.
        let (key, line) = match keys.range_mut::<FairnessKey, _>((after, Unbounded)).next() {
            Some(next) => next,
            None => keys.iter_mut().next()?,
        };
        let ((_, run), generation) = line.pop_first()?;
        let over = line.is_empty().then(|| key.clone());
        if last.as_ref() != Some(key) {
            *last = Some(key.clone());
        }
        if let Some(key) = over {
            keys.remove(&key);
        }
        Some(Pointer { run, generation })
    }
}

#[cfg(test)]
mod tests;
