//! Settings from the environment: `MAINSPRING_` and the setting's path, with `__` between section and name.
//!
//! Only names with `__` are settings; a setting that is not known is refused, since a typing error that is ignored is
//! found at the worst time. The few names without `__` that the server reads are listed in [`PLAIN`].

use std::{fmt::Display, fs, path::PathBuf, str::FromStr, time::Duration};

use secrecy::SecretString;

use super::Config;

const PREFIX: &str = "MAINSPRING_";
/// Names without `__` that this server reads.
const PLAIN: [&str; 2] = ["MAINSPRING_ROOT_PASSWORD", "MAINSPRING_ROOT_PASSWORD_FILE"];

/// Why the environment cannot be used. The exit code for it is 78.
#[derive(Debug, thiserror::Error)]
pub enum EnvError {
    /// No such setting.
    #[error("{0} is not a setting of this server; known are {known}", known = NAMES.join(", "))]
    Unknown(String),
    /// The value cannot be what it is.
    #[error("{name}: {why}")]
    Invalid {
        /// The variable.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// Two ways to say the same.
    #[error("set either {0} or {0}_FILE, not both")]
    Twice(&'static str),
    /// A file that a variable names cannot be read.
    #[error("{name}: cannot read {path}: {source}")]
    File {
        /// The variable.
        name: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

const NAMES: &[&str] = &[
    "MAINSPRING_AUTH__ACCESS_TTL",
    "MAINSPRING_AUTH__AUDIENCE",
    "MAINSPRING_AUTH__ISSUER",
    "MAINSPRING_AUTH__SESSION_TTL",
    "MAINSPRING_DATABASE__DATA",
    "MAINSPRING_DATABASE__SYNCHRONOUS",
    "MAINSPRING_LIMITS__DRAIN_DEADLINE",
    "MAINSPRING_LIMITS__LEASE_TTL",
    "MAINSPRING_LIMITS__MAX_INLINE_PAYLOAD_BYTES",
    "MAINSPRING_LIMITS__MAX_MESSAGE_BYTES",
    "MAINSPRING_LISTEN__ADDRESSES",
    "MAINSPRING_LOG__FILTER",
    "MAINSPRING_LOG__FORMAT",
    "MAINSPRING_RETENTION__FAILED",
    "MAINSPRING_RETENTION__LEDGER",
    "MAINSPRING_RETENTION__LOGS",
    "MAINSPRING_RETENTION__REQUESTS",
    "MAINSPRING_RETENTION__SUCCEEDED",
    "MAINSPRING_RETENTION__WORKERS",
];

impl Config {
    /// Takes what the process's environment says over what stands here already.
    pub fn from_env(self) -> Result<Self, EnvError> {
        let read =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        self.with_vars(read)
    }

    /// Takes what variables say over what stands here already.
    fn with_vars(mut self, vars: impl IntoIterator<Item = (String, String)>) -> Result<Self, EnvError> {
        let mut password = None;
        let mut password_file = None;
        for (name, value) in vars {
            match name.as_str() {
                "MAINSPRING_ROOT_PASSWORD" => password = Some(value),
                "MAINSPRING_ROOT_PASSWORD_FILE" => password_file = Some(PathBuf::from(value)),
                other if other.starts_with(PREFIX) && other.contains("__") => self.set(&name, &value)?,
                _ => {}
            }
        }
        match (password, password_file) {
            (Some(_), Some(_)) => return Err(EnvError::Twice(PLAIN[0])),
            (Some(password), None) => self.auth.root_password = Some(password.into()),
            (None, Some(path)) => self.auth.root_password = Some(secret_file(PLAIN[1], path)?),
            (None, None) => {}
        }
        Ok(self)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), EnvError> {
        let Self { dev: _, listen, database, auth, limits, retention, log } = self;
        match name {
            "MAINSPRING_AUTH__ACCESS_TTL" => auth.access_ttl = length(name, value)?,
            "MAINSPRING_AUTH__AUDIENCE" => auth.audience = value.into(),
            "MAINSPRING_AUTH__ISSUER" => auth.issuer = value.into(),
            "MAINSPRING_AUTH__SESSION_TTL" => auth.session_ttl = length(name, value)?,
            "MAINSPRING_DATABASE__DATA" => database.data = value.into(),
            "MAINSPRING_DATABASE__SYNCHRONOUS" => database.synchronous = parsed(name, value)?,
            "MAINSPRING_LIMITS__DRAIN_DEADLINE" => limits.drain_deadline = length(name, value)?,
            "MAINSPRING_LIMITS__LEASE_TTL" => limits.lease_ttl = length(name, value)?,
            "MAINSPRING_LIMITS__MAX_INLINE_PAYLOAD_BYTES" => limits.max_inline_payload_bytes = parsed(name, value)?,
            "MAINSPRING_LIMITS__MAX_MESSAGE_BYTES" => limits.max_message_bytes = parsed(name, value)?,
            "MAINSPRING_LISTEN__ADDRESSES" => {
                let addresses = value.split(',').map(|address| parsed(name, address.trim()));
                listen.addresses = addresses.collect::<Result<_, _>>()?;
            }
            "MAINSPRING_LOG__FILTER" => log.filter = Some(value.into()),
            "MAINSPRING_LOG__FORMAT" => log.format = parsed(name, value)?,
            "MAINSPRING_RETENTION__FAILED" => retention.failed = length(name, value)?,
            "MAINSPRING_RETENTION__LEDGER" => retention.ledger = length(name, value)?,
            "MAINSPRING_RETENTION__LOGS" => retention.logs = length(name, value)?,
            "MAINSPRING_RETENTION__REQUESTS" => retention.requests = length(name, value)?,
            "MAINSPRING_RETENTION__SUCCEEDED" => retention.succeeded = length(name, value)?,
            "MAINSPRING_RETENTION__WORKERS" => retention.workers = length(name, value)?,
            _ => return Err(EnvError::Unknown(name.into())),
        }
        Ok(())
    }
}

fn parsed<T: FromStr<Err: Display>>(name: &str, value: &str) -> Result<T, EnvError> {
    value.parse().map_err(|error: T::Err| EnvError::Invalid { name: name.into(), why: error.to_string() })
}

fn length(name: &str, value: &str) -> Result<Duration, EnvError> {
    let micros = mainspring_cron::parse_duration(value)
        .map_err(|error| EnvError::Invalid { name: name.into(), why: error.to_string() })?;
    Ok(Duration::from_micros(micros.unsigned_abs()))
}

/// A secret from a file, without the newline that editors leave at its end.
fn secret_file(name: &'static str, path: PathBuf) -> Result<SecretString, EnvError> {
    let text = fs::read_to_string(&path).map_err(|source| EnvError::File { name, path, source })?;
    Ok(text.trim_end_matches(['\r', '\n']).into())
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn with(vars: &[(&str, &str)]) -> Result<Config, EnvError> {
        Config::default().with_vars(vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn settings_are_read() {
        let config = with(&[
            ("MAINSPRING_LISTEN__ADDRESSES", "127.0.0.1:0, [::1]:0"),
            ("MAINSPRING_LIMITS__LEASE_TTL", "2s"),
            ("MAINSPRING_DATABASE__SYNCHRONOUS", "normal"),
            ("MAINSPRING_RETENTION__LOGS", "1d12h"),
            ("MAINSPRING_API_KEY", "not ours"),
            ("PATH", "/bin"),
        ])
        .unwrap();
        assert_eq!(config.listen.addresses.len(), 2);
        assert_eq!(config.limits.lease_ttl, Duration::from_secs(2));
        assert_eq!(config.database.synchronous, super::super::Synchronous::Normal);
        assert_eq!(config.retention.logs, Duration::from_secs(36 * 3600));
    }

    #[test]
    fn every_documented_name_is_a_setting() {
        for name in NAMES {
            assert!(!matches!(with(&[(name, "x")]), Err(EnvError::Unknown(_))), "{name}");
        }
        assert!(matches!(with(&[("MAINSPRING_LIMITS__LEASE_TTTL", "2s")]), Err(EnvError::Unknown(_))));
        assert!(matches!(with(&[("MAINSPRING_LIMITS__LEASE_TTL", "2")]), Err(EnvError::Invalid { .. })));
    }

    #[test]
    fn the_root_password_comes_from_one_place() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "correct horse battery\n").unwrap();
        let path = file.path().to_str().unwrap();
        let config = with(&[("MAINSPRING_ROOT_PASSWORD_FILE", path)]).unwrap();
        assert_eq!(config.auth.root_password.unwrap().expose_secret(), "correct horse battery");
        let both = with(&[("MAINSPRING_ROOT_PASSWORD_FILE", path), ("MAINSPRING_ROOT_PASSWORD", "x")]);
        assert!(matches!(both, Err(EnvError::Twice(_))));
    }
}
