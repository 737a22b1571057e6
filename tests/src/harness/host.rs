//! The machine under the tests: its clocks, its passing time, its tasks. The one place of the tests that has a now, a
//! sleep and a spawn.

use std::{future::Future, io::Read as _, pin::Pin, time::Duration};

use anyhow::{Context as _, Result};
use rustix::time::{ClockId, clock_gettime};
use tokio::task::JoinHandle;

/// Longer than anything here takes on a busy machine of two cores: whoever reaches it waits for something that will
/// not come.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Nanoseconds on the clock that all processes of this machine share, and that nobody can set.
pub fn monotonic() -> u64 {
    let reading = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(reading.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(reading.tv_nsec).unwrap_or(0)
}

/// Microseconds since the epoch, as the database counts them.
pub fn wall() -> i64 {
    let reading = clock_gettime(ClockId::Realtime);
    reading.tv_sec * 1_000_000 + reading.tv_nsec / 1_000
}

/// One moment on both clocks: read between two readings of the first that are close together.
pub fn both() -> (u64, i64) {
    loop {
        let (before, wall, after) = (monotonic(), wall(), monotonic());
        if after - before < 20_000 {
            return (before, wall);
        }
    }
}

/// Lets real time pass, because a rule under test is about real time; `why` names the rule.
#[expect(clippy::disallowed_methods, reason = "the tests' one home of time")]
pub async fn pass_time(length: Duration, why: &str) {
    debug_assert!(!why.is_empty());
    tokio::time::sleep(length).await;
}

/// Waits for an event, and fails with its name where it does not come in time.
#[expect(clippy::disallowed_methods, reason = "the tests' one home of time")]
pub async fn within<T>(limit: Duration, what: &str, event: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout(limit, event).await.with_context(|| format!("waited {limit:?} in vain for {what}"))
}

/// Ends this process with its parent, whose end of the stdin pipe closes in any case: a test that dies leaves nothing
/// behind.
#[expect(clippy::disallowed_methods, reason = "it blocks on stdin, and must not hold up the runtime's end")]
pub fn end_with_parent() {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(3);
    });
}

/// A task that ends, at the latest, with its handle.
#[derive(Debug)]
pub struct Task<T>(JoinHandle<T>);

impl<T> Task<T> {
    /// Waits for its end; the panic of a task is the panic of whoever waits.
    pub async fn ended(mut self) -> T {
        match Pin::new(&mut self.0).await {
            Ok(value) => value,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(error) => unreachable!("a task is cancelled only by dropping its handle: {error}"),
        }
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts a task.
#[expect(clippy::disallowed_methods, reason = "the tests' one home of tasks: they end with their handles")]
pub fn spawn<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Task<T> {
    Task(tokio::spawn(work))
}
