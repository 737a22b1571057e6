//! The settings: one table of name, meaning, default and how a text becomes a value.
//!
//! Everything that speaks of settings reads this table: the environment ([`super::env`]), `mainspring serve --help`, the
//! generated page docs/reference/settings.md. So a setting that is not written here does not exist, and one that is has
//! a documented meaning.

use std::{
    fmt::Display,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use mainspring_cron::{format_duration, parse_duration};

use super::{Config, Network};

/// One setting of a server.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The environment variable that sets it.
    pub name: &'static str,
    /// What it takes.
    pub takes: Takes,
    /// What it means, in a sentence or two.
    pub meaning: &'static str,
    show: fn(&Config) -> String,
    set: fn(&mut Config, &str) -> Result<(), String>,
}

/// What a setting takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// A length such as `30s`, `5m`, `1h30m` or `2d`.
    Length,
    /// A number of bytes.
    Bytes,
    /// A number of things.
    Count,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// `IP:PORT`, several with commas between them.
    Addresses,
    /// `ADDRESS/BITS`, several with commas between them.
    Networks,
    /// The path of a folder.
    Folder,
    /// A text.
    Text,
    /// A filter of log lines, in the words of `RUST_LOG`.
    LogFilter,
}

impl Takes {
    /// For people.
    pub fn words(self) -> String {
        match self {
            Self::Length => "length".into(),
            Self::Bytes => "bytes".into(),
            Self::Count => "number".into(),
            Self::OneOf(words) => words.join(" or "),
            Self::Addresses => "IP:PORT, …".into(),
            Self::Networks => "ADDRESS/BITS, …".into(),
            Self::Folder => "folder".into(),
            Self::Text => "text".into(),
            Self::LogFilter => "filter, such as info,mainspring_server=debug".into(),
        }
    }
}

impl Setting {
    /// The setting of a name.
    pub fn named(name: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.name == name)
    }

    /// What holds where nothing is said, as it would be written.
    pub fn default_value(&self) -> String {
        (self.show)(&Config::default())
    }

    /// Writes a value into a configuration, or says why it cannot be one.
    pub(super) fn apply(&self, config: &mut Config, value: &str) -> Result<(), String> {
        (self.set)(config, value)
    }
}

/// A setting whose value is one field of the configuration.
macro_rules! setting {
    ($name:literal, $takes:expr, $read:ident/$write:ident $($field:ident).+, $meaning:literal) => {
        Setting {
            name: concat!("MAINSPRING_", $name),
            takes: $takes,
            meaning: $meaning,
            show: |config| $write(&config.$($field).+),
            set: |config, text| $read(text).map(|value| config.$($field).+ = value),
        }
    };
}

