//! How a server that is away is waited for: growing pauses, and tries in between, until a minute has passed.

use std::time::Duration;

use crate::clock::Instant;

/// How long a server may be away in the middle of something.
const PATIENCE: Duration = Duration::from_secs(60);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// Growing pauses between attempts, and since when there was nothing but those: an attempt may take long, too, where the
/// server is there and says nothing.
#[derive(Debug)]
pub(crate) struct Pauses {
    next: Duration,
    lost_at: Option<Instant>,
    /// It was there before.
    has_answered: bool,
}

impl Pauses {
    /// For a server that has answered before, to another call.
    pub(crate) fn new() -> Self {
        Self { next: FIRST_PAUSE, lost_at: None, has_answered: true }
    }

    /// For one that has yet to answer: until it does there is nothing to go on with, and nothing to wait for.
    pub(crate) fn once_answered() -> Self {
        Self { has_answered: false, ..Self::new() }
    }

    /// The next one.
    pub(crate) fn next(&mut self, now: Instant) -> Duration {
        self.lost_at.get_or_insert(now);
        let pause = self.next;
        self.next = (pause * 2).min(LONGEST_PAUSE);
        pause
    }

    /// The server is there, and may have nothing to say yet.
    pub(crate) fn answered(&mut self) {
        self.has_answered = true;
    }

    /// The server was there.
    pub(crate) fn reset(&mut self) {
        *self = Self::new();
    }

    /// Nothing was waited for since it was there.
    pub(crate) fn is_first(&self) -> bool {
        self.lost_at.is_none()
    }

    /// It is not worth waiting any longer.
    pub(crate) fn is_exhausted(&self, now: Instant) -> bool {
        !self.has_answered || self.lost_at.is_some_and(|lost_at| now - lost_at >= PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Pauses;
    use crate::clock;

    #[test]
    fn pauses_grow_to_a_bound_and_end_after_a_minute() {
        let mut now = clock::tick();
        let mut pauses = Pauses::new();
        assert_eq!(pauses.next(now), Duration::from_millis(200));
        assert_eq!(pauses.next(now), Duration::from_millis(400));
        let mut count = 2;
        while !pauses.is_exhausted(now) {
            let pause = pauses.next(now);
            assert!(pause <= Duration::from_secs(3));
            now += pause;
            count += 1;
        }
        assert!((20..30).contains(&count), "{count}");
        pauses.reset();
        assert!(!pauses.is_exhausted(now));
    }

    #[test]
    fn what_an_attempt_takes_counts_like_a_pause() {
        let now = clock::tick();
        let mut pauses = Pauses::new();
        pauses.next(now);
        assert!(!pauses.is_exhausted(now + Duration::from_secs(59)));
        assert!(pauses.is_exhausted(now + Duration::from_secs(60)));
    }

    #[test]
    fn a_server_that_never_answered_is_not_waited_for() {
        let now = clock::tick();
        let mut pauses = Pauses::once_answered();
        assert!(pauses.is_exhausted(now));
        pauses.answered();
        assert!(!pauses.is_exhausted(now));
    }
}
