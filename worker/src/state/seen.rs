//! Which attempts were ever in these hands.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use super::attempt::Key;

const REMEMBERED: usize = 10_000;

/// The highest attempt seen of each of the last ten thousand runs. Attempt numbers only grow, so a Dispatch of one that
/// is not higher is a repetition: the attempt was held, refused or finished before, and must not start again.
#[derive(Default)]
pub(super) struct Seen {
    highest: HashMap<Arc<str>, i64>,
    order: VecDeque<Arc<str>>,
}

impl Seen {
    /// Notes the attempt. False if it, or a later one of its run, was noted before.
    pub(super) fn is_new(&mut self, key: &Key) -> bool {
        match self.highest.get_mut(&key.run_id) {
            Some(highest) if *highest >= key.attempt => return false,
            Some(highest) => *highest = key.attempt,
            None => {
                if self.order.len() == REMEMBERED
                    && let Some(oldest) = self.order.pop_front()
                {
                    self.highest.remove(&oldest);
                }
                self.order.push_back(key.run_id.clone());
                self.highest.insert(key.run_id.clone(), key.attempt);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::{Key, REMEMBERED, Seen};

    #[test]
    fn attempts_only_grow_and_memory_does_not() {
        let key = |run: usize, attempt| Key { run_id: run.to_string().into(), attempt };
        let mut seen = Seen::default();
        assert!(seen.is_new(&key(0, 2)) && seen.is_new(&key(0, 3)));
        assert!(!seen.is_new(&key(0, 3)) && !seen.is_new(&key(0, 1)));
        for run in 1..=REMEMBERED {
            assert!(seen.is_new(&key(run, 1)));
        }
        assert_eq!((seen.highest.len(), seen.order.len()), (REMEMBERED, REMEMBERED));
    }
}
