//! `QueueService`: queues, workers and the job types they announce.

use mainspring_engine::{
    domain::{
        filter::{Field, Kind},
        ids::WorkerId,
        names::{QueueName, Scope},
        worker::Drain,
    },
    ports::store::{Direction, QueueChange, QueueSettings},
};
use mainspring_proto::scheduler::v1::{self as wire, queue_service_server::QueueService};
use tonic::Request;

use super::{
    Answer, Api, answer,
    convert::{
        self, MAX_NOTE,
        queue::{MUTABLE, job_type, worker},
    },
    filter,
    status::{Reason, Refusal},
};

/// What a list of queues may be narrowed by.
const QUEUE_FIELDS: &[Field] = &[
    Field { name: "queue", kind: Kind::Text },
    Field { name: "paused", kind: Kind::Bool },
    Field { name: "concurrency_limit", kind: Kind::Number },
];

const WORKER_STATES: &[(&str, i64)] =
    &[("CONNECTED", 1), ("DISCONNECTED", 2), ("DRAINING", 3), ("LOST", 4), ("GONE", 5)];

/// What a list of workers may be narrowed by. Of its job types and queues a worker has to have one that passes.
const WORKER_FIELDS: &[Field] = &[
    Field { name: "name", kind: Kind::Text },
    Field { name: "state", kind: Kind::Enum(WORKER_STATES) },
    Field { name: "job_type", kind: Kind::Text },
    Field { name: "queue", kind: Kind::Text },
    Field { name: "sdk", kind: Kind::Text },
    Field { name: "build_id", kind: Kind::Text },
    Field { name: "connect_time", kind: Kind::Time },
    Field { name: "last_heartbeat_time", kind: Kind::Time },
];

/// What a list of job types may be narrowed by.
const JOB_TYPE_FIELDS: &[Field] =
    &[Field { name: "job_type", kind: Kind::Text }, Field { name: "announce_time", kind: Kind::Time }];

#[tonic::async_trait]
impl QueueService for Api {
    async fn list_queues(&self, request: Request<wire::ListQueuesRequest>) -> Answer<wire::ListQueuesResponse> {
        answer(list_queues(self, request.into_inner())).await
    }

    async fn get_queue(&self, request: Request<wire::GetQueueRequest>) -> Answer<wire::GetQueueResponse> {
        answer(get_queue(self, request.into_inner())).await
    }

    async fn update_queue(&self, request: Request<wire::UpdateQueueRequest>) -> Answer<wire::UpdateQueueResponse> {
        answer(update_queue(self, request.into_inner())).await
    }

    async fn pause_queue(&self, request: Request<wire::PauseQueueRequest>) -> Answer<wire::PauseQueueResponse> {
        let wire::PauseQueueRequest { namespace, queue, note } = request.into_inner();
        answer(async {
            let queue = set_paused(self, &namespace, &queue, Some(note)).await?;
            Ok(wire::PauseQueueResponse { queue: Some(queue) })
        })
        .await
    }

    async fn resume_queue(&self, request: Request<wire::ResumeQueueRequest>) -> Answer<wire::ResumeQueueResponse> {
        let wire::ResumeQueueRequest { namespace, queue } = request.into_inner();
        answer(async {
            let queue = set_paused(self, &namespace, &queue, None).await?;
            Ok(wire::ResumeQueueResponse { queue: Some(queue) })
        })
        .await
    }

    async fn list_workers(&self, request: Request<wire::ListWorkersRequest>) -> Answer<wire::ListWorkersResponse> {
        answer(list_workers(self, request.into_inner())).await
    }

    async fn get_worker(&self, request: Request<wire::GetWorkerRequest>) -> Answer<wire::GetWorkerResponse> {
        let wire::GetWorkerRequest { namespace, worker_id } = request.into_inner();
        answer(async {
            let (scope, id) = named_worker(self, &namespace, &worker_id).await?;
            Ok(wire::GetWorkerResponse { worker: Some(find_worker(self, &scope, id).await?) })
        })
        .await
    }

    async fn drain_worker(&self, request: Request<wire::DrainWorkerRequest>) -> Answer<wire::DrainWorkerResponse> {
        let wire::DrainWorkerRequest { namespace, worker_id, terminate } = request.into_inner();
        answer(async {
            let (scope, id) = named_worker(self, &namespace, &worker_id).await?;
            let drain = if terminate { Drain::Terminate } else { Drain::Quiesce };
            let drained = self.engine.drain_worker(&scope, id, drain).await?;
            let worker = find_worker(self, &scope, id).await?;
            if drained { Ok(wire::DrainWorkerResponse { worker: Some(worker) }) } else { Err(worker_left(&worker)) }
        })
        .await
    }

