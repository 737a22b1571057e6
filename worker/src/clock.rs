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

/// Sleeps until `deadline`.
pub(crate) async fn sleep_until(deadline: Instant) {
    loop {
        let left = deadline.since(now());
        if left.is_zero() {
            return;
        }
        // The runtime's timer may stand still while the machine sleeps, ours does not: look again.
        sleep_some(left).await;
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
