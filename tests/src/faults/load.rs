//! The load: submissions at a rate, by a client that writes down what it knows.
//!
//! It behaves as a careful client does. Where it cannot know whether a call had an effect it mostly calls again with the
//! same request id, and sometimes gives up; a few calls it makes twice for no reason. Of what it submitted it cancels a
//! share, at once or a while later.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use mainspring_proto::scheduler::v1::RunSubmission;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;
use tokio::sync::watch;
use tonic::Code;

use crate::harness::{
    client::{Client, is_away, work},
    host::{self, Task},
    journal::Journal,
};

/// How long one call may take before its result counts as unknown.
const CALL: Duration = Duration::from_secs(5);
/// The share of runs that are cancelled.
const CANCELLED: f64 = 0.1;
/// How many times a request is tried.
const TRIES: u32 = 100;

/// What is submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mix {
    /// Mostly short, some long, some failing.
    Everything,
    /// Long enough to be under way when a stream breaks.
    Long,
}

/// What was done so far.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) sent: AtomicU64,
    pub(super) acked: AtomicU64,
    pub(super) unknown: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) cancelled: AtomicU64,
}

/// A load that runs until it is stopped.
pub(super) struct Load {
    stop: watch::Sender<bool>,
    task: Task<()>,
    pub(super) counts: Arc<Counts>,
}

/// What every request needs.
#[derive(Clone)]
struct Caller {
    client: Client,
    journal: Journal,
    counts: Arc<Counts>,
}

impl Load {
    /// Begins to submit.
    pub(super) fn start(client: Client, journal: Journal, rate: u32, seed: u64, mix: Mix) -> Self {
        let counts = Arc::<Counts>::default();
        let (stop, stopped) = watch::channel(false);
        let caller = Caller { client, journal, counts: counts.clone() };
        Self { stop, task: host::spawn(drive(caller, rate.max(1), seed, mix, stopped)), counts }
    }

    /// Submits nothing new; returns once every request was answered or given up.
    pub(super) async fn stop(self) {
        self.stop.send_replace(true);
        self.task.ended().await;
    }
}

async fn drive(caller: Caller, rate: u32, seed: u64, mix: Mix, mut stopped: watch::Receiver<bool>) {
    let begin = host::monotonic();
    let mut requests = FuturesUnordered::new();
    let mut number = 0;
    loop {
        let due = begin + number * 1_000_000_000 / u64::from(rate);
        let wait = Duration::from_nanos(due.saturating_sub(host::monotonic()));
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => break,
            Some(()) = requests.next() => {}
            () = host::pass_time(wait, "the rate of the load") => {
                requests.push(request(caller.clone(), seed, number, mix));
                number += 1;
            }
        }
    }
    while requests.next().await.is_some() {}
}

/// One request, until its answer is known or it is given up.
async fn request(caller: Caller, seed: u64, number: u64, mix: Mix) {
    let mut rng = StdRng::seed_from_u64(seed.wrapping_mul(1 << 32) ^ number);
    let id = format!("load-{seed}-{number}");
    let (run, takes) = submission(&mut rng, mix);
    let run = RunSubmission { request_id: id.clone(), ..run };
    // At once, or while it may run.
    let moment = rng.random_range(0..=takes) * u64::from(rng.random_bool(0.8));
    let cancelled_after = rng.random_bool(CANCELLED).then(|| Duration::from_millis(moment));
    let mut again = rng.random_bool(0.02);
    for _ in 0..TRIES {
        caller.note(json!({"e": "SENT", "request": id, "max_attempts": 3, "max_losses": 3}));
        caller.counts.sent.fetch_add(1, Relaxed);
        let error = match host::within(CALL, "an answer", caller.client.submit(run.clone())).await {
            Ok(Ok(run)) => {
                caller.note(json!({"e": "ACKED", "request": id, "run": run}));
                caller.counts.acked.fetch_add(1, Relaxed);
                if !again {
                    if let Some(wait) = cancelled_after {
                        cancel(&caller, &run, wait, &mut rng).await;
                    }
                    return;
                }
                again = false;
                continue;
            }
            Ok(Err(status)) if is_away(&status) || status.code() == Code::ResourceExhausted => status.to_string(),
            Ok(Err(status)) => {
                caller.note(json!({"e": "REFUSED", "request": id, "error": status.to_string()}));
                caller.counts.refused.fetch_add(1, Relaxed);
                return;
            }
            Err(late) => late.to_string(),
        };
        caller.note(json!({"e": "UNKNOWN", "request": id, "error": error}));
        caller.counts.unknown.fetch_add(1, Relaxed);
        if rng.random_bool(0.1) {
            return;
        }
        let wait = Duration::from_millis(rng.random_range(20..300));
        host::pass_time(wait, "a client does not call again at once").await;
    }
}

/// Cancels a run, until that is acknowledged: a client that was told nothing asks again.
async fn cancel(caller: &Caller, run: &str, wait: Duration, rng: &mut StdRng) {
    host::pass_time(wait, "a run is cancelled at any moment of its life").await;
    for _ in 0..TRIES {
        caller.note(json!({"e": "CANCEL", "run": run}));
        match host::within(CALL, "an answer", caller.client.cancel(run)).await {
            Ok(Ok(state)) => {
                caller.note(json!({"e": "CANCELLED", "run": run, "state": state}));
                caller.counts.cancelled.fetch_add(1, Relaxed);
                return;
            }
            Ok(Err(status)) if !is_away(&status) => {
                caller.note(json!({"e": "REFUSED", "run": run, "error": status.to_string()}));
                caller.counts.refused.fetch_add(1, Relaxed);
                return;
            }
            Ok(Err(_)) | Err(_) => {}
        }
        let wait = Duration::from_millis(rng.random_range(20..300));
        host::pass_time(wait, "a client does not call again at once").await;
    }
}

impl Caller {
    fn note(&self, event: serde_json::Value) {
        self.journal.note(event).expect("without a journal the load proves nothing");
    }
}

/// A run, and how many milliseconds it takes by itself.
fn submission(rng: &mut StdRng, mix: Mix) -> (RunSubmission, u64) {
    let sleep = |ms: u64| (work("t.sleep", &json!({"ms": ms})), ms);
    let short = |job_type| (work(job_type, &json!(null)), 0);
    match (mix, rng.random_range(0..100)) {
        (Mix::Long, _) => sleep(rng.random_range(300..3_000)),
        (Mix::Everything, 0..60) => short("t.noop"),
        (Mix::Everything, 60..90) => sleep(rng.random_range(20..1_500)),
        (Mix::Everything, 90..96) => short("t.flaky"),
        (Mix::Everything, _) => short("t.fail"),
    }
}
