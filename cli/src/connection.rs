//! One connection to a server, with the caller's credential on every call.

use std::time::Duration;

use mainspring_proto::{
    auth::v1::{auth_service_client::AuthServiceClient, user_service_client::UserServiceClient},
    scheduler::v1::{
        admin_service_client::AdminServiceClient, queue_service_client::QueueServiceClient,
        scheduler_service_client::SchedulerServiceClient,
    },
};
use secrecy::{ExposeSecret as _, SecretString};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use crate::{address::Address, failure::Failure, settings::Settings};

/// How long a server may take to accept a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// A peer that vanished without a word, or no longer moves, is noticed after twice this. Nothing else bounds an answer: a
/// wait, a watch and a copy of a large database take as long as they take, and whoever types can stop them.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// A page of 1,000 long log lines is larger than tonic's 4 MiB.
const LARGEST_ANSWER: usize = 64 << 20;

/// A channel that signs every call.
pub(crate) type Wire = InterceptedService<Channel, Credential>;

/// The server, connected.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    wire: Wire,
    namespace: String,
}

impl Server {
    /// Connects, as the settings say.
    pub(crate) async fn connect(settings: &Settings) -> Result<Self, Failure> {
        Self::open(&settings.address, settings.api_key.as_ref(), settings.namespace.clone(), CONNECT_WITHIN).await
    }

    /// Connects within a time.
    pub(crate) async fn open(
        address: &Address,
        api_key: Option<&SecretString>,
        namespace: String,
        within: Duration,
    ) -> Result<Self, Failure> {
        let credential = Credential::new(api_key)?;
        let endpoint = Endpoint::from_shared(address.to_string())
            .map_err(|error| Failure::usage(format!("{address}: {error}")))?
            .user_agent(concat!("mainspring-cli/", env!("CARGO_PKG_VERSION")))
            .map_err(|error| Failure::usage(format!("{address}: {error}")))?
            .connect_timeout(within)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE);
        let channel = endpoint.connect().await.map_err(|error| Failure::unreachable(address, &error))?;
        Ok(Self { wire: InterceptedService::new(channel, credential), namespace })
    }

    /// The namespace to work in; empty means "default".
    pub(crate) fn namespace(&self) -> String {
        self.namespace.clone()
    }

    /// Jobs, runs, logs and events.
    pub(crate) fn scheduler(&self) -> SchedulerServiceClient<Wire> {
        SchedulerServiceClient::new(self.wire.clone()).max_decoding_message_size(LARGEST_ANSWER)
    }

    /// Queues, workers and job types.
    pub(crate) fn queues(&self) -> QueueServiceClient<Wire> {
        QueueServiceClient::new(self.wire.clone()).max_decoding_message_size(LARGEST_ANSWER)
    }

    /// The server itself.
    pub(crate) fn admin(&self) -> AdminServiceClient<Wire> {
        AdminServiceClient::new(self.wire.clone())
    }

    /// API keys.
    pub(crate) fn users(&self) -> UserServiceClient<Wire> {
        UserServiceClient::new(self.wire.clone())
    }

    /// The caller.
    pub(crate) fn auth(&self) -> AuthServiceClient<Wire> {
        AuthServiceClient::new(self.wire.clone())
    }
}

/// Puts `authorization: Bearer …` on a call.
#[derive(Clone, Debug)]
pub(crate) struct Credential(Option<MetadataValue<Ascii>>);

impl Credential {
    fn new(api_key: Option<&SecretString>) -> Result<Self, Failure> {
        let header = |key: &SecretString| {
            let mut value: MetadataValue<Ascii> = format!("Bearer {}", key.expose_secret())
                .parse()
                .map_err(|_| Failure::usage("the API key holds characters no key has; is it cut or quoted?"))?;
            // Never printed, not even by a debug log of the headers.
            value.set_sensitive(true);
            Ok(value)
        };
        api_key.map(header).transpose().map(Self)
    }
}

impl Interceptor for Credential {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}
