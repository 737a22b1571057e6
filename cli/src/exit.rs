//! How a command ends, as scripts see it. The numbers are part of the contract (`mainspring help exit-codes`).

use std::process::ExitCode;

use mainspring_proto::scheduler::v1::RunState;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It did what was asked.
    Done,
    /// It did not, be it that somebody was asked and said no; or the run that was waited for ended FAILED or `TIMED_OUT`.
    Failed,
    /// What was typed makes no sense, to clap, to us or to the server.
    Usage,
    /// The thing that was named is not there.
    NotFound,
    /// Not signed in, or not allowed.
    NotAllowed,
    /// The thing is in a state that does not permit it, or has changed.
    Conflict,
    /// The server did not answer, or not in time.
    Unreachable,
    /// The run that was waited for was cancelled.
    Cancelled,
    /// The server refuses its configuration or its data (`EX_CONFIG` of sysexits.h): whoever restarts it by itself may
    /// stop doing so.
    ConfigurationRefused,
    /// Ctrl-C.
    Interrupted,
}

impl Exit {
    /// The number a shell sees.
    pub fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::NotAllowed => 4,
            Self::Conflict => 5,
            Self::Unreachable => 6,
            Self::Cancelled => 7,
            Self::ConfigurationRefused => 78,
            Self::Interrupted => 130,
        }
    }

    /// Every way to end, by number.
    pub(crate) const ALL: [Self; 10] = [
        Self::Done,
        Self::Failed,
        Self::Usage,
        Self::NotFound,
        Self::NotAllowed,
        Self::Conflict,
        Self::Unreachable,
        Self::Cancelled,
        Self::ConfigurationRefused,
        Self::Interrupted,
    ];

    /// What it means, for people.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::Done => "it did what was asked; a run that was waited for SUCCEEDED",
            Self::Failed => {
                "it did not, also where the answer was no; a run that was waited for ended FAILED or TIMED_OUT"
            }
            Self::Usage => "what was typed makes no sense, to the command or to the server",
            Self::NotFound => "what was named is not there",
            Self::NotAllowed => "not signed in, or not allowed",
            Self::Conflict => "it is in a state that does not permit it, or has changed; a port or folder is taken",
            Self::Unreachable => "no answer from the server, or not in time",
            Self::Cancelled => "the run that was waited for was CANCELLED",
            Self::ConfigurationRefused => {
                "the server refuses its configuration or its data; starting it again is no use"
            }
            Self::Interrupted => "Ctrl-C",
        }
    }

    /// What the end of a run means to whoever waited for it.
    pub(crate) fn of_run(state: RunState) -> Self {
        match state {
            RunState::Failed | RunState::TimedOut => Self::Failed,
            RunState::Cancelled => Self::Cancelled,
            RunState::Unspecified
            | RunState::Scheduled
            | RunState::Queued
            | RunState::Leased
            | RunState::Running
            | RunState::RetryWait
            | RunState::Succeeded => Self::Done,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.number())
    }
}

#[cfg(test)]
mod tests {
    use mainspring_proto::scheduler::v1::RunState;

    use super::Exit;

    #[test]
    fn the_list_is_whole_and_in_order() {
        let numbers = Exit::ALL.map(Exit::number);
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
        assert_eq!(numbers.last(), Some(&130));
    }

    #[test]
    fn a_run_tells_how_it_ended() {
        let ends = [(RunState::Succeeded, 0), (RunState::Failed, 1), (RunState::TimedOut, 1), (RunState::Cancelled, 7)];
        for (state, number) in ends {
            assert_eq!(Exit::of_run(state).number(), number, "{state:?}");
        }
    }
}
