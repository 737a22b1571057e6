//! Schedules that count from ends: their next instant comes a delay after what they made last is over.
//!
//! The cursor of such a schedule is the end it counts from, or its last instant that made no run; what it names next comes
//! a delay after that. While its run is not over it names nothing, so nothing can be missed, and where instants make no
//! run (in a pause, say) they follow one another at the delay. In the ledger the instants of one range are therefore
//! always a delay apart: one that is not begins a range of its own.

use std::time::Duration;

use mainspring_cron::Rule;

use super::ScheduleSpec;
use crate::domain::{instant::Instant, ledger::Range};

impl ScheduleSpec {
    /// How long after an end its next instant comes; none where its instants are those of a rule.
    pub fn delay(&self) -> Option<Duration> {
        match &self.rule {
            Rule::FixedDelay(delay) => Some(Duration::from_micros(delay.delay_us().unsigned_abs())),
            Rule::Cron(_) | Rule::Interval(_) | Rule::CalendarInterval(_) | Rule::At(_) => None,
        }
    }

    /// What it is evaluated from to name this instant of its own first.
    pub fn cursor_before(&self, at: Instant) -> Instant {
        at.minus(self.delay().unwrap_or(Duration::from_micros(1)))
    }

    /// The instants of a range of its ledger that lie in `[from, until]`, at most `limit`.
    pub fn of_range(&self, range: &Range, from: Instant, until: Instant, limit: usize) -> Vec<Instant> {
        let (first, last) = (range.first.max(from), range.last.min(until));
        if first > last {
            return Vec::new();
        }
        let before = match self.delay() {
            None => first.minus(Duration::from_micros(1)),
            Some(delay) => {
                let passed = first.since(range.first).as_micros().div_ceil(delay.as_micros().max(1));
                self.cursor_before(steps(range.first, passed, delay))
            }
        };
        self.instants(before, last, limit)
    }

    /// Where its evaluation goes on that has passed `next`, which a calendar holds until `until`.
    pub(super) fn past_hold(&self, next: Instant, until: Instant) -> Instant {
        let last = next.max(until.minus(Duration::from_micros(1)));
        match self.delay() {
            None => last,
            Some(delay) => steps(next, last.since(next).as_micros() / delay.as_micros().max(1), delay),
        }
    }

    /// Whether one range of its ledger may hold both.
    pub fn follows(&self, last: Instant, next: Instant) -> bool {
        self.delay().is_none_or(|delay| last.plus(delay) == next)
    }
}

/// So many delays after an instant.
fn steps(from: Instant, count: u128, delay: Duration) -> Instant {
    let micros = count.saturating_mul(delay.as_micros());
    from.plus(Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use mainspring_cron::{FixedDelay, Zone};

    use super::*;
    use crate::domain::ledger::Fate;

    fn at(second: i64) -> Instant {
        Instant::from_micros(1_800_000_000_000_000 + second * 1_000_000)
    }

    fn after(seconds: i64) -> ScheduleSpec {
        let rule = Rule::FixedDelay(FixedDelay::new(seconds * 1_000_000).unwrap());
        ScheduleSpec::new(Default::default(), rule, Zone::utc())
    }

    #[test]
    fn it_counts_from_its_cursor_or_its_start() {
        let spec = after(10);
        assert_eq!(spec.next_after(at(3)), Some(at(13)));
        assert_eq!(ScheduleSpec { start: Some(at(20)), ..spec.clone() }.next_after(at(3)), Some(at(30)));
        assert_eq!(ScheduleSpec { end: Some(at(13)), ..spec.clone() }.next_after(at(3)), None);
        assert_eq!(spec.fires(at(3)).collect::<Vec<_>>(), [at(13)]);
        assert_eq!((spec.cursor_before(at(13)), spec.prev_fire(at(100))), (at(3), None));
    }

    #[test]
    fn a_range_is_named_again_from_any_instant_of_it() {
        let spec = after(10);
        let range = Range { last: at(33), count: 4, ..Range::one(1, at(3), Fate::Paused, None) };
        assert_eq!(spec.of_range(&range, at(0), at(100), 9), [at(3), at(13), at(23), at(33)]);
        assert_eq!(spec.of_range(&range, at(4), at(25), 9), [at(13), at(23)]);
        assert_eq!(spec.of_range(&range, at(13), at(100), 1), [at(13)]);
        assert_eq!(spec.of_range(&range, at(34), at(100), 9), []);
    }
}
