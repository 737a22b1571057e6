//! What a run is made in spite of, for the commands that make runs of jobs.

use clap::Args;

/// What is in the way, and is passed.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct PassArgs {
    /// Begin although a run of the job is not over, whatever its overlap policy says
    #[arg(long)]
    pub(super) force: bool,
    /// Begin although the job is paused
    #[arg(long)]
    pub(super) while_paused: bool,
}
