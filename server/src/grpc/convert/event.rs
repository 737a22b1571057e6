//! Events, for watchers.

use mainspring_engine::domain::event::{Detail, Event};
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
        Detail::Run { run: id, job, job_type, queue, state, attempt, reason, worker } => (
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
            }),
        ),
        Detail::Progress { run: id, attempt, progress } => (
            wire::EventTopic::Progress,
            wire::event::Detail::Progress(wire::ProgressEvent {
                run_id: id.to_string(),
                attempt,
                progress: Some(run::progress(progress)),
            }),
        ),
        Detail::Job { job: name, state, version, change } => (
            wire::EventTopic::Jobs,
            wire::event::Detail::Job(wire::JobEvent {
                job: name.into(),
                state: state.map_or(0, job::job_state),
                version,
                change: change.into(),
            }),
        ),
        Detail::Worker { worker, name, status } => (
            wire::EventTopic::Workers,
            wire::event::Detail::Worker(wire::WorkerEvent {
                worker_id: worker.to_string(),
                name,
                state: queue::worker_status(status),
            }),
        ),
        Detail::Queue { queue, paused } => {
            (wire::EventTopic::Queues, wire::event::Detail::Queue(wire::QueueEvent { queue: queue.into(), paused }))
        }
    };
    Some(wire::Event {
        cursor: String::new(),
        event_time: Some(time::timestamp(time)),
        topic: topic.into(),
        namespace: namespace.into(),
        detail: Some(detail),
    })
}

/// Nothing happened; the cursor moved.
pub(crate) fn bookmark(
    time: mainspring_engine::domain::instant::Instant,
    namespace: String,
    cursor: String,
) -> wire::Event {
    wire::Event {
        cursor,
        event_time: Some(time::timestamp(time)),
        topic: wire::EventTopic::Bookmark.into(),
        namespace,
        detail: Some(wire::event::Detail::Bookmark(wire::BookmarkEvent {})),
    }
}
