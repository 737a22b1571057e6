//! Where a worker's settings come from when the program does not give them: the environment, then the CLI's contexts.
//! The only module that reads the environment.

use std::{
    collections::BTreeMap,
    env::VarError,
    fmt, fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, de::DeserializeOwned};

use crate::error::Error;

/// How many runs at once, where nobody said.
const DEFAULT_SLOTS: u32 = 10;
const DEFAULT_DRAIN: Duration = Duration::from_secs(30);
const DEFAULT_STOP: Duration = Duration::from_secs(5);

/// Everything a worker can be told besides its handlers.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) address: String,
    pub(crate) api_key: Option<ApiKey>,
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) slots: u32,
    pub(crate) queue_slots: BTreeMap<String, u32>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) build_id: String,
    pub(crate) drain_within: Duration,
    pub(crate) stop_within: Duration,
    pub(crate) backoff: Backoff,
}

/// A secret that does not print itself.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ApiKey(pub(crate) String);

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

/// How long a worker waits before it connects again. The defaults suit production; tests want them short.
///
/// The n-th wait is drawn evenly from zero to `least · 2ⁿ`, at most `most`. There is no limit to the number of tries.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Backoff {
    /// The bound of the first wait after a session was lost. Default 3 s: quick enough for a person, and wide enough
    /// that the workers of a server that died do not all come back in the same instant.
    pub first: Duration,
    /// The bound of the first wait after a try that failed. Default 0.5 s.
    pub least: Duration,
    /// No bound grows larger. Default 30 s.
    pub most: Duration,
    /// A session that lasted this long starts the count afresh. Default 30 s.
    pub healthy_after: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(3),
            least: Duration::from_millis(500),
            most: Duration::from_secs(30),
            healthy_after: Duration::from_secs(30),
        }
    }
}

impl Backoff {
    /// Bounds that grow from `least` to `most`; a lost session waits at most `least`.
    pub fn between(least: Duration, most: Duration) -> Self {
        Self { first: least, least, most, ..Self::default() }
    }
}

impl Settings {
    /// The settings of a worker that was given only an address.
    pub(crate) fn of(address: String) -> Self {
        Self {
            address,
            api_key: None,
            name: program_name(),
            namespace: "default".into(),
            slots: DEFAULT_SLOTS,
            queue_slots: BTreeMap::new(),
            labels: BTreeMap::new(),
            build_id: String::new(),
            drain_within: DEFAULT_DRAIN,
            stop_within: DEFAULT_STOP,
            backoff: Backoff::default(),
        }
    }

    /// The settings of the environment and the CLI's files.
    pub(crate) fn from_env() -> Result<Self, Error> {
        Self::resolve(&read_variable)
    }

    /// The environment first, then the current context. A context's key goes to the context's own address only: an
    /// address from the environment must not be able to collect keys that were meant for another server.
    fn resolve(variable: &dyn Fn(&str) -> Result<Option<String>, Error>) -> Result<Self, Error> {
        let address = variable("MAINSPRING_ADDRESS")?;
        let api_key = variable("MAINSPRING_API_KEY")?;
        let context =
            if address.is_some() && api_key.is_some() { Context::default() } else { Context::current(variable)? };
        let context_key = match (&address, &context.address) {
            (Some(given), Some(own)) if given.trim_end_matches('/') != own.trim_end_matches('/') => None,
            (Some(_), None) => None,
            (Some(_) | None, Some(_)) | (None, None) => context.api_key,
        };
        let address = address.or(context.address).ok_or_else(|| {
            Error::setting(
                "MAINSPRING_ADDRESS",
                "not set, and the CLI has no context; for example http://127.0.0.1:7420 (`mainspring dev` makes one)",
            )
        })?;
        let mut settings = Self::of(address);
        settings.api_key = api_key.or(context_key).map(ApiKey);
        if let Some(namespace) = variable("MAINSPRING_NAMESPACE")?.or(context.namespace) {
            settings.namespace = namespace;
        }
        if let Some(name) = variable("MAINSPRING_WORKER_NAME")? {
            settings.name = name;
        }
        if let Some(slots) = variable("MAINSPRING_SLOTS")? {
            settings.slots = slots
                .trim()
                .parse()
                .map_err(|_| Error::setting("MAINSPRING_SLOTS", format!("`{slots}` is not a number")))?;
        }
        Ok(settings)
    }
}

