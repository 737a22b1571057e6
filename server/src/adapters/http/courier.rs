//! One attempt: resolve, judge, connect, sign, send, read the status.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{
    HeaderMap, Request, Response,
    header::{CONNECTION, CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT},
};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use mainspring_engine::{
    domain::{delivery::Outcome, sink::Sealed},
    ports::courier::{Courier, Letter},
};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
};
use tokio_rustls::TlsConnector;

use super::{Reach, SealKey, sign::signature, target::Target};

/// Of an answer's body, so much is read.
const MAX_SAID: usize = 512;
/// The head of an answer is no longer.
const MAX_HEAD: usize = 64 << 10;

/// Sends letters by HTTP/1.1, each by a connection of its own.
#[derive(Debug)]
pub struct HttpCourier {
    reach: Reach,
    key: SealKey,
    /// Whom to trust, read when the first letter goes by TLS.
    trust: OnceLock<Arc<ClientConfig>>,
}

impl HttpCourier {
    /// Reaches what it may; trusts what the system trusts.
    pub fn new(reach: Reach, key: SealKey) -> Self {
        Self { reach, key, trust: OnceLock::new() }
    }

    /// Trusts these and nobody else.
    #[cfg(test)]
    fn trusting(self, roots: RootCertStore) -> Self {
        Self { trust: OnceLock::from(Arc::new(client(roots))), ..self }
    }

    fn trust(&self) -> Arc<ClientConfig> {
        let read = || {
            let mut roots = RootCertStore::empty();
            let found = rustls_native_certs::load_native_certs();
            let (added, _) = roots.add_parsable_certificates(found.certs);
            if added == 0 {
                tracing::warn!(
                    "no certificates are trusted: sinks are reached by https only where SSL_CERT_FILE names some"
                );
            }
            Arc::new(client(roots))
        };
        self.trust.get_or_init(read).clone()
    }

    /// An address of the target that may be reached; why there is none, otherwise.
    async fn resolve(&self, target: &Target) -> Result<Vec<SocketAddr>, String> {
        let found: Vec<SocketAddr> = match target.address() {
            Some(address) => vec![SocketAddr::new(address, target.port)],
            None => {
                let asked = lookup_host((target.host.as_str(), target.port)).await;
                asked.map_err(|error| format!("`{}` cannot be resolved: {error}", target.host))?.collect()
            }
        };
        let mut why = format!("`{}` has no address", target.host);
        let mut open = Vec::new();
        for address in found {
            match self.reach.refuses(address.ip(), target.is_tls) {
                Some(refused) => why = refused,
                None => open.push(address),
            }
        }
        if open.is_empty() { Err(why) } else { Ok(open) }
    }

    async fn attempt(&self, letter: &Letter) -> Result<Outcome, String> {
        let target = Target::read(&letter.url)?;
        let secret = self.key.open(&letter.secret).ok_or(
            "the sink's secret was sealed with another key than this server has (`signing-key` of its data directory); \
             give it a new one",
        )?;
        let request = request(&target, letter, &secret)?;
        let stream = connect(&self.resolve(&target).await?).await?;
        if !target.is_tls {
            return exchange(stream, request).await;
        }
        let name = match target.address() {
            Some(address) => ServerName::IpAddress(address.into()),
            None => ServerName::try_from(target.host.clone())
                .map_err(|_| format!("`{}` is no name that a certificate can have", target.host))?,
        };
        let secured = TlsConnector::from(self.trust()).connect(name, stream).await;
        exchange(secured.map_err(|error| format!("TLS failed: {error}"))?, request).await
    }
}

fn client(roots: RootCertStore) -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has the default versions")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

#[async_trait]
impl Courier for HttpCourier {
    fn check(&self, url: &str) -> Result<(), String> {
        let target = Target::read(url)?;
        if !target.is_tls && !self.reach.knows_http() {
            return Err(
                "must begin with https://; the server sends in the clear with MAINSPRING_WEBHOOKS__ALLOW_HTTP, or to \
                 itself with MAINSPRING_WEBHOOKS__ALLOW_LOOPBACK, set to true"
                    .into(),
            );
        }
        let refused = |address: IpAddr| self.reach.refuses(address, target.is_tls);
        target.address().and_then(refused).map_or(Ok(()), Err)
    }

    fn seal(&self, secret: &[u8]) -> Sealed {
        self.key.seal(secret)
    }

    async fn send(&self, letter: Letter) -> Outcome {
        self.attempt(&letter).await.unwrap_or_else(Outcome::Unanswered)
    }
}

