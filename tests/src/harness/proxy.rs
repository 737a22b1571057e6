//! A TCP proxy between a worker and its server, which breaks connections in the ways networks do.
//!
//! What passes through is a byte stream, so nothing may be left out of it: [`Flow::Hold`] stops reading, as a network
//! does that delivers nothing, and the bytes come later; a cut ends the connections and loses what was on the way.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, stream::FuturesUnordered};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

use super::host::{self, Task};

/// What happens to bytes of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// They go on.
    Pass,
    /// They go on after this long.
    Delay(Duration),
    /// They stay where they are: the connection lives, and nothing arrives.
    Hold,
}

/// From the client to the server, or back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// What the worker says.
    Up,
    /// What the server says.
    Down,
}

#[derive(Clone, Copy, Debug)]
struct Rules {
    up: Flow,
    down: Flow,
    /// Whether new connections are let in.
    open: bool,
    /// Connections of an earlier era are cut.
    era: u64,
}

/// A proxy; it ends with this handle.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    rules: watch::Sender<Rules>,
    _task: Task<()>,
}

impl Proxy {
    /// Listens on a free port, in front of the server at HOST:PORT.
    pub async fn start(upstream: &str) -> Result<Self> {
        let upstream = upstream.parse().with_context(|| format!("`{upstream}` is no address"))?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (rules, watched) = watch::channel(Rules { up: Flow::Pass, down: Flow::Pass, open: true, era: 0 });
        Ok(Self { address, rules, _task: host::spawn(listen(listener, upstream, watched)) })
    }

    /// HOST:PORT to connect to.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Ends all connections, and lets new ones in at once.
    pub fn cut(&self) {
        self.rules.send_modify(|rules| rules.era += 1);
    }

    /// Ends all connections, and lets no new ones in.
    pub fn sever(&self) {
        self.rules.send_modify(|rules| {
            rules.era += 1;
            rules.open = false;
        });
    }

    /// Changes what happens to the bytes of a direction.
    pub fn flow(&self, direction: Direction, flow: Flow) {
        self.rules.send_modify(|rules| match direction {
            Direction::Up => rules.up = flow,
            Direction::Down => rules.down = flow,
        });
    }

    /// Nothing arrives any more, in either direction.
    pub fn silence(&self) {
        self.flow(Direction::Up, Flow::Hold);
        self.flow(Direction::Down, Flow::Hold);
    }

    /// Everything is as it was in the beginning.
    pub fn heal(&self) {
        self.rules.send_modify(|rules| *rules = Rules { up: Flow::Pass, down: Flow::Pass, open: true, era: rules.era });
    }
}

async fn listen(listener: TcpListener, upstream: SocketAddr, rules: watch::Receiver<Rules>) {
    let mut connections = FuturesUnordered::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                // A client that is not let in sees its connection end at once.
                if rules.borrow().open {
                    connections.push(connection(client, upstream, rules.clone()));
                }
            }
            Some(()) = connections.next() => {}
        }
    }
}

async fn connection(client: TcpStream, upstream: SocketAddr, rules: watch::Receiver<Rules>) {
    let era = rules.borrow().era;
    let Ok(server) = TcpStream::connect(upstream).await else { return };
    let nodelay = client.set_nodelay(true).and_then(|()| server.set_nodelay(true));
    if nodelay.is_err() {
        return;
    }
    let mut cut = rules.clone();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let both = async {
        tokio::join!(
            pump(from_client, to_server, rules.clone(), |rules| rules.up),
            pump(from_server, to_client, rules.clone(), |rules| rules.down),
        )
    };
    tokio::select! {
        _ = both => {}
        // Dropping all four halves ends both connections, whatever is on the way.
        _ = cut.wait_for(|rules| rules.era != era) => {}
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut rules: watch::Receiver<Rules>,
    flow: fn(&Rules) -> Flow,
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        if rules.wait_for(|rules| flow(rules) != Flow::Hold).await.is_err() {
            return;
        }
        let length = tokio::select! {
            read = from.read(&mut buffer) => read.unwrap_or(0),
            changed = rules.wait_for(|rules| flow(rules) == Flow::Hold) => {
                if changed.is_err() { return }
                continue;
            }
        };
        let now = flow(&rules.borrow());
        if let Flow::Delay(length) = now {
            host::pass_time(length, "a slow network").await;
        }
        // What was read just before the connection went silent waits like the rest.
        if rules.wait_for(|rules| flow(rules) != Flow::Hold).await.is_err() {
            return;
        }
        if length == 0 {
            let _ = to.shutdown().await;
            return;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, time::Duration};

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream},
    };

    use super::{Direction, Flow, Proxy};
    use crate::harness::host::{self, PATIENCE, Task};

    const MOMENT: Duration = Duration::from_millis(300);

    /// A server that says everything again, behind a proxy.
    async fn echo() -> (Proxy, Task<()>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = host::spawn(async move {
            let mut connections = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                connections.push(host::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                }));
            }
        });
        (Proxy::start(&address).await.unwrap(), server)
    }

    async fn hears(stream: &mut TcpStream, word: &[u8; 4]) {
        let mut heard = [0; 4];
        host::within(PATIENCE, "an echo", stream.read_exact(&mut heard)).await.unwrap().unwrap();
        assert_eq!(&heard, word);
    }

    #[tokio::test]
    async fn what_was_held_comes_later_and_nothing_is_missing() {
        let (proxy, _server) = echo().await;
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        stream.write_all(b"ping").await.unwrap();
        hears(&mut stream, b"ping").await;
        for direction in [Direction::Up, Direction::Down] {
            proxy.flow(direction, Flow::Hold);
            stream.write_all(b"held").await.unwrap();
            assert!(host::within(MOMENT, "nothing", stream.peek(&mut [0])).await.is_err(), "{direction:?}");
            proxy.heal();
            hears(&mut stream, b"held").await;
        }
    }

    #[tokio::test]
    async fn a_severed_proxy_ends_connections_and_lets_none_in() {
        let (proxy, _server) = echo().await;
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        stream.write_all(b"ping").await.unwrap();
        hears(&mut stream, b"ping").await;
        proxy.sever();
        let end = host::within(PATIENCE, "the end", stream.read_u8()).await.unwrap();
        assert!(end.is_err());
        let mut refused = TcpStream::connect(proxy.address()).await.unwrap();
        assert!(host::within(PATIENCE, "the end", refused.read_u8()).await.unwrap().is_err());
        proxy.heal();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        stream.write_all(b"ping").await.unwrap();
        hears(&mut stream, b"ping").await;
        proxy.cut();
        assert!(host::within(PATIENCE, "the end", stream.read_u8()).await.unwrap().is_err());
    }

    #[tokio::test]
    async fn a_slow_network_is_slow() {
        let (proxy, _server) = echo().await;
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        proxy.flow(Direction::Up, Flow::Delay(MOMENT));
        let begin = host::monotonic();
        stream.write_all(b"slow").await.unwrap();
        hears(&mut stream, b"slow").await;
        assert!(host::monotonic() - begin >= MOMENT.as_nanos() as u64);
    }
}
