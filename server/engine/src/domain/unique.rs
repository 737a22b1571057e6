//! Unique keys: a run is made only where no other holds its key.
//!
//! A run holds its key until it is over, and at least for its window; so a claim ends by itself, and nothing has to be told
//! of the end of a run. What becomes of a request that meets a claim is decided here; the store keeps the claims, and reads
//! and writes them in the transaction that makes the run.

use std::time::Duration;

use super::{
    ids::RunId,
    instant::Instant,
    names::UniqueKey,
    run::{Lifecycle, RunState},
};

/// What becomes of a request whose key another run holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Conflict {
    /// It is refused.
    #[default]
    Reject,
    /// It is answered with the run that holds the key.
    ReturnExisting,
    /// The run that holds the key is cancelled, if it waits.
    ReplacePending,
}

/// The key a run is to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unique {
    /// The key, of the run's namespace.
    pub key: UniqueKey,
    /// At least for so long.
    pub window: Duration,
    /// What becomes of the request where it is taken.
    pub on_conflict: Conflict,
}

/// Who holds a key, as far as that decides anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The run.
    pub run: RunId,
    /// It holds the key until this, in any case.
    pub until: Instant,
    /// How it stands.
    pub holder: Holder,
}

/// How the run stands that holds a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// It waits, and no attempt of it may come back.
    Waits,
    /// It is at a worker, or may still be.
    AtWorker,
    /// It is over.
    Over,
    /// It was deleted.
    Gone,
}

/// What a request comes to that wants a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Met {
    /// Nobody holds it: the run is made, and does.
    Free,
    /// This very run holds it: it was made before.
    Own,
    /// The run that holds it is the answer.
    Existing,
    /// The run that holds it makes room.
    Replaces,
    /// No run is made.
    Taken,
}

impl Holder {
    /// How a run stands with this life.
    pub fn of(life: &Lifecycle) -> Self {
        Self::at(life.state, life.open.is_some())
    }

    /// How a run stands in this state, with an attempt open or not.
    pub const fn at(state: RunState, open: bool) -> Self {
        match state {
            RunState::Scheduled | RunState::Queued | RunState::RetryWait if !open => Self::Waits,
            RunState::Scheduled | RunState::Queued | RunState::RetryWait | RunState::Leased | RunState::Running => {
                Self::AtWorker
            }
            RunState::Succeeded | RunState::Failed | RunState::Cancelled | RunState::TimedOut => Self::Over,
        }
    }
}

impl Unique {
    /// What becomes of a request for `run`, made from `parent` if from any, where the key is claimed so. Whoever makes a run
    /// again is not in its own way.
    pub fn meet(&self, claim: &Claim, run: RunId, parent: Option<RunId>, now: Instant) -> Met {
        if claim.run == run {
            return Met::Own;
        }
        let is_over = matches!(claim.holder, Holder::Over | Holder::Gone);
        if is_over && (claim.until <= now || parent == Some(claim.run)) {
            return Met::Free;
        }
        match (self.on_conflict, claim.holder) {
            (Conflict::ReturnExisting, Holder::Waits | Holder::AtWorker | Holder::Over) => Met::Existing,
            (Conflict::ReplacePending, Holder::Waits) => Met::Replaces,
            (Conflict::Reject, Holder::Waits | Holder::AtWorker | Holder::Over)
            | (Conflict::ReplacePending, Holder::AtWorker | Holder::Over)
            | (Conflict::Reject | Conflict::ReturnExisting | Conflict::ReplacePending, Holder::Gone) => Met::Taken,
        }
    }

    /// Until when a run that is made now holds the key in any case. One that is made again holds it as long as the first
    /// would have.
    pub fn until(&self, before: Option<&Claim>, parent: Option<RunId>, now: Instant) -> Instant {
        let own = now.plus(self.window);
        before.filter(|claim| parent == Some(claim.run)).map_or(own, |claim| own.max(claim.until))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn unique(on_conflict: Conflict) -> Unique {
        Unique { key: "order-7".parse().unwrap(), window: HOUR, on_conflict }
    }

    #[test]
    fn every_policy_meets_every_holder() {
        let now = Instant::from_micros(1_000_000);
        let (holder, run) = (RunId::new(now), RunId::new(now));
        let met = |on_conflict, until: Instant, stands| {
            unique(on_conflict).meet(&Claim { run: holder, until, holder: stands }, run, None, now)
        };
        let (open, past) = (now.plus(HOUR), now);
        for (stands, reject, existing, replace) in [
            (Holder::Waits, Met::Taken, Met::Existing, Met::Replaces),
            (Holder::AtWorker, Met::Taken, Met::Existing, Met::Taken),
            (Holder::Over, Met::Taken, Met::Existing, Met::Taken),
            (Holder::Gone, Met::Taken, Met::Taken, Met::Taken),
        ] {
            let all = [Conflict::Reject, Conflict::ReturnExisting, Conflict::ReplacePending];
            assert_eq!(all.map(|policy| met(policy, open, stands)), [reject, existing, replace], "{stands:?}");
            // Once the window is over, only a run that is not over holds its key.
            let later = all.map(|policy| met(policy, past, stands));
            match stands {
                Holder::Waits | Holder::AtWorker => assert_eq!(later, [reject, existing, replace], "{stands:?}"),
                Holder::Over | Holder::Gone => assert_eq!(later, [Met::Free; 3], "{stands:?}"),
            }
        }
    }

    #[test]
    fn a_run_is_not_in_its_own_way() {
        let now = Instant::from_micros(1_000_000);
        let (parent, run) = (RunId::new(now), RunId::new(now));
        let claim = |run, holder| Claim { run, until: now.plus(HOUR * 2), holder };
        let unique = unique(Conflict::Reject);
        assert_eq!(unique.meet(&claim(run, Holder::Waits), run, None, now), Met::Own);
        assert_eq!(unique.meet(&claim(parent, Holder::Over), run, Some(parent), now), Met::Free);
        assert_eq!(unique.meet(&claim(parent, Holder::Waits), run, Some(parent), now), Met::Taken);
        let over = claim(parent, Holder::Over);
        assert_eq!(unique.until(Some(&over), Some(parent), now), over.until);
        assert_eq!(unique.until(Some(&over), None, now), now.plus(HOUR));
    }
}
