//! What becomes of runs of a job that is deleted or paused.

use mainspring_engine::domain::stop::{Paused, Running};
use mainspring_proto::scheduler::v1 as wire;

use super::Check;

impl Check {
    /// What a delete makes of runs at workers.
    pub(crate) fn running_runs(&mut self, field: &str, running: i32) -> Option<Running> {
        self.choice(field, running, |running| {
            Some(match running {
                wire::RunningRuns::Unspecified | wire::RunningRuns::Detach => Running::Detach,
                wire::RunningRuns::Cancel => Running::Cancel,
                wire::RunningRuns::Terminate => Running::Terminate,
            })
        })
    }

    /// What a pause makes of runs that are not over.
    pub(crate) fn paused_runs(&mut self, field: &str, runs: i32) -> Option<Paused> {
        self.choice(field, runs, |runs| {
            Some(match runs {
                wire::PausedRuns::Unspecified | wire::PausedRuns::Keep => Paused::Keep,
                wire::PausedRuns::CancelWaiting => Paused::CancelWaiting,
                wire::PausedRuns::CancelAll => Paused::CancelAll,
            })
        })
    }
}
