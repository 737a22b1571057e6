//! Which port `dev` listens on: the one that was asked for, else 7420 or the next one that is free. Loopback only.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    ops::RangeInclusive,
};

use crate::{address::DEFAULT_PORT, exit::Exit, failure::Failure};

/// How many ports after the first are tried.
const TRIED: u16 = 100;

/// The ports that may be used, and how far they were tried.
#[derive(Debug)]
pub(super) struct Ports {
    left: RangeInclusive<u16>,
    asked: Option<u16>,
    first: u16,
    found: u16,
}

impl Ports {
    /// The port that was asked for and no other, or the default and those after it.
    pub(super) fn new(asked: Option<u16>) -> Self {
        match asked {
            Some(port) => Self { left: port..=port, asked, first: port, found: port },
            None => Self::from(DEFAULT_PORT),
        }
    }

    fn from(first: u16) -> Self {
        Self { left: first..=first.saturating_add(TRIED), asked: None, first, found: first }
    }

    /// Loopback addresses with the next port on which nobody listens.
    pub(super) fn next_free(&mut self) -> Result<Vec<SocketAddr>, Failure> {
        for port in self.left.by_ref() {
            if let Some(addresses) = free(port)? {
                self.found = addresses.first().map_or(port, SocketAddr::port);
                return Ok(addresses);
            }
        }
        Err(match self.asked {
            Some(port) => {
                Failure::new(Exit::Conflict, "ADDRESS_IN_USE", format!("port {port} is taken by another program"))
                    .hint("stop it, or leave out --port to take the next free one")
            }
            None => Failure::new(Exit::Conflict, "ADDRESS_IN_USE", format!("no port from {} on is free", self.first))
                .hint("choose one with --port; 0 takes any free one"),
        })
    }

    /// Whether another port would do as well.
    pub(super) fn may_move(&self) -> bool {
        self.asked.is_none()
    }

    /// What to say where it is not the usual port.
    pub(super) fn moved(&self) -> Option<String> {
        (self.asked.is_none() && self.found != self.first)
            .then(|| format!("note: port {} is taken, using {}", self.first, self.found))
    }
}

/// Both loopback addresses, where nobody listens on either. A machine without IPv6 has one.
fn free(port: u16) -> Result<Option<Vec<SocketAddr>>, Failure> {
    let four = match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(listener) => listener,
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Ok(None),
        Err(error) => {
            return Err(Failure::new(Exit::Failed, "ADDRESS_REFUSED", format!("127.0.0.1:{port}: {error}")));
        }
    };
    // Port 0 has become a number; the other address takes the same.
    let address = four.local_addr()?;
    match TcpListener::bind((Ipv6Addr::LOCALHOST, address.port())) {
        Ok(six) => Ok(Some(vec![address, six.local_addr()?])),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(None),
        Err(_) => Ok(Some(vec![address])),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::Ports;

    #[test]
    fn a_port_that_was_asked_for_is_taken_or_refused() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let failure = Ports::new(Some(port)).next_free().unwrap_err();
        assert_eq!((failure.reason(), failure.exit().number()), ("ADDRESS_IN_USE", 5));
    }

    #[test]
    fn otherwise_the_next_free_one_is_used_and_said() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let first = taken.local_addr().unwrap().port();
        let mut ports = Ports::from(first);
        let addresses = ports.next_free().unwrap();
        assert!(addresses.iter().all(|address| address.ip().is_loopback() && address.port() > first));
        assert!(ports.moved().is_some_and(|note| note.contains(&first.to_string())));
        let again = ports.next_free().unwrap();
        assert!(again[0].port() > addresses[0].port(), "each port is tried once");
    }

    #[test]
    fn zero_is_any_free_one() {
        let mut ports = Ports::new(Some(0));
        let addresses = ports.next_free().unwrap();
        assert!(addresses.iter().all(|address| address.port() == addresses[0].port() && address.port() != 0));
        assert!(ports.moved().is_none() && !ports.may_move());
    }
}