fn request(target: &Target, letter: &Letter, secret: &[u8]) -> Result<Request<Full<Bytes>>, String> {
    let (id, seconds) = (letter.id.to_string(), letter.time.as_micros().div_euclid(1_000_000));
    Request::post(&target.path)
        .header(HOST, &target.authority)
        .header(CONNECTION, "close")
        .header(USER_AGENT, concat!("mainspring/", env!("CARGO_PKG_VERSION")))
        .header(CONTENT_TYPE, "application/json")
        .header("webhook-id", &id)
        .header("webhook-timestamp", seconds)
        .header("webhook-signature", signature(secret, &id, seconds, &letter.body))
        .body(Full::new(Bytes::from(letter.body.clone())))
        .map_err(|error| format!("the request cannot be written: {error}"))
}

/// A connection to the first of these that takes one.
async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, String> {
    let mut why = String::new();
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => why = format!("{address}: {error}"),
        }
    }
    Err(why)
}

/// Sends a request and reads as much of the answer as is wanted; the connection ends with it.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    request: Request<Full<Bytes>>,
) -> Result<Outcome, String> {
    let broken = |error: hyper::Error| format!("the connection broke before the answer: {error}");
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(MAX_HEAD).handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let answer = async move { Ok(read(sender.send_request(request).await.map_err(broken)?).await) };
    tokio::pin!(connection, answer);
    tokio::select! {
        answer = &mut answer => answer,
        // What was read before the connection ended is still to be had.
        _ = &mut connection => answer.await,
    }
}

async fn read(answer: Response<Incoming>) -> Outcome {
    let (parts, mut body) = answer.into_parts();
    let mut said = Vec::new();
    while said.len() < MAX_SAID
        && let Some(Ok(frame)) = body.frame().await
    {
        said.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
    }
    said.truncate(MAX_SAID);
    let said = String::from_utf8_lossy(&said).replace(char::is_control, " ").trim().to_owned();
    Outcome::Answered { status: parts.status.as_u16(), retry_after: retry_after(&parts.headers), said }
}

/// The patience that a receiver asks for, where it says so in seconds.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use mainspring_engine::domain::{ids::NoticeId, instant::Instant};
    use rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivatePkcs8KeyDer},
    };
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::config::WebhooksConfig;

    /// A server for `localhost`, and the certificate that says so.
    async fn listening() -> (TcpListener, TlsAcceptor, CertificateDer<'static>) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let certificate = made.cert.der().clone();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key.into())
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        (listener, TlsAcceptor::from(Arc::new(config)), certificate)
    }

    /// Takes one request, if the caller goes on to make one.
    async fn serve(listener: &TcpListener, acceptor: &TlsAcceptor) {
        let (stream, _) = listener.accept().await.unwrap();
        let Ok(mut stream) = acceptor.accept(stream).await else { return };
        let mut heard = Vec::new();
        while !heard.ends_with(b"{}") {
            if stream.read_buf(&mut heard).await.unwrap() == 0 {
                return;
            }
        }
        stream.write_all(b"HTTP/1.1 202 Taken\r\ncontent-length: 6\r\n\r\nthanks").await.unwrap();
        stream.shutdown().await.unwrap();
    }

    #[tokio::test]
    async fn tls_is_spoken_to_whom_is_trusted_and_to_nobody_else() {
        let (listener, acceptor, certificate) = listening().await;
        let port = listener.local_addr().unwrap().port();
        let reach = Reach::from(&WebhooksConfig { allow_loopback: true, ..WebhooksConfig::default() });
        let courier = |roots| HttpCourier::new(reach.clone(), SealKey::new(&[7; 32])).trusting(roots);
        let letter = |host: &str, courier: &HttpCourier| Letter {
            url: format!("https://{host}:{port}/hook"),
            secret: courier.seal(&[1; 32]),
            id: NoticeId::new(Instant::EPOCH),
            time: Instant::EPOCH,
            body: "{}".into(),
        };
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        let trusts = courier(roots);
        let sent = async |host, courier: &HttpCourier| {
            tokio::join!(courier.send(letter(host, courier)), serve(&listener, &acceptor)).0
        };
        let taken = Outcome::Answered { status: 202, retry_after: None, said: "thanks".into() };
        assert_eq!(sent("localhost", &trusts).await, taken);
        for (host, courier) in [("127.0.0.1", &trusts), ("localhost", &courier(RootCertStore::empty()))] {
            let Outcome::Unanswered(why) = sent(host, courier).await else { panic!("it was trusted as {host}") };
            assert!(why.starts_with("TLS failed"), "{why}");
        }
    }
}
