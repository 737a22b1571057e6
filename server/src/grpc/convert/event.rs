//! Events, for watchers.

use mainspring_engine::domain::{
    event::{Detail, Event, JobChange, SinkChange},
    filter::Value,
    instant::Instant,
    ledger::{Fate, FateReason, Range},
    retime::Retiming,
};
use mainspring_proto::scheduler::v1 as wire;

use super::{job, queue, run, time};

/// An event, without its cursor; none where it is for the server's own ears.
pub(crate) fn event(event: Event) -> Option<wire::Event> {
    let Event { time, namespace, detail } = event;
    let text = |worker: Option<mainspring_engine::domain::ids::WorkerId>| {
        worker.map(|worker| worker.to_string()).unwrap_or_default()
    };
    let (topic, detail) = match detail {
        Detail::Logs { run: _ } => return None,
        Detail::Run { run: id, job, job_type, queue, state, attempt, reason, worker, dead } => (
            wire::EventTopic::Runs,
            wire::event::Detail::Run(wire::RunEvent {
                run_id: id.to_string(),
                job: job.map(String::from).unwrap_or_default(),
                job_type,
                queue: queue.into(),
                state: run::run_state(state),
                attempt,
                reason,
                worker_id: text(worker),
                fingerprint: dead.as_ref().map(|dead| dead.fingerprint.into()).unwrap_or_default(),
                message: dead.map(|dead| dead.message).unwrap_or_default(),
            }),
        ),
        Detail::Progress { run: id, job, job_type, queue, attempt, worker, progress } => (
            wire::EventTopic::Progress,
            wire::event::Detail::Progress(wire::ProgressEvent {
                run_id: id.to_string(),
                attempt,
                progress: Some(run::progress(progress)),
                job: job.map(String::from).unwrap_or_default(),
                job_type,
                queue: queue.into(),
                worker_id: worker.to_string(),
            }),
        ),
        Detail::Job { job: name, state, version, change, note } => (
            wire::EventTopic::Jobs,
            wire::event::Detail::Job(wire::JobEvent {
                job: name.into(),
                state: state.map_or(0, job::job_state),
                version,
                change: job_change(change).into(),
                note,
            }),
        ),
        Detail::Schedule { job, schedule, range } => {
            let Range { version: _, first, last, count, fate, reason } = range;
            let change = if fate == Fate::Error { wire::ScheduleChange::Error } else { wire::ScheduleChange::Missed };
            let event = wire::ScheduleEvent {
                job: job.into(),
                schedule: schedule.into(),
                change: change.into(),
                reason: reason.map_or(0, FateReason::code),
                first_time: Some(time::timestamp(first)),
                last_time: Some(time::timestamp(last)),
                count: i64::try_from(count).unwrap_or(i64::MAX),
                retimed: None,
            };
            (wire::EventTopic::Schedules, wire::event::Detail::Schedule(event))
        }
        Detail::Retimed { job, schedule, retiming } => {
            let Retiming { from, to, before, after } = retiming;
            let times = |instants: Vec<Instant>| instants.into_iter().map(time::timestamp).collect();
            let event = wire::ScheduleEvent {
                job: job.into(),
                schedule: schedule.into(),
                change: wire::ScheduleChange::Retimed.into(),
                retimed: Some(wire::Retiming {
                    from_zone_data_version: from,
                    to_zone_data_version: to,
                    before: times(before),
                    after: times(after),
                }),
                ..wire::ScheduleEvent::default()
            };
            (wire::EventTopic::Schedules, wire::event::Detail::Schedule(event))
        }
        Detail::NeverFires { job, schedule } => {
            let (job, schedule) = (job.into(), schedule.into());
            let (change, reason) = (wire::ScheduleChange::Error.into(), wire::FateReason::NeverFires.into());
            let event = wire::ScheduleEvent { job, schedule, change, reason, ..Default::default() };
            (wire::EventTopic::Schedules, wire::event::Detail::Schedule(event))
        }
        Detail::Sink { sink, change, delivery, attempts, error } => {
            let change = match change {
                SinkChange::DeliveryFailed => wire::SinkChange::DeliveryFailed,
                SinkChange::Disabled => wire::SinkChange::Disabled,
            };
            let event = wire::SinkEvent {
                sink: sink.into(),
                change: change.into(),
                delivery_id: delivery.to_string(),
                attempts: i32::try_from(attempts).unwrap_or(i32::MAX),
                error,
            };
            (wire::EventTopic::Sinks, wire::event::Detail::Sink(event))
        }
        Detail::Worker { worker, name, status } => (
            wire::EventTopic::Workers,
            wire::event::Detail::Worker(wire::WorkerEvent {
                worker_id: worker.to_string(),
                name,
                state: queue::worker_status(status),
            }),
        ),
        Detail::Clock { server, from, to } => {
            let event = wire::ServerEvent {
                server_id: server.to_string(),
                change: wire::ServerChange::ClockJumped.into(),
                from_time: Some(time::timestamp(from)),
                to_time: Some(time::timestamp(to)),
            };
            (wire::EventTopic::Servers, wire::event::Detail::Server(event))
        }
        Detail::Queue { queue, paused } => {
            (wire::EventTopic::Queues, wire::event::Detail::Queue(wire::QueueEvent { queue: queue.into(), paused }))
        }
    };
    Some(wire::Event {
        cursor: String::new(),
        event_time: Some(time::timestamp(time)),
        topic: topic.into(),
        namespace: namespace.map(String::from).unwrap_or_default(),
        detail: Some(detail),
    })
}

