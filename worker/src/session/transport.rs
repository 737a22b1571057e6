//! Connections to the server.

use std::{error::Error as StdError, time::Duration};

use mainspring_proto::worker::v1::worker_service_client::WorkerServiceClient;
use tonic::{
    Request,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};

use crate::{config::Settings, error::Error, reconnect::Loss, state::MAX_MESSAGE_BYTES};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Servers in other languages, and some proxies, cut off clients that ping more often.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// h2 cuts a connection on which many small frames wait to be read; how many it takes grows with this window.
const CONNECTION_WINDOW: u32 = 8 << 20;
const STREAM_WINDOW: u32 = 1 << 20;

/// Where the server is, and what to show it.
#[derive(Clone)]
pub(super) struct Transport {
    endpoint: Endpoint,
    authorization: Option<MetadataValue<Ascii>>,
}

impl Transport {
    pub(super) fn new(settings: &Settings) -> Result<Self, Error> {
        let address = settings.address.trim();
        let wrong = |problem: &str| Error::setting("MAINSPRING_ADDRESS", format!("`{address}`: {problem}"));
        let url = match address.split_once("://") {
            Some(("http", _)) => address.to_owned(),
            Some(("https", _)) => return Err(wrong("this build has no TLS; put a TLS proxy beside the worker")),
            Some(_) => return Err(wrong("must begin with http://")),
            None => format!("http://{address}"),
        };
        let endpoint = Endpoint::from_shared(url)
            .map_err(|error| wrong(&causes(&error)))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .initial_stream_window_size(STREAM_WINDOW)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT);
        let authorization = match &settings.api_key {
            None => None,
            Some(key) => {
                let mut value: MetadataValue<Ascii> = format!("Bearer {}", key.0)
                    .parse()
                    .map_err(|_| Error::setting("MAINSPRING_API_KEY", "contains characters no key has"))?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        Ok(Self { endpoint, authorization })
    }

    pub(super) fn address(&self) -> String {
        self.endpoint.uri().to_string()
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
        if let Some(authorization) = &self.authorization {
            request.metadata_mut().insert("authorization", authorization.clone());
        }
        request
    }
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
    use crate::config::{ApiKey, Settings};

    #[test]
    fn addresses_are_checked_before_connecting() {
        let open = |address: &str| Transport::new(&Settings::of(address.into()));
        assert_eq!(open("127.0.0.1:7420").unwrap().address(), "http://127.0.0.1:7420/");
        for bad in ["ftp://a:1", "https://a:1", "http://", "a b"] {
            assert!(open(bad).is_err(), "{bad}");
        }
        let mut settings = Settings::of("a:1".into());
        settings.api_key = Some(ApiKey("line\nbreak".into()));
        assert!(Transport::new(&settings).is_err());
    }
}