/// Every setting, by name.
pub const SETTINGS: &[Setting] = &[
    setting!(
        "AUTH__ACCESS_TTL",
        Takes::Length,
        length/shown_length auth.access_ttl,
        "How long an access token is good: 1s to 30m, and no longer than a session."
    ),
    setting!(
        "AUTH__AUDIENCE",
        Takes::Text,
        parsed/shown auth.audience,
        "`aud` of access tokens; a token with another one is refused."
    ),
    setting!(
        "AUTH__ISSUER",
        Takes::Text,
        parsed/shown auth.issuer,
        "`iss` of access tokens; a token with another one is refused."
    ),
    setting!(
        "AUTH__SESSION_TTL",
        Takes::Length,
        length/shown_length auth.session_ttl,
        "How long a sign-in lasts, whatever is refreshed."
    ),
    setting!(
        "DATABASE__DATA",
        Takes::Folder,
        parsed/shown_path database.data,
        "Folder of everything the server keeps; made where it is missing, readable by its owner alone."
    ),
    setting!(
        "DATABASE__SYNCHRONOUS",
        Takes::OneOf(&["full", "normal"]),
        parsed/shown database.synchronous,
        "What a commit waits for. `full`: the disk, so that what was answered survives a power cut. `normal`: the operating \
         system, which is faster; a power cut may lose the last commits, and an attempt number may be given out twice."
    ),
    setting!(
        "LIMITS__DRAIN_DEADLINE",
        Takes::Length,
        length/shown_length limits.drain_deadline,
        "How long a shutdown waits for workers to move away."
    ),
    setting!(
        "LIMITS__LATE_RUNS",
        Takes::Count,
        parsed/shown limits.late_runs,
        "How many runs a second are made of what was missed, after an outage or a pause; what is on time never waits for it."
    ),
    setting!(
        "LIMITS__LEASE_TTL",
        Takes::Length,
        length/shown_length limits.lease_ttl,
        "How long a worker that is not heard keeps its runs: 1s to 1h. Heartbeat and reply timeout follow from it."
    ),
    setting!(
        "LIMITS__MAX_CONNECTIONS",
        Takes::Count,
        parsed/shown limits.max_connections,
        "Connections at a time, no more than the system allows files: whoever comes then waits until one ends."
    ),
    setting!(
        "LIMITS__MAX_INLINE_PAYLOAD_BYTES",
        Takes::Bytes,
        parsed/shown limits.max_inline_payload_bytes,
        "Largest payload inside a message; at least 1024."
    ),
    setting!(
        "LIMITS__MAX_MESSAGE_BYTES",
        Takes::Bytes,
        parsed/shown limits.max_message_bytes,
        "Largest message; at least twice the largest payload, at most 64 MiB."
    ),
    Setting {
        name: "MAINSPRING_LISTEN__ADDRESSES",
        takes: Takes::Addresses,
        meaning: "Where the server listens. Loopback only, as long as there is no TLS. Port 0 is any free one.",
        show: |config| shown_addresses(&config.listen.addresses),
        // Whoever names an address wants that one, not the next free one.
        set: |config, text| {
            addresses(text).map(|addresses| (config.listen.addresses, config.listen.next_free) = (addresses, false))
        },
    },
    setting!(
        "LISTEN__METRICS",
        Takes::Addresses,
        addresses_or_none/shown_addresses listen.metrics,
        "Where `/metrics` is, with `/healthz` and `/readyz` beside it. Loopback only, since it asks nobody who they are. \
         Empty: nowhere."
    ),
    setting!(
        "LOG__FILTER",
        Takes::LogFilter,
        some/shown_option log.filter,
        "What is told on stderr. Empty: what `RUST_LOG` says, else `info` for `serve` and `warn` for `dev`."
    ),
    setting!(
        "LOG__FORMAT",
        Takes::OneOf(&["text", "json"]),
        parsed/shown log.format,
        "How it is told: for people, or one JSON object a line."
    ),
    setting!(
        "RETENTION__DELIVERIES",
        Takes::Length,
        length/shown_length retention.deliveries,
        "How long what sinks were told, or not, is kept after it arrived or was given up."
    ),
    setting!(
        "RETENTION__FAILED",
        Takes::Length,
        length/shown_length retention.failed,
        "How long FAILED and TIMED_OUT runs that were resolved, redriven or ignored are kept after their end; at least RETENTION__REQUESTS."
    ),
    setting!(
        "RETENTION__JOBS",
        Takes::Length,
        length/shown_length retention.jobs,
        "How long a job that was deleted can be brought back; and longer, where runs or a ledger of it are kept."
    ),
    setting!(
        "RETENTION__LEDGER",
        Takes::Length,
        length/shown_length retention.ledger,
        "How long the fates of schedule instants are kept."
    ),
    setting!(
        "RETENTION__LOGS",
        Takes::Length,
        length/shown_length retention.logs,
        "How long log lines are kept after they were stored."
    ),
    setting!(
        "RETENTION__REQUESTS",
        Takes::Length,
        length/shown_length retention.requests,
        "How long a `request_id` answers with the same run; at least 24h, which is what the API promises."
    ),
    setting!(
        "RETENTION__SUCCEEDED",
        Takes::Length,
        length/shown_length retention.succeeded,
        "How long SUCCEEDED and CANCELLED runs are kept after their end; at least RETENTION__REQUESTS."
    ),
    setting!(
        "RETENTION__UNRESOLVED",
        Takes::Length,
        length/shown_length retention.unresolved,
        "How long FAILED and TIMED_OUT runs that nobody has resolved are kept after their end; at least RETENTION__REQUESTS."
    ),
    setting!(
        "RETENTION__WORKERS",
        Takes::Length,
        length/shown_length retention.workers,
        "How long workers that are LOST or GONE are kept after they were last heard."
    ),
    setting!(
        "WEBHOOKS__ALLOW_HTTP",
        Takes::OneOf(&["false", "true"]),
        parsed/shown webhooks.allow_http,
        "Whether sinks may be told without TLS, so that anybody on the way can read it."
    ),
    setting!(
        "WEBHOOKS__ALLOW_LOOPBACK",
        Takes::OneOf(&["false", "true"]),
        parsed/shown webhooks.allow_loopback,
        "Whether sinks may be on the server's own machine, with TLS or without: whoever creates one reaches what listens there. `dev` always may."
    ),
    setting!(
        "WEBHOOKS__ALLOW_NETWORKS",
        Takes::Networks,
        networks/shown_networks webhooks.allow_networks,
        "Networks that sinks may be in although they are not public, such as `10.0.0.0/8,fd00::/8`. Empty: none."
    ),
    setting!(
        "ZONES__DIRECTORY",
        Takes::Folder,
        folder_or_none/shown_folder zones.directory,
        "Folder of compiled time zones (TZif), such as `/usr/share/zoneinfo`; read at the start, and again on SIGHUP. Empty: the \
         data built into the server."
    ),
];

