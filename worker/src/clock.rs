//! The only now and the only sleep of the SDK.
//!
//! Leases are judged by a clock that nobody can set and that goes on counting while the machine is suspended: a laptop
//! that slept through its lease must not believe, on waking up, that it still holds it. `std::time::Instant` stands
//! still during a suspend on Linux, so [`Instant`] reads the boot-time clock instead.

use std::{
    future::Future,
    ops::{Add, Sub},
    time::{Duration, SystemTime},
};

/// Short enough for what must end with its lease, and long enough that an idle worker costs nothing.
const LONGEST_NAP: Duration = Duration::from_secs(1);

/// A moment on this machine's monotonic clock, since an origin of no meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(Duration);

impl Instant {
    /// The moment `since_origin` after the clock's origin; tests make their moments with it.
    pub(crate) const fn at(since_origin: Duration) -> Self {
        Self(since_origin)
    }

    /// How much later than `earlier` this is; zero if it is not.
    pub(crate) fn since(self, earlier: Instant) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, length: Duration) -> Instant {
        Instant(self.0.saturating_add(length))
    }
}

impl Sub<Duration> for Instant {
    type Output = Instant;

    fn sub(self, length: Duration) -> Instant {
        Instant(self.0.saturating_sub(length))
    }
}

/// Now, on the monotonic clock.
#[cfg(unix)]
pub(crate) fn now() -> Instant {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const CLOCK: rustix::time::ClockId = rustix::time::ClockId::Boottime;
    // Elsewhere (macOS, the BSDs) the monotonic clock itself counts through a suspend.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const CLOCK: rustix::time::ClockId = rustix::time::ClockId::Monotonic;

    let reading = rustix::time::clock_gettime(CLOCK);
    let seconds = u64::try_from(reading.tv_sec).unwrap_or(0);
    Instant::at(Duration::new(seconds, u32::try_from(reading.tv_nsec).unwrap_or(0)))
}

/// Now, on the monotonic clock.
#[cfg(not(unix))]
pub(crate) fn now() -> Instant {
    static ORIGIN: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    #[expect(clippy::disallowed_methods, reason = "this module is the clock")]
    let reading = std::time::Instant::now();
    Instant::at(reading.saturating_duration_since(*ORIGIN.get_or_init(|| reading)))
}

/// Now, on the wall clock: for people, never for a decision.
#[expect(clippy::disallowed_methods, reason = "this module is the clock")]
pub(crate) fn wall() -> SystemTime {
    SystemTime::now()
}

/// Sleeps until `deadline`, or as little after it as the end of a suspend allows.
pub(crate) async fn sleep_until(deadline: Instant) {
    sleep_by(deadline, now, sleep_some).await;
}

/// The runtime's timers stand still while the machine is suspended, and wait out what was left of them afterwards. So a
/// long sleep is made of naps, with a look at our own clock after each: who slept through a deadline knows it within one
/// nap, and stops what must not overlap then, not a heartbeat later.
async fn sleep_by<Nap: Future<Output = ()>>(
    deadline: Instant,
    now: impl Fn() -> Instant,
    nap: impl Fn(Duration) -> Nap,
) {
    loop {
        let left = deadline.since(now());
        if left.is_zero() {
            return;
        }
        nap(left.min(LONGEST_NAP)).await;
    }
}

/// Gives `work` at most `limit`; `None` if that was not enough.
#[expect(clippy::disallowed_methods, reason = "this module is the clock")]
pub(crate) async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(limit, work).await.ok()
}

#[expect(clippy::disallowed_methods, reason = "this module is the clock")]
async fn sleep_some(length: Duration) {
    tokio::time::sleep(length).await;
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, future::ready, time::Duration};

    use super::{Instant, sleep_by};

    /// A machine on which a timer stands still while it is suspended: the clock goes on by `suspended` in the first nap.
    async fn naps(millis: u64, suspended: u64) -> Vec<u64> {
        let (clock, naps) = (RefCell::new(Instant::at(Duration::ZERO)), RefCell::new(Vec::new()));
        let nap = |length: Duration| {
            let slept_through =
                if naps.borrow().is_empty() { Duration::from_millis(suspended) } else { Duration::ZERO };
            clock.replace_with(|before| *before + length + slept_through);
            naps.borrow_mut().push(u64::try_from(length.as_millis()).unwrap());
            ready(())
        };
        sleep_by(Instant::at(Duration::from_millis(millis)), || *clock.borrow(), nap).await;
        naps.into_inner()
    }

    #[tokio::test]
    async fn a_sleep_ends_within_a_second_of_a_suspend_it_was_slept_through() {
        assert_eq!(naps(2_500, 0).await, [1_000, 1_000, 500]);
        assert_eq!(naps(27_000, 60_000).await, [1_000]);
        assert_eq!(naps(0, 0).await, [0; 0]);
    }
}
