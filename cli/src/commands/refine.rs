//! How a rule of the wall clock is meant where its words alone do not say: as `cron` takes it for this process, and
//! `job create` and `job update` for the server.

use clap::ValueEnum;
use mainspring_cron::{Gap, Overlap};
use mainspring_proto::scheduler::v1::{DayMatch, DstGap, DstOverlap};

/// [`DstGap`] as typed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum GapArg {
    /// Fires when the clocks have moved on.
    NextValid,
    /// Does not fire.
    Skip,
    /// Fires as much later as was skipped.
    Shift,
}

/// [`DstOverlap`] as typed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum RepeatArg {
    /// Fires the first time.
    First,
    /// Fires the last time.
    Last,
    /// Fires both times.
    Both,
}

/// [`DayMatch`] as typed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum DayMatchArg {
    /// One is enough.
    Or,
    /// Both must.
    And,
}

impl From<GapArg> for DstGap {
    fn from(typed: GapArg) -> Self {
        match typed {
            GapArg::NextValid => Self::NextValid,
            GapArg::Skip => Self::Skip,
            GapArg::Shift => Self::Shift,
        }
    }
}

impl From<GapArg> for Gap {
    fn from(typed: GapArg) -> Self {
        match typed {
            GapArg::NextValid => Self::NextValid,
            GapArg::Skip => Self::Skip,
            GapArg::Shift => Self::Shift,
        }
    }
}

impl From<RepeatArg> for DstOverlap {
    fn from(typed: RepeatArg) -> Self {
        match typed {
            RepeatArg::First => Self::First,
            RepeatArg::Last => Self::Last,
            RepeatArg::Both => Self::Both,
        }
    }
}

impl From<RepeatArg> for Overlap {
    fn from(typed: RepeatArg) -> Self {
        match typed {
            RepeatArg::First => Self::First,
            RepeatArg::Last => Self::Last,
            RepeatArg::Both => Self::Both,
        }
    }
}

impl From<DayMatchArg> for DayMatch {
    fn from(typed: DayMatchArg) -> Self {
        match typed {
            DayMatchArg::Or => Self::Or,
            DayMatchArg::And => Self::And,
        }
    }
}

impl From<DayMatchArg> for mainspring_cron::DayMatch {
    fn from(typed: DayMatchArg) -> Self {
        match typed {
            DayMatchArg::Or => Self::Or,
            DayMatchArg::And => Self::And,
        }
    }
}
