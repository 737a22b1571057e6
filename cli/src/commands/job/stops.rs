//! What becomes of runs of a job that is paused or deleted.

use clap::ValueEnum;
use mainspring_proto::scheduler::v1::{PausedRuns, RunningRuns};

/// [`RunningRuns`] as typed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum RunningArg {
    /// They finish, without further attempts.
    Detach,
    /// They are asked to stop.
    Cancel,
    /// The same, with a grace of one lease.
    Terminate,
}

impl RunningArg {
    pub(super) fn wire(self) -> RunningRuns {
        match self {
            Self::Detach => RunningRuns::Detach,
            Self::Cancel => RunningRuns::Cancel,
            Self::Terminate => RunningRuns::Terminate,
        }
    }
}

/// What the flags of a pause ask for.
pub(super) fn paused_runs(waiting: bool, all: bool) -> PausedRuns {
    match (waiting, all) {
        (_, true) => PausedRuns::CancelAll,
        (true, false) => PausedRuns::CancelWaiting,
        (false, false) => PausedRuns::Unspecified,
    }
}

/// How many runs were ended, after what was done.
pub(super) fn ended(cancelled: i64, stopped: i64) -> String {
    let told = |count: i64, what: &str, then: &str| match count {
        0 => String::new(),
        1 => format!(", 1 {what} run {then}"),
        many => format!(", {many} {what} runs {then}"),
    };
    told(cancelled, "waiting", "cancelled") + &told(stopped, "running", "asked to stop")
}

#[cfg(test)]
mod tests {
    use super::ended;

    #[test]
    fn what_was_ended_is_counted() {
        assert_eq!(ended(0, 0), "");
        assert_eq!(ended(1, 0), ", 1 waiting run cancelled");
        assert_eq!(ended(2, 1), ", 2 waiting runs cancelled, 1 running run asked to stop");
    }
}