fn job_change(change: JobChange) -> wire::JobChange {
    match change {
        JobChange::Created => wire::JobChange::Created,
        JobChange::Updated => wire::JobChange::Updated,
        JobChange::Paused => wire::JobChange::Paused,
        JobChange::Resumed => wire::JobChange::Resumed,
        JobChange::Completed => wire::JobChange::Completed,
        JobChange::Failed => wire::JobChange::Failed,
        JobChange::Deleted => wire::JobChange::Deleted,
        JobChange::Undeleted => wire::JobChange::Undeleted,
        JobChange::AutoDisabled => wire::JobChange::AutoDisabled,
        JobChange::BackfillEnded => wire::JobChange::BackfillEnded,
    }
}

/// What an event names, for the filter of a watcher.
pub(crate) fn field(detail: &Detail, field: &str) -> Option<Value> {
    let text = |text: &str| Some(Value::Text(text.to_owned()));
    let (job_name, run_id, kind, lane, worker_id, state) = match detail {
        Detail::Run { run, job, job_type, queue, state, attempt: _, reason: _, worker, dead: _ } => {
            (job.as_ref(), Some(*run), Some(job_type), Some(queue), *worker, Some(*state))
        }
        Detail::Progress { run, job, job_type, queue, attempt: _, worker, progress: _ } => {
            (job.as_ref(), Some(*run), Some(job_type), Some(queue), Some(*worker), None)
        }
        Detail::Logs { run } => (None, Some(*run), None, None, None, None),
        Detail::Job { job, state: _, version: _, change: _, note: _ }
        | Detail::Schedule { job, schedule: _, range: _ }
        | Detail::NeverFires { job, schedule: _ }
        | Detail::Retimed { job, schedule: _, retiming: _ } => (Some(job), None, None, None, None, None),
        Detail::Clock { server: _, from: _, to: _ }
        | Detail::Sink { sink: _, change: _, delivery: _, attempts: _, error: _ } => {
            (None, None, None, None, None, None)
        }
        Detail::Worker { worker, name: _, status: _ } => (None, None, None, None, Some(*worker), None),
        Detail::Queue { queue, paused: _ } => (None, None, None, Some(queue), None, None),
    };
    match field {
        "job" => job_name.and_then(|name| text(name.as_str())),
        "run_id" => run_id.and_then(|run| text(&run.to_string())),
        "job_type" => kind.and_then(|kind| text(kind)),
        "queue" => lane.and_then(|queue| text(queue.as_str())),
        "worker_id" => worker_id.and_then(|worker| text(&worker.to_string())),
        "state" => state.map(|state| Value::Number(state.code().into())),
        _ => None,
    }
}

/// Nothing happened; the cursor moved.
pub(crate) fn bookmark(time: Instant, namespace: String, cursor: String) -> wire::Event {
    wire::Event {
        cursor,
        event_time: Some(time::timestamp(time)),
        topic: wire::EventTopic::Bookmark.into(),
        namespace,
        detail: Some(wire::event::Detail::Bookmark(wire::BookmarkEvent {})),
    }
}
