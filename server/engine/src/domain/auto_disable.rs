//! When a job that fails and fails is paused by itself.
//!
//! What counts is in the rows of its runs, so nothing has to be kept for it and nothing can be lost: a run that succeeds
//! costs no more than it did, and each end that is a failure asks how the ends before it were.

use std::{num::NonZeroU32, time::Duration};

use serde::{Deserialize, Serialize};

use super::{instant::Instant, job::Pause};

/// Whoever pauses a job by itself, for people.
pub const ACTOR: &str = "mainspring";

/// When a job is paused by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AutoDisable {
    /// Never.
    Off,
    /// When so many of its runs in a row have ended FAILED or TIMED_OUT.
    After {
        /// So many.
        failures: NonZeroU32,
        /// Within so long.
        window: Duration,
        /// It resumes by itself, so long after; otherwise somebody must.
        cooldown: Option<Duration>,
    },
}

impl AutoDisable {
    /// Where nobody says otherwise.
    pub const FAILURES: NonZeroU32 = NonZeroU32::MIN.saturating_add(4);
    /// Where nobody says otherwise.
    pub const WINDOW: Duration = Duration::from_secs(3_600);

    /// What to look for among the runs of a job at `now`; none where nothing would follow. Failures from before it was
    /// resumed do not count.
    pub fn looks(self, now: Instant, resumed: Option<Instant>) -> Option<Looks> {
        match self {
            Self::Off => None,
            Self::After { failures, window, cooldown: _ } => {
                let begin = now.minus(window);
                Some(Looks { failures, after: resumed.map_or(begin, |resumed| resumed.max(begin)) })
            }
        }
    }

    /// The pause of a job that failed so.
    pub fn pause(self, now: Instant) -> Pause {
        let (failures, until) = match self {
            Self::Off => (0, None),
            Self::After { failures, window: _, cooldown } => {
                (failures.get(), cooldown.map(|cooldown| now.plus(cooldown)))
            }
        };
        Pause { note: format!("{failures} runs in a row failed"), actor: ACTOR.into(), time: now, until }
    }
}

impl Default for AutoDisable {
    fn default() -> Self {
        Self::After { failures: Self::FAILURES, window: Self::WINDOW, cooldown: None }
    }
}

/// A job is failing where so many of its runs failed after this, and none succeeded since the first of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looks {
    /// So many.
    pub failures: NonZeroU32,
    /// Ends at this or before do not count.
    pub after: Instant,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_count_within_the_window_and_from_the_resume_on() {
        let at = |seconds| Instant::EPOCH.plus(Duration::from_secs(seconds));
        let default = AutoDisable::default();
        let after = |resumed| default.looks(at(10_000), resumed).map(|looks| (looks.failures.get(), looks.after));
        assert_eq!(after(None), Some((5, at(6_400))));
        assert_eq!(after(Some(at(9_000))), Some((5, at(9_000))));
        assert_eq!(after(Some(at(1_000))), Some((5, at(6_400))));
        assert_eq!(AutoDisable::Off.looks(at(10_000), None), None);
        assert_eq!(default.pause(at(0)).until, None);
        let AutoDisable::After { failures, window, .. } = default else { panic!("it is on") };
        let cools = AutoDisable::After { failures, window, cooldown: Some(Duration::from_secs(60)) };
        let pause = cools.pause(at(9));
        assert_eq!((pause.time, pause.until, pause.note.as_str()), (at(9), Some(at(69)), "5 runs in a row failed"));
    }
}
