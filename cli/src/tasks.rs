//! The only place where a task is spawned. Whoever starts one awaits its end.

use tokio::task::JoinHandle;

/// Starts a task of `dev`: its name is what a failure of it is called.
#[expect(clippy::disallowed_methods, reason = "the CLI's one spawn; the caller keeps the handle and awaits it")]
pub(crate) fn spawn<F>(name: &'static str, task: F) -> Task<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    Task { name, handle: tokio::spawn(task) }
}

/// A task that runs beside the command.
#[derive(Debug)]
pub(crate) struct Task<T> {
    name: &'static str,
    handle: JoinHandle<T>,
}

impl<T> Task<T> {
    /// Waits for its end; `None` where it panicked, which is told.
    pub(crate) async fn end(self) -> Option<T> {
        match self.handle.await {
            Ok(output) => Some(output),
            Err(error) => {
                tracing::error!(task = self.name, %error, "a task of the command line died");
                None
            }
        }
    }
}