    async fn list_job_types(&self, request: Request<wire::ListJobTypesRequest>) -> Answer<wire::ListJobTypesResponse> {
        answer(list_job_types(self, request.into_inner())).await
    }
}

async fn list_queues(api: &Api, mut request: wire::ListQueuesRequest) -> Result<wire::ListQueuesResponse, Refusal> {
    let turn = api.pages.turn(&mut request, api.now())?;
    let wire::ListQueuesRequest { namespace, filter: text, page_size: _, page_token: _, order_by } = request;
    let orders = [("queue", Direction::Up), ("queue desc", Direction::Down)];
    let (scope, direction) = api.read(&namespace, |check, _| Some(check.order(&order_by, &orders))).await?;
    let filter = filter(&text, QUEUE_FIELDS, turn.asked)?;
    let found = api.store().queues(&scope, &filter, direction, turn.page()).await?;
    let entries = found.into_iter().map(|view| (view.queue.to_string(), convert::queue::queue(view)));
    let (queues, next_page_token) = turn.cut(entries);
    Ok(wire::ListQueuesResponse { queues, next_page_token })
}

async fn get_queue(api: &Api, request: wire::GetQueueRequest) -> Result<wire::GetQueueResponse, Refusal> {
    let wire::GetQueueRequest { namespace, queue } = request;
    let (scope, queue) = api.read(&namespace, |check, _| check.required("queue", &queue)).await?;
    Ok(wire::GetQueueResponse { queue: Some(find_queue(api, &scope, &queue).await?) })
}

async fn update_queue(api: &Api, request: wire::UpdateQueueRequest) -> Result<wire::UpdateQueueResponse, Refusal> {
    let wire::UpdateQueueRequest { namespace, queue, update_mask, allow_missing, validate_only } = request;
    let mask = update_mask.unwrap_or_default().paths;
    let named = |field: &str| mask.is_empty() || mask.iter().any(|path| path == field);
    let (scope, (name, limit, rate, revision)) = api
        .read(&namespace, |check, scope| {
            check.mask(&mask, MUTABLE);
            let Some(queue) = queue else {
                check.refuse("queue", "is required");
                return None;
            };
            check.under("queue", |check| {
                check.same_namespace(&queue.namespace, scope.0.as_str());
                let name = check.required::<QueueName>("queue", &queue.queue);
                let limit = u32::try_from(check.within("concurrency_limit", queue.concurrency_limit, 0..=i32::MAX));
                let rate = queue.rate_limit.map(|limit| check.under("rate_limit", |check| check.rate(limit)));
                // An etag that is no revision was never one of this queue's.
                let revision = (!queue.etag.is_empty()).then(|| queue.etag.parse().unwrap_or(-1));
                Some((name?, limit.unwrap_or(0), rate.flatten(), revision))
            })
        })
        .await?;
    let settings = QueueSettings {
        paused: None,
        concurrency_limit: named("concurrency_limit").then_some(limit),
        rate: named("rate_limit").then_some(rate),
        revision,
        allow_missing,
        validate_only,
    };
    change(api, &scope, &name, settings).await?;
    let shown = match api.store().queue(&scope, &name).await? {
        Some(view) => convert::queue::queue(view),
        // Only asked for: as it would be.
        None if validate_only => {
            wire::Queue { namespace: scope.0.to_string(), queue: name.to_string(), ..wire::Queue::default() }
        }
        None => return Err(queue_missing(&name, &scope)),
    };
    let mut shown = shown;
    if validate_only && named("concurrency_limit") {
        shown.concurrency_limit = i32::try_from(limit).unwrap_or(i32::MAX);
    }
    if validate_only && named("rate_limit") {
        shown.rate_limit = rate.map(convert::queue::rate_limit);
    }
    Ok(wire::UpdateQueueResponse { queue: Some(shown) })
}

/// Pauses with a note, or resumes without one.
async fn set_paused(api: &Api, namespace: &str, queue: &str, note: Option<String>) -> Result<wire::Queue, Refusal> {
    let (scope, (name, paused)) = api
        .read(namespace, |check, _| {
            let name = check.required::<QueueName>("queue", queue);
            let paused = match note {
                Some(note) => (true, check.text("note", note, MAX_NOTE)),
                None => (false, String::new()),
            };
            Some((name?, paused))
        })
        .await?;
    change(api, &scope, &name, QueueSettings { paused: Some(paused), ..QueueSettings::default() }).await?;
    find_queue(api, &scope, &name).await
}

