//! One call of a handler, the same in a session and in a test without a server: under a span of its own, what it says by
//! `tracing` goes to its log, and a panic is caught.

use tracing::Instrument as _;

use crate::{
    extract::Run,
    job_error::JobError,
    panic::{Caught, Panic},
    run_log::{SPAN, Within, within},
    service::{HandlerService, Output},
};

/// Calls the handler; a panic of its own is the outer error.
pub(crate) async fn perform(service: &HandlerService, run: Run) -> Result<Result<Output, JobError>, Panic> {
    let ctx = run.ctx().clone();
    // Made as a part of the run, so that the log finds the run by it.
    let span = within(ctx.reports(), || {
        tracing::info_span!(SPAN, run_id = ctx.run_id(), attempt = ctx.attempt(), job_type = ctx.job_type())
    });
    Within::new(ctx.reports().clone(), Caught(Box::pin(service.run(run)))).instrument(span).await
}
