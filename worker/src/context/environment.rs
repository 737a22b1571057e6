//! The environment as far as it says where the server is. The only module of the SDK that reads it.

use std::{
    env,
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
};

use secrecy::SecretString;

use super::{ContextError, Folder};

/// The variables that name a server, a key and the user's files, as they were when this was made.
///
/// An empty variable counts as not set, and white space around a value is no part of it.
#[derive(Clone, Default)]
pub struct Environment {
    pub(super) address: Option<OsString>,
    pub(super) api_key: Option<OsString>,
    pub(super) context: Option<OsString>,
    pub(super) namespace: Option<OsString>,
    config: Option<PathBuf>,
    xdg_config_home: Option<PathBuf>,
    home: Option<PathBuf>,
}

/// Without the key.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, api_key: _, context, namespace, config, xdg_config_home: _, home: _ } = self;
        f.debug_struct("Environment")
            .field("address", address)
            .field("context", context)
            .field("namespace", namespace)
            .field("config", config)
            .finish_non_exhaustive()
    }
}

impl Environment {
    /// The environment of this process.
    pub fn of_process() -> Self {
        Self::of(read)
    }

    /// An environment in which `variable` answers for each name.
    pub fn of(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        Self {
            address: set("MAINSPRING_ADDRESS"),
            api_key: set("MAINSPRING_API_KEY"),
            context: set("MAINSPRING_CONTEXT"),
            namespace: set("MAINSPRING_NAMESPACE"),
            config: set("MAINSPRING_CONFIG").map(PathBuf::from),
            xdg_config_home: set("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute()),
            home: set("HOME").map(PathBuf::from),
        }
    }

    /// An environment that names the user's files and nothing else.
    pub fn with_config(config: impl Into<PathBuf>) -> Self {
        Self { config: Some(config.into()), ..Self::default() }
    }

    /// Where the user's files are. `MAINSPRING_CONFIG` names the folder, or the `config.toml` in it; else it is
    /// `$XDG_CONFIG_HOME/mainspring`, else `$HOME/.config/mainspring`. `None` where there is no home at all.
    pub fn folder(&self) -> Option<Folder> {
        if let Some(config) = &self.config {
            return Some(Folder::named(config));
        }
        let base = self.xdg_config_home.clone().or_else(|| Some(self.home.as_ref()?.join(".config")))?;
        Some(Folder::at(base.join("mainspring")))
    }

    /// A path as a person writes it, with `~` for home.
    pub fn shortened(&self, path: &Path) -> PathBuf {
        let below_home = self.home.as_ref().and_then(|home| path.strip_prefix(home).ok());
        below_home.map_or_else(|| path.into(), |rest| Path::new("~").join(rest))
    }

    pub(super) fn api_key(&self) -> Result<Option<SecretString>, ContextError> {
        Ok(text("MAINSPRING_API_KEY", self.api_key.as_ref())?.map(SecretString::from))
    }
}

/// The text of a variable's value; `None` where nothing is left of it.
pub(crate) fn text(name: &'static str, value: Option<&OsString>) -> Result<Option<String>, ContextError> {
    let Some(value) = value else { return Ok(None) };
    let text = value.to_str().ok_or_else(|| ContextError::variable(name, "is not UTF-8"))?.trim();
    Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
}

/// A variable of this process.
#[expect(clippy::disallowed_methods, reason = "the SDK's one reader of the environment")]
pub(crate) fn read(name: &str) -> Option<OsString> {
    env::var_os(name)
}
