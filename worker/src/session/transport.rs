//! Connections to the server.

use std::{error::Error as StdError, sync::Arc, time::Duration};

use mainspring_proto::worker::v1::worker_service_client::WorkerServiceClient;
use parking_lot::Mutex;
use secrecy::{ExposeSecret as _, SecretString};
use tonic::{
    Request,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};

use crate::{
    config::{KeySource, Settings},
    context::{Address, AddressError},
    error::Error,
    reconnect::Loss,
    state::MAX_MESSAGE_BYTES,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Servers in other languages, and some proxies, cut off clients that ping more often.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// A server refuses larger headers by a bare status of HTTP, which looks like a proxy's and would be met with patience.
const LONGEST_KEY: usize = 8 << 10;
/// h2 cuts a connection on which many small frames wait to be read; how many it takes grows with this window.
const CONNECTION_WINDOW: u32 = 8 << 20;
const STREAM_WINDOW: u32 = 1 << 20;

/// Where the server is, and what to show it.
#[derive(Clone)]
pub(super) struct Transport {
    endpoint: Endpoint,
    address: Address,
    authorization: Arc<Mutex<Option<MetadataValue<Ascii>>>>,
    key_source: Option<KeySource>,
}

impl Transport {
    pub(super) fn new(settings: &Settings) -> Result<Self, Error> {
        let address: Address =
            settings.address.parse().map_err(|error: AddressError| Error::setting("address", error.to_string()))?;
        let endpoint = Endpoint::from_shared(address.to_string())
            .map_err(|error| Error::setting("address", format!("`{address}`: {}", causes(&error))))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .initial_stream_window_size(STREAM_WINDOW)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT);
        let authorization = settings.api_key.as_ref().map(header).transpose()?;
        let authorization = Arc::new(Mutex::new(authorization));
        Ok(Self { endpoint, address, authorization, key_source: settings.key_source.clone() })
    }

    /// Reads the key again; true where there is another one now, which is shown from now on.
    pub(super) fn renew_key(&self) -> bool {
        let read = self.key_source.as_ref().and_then(KeySource::read);
        let Some(Ok(renewed)) = read.as_ref().map(header) else { return false };
        let mut authorization = self.authorization.lock();
        let is_another = authorization.as_ref() != Some(&renewed);
        *authorization = Some(renewed);
        is_another
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// The key crosses a network, for everybody on the way to read.
    pub(super) fn shows_its_key(&self) -> bool {
        self.authorization.lock().is_some() && !self.address.is_loopback()
    }

    /// A new connection, its name resolved afresh: a connection that is kept always leads to the same server, and the
    /// reason for connecting again is mostly that this one is going away.
    pub(super) async fn connect(&self) -> Result<WorkerServiceClient<Channel>, Loss> {
        let channel = self.endpoint.connect().await.map_err(|error| Loss::of(causes(&error)))?;
        Ok(WorkerServiceClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES))
    }

    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(authorization) = &*self.authorization.lock() {
            request.metadata_mut().insert("authorization", authorization.clone());
        }
        request
    }
}

fn header(key: &SecretString) -> Result<MetadataValue<Ascii>, Error> {
    let key = key.expose_secret();
    if key.len() > LONGEST_KEY {
        let problem = format!("is {} characters long, and no key is", key.len());
        return Err(Error::setting("MAINSPRING_API_KEY", problem));
    }
    let mut value: MetadataValue<Ascii> = format!("Bearer {key}")
        .parse()
        .map_err(|_| Error::setting("MAINSPRING_API_KEY", "contains characters no key has"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The innermost causes are the ones that tell.
fn causes(error: &dyn StdError) -> String {
    let chain = std::iter::successors(Some(error), |cause| (*cause).source());
    let mut parts: Vec<String> = chain.map(ToString::to_string).collect();
    parts.dedup();
    parts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::Transport;
    use crate::config::Settings;

    #[test]
    fn addresses_are_checked_before_connecting() {
        let open = |address: &str| Transport::new(&Settings::of(address.into()));
        assert_eq!(open("127.0.0.1").unwrap().endpoint.uri(), "http://127.0.0.1:7420/");
        for bad in ["ftp://a:1", "http://", "a b"] {
            assert!(open(bad).is_err(), "{bad}");
        }
        assert!(open("https://a:1").err().unwrap().to_string().contains("this version has no TLS"));
        let mut settings = Settings::of("a:1".into());
        settings.api_key = Some("line\nbreak".to_owned().into());
        assert!(Transport::new(&settings).is_err());
        settings.api_key = Some("k".repeat(20_000).into());
        let told = Transport::new(&settings).err().unwrap().to_string();
        assert!(told.contains("20000 characters"), "{told}");
    }

    #[test]
    fn a_key_is_shown_where_it_leaves_this_machine() {
        for (address, key, shown) in [
            ("scheduler.example", Some("k"), true),
            ("10.0.0.1:1", Some("k"), true),
            ("scheduler.example", None, false),
            ("localhost", Some("k"), false),
            ("[::1]:7420", Some("k"), false),
        ] {
            let mut settings = Settings::of(address.into());
            settings.api_key = key.map(|key| key.to_owned().into());
            assert_eq!(Transport::new(&settings).unwrap().shows_its_key(), shown, "{address} {key:?}");
        }
    }
}
