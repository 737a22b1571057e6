//! `QueueService`: queues, workers and the job types they announce.

use mainspring_engine::{
    domain::{
        ids::WorkerId,
        names::{QueueName, Scope},
        worker::Drain,
    },
    ports::store::{QueueChange, QueueSettings},
};
use mainspring_proto::scheduler::v1::{self as wire, queue_service_server::QueueService};
use tonic::Request;

use super::{
    Answer, Api, answer,
    convert::{
        self, MAX_NOTE,
        queue::{MUTABLE, job_type, worker},
        read,
    },
    status::{Reason, Refusal},
};

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
            let (scope, id) = named_worker(&namespace, &worker_id)?;
            Ok(wire::GetWorkerResponse { worker: Some(find_worker(self, &scope, id).await?) })
        })
        .await
    }

    async fn drain_worker(&self, request: Request<wire::DrainWorkerRequest>) -> Answer<wire::DrainWorkerResponse> {
        let wire::DrainWorkerRequest { namespace, worker_id, terminate } = request.into_inner();
        answer(async {
            let (scope, id) = named_worker(&namespace, &worker_id)?;
            let drain = if terminate { Drain::Terminate } else { Drain::Quiesce };
            if !self.engine.drain_worker(&scope, id, drain).await? {
                return Err(worker_missing(id, &scope));
            }
            Ok(wire::DrainWorkerResponse { worker: Some(find_worker(self, &scope, id).await?) })
        })
        .await
    }

    async fn list_job_types(&self, request: Request<wire::ListJobTypesRequest>) -> Answer<wire::ListJobTypesResponse> {
        answer(list_job_types(self, request.into_inner())).await
    }
}

async fn list_queues(api: &Api, mut request: wire::ListQueuesRequest) -> Result<wire::ListQueuesResponse, Refusal> {
    let (size, token) = (std::mem::take(&mut request.page_size), std::mem::take(&mut request.page_token));
    let turn = api.pages.turn("ListQueues", &request, size, &token, api.now())?;
    let scope = read(|check| Some(check.scope(&request.namespace)))?;
    let found = api.store().queues(&scope, turn.page()).await?;
    let entries = found.into_iter().map(|view| (view.queue.to_string(), convert::queue::queue(view)));
    let (queues, next_page_token) = turn.cut(entries);
    Ok(wire::ListQueuesResponse { queues, next_page_token })
}

async fn get_queue(api: &Api, request: wire::GetQueueRequest) -> Result<wire::GetQueueResponse, Refusal> {
    let (scope, queue) = named_queue(&request.namespace, &request.queue)?;
    Ok(wire::GetQueueResponse { queue: Some(find_queue(api, &scope, &queue).await?) })
}

async fn update_queue(api: &Api, request: wire::UpdateQueueRequest) -> Result<wire::UpdateQueueResponse, Refusal> {
    let wire::UpdateQueueRequest { namespace, queue, update_mask } = request;
    let mask = update_mask.unwrap_or_default().paths;
    let (scope, name, settings) = read(|check| {
        let scope = check.scope(&namespace);
        for path in mask.iter().filter(|path| !MUTABLE.contains(&path.as_str())) {
            let shown: String = path.chars().take(64).collect();
            check.refuse("update_mask", format!("`{shown}` cannot be changed; what can is {}", MUTABLE.join(", ")));
        }
        let Some(queue) = queue else {
            check.refuse("queue", "is required");
            return None;
        };
        let (name, limit, revision) = check.under("queue", |check| {
            if !queue.namespace.is_empty() && queue.namespace != scope.0.as_str() {
                check.refuse("namespace", format!("must be empty or `{}`, the request's", scope.0));
            }
            let name = check.required::<QueueName>("queue", &queue.queue);
            let limit = u32::try_from(check.within("concurrency_limit", queue.concurrency_limit, 0..=i32::MAX));
            // An etag that is no revision was never one of this queue's.
            let revision = (!queue.etag.is_empty()).then(|| queue.etag.parse().unwrap_or(-1));
            (name, limit.unwrap_or(0), revision)
        });
        Some((scope, name?, QueueSettings { paused: None, concurrency_limit: Some(limit), revision }))
    })?;
    change(api, &scope, &name, settings).await?;
    Ok(wire::UpdateQueueResponse { queue: Some(find_queue(api, &scope, &name).await?) })
}

