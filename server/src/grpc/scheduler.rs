//! `SchedulerService`: jobs, their runs, logs and events. The methods are in the files below; this one only names them.

mod backfills;
mod bulk;
pub(super) mod calendars;
mod dead;
mod events;
mod instants;
mod jobs;
mod logs;
mod many;
mod payloads;
mod retry;
mod runs;
mod update;
mod versions;

use mainspring_proto::scheduler::v1::{self as wire, scheduler_service_server::SchedulerService};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status};

pub(super) use runs::MAX_BATCH;

use super::{Answer, Api, Call, answer};

/// Messages a slow reader of a stream may be behind.
const STREAM_BUFFER: usize = 16;

#[tonic::async_trait]
impl SchedulerService for Api {
    type TailLogsStream = ReceiverStream<Result<wire::TailLogsResponse, Status>>;
    type WatchEventsStream = ReceiverStream<Result<wire::WatchEventsResponse, Status>>;

    async fn create_job(&self, request: Request<wire::CreateJobRequest>) -> Answer<wire::CreateJobResponse> {
        answer(jobs::create(self, request.into_inner())).await
    }

    async fn get_job(&self, request: Request<wire::GetJobRequest>) -> Answer<wire::GetJobResponse> {
        answer(jobs::get(self, request.into_inner())).await
    }

    async fn list_jobs(&self, request: Request<wire::ListJobsRequest>) -> Answer<wire::ListJobsResponse> {
        answer(jobs::list(self, request.into_inner())).await
    }

    async fn update_job(&self, request: Request<wire::UpdateJobRequest>) -> Answer<wire::UpdateJobResponse> {
        let (call, request) = Call::split(request);
        answer(update::update(self, &call, request)).await
    }

    async fn delete_job(&self, request: Request<wire::DeleteJobRequest>) -> Answer<wire::DeleteJobResponse> {
        let (call, request) = Call::split(request);
        answer(jobs::delete(self, &call, request)).await
    }

    async fn trigger_job(&self, request: Request<wire::TriggerJobRequest>) -> Answer<wire::TriggerJobResponse> {
        let (call, request) = Call::split(request);
        answer(runs::trigger(self, &call, request)).await
    }

    async fn pause_job(&self, request: Request<wire::PauseJobRequest>) -> Answer<wire::PauseJobResponse> {
        let (call, request) = Call::split(request);
        answer(jobs::pause(self, &call, request)).await
    }

    async fn resume_job(&self, request: Request<wire::ResumeJobRequest>) -> Answer<wire::ResumeJobResponse> {
        answer(jobs::resume(self, request.into_inner())).await
    }

    async fn list_job_versions(
        &self,
        request: Request<wire::ListJobVersionsRequest>,
    ) -> Answer<wire::ListJobVersionsResponse> {
        answer(versions::list(self, request.into_inner())).await
    }

    async fn restore_job_version(
        &self,
        request: Request<wire::RestoreJobVersionRequest>,
    ) -> Answer<wire::RestoreJobVersionResponse> {
        let (call, request) = Call::split(request);
        answer(versions::restore(self, &call, request)).await
    }

    async fn undelete_job(&self, request: Request<wire::UndeleteJobRequest>) -> Answer<wire::UndeleteJobResponse> {
        answer(versions::undelete(self, request.into_inner())).await
    }

    async fn preview_schedule(
        &self,
        request: Request<wire::PreviewScheduleRequest>,
    ) -> Answer<wire::PreviewScheduleResponse> {
        answer(instants::preview(self, request.into_inner())).await
    }

    async fn list_instants(&self, request: Request<wire::ListInstantsRequest>) -> Answer<wire::ListInstantsResponse> {
        answer(instants::list(self, request.into_inner())).await
    }

    async fn explain_instant(
        &self,
        request: Request<wire::ExplainInstantRequest>,
    ) -> Answer<wire::ExplainInstantResponse> {
        answer(instants::explain(self, request.into_inner())).await
    }

    async fn backfill_job(&self, request: Request<wire::BackfillJobRequest>) -> Answer<wire::BackfillJobResponse> {
        let (call, request) = Call::split(request);
        answer(backfills::create(self, &call, request)).await
    }

    async fn get_backfill(&self, request: Request<wire::GetBackfillRequest>) -> Answer<wire::GetBackfillResponse> {
        answer(backfills::get(self, request.into_inner())).await
    }

