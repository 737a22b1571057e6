//! What a person sees of a queue and of a job type.

use std::collections::BTreeSet;

use mainspring_proto::scheduler::v1::{AnnouncingWorker, JobType, Queue, SchemaAnnouncement};

use super::Resource;
use crate::{
    output::{Cell, Tone},
    rate,
};

impl Resource for Queue {
    const COLUMNS: &'static [&'static str] =
        &["QUEUE", "STATE", "WAITING", "OLDEST", "IN-FLIGHT", "LIMIT", "RATE", "NOTE"];

    fn row(&self) -> Vec<Cell> {
        let state = if self.paused { ("paused", Tone::Quiet) } else { ("open", Tone::Good) };
        let limit = if self.concurrency_limit == 0 { Cell::text("") } else { Cell::of(self.concurrency_limit) };
        vec![
            Cell::text(&self.queue),
            Cell::Word(state.0.into(), state.1),
            Cell::of(self.depth),
            Cell::time(self.oldest_queue_time.as_ref()),
            Cell::of(self.in_flight),
            limit,
            Cell::text(self.rate_limit.as_ref().map(rate::told).unwrap_or_default()),
            Cell::text(&self.pause_note),
        ]
    }

    fn page(&self) -> Vec<(&'static str, Cell)> {
        const NAMES: [&str; 8] = ["queue", "state", "waiting", "oldest", "in flight", "limit", "rate", "note"];
        NAMES.into_iter().zip(self.row()).collect()
    }
}

impl Resource for JobType {
    const COLUMNS: &'static [&'static str] = &["TYPE", "WORKERS", "QUEUES", "ANNOUNCED", "SCHEMA", "DESCRIPTION"];

    fn row(&self) -> Vec<Cell> {
        let schema = match (self.schema_drift, self.input_schema.is_empty()) {
            (true, _) => Cell::Word("drift".into(), Tone::Bad),
            (false, true) => Cell::text(""),
            (false, false) => Cell::text("yes"),
        };
        vec![
            Cell::text(&self.job_type),
            Cell::of(self.connected_workers),
            Cell::text(self.queues.join(",")),
            Cell::time(self.announce_time.as_ref()),
            schema,
            Cell::text(&self.description),
        ]
    }

    fn page(&self) -> Vec<(&'static str, Cell)> {
        const NAMES: [&str; 6] = ["type", "workers", "queues", "announced", "schema", "description"];
        NAMES.into_iter().zip(self.row()).collect()
    }
}

impl Resource for SchemaAnnouncement {
    const COLUMNS: &'static [&'static str] = &["SCHEMAS", "SINCE", "WORKERS", "NAMES", "BUILDS", "DIFFERENCE"];

    fn row(&self) -> Vec<Cell> {
        let of_workers = |word: fn(&AnnouncingWorker) -> &str| {
            let words: BTreeSet<_> = self.workers.iter().map(word).filter(|word| !word.is_empty()).collect();
            Cell::text(words.into_iter().collect::<Vec<_>>().join(","))
        };
        vec![
            Cell::text(&self.fingerprint),
            Cell::time(self.announce_time.as_ref()),
            Cell::of(self.worker_count),
            of_workers(|worker| &worker.worker_name),
            of_workers(|worker| &worker.build_id),
            Cell::text(if self.difference.is_empty() { "the last word" } else { &self.difference }),
        ]
    }
}
