//! How a server that is away is waited for: growing pauses, up to a minute of nothing else.

use std::time::Duration;

/// How long a server may be away in the middle of something.
const PATIENCE: Duration = Duration::from_secs(60);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// Growing pauses between attempts, and how long there were nothing but pauses.
#[derive(Debug)]
pub(crate) struct Pauses {
    next: Duration,
    spent: Duration,
}

impl Pauses {
    pub(crate) fn new() -> Self {
        Self { next: FIRST_PAUSE, spent: Duration::ZERO }
    }

    /// The next one.
    pub(crate) fn next(&mut self) -> Duration {
        let pause = self.next;
        self.spent += pause;
        self.next = (pause * 2).min(LONGEST_PAUSE);
        pause
    }

    /// The server was there.
    pub(crate) fn reset(&mut self) {
        *self = Self::new();
    }

    /// Nothing was waited for since it was there.
    pub(crate) fn is_first(&self) -> bool {
        self.spent.is_zero()
    }

    /// It is not worth waiting any longer.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.spent >= PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Pauses;

    #[test]
    fn pauses_grow_to_a_bound_and_end_after_a_minute() {
        let mut pauses = Pauses::new();
        assert_eq!(pauses.next(), Duration::from_millis(200));
        assert_eq!(pauses.next(), Duration::from_millis(400));
        let mut count = 2;
        while !pauses.is_exhausted() {
            assert!(pauses.next() <= Duration::from_secs(3));
            count += 1;
        }
        assert!((20..30).contains(&count), "{count}");
        pauses.reset();
        assert!(!pauses.is_exhausted());
    }
}
