//! The host's clock, never backwards: time of the embedded family, and the one home of the operating system's clocks.
//!
//! Time is the wall clock's, since schedules are about walls. Where that is set back, engine time neither follows (leases
//! and cursors would live twice) nor stands still until it is caught up (nothing would fire meanwhile): it goes on at half
//! speed, on the monotonic clock, until the wall has caught up. Running late is the safe side: nobody is judged early.
//! Where the wall jumps by more than a minute, to either side, that is noted, for whoever tells people ([`Clock::jumps`]).

#![expect(clippy::disallowed_methods, reason = "this is the one home of the operating system's clocks")]

use std::{
    sync::Arc,
    time::{Duration, Instant as Monotonic, SystemTime},
};

use async_trait::async_trait;
use mainspring_engine::{
    domain::instant::Instant,
    ports::clock::{Clock, Jump, Timer},
};
use parking_lot::Mutex;

/// A sleeper looks at the wall at least so often: a machine that slept, or was set forward, is not noticed by timers.
const LOOK: Duration = Duration::from_secs(10);

/// The runtime's timer goes by whole milliseconds, and wakes up to two of them late. An exact sleeper has this much of its
/// sleep done by a thread.
const EXACT: Duration = Duration::from_millis(2);

/// The clock of this machine.
#[derive(Debug)]
pub struct HostClock {
    last: Arc<Mutex<Last>>,
}

#[derive(Debug)]
struct Last {
    reading: Reading,
    /// Jumps that nobody was told yet.
    jumps: Vec<Jump>,
}

/// So many jumps are noted at a time; a clock that is set more often than somebody asks needs no more words.
const NOTED: usize = 16;

#[derive(Clone, Copy, Debug)]
struct Reading {
    /// What was said.
    at: Instant,
    /// What the wall said then.
    wall: Instant,
    /// The monotonic clock when it was said.
    seen: Monotonic,
}

impl Default for HostClock {
    fn default() -> Self {
        let wall = wall();
        let reading = Reading { at: wall, wall, seen: Monotonic::now() };
        Self { last: Arc::new(Mutex::new(Last { reading, jumps: Vec::new() })) }
    }
}

fn wall() -> Instant {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Instant::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

impl Reading {
    /// What to say now.
    fn next(self, wall: Instant, seen: Monotonic) -> Self {
        let at =
            if wall >= self.at { wall } else { self.at.plus(seen.saturating_duration_since(self.seen) / 2).max(wall) };
        Self { at, wall, seen }
    }

    /// How the wall went another way than time did, until now.
    fn jump(self, wall: Instant, seen: Monotonic) -> Option<Jump> {
        let from = self.wall.plus(seen.saturating_duration_since(self.seen));
        let apart = from.since(wall).max(wall.since(from));
        (apart > Jump::LEAST).then_some(Jump { from, to: wall })
    }
}

impl Clock for HostClock {
    fn now(&self) -> Instant {
        read(&self.last)
    }

    fn jumps(&self) -> Vec<Jump> {
        std::mem::take(&mut self.last.lock().jumps)
    }

    fn timer(&self, name: &'static str) -> Box<dyn Timer> {
        Box::new(HostTimer { name, last: self.last.clone(), exact: Duration::ZERO })
    }

    fn exact_timer(&self, name: &'static str) -> Box<dyn Timer> {
        Box::new(HostTimer { name, last: self.last.clone(), exact: EXACT })
    }
}

fn read(last: &Mutex<Last>) -> Instant {
    let mut last = last.lock();
    let (wall, seen) = (wall(), Monotonic::now());
    if let Some(jump) = last.reading.jump(wall, seen).filter(|_| last.jumps.len() < NOTED) {
        last.jumps.push(jump);
    }
    last.reading = last.reading.next(wall, seen);
    last.reading.at
}

/// Sleeps on the runtime's timer, which never wakes early.
#[derive(Debug)]
struct HostTimer {
    #[expect(dead_code, reason = "shown by whoever debugs a sleeper")]
    name: &'static str,
    last: Arc<Mutex<Last>>,
    /// This much before its time it sleeps on a thread.
    exact: Duration,
}

#[async_trait]
impl Timer for HostTimer {
    async fn sleep_until(&mut self, until: Instant) {
        loop {
            let now = read(&self.last);
            if now >= until {
                return;
            }
            let left = until.since(now).min(LOOK);
            if left > self.exact {
                tokio::time::sleep(left - self.exact).await;
            } else if tokio::task::spawn_blocking(move || std::thread::sleep(left)).await.is_err() {
                // The runtime is ending.
                tokio::time::sleep(left).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_that_is_set_back_slows_time_down_until_it_has_caught_up() {
        let start = Monotonic::now();
        let after = |secs| start + Duration::from_secs(secs);
        let at = |secs: i64| Instant::from_micros(secs * 1_000_000);
        let mut reading = Reading { at: at(100), wall: at(100), seen: start };
        for (wall, seen, expected) in [(101, 1, 101), (61, 1, 101), (71, 11, 106), (141, 81, 141), (150, 90, 150)] {
            reading = reading.next(at(wall), after(seen));
            assert_eq!(reading.at, at(expected), "wall {wall}");
        }
    }

    #[test]
    fn a_wall_that_jumps_by_more_than_a_minute_is_noted() {
        let start = Monotonic::now();
        let after = |secs| start + Duration::from_secs(secs);
        let at = |secs: i64| Instant::from_micros(secs * 1_000_000);
        let reading = Reading { at: at(1_000), wall: at(1_000), seen: start };
        // Time passed: ten seconds, or an hour. The wall was set by a minute and less, or by more.
        for (wall, seen, jumps) in [
            (1_010, 10, false),
            (4_600, 3_600, false),
            (1_070, 10, false),
            (1_071, 10, true),
            (950, 10, false),
            (949, 10, true),
        ] {
            let from = at(1_000).plus(Duration::from_secs(seen));
            let expected = jumps.then(|| Jump { from, to: at(wall) });
            assert_eq!(reading.jump(at(wall), after(seen)), expected, "wall {wall} after {seen} s");
        }
    }

    #[test]
    fn time_is_the_walls_and_never_goes_back() {
        let clock = HostClock::default();
        let mut last = clock.now();
        for _ in 0..1_000 {
            let now = clock.now();
            assert!(now >= last);
            last = now;
        }
        assert!(wall().since(last) < Duration::from_secs(1));
    }

    #[tokio::test]
    async fn a_sleeper_wakes_when_its_time_has_come() {
        let clock = HostClock::default();
        let until = clock.now().plus(Duration::from_millis(5));
        clock.timer("test").sleep_until(until).await;
        assert!(clock.now() >= until);
        let until = clock.now().plus(Duration::from_millis(5));
        clock.exact_timer("test").sleep_until(until).await;
        assert!(clock.now() >= until);
        clock.timer("test").sleep_until(Instant::EPOCH).await;
    }
}
