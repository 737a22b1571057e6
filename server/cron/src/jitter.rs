//! Jitter: how much later than its nominal time a run starts, the same for ever.
//!
//! A pure function of the schedule's identity and the nominal time, so that a restart, a failover or a second look
//! gives the same answer. The nominal time stays the run's identity, whatever is added here.

use jiff::{SignedDuration, Timestamp};

use crate::{hash, interval::floor_us};

/// How far a jittered start may reach: a window, and what it must not cross.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JitterBounds {
    /// The width asked for; zero or less is none.
    pub window: SignedDuration,
    /// The schedule's next nominal time; starts stay before it, so that they keep its order.
    pub next: Option<Timestamp>,
    /// The schedule's end; starts stay before it.
    pub end: Option<Timestamp>,
}

/// The start of what is due at `nominal`: not before it, and less than the window later; before the next nominal time
/// and before the end. `seed` is the schedule's uid.
///
/// ```
/// use jiff::{SignedDuration, Timestamp};
/// use mainspring_cron::{JitterBounds, jittered};
///
/// let nominal: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
/// let bounds = JitterBounds { window: SignedDuration::from_mins(5), next: None, end: None };
/// let start = jittered(b"uid", nominal, bounds);
/// assert!(nominal <= start && start < nominal + bounds.window);
/// assert_eq!(jittered(b"uid", nominal, bounds), start);
/// ```
#[must_use]
pub fn jittered(seed: &[u8], nominal: Timestamp, bounds: JitterBounds) -> Timestamp {
    let JitterBounds { window, next, end } = bounds;
    let micros = |length: SignedDuration| length.as_micros();
    let room = [next, end].into_iter().flatten().map(|bound| micros(bound.duration_since(nominal)));
    let width = room.fold(micros(window), i128::min);
    let Some(width) = u64::try_from(width).ok().filter(|width| *width > 0) else { return nominal };
    let seed = [seed, &[0xff], &floor_us(nominal).to_be_bytes()].concat();
    let later = i64::try_from(hash::pick(&seed, "jitter", width)).unwrap_or(0);
    nominal.checked_add(SignedDuration::from_micros(later)).unwrap_or(nominal)
}