async fn change(api: &Api, scope: &Scope, name: &QueueName, settings: QueueSettings) -> Result<(), Refusal> {
    match api.engine.update_queue(scope, name, settings).await? {
        QueueChange::Done => Ok(()),
        QueueChange::Missing => Err(queue_missing(name, scope)),
        QueueChange::Full(quota) => Err(quota.into()),
        QueueChange::RevisionMismatch => Err(Refusal::new(
            Reason::EtagMismatch,
            format!("queue `{name}` has changed since it was read; read it again"),
        )
        .about("queue", name)),
    }
}

async fn find_queue(api: &Api, scope: &Scope, name: &QueueName) -> Result<wire::Queue, Refusal> {
    match api.store().queue(scope, name).await? {
        Some(view) => Ok(convert::queue::queue(view)),
        None => Err(queue_missing(name, scope)),
    }
}

fn queue_missing(name: &QueueName, scope: &Scope) -> Refusal {
    Refusal::missing(Reason::QueueNotFound, "queue", name, &scope.0)
}

async fn list_workers(api: &Api, mut request: wire::ListWorkersRequest) -> Result<wire::ListWorkersResponse, Refusal> {
    let turn = api.pages.turn(&mut request, api.now())?;
    let wire::ListWorkersRequest { namespace, filter: text, page_size: _, page_token: _, order_by, include_gone } =
        request;
    let orders = [("worker_id desc", Direction::Down), ("worker_id", Direction::Up)];
    let (scope, direction) = api.read(&namespace, |check, _| Some(check.order(&order_by, &orders))).await?;
    let filter = filter(&text, WORKER_FIELDS, turn.asked)?;
    let found = api.store().workers(&scope, include_gone, &filter, direction, turn.page()).await?;
    let (workers, next_page_token) = turn.cut(found.into_iter().map(|view| (view.worker.to_string(), worker(view))));
    Ok(wire::ListWorkersResponse { workers, next_page_token })
}

async fn find_worker(api: &Api, scope: &Scope, id: WorkerId) -> Result<wire::Worker, Refusal> {
    match api.store().worker(scope, id).await? {
        Some(view) => Ok(worker(view)),
        None => Err(worker_missing(id, scope)),
    }
}

/// It is known and has nothing that could be drained.
fn worker_left(worker: &wire::Worker) -> Refusal {
    let name = worker.state().as_str_name();
    let state = name.strip_prefix("WORKER_STATE_").unwrap_or(name);
    let message = format!(
        "worker `{}` is {state}: it has no lease and is given no work, so there is nothing to drain; should it come back, \
         drain it then",
        worker.worker_id
    );
    Refusal::new(Reason::WorkerLeft, message).with("state", state).about("worker", &worker.worker_id)
}

fn worker_missing(id: WorkerId, scope: &Scope) -> Refusal {
    Refusal::missing(Reason::WorkerNotFound, "worker", id, &scope.0)
}

async fn list_job_types(
    api: &Api,
    mut request: wire::ListJobTypesRequest,
) -> Result<wire::ListJobTypesResponse, Refusal> {
    let turn = api.pages.turn(&mut request, api.now())?;
    let wire::ListJobTypesRequest { namespace, filter: text, page_size: _, page_token: _, order_by } = request;
    let orders = [("job_type", Direction::Up), ("job_type desc", Direction::Down)];
    let (scope, direction) = api.read(&namespace, |check, _| Some(check.order(&order_by, &orders))).await?;
    let filter = filter(&text, JOB_TYPE_FIELDS, turn.asked)?;
    let found = api.store().job_types(&scope, &filter, direction, turn.page()).await?;
    let entries = found.entries.into_iter().map(|view| (view.job_type.to_string(), job_type(view)));
    let (job_types, next_page_token) = turn.cut_listed(entries, found.cut);
    Ok(wire::ListJobTypesResponse { job_types, next_page_token })
}

async fn named_worker(api: &Api, namespace: &str, worker: &str) -> Result<(Scope, WorkerId), Refusal> {
    api.read(namespace, |check, _| check.required("worker_id", worker)).await
}

#[cfg(test)]
mod tests {
    use mainspring_engine::domain::worker::WorkerStatus;

    use super::*;

    #[test]
    fn filters_know_every_state_of_a_worker() {
        let known: Vec<_> = WorkerStatus::ALL
            .iter()
            .map(|status| (format!("{status:?}").to_ascii_uppercase(), i64::from(status.code())))
            .collect();
        let named: Vec<_> = WORKER_STATES.iter().map(|(name, code)| ((*name).to_owned(), *code)).collect();
        assert_eq!(known, named);
    }
}
