//! What becomes of a job without an instant left, as `job create` and `job update` take it.

use clap::{Args, ValueEnum};
use mainspring_proto::scheduler::v1::{Job, OnCompleted};

use crate::times::Length;

/// What becomes of the job once its schedules have no instant left.
#[derive(Args, Debug)]
pub(super) struct CompletedArgs {
    /// What becomes of it once its schedules have no instant left [default: keep]
    #[arg(long, value_name = "WHAT")]
    on_completed: Option<CompletedArg>,
    /// With delete: so long after [default: at once]; never before its runs are over
    #[arg(long, value_name = "LENGTH")]
    delete_after: Option<Length>,
}

/// [`OnCompleted`] as typed.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum CompletedArg {
    /// It stays.
    Keep,
    /// It is deleted.
    Delete,
}

impl CompletedArgs {
    /// Writes what was typed; the fields that were.
    pub(super) fn write(self, job: &mut Job) -> Vec<&'static str> {
        let Self { on_completed, delete_after } = self;
        let mut named = Vec::new();
        if let Some(what) = on_completed {
            let what = match what {
                CompletedArg::Keep => OnCompleted::Keep,
                CompletedArg::Delete => OnCompleted::Delete,
            };
            // The length belongs to the choice.
            (job.on_completed, job.delete_after) = (what.into(), None);
            named.extend(["on_completed", "delete_after"]);
        }
        if let Some(length) = delete_after {
            job.delete_after = Some(length.to_proto());
            named.push("delete_after");
        }
        named
    }
}
