//! The one lease of the worker, as the worker itself may believe in it.
//!
//! The server counts the lease from when it *read* a heartbeat, the worker from when it *sent* it, on its own clock: so
//! the worker's view always ends first. It ends a margin earlier still, the **self-fence**: 3 s, or a tenth of a lease
//! shorter than 30 s (so a lease of one second is believed for 900 ms).

use std::time::Duration;

use crate::clock::Instant;

const LONGEST_MARGIN: Duration = Duration::from_secs(3);

/// Whether, and until when, this worker may believe that its attempts are its own.
#[derive(Default)]
pub(super) struct Lease {
    /// When the last acknowledged Hello or Heartbeat was sent, and the length the server gave.
    renewed: Option<(Instant, Duration)>,
    /// Whether the self-fence has been acted upon since.
    fenced: bool,
}

impl Lease {
    /// A Hello or Heartbeat sent at `sent_at` was acknowledged.
    pub(super) fn renew(&mut self, sent_at: Instant, ttl: Duration, now: Instant) {
        if self.renewed.is_none_or(|(before, _)| before <= sent_at) {
            self.renewed = Some((sent_at, ttl));
        }
        if self.is_live(now) {
            self.fenced = false;
        }
    }

    pub(super) fn is_live(&self, now: Instant) -> bool {
        self.fence_at().is_some_and(|fence| now < fence)
    }

    /// The moment of the self-fence.
    pub(super) fn fence_at(&self) -> Option<Instant> {
        self.renewed.map(|(sent_at, ttl)| sent_at + (ttl - margin(ttl)))
    }

    /// Whether the self-fence is due now; true once for each time the lease runs out.
    pub(super) fn fence(&mut self, now: Instant) -> bool {
        if self.fenced || self.renewed.is_none() || self.is_live(now) {
            return false;
        }
        self.fenced = true;
        true
    }

    /// How long code that must not overlap may take to stop by itself after the self-fence: half the margin.
    pub(super) fn stop_grace(&self) -> Duration {
        self.renewed.map_or(Duration::ZERO, |(_, ttl)| margin(ttl) / 2)
    }
}

fn margin(ttl: Duration) -> Duration {
    LONGEST_MARGIN.min(ttl / 10)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Lease;
    use crate::clock::Instant;

    fn at(millis: u64) -> Instant {
        Instant::at(Duration::from_millis(millis))
    }

    #[test]
    fn the_fence_comes_before_the_lease_ends_however_short_it_is() {
        for (ttl, fence) in [(1_000, 900), (3_000, 2_700), (30_000, 27_000), (60_000, 57_000)] {
            let mut lease = Lease::default();
            assert!(!lease.is_live(at(0)));
            lease.renew(at(0), Duration::from_millis(ttl), at(10));
            assert!(lease.is_live(at(fence - 1)) && !lease.is_live(at(fence)));
        }
    }

    #[test]
    fn it_is_fenced_once_and_comes_back_with_a_later_heartbeat() {
        let mut lease = Lease::default();
        assert!(!lease.fence(at(0)), "there is nothing to lose before the first session");
        lease.renew(at(0), Duration::from_secs(30), at(10));
        assert!(!lease.fence(at(26_999)));
        assert!(lease.fence(at(27_000)));
        assert!(!lease.fence(at(27_001)));
        lease.renew(at(20_000), Duration::from_secs(30), at(28_000));
        assert!(lease.is_live(at(28_000)));
        assert!(lease.fence(at(47_000)));
    }

    #[test]
    fn an_old_acknowledgement_does_not_shorten_it() {
        let mut lease = Lease::default();
        lease.renew(at(20_000), Duration::from_secs(30), at(20_010));
        lease.renew(at(10_000), Duration::from_secs(30), at(20_020));
        assert!(lease.is_live(at(46_999)));
    }
}
