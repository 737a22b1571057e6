//! What a person sees of a worker.

use mainspring_proto::scheduler::v1::{Worker, WorkerCapacity, WorkerState};

use super::{Resource, pairs, word};
use crate::output::{Cell, Tone};

impl Resource for Worker {
    const COLUMNS: &'static [&'static str] = &["WORKER", "NAME", "STATE", "IN-FLIGHT", "SLOTS", "HEARD", "TYPES"];

    fn row(&self) -> Vec<Cell> {
        let tone = match self.state() {
            WorkerState::Connected => Tone::Good,
            WorkerState::Draining => Tone::Busy,
            WorkerState::Disconnected | WorkerState::Lost => Tone::Bad,
            WorkerState::Unspecified | WorkerState::Gone => Tone::Quiet,
        };
        let slots: i64 = self.capacity.iter().map(|capacity| i64::from(capacity.max_in_flight)).sum();
        let in_flight: i64 = self.capacity.iter().map(|capacity| i64::from(capacity.in_flight)).sum();
        vec![
            Cell::text(&self.worker_id),
            Cell::text(&self.name),
            Cell::Word(word(self.state().as_str_name(), "WORKER_STATE_"), tone),
            Cell::of(in_flight),
            Cell::of(slots),
            Cell::time(self.last_heartbeat_time.as_ref()),
            // Last, since there may be many.
            Cell::text(self.job_types.join(",")),
        ]
    }

    const WIDE: &'static [&'static str] = &["SDK", "CONNECTED", "QUEUES", "BUILD", "LABELS", "SERVER", "LEASE ENDS"];

    fn wide(&self) -> Vec<Cell> {
        vec![
            Cell::text(&self.sdk),
            Cell::time(self.connect_time.as_ref()),
            Cell::text(queues(&self.capacity)),
            Cell::text(&self.build_id),
            Cell::text(pairs(&self.labels)),
            Cell::text(&self.server_id),
            Cell::time(self.lease_expire_time.as_ref()),
        ]
    }

    fn page(&self) -> Vec<(&'static str, Cell)> {
        const NAMES: [&str; 14] = [
            "worker",
            "name",
            "state",
            "in flight",
            "slots",
            "heard",
            "types",
            "sdk",
            "connected",
            "queues",
            "build",
            "labels",
            "server",
            "lease ends",
        ];
        NAMES.into_iter().zip(self.row().into_iter().chain(self.wide())).collect()
    }
}

/// What it has of each queue, and what it takes at most.
fn queues(capacity: &[WorkerCapacity]) -> String {
    let shown = capacity.iter().map(|of| format!("{} {}/{}", of.queue, of.in_flight, of.max_in_flight));
    shown.collect::<Vec<_>>().join(", ")
}
