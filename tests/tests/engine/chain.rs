//! What becomes of a schedule that counts from ends, in a simulation: an oracle that follows it from link to link, by the ends of
//! its runs and nothing else.
//!
//! Time alone does not say which instants there are. Each of them must be a delay after what it counts from: the end of the
//! run before it, or the instant before it where that made none. And where the chain ends, the next would have come too late.

use std::{collections::BTreeMap, time::Duration};

use mainspring_engine::domain::{instant::Instant, ledger::Fate};

/// When nobody was there, or the machine slept: what was due in between was looked at afterwards.
pub(crate) type Away = (Instant, Instant);

/// After somebody was away, everything that is late is looked at within this.
const SLACK: Duration = Duration::from_secs(600);

/// A chain, as far as it has been followed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chain {
    delay: Duration,
    /// What the next one counts from: no earlier and no later. None while its run is not over.
    from: Option<(Instant, Instant)>,
}

/// What is known of runs and of those who make them.
pub(crate) struct Known<'a> {
    /// By nominal time, when the runs were over.
    pub(crate) ends: &'a BTreeMap<Instant, Instant>,
    pub(crate) away: &'a [Away],
}

impl Chain {
    /// The one of a definition that is in force from an instant on, after another chain or none.
    pub(crate) fn begin(before: Option<Self>, delay: u64, from: Instant) -> Self {
        let delay = Duration::from_secs(delay);
        let counted = match before {
            // It waits for the run that is not over, whatever its delay was.
            Some(Self { from: Some((first, last)), .. }) if last > from => Some((first, last)),
            Some(Self { from: None, .. }) => None,
            Some(before) if before.delay == delay => before.from,
            Some(_) | None => Some((from, from)),
        };
        Self { delay, from: counted }
    }

    /// The next link; what is wrong with it.
    pub(crate) fn follow(&mut self, at: Instant, fate: Fate, known: &Known<'_>) -> Result<(), String> {
        let Some((first, last)) = self.from else { return Err(format!("{at} comes before the run before it is over")) };
        let (first, last) = (first.plus(self.delay), last.plus(self.delay));
        if at < first || at > last {
            return Err(format!("{at} is {fate:?}, and the next comes from {first} to {last}"));
        }
        self.from = match fate {
            Fate::Fired | Fate::Superseded => known.ends.get(&at).map(|end| (*end, *end)),
            // What was in its way may be there for long: whoever finds that late counts from then.
            Fate::SkippedOverlap | Fate::Dropped => {
                let late = known.away.iter().filter(|(from, until)| *from < at && at <= *until);
                Some(late.map(|(_, until)| (at, until.plus(SLACK))).next_back().unwrap_or((at, at)))
            }
            Fate::United
            | Fate::Coalesced
            | Fate::Missed
            | Fate::Paused
            | Fate::Error
            | Fate::Excluded
            | Fate::DstSkipped => Some((at, at)),
        };
        Ok(())
    }

    /// Whether another link was due up to an instant.
    pub(crate) fn owes(&self, until: Instant) -> bool {
        self.from.is_some_and(|(_, last)| last.plus(self.delay) <= until)
    }
}
