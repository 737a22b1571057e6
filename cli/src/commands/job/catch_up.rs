//! Catching up with missed instants, as `job create`, `job update` and `job resume` take it.

use clap::{Args, ValueEnum};
use mainspring_proto::scheduler::v1::{CatchUp, Job};

use crate::times::Length;

/// What happens to instants that passed while no server was there.
#[derive(Args, Debug)]
pub(super) struct CatchUpArgs {
    /// What happens to instants that passed while no server was there [default: latest]
    #[arg(long, value_name = "POLICY")]
    catch_up: Option<ModeArg>,
    /// With all: so many at most, the newest [default: 100]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=1000))]
    catch_up_max: Option<i32>,
    /// With all: their runs become due so far apart
    #[arg(long, value_name = "LENGTH")]
    catch_up_pace: Option<Length>,
    /// What is later than this becomes no run; 0s for no bound
    #[arg(long, value_name = "LENGTH")]
    max_lateness: Option<Length>,
}

/// [`CatchUp`] as typed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ModeArg {
    /// One late run for the newest.
    Latest,
    /// None.
    None,
    /// Each, the newest --catch-up-max.
    All,
}

impl ModeArg {
    pub(super) fn wire(self) -> CatchUp {
        match self {
            Self::Latest => CatchUp::Latest,
            Self::None => CatchUp::None,
            Self::All => CatchUp::All,
        }
    }
}

impl CatchUpArgs {
    /// Writes what was typed; the fields that were.
    pub(super) fn write(self, job: &mut Job) -> Vec<&'static str> {
        let Self { catch_up, catch_up_max, catch_up_pace, max_lateness } = self;
        let mut named = Vec::new();
        if let Some(mode) = catch_up {
            job.catch_up = mode.wire().into();
            // Both belong to their mode.
            (job.catch_up_max, job.catch_up_pace) = (0, None);
            named.extend(["catch_up", "catch_up_max", "catch_up_pace"]);
        }
        if let Some(max) = catch_up_max {
            job.catch_up_max = max;
            named.push("catch_up_max");
        }
        if let Some(pace) = catch_up_pace {
            job.catch_up_pace = Some(pace.to_proto());
            named.push("catch_up_pace");
        }
        if let Some(length) = max_lateness {
            job.max_lateness = Some(length.to_proto());
            named.push("max_lateness");
        }
        named
    }
}
