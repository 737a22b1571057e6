//! A worker as one runs it for long: results that survive it, its log and the runs' logs, a bound over all handlers, and a
//! line for what it does. `cargo run -p mainspring-worker --example operated`.

use std::time::Duration;

use mainspring_worker::{Ctx, JobError, Observed, RunLog, Worker};
use tower::{limit::GlobalConcurrencyLimitLayer, timeout::TimeoutLayer};
use tracing_subscriber::{filter::LevelFilter, prelude::*};

/// Builds a report; a computation goes to a thread of its own, or it would hold up the other handlers.
async fn build(ctx: Ctx) -> Result<u64, JobError> {
    // A line of this program's log, and of the run's, by `RunLog`.
    tracing::info!(attempt = ctx.attempt(), "building");
    let sum = ctx.spawn_blocking(|| (1..=1_000_000_u64).sum()).await?;
    Ok(sum)
}

#[tokio::main]
async fn main() -> Result<(), mainspring_worker::Error> {
    tracing_subscriber::registry()
        .with(tracing_subscriber::fmt::layer().with_filter(LevelFilter::INFO))
        .with(RunLog::new())
        .init();
    Worker::from_env()?
        .name("reports")
        .label("zone", "a")
        .build_id(env!("CARGO_PKG_VERSION"))
        .handle("report.build", build)
        .slots(16)
        // Of the sixteen two are at work at a time; the others wait here, and may be cancelled meanwhile.
        .layer(GlobalConcurrencyLimitLayer::new(2))
        .layer(TimeoutLayer::new(Duration::from_secs(60)))
        // A result is on the disk before it is sent: the next process with this folder delivers what this one could not.
        .journal(std::env::temp_dir().join("mainspring-reports"))
        // At SIGTERM: so long for what runs, then it is cancelled.
        .drain_within(Duration::from_secs(30))
        .observe(|event| {
            if let Observed::End { run_id, outcome, .. } = event {
                tracing::info!(%run_id, ?outcome, "over");
            }
        })
        .run_until_signal()
        .await
}