    async fn list_backfills(
        &self,
        request: Request<wire::ListBackfillsRequest>,
    ) -> Answer<wire::ListBackfillsResponse> {
        answer(backfills::list(self, request.into_inner())).await
    }

    async fn cancel_backfill(
        &self,
        request: Request<wire::CancelBackfillRequest>,
    ) -> Answer<wire::CancelBackfillResponse> {
        answer(backfills::cancel(self, request.into_inner())).await
    }

    async fn submit_run(&self, request: Request<wire::SubmitRunRequest>) -> Answer<wire::SubmitRunResponse> {
        let (call, request) = Call::split(request);
        answer(runs::submit(self, &call, request)).await
    }

    async fn batch_submit_runs(
        &self,
        request: Request<wire::BatchSubmitRunsRequest>,
    ) -> Answer<wire::BatchSubmitRunsResponse> {
        let (call, request) = Call::split(request);
        answer(runs::batch(self, &call, request)).await
    }

    async fn get_run(&self, request: Request<wire::GetRunRequest>) -> Answer<wire::GetRunResponse> {
        answer(runs::get(self, request.into_inner())).await
    }

    async fn list_runs(&self, request: Request<wire::ListRunsRequest>) -> Answer<wire::ListRunsResponse> {
        answer(runs::list(self, request.into_inner())).await
    }

    async fn list_attempts(&self, request: Request<wire::ListAttemptsRequest>) -> Answer<wire::ListAttemptsResponse> {
        answer(runs::attempts(self, request.into_inner())).await
    }

    async fn cancel_run(&self, request: Request<wire::CancelRunRequest>) -> Answer<wire::CancelRunResponse> {
        answer(runs::cancel(self, request.into_inner())).await
    }

    async fn retry_run(&self, request: Request<wire::RetryRunRequest>) -> Answer<wire::RetryRunResponse> {
        let (call, request) = Call::split(request);
        answer(retry::retry(self, &call, request)).await
    }

    async fn replay_run(&self, request: Request<wire::ReplayRunRequest>) -> Answer<wire::ReplayRunResponse> {
        let (call, request) = Call::split(request);
        answer(retry::replay(self, &call, request)).await
    }

    async fn cancel_runs(&self, request: Request<wire::CancelRunsRequest>) -> Answer<wire::CancelRunsResponse> {
        answer(many::cancel(self, request.into_inner())).await
    }

    async fn retry_runs(&self, request: Request<wire::RetryRunsRequest>) -> Answer<wire::RetryRunsResponse> {
        let (call, request) = Call::split(request);
        answer(many::retry(self, &call, request)).await
    }

    async fn wait_run(&self, request: Request<wire::WaitRunRequest>) -> Answer<wire::WaitRunResponse> {
        answer(runs::wait(self, request.into_inner())).await
    }

    async fn list_dead_letters(
        &self,
        request: Request<wire::ListDeadLettersRequest>,
    ) -> Answer<wire::ListDeadLettersResponse> {
        answer(dead::list(self, request.into_inner())).await
    }

    async fn resolve_dead_letters(
        &self,
        request: Request<wire::ResolveDeadLettersRequest>,
    ) -> Answer<wire::ResolveDeadLettersResponse> {
        let (call, request) = Call::split(request);
        answer(dead::resolve(self, &call, request)).await
    }

    async fn redrive_dead_letters(
        &self,
        request: Request<wire::RedriveDeadLettersRequest>,
    ) -> Answer<wire::RedriveDeadLettersResponse> {
        let (call, request) = Call::split(request);
        answer(dead::redrive(self, &call, request)).await
    }

    async fn list_logs(&self, request: Request<wire::ListLogsRequest>) -> Answer<wire::ListLogsResponse> {
        answer(logs::list(self, request.into_inner())).await
    }

    async fn tail_logs(&self, request: Request<wire::TailLogsRequest>) -> Answer<Self::TailLogsStream> {
        let (call, request) = Call::split(request);
        answer(logs::tail(self, &call, request)).await
    }

    async fn watch_events(&self, request: Request<wire::WatchEventsRequest>) -> Answer<Self::WatchEventsStream> {
        let (call, request) = Call::split(request);
        answer(events::watch(self, &call, request)).await
    }
}
