//! Connections as they come in: so many at a time, and none of whoever does not speak.
//!
//! tonic by itself accepts whatever comes, waits for a first word for ever, and where the system has no more files asks it
//! again at once, and again, with a whole processor. Here a connection has a place before it is accepted, keeps it to its
//! end, and is closed where its client has not said in time what it speaks; so places come free, and whoever waits for
//! one in the backlog gets one. After the first word HTTP/2 looks after its peers with pings, and HTTP/1 with a time for
//! headers.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{Stream, StreamExt as _, future::BoxFuture, stream, stream::FuturesUnordered};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tonic::transport::server::{Connected, TcpConnectInfo};

/// What every client of HTTP/2 says first; one of HTTP/1 differs in the second letter at the latest.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The preface must be here so soon, however many bytes at a time it comes in.
const GREETING: Duration = Duration::from_secs(10);
/// Before it is tried again where the system could not.
const PAUSE: Duration = Duration::from_millis(200);

/// A listener, and who has come to it.
pub(crate) struct Incoming {
    listener: TcpListener,
    places: Arc<Semaphore>,
    /// Those who have not spoken yet.
    silent: FuturesUnordered<BoxFuture<'static, Option<Connection>>>,
    /// The system could not accept, and that was told.
    told: bool,
}

impl Incoming {
    /// Connections of a listener, which shares `places` with others.
    pub(crate) fn new(listener: TcpListener, places: Arc<Semaphore>) -> Self {
        Self { listener, places, silent: FuturesUnordered::new(), told: false }
    }

    /// Connections whose clients have begun to speak.
    pub(crate) fn connections(self) -> impl Stream<Item = io::Result<Connection>> + Send {
        stream::unfold(self, |mut incoming| async move {
            let connection = incoming.next().await;
            Some((Ok(connection), incoming))
        })
    }

    async fn next(&mut self) -> Connection {
        loop {
            let Self { listener, places, silent, told } = self;
            tokio::select! {
                accepted = accept(listener, places) => match accepted {
                    Ok((socket, place)) => {
                        *told = false;
                        silent.push(Box::pin(greeted(socket, place)));
                    }
                    // The client's own doing.
                    Err(error) if is_of_one_client(&error) => {}
                    Err(error) => {
                        if !std::mem::replace(told, true) {
                            tracing::warn!(%error, "no connection can be accepted for now; it is tried again until one is");
                        }
                        #[expect(clippy::disallowed_methods, reason = "the system is given a moment of its own time")]
                        if let Ok(connection) = timeout(PAUSE, spoken(silent)).await {
                            return connection;
                        }
                    }
                },
                connection = spoken(silent) => return connection,
            }
        }
    }
}

/// The next connection, once there is a place for it.
async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (socket, _) = listener.accept().await?;
    Ok((socket, place))
}

/// The next one who speaks.
async fn spoken(silent: &mut FuturesUnordered<BoxFuture<'static, Option<Connection>>>) -> Connection {
    loop {
        match silent.next().await {
            Some(Some(connection)) => return connection,
            Some(None) => {}
            None => std::future::pending().await,
        }
    }
}

/// The connection, once its client has said what it speaks; nothing where it did not in time.
async fn greeted(mut socket: TcpStream, place: OwnedSemaphorePermit) -> Option<Connection> {
    // Small messages must not wait for others.
    socket.set_nodelay(true).ok()?;
    let mut said = Vec::with_capacity(PREFACE.len());
    let greeting = async {
        while said.len() < PREFACE.len() && PREFACE.starts_with(&said) {
            let rest = (PREFACE.len() - said.len()) as u64;
            if (&mut socket).take(rest).read_buf(&mut said).await.ok()? == 0 {
                return None;
            }
        }
        Some(())
    };
    #[expect(clippy::disallowed_methods, reason = "a stranger is given so long, whatever the engine's clock says")]
    timeout(GREETING, greeting).await.ok()??;
    Some(Connection { said, heard: 0, socket, _place: place })
}

fn is_of_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// A connection, its first word included, with its place.
#[derive(Debug)]
pub(crate) struct Connection {
    said: Vec<u8>,
    /// So much of it was read.
    heard: usize,
    socket: TcpStream,
    _place: OwnedSemaphorePermit,
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.socket.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let rest = &self.said[self.heard..];
        if rest.is_empty() {
            return Pin::new(&mut self.socket).poll_read(cx, buffer);
        }
        let length = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..length]);
        self.heard += length;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    async fn listening(places: usize) -> (Incoming, std::net::SocketAddr, Arc<Semaphore>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let places = Arc::new(Semaphore::new(places));
        (Incoming::new(listener, places.clone()), address, places)
    }

    async fn heard(connection: &mut Connection, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        connection.read_exact(&mut bytes).await.unwrap();
        bytes
    }

    #[tokio::test]
    async fn whoever_speaks_is_heard_from_the_first_byte_and_nobody_waits_for_the_silent() {
        let (mut incoming, address, _) = listening(9).await;
        let _silent = TcpStream::connect(address).await.unwrap();
        let mut half = TcpStream::connect(address).await.unwrap();
        half.write_all(&PREFACE[..9]).await.unwrap();
        for words in [&b"GET / HTTP/1.1\r\n"[..], &[PREFACE, b"then frames"].concat(), b"POST", b"\0"] {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(words).await.unwrap();
            let mut connection = incoming.next().await;
            assert_eq!(heard(&mut connection, words.len()).await, words);
        }
        half.write_all(&PREFACE[9..]).await.unwrap();
        assert_eq!(heard(&mut incoming.next().await, PREFACE.len()).await, PREFACE);
    }

    #[tokio::test]
    async fn a_place_is_kept_to_the_end_and_then_somebody_elses() {
        let (mut incoming, address, places) = listening(1).await;
        let mut first = TcpStream::connect(address).await.unwrap();
        let mut second = TcpStream::connect(address).await.unwrap();
        first.write_all(b"first").await.unwrap();
        second.write_all(b"second").await.unwrap();
        let connection = incoming.next().await;
        assert_eq!(places.available_permits(), 0);
        assert!(futures::poll!(Box::pin(incoming.next())).is_pending(), "there is no place");
        drop(connection);
        assert_eq!(heard(&mut incoming.next().await, 6).await, b"second");
    }

    #[tokio::test]
    async fn whoever_leaves_without_a_word_gives_up_the_place() {
        let (mut incoming, address, places) = listening(1).await;
        drop(TcpStream::connect(address).await.unwrap());
        let mut second = TcpStream::connect(address).await.unwrap();
        second.write_all(b"second").await.unwrap();
        assert_eq!(heard(&mut incoming.next().await, 6).await, b"second");
        assert_eq!(places.available_permits(), 1);
    }
}
