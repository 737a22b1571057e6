//! Queues, workers and job types, for people.

use std::{num::NonZeroU32, time::Duration};

use mainspring_engine::{
    domain::{
        rate::Rate,
        worker::{Capacity, WorkerStatus},
    },
    ports::store::{Announcement, Announcer, JobTypeView, QueueView, WorkerView},
};
use mainspring_proto::scheduler::v1 as wire;

use super::{Check, time};
use crate::schemas::difference;

/// The fields of a queue that an update may name.
pub(crate) const MUTABLE: &[&str] = &["concurrency_limit", "rate_limit"];

/// Numbers of a rate are at most so large.
const MOST: i32 = 1_000_000;
/// The lengths a rate may have.
const LENGTHS: std::ops::RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(31 * 86_400);

impl Check {
    /// A rate.
    pub(crate) fn rate(&mut self, limit: wire::RateLimit) -> Option<Rate> {
        let wire::RateLimit { count, per, burst } = limit;
        let count = u32::try_from(self.within("count", count, 1..=MOST)).ok();
        let burst = u32::try_from(self.within("burst", burst, 0..=MOST)).ok();
        let per = self.length("per", per).unwrap_or_default();
        if !LENGTHS.contains(&per) {
            self.refuse("per", "must be from 1 ms to 31 days");
        }
        let burst = NonZeroU32::new(burst?).unwrap_or(NonZeroU32::MIN);
        Some(Rate { count: NonZeroU32::new(count?)?, per, burst })
    }
}

/// A rate, for people.
pub(crate) fn rate_limit(rate: Rate) -> wire::RateLimit {
    let Rate { count, per, burst } = rate;
    let small = |number: NonZeroU32| i32::try_from(number.get()).unwrap_or(i32::MAX);
    wire::RateLimit { count: small(count), per: Some(time::duration(per)), burst: small(burst) }
}

/// A queue.
pub(crate) fn queue(view: QueueView) -> wire::Queue {
    let QueueView {
        namespace,
        queue,
        paused,
        pause_note,
        concurrency_limit,
        rate,
        depth,
        oldest_queue_time,
        in_flight,
        revision,
    } = view;
    wire::Queue {
        namespace: namespace.into(),
        queue: queue.into(),
        paused,
        pause_note,
        concurrency_limit: count(concurrency_limit),
        depth: whole(depth),
        oldest_queue_time: oldest_queue_time.map(time::timestamp),
        in_flight: whole(in_flight),
        etag: revision.to_string(),
        rate_limit: rate.map(rate_limit),
    }
}

/// A worker.
pub(crate) fn worker(view: WorkerView) -> wire::Worker {
    let WorkerView {
        worker,
        name,
        namespace,
        labels,
        sdk,
        build_id,
        server,
        status,
        job_types,
        capacity,
        in_flight,
        connect_time,
        last_heartbeat_time,
        lease_expire_time,
    } = view;
    wire::Worker {
        worker_id: worker.to_string(),
        name,
        namespace: namespace.into(),
        labels,
        sdk,
        build_id,
        server_id: server.map(|server| server.to_string()).unwrap_or_default(),
        state: worker_status(status),
        job_types: job_types.into_iter().map(String::from).collect(),
        capacity: capacities(&capacity, &in_flight),
        connect_time: Some(time::timestamp(connect_time)),
        last_heartbeat_time: Some(time::timestamp(last_heartbeat_time)),
        lease_expire_time: Some(time::timestamp(lease_expire_time)),
    }
}

/// One entry per queue that the worker takes from or still holds something of.
fn capacities(capacity: &Capacity, in_flight: &Capacity) -> Vec<wire::WorkerCapacity> {
    let queues: std::collections::BTreeSet<_> = capacity.keys().chain(in_flight.keys()).collect();
    let of = |numbers: &Capacity, queue| count(numbers.get(queue).copied().unwrap_or(0));
    queues
        .into_iter()
        .map(|queue| wire::WorkerCapacity {
            queue: queue.to_string(),
            max_in_flight: of(capacity, queue),
            in_flight: of(in_flight, queue),
        })
        .collect()
}

/// A job type.
pub(crate) fn job_type(view: JobTypeView) -> wire::JobType {
    let JobTypeView {
        namespace,
        job_type,
        description,
        input_schema,
        output_schema,
        queues,
        connected_workers,
        announce_time,
        announcements,
    } = view;
    let schema_drift = announcements.len() > 1;
    let announcements =
        announcements.into_iter().map(|other| announcement(other, (&input_schema, &output_schema))).collect();
    wire::JobType {
        namespace: namespace.into(),
        job_type: job_type.into(),
        description,
        input_schema,
        output_schema,
        queues: queues.into_iter().map(String::from).collect(),
        connected_workers: count(connected_workers),
        announce_time: Some(time::timestamp(announce_time)),
        schema_drift,
        announcements,
    }
}

/// What workers announce, beside what is `current`: (input, output).
fn announcement(announcement: Announcement, current: (&str, &str)) -> wire::SchemaAnnouncement {
    let Announcement { fingerprint, announce_time, input_schema, output_schema, worker_count, workers } = announcement;
    wire::SchemaAnnouncement {
        fingerprint,
        announce_time: Some(time::timestamp(announce_time)),
        worker_count: count(worker_count),
        workers: workers
            .into_iter()
            .map(|Announcer { worker, name, build_id, sdk, connect_time }| wire::AnnouncingWorker {
                worker_id: worker.to_string(),
                worker_name: name,
                build_id,
                sdk,
                connect_time: Some(time::timestamp(connect_time)),
            })
            .collect(),
        difference: difference(current, (&input_schema, &output_schema)),
    }
}

/// The codes are those of the contract; a test holds them together.
pub(crate) fn worker_status(status: WorkerStatus) -> i32 {
    status.code()
}

fn count(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_have_the_codes_of_the_contract() {
        for status in WorkerStatus::ALL {
            let name = wire::WorkerState::try_from(worker_status(status)).unwrap().as_str_name();
            assert_eq!(name, format!("WORKER_STATE_{}", format!("{status:?}").to_ascii_uppercase()));
        }
    }

    #[test]
    fn a_queue_that_is_only_held_from_is_shown() {
        let queue = |name: &str| name.parse().unwrap();
        let shown = capacities(&[(queue("a"), 2)].into(), &[(queue("b"), 1)].into());
        let numbers: Vec<_> = shown.iter().map(|c| (c.queue.as_str(), c.max_in_flight, c.in_flight)).collect();
        assert_eq!(numbers, [("a", 2, 0), ("b", 0, 1)]);
    }
}
