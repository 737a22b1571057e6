//! Catching up: what becomes of instants that passed while nobody could fire them.
//!
//! [`CatchUp::judge`] decides on the missed instants of one step, in order, and says the same about an instant however the
//! time before it is cut into steps: what it depends on beside the instant is the end of what was missed, which
//! [`crate::domain::fire`] finds.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    instant::Instant,
    ledger::{Fate, FateReason},
    schedule::ScheduleSpec,
};

/// What a job wants of missed instants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CatchUp {
    /// Which of them become runs.
    pub mode: Mode,
    /// With [`Mode::All`], so many at most: the newest.
    pub max: u32,
    /// Late runs of one schedule begin at least so far apart.
    pub pace: Duration,
    /// What is later than this becomes no run, whatever the mode.
    pub max_lateness: Option<Duration>,
}

/// Which missed instants become runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// One for the newest; the others are coalesced into it.
    #[default]
    Latest,
    /// None of them.
    None,
    /// Each, the newest so many.
    All,
}

impl Mode {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 3] = [Self::Latest, Self::None, Self::All];

    /// The number that stands for it in columns and on the wire.
    pub const fn code(self) -> i32 {
        match self {
            Self::Latest => 1,
            Self::None => 2,
            Self::All => 3,
        }
    }

    /// The mode behind a code.
    pub fn from_code(code: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.code() == code)
    }
}

impl Default for CatchUp {
    fn default() -> Self {
        Self { mode: Mode::Latest, max: Self::MAX, pace: Duration::ZERO, max_lateness: None }
    }
}

/// What becomes of one missed instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// A late run.
    Run,
    /// No run.
    Fate(Fate, FateReason),
}

impl CatchUp {
    /// So many at most, unless the job says otherwise.
    pub const MAX: u32 = 100;
    /// No job may ask for more.
    pub const MOST: u32 = 1_000;

    /// In another mode.
    pub fn in_mode(self, mode: Mode) -> Self {
        Self { mode, ..self }
    }

    /// Whether an instant that passed before there was a schedule for it may still make a run: only where somebody said how
    /// late it may be.
    pub fn reaches(self, at: Instant, now: Instant) -> bool {
        let makes_runs = match self.mode {
            Mode::Latest | Mode::All => true,
            Mode::None => false,
        };
        makes_runs && self.max_lateness.is_some_and(|most| now.since(at) <= most)
    }

    /// What becomes of `missed`, all of them at or before `missed_until`, at `now`.
    pub(super) fn judge(
        self,
        schedule: &ScheduleSpec,
        missed: &[Instant],
        missed_until: Instant,
        now: Instant,
    ) -> Vec<Judged> {
        let Some(last) = missed.last() else { return Vec::new() };
        let in_time = |at: Instant| self.max_lateness.is_none_or(|most| now.since(at) <= most);
        let late = Judged::Fate(Fate::Missed, FateReason::TooLate);
        // Nothing comes after the last of these that was missed too, or much does.
        let is_end = || schedule.next_fire(*last).is_none_or(|next| next > missed_until);
        if schedule.delay().is_some() {
            // None of them stands for another: what comes after the first that makes a run follows from its end.
            let one = |at: &Instant| match self.mode {
                Mode::None => Judged::Fate(Fate::Missed, FateReason::NoServer),
                Mode::Latest | Mode::All if in_time(*at) => Judged::Run,
                Mode::Latest | Mode::All => late,
            };
            return missed.iter().map(one).collect();
        }
        match self.mode {
            Mode::None => missed.iter().map(|_| Judged::Fate(Fate::Missed, FateReason::NoServer)).collect(),
            Mode::Latest => {
                // The newest of all is the last to be too late: where one is in time, it is, and stands for that.
                let newest = if is_end() { Some(*last) } else { schedule.back_from(missed_until, 1) };
                let coalesced = Judged::Fate(Fate::Coalesced, FateReason::LaterRun);
                let one = |at: &Instant| match newest {
                    _ if !in_time(*at) => late,
                    Some(newest) if newest == *at => Judged::Run,
                    Some(_) | None => coalesced,
                };
                missed.iter().map(one).collect()
            }
            Mode::All => {
                let max = self.max as usize;
                let first = if is_end() {
                    missed.len().checked_sub(max).map(|from| missed[from])
                } else {
                    schedule.back_from(missed_until, max)
                };
                let one = |at: &Instant| {
                    if !in_time(*at) {
                        late
                    } else if first.is_some_and(|first| *at < first) {
                        Judged::Fate(Fate::Dropped, FateReason::CatchUpMax)
                    } else {
                        Judged::Run
                    }
                };
                missed.iter().map(one).collect()
            }
        }
    }
}
