//! Where a server is: `host`, `host:port` or `http://host:port`. Two ways to write one address are one address, so that a
//! key that was stored for a server is found again however the server is named.

use std::{fmt, net::IpAddr, str::FromStr};

/// The port Mainspring listens on unless told otherwise.
pub const DEFAULT_PORT: u16 = 7420;

/// The address of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    host: String,
    port: u16,
}

/// Why a text is no address.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{text}` is no address: {reason}")]
pub struct AddressError {
    text: String,
    reason: &'static str,
}

impl Address {
    /// The server `mainspring dev` starts.
    pub fn local(port: u16) -> Self {
        Self { host: "127.0.0.1".into(), port }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `host:port`, as grpcurl wants it.
    pub fn host_and_port(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Whether both name the same listener. The names of loopback are one host: a key that was stored for
    /// `127.0.0.1` is good for `localhost`, and for nothing farther away.
    pub fn is_same_server(&self, other: &Self) -> bool {
        self.port == other.port && (self.host == other.host || (self.is_loopback() && other.is_loopback()))
    }

    /// Whether it is on this machine: what goes there crosses no network.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost"
            || self.host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl Default for Address {
    fn default() -> Self {
        Self::local(DEFAULT_PORT)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}:{}", self.host, self.port)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        let refuse = |reason| AddressError { text: text.into(), reason };
        let rest = match text.split_once("://") {
            None => text,
            Some(("http", rest)) => rest,
            Some(("https", _)) => {
                return Err(refuse(
                    "this version has no TLS; use http:// to a proxy or tunnel on this machine that speaks TLS to the server",
                ));
            }
            Some(_) => return Err(refuse("its scheme is not http: write host:port or http://host:port")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#', '@']) || rest.contains(char::is_whitespace) {
            return Err(refuse("it holds more than a host and a port: write host:port or http://host:port"));
        }
        // An IPv6 host holds colons of its own, so it is told apart by its brackets.
        let (host, port) = match rest.strip_prefix('[') {
            Some(bracketed) => {
                let (inside, after) = bracketed.split_once(']').ok_or_else(|| refuse("a bracket is not closed"))?;
                inside.parse::<std::net::Ipv6Addr>().map_err(|_| refuse("between the brackets is no IPv6 address"))?;
                let port = match after {
                    "" => None,
                    after => Some(after.strip_prefix(':').ok_or_else(|| refuse("a port follows the bracket by `:`"))?),
                };
                (format!("[{inside}]"), port)
            }
            None => match rest.split_once(':') {
                Some((_, port)) if port.contains(':') => {
                    return Err(refuse("an IPv6 host is written in brackets, like [::1]:7420"));
                }
                Some((host, port)) => (host.to_ascii_lowercase(), Some(port)),
                None => (rest.to_ascii_lowercase(), None),
            },
        };
        if host.is_empty() {
            return Err(refuse("the host is missing"));
        }
        let port = match port {
            None => DEFAULT_PORT,
            Some(port) => {
                port.parse().ok().filter(|port| *port != 0).ok_or_else(|| refuse("its port is not 1 to 65535"))?
            }
        };
        Ok(Self { host, port })
    }
}

#[cfg(test)]
mod tests {
    use super::Address;

    #[test]
    fn an_address_is_written_in_several_ways() {
        for (text, canonical) in [
            ("127.0.0.1:7420", "http://127.0.0.1:7420"),
            ("http://127.0.0.1:7420", "http://127.0.0.1:7420"),
            ("http://localhost:7420/", "http://localhost:7420"),
            ("Scheduler.Example", "http://scheduler.example:7420"),
            ("[::1]:9000", "http://[::1]:9000"),
            ("http://[::1]", "http://[::1]:7420"),
            (" 127.0.0.1 \n", "http://127.0.0.1:7420"),
        ] {
            assert_eq!(text.parse::<Address>().map(|address| address.to_string()), Ok(canonical.into()), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_its_reason() {
        for (text, reason) in [
            ("", "host is missing"),
            (":7420", "host is missing"),
            ("host:0", "port"),
            ("host:70000", "port"),
            ("host:", "port"),
            ("https://host:7420", "has no TLS"),
            ("grpc://host:7420", "scheme"),
            ("http://user@host:7420", "more than"),
            ("http://host:7420/path", "more than"),
            ("::1", "brackets"),
            ("[::1", "not closed"),
            ("[nonsense]:1", "no IPv6"),
        ] {
            let error = text.parse::<Address>().expect_err(text).to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn the_names_of_loopback_are_one_host() {
        let stored: Address = "http://127.0.0.1:7420".parse().unwrap();
        for same in ["localhost:7420", "[::1]:7420", "127.0.0.1"] {
            assert!(stored.is_same_server(&same.parse().unwrap()), "{same}");
        }
        for other in ["localhost:7421", "example.com:7420"] {
            assert!(!stored.is_same_server(&other.parse().unwrap()), "{other}");
        }
    }
}
