//! The worker of the benchmark: the SDK, and handlers that do nothing but look at the clock.
//!
//! stdout tells the stage what it waits for: `up` once there is a session, then `handled JSON` ([`Handled`]) when as
//! many runs were handled as it was started for.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use anyhow::Result;
use mainspring_worker::{Ctx, JobError, Observed, Payload, Worker};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::{
    figures::{Percentiles, millis},
    load::{BACKLOG, BY_THE_CLOCK, NOOP, SINCE_SENT, Stamp},
};
use crate::harness::host;

/// What the worker saw.
#[derive(Debug, Deserialize, Serialize)]
pub struct Handled {
    /// How many runs.
    pub count: u64,
    /// From the first to the last of them, in ms.
    pub took: f64,
    /// How long after its stamp each began, in ms; empty for runs without a stamp.
    pub delay: Percentiles,
}

#[derive(Debug)]
struct Tally {
    expected: u64,
    handled: AtomicU64,
    /// When the first was.
    first: OnceLock<u64>,
    delays: Mutex<Vec<u64>>,
}

impl Tally {
    fn delayed(&self, nanos: u64) {
        self.delays.lock().push(nanos);
        self.handled();
    }

    fn handled(&self) {
        let first = *self.first.get_or_init(host::monotonic);
        if self.handled.fetch_add(1, Relaxed) + 1 == self.expected {
            let delay = Percentiles::of_nanos(self.delays.lock().clone());
            let told = Handled { count: self.expected, took: millis(host::monotonic() - first), delay };
            println!("handled {}", serde_json::to_string(&told).unwrap_or_default());
        }
    }
}

/// Works until a signal, or until stdin ends: a benchmark that dies leaves no worker behind.
pub async fn run(slots: u32, expected: u64) -> Result<()> {
    let tally =
        Arc::new(Tally { expected, handled: AtomicU64::new(0), first: OnceLock::new(), delays: Mutex::default() });
    let (noop, sent, backlog, clock) = (tally.clone(), tally.clone(), tally.clone(), tally);
    Worker::from_env()?
        .slots(slots)
        .observe(|event| {
            if let Observed::Session { up: true, .. } = event {
                println!("up");
            }
        })
        .handle(NOOP, move |_ctx: Ctx| {
            let tally = noop.clone();
            async move {
                tally.handled();
                Ok::<_, JobError>(())
            }
        })
        .handle(SINCE_SENT, move |Payload(stamp): Payload<Stamp>| {
            sent.delayed(host::monotonic().saturating_sub(stamp.at));
            async { Ok::<_, JobError>(()) }
        })
        .handle(BACKLOG, move |Payload(stamp): Payload<Stamp>| {
            match stamp.at {
                0 => backlog.handled(),
                at => backlog.delayed(host::monotonic().saturating_sub(at)),
            }
            async { Ok::<_, JobError>(()) }
        })
        .handle(BY_THE_CLOCK, move |Payload(stamp): Payload<Stamp>| {
            let now = u64::try_from(host::wall()).unwrap_or_default() * 1_000;
            clock.delayed(now.saturating_sub(stamp.at));
            async { Ok::<_, JobError>(()) }
        })
        .run_until_signal()
        .await?;
    Ok(())
}
