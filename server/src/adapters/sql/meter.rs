//! What the writer counts of itself.

use std::time::Duration;

use prometheus_client::metrics::histogram::Histogram;

const SECONDS: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 10.0];
const BATCHES: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];

/// Counts transactions. Cheap to clone; a clone counts into the same numbers.
#[derive(Clone, Debug)]
pub struct WriterMeter {
    /// How long they took, commit included.
    pub commits: Histogram,
    /// How many batches shared them.
    pub batches: Histogram,
}

impl Default for WriterMeter {
    fn default() -> Self {
        Self { commits: Histogram::new(SECONDS), batches: Histogram::new(BATCHES) }
    }
}

impl WriterMeter {
    pub(super) fn committed(&self, batches: usize, took: Duration) {
        self.commits.observe(took.as_secs_f64());
        self.batches.observe(u32::try_from(batches).unwrap_or(u32::MAX).into());
    }
}
