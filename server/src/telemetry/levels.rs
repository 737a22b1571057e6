//! What is true now: set anew when the page is asked for.

use std::{cmp::Reverse, sync::atomic::AtomicU64};

use mainspring_engine::{domain::instant::Instant, ports::store::QueueLevel};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};

use super::OTHER;

/// So many queues have lines of their own, the deepest; the others share one.
const MOST_QUEUES: usize = 500;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Queue {
    namespace: String,
    queue: String,
}

/// The gauges.
#[derive(Debug, Default)]
pub(super) struct Levels {
    depth: Family<Queue, Gauge>,
    oldest: Family<Queue, Gauge<f64, AtomicU64>>,
    in_flight: Family<Queue, Gauge>,
    leases: Gauge,
    sessions: Gauge,
    waiting: Gauge,
    ready: Gauge,
}

impl Levels {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let levels = Self::default();
        registry.register("mainspring_queue_depth", "Runs that wait, by queue", levels.depth.clone());
        let help = "How long the oldest run of a queue has waited";
        registry.register("mainspring_queue_oldest_seconds", help, levels.oldest.clone());
        registry.register("mainspring_queue_in_flight", "Runs at workers, by queue", levels.in_flight.clone());
        registry.register("mainspring_leases", "Runs at workers", levels.leases.clone());
        registry.register("mainspring_worker_streams", "Worker streams that are open here", levels.sessions.clone());
        let help = "Batches that wait for the next transaction of the database";
        registry.register("mainspring_store_waiting_batches", help, levels.waiting.clone());
        registry.register("mainspring_ready", "1 where /readyz answers 200, else 0", levels.ready.clone());
        levels
    }

    pub(super) fn set_ready(&self, ready: bool) {
        self.ready.set(ready.into());
    }

    pub(super) fn set_sessions(&self, sessions: usize) {
        self.sessions.set(whole(sessions as u64));
    }

    pub(super) fn set_waiting(&self, batches: usize) {
        self.waiting.set(whole(batches as u64));
    }

    /// What queues hold at `now`. Queues that hold nothing are not there.
    pub(super) fn set_queues(&self, now: Instant, mut queues: Vec<QueueLevel>) {
        self.forget_queues();
        self.leases.set(whole(queues.iter().map(|level| level.in_flight).sum()));
        queues.sort_by_key(|level| Reverse(level.depth));
        let rest = queues.split_off(MOST_QUEUES.min(queues.len()));
        for QueueLevel { namespace, queue, depth, oldest, in_flight } in queues {
            let queue = Queue { namespace: namespace.as_str().into(), queue: queue.as_str().into() };
            self.set(queue, depth, in_flight, oldest.map(|oldest| now.since(oldest).as_secs_f64()));
        }
        if !rest.is_empty() {
            let (depth, in_flight) = rest
                .iter()
                .fold((0, 0), |(depth, in_flight), level| (depth + level.depth, in_flight + level.in_flight));
            let oldest = rest.iter().filter_map(|level| level.oldest).min();
            let queue = Queue { namespace: OTHER.into(), queue: OTHER.into() };
            self.set(queue, depth, in_flight, oldest.map(|oldest| now.since(oldest).as_secs_f64()));
        }
    }

    /// Nothing is known of queues: nothing is said of them.
    pub(super) fn forget_queues(&self) {
        self.depth.clear();
        self.oldest.clear();
        self.in_flight.clear();
    }

    fn set(&self, queue: Queue, depth: u64, in_flight: u64, oldest: Option<f64>) {
        self.depth.get_or_create(&queue).set(whole(depth));
        self.in_flight.get_or_create(&queue).set(whole(in_flight));
        self.oldest.get_or_create(&queue).set(oldest.unwrap_or_default());
    }
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
