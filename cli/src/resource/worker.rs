//! What a person sees of a worker.

use mainspring_proto::scheduler::v1::{Worker, WorkerState};

use super::{Resource, word};
use crate::output::{Cell, Tone};

impl Resource for Worker {
    const COLUMNS: &'static [&'static str] =
        &["WORKER", "NAME", "STATE", "IN-FLIGHT", "SLOTS", "TYPES", "SDK", "CONNECTED", "HEARD"];

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
            Cell::text(self.job_types.join(",")),
            Cell::text(&self.sdk),
            Cell::time(self.connect_time.as_ref()),
            Cell::time(self.last_heartbeat_time.as_ref()),
        ]
    }
}
