//! The only clocks, the only pause and the only bounded wait of the command line.
//!
//! Nothing here decides anything about runs: the server's clock does. This one dates tables ("3m ago"), turns
//! `--delay` into an instant and spaces attempts to reach a server that is away.

use std::time::Duration;

use jiff::Timestamp;
pub(crate) use tokio::time::Instant;

/// The host's time.
#[expect(clippy::disallowed_methods, reason = "the CLI's one wall clock")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// A time that only grows: how long a server has been away.
pub(crate) fn tick() -> Instant {
    Instant::now()
}

/// Waits before a connection is tried again.
#[expect(clippy::disallowed_methods, reason = "the CLI's one pause; nothing polls with it")]
pub(crate) async fn pause(length: Duration) {
    tokio::time::sleep(length).await;
}

/// Gives work so long; `None` where that was not enough.
#[expect(clippy::disallowed_methods, reason = "the CLI's one bounded wait")]
pub(crate) async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(limit, work).await.ok()
}