/// What else the server reads from its environment: names without `__`, with their meaning.
pub const PLAIN: [(&str, &str); 2] = [
    (
        "MAINSPRING_ROOT_PASSWORD",
        "Password of `root`, taken as long as `root` has not chosen one. Without it, `serve` makes a one-time one and \
         prints it.",
    ),
    ("MAINSPRING_ROOT_PASSWORD_FILE", "A file that holds it. Set one of the two."),
];

fn parsed<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}

fn shown(value: &impl ToString) -> String {
    value.to_string()
}

fn length(text: &str) -> Result<Duration, String> {
    let micros = parse_duration(text).map_err(|error| error.to_string())?;
    Ok(Duration::from_micros(micros.unsigned_abs()))
}

pub(super) fn shown_length(length: &Duration) -> String {
    format_duration(i64::try_from(length.as_micros()).unwrap_or(i64::MAX))
}

fn addresses(text: &str) -> Result<Vec<SocketAddr>, String> {
    text.split(',').map(|address| parsed(address.trim())).collect()
}

fn addresses_or_none(text: &str) -> Result<Vec<SocketAddr>, String> {
    if text.is_empty() { Ok(Vec::new()) } else { addresses(text) }
}

fn networks(text: &str) -> Result<Vec<Network>, String> {
    text.split(',').map(str::trim).filter(|network| !network.is_empty()).map(parsed).collect()
}

fn shown_networks(networks: &[Network]) -> String {
    networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn shown_addresses(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

#[expect(clippy::unnecessary_wraps, reason = "a reader of settings may refuse, this one never does")]
fn folder_or_none(text: &str) -> Result<Option<PathBuf>, String> {
    Ok(Some(text).filter(|text| !text.is_empty()).map(PathBuf::from))
}

fn shown_folder(folder: &Option<PathBuf>) -> String {
    folder.as_deref().map(shown_path).unwrap_or_default()
}

fn shown_path(path: &Path) -> String {
    path.display().to_string()
}

#[expect(clippy::unnecessary_wraps, reason = "a reader of settings may refuse, this one never does")]
fn some(text: &str) -> Result<Option<String>, String> {
    Ok(Some(text.into()).filter(|text: &String| !text.is_empty()))
}

fn shown_option(value: &Option<String>) -> String {
    value.clone().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_every_default_is_a_value() {
        let names: Vec<_> = SETTINGS.iter().map(|setting| setting.name).collect();
        assert!(names.is_sorted(), "{names:?}");
        for setting in SETTINGS {
            let mut config = Config::default();
            let default = setting.default_value();
            assert_eq!(setting.apply(&mut config, &default), Ok(()), "{}: {default}", setting.name);
            assert_eq!((setting.show)(&config), default, "{}", setting.name);
            assert!(setting.meaning.ends_with('.'), "{}", setting.name);
        }
    }

    /// A value other than the default, written to the wrong field, would leave the right one as it was.
    #[test]
    fn each_setting_is_written_where_it_is_shown() {
        for setting in SETTINGS {
            let other = match setting.takes {
                Takes::Length => "7m7s",
                Takes::Bytes | Takes::Count => "7777",
                Takes::OneOf(words) => words[1],
                Takes::Addresses => "127.0.0.1:7,[::1]:8",
                Takes::Networks => "10.0.0.0/8,fd00::/8",
                Takes::Folder | Takes::Text => "other",
                Takes::LogFilter => "debug",
            };
            let mut config = Config::default();
            setting.apply(&mut config, other).unwrap();
            assert_eq!((setting.show)(&config), other, "{}", setting.name);
            let changed = SETTINGS.iter().filter(|one| (one.show)(&config) != one.default_value());
            assert_eq!(changed.map(|one| one.name).collect::<Vec<_>>(), [setting.name]);
        }
    }
}
