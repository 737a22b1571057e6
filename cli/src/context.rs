//! The user's two files: `config.toml` (contexts, shared freely) and `credentials.toml` (keys, 0600).
//!
//! ```toml
//! # config.toml                               # credentials.toml
//! current-context = "dev"                     # [contexts.dev]
//! [contexts.dev]                              # api-key = "…"
//! address = "http://127.0.0.1:7420"
//! namespace = "default"                       # optional
//! ```
//! `MAINSPRING_CONFIG` names another folder, or the `config.toml` in it; `credentials.toml` is always beside it.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use toml_edit::{DocumentMut, Item, Table, value};

use crate::failure::Failure;

/// Where the user's files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Folder {
    config: PathBuf,
    credentials: PathBuf,
}

/// What the files say.
#[derive(Debug, Default)]
pub(crate) struct Contexts {
    /// The context that is used unless another one is named.
    pub(crate) current: Option<String>,
    named: BTreeMap<String, Context>,
    /// Where they were read, for messages.
    origin: PathBuf,
}

/// One server and what is needed to call it.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// Its address, as written.
    pub(crate) address: String,
    /// The namespace to work in.
    pub(crate) namespace: Option<String>,
    /// The credential.
    pub(crate) api_key: Option<SecretString>,
}

/// What became of a context that was saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Saved {
    /// It was not there before.
    pub(crate) created: bool,
    /// The context that is selected now.
    pub(crate) current: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct ConfigFile {
    current_context: Option<String>,
    contexts: BTreeMap<String, ConfigEntry>,
}

#[derive(Deserialize)]
struct ConfigEntry {
    address: String,
    namespace: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CredentialsFile {
    contexts: BTreeMap<String, CredentialsEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct CredentialsEntry {
    api_key: Option<SecretString>,
}

impl Contexts {
    /// The context of that name.
    pub(crate) fn get(&self, name: &str) -> Result<&Context, Failure> {
        self.named.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.named.keys().map(String::as_str).collect();
            let failure = Failure::usage(format!("there is no context {name} in {}", self.origin.display()));
            match known.as_slice() {
                [] => failure.hint("it has none; `mainspring dev` makes the context dev"),
                known => failure.hint(format!("it has {}", known.join(", "))),
            }
        })
    }
}

impl Folder {
    /// The folder itself.
    pub(crate) fn at(folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        Self { config: folder.join("config.toml"), credentials: folder.join("credentials.toml") }
    }

    /// What `MAINSPRING_CONFIG` names: a folder, or the `config.toml` in it.
    pub(crate) fn named(path: &Path) -> Self {
        if path.is_dir() || path.extension().is_none_or(|extension| extension != "toml") {
            return Self::at(path);
        }
        Self { config: path.into(), credentials: path.with_file_name("credentials.toml") }
    }

    /// Where keys are kept.
    pub(crate) fn credentials(&self) -> &Path {
        &self.credentials
    }

    /// Reads both files; a file that is not there says nothing.
    pub(crate) fn read(&self) -> Result<Contexts, Failure> {
        let ConfigFile { current_context, contexts } = parse(&self.config)?;
        let CredentialsFile { contexts: mut credentials } = parse(&self.credentials)?;
        let named = contexts
            .into_iter()
            .map(|(name, ConfigEntry { address, namespace })| {
                let api_key = credentials.remove(&name).and_then(|entry| entry.api_key);
                (name, Context { address, namespace, api_key })
            })
            .collect();
        Ok(Contexts { current: current_context, named, origin: self.config.clone() })
    }

    /// Writes a context and its key, and selects it where none was selected. Comments, order and every other
    /// context stay. True where it was selected.
    pub(crate) fn save(&self, name: &str, address: &str, api_key: &SecretString) -> Result<Saved, Failure> {
        let mut credentials = edit(&self.credentials)?;
        entry(&mut credentials, name)["api-key"] = value(api_key.expose_secret());
        write_private(&self.credentials, &credentials.to_string())?;

        let mut config = edit(&self.config)?;
        let created = config.get("contexts").and_then(|contexts| contexts.get(name)).is_none();
        entry(&mut config, name)["address"] = value(address);
        let current = match config.get("current-context").and_then(Item::as_str) {
            Some(current) => current.to_owned(),
            None => {
                config["current-context"] = value(name);
                name.to_owned()
            }
        };
        write_private(&self.config, &config.to_string())?;
        Ok(Saved { created, current })
    }
}

/// The table `[contexts.NAME]`, made where it is missing.
fn entry<'a>(document: &'a mut DocumentMut, name: &str) -> &'a mut Item {
    let contexts = document.entry("contexts").or_insert_with(|| {
        let mut table = Table::new();
        table.set_implicit(true);
        Item::Table(table)
    });
    if contexts.get(name).is_none() {
        contexts[name] = Item::Table(Table::new());
    }
    &mut contexts[name]
}

