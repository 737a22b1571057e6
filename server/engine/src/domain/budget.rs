//! How fast a server catches up: so many late runs a second, whoever they are of.
//!
//! What was missed waits already, and what is due now does not want to: a server that comes back after a long outage owes many
//! late runs, and making all of them at once would be felt by everything else. What one second overspends, since a schedule
//! is caught up with whole, the next ones save.

use std::time::Duration;

use super::instant::Instant;

/// Late runs a second, where nobody says otherwise.
pub const LATE_RUNS_A_SECOND: u32 = 1_000;

const SECOND: Duration = Duration::from_secs(1);

/// What is left of the second that passes.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    a_second: u32,
    /// The second ends.
    until: Instant,
    /// Less than nothing where more was spent than there was.
    left: i64,
}

impl Budget {
    /// So many a second, at least one.
    pub fn new(a_second: u32) -> Self {
        Self { a_second: a_second.max(1), until: Instant::MIN, left: 0 }
    }

    /// How many late runs may be made now.
    pub fn room(&mut self, now: Instant) -> usize {
        let a_second = i64::from(self.a_second);
        if now >= self.until {
            let seconds = 1 + now.since(self.until).as_secs();
            let gained = a_second.saturating_mul(i64::try_from(seconds).unwrap_or(i64::MAX));
            self.left = self.left.saturating_add(gained).min(a_second);
            self.until = now.plus(SECOND);
        }
        usize::try_from(self.left).unwrap_or(0)
    }

    /// So many were made.
    pub fn spend(&mut self, runs: usize) {
        self.left = self.left.saturating_sub(i64::try_from(runs).unwrap_or(i64::MAX));
    }

    /// When there is room again.
    pub fn refilled(&self) -> Instant {
        let owed = u64::try_from(-self.left.min(0)).unwrap_or(0);
        self.until.plus(SECOND * u32::try_from(owed / u64::from(self.a_second)).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_micros(1_800_000_000_000_000).plus(Duration::from_millis(millis))
    }

    #[test]
    fn a_second_has_so_many_and_saves_none() {
        let mut budget = Budget::new(10);
        assert_eq!(budget.room(at(0)), 10);
        budget.spend(7);
        assert_eq!(budget.room(at(999)), 3);
        budget.spend(3);
        assert_eq!((budget.room(at(999)), budget.refilled()), (0, at(1_000)));
        assert_eq!(budget.room(at(1_000)), 10);
        assert_eq!(budget.room(at(60_000)), 10);
    }

    #[test]
    fn what_is_overspent_is_saved() {
        let mut budget = Budget::new(10);
        budget.room(at(0));
        budget.spend(35);
        assert_eq!((budget.room(at(500)), budget.refilled()), (0, at(3_000)));
        assert_eq!([budget.room(at(1_000)), budget.room(at(2_000)), budget.room(at(3_000))], [0, 0, 5]);
    }

    #[test]
    fn nobody_is_kept_from_catching_up() {
        assert_eq!(Budget::new(0).room(at(0)), 1);
    }
}
