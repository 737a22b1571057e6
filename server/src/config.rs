//! What a server can be told, as types that cannot be wrong.
//!
//! Nested per component, with documented defaults; a binary fills a [`Config`] from its flags and from the environment
//! ([`Config::from_env`], the only place that reads it), then [`Config::checked`] refuses what must not run. Layering of
//! files comes later and changes nothing behind this module.

mod env;
mod network;
pub mod settings;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use mainspring_engine::{
    domain::{budget::LATE_RUNS_A_SECOND, rules::LeaseRules},
    ports::store::RetentionPolicy,
};
use secrecy::{ExposeSecret as _, SecretString};

pub use env::EnvError;
pub use network::Network;
pub use settings::{SETTINGS, Setting};

use crate::auth::{Passwords, PolicyError};
use settings::shown_length;

/// The port people know.
pub const DEFAULT_PORT: u16 = 7420;
/// For so long the API promises that a repeated `request_id` is answered with the same run.
const PROMISED: Duration = Duration::from_secs(24 * 3600);

/// Everything a server can be told.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// `mainspring dev`: an admin key is kept in the data directory, reflection needs no credential.
    pub dev: bool,
    /// Where it listens.
    pub listen: ListenConfig,
    /// Where and how it stores.
    pub database: DatabaseConfig,
    /// Credentials.
    pub auth: AuthConfig,
    /// Sizes and times.
    pub limits: LimitsConfig,
    /// How long things are kept.
    pub retention: RetentionPolicy,
    /// Whom it may tell what goes wrong.
    pub webhooks: WebhooksConfig,
    /// Where its zone data come from.
    pub zones: ZonesConfig,
    /// How it tells what it does.
    pub log: LogConfig,
}

/// Where zone data come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ZonesConfig {
    /// A folder of compiled zones. None: those built in.
    pub directory: Option<PathBuf>,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenConfig {
    /// Addresses. Port 0 is any free one, the same for all of them. Default 127.0.0.1:7420 and \[`::1`\]:7420.
    pub addresses: Vec<SocketAddr>,
    /// Addresses of the page of metrics. Default none.
    pub metrics: Vec<SocketAddr>,
    /// Where a port is taken, take the next free one: what `dev` does unless it was told a port. No setting.
    pub next_free: bool,
}

/// Where and how a server stores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseConfig {
    /// Directory of everything the server keeps. Default `mainspring-data`.
    pub data: PathBuf,
    /// What a commit waits for. Default full.
    pub synchronous: Synchronous,
}

/// What a commit of the embedded database waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Synchronous {
    /// The disk: what was answered survives a power cut.
    #[default]
    Full,
    /// The operating system: what was answered survives a crash of the server, but the last of it not a power cut, after
    /// which an attempt number may be given out twice.
    Normal,
}

/// Credentials.
#[derive(Clone, Debug)]
pub struct AuthConfig {
    /// Password of `root`, used only while `root` has not chosen one. None makes a one-time one, but not for `dev`.
    pub root_password: Option<SecretString>,
    /// How long an access token is good. Default 15 min, at most 30.
    pub access_ttl: Duration,
    /// How long a session lasts, whatever is refreshed. Default 12 h.
    pub session_ttl: Duration,
    /// `iss` of access tokens. Default `mainspring`.
    pub issuer: String,
    /// `aud` of access tokens. Default `mainspring-clients`.
    pub audience: String,
}

/// Sizes and times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitsConfig {
    /// How long a worker's leases live after its last heartbeat; the other times of leases follow from it. Default 30 s.
    pub lease_ttl: Duration,
    /// How long a shutdown waits for workers to move away. Default 30 s.
    pub drain_deadline: Duration,
    /// Runs a second that are made of what was missed. Default 1,000.
    pub late_runs: u32,
    /// Connections at a time; whoever comes then waits. Default 10,000, or as many as the system allows.
    pub max_connections: usize,
    /// Largest message. Default 4 MiB.
    pub max_message_bytes: usize,
    /// Largest inline payload. Default 1 MiB.
    pub max_inline_payload_bytes: usize,
}

/// Whom a server may tell what goes wrong, beside what is public and speaks TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebhooksConfig {
    /// Anybody without TLS. Default no.
    pub allow_http: bool,
    /// This machine, with TLS or without. Default no.
    pub allow_loopback: bool,
    /// Addresses that are not public. Default none.
    pub allow_networks: Vec<Network>,
}

/// How a server tells what it does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogConfig {
    /// Default text.
    pub format: LogFormat,
    /// What is told, as in `RUST_LOG`. None leaves it to `RUST_LOG`, then to the command.
    pub filter: Option<String>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl ListenConfig {
    /// Both loopback families on one port.
    pub fn loopback(port: u16) -> Self {
        let addresses = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        Self { addresses: addresses.map(|ip| SocketAddr::new(ip, port)).into(), metrics: Vec::new(), next_free: false }
    }
}

