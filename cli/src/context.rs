//! The user's two files, `config.toml` (contexts, shared freely) and `credentials.toml` (keys, 0600), as the CLI writes
//! them: comments, order and everything it does not know stay. They are read by the SDK, so that both read them alike.

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
};

use mainspring_worker::context::{self, ContextError, Contexts};
use secrecy::{ExposeSecret as _, SecretString};
use toml_edit::{DocumentMut, Item, Table, value};

use crate::failure::Failure;

/// Where the user's files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Folder(context::Folder);

/// What became of a context that was saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Saved {
    /// It was not there before.
    pub(crate) created: bool,
    /// The context that is selected now.
    pub(crate) current: String,
}

impl From<ContextError> for Failure {
    fn from(error: ContextError) -> Self {
        let failure = Self::usage(&error);
        match error {
            ContextError::NoSuchContext { known, .. } if known.is_empty() => {
                failure.hint("it has none; `mainspring dev` makes the context dev")
            }
            ContextError::NoSuchContext { known, .. } => failure.hint(format!("it has {}", known.join(", "))),
            _ => failure,
        }
    }
}

impl From<context::Folder> for Folder {
    fn from(folder: context::Folder) -> Self {
        Self(folder)
    }
}

impl Folder {
    /// Where contexts are kept.
    pub(crate) fn config(&self) -> &Path {
        self.0.config()
    }

    /// What both files say.
    pub(crate) fn read(&self) -> Result<Contexts, ContextError> {
        self.0.read()
    }

    /// Where keys are kept.
    pub(crate) fn credentials(&self) -> &Path {
        self.0.credentials()
    }

    /// Writes a context and its key, and selects it where none was selected. Comments, order and every other
    /// context stay. True where it was selected.
    pub(crate) fn save(&self, name: &str, address: &str, api_key: &SecretString) -> Result<Saved, Failure> {
        self.add(name, address, None, Some(api_key))
    }

    /// The same, where there need be no key yet, and a namespace may be meant.
    pub(crate) fn add(
        &self,
        name: &str,
        address: &str,
        namespace: Option<&str>,
        api_key: Option<&SecretString>,
    ) -> Result<Saved, Failure> {
        if let Some(api_key) = api_key {
            self.change_credentials(name, |entry| entry["api-key"] = value(api_key.expose_secret()))?;
        }
        let mut config = edit(self.0.config())?;
        let created = config.get("contexts").and_then(|contexts| contexts.get(name)).is_none();
        let entry = entry(&mut config, name);
        entry["address"] = value(address);
        if let Some(namespace) = namespace {
            entry["namespace"] = value(namespace);
        }
        let current = match config.get("current-context").and_then(Item::as_str) {
            Some(current) => current.to_owned(),
            None => {
                config["current-context"] = value(name);
                name.to_owned()
            }
        };
        write_private(self.0.config(), &config.to_string())?;
        Ok(Saved { created, current })
    }

    /// Selects a context that is there.
    pub(crate) fn select(&self, name: &str) -> Result<(), Failure> {
        let mut config = edit(self.0.config())?;
        config["current-context"] = value(name);
        write_private(self.0.config(), &config.to_string())
    }

    /// Forgets a context and what it was signed in by; where it was selected, none is.
    pub(crate) fn remove(&self, name: &str) -> Result<(), Failure> {
        // The key first: what is left of a context that was forgotten halfway is harmless.
        let mut credentials = edit(self.0.credentials())?;
        if forget(&mut credentials, name) {
            write_private(self.0.credentials(), &credentials.to_string())?;
        }
        let mut config = edit(self.0.config())?;
        forget(&mut config, name);
        if config.get("current-context").and_then(Item::as_str) == Some(name) {
            config.remove("current-context");
        }
        write_private(self.0.config(), &config.to_string())
    }
}

/// Takes away the table `[contexts.NAME]`; false where there is none.
fn forget(document: &mut DocumentMut, name: &str) -> bool {
    let contexts = document.get_mut("contexts").and_then(Item::as_table_like_mut);
    contexts.is_some_and(|contexts| contexts.remove(name).is_some())
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

fn edit(path: &Path) -> Result<DocumentMut, Failure> {
    context::read_file(path)?.unwrap_or_default().parse().map_err(|error: toml_edit::TomlError| {
        Failure::usage(format!("{} is not changed: {}", path.display(), error.message()))
    })
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
    use std::fs;

    use mainspring_worker::context;
    use secrecy::ExposeSecret as _;
    use tempfile::TempDir;

    use super::{Folder, Saved};

    #[test]
    fn a_context_is_added_beside_what_people_wrote() {
        let home = TempDir::new().unwrap();
        let folder = Folder(context::Folder::at(home.path().join("new")));
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
        let contexts = folder.0.read().unwrap();
        assert_eq!(contexts.current.as_deref(), Some("prod"));
        let dev = contexts.get("dev").unwrap();
        assert_eq!((dev.address.as_str(), dev.namespace.as_deref()), ("http://127.0.0.1:7421", Some("lab")));
        assert_eq!(dev.api_key.as_ref().unwrap().expose_secret(), "two");
        assert!(contexts.get("prod").unwrap().api_key.is_none());
    }

    #[test]
    fn a_context_is_forgotten_with_its_key_and_nothing_else_is() {
        let home = TempDir::new().unwrap();
        let folder = Folder(context::Folder::at(home.path()));
        folder.save("dev", "127.0.0.1:1", &"one".to_owned().into()).unwrap();
        folder.add("lab", "127.0.0.1:2", Some("theirs"), None).unwrap();
        folder.select("lab").unwrap();
        folder.remove("lab").unwrap();
        let contexts = folder.read().unwrap();
        assert_eq!((contexts.current.as_deref(), contexts.iter().count()), (None, 1));
        folder.remove("dev").unwrap();
        assert!(!fs::read_to_string(folder.credentials()).unwrap().contains("one"));
        folder.remove("dev").unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn keys_are_for_their_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;

        let home = TempDir::new().unwrap();
        let folder = Folder(context::Folder::at(home.path()));
        fs::write(folder.credentials(), "").unwrap();
        fs::set_permissions(folder.credentials(), fs::Permissions::from_mode(0o644)).unwrap();
        folder.save("dev", "http://127.0.0.1:7420", &"secret".to_owned().into()).unwrap();
        let mode = fs::metadata(folder.credentials()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
