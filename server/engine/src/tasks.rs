//! The one home of spawned tasks: each has a name, and its end is awaited.
//!
//! The server's wiring owns one [`Tasks`]; every loop of the engine, every batcher and every session runs in it. A task
//! that panics takes the process down in order: half a server is worse than none, since others would take over.

use std::future::Future;

use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

/// Spawns named tasks and awaits their ends.
#[derive(Clone, Debug)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
    broken: CancellationToken,
}

impl Default for Tasks {
    fn default() -> Self {
        Self { tracker: TaskTracker::new(), stop: CancellationToken::new(), broken: CancellationToken::new() }
    }
}

impl Tasks {
    /// Runs `task` until its end. It should end soon after [`Tasks::stopping`].
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let alarm = Alarm { name, broken: self.broken.clone(), armed: true };
        #[expect(clippy::disallowed_methods, reason = "this is the one home of spawned tasks")]
        let spawned = tokio::spawn(
            self.tracker.track_future(
                async move {
                    let mut alarm = alarm;
                    task.await;
                    alarm.armed = false;
                }
                .instrument(tracing::debug_span!("task", name)),
            ),
        );
        drop(spawned);
    }

    /// Asks every task to end.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Returns once [`Tasks::stop`] was called.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// Whether [`Tasks::stop`] was called.
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// A token for parts that want to hear of the stop by themselves.
    pub fn token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Returns if a task panicked.
    pub async fn broken(&self) {
        self.broken.cancelled().await;
    }

    /// Returns once every task has ended.
    pub async fn ended(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}

/// Raises the alarm when a task unwinds.
struct Alarm {
    name: &'static str,
    broken: CancellationToken,
    armed: bool,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if self.armed && std::thread::panicking() {
            tracing::error!(task = self.name, "a task panicked; the server stops");
            self.broken.cancel();
        }
    }
}