fn parse<T: Default + for<'de> Deserialize<'de>>(path: &Path) -> Result<T, Failure> {
    // The message of a TOML error quotes the line, and a line of credentials.toml holds a key: only its place is told.
    toml::from_str(&read(path)?).map_err(|error| {
        let at = error.span().map(|span| format!(" at byte {}", span.start)).unwrap_or_default();
        Failure::usage(format!("{}{at}: {}", path.display(), error.message()))
    })
}

fn edit(path: &Path) -> Result<DocumentMut, Failure> {
    read(path)?.parse().map_err(|error: toml_edit::TomlError| {
        Failure::usage(format!("{} is not changed: {}", path.display(), error.message()))
    })
}

fn read(path: &Path) -> Result<String, Failure> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(Failure::usage(format!("{} cannot be read: {error}", path.display()))),
    }
}

/// Writes a file that only its owner reads, whole or not at all.
fn write_private(path: &Path, text: &str) -> Result<(), Failure> {
    // People keep such files as links into a folder of theirs: what is replaced is the file, not the link.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.into());
    let write = || {
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        // tempfile makes it 0600, and renaming replaces a wider one.
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    };
    write().map_err(|error: io::Error| {
        let reason = format!("{} cannot be written: {error}", path.display());
        Failure::new(crate::exit::Exit::Failed, "IO_FAILED", reason)
    })
}

impl Folder {
    /// Changes what a context has among the credentials; everything else in the file stays.
    pub(crate) fn change_credentials(&self, name: &str, change: impl FnOnce(&mut Item)) -> Result<(), Failure> {
        let mut credentials = edit(self.credentials())?;
        change(entry(&mut credentials, name));
        write_private(self.credentials(), &credentials.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use secrecy::ExposeSecret as _;
    use tempfile::TempDir;

    use super::{Folder, Saved};

    #[test]
    fn the_folder_is_named_by_itself_or_by_its_file() {
        assert_eq!(Folder::named(Path::new("/etc/ms")), Folder::at("/etc/ms"));
        let by_file = Folder::named(Path::new("/etc/ms/other.toml"));
        assert_eq!(by_file.config, Path::new("/etc/ms/other.toml"));
        assert_eq!(by_file.credentials, Path::new("/etc/ms/credentials.toml"));
    }

    #[test]
    fn a_context_is_added_beside_what_people_wrote() {
        let home = TempDir::new().unwrap();
        let folder = Folder::at(home.path().join("new"));
        let saved = folder.save("dev", "http://127.0.0.1:7420", &"one".to_owned().into()).unwrap();
        assert_eq!(saved, Saved { created: true, current: "dev".into() });

        let config = home.path().join("new/config.toml");
        let mine = format!(
            "# mine\ncurrent-context = \"prod\"\n[contexts.prod] # far away\naddress = \"p:1\"\n{}",
            "[contexts.dev]\naddress = \"old:1\"\nnamespace = \"lab\"\n"
        );
        fs::write(&config, mine).unwrap();
        let saved = folder.save("dev", "http://127.0.0.1:7421", &"two".to_owned().into()).unwrap();
        assert_eq!(saved, Saved { created: false, current: "prod".into() });

        let text = fs::read_to_string(&config).unwrap();
        assert!(text.contains("# mine") && text.contains("# far away"), "{text}");
        let contexts = folder.read().unwrap();
        assert_eq!(contexts.current.as_deref(), Some("prod"));
        let dev = contexts.get("dev").unwrap();
        assert_eq!((dev.address.as_str(), dev.namespace.as_deref()), ("http://127.0.0.1:7421", Some("lab")));
        assert_eq!(dev.api_key.as_ref().unwrap().expose_secret(), "two");
        assert!(contexts.get("prod").unwrap().api_key.is_none());
    }

    #[cfg(unix)]
    #[test]
    fn keys_are_for_their_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;

        let home = TempDir::new().unwrap();
        let folder = Folder::at(home.path());
        fs::write(folder.credentials(), "").unwrap();
        fs::set_permissions(folder.credentials(), fs::Permissions::from_mode(0o644)).unwrap();
        folder.save("dev", "http://127.0.0.1:7420", &"secret".to_owned().into()).unwrap();
        let mode = fs::metadata(folder.credentials()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_broken_file_is_told_without_its_secrets() {
        let home = TempDir::new().unwrap();
        let folder = Folder::at(home.path());
        fs::write(folder.credentials(), "[contexts.dev]\napi-key = \"secret\" oops\n").unwrap();
        let text = folder.read().unwrap_err().text();
        assert!(text.contains("credentials.toml") && !text.contains("secret"), "{text}");
    }
}
