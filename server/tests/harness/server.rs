//! A server of its own for each test, and clients for it.

use std::time::Duration;

use mainspring_proto::{
    auth::v1::{
        CreateApiKeyRequest, RoleBinding, auth_service_client::AuthServiceClient,
        user_service_client::UserServiceClient,
    },
    scheduler::v1::{
        admin_service_client::AdminServiceClient, queue_service_client::QueueServiceClient,
        scheduler_service_client::SchedulerServiceClient,
    },
    worker::v1::worker_service_client::WorkerServiceClient,
};
use mainspring_server::{
    config::{Config, ListenConfig},
    wiring::{self, Running},
};
use secrecy::ExposeSecret as _;
use tempfile::TempDir;
use tonic::{
    Request, Status,
    metadata::MetadataValue,
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;

/// A server in a directory of its own.
pub(crate) struct Server {
    pub(crate) running: Running,
    pub(crate) channel: Channel,
    _data: TempDir,
}

/// Sends a credential with every call.
#[derive(Clone)]
pub(crate) struct Bearer(Option<String>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            let value = MetadataValue::try_from(format!("Bearer {token}")).unwrap();
            request.metadata_mut().insert("authorization", value);
        }
        Ok(request)
    }
}

pub(crate) type Signed = InterceptedService<Channel, Bearer>;

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// The server of `dev`, with short leases.
    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let data = TempDir::new().unwrap();
        let mut config = Config { dev: true, listen: ListenConfig::loopback(0), ..Config::default() };
        config.database.data = data.path().join("data");
        config.limits.lease_ttl = Duration::from_secs(3);
        change(&mut config);
        let running = wiring::start(config).await.unwrap();
        let address = format!("http://{}", running.addresses()[0]);
        let channel = Endpoint::from_shared(address).unwrap().connect().await.unwrap();
        Self { running, channel, _data: data }
    }

    pub(crate) fn key(&self) -> String {
        self.running.dev_api_key().unwrap().expose_secret().to_owned()
    }

    fn signed(&self) -> Signed {
        self.as_caller(Some(self.key()))
    }

    pub(crate) fn as_caller(&self, token: Option<String>) -> Signed {
        InterceptedService::new(self.channel.clone(), Bearer(token))
    }

    pub(crate) fn scheduler(&self) -> SchedulerServiceClient<Signed> {
        SchedulerServiceClient::new(self.signed())
    }

    pub(crate) fn queues(&self) -> QueueServiceClient<Signed> {
        QueueServiceClient::new(self.signed())
    }

    pub(crate) fn admin(&self) -> AdminServiceClient<Signed> {
        AdminServiceClient::new(self.signed())
    }

    pub(crate) fn users(&self) -> UserServiceClient<Signed> {
        UserServiceClient::new(self.signed())
    }

    pub(crate) fn auth(&self, token: Option<String>) -> AuthServiceClient<Signed> {
        AuthServiceClient::new(self.as_caller(token))
    }

    pub(crate) fn worker(&self, token: Option<String>) -> WorkerServiceClient<Signed> {
        WorkerServiceClient::new(self.as_caller(token))
    }
}

/// A key with one role, in every namespace.
pub(crate) fn key_with(role: &str) -> CreateApiKeyRequest {
    let bindings = vec![RoleBinding { role: role.into(), namespace: String::new() }];
    CreateApiKeyRequest { name: role.into(), bindings, ..CreateApiKeyRequest::default() }
}

/// The reason of a refusal, which must be in the contract's form.
pub(crate) fn reason(status: &Status) -> String {
    let details = status.get_error_details();
    let info = details.error_info().unwrap_or_else(|| panic!("no ErrorInfo: {status:?}"));
    assert_eq!(info.domain, "mainspring.dev");
    info.reason.clone()
}
