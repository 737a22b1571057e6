//! The rates of queues, held where runs are released. Memory of this server: after a restart a queue begins with a burst.
//!
//! They are learned with every look at the queues, and a lane is always looked at before anything of it goes by what is in
//! memory; so whoever changes a rate has only to make the lanes look.

use std::{collections::HashMap, time::Duration};

use crate::{
    domain::{
        instant::Instant,
        names::{Lane, NamespaceName, QueueName},
        rate::{Bucket, Rate},
    },
    ports::store::Queued,
};

/// Rates are kept to the instant; those that are faster than this go in small groups.
const GROUP: Duration = Duration::from_millis(5);

/// The queues that have a rate.
#[derive(Debug, Default)]
pub(super) struct Rates {
    buckets: HashMap<(NamespaceName, QueueName), Bucket>,
    /// When any was last taken from.
    taken: Option<Instant>,
}

impl Rates {
    /// What the store says of queues.
    pub(super) fn learn(&mut self, restricted: &[Queued], now: Instant) {
        let mut known = std::mem::take(&mut self.buckets);
        for Queued { scope, queue, rate, .. } in restricted {
            let Some(rate) = *rate else { continue };
            let key = (scope.0.clone(), queue.clone());
            let bucket = match known.remove(&key) {
                Some(bucket) if bucket.rate() == rate => bucket,
                Some(bucket) => bucket.at_rate(rate, now),
                None => Bucket::full(rate, now),
            };
            self.buckets.insert(key, bucket);
        }
    }

    fn of(&mut self, lane: &Lane) -> Option<&mut Bucket> {
        if self.buckets.is_empty() {
            return None;
        }
        self.buckets.get_mut(&(lane.namespace.clone(), lane.queue.clone()))
    }

    /// How many of a lane may go.
    pub(super) fn tokens(&mut self, lane: &Lane, now: Instant) -> usize {
        self.of(lane).map_or(usize::MAX, |bucket| bucket.tokens(now))
    }

    /// So many of a lane go.
    pub(super) fn take(&mut self, lane: &Lane, count: usize, now: Instant) {
        if let Some(bucket) = self.of(lane).filter(|_| count > 0) {
            bucket.take(count);
            self.taken = Some(now);
        }
    }

    /// When to look next for the sake of these lanes, where one of them must wait.
    pub(super) fn wake<'a>(&mut self, lanes: impl Iterator<Item = &'a Lane>, now: Instant) -> Option<Instant> {
        let next = lanes.filter_map(|lane| Some(self.next(lane, now)?.0)).min()?;
        Some(self.taken.map_or(next, |taken| next.max(taken.plus(GROUP))))
    }

    /// So many of a lane did not go after all.
    pub(super) fn give_back(&mut self, lane: &Lane, count: usize) {
        if let Some(bucket) = self.of(lane) {
            bucket.give_back(count);
        }
    }

    /// When the next of a lane may go, where none may now; and by which rate.
    pub(super) fn next(&mut self, lane: &Lane, now: Instant) -> Option<(Instant, Rate)> {
        let bucket = self.of(lane)?;
        Some((bucket.next(now)?, bucket.rate()))
    }
}