/// Pauses with a note, or resumes without one.
async fn set_paused(api: &Api, namespace: &str, queue: &str, note: Option<String>) -> Result<wire::Queue, Refusal> {
    let (scope, name, paused) = read(|check| {
        let scope = check.scope(namespace);
        let name = check.required::<QueueName>("queue", queue);
        let paused = match note {
            Some(note) => (true, check.text("note", note, MAX_NOTE)),
            None => (false, String::new()),
        };
        Some((scope, name?, paused))
    })?;
    change(api, &scope, &name, QueueSettings { paused: Some(paused), ..QueueSettings::default() }).await?;
    find_queue(api, &scope, &name).await
}

async fn change(api: &Api, scope: &Scope, name: &QueueName, settings: QueueSettings) -> Result<(), Refusal> {
    match api.engine.update_queue(scope, name, settings).await? {
        QueueChange::Done => Ok(()),
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
        None => Err(Refusal::missing(Reason::QueueNotFound, "queue", name, &scope.0)),
    }
}

async fn list_workers(api: &Api, mut request: wire::ListWorkersRequest) -> Result<wire::ListWorkersResponse, Refusal> {
    let (size, token) = (std::mem::take(&mut request.page_size), std::mem::take(&mut request.page_token));
    let turn = api.pages.turn("ListWorkers", &request, size, &token, api.now())?;
    let wire::ListWorkersRequest { namespace, page_size: _, page_token: _, include_gone } = request;
    let scope = read(|check| Some(check.scope(&namespace)))?;
    let found = api.store().workers(&scope, include_gone, turn.page()).await?;
    let (workers, next_page_token) = turn.cut(found.into_iter().map(|view| (view.worker.to_string(), worker(view))));
    Ok(wire::ListWorkersResponse { workers, next_page_token })
}

async fn find_worker(api: &Api, scope: &Scope, id: WorkerId) -> Result<wire::Worker, Refusal> {
    match api.store().worker(scope, id).await? {
        Some(view) => Ok(worker(view)),
        None => Err(worker_missing(id, scope)),
    }
}

fn worker_missing(id: WorkerId, scope: &Scope) -> Refusal {
    Refusal::missing(Reason::WorkerNotFound, "worker", id, &scope.0)
}

async fn list_job_types(
    api: &Api,
    mut request: wire::ListJobTypesRequest,
) -> Result<wire::ListJobTypesResponse, Refusal> {
    let (size, token) = (std::mem::take(&mut request.page_size), std::mem::take(&mut request.page_token));
    let turn = api.pages.turn("ListJobTypes", &request, size, &token, api.now())?;
    let scope = read(|check| Some(check.scope(&request.namespace)))?;
    let found = api.store().job_types(&scope, turn.page()).await?;
    let (job_types, next_page_token) =
        turn.cut(found.into_iter().map(|view| (view.job_type.to_string(), job_type(view))));
    Ok(wire::ListJobTypesResponse { job_types, next_page_token })
}

fn named_queue(namespace: &str, queue: &str) -> Result<(Scope, QueueName), Refusal> {
    read(|check| {
        let scope = check.scope(namespace);
        Some((scope, check.required("queue", queue)?))
    })
}

fn named_worker(namespace: &str, worker: &str) -> Result<(Scope, WorkerId), Refusal> {
    read(|check| {
        let scope = check.scope(namespace);
        Some((scope, check.required("worker_id", worker)?))
    })
}
