//! The times every lease lives by. One value per server, checked at start-up.

use std::time::Duration;

/// Durations and caps of leases; the names are those of the worker protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseRules {
    /// How often a worker says that it lives.
    pub heartbeat_interval: Duration,
    /// How long a worker's leases live after its last heartbeat.
    pub lease_ttl: Duration,
    /// Whoever hears nothing for this long tears the stream down.
    pub silence_timeout: Duration,
    /// An attempt may start only this long after its dispatch's basis was sent.
    pub start_window: Duration,
    /// A dispatch that was not answered after this long is taken back.
    pub reply_timeout: Duration,
    /// Between being told to stop and the end without the worker, unless the run says otherwise.
    pub stop_grace: Duration,
    /// Attempts handed back unstarted before a run ends UNDISPATCHABLE.
    pub max_returns: u32,
}

impl Default for LeaseRules {
    fn default() -> Self {
        Self::for_lease(Duration::from_secs(30))
    }
}

/// The rules contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "lease times must satisfy start window < reply timeout <= lease <= stop grace and heartbeat < lease / 2: {0:?}"
)]
pub struct RulesError(LeaseRules);

impl LeaseRules {
    /// The documented proportions, for a lease of this length: 30 s gives a heartbeat of 5 s, a start window of 15 s, a
    /// reply timeout of 20 s; the grace is 30 s, or the lease where that is longer.
    pub fn for_lease(lease_ttl: Duration) -> Self {
        Self {
            heartbeat_interval: lease_ttl / 6,
            lease_ttl,
            silence_timeout: lease_ttl,
            start_window: lease_ttl / 2,
            reply_timeout: lease_ttl * 2 / 3,
            stop_grace: lease_ttl.max(Duration::from_secs(30)),
            max_returns: 20,
        }
    }

    /// Refuses rules under which two attempts could overlap or nothing could ever start.
    pub fn checked(self) -> Result<Self, RulesError> {
        let ordered = self.start_window < self.reply_timeout
            && self.reply_timeout <= self.lease_ttl
            && self.lease_ttl <= self.stop_grace
            && self.heartbeat_interval * 2 < self.lease_ttl
            && !self.heartbeat_interval.is_zero()
            && self.max_returns > 0;
        if ordered { Ok(self) } else { Err(RulesError(self)) }
    }

    /// Whether a server that wakes this much later than it wanted to has slept, rather than been busy: so long that it must
    /// not judge anybody before it has read what was said meanwhile. A worker was last heard a heartbeat before the sleep,
    /// so half of its lease is left at this bound.
    pub fn has_slept(&self, late: Duration) -> bool {
        late > self.lease_ttl / 3
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::LeaseRules;

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let rules = LeaseRules::default().checked().unwrap();
        let secs = [rules.heartbeat_interval, rules.start_window, rules.reply_timeout, rules.stop_grace]
            .map(|length| length.as_secs());
        assert_eq!(secs, [5, 15, 20, 30]);
    }

    #[test]
    fn rules_that_contradict_each_other_are_refused() {
        let rules = LeaseRules::default();
        assert!(LeaseRules { start_window: rules.reply_timeout, ..rules }.checked().is_err());
        assert!(LeaseRules { stop_grace: Duration::from_secs(1), ..rules }.checked().is_err());
        assert!(LeaseRules { heartbeat_interval: Duration::from_secs(15), ..rules }.checked().is_err());
    }
}
