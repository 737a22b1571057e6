//! One connection to a server, with the caller's credential on every call.
//!
//! No call is waited for without a bound. What is answered at once has a deadline; a stream has [`ANSWER_WITHIN`] to begin
//! ([`opening`]), and whoever waits longer than that for anything, be it the next message of a stream or a `WaitRun`, is told
//! by pings that the server is still there.

mod opening;

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use mainspring_proto::{
    auth::v1::{auth_service_client::AuthServiceClient, user_service_client::UserServiceClient},
    scheduler::v1::{
        admin_service_client::AdminServiceClient, queue_service_client::QueueServiceClient,
        scheduler_service_client::SchedulerServiceClient,
    },
};
use prost_reflect::MethodDescriptor;
use secrecy::{ExposeSecret as _, SecretString};
use tonic::{
    GrpcMethod, Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::Endpoint,
};

pub(crate) use self::opening::HeadersTooLarge;
use self::opening::Opening;
use crate::{address::Address, failure::Failure, output::contract};

/// How long a server may take to accept a connection.
pub(crate) const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long a server may take for one answer, and to begin a stream. A wait, a watch and a copy of a large database take as
/// long as they take.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// A server of which nothing was heard for so long is asked for a sign of life, and has as long again to give one.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// A peer that vanished without a word, or no longer moves, is noticed after this, where nothing else bounds the call.
pub(crate) const NOTICED_WITHIN: Duration = Duration::from_secs(2 * KEEP_ALIVE.as_secs());
/// Servers and proxies take headers of some 16 KiB in all; no key and no token of ours has a tenth of that.
const LONGEST_CREDENTIAL: usize = 8 << 10;
/// A page of 1,000 long log lines is larger than tonic's 4 MiB.
const LARGEST_ANSWER: usize = 64 << 20;

/// A channel that signs every call.
pub(crate) type Wire = InterceptedService<Opening, Credential>;

/// The server, connected.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    channel: Opening,
    credential: Credential,
    namespace: String,
    /// The credential is renewed before it ends.
    renews: bool,
}

impl Server {
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
        Ok(Self { channel: Opening::of(channel), credential, namespace, renews: false })
    }

    /// The same connection, under a token that will be replaced by [`Server::sign_with`].
    pub(crate) fn signed_by(self, token: &SecretString) -> Result<Self, Failure> {
        Ok(Self { credential: Credential::new(Some(token))?, renews: true, ..self })
    }

    /// Signs the calls from now on with another token; every clone of this does.
    pub(crate) fn sign_with(&self, token: &SecretString) {
        if let Ok(Some(header)) = header(Some(token)) {
            *self.credential.0.write().unwrap_or_else(PoisonError::into_inner) = Some(header);
        }
    }

    /// Whether a call that was refused so succeeds when it is made again: a stream ends with the token it began under.
    pub(crate) fn may_go_on(&self, failure: &Failure) -> bool {
        failure.is_passing() || (self.renews && failure.reason() == "TOKEN_EXPIRED")
    }

    /// The connection itself, for calls that no stub of ours makes.
    pub(crate) fn wire(&self) -> Wire {
        InterceptedService::new(self.channel.clone(), self.credential.clone())
    }

    /// What an answer may be long.
    pub(crate) fn largest_answer(&self) -> usize {
        LARGEST_ANSWER
    }

    /// The namespace to work in; empty means "default".
    pub(crate) fn namespace(&self) -> String {
        self.namespace.clone()
    }

    /// Jobs, runs, logs and events.
    pub(crate) fn scheduler(&self) -> SchedulerServiceClient<Wire> {
        SchedulerServiceClient::new(self.wire()).max_decoding_message_size(LARGEST_ANSWER)
    }

    /// Queues, workers and job types.
    pub(crate) fn queues(&self) -> QueueServiceClient<Wire> {
        QueueServiceClient::new(self.wire()).max_decoding_message_size(LARGEST_ANSWER)
    }

    /// The server itself.
    pub(crate) fn admin(&self) -> AdminServiceClient<Wire> {
        AdminServiceClient::new(self.wire())
    }

    /// API keys.
    pub(crate) fn users(&self) -> UserServiceClient<Wire> {
        UserServiceClient::new(self.wire())
    }

    /// The caller.
    pub(crate) fn auth(&self) -> AuthServiceClient<Wire> {
        AuthServiceClient::new(self.wire())
    }
}