impl Default for ListenConfig {
    fn default() -> Self {
        Self::loopback(DEFAULT_PORT)
    }
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self { data: "mainspring-data".into(), synchronous: Synchronous::Full }
    }
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            root_password: None,
            access_ttl: Duration::from_secs(15 * 60),
            session_ttl: Duration::from_secs(12 * 3600),
            issuer: "mainspring".into(),
            audience: "mainspring-clients".into(),
        }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            lease_ttl: Duration::from_secs(30),
            drain_deadline: Duration::from_secs(30),
            late_runs: LATE_RUNS_A_SECOND,
            max_connections: 10_000,
            max_message_bytes: 4 << 20,
            max_inline_payload_bytes: 1 << 20,
        }
    }
}

impl FromStr for Synchronous {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "full" => Ok(Self::Full),
            "normal" => Ok(Self::Normal),
            _ => Err("must be `full` or `normal`".into()),
        }
    }
}

impl fmt::Display for Synchronous {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "full",
            Self::Normal => "normal",
        })
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("must be `text` or `json`".into()),
        }
    }
}

/// Why a server must not run like that. The exit code for it is 78.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// It would listen in the clear where others can hear.
    #[error(
        "{0} is not a loopback address, and this version does not serve TLS: listen on 127.0.0.1 or [::1], and put a \
         proxy that terminates TLS on the same machine in front (listen.addresses)"
    )]
    PlaintextOutside(SocketAddr),
    /// It would tell everybody what it does.
    #[error(
        "{0} is not a loopback address, and the page of metrics asks nobody who they are: listen on 127.0.0.1 or [::1] \
         (listen.metrics)"
    )]
    MetricsOutside(SocketAddr),
    /// It would listen nowhere.
    #[error("name at least one address to listen on (listen.addresses)")]
    NoAddress,
    /// Leases could not work.
    #[error("limits.lease_ttl must be 1 s to 1 h, not {0:?}")]
    LeaseTtl(Duration),
    /// Tokens would be good for too long or too short.
    #[error("auth.access_ttl must be 1 s to 30 min and no longer than auth.session_ttl, not {0:?}")]
    AccessTtl(Duration),
    /// Tokens would be anybody's.
    #[error("auth.issuer and auth.audience must not be empty")]
    NoIssuer,
    /// The password of `root` is no password.
    #[error("the root password {0}")]
    RootPassword(PolicyError),
    /// A repeated request would not find its first answer.
    #[error(
        "retention.requests must be at least 24h, not {shown}: for so long the API promises that a request_id answers with \
         the same run",
        shown = shown_length(.0)
    )]
    Requests(Duration),
    /// A repeated request would be answered with a run that is gone.
    #[error(
        "retention.{name} is {shown}, shorter than retention.requests ({requests}): a request_id must not outlive its run",
        shown = shown_length(kept),
        requests = shown_length(requests)
    )]
    RunsBeforeRequests {
        /// Of which runs.
        name: &'static str,
        /// How long they would be kept.
        kept: Duration,
        /// How long their request ids would be.
        requests: Duration,
    },
    /// What was missed would never be caught up with.
    #[error("limits.late_runs must be at least 1")]
    LateRuns,
    /// Nobody could connect, or too many could.
    #[error("limits.max_connections must be 1 to 1,000,000, not {0}")]
    Connections(usize),
    /// Messages could not carry payloads.
    #[error(
        "limits.max_inline_payload_bytes must be at least 1 KiB, and limits.max_message_bytes at least twice as much \
         and at most 64 MiB"
    )]
    Sizes,
}

impl Config {
    /// The times leases live by.
    pub fn lease_rules(&self) -> LeaseRules {
        LeaseRules::for_lease(self.limits.lease_ttl)
    }

