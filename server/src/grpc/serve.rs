//! From services to a socket: routes, layers, health, reflection, and tonic's server with the settings that long streams
//! need.

use std::time::Duration;

use mainspring_proto::{
    DESCRIPTOR_SET,
    auth::v1::{auth_service_server::AuthServiceServer, user_service_server::UserServiceServer},
    scheduler::v1::{
        admin_service_server::AdminServiceServer, queue_service_server::QueueServiceServer,
        scheduler_service_server::SchedulerServiceServer,
    },
    worker::v1::worker_service_server::WorkerServiceServer,
};
use tokio_util::sync::CancellationToken;
use tonic::{server::NamedService, service::Routes, transport::Server};
use tonic_health::{pb::health_server::HealthServer, server::HealthService};
use tonic_web::GrpcWebLayer;

use super::{
    Api,
    health::Health,
    layer::{access::AccessLayer, errors::ErrorsLayer, measure::MeasureLayer, peer::PeerLayer, plain::PlainLayer},
};
use crate::{telemetry::CallMeter, wiring::incoming::Incoming};

/// Sizes the connection's window, and with it how many small frames a stalled reader may leave unread.
const CONNECTION_WINDOW: u32 = 8 << 20;
const STREAM_WINDOW: u32 = 1 << 20;
const STREAMS_PER_CONNECTION: u32 = 256;
/// HTTP/2's own keepalive; the streams carry messages of their own, since proxies answer pings themselves.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_HEADERS: u32 = 16 << 10;
/// Resets a client may cause before it is taken for an attacker; cancelled calls are no attack.
const PENDING_RESETS: usize = 1_024;

/// Every service of the contract.
pub(super) const SERVICES: [&str; 6] = [
    SchedulerServiceServer::<Api>::NAME,
    QueueServiceServer::<Api>::NAME,
    AdminServiceServer::<Api>::NAME,
    AuthServiceServer::<Api>::NAME,
    UserServiceServer::<Api>::NAME,
    WorkerServiceServer::<Api>::NAME,
];

/// The reflection services could not be built: a bug in the descriptor set.
pub(crate) type ReflectionError = tonic_reflection::server::Error;

/// Every service of the contract, health, and reflection in both versions that clients ask for.
fn routes(api: &Api, health: &Health) -> Result<Routes, ReflectionError> {
    let max = api.limits.max_message_bytes;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // Of what errors carry, which no message of ours refers to.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    let health = HealthServer::new(HealthService::from_health_reporter(health.reporter.clone()));
    Ok(Routes::new(SchedulerServiceServer::new(api.clone()).max_decoding_message_size(max))
        .add_service(QueueServiceServer::new(api.clone()).max_decoding_message_size(max))
        .add_service(AdminServiceServer::new(api.clone()).max_decoding_message_size(max))
        .add_service(AuthServiceServer::new(api.clone()).max_decoding_message_size(max))
        .add_service(UserServiceServer::new(api.clone()).max_decoding_message_size(max))
        .add_service(
            WorkerServiceServer::new(api.clone()).max_decoding_message_size(max).max_encoding_message_size(max),
        )
        .add_service(health)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .prepare())
}

/// Serves one listener until `stop`; ends when its connections have.
pub(crate) async fn serve(
    incoming: Incoming,
    api: &Api,
    health: &Health,
    calls: CallMeter,
    open_reflection: bool,
    stop: CancellationToken,
) -> Result<impl Future<Output = Result<(), tonic::transport::Error>> + use<>, ReflectionError> {
    let routes = routes(api, health)?;
    let server = Server::builder()
        .accept_http1(true)
        .http2_keepalive_interval(Some(PING_INTERVAL))
        .http2_keepalive_timeout(Some(PING_TIMEOUT))
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_stream_window_size(STREAM_WINDOW)
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .http2_max_header_list_size(MAX_HEADERS)
        .http2_max_pending_accept_reset_streams(Some(PENDING_RESETS))
        // From the outside in. No timeout and no connection age: sessions are ended by ServerDrain.
        .layer(PlainLayer::new(health.clone()))
        .layer(PeerLayer)
        .layer(GrpcWebLayer::new())
        .layer(MeasureLayer::new(calls))
        .layer(ErrorsLayer)
        .layer(AccessLayer::new(api.auth.clone(), open_reflection))
        .add_routes(routes);
    Ok(async move { server.serve_with_incoming_shutdown(incoming.connections(), stop.cancelled_owned()).await })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use mainspring_proto::permissions::RULES;

    use super::*;

    #[test]
    fn every_service_of_the_contract_has_a_health() {
        let named: BTreeSet<_> = SERVICES.into_iter().collect();
        let contract: BTreeSet<_> = RULES.iter().filter_map(|(path, _)| path.split('/').nth(1)).collect();
        assert_eq!(named, contract);
    }
}
