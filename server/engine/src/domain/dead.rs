//! Dead letters: runs that ended FAILED or TIMED_OUT, and what people made of them.
//!
//! A dead letter is no thing of its own but a side of its run: the step that ends the run says what went wrong
//! ([`Fingerprint`]), and from then on it is open until somebody resolves it, or makes the run again. A run never changes
//! once it is over; its [`Resolution`] does.

mod fingerprint;

use super::instant::Instant;

pub use fingerprint::{Fingerprint, NoFingerprint};

/// What became of a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resolution {
    /// Nobody has dealt with it.
    Open,
    /// Somebody says that it is dealt with.
    Resolved,
    /// It was made again.
    Redriven,
    /// Somebody says that nothing has to be done.
    Ignored,
}

impl Resolution {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 4] = [Self::Open, Self::Resolved, Self::Redriven, Self::Ignored];

    /// The number that stands for it in columns and on the wire.
    pub const fn code(self) -> i32 {
        match self {
            Self::Open => 1,
            Self::Resolved => 2,
            Self::Redriven => 3,
            Self::Ignored => 4,
        }
    }

    /// The resolution behind a code.
    pub fn from_code(code: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|resolution| resolution.code() == code)
    }

    /// The name in filters.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "OPEN",
            Self::Resolved => "RESOLVED",
            Self::Redriven => "REDRIVEN",
            Self::Ignored => "IGNORED",
        }
    }
}

/// What a person can say of dead letters. That one was redriven, only redriving it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They are dealt with.
    Resolved,
    /// Nothing has to be done.
    Ignored,
    /// They are to be dealt with after all.
    Open,
}

impl Verdict {
    /// What it makes of them.
    pub const fn resolution(self) -> Resolution {
        match self {
            Self::Resolved => Resolution::Resolved,
            Self::Ignored => Resolution::Ignored,
            Self::Open => Resolution::Open,
        }
    }

    /// Which dead letters it can be said of: nothing takes back that one was redriven.
    pub const fn of(self) -> &'static [Resolution] {
        match self {
            Self::Resolved | Self::Ignored => &[Resolution::Open],
            Self::Open => &[Resolution::Resolved, Resolution::Ignored],
        }
    }
}

/// What made a run a dead letter, as the step that ended it knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    /// What went wrong, so that what went wrong alike is found together.
    pub fingerprint: Fingerprint,
    /// What its handler said; empty where nobody did.
    pub message: String,
}

/// How a run is dead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// What went wrong, so that what went wrong alike is found together.
    pub fingerprint: Fingerprint,
    /// What became of it.
    pub resolution: Resolution,
    /// Why, in the words of whoever settled it last.
    pub note: String,
    /// Who that was.
    pub actor: String,
    /// When; none while it is open.
    pub time: Option<Instant>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_changes_what_it_is_said_of() {
        for verdict in [Verdict::Resolved, Verdict::Ignored, Verdict::Open] {
            assert!(!verdict.of().contains(&verdict.resolution()), "{verdict:?}");
            assert!(!verdict.of().contains(&Resolution::Redriven), "{verdict:?}");
        }
    }
}
