//! What a server tells of itself in numbers, and the page on which it does.
//!
//! Every server has a page of its own, since a process may hold several (tests do). Counters and histograms are added to
//! where things happen ([`runs`] by the engine, [`calls`] by a layer, the writer's by the writer); what is true *now* is
//! looked up when somebody asks ([`page`]). Labels come from people: whatever could have many values is bounded
//! ([`runs`], [`levels`]), and what is over the bound is told as `(other)`.
//!
//! docs/operations.md lists every metric, and a test compares it with the page.

mod calls;
mod levels;
mod page;
mod process;
mod runs;

use std::{fmt, sync::Arc};

use mainspring_engine::ports::clock::SharedClock;
use prometheus_client::{encoding::prometheus_text, metrics::info::Info, registry::Registry};

pub(crate) use calls::{Call, CallMeter};
pub(crate) use page::{Page, serve};

use self::{levels::Levels, runs::RunMeter};
use crate::adapters::sql::WriterMeter;

/// The label of what is over a bound. Names of people's cannot be that.
const OTHER: &str = "(other)";

/// Every number of one server.
pub(crate) struct Telemetry {
    registry: Registry,
    pub(crate) runs: Arc<RunMeter>,
    pub(crate) calls: CallMeter,
    pub(crate) writer: WriterMeter,
    levels: Levels,
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").finish_non_exhaustive()
    }
}

impl Telemetry {
    pub(crate) fn new(clock: SharedClock) -> Self {
        let mut registry = Registry::default();
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("mainspring_build", "The version of the server, as a label", build);
        let writer = WriterMeter::default();
        registry.register(
            "mainspring_store_commit_seconds",
            "How long transactions of the database took, commit included",
            writer.commits.clone(),
        );
        registry.register(
            "mainspring_store_batches",
            "How many batches shared a transaction of the database",
            writer.batches.clone(),
        );
        let runs = Arc::new(RunMeter::register(&mut registry));
        let calls = CallMeter::register(&mut registry, clock);
        let levels = Levels::register(&mut registry);
        registry.register_collector(Box::new(process::Process));
        Self { registry, runs, calls, writer, levels }
    }

    /// Everything, in the Prometheus text format.
    fn text(&self) -> String {
        let mut text = String::new();
        if let Err(error) = prometheus_text::encode(&mut text, &self.registry) {
            tracing::error!(%error, "the metrics could not be written");
        }
        text
    }
}
