//! Rates: so many runs of a queue go out in a time, evenly or in bursts.
//!
//! A token bucket in whole numbers: nothing is lost between tokens, however often one looks, and the instant of the next one
//! is exact.

use std::{num::NonZeroU32, time::Duration};

use super::instant::Instant;

/// So many in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// So many.
    pub count: NonZeroU32,
    /// In so long, which is not nothing.
    pub per: Duration,
    /// So many may go at once after nothing went for long.
    pub burst: NonZeroU32,
}

impl Rate {
    /// What a token costs: the bucket gains `count` a microsecond.
    fn cost(self) -> u128 {
        self.per.as_micros().max(1)
    }

    /// A burst, and what is left over of the microsecond in which it was complete.
    fn capacity(self) -> u128 {
        self.cost() * u128::from(self.burst.get()) + u128::from(self.count.get() - 1)
    }
}

/// Who may go now, by a rate.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    rate: Rate,
    level: u128,
    at: Instant,
}

impl Bucket {
    /// One that nothing was taken from.
    pub fn full(rate: Rate, now: Instant) -> Self {
        Self { rate, level: rate.cost() * u128::from(rate.burst.get()), at: now }
    }

    /// Its rate.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// The same tokens at another rate.
    pub fn at_rate(mut self, rate: Rate, now: Instant) -> Self {
        let tokens = self.tokens(now) as u128;
        Self { rate, level: (tokens * rate.cost()).min(rate.capacity()), at: now }
    }

    /// How many may go.
    pub fn tokens(&mut self, now: Instant) -> usize {
        if now > self.at {
            let gained = now.since(self.at).as_micros() * u128::from(self.rate.count.get());
            self.level = (self.level + gained).min(self.rate.capacity());
            self.at = now;
        }
        usize::try_from(self.level / self.rate.cost()).unwrap_or(usize::MAX)
    }

    /// So many go, of those that may.
    pub fn take(&mut self, count: usize) {
        self.level = self.level.saturating_sub(self.rate.cost() * count as u128);
    }

    /// So many did not go after all.
    pub fn give_back(&mut self, count: usize) {
        self.level = (self.level + self.rate.cost() * count as u128).min(self.rate.capacity());
    }

    /// When the next may go, where none may now.
    pub fn next(&mut self, now: Instant) -> Option<Instant> {
        if self.tokens(now) > 0 {
            return None;
        }
        let missing = (self.rate.cost() - self.level).div_ceil(u128::from(self.rate.count.get()));
        Some(self.at.plus(Duration::from_micros(u64::try_from(missing).unwrap_or(u64::MAX))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(count: u32, per: Duration, burst: u32) -> Rate {
        Rate { count: NonZeroU32::new(count).unwrap(), per, burst: NonZeroU32::new(burst).unwrap() }
    }

    #[test]
    fn a_burst_goes_at_once_and_then_one_after_the_other() {
        let start = Instant::from_micros(7);
        let mut bucket = Bucket::full(rate(3, Duration::from_secs(1), 2), start);
        assert_eq!((bucket.tokens(start), bucket.next(start)), (2, None));
        bucket.take(2);
        // A third of a second, rounded up to the microsecond; the third token comes on the second.
        let next = bucket.next(start).unwrap();
        assert_eq!(next, start.plus(Duration::from_micros(333_334)));
        assert_eq!((bucket.tokens(Instant::from_micros(next.as_micros() - 1)), bucket.tokens(next)), (0, 1));
        bucket.take(1);
        assert_eq!(bucket.next(next), Some(start.plus(Duration::from_micros(666_667))));
        assert_eq!(bucket.tokens(start.plus(Duration::from_secs(1))), 2);
        assert_eq!(bucket.tokens(start.plus(Duration::from_secs(100))), 2, "no more than a burst is saved");
    }

    #[test]
    fn nothing_is_lost_however_often_one_looks() {
        let mut bucket = Bucket::full(rate(7, Duration::from_millis(10), 1), Instant::EPOCH);
        let mut gone = 0;
        for micros in 0..=1_000_000 {
            let tokens = bucket.tokens(Instant::from_micros(micros));
            bucket.take(tokens);
            gone += tokens;
        }
        assert_eq!(gone, 1 + 700);
    }

    #[test]
    fn what_did_not_go_may_go_later() {
        let mut bucket = Bucket::full(rate(1, Duration::from_secs(1), 4), Instant::EPOCH);
        bucket.take(3);
        bucket.give_back(2);
        assert_eq!(bucket.tokens(Instant::EPOCH), 3);
        bucket.give_back(9);
        assert_eq!(bucket.tokens(Instant::EPOCH), 4);
        bucket.take(2);
        let mut other = bucket.at_rate(rate(5, Duration::from_secs(60), 10), Instant::EPOCH);
        assert_eq!(other.tokens(Instant::EPOCH), 2, "a rate that changes makes nobody go");
        let mut less = bucket.at_rate(rate(5, Duration::from_secs(60), 1), Instant::EPOCH);
        assert_eq!(less.tokens(Instant::EPOCH), 1);
    }
}