/// What the CLI knows of one server.
#[derive(Default)]
struct Context {
    address: Option<String>,
    namespace: Option<String>,
    api_key: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ConfigFile {
    current_context: Option<String>,
    #[serde(default)]
    contexts: BTreeMap<String, ConfigContext>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ConfigContext {
    address: Option<String>,
    namespace: Option<String>,
}

#[derive(Deserialize)]
struct CredentialsFile {
    #[serde(default)]
    contexts: BTreeMap<String, Credentials>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Credentials {
    api_key: Option<String>,
}

impl Context {
    /// The context `MAINSPRING_CONTEXT` names, or the file's current one; empty where there is no file.
    fn current(variable: &dyn Fn(&str) -> Result<Option<String>, Error>) -> Result<Self, Error> {
        let Some(folder) = config_folder(variable)? else { return Ok(Self::default()) };
        let path = folder.join("config.toml");
        let named = variable("MAINSPRING_CONTEXT")?;
        let Some(mut config) = read_toml::<ConfigFile>(&path)? else {
            return match named {
                None => Ok(Self::default()),
                Some(name) => Err(no_such_context(&path, &name)),
            };
        };
        let Some(name) = named.or(config.current_context) else { return Ok(Self::default()) };
        let context = config.contexts.remove(&name).ok_or_else(|| no_such_context(&path, &name))?;
        let credentials = read_toml::<CredentialsFile>(&folder.join("credentials.toml"))?;
        let api_key = credentials.and_then(|mut file| file.contexts.remove(&name)).and_then(|entry| entry.api_key);
        Ok(Self { address: context.address, namespace: context.namespace, api_key })
    }
}

fn no_such_context(path: &Path, name: &str) -> Error {
    Error::ConfigFile { path: path.into(), problem: format!("there is no context `{name}`") }
}

fn config_folder(variable: &dyn Fn(&str) -> Result<Option<String>, Error>) -> Result<Option<PathBuf>, Error> {
    let base = match variable("XDG_CONFIG_HOME")? {
        Some(base) => Some(PathBuf::from(base)),
        None => variable("HOME")?.map(|home| Path::new(&home).join(".config")),
    };
    Ok(base.map(|base| base.join("mainspring")))
}

fn read_toml<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let problem = |problem: String| Error::ConfigFile { path: path.into(), problem };
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(problem(error.to_string())),
    };
    // Not the error's own text: it quotes the file, and one of these files holds secrets.
    toml::from_str(&text).map(Some).map_err(|error| problem(error.message().to_owned()))
}

/// A variable's value; one that is empty counts as not set.
#[expect(clippy::disallowed_methods, reason = "this module reads the environment")]
fn read_variable(name: &str) -> Result<Option<String>, Error> {
    match std::env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(Error::setting(name, "is not UTF-8")),
    }
}

/// What a worker is called when nobody named it: like its program.
fn program_name() -> String {
    let program = std::env::current_exe().ok();
    let stem = program.as_deref().and_then(Path::file_stem).and_then(|stem| stem.to_str());
    stem.unwrap_or("worker").to_owned()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs};

    use super::{ApiKey, Settings};
    use crate::error::Error;

    fn resolve(pairs: &[(&str, &str)]) -> Result<Settings, Error> {
        let map: BTreeMap<String, String> = pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        Settings::resolve(&|name| Ok(map.get(name).cloned()))
    }

    fn files() -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("mainspring");
        fs::create_dir(&own).unwrap();
        fs::write(
            own.join("config.toml"),
            "current-context = \"dev\"\n[contexts.dev]\naddress = \"http://127.0.0.1:7420\"\nnamespace = \"lab\"\n\
             [contexts.prod]\naddress = \"http://prod:7420\"\n",
        )
        .unwrap();
        fs::write(own.join("credentials.toml"), "[contexts.dev]\napi-key = \"dev-key\"\n").unwrap();
        let path = folder.path().to_str().unwrap().to_owned();
        (folder, path)
    }

    #[test]
    fn the_environment_alone_is_enough() {
        let settings = resolve(&[
            ("MAINSPRING_ADDRESS", "http://a:1"),
            ("MAINSPRING_API_KEY", "k"),
            ("MAINSPRING_SLOTS", "3"),
            ("MAINSPRING_WORKER_NAME", "mail"),
            ("MAINSPRING_NAMESPACE", "n"),
        ])
        .unwrap();
        assert_eq!((settings.address.as_str(), settings.slots), ("http://a:1", 3));
        assert_eq!((settings.name.as_str(), settings.namespace.as_str()), ("mail", "n"));
        assert_eq!(settings.api_key, Some(ApiKey("k".into())));
        assert!(!format!("{settings:?}").contains("\"k\""));
    }

    #[test]
    fn the_cli_context_fills_in() {
        let (_folder, xdg) = files();
        let settings = resolve(&[("XDG_CONFIG_HOME", &xdg)]).unwrap();
        assert_eq!((settings.address.as_str(), settings.namespace.as_str()), ("http://127.0.0.1:7420", "lab"));
        assert_eq!(settings.api_key, Some(ApiKey("dev-key".into())));
        let prod = resolve(&[("XDG_CONFIG_HOME", &xdg), ("MAINSPRING_CONTEXT", "prod")]).unwrap();
        assert_eq!((prod.address.as_str(), prod.api_key), ("http://prod:7420", None));
    }

    #[test]
    fn a_contexts_key_goes_nowhere_else() {
        let (_folder, xdg) = files();
        let elsewhere = resolve(&[("XDG_CONFIG_HOME", &xdg), ("MAINSPRING_ADDRESS", "http://evil:1")]).unwrap();
        assert_eq!(elsewhere.api_key, None);
        let same = resolve(&[("XDG_CONFIG_HOME", &xdg), ("MAINSPRING_ADDRESS", "http://127.0.0.1:7420/")]).unwrap();
        assert_eq!(same.api_key, Some(ApiKey("dev-key".into())));
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(resolve(&[]).unwrap_err().to_string().starts_with("MAINSPRING_ADDRESS: not set"));
        let bad = resolve(&[("MAINSPRING_ADDRESS", "http://a:1"), ("MAINSPRING_SLOTS", "many")]).unwrap_err();
        assert_eq!(bad.to_string(), "MAINSPRING_SLOTS: `many` is not a number");
        let (_folder, xdg) = files();
        let bad = resolve(&[("XDG_CONFIG_HOME", &xdg), ("MAINSPRING_CONTEXT", "lab")]).unwrap_err();
        assert!(bad.to_string().ends_with("config.toml: there is no context `lab`"));
    }
}
