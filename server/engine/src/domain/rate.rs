//! Rates: so many runs of a queue, or of a concurrency key, go out in a time, evenly or in bursts.
//!
//! A token bucket in whole numbers: nothing is lost between tokens, however often one looks, and the instant of the next one
//! is exact. In any time there go at most a burst and what the rate has brought in it; whoever goes without asking is made up
//! for by those who ask.

use std::{num::NonZeroU32, time::Duration};

use serde::{Deserialize, Serialize};

use super::instant::Instant;

/// So many in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    fn cost(self) -> i128 {
        i128::try_from(self.per.as_micros()).unwrap_or(i128::MAX).max(1)
    }

    /// A burst, and what is left over of the microsecond in which it was complete.
    fn capacity(self) -> i128 {
        self.full() + i128::from(self.count.get() - 1)
    }

    /// What a burst costs.
    fn full(self) -> i128 {
        self.cost().saturating_mul(i128::from(self.burst.get()))
    }
}

/// Who may go now, by a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    rate: Rate,
    /// Below nothing where somebody went who did not ask.
    level: i128,
    at: Instant,
}

impl Bucket {
    /// One that nothing was taken from.
    pub fn full(rate: Rate, now: Instant) -> Self {
        Self { rate, level: rate.full(), at: now }
    }

    /// One as it was kept: its level, of that instant.
    pub fn kept(rate: Rate, level: i64, at: Instant) -> Self {
        Self { rate, level: i128::from(level).min(rate.capacity()), at }
    }

    /// What is kept of it beside its rate.
    pub fn keep(&self) -> (i64, Instant) {
        (i64::try_from(self.level).unwrap_or(if self.level < 0 { i64::MIN } else { i64::MAX }), self.at)
    }

    /// Its rate.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// The same tokens at another rate, and the same part of the next: a rate that changes all the time brings none to a stop.
    pub fn at_rate(mut self, rate: Rate, now: Instant) -> Self {
        self.gain(now);
        let level = self.level.saturating_mul(rate.cost()).div_euclid(self.rate.cost());
        Self { rate, level: level.min(rate.full()), at: now }
    }

    /// How many may go.
    pub fn tokens(&mut self, now: Instant) -> usize {
        self.gain(now);
        usize::try_from((self.level / self.rate.cost()).max(0)).unwrap_or(usize::MAX)
    }

    /// Takes in what time has brought until now.
    pub fn gain(&mut self, now: Instant) {
        if now > self.at {
            let passed = i128::try_from(now.since(self.at).as_micros()).unwrap_or(i128::MAX);
            let gained = passed.saturating_mul(i128::from(self.rate.count.get()));
            self.level = self.level.saturating_add(gained).min(self.rate.capacity());
            self.at = now;
        }
    }

    /// So many go, whether they may or not.
    pub fn take(&mut self, count: usize) {
        self.level = self.level.saturating_sub(self.price(count));
    }

    fn price(&self, count: usize) -> i128 {
        self.rate.cost().saturating_mul(i128::try_from(count).unwrap_or(i128::MAX))
    }

    /// So many did not go after all.
    pub fn give_back(&mut self, count: usize) {
        self.level = self.level.saturating_add(self.price(count)).min(self.rate.capacity());
    }

    /// When the next may go, where none may now.
    pub fn next(&mut self, now: Instant) -> Option<Instant> {
        if self.tokens(now) > 0 {
            return None;
        }
        let missing = (self.rate.cost() - self.level).unsigned_abs().div_ceil(u128::from(self.rate.count.get()));
        Some(self.at.plus(Duration::from_micros(u64::try_from(missing).unwrap_or(u64::MAX))))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    #[test]
    fn who_goes_without_asking_is_made_up_for() {
        let mut bucket = Bucket::full(rate(1, Duration::from_secs(10), 2), Instant::EPOCH);
        bucket.take(4);
        let at = |seconds| Instant::EPOCH.plus(Duration::from_secs(seconds));
        assert_eq!((bucket.tokens(Instant::EPOCH), bucket.next(Instant::EPOCH)), (0, Some(at(30))));
        assert_eq!((bucket.tokens(at(29)), bucket.tokens(at(30))), (0, 1));
    }

    #[test]
    fn a_rate_that_changes_all_the_time_brings_none_to_a_stop() {
        let (slow, fast) = (rate(1, Duration::from_secs(10), 2), rate(1, Duration::from_secs(5), 2));
        let mut bucket = Bucket::full(slow, Instant::EPOCH);
        bucket.take(2);
        let mut gone = 0;
        for second in 1..=60 {
            let now = Instant::EPOCH.plus(Duration::from_secs(second));
            bucket = bucket.at_rate(if second % 2 == 0 { slow } else { fast }, now);
            let tokens = bucket.tokens(now);
            bucket.take(tokens);
            gone += tokens;
        }
        assert_eq!(gone, 9, "half of the time a second brings a tenth, half of it a fifth");
    }

    proptest! {
        /// In no window go more than a burst and what the rate brings in it, and a bucket that is kept in between is the same.
        #[test]
        fn no_window_has_more_than_its_rate(
            count in 1..20_u32,
            per in 1..10_000_u64,
            burst in 1..6_u32,
            asks in prop::collection::vec((0..4_000_u64, 1..4_usize), 1..60),
        ) {
            let rate = rate(count, Duration::from_micros(per), burst);
            let (mut bucket, mut now) = (Bucket::full(rate, Instant::EPOCH), Instant::EPOCH);
            let mut gone: Vec<(Instant, u128)> = Vec::new();
            for (pause, wanted) in asks {
                now = now.plus(Duration::from_micros(pause));
                let take = bucket.tokens(now).min(wanted);
                bucket.take(take);
                gone.push((now, take as u128));
                let (level, at) = bucket.keep();
                let again = Bucket::kept(rate, level, at);
                prop_assert_eq!(again, bucket);
                bucket = again;
                if let Some(next) = bucket.next(now) {
                    prop_assert_eq!(bucket.tokens(Instant::from_micros(next.as_micros() - 1)), 0);
                    prop_assert!(Bucket::kept(rate, level, at).tokens(next) > 0);
                }
            }
            for (first, (from, _)) in gone.iter().enumerate() {
                let mut sum = 0;
                for (to, took) in &gone[first..] {
                    sum += took;
                    let brought = to.since(*from).as_micros() * u128::from(count);
                    // What is left over of the microsecond in which the bucket was full is less than one token's.
                    let most = u128::from(per) * u128::from(burst) + brought + u128::from(count - 1);
                    prop_assert!(sum * u128::from(per) <= most, "{} from {} to {}", sum, from, to);
                }
            }
        }
    }
}
