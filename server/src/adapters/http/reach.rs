//! Which addresses may be reached by what a user writes.
//!
//! Without a word in the settings: what is public, and nothing else. Whoever may create a sink could otherwise make the
//! server speak to what only the server can reach: its own host, the network around it, the cloud's metadata service.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config::{Network, WebhooksConfig};

/// What the settings say of it.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    allow_http: bool,
    allow_loopback: bool,
    networks: Vec<Network>,
}

impl From<&WebhooksConfig> for Reach {
    fn from(config: &WebhooksConfig) -> Self {
        let WebhooksConfig { allow_http, allow_loopback, allow_networks } = config;
        Self { allow_http: *allow_http, allow_loopback: *allow_loopback, networks: allow_networks.clone() }
    }
}

impl Reach {
    /// Whether plain HTTP may be spoken to anybody at all.
    pub(super) fn knows_http(&self) -> bool {
        self.allow_http || self.allow_loopback
    }

    /// Why an address may not be reached, or not without TLS.
    pub(super) fn refuses(&self, address: IpAddr, is_tls: bool) -> Option<String> {
        let address = address.to_canonical();
        let is_near = self.allow_loopback && address.is_loopback();
        let is_open = is_near || self.networks.iter().any(|network| network.contains(address));
        if let Some(kind) = closed(address).filter(|_| !is_open) {
            return Some(format!("{address} is {kind}; {}", allowed_by(address)));
        }
        (!is_tls && !self.allow_http && !is_near).then(|| {
            format!(
                "{address} would be sent to in the clear; use https, or set MAINSPRING_WEBHOOKS__ALLOW_HTTP to true"
            )
        })
    }
}

fn allowed_by(address: IpAddr) -> String {
    if address.is_loopback() {
        "the server reaches it with MAINSPRING_WEBHOOKS__ALLOW_LOOPBACK set to true".into()
    } else {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        format!("the server reaches it with {address}/{bits}, or its network, in MAINSPRING_WEBHOOKS__ALLOW_NETWORKS")
    }
}

/// What kind of address that is not public it is.
fn closed(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => closed_v4(address),
        IpAddr::V6(address) => closed_v6(address),
    }
}

fn closed_v4(address: Ipv4Addr) -> Option<&'static str> {
    let [a, b, c, _] = address.octets();
    Some(match (a, b, c) {
        (127, ..) => "this machine",
        (0, ..) => "no address of a host",
        (10, ..) | (172, 16..=31, _) | (192, 168, _) => "private",
        (100, 64..=127, _) => "shared by a provider's customers",
        (169, 254, _) => "link-local, where clouds keep their metadata",
        (192, 0, 0 | 2) | (192, 88, 99) | (198, 18..=19, _) | (198, 51, 100) | (203, 0, 113) | (240.., ..) => {
            "reserved"
        }
        (224..=239, ..) => "multicast",
        _ => return None,
    })
}

fn closed_v6(address: Ipv6Addr) -> Option<&'static str> {
    let parts = address.segments();
    Some(match parts {
        [0, 0, 0, 0, 0, 0, 0, 1] => "this machine",
        [0xfc00..=0xfdff | 0xfec0..=0xfeff, ..] => "private",
        [0xfe80..=0xfebf, ..] => "link-local",
        [0xff00..=0xffff, ..] => "multicast",
        // What stands for an address of the other family may stand for one that is closed.
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => return closed_v4(v4_in(parts[6], parts[7])),
        [0x2002, ..] => return closed_v4(v4_in(parts[1], parts[2])),
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => "reserved",
        [0x2000..=0x3fff, ..] => return None,
        _ => "reserved",
    })
}

fn v4_in(high: u16, low: u16) -> Ipv4Addr {
    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
    Ipv4Addr::new(a, b, c, d)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(reach: &Reach, address: &str) -> bool {
        reach.refuses(address.parse().unwrap(), true).is_some()
    }

    #[test]
    fn only_what_is_public_is_reached() {
        let reach = Reach::default();
        let closed = [
            "127.0.0.1",
            "127.8.8.8",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "169.254.169.254",
            "192.0.0.1",
            "192.0.2.1",
            "198.18.0.1",
            "203.0.113.9",
            "224.0.0.1",
            "239.1.1.1",
            "255.255.255.255",
            "240.0.0.1",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::7f00:1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2001:db8::1",
            "2001::1",
            "100::1",
            "3fff::1",
        ];
        for address in closed {
            assert!(refused(&reach, address), "{address}");
        }
        for address in
            ["1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "64:ff9b::808:808", "2002:808:808::"]
        {
            assert!(!refused(&reach, address), "{address}");
        }
    }

    #[test]
    fn settings_open_what_they_name_and_say_so() {
        let networks = vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let reach = Reach { networks, ..Reach::default() };
        assert!(!refused(&reach, "10.9.9.9") && !refused(&reach, "fd12::1") && !refused(&reach, "::ffff:10.0.0.1"));
        assert!(refused(&reach, "192.168.0.1") && refused(&reach, "127.0.0.1"));
        let why = reach.refuses("192.168.0.1".parse().unwrap(), true).unwrap();
        assert!(why.contains("private") && why.contains("ALLOW_NETWORKS") && why.contains("192.168.0.1/32"), "{why}");
        let why = reach.refuses("127.0.0.1".parse().unwrap(), true).unwrap();
        assert!(why.contains("ALLOW_LOOPBACK"), "{why}");
    }

    #[test]
    fn without_tls_only_what_was_allowed_is_reached() {
        let clear = |reach: &Reach, address: &str| reach.refuses(address.parse().unwrap(), false);
        assert!(clear(&Reach::default(), "1.1.1.1").unwrap().contains("ALLOW_HTTP"));
        let near = Reach { allow_loopback: true, ..Reach::default() };
        assert_eq!(clear(&near, "127.0.0.1"), None);
        assert_eq!(clear(&near, "::1"), None);
        assert!(clear(&near, "1.1.1.1").is_some());
        let open = Reach { allow_http: true, ..Reach::default() };
        assert_eq!(clear(&open, "1.1.1.1"), None);
        assert!(clear(&open, "127.0.0.1").is_some(), "HTTP alone opens no address");
    }
}
