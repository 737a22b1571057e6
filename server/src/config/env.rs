//! Settings from the environment: `MAINSPRING_` and the setting's path, with `__` between section and name.
//!
//! Only names with `__` are settings; a setting that is not known is refused, since a typing error that is ignored is
//! found at the worst time. So is a value that is not UTF-8. The few names without `__` that the server reads are listed
//! in [`PLAIN`].

use std::{ffi::OsString, fs, path::PathBuf};

use secrecy::SecretString;

use super::{
    Config,
    settings::{PLAIN, SETTINGS, Setting},
};

const PREFIX: &str = "MAINSPRING_";
const PASSWORD: &str = PLAIN[0].0;
const PASSWORD_FILE: &str = PLAIN[1].0;

/// Why the environment cannot be used. The exit code for it is 78.
#[derive(Debug, thiserror::Error)]
pub enum EnvError {
    /// No such setting.
    #[error("{0} is not a setting of this server; known are {known}", known = names())]
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

impl Config {
    /// Takes what the process's environment says over what stands here already.
    #[expect(clippy::disallowed_methods, reason = "the server's one reader of the environment")]
    pub fn from_env(self) -> Result<Self, EnvError> {
        self.with_vars(std::env::vars_os())
    }

    /// Takes what variables say over what stands here already.
    fn with_vars(mut self, vars: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Self, EnvError> {
        let mut password = None;
        let mut password_file = None;
        for (name, value) in vars {
            // What is not UTF-8 has no name of ours, but may have been meant as one.
            let shown = name.to_string_lossy();
            let is_setting = shown.starts_with(PREFIX) && shown.contains("__");
            if !is_setting && shown != PASSWORD && shown != PASSWORD_FILE {
                continue;
            }
            let name = shown.as_ref();
            let Ok(value) = value.into_string() else {
                return Err(EnvError::Invalid { name: name.into(), why: "is not UTF-8".into() });
            };
            match name {
                PASSWORD => password = Some(value),
                PASSWORD_FILE => password_file = Some(PathBuf::from(value)),
                name => {
                    let setting = Setting::named(name).ok_or_else(|| EnvError::Unknown(name.into()))?;
                    let invalid = |why| EnvError::Invalid { name: name.into(), why };
                    setting.apply(&mut self, &value).map_err(invalid)?;
                }
            }
        }
        match (password, password_file) {
            (Some(_), Some(_)) => return Err(EnvError::Twice(PASSWORD)),
            (Some(password), None) => self.auth.root_password = Some(password.into()),
            (None, Some(path)) => self.auth.root_password = Some(secret_file(PASSWORD_FILE, path)?),
            (None, None) => {}
        }
        Ok(self)
    }
}

fn names() -> String {
    SETTINGS.iter().map(|setting| setting.name).collect::<Vec<_>>().join(", ")
}

/// A secret from a file, without the newline that editors leave at its end.
fn secret_file(name: &'static str, path: PathBuf) -> Result<SecretString, EnvError> {
    let text = fs::read_to_string(&path).map_err(|source| EnvError::File { name, path, source })?;
    Ok(text.trim_end_matches(['\r', '\n']).into())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use secrecy::ExposeSecret as _;

    use super::*;

    fn with(vars: &[(&str, &str)]) -> Result<Config, EnvError> {
        Config::default().with_vars(vars.iter().map(|(name, value)| ((*name).into(), (*value).into())))
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
    fn a_typing_error_is_refused() {
        assert!(matches!(with(&[("MAINSPRING_LIMITS__LEASE_TTTL", "2s")]), Err(EnvError::Unknown(_))));
        assert!(matches!(with(&[("MAINSPRING_LIMITS__LEASE_TTL", "2")]), Err(EnvError::Invalid { .. })));
    }

    #[cfg(unix)]
    #[test]
    fn what_is_not_utf_8_is_refused_and_not_passed_over() {
        use std::os::unix::ffi::OsStringExt as _;

        let odd = |text: &str| OsString::from_vec([text.as_bytes(), &[0xff]].concat());
        for name in ["MAINSPRING_DATABASE__DATA", "MAINSPRING_ROOT_PASSWORD"] {
            let error = Config::default().with_vars([(name.into(), odd("x"))]).unwrap_err();
            assert_eq!(error.to_string(), format!("{name}: is not UTF-8"));
        }
        let error = Config::default().with_vars([(odd("MAINSPRING_LOG__FORMAT"), "json".into())]).unwrap_err();
        assert!(matches!(error, EnvError::Unknown(_)), "{error}");
        assert!(Config::default().with_vars([(odd("LC__X"), odd("x")), ("PATH".into(), odd("/bin"))]).is_ok());
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
