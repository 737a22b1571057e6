//! Sockets: our own, so that port 0 is known before anything is served, and both loopback families share one port.

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
};

use tokio::net::{TcpListener, TcpSocket};

use super::StartError;
use crate::config::ListenConfig;

const BACKLOG: u32 = 1_024;
/// So many ports are tried: free ones where the other family has them taken, or those after the one that was named.
const TRIES: usize = 100;

/// A socket, and where it really listens.
pub(super) type Bound = (TcpListener, SocketAddr);

/// Binds every address, all or none.
pub(super) async fn bind(config: &ListenConfig) -> Result<Vec<Bound>, StartError> {
    let mut addresses = config.addresses.clone();
    let any = addresses.iter().any(|address| address.port() == 0);
    for _ in 1..TRIES {
        match bind_all(&addresses) {
            Err((_, error)) if error.kind() == ErrorKind::AddrInUse && any => {}
            Err((address, error)) if error.kind() == ErrorKind::AddrInUse && config.next_free => {
                let next = address.port().checked_add(1).unwrap_or(0);
                addresses.iter_mut().for_each(|address| address.set_port(next));
            }
            Err((address, source)) => return Err(StartError::Listen { address, source }),
            Ok(bound) => return Ok(bound),
        }
    }
    bind_all(&addresses).map_err(|(address, source)| StartError::Listen { address, source })
}

/// Binds the addresses of the page of metrics, all or none.
pub(super) fn bind_metrics(config: &ListenConfig) -> Result<Vec<Bound>, StartError> {
    bind_all(&config.metrics).map_err(|(address, source)| StartError::Listen { address, source })
}

/// Binds every address, or says which one cannot be. Addresses with port 0 share the port that the first of them gets. A
/// machine without IPv6 listens without it.
fn bind_all(addresses: &[SocketAddr]) -> Result<Vec<Bound>, (SocketAddr, io::Error)> {
    let mut bound: Vec<Bound> = Vec::new();
    let mut shared = 0;
    for address in addresses {
        let mut wanted = *address;
        if wanted.port() == 0 {
            wanted.set_port(shared);
        }
        match bind_one(wanted) {
            Ok((listener, at)) => {
                if address.port() == 0 {
                    shared = at.port();
                }
                bound.push((listener, at));
            }
            Err(error) if wanted.is_ipv6() && !bound.is_empty() && is_family_missing(&error) => {
                tracing::warn!(%wanted, %error, "this machine has no such address; listening without it");
            }
            Err(error) => return Err((wanted, error)),
        }
    }
    Ok(bound)
}

fn bind_one(address: SocketAddr) -> io::Result<Bound> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restart must not wait for the connections of the process before.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?;
    let at = listener.local_addr()?;
    Ok((listener, at))
}

fn is_family_missing(error: &io::Error) -> bool {
    // EAFNOSUPPORT has no kind of its own.
    error.kind() == ErrorKind::AddrNotAvailable
        || error.kind() == ErrorKind::Unsupported
        || error.raw_os_error() == Some(97)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_loopback_families_share_a_free_port() {
        let bound = bind(&ListenConfig::loopback(0)).await.unwrap();
        let ports: Vec<_> = bound.iter().map(|(_, address)| address.port()).collect();
        assert!(ports[0] != 0 && ports.iter().all(|port| *port == ports[0]), "{ports:?}");
    }

    #[tokio::test]
    async fn a_taken_port_is_refused_or_passed_by() {
        let first = bind(&ListenConfig::loopback(0)).await.unwrap();
        let taken = first[0].1.port();
        let refused = bind(&ListenConfig::loopback(taken)).await.unwrap_err();
        assert!(matches!(refused, StartError::Listen { address, .. } if address.port() == taken));
        let next = bind(&ListenConfig { next_free: true, ..ListenConfig::loopback(taken) }).await.unwrap();
        assert_ne!(next[0].1.port(), taken);
    }
}
