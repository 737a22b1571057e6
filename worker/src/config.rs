//! A worker's settings, and where they come from when the program does not give them: [`context`] says where the server
//! is, variables of the worker's own the rest.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use secrecy::SecretString;

use crate::{
    context::{self, Environment, Given, Target},
    error::Error,
};

/// How many runs at once, where nobody said.
const DEFAULT_SLOTS: u32 = 10;
const DEFAULT_DRAIN: Duration = Duration::from_secs(30);
const DEFAULT_STOP: Duration = Duration::from_secs(5);

/// Everything a worker can be told besides its handlers.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) address: String,
    pub(crate) api_key: Option<SecretString>,
    /// Where the key comes from, to be asked again when the server refuses it.
    pub(crate) key_source: Option<KeySource>,
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) slots: u32,
    pub(crate) queue_slots: BTreeMap<String, u32>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) build_id: String,
    pub(crate) drain_within: Duration,
    pub(crate) stop_within: Duration,
    pub(crate) backoff: Backoff,
    /// The folder of the result journal, if there is one.
    pub(crate) journal: Option<PathBuf>,
}

/// Reads the key of a worker. Asked on the session's thread, so it must not take long.
#[derive(Clone)]
pub(crate) struct KeySource(Arc<dyn Fn() -> Option<SecretString> + Send + Sync>);

impl KeySource {
    pub(crate) fn new(read: impl Fn() -> Option<SecretString> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    pub(crate) fn read(&self) -> Option<SecretString> {
        (self.0)()
    }
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeySource")
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
            key_source: None,
            name: program_name(),
            namespace: "default".into(),
            slots: DEFAULT_SLOTS,
            queue_slots: BTreeMap::new(),
            labels: BTreeMap::new(),
            build_id: String::new(),
            drain_within: DEFAULT_DRAIN,
            stop_within: DEFAULT_STOP,
            backoff: Backoff::default(),
            journal: None,
        }
    }

    /// The settings of the environment and the CLI's files.
    pub(crate) fn from_env() -> Result<Self, Error> {
        let mut settings = Self::resolve(&context::read)?;
        // The variables stay what they are; the context's file may get another key (`mainspring dev --reset`, a new login).
        settings.key_source = Some(KeySource::new(|| {
            Target::find(&Given::default(), &Environment::of_process()).ok().and_then(|target| target.api_key)
        }));
        Ok(settings)
    }

    fn resolve(variable: &dyn Fn(&str) -> Option<OsString>) -> Result<Self, Error> {
        let target = Target::find(&Given::default(), &Environment::of(variable))?;
        let address = target.address.ok_or_else(|| {
            Error::setting(
                "MAINSPRING_ADDRESS",
                "not set, and the CLI has no context; for example http://127.0.0.1:7420 (`mainspring dev` makes one)",
            )
        })?;
        if let (Some(own), Some(context)) = (&target.held_back, &target.context) {
            tracing::warn!(
                "the key of context {context} belongs to {own} and is not sent to {address}; set MAINSPRING_API_KEY"
            );
        }
        let mut settings = Self::of(address.to_string());
        settings.api_key = target.api_key;
        if let Some(namespace) = target.namespace {
            settings.namespace = namespace;
        }
        let value = |name| context::text(name, variable(name).as_ref());
        if let Some(name) = value("MAINSPRING_WORKER_NAME")? {
            settings.name = name;
        }
        if let Some(slots) = value("MAINSPRING_SLOTS")? {
            settings.slots =
                slots.parse().map_err(|_| Error::setting("MAINSPRING_SLOTS", format!("`{slots}` is not a number")))?;
        }
        Ok(settings)
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
    use std::{fs, io, sync::Arc};

    use parking_lot::Mutex;
    use secrecy::ExposeSecret as _;

    use super::Settings;
    use crate::error::Error;

    fn resolve(pairs: &[(&str, &str)]) -> Result<Settings, Error> {
        Settings::resolve(&|name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into()))
    }

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_worker_is_told_by_its_environment() {
        let settings = resolve(&[
            ("MAINSPRING_ADDRESS", "http://a:1"),
            ("MAINSPRING_API_KEY", "k"),
            ("MAINSPRING_SLOTS", " 3 "),
            ("MAINSPRING_WORKER_NAME", "mail"),
            ("MAINSPRING_NAMESPACE", "n"),
        ])
        .unwrap();
        assert_eq!((settings.address.as_str(), settings.slots), ("http://a:1", 3));
        assert_eq!((settings.name.as_str(), settings.namespace.as_str()), ("mail", "n"));
        assert_eq!(settings.api_key.as_ref().map(|key| key.expose_secret()), Some("k"));
        assert!(!format!("{settings:?}").contains("\"k\""));
    }

    #[test]
    fn a_key_that_is_held_back_is_told() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(
            folder.path().join("config.toml"),
            "current-context = \"dev\"\n[contexts.dev]\naddress = \"http://127.0.0.1:7420\"\n",
        )
        .unwrap();
        fs::write(folder.path().join("credentials.toml"), "[contexts.dev]\napi-key = \"dev-key\"\n").unwrap();
        let config = ("MAINSPRING_CONFIG", folder.path().to_str().unwrap());
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            let same = resolve(&[config, ("MAINSPRING_ADDRESS", "127.0.0.1:7420")]).unwrap();
            assert_eq!(same.api_key.as_ref().map(|key| key.expose_secret()), Some("dev-key"));
            assert!(lines.0.lock().is_empty());
            let other = resolve(&[config, ("MAINSPRING_ADDRESS", "other.example")]).unwrap();
            assert!(other.api_key.is_none());
        });
        let text = String::from_utf8(lines.0.lock().clone()).unwrap();
        assert!(text.contains("context dev belongs to http://127.0.0.1:7420"), "{text}");
        assert!(text.contains("not sent to http://other.example:7420") && !text.contains("dev-key"), "{text}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(resolve(&[]).unwrap_err().to_string().starts_with("MAINSPRING_ADDRESS: not set"));
        let bad = resolve(&[("MAINSPRING_ADDRESS", "http://a:1"), ("MAINSPRING_SLOTS", "many")]).unwrap_err();
        assert_eq!(bad.to_string(), "MAINSPRING_SLOTS: `many` is not a number");
        let bad = resolve(&[("MAINSPRING_ADDRESS", "http://a:1/path")]).unwrap_err();
        assert!(bad.to_string().starts_with("MAINSPRING_ADDRESS: `http://a:1/path` is no address"), "{bad}");
    }
}