    /// Refuses what must not run.
    pub fn checked(self) -> Result<Self, ConfigError> {
        if self.listen.addresses.is_empty() {
            return Err(ConfigError::NoAddress);
        }
        if let Some(outside) = self.listen.addresses.iter().find(|address| !address.ip().is_loopback()) {
            return Err(ConfigError::PlaintextOutside(*outside));
        }
        if let Some(outside) = self.listen.metrics.iter().find(|address| !address.ip().is_loopback()) {
            return Err(ConfigError::MetricsOutside(*outside));
        }
        let lease = self.limits.lease_ttl;
        let sane = Duration::from_secs(1)..=Duration::from_secs(3600);
        if !sane.contains(&lease) || self.lease_rules().checked().is_err() {
            return Err(ConfigError::LeaseTtl(lease));
        }
        let access = self.auth.access_ttl;
        let sane = Duration::from_secs(1)..=Duration::from_secs(30 * 60);
        if !sane.contains(&access) || access > self.auth.session_ttl {
            return Err(ConfigError::AccessTtl(access));
        }
        if self.auth.issuer.is_empty() || self.auth.audience.is_empty() {
            return Err(ConfigError::NoIssuer);
        }
        if let Some(password) = &self.auth.root_password {
            Passwords::check(password.expose_secret()).map_err(ConfigError::RootPassword)?;
        }
        let RetentionPolicy {
            succeeded,
            failed,
            unresolved,
            logs: _,
            ledger: _,
            jobs: _,
            requests,
            workers: _,
            deliveries: _,
        } = self.retention;
        if requests < PROMISED {
            return Err(ConfigError::Requests(requests));
        }
        for (name, kept) in [("succeeded", succeeded), ("failed", failed), ("unresolved", unresolved)] {
            if kept < requests {
                return Err(ConfigError::RunsBeforeRequests { name, kept, requests });
            }
        }
        if self.limits.late_runs == 0 {
            return Err(ConfigError::LateRuns);
        }
        let connections = self.limits.max_connections;
        if !(1..=1_000_000).contains(&connections) {
            return Err(ConfigError::Connections(connections));
        }
        let LimitsConfig { max_message_bytes: message, max_inline_payload_bytes: payload, .. } = self.limits;
        if payload < 1 << 10 || message < payload.saturating_mul(2) || message > 64 << 20 {
            return Err(ConfigError::Sizes);
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut Config)) -> ConfigError {
        let mut config = Config::default();
        change(&mut config);
        config.checked().unwrap_err()
    }

    #[test]
    fn the_defaults_may_run() {
        let config = Config::default().checked().unwrap();
        let listens: Vec<_> = config.listen.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(listens, ["127.0.0.1:7420", "[::1]:7420"]);
    }

    #[test]
    fn what_must_not_run_is_refused() {
        for address in ["0.0.0.0:7420", "[::]:7420", "192.168.0.9:7420"] {
            let address = address.parse().unwrap();
            let error = refused(|config| config.listen.addresses.push(address));
            assert_eq!(error, ConfigError::PlaintextOutside(address));
            let error = refused(|config| config.listen.metrics.push(address));
            assert_eq!(error, ConfigError::MetricsOutside(address));
        }
        assert_eq!(refused(|config| config.listen.addresses.clear()), ConfigError::NoAddress);
        let short = Some("short".to_owned().into());
        let error = refused(|config| config.auth.root_password = short);
        assert_eq!(error, ConfigError::RootPassword(PolicyError::TooShort));
        let hour = Duration::from_secs(3600);
        assert_eq!(refused(|config| config.auth.access_ttl = hour), ConfigError::AccessTtl(hour));
        assert_eq!(refused(|config| config.limits.lease_ttl = Duration::ZERO), ConfigError::LeaseTtl(Duration::ZERO));
        assert_eq!(refused(|config| config.limits.max_message_bytes = 1 << 20), ConfigError::Sizes);
        assert_eq!(refused(|config| config.limits.max_connections = 0), ConfigError::Connections(0));
        assert_eq!(refused(|config| config.limits.late_runs = 0), ConfigError::LateRuns);
        assert_eq!(refused(|config| config.auth.issuer.clear()), ConfigError::NoIssuer);
    }

    #[test]
    fn a_request_id_lives_as_long_as_promised_and_no_longer_than_its_run() {
        let hour = Duration::from_secs(3600);
        let error = refused(|config| config.retention.requests = 23 * hour);
        assert_eq!(error, ConfigError::Requests(23 * hour));
        assert!(error.to_string().contains("not 23h"), "{error}");
        for (name, change) in [
            ("succeeded", (|config| config.retention.succeeded = Duration::from_secs(60)) as fn(&mut Config)),
            ("failed", |config| config.retention.failed = Duration::from_secs(60)),
            ("unresolved", |config| config.retention.unresolved = Duration::from_secs(60)),
        ] {
            let error = refused(change);
            assert!(error.to_string().starts_with(&format!("retention.{name} is 1m, shorter than")), "{error}");
        }
        let mut config = Config::default();
        config.retention.succeeded = 24 * hour;
        config.retention.failed = 24 * hour;
        assert!(config.checked().is_ok());
    }

    #[test]
    fn short_leases_may_run() {
        let mut config = Config::default();
        config.limits.lease_ttl = Duration::from_secs(1);
        assert!(config.checked().is_ok());
    }
}
