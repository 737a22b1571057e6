//! The only place where tasks begin. Every task has a name, and whoever starts one keeps its handle.

use std::future::Future;

use tokio::{runtime::Handle, task::JoinHandle};
use tracing::Instrument as _;

/// Starts `work` on `runtime`, under a span that carries its name. No other is around it: who starts a task may be at work
/// for another run.
#[expect(clippy::disallowed_methods, reason = "this is the one home of spawned tasks")]
pub(crate) fn spawn<T: Send + 'static>(
    runtime: &Handle,
    name: &'static str,
    work: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    runtime.spawn(work.instrument(tracing::debug_span!(parent: None, "task", name)))
}
