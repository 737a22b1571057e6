//! Addresses as users write them: `https://host[:port]/path?query`, and nothing that could be read in two ways.

use std::net::IpAddr;

use http::{Uri, uri::Scheme};

/// Longer is refused.
const MAX: usize = 2_048;

/// Where a letter goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) is_tls: bool,
    /// Name or address, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// `host` with the port, where that is not the usual one: the header of that name.
    pub(super) authority: String,
    pub(super) path: String,
}

impl Target {
    /// Reads an address, or says what is wrong with it.
    pub(super) fn read(url: &str) -> Result<Self, String> {
        if url.len() > MAX {
            return Err(format!("must be at most {MAX} characters"));
        }
        let shape = || "must be an address such as https://example.org/hooks/mainspring".to_owned();
        if url.contains('#') {
            return Err("must have no `#`: what stands after it is never sent".into());
        }
        let uri: Uri = url.parse().map_err(|_| shape())?;
        let is_tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(shape()),
        };
        let authority = uri.authority().ok_or_else(shape)?;
        if authority.as_str().contains('@') {
            return Err("must hold no user and no password: put what proves who you are into the path, or check the \
                        signature"
                .into());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() || (authority.as_str().contains(':') && authority.port().is_none() && !is_v6(&host)) {
            return Err(shape());
        }
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Self { is_tls, host, port, authority: authority.as_str().to_owned(), path })
    }

    /// The address, where it is written as one.
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

fn is_v6(host: &str) -> bool {
    host.contains(':')
}

#[cfg(test)]
mod tests {
    use super::Target;

    #[test]
    fn addresses_are_read_in_one_way_only() {
        let read = Target::read("https://hooks.example.org/a/b?c=d").unwrap();
        let parts = (read.is_tls, read.host.as_str(), read.port, read.authority.as_str(), read.path.as_str());
        assert_eq!(parts, (true, "hooks.example.org", 443, "hooks.example.org", "/a/b?c=d"));
        let read = Target::read("http://[::1]:8080").unwrap();
        let parts = (read.is_tls, read.host.as_str(), read.port, read.authority.as_str(), read.path.as_str());
        assert_eq!(parts, (false, "::1", 8080, "[::1]:8080", "/"));
        assert_eq!(read.address(), Some("::1".parse().unwrap()));
        let long = format!("https://example.org/{}", "a".repeat(2_048));
        for bad in [
            "",
            "example.org",
            "/path",
            "ftp://example.org/",
            "https://",
            "https:///path",
            "https://user@example.org/",
            "https://user:word@example.org/",
            "https://example.org/#part",
            "https://example.org:port/",
            "https://exa mple.org/",
            "https://example.org/\r\nx: y",
            "file:///etc/passwd",
            &long,
        ] {
            assert!(Target::read(bad).is_err(), "{bad}");
        }
    }
}
