//! Overlap policies as `job create` and `job update` take them.

use clap::{Args, ValueEnum};
use mainspring_proto::scheduler::v1::{Job, Overlap, OverlapScope};

/// What happens while a run of the job is not over.
#[derive(Args, Debug)]
pub(super) struct OverlapArgs {
    /// When it is due, or triggered, while a run of it is not over [default: skip]
    #[arg(long, value_name = "POLICY")]
    overlap: Option<OverlapArg>,
    /// With allow: so many at once [default: any number]; with buffer-all: so many may wait [default: 100]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=1000))]
    overlap_max: Option<i32>,
    /// Whether runs that people made begin whatever is under way, and nobody waits for them
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    overlap_ignores_manual: Option<bool>,
    /// Whose runs it looks at: those of the job, or those of its --concurrency-key [default: job]
    #[arg(long, value_name = "SCOPE")]
    overlap_scope: Option<ScopeArg>,
}

/// [`OverlapScope`] as typed.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum ScopeArg {
    /// Those of the job.
    Job,
    /// Those of its concurrency key, whatever their jobs.
    ConcurrencyKey,
}

/// [`Overlap`] as typed.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum OverlapArg {
    /// The instant is skipped.
    Skip,
    /// Both run, up to --overlap-max.
    Allow,
    /// The newest waits until the run is over.
    BufferOne,
    /// All wait, up to --overlap-max, and run one after the other.
    BufferAll,
    /// The run is cancelled, and the new one begins once it is over.
    CancelOther,
    /// The same, with the shortest grace that is safe.
    TerminateOther,
}

impl OverlapArg {
    fn wire(self) -> Overlap {
        match self {
            Self::Skip => Overlap::Skip,
            Self::Allow => Overlap::Allow,
            Self::BufferOne => Overlap::BufferOne,
            Self::BufferAll => Overlap::BufferAll,
            Self::CancelOther => Overlap::CancelOther,
            Self::TerminateOther => Overlap::TerminateOther,
        }
    }
}

impl OverlapArgs {
    /// Writes what was typed; the fields that were.
    pub(super) fn write(self, job: &mut Job) -> Vec<&'static str> {
        let Self { overlap, overlap_max, overlap_ignores_manual, overlap_scope } = self;
        let mut named = Vec::new();
        if let Some(overlap) = overlap {
            job.overlap = overlap.wire().into();
            // A number belongs to its policy.
            job.overlap_max = 0;
            named.extend(["overlap", "overlap_max"]);
        }
        if let Some(max) = overlap_max {
            job.overlap_max = max;
            named.push("overlap_max");
        }
        if let Some(ignores) = overlap_ignores_manual {
            job.overlap_ignores_manual = ignores;
            named.push("overlap_ignores_manual");
        }
        if let Some(scope) = overlap_scope {
            job.overlap_scope = match scope {
                ScopeArg::Job => OverlapScope::Job,
                ScopeArg::ConcurrencyKey => OverlapScope::ConcurrencyKey,
            }
            .into();
            named.push("overlap_scope");
        }
        named
    }
}