/// Whether a method answers once and at once: `WaitRun` holds its answer back for as long as it is asked to.
pub(crate) fn answers_at_once(method: &MethodDescriptor) -> bool {
    !method.is_server_streaming() && !method.is_client_streaming() && method.name() != "WaitRun"
}

/// Whether the method of a stub does.
fn is_bounded(method: &GrpcMethod<'static>) -> bool {
    let service = contract().get_service_by_name(method.service());
    service.is_some_and(|service| service.methods().any(|its| its.name() == method.method() && answers_at_once(&its)))
}

/// Puts `authorization: Bearer …` on a call, and a deadline on one that is answered at once.
#[derive(Clone, Debug)]
pub(crate) struct Credential(Arc<RwLock<Option<MetadataValue<Ascii>>>>);

impl Credential {
    pub(crate) fn new(key: Option<&SecretString>) -> Result<Self, Failure> {
        Ok(Self(Arc::new(RwLock::new(header(key)?))))
    }
}

fn header(key: Option<&SecretString>) -> Result<Option<MetadataValue<Ascii>>, Failure> {
    let header = |key: &SecretString| {
        let key = key.expose_secret();
        if key.len() > LONGEST_CREDENTIAL {
            return Err(Failure::credential(format!("the API key is {} characters long, and no key is", key.len())));
        }
        let mut value: MetadataValue<Ascii> = format!("Bearer {key}")
            .parse()
            .map_err(|_| Failure::credential("the API key holds characters no key has; is it cut or quoted?"))?;
        // Never printed, not even by a debug log of the headers.
        value.set_sensitive(true);
        Ok(value)
    };
    key.map(header).transpose()
}

impl Interceptor for Credential {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if request.extensions().get().is_some_and(is_bounded) {
            request.set_timeout(ANSWER_WITHIN);
        }
        if let Some(value) = &*self.0.read().unwrap_or_else(PoisonError::into_inner) {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use tonic::{GrpcMethod, Request, service::Interceptor as _};

    use super::{Credential, header};

    #[test]
    fn what_is_answered_at_once_has_a_deadline_and_nothing_else() {
        for (service, method, bounded) in [
            ("mainspring.scheduler.v1.SchedulerService", "ListJobs", true),
            ("mainspring.scheduler.v1.SchedulerService", "WaitRun", false),
            ("mainspring.scheduler.v1.SchedulerService", "WatchEvents", false),
            ("mainspring.scheduler.v1.SchedulerService", "TailLogs", false),
            ("mainspring.scheduler.v1.AdminService", "GetServerInfo", true),
            ("mainspring.scheduler.v1.AdminService", "BackupDatabase", false),
            ("mainspring.auth.v1.AuthService", "RefreshToken", true),
            ("mainspring.worker.v1.WorkerService", "WorkerStream", false),
        ] {
            let mut request = Request::new(());
            request.extensions_mut().insert(GrpcMethod::new(service, method));
            let request = Credential::new(None).unwrap().call(request).unwrap();
            assert_eq!(request.metadata().get("grpc-timeout").is_some(), bounded, "{method}");
        }
    }

    #[test]
    fn a_token_that_is_replaced_is_replaced_for_every_clone() {
        let credential = Credential::new(Some(&"first".to_owned().into())).unwrap();
        let mut clone = credential.clone();
        let sent = |credential: &mut Credential| {
            let request = credential.call(Request::new(())).unwrap();
            request.metadata().get("authorization").unwrap().to_str().unwrap().to_owned()
        };
        assert_eq!(sent(&mut clone), "Bearer first");
        *credential.0.write().unwrap() = header(Some(&"second".to_owned().into())).unwrap();
        assert_eq!(sent(&mut clone), "Bearer second");
        assert!(format!("{credential:?}").contains("Sensitive"), "{credential:?}");
    }
}
