//! `AdminService`: the server itself.

mod backup;

use std::time::Duration;

use mainspring_proto::{
    MAX_WORKER_PROTOCOL, MIN_WORKER_PROTOCOL,
    scheduler::v1::{self as wire, admin_service_server::AdminService},
};
use tonic::{Request, Response};

use super::{
    Answer, Api, Call, answer, calendars,
    convert::{self, time},
    namespaces, page,
    scheduler::MAX_BATCH,
    sinks,
    status::Refusal,
};

/// Statistics reach back so far where nothing is asked for.
const DAY: Duration = Duration::from_secs(24 * 3600);

#[tonic::async_trait]
impl AdminService for Api {
    type BackupDatabaseStream = backup::Stream;

    async fn get_server_info(
        &self,
        request: Request<wire::GetServerInfoRequest>,
    ) -> Answer<wire::GetServerInfoResponse> {
        let wire::GetServerInfoRequest {} = request.into_inner();
        answer(async { Ok(info(self)) }).await
    }

    async fn get_stats(&self, request: Request<wire::GetStatsRequest>) -> Answer<wire::GetStatsResponse> {
        answer(stats(self, request.into_inner())).await
    }

    async fn backup_database(
        &self,
        request: Request<wire::BackupDatabaseRequest>,
    ) -> Answer<Self::BackupDatabaseStream> {
        let (call, request) = Call::split(request);
        Ok(Response::new(backup::backup(self, &call, request).await?))
    }

    async fn get_namespace(&self, request: Request<wire::GetNamespaceRequest>) -> Answer<wire::GetNamespaceResponse> {
        answer(namespaces::get(self, request.into_inner())).await
    }

    async fn update_namespace(
        &self,
        request: Request<wire::UpdateNamespaceRequest>,
    ) -> Answer<wire::UpdateNamespaceResponse> {
        answer(namespaces::update(self, request.into_inner())).await
    }

    async fn create_calendar(
        &self,
        request: Request<wire::CreateCalendarRequest>,
    ) -> Answer<wire::CreateCalendarResponse> {
        answer(calendars::create(self, request.into_inner())).await
    }

    async fn get_calendar(&self, request: Request<wire::GetCalendarRequest>) -> Answer<wire::GetCalendarResponse> {
        answer(calendars::get(self, request.into_inner())).await
    }

    async fn list_calendars(
        &self,
        request: Request<wire::ListCalendarsRequest>,
    ) -> Answer<wire::ListCalendarsResponse> {
        answer(calendars::list(self, request.into_inner())).await
    }

    async fn update_calendar(
        &self,
        request: Request<wire::UpdateCalendarRequest>,
    ) -> Answer<wire::UpdateCalendarResponse> {
        answer(calendars::update(self, request.into_inner())).await
    }

    async fn delete_calendar(
        &self,
        request: Request<wire::DeleteCalendarRequest>,
    ) -> Answer<wire::DeleteCalendarResponse> {
        answer(calendars::delete(self, request.into_inner())).await
    }

    async fn create_sink(&self, request: Request<wire::CreateSinkRequest>) -> Answer<wire::CreateSinkResponse> {
        answer(sinks::create(self, request.into_inner())).await
    }

    async fn get_sink(&self, request: Request<wire::GetSinkRequest>) -> Answer<wire::GetSinkResponse> {
        answer(sinks::get(self, request.into_inner())).await
    }

    async fn list_sinks(&self, request: Request<wire::ListSinksRequest>) -> Answer<wire::ListSinksResponse> {
        answer(sinks::list(self, request.into_inner())).await
    }

    async fn update_sink(&self, request: Request<wire::UpdateSinkRequest>) -> Answer<wire::UpdateSinkResponse> {
        answer(sinks::update(self, request.into_inner())).await
    }

    async fn delete_sink(&self, request: Request<wire::DeleteSinkRequest>) -> Answer<wire::DeleteSinkResponse> {
        answer(sinks::delete(self, request.into_inner())).await
    }

    async fn test_sink(&self, request: Request<wire::TestSinkRequest>) -> Answer<wire::TestSinkResponse> {
        answer(sinks::test(self, request.into_inner())).await
    }

    async fn list_deliveries(
        &self,
        request: Request<wire::ListDeliveriesRequest>,
    ) -> Answer<wire::ListDeliveriesResponse> {
        answer(sinks::deliveries(self, request.into_inner())).await
    }

    async fn redeliver_notice(
        &self,
        request: Request<wire::RedeliverNoticeRequest>,
    ) -> Answer<wire::RedeliverNoticeResponse> {
        answer(sinks::redeliver(self, request.into_inner())).await
    }
}

fn info(api: &Api) -> wire::GetServerInfoResponse {
    let bytes = |size: usize| i32::try_from(size).unwrap_or(i32::MAX);
    wire::GetServerInfoResponse {
        version: env!("CARGO_PKG_VERSION").into(),
        mode: wire::ServerMode::Embedded.into(),
        server_id: api.engine.server().to_string(),
        start_time: Some(time::timestamp(api.engine.start_time())),
        server_time: Some(time::timestamp(api.now())),
        min_worker_protocol: MIN_WORKER_PROTOCOL,
        max_worker_protocol: MAX_WORKER_PROTOCOL,
        limits: Some(wire::ServerLimits {
            max_message_bytes: bytes(api.limits.max_message_bytes),
            max_inline_payload_bytes: bytes(api.limits.max_inline_payload_bytes),
            max_batch_size: bytes(MAX_BATCH),
            max_page_size: bytes(page::MAX_SIZE),
        }),
        zone_data_version: api.engine.zones().version().into(),
        lease_ttl: Some(time::duration(api.engine.rules().lease_ttl)),
    }
}

async fn stats(api: &Api, request: wire::GetStatsRequest) -> Result<wire::GetStatsResponse, Refusal> {
    let wire::GetStatsRequest { namespace, from_time, to_time } = request;
    let now = api.now();
    let (scope, (from, to)) = api
        .read(&namespace, |check, _| {
            let (from, to) = (check.instant("from_time", from_time), check.instant("to_time", to_time));
            let to = to.unwrap_or(now);
            let from = from.unwrap_or_else(|| now.minus(DAY));
            if to < from {
                check.refuse("to_time", "must not be earlier than from_time");
            }
            Some((from, to))
        })
        .await?;
    Ok(convert::run::stats(api.store().stats(&scope, from, to).await?))
}
