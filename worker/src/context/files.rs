//! The user's two files: `config.toml` (contexts, shared freely) and `credentials.toml` (keys, 0600). Read only: whoever
//! changes them must keep what people wrote around the values, which is the CLI's business.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, de::DeserializeOwned};

use super::ContextError;

/// Thousands of contexts take less.
const LARGEST: u64 = 1 << 20;

/// Where the user's files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    config: PathBuf,
    credentials: PathBuf,
}

/// What the files say.
#[derive(Debug, Default)]
pub struct Contexts {
    /// The context that is used unless another one is named.
    pub current: Option<String>,
    named: BTreeMap<String, Context>,
    /// Where they were read, for messages.
    origin: PathBuf,
}

/// One server and what is needed to call it.
#[derive(Clone, Debug)]
pub struct Context {
    /// Its address, as written.
    pub address: String,
    /// The namespace to work in.
    pub namespace: Option<String>,
    /// The credential.
    pub api_key: Option<SecretString>,
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
    ///
    /// # Errors
    /// [`ContextError::NoSuchContext`], which lists the ones there are.
    pub fn get(&self, name: &str) -> Result<&Context, ContextError> {
        self.named.get(name).ok_or_else(|| ContextError::NoSuchContext {
            path: self.origin.clone(),
            name: name.into(),
            known: self.named.keys().cloned().collect(),
        })
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Context)> {
        self.named.iter().map(|(name, context)| (name.as_str(), context))
    }
}

impl Folder {
    /// The folder itself.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        Self { config: folder.join("config.toml"), credentials: folder.join("credentials.toml") }
    }

    /// What `MAINSPRING_CONFIG` names: a folder, or the `config.toml` in it.
    pub fn named(path: &Path) -> Self {
        if path.is_dir() || path.extension().is_none_or(|extension| extension != "toml") {
            return Self::at(path);
        }
        Self { config: path.into(), credentials: path.with_file_name("credentials.toml") }
    }

    /// Where contexts are kept.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Where keys are kept.
    pub fn credentials(&self) -> &Path {
        &self.credentials
    }

    /// Reads both files; a file that is not there says nothing.
    ///
    /// # Errors
    /// [`ContextError::File`], without a word of what is in the file.
    pub fn read(&self) -> Result<Contexts, ContextError> {
        let ConfigFile { current_context, contexts } = parse(&self.config)?;
        let CredentialsFile { contexts: mut credentials } = parse(&self.credentials)?;
        let named = contexts
            .into_iter()
            .map(|(name, ConfigEntry { address, namespace })| {
                let api_key = credentials.remove(&name).and_then(|entry| entry.api_key);
                let api_key = api_key.map(|key| key.expose_secret().trim().to_owned()).filter(|key| !key.is_empty());
                (name, Context { address, namespace, api_key: api_key.map(SecretString::from) })
            })
            .collect();
        Ok(Contexts { current: current_context, named, origin: self.config.clone() })
    }
}

/// The text of one of the user's files; `None` where it is not there. Whatever else the path may lead to, a pipe that nobody
/// writes to or a disk image, is neither waited for nor held.
///
/// # Errors
/// [`ContextError::File`].
pub fn read_file(path: &Path) -> Result<Option<String>, ContextError> {
    let problem = |problem: &dyn std::fmt::Display| ContextError::File {
        path: path.into(),
        problem: format!("cannot be read: {problem}"),
    };
    let open = || {
        // Before it is opened: to open a pipe is to wait for who writes.
        if !fs::metadata(path)?.is_file() {
            return Err(io::Error::other("it is no file"));
        }
        fs::File::open(path)
    };
    let file = match open() {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(problem(&error)),
    };
    let mut text = String::new();
    let read = file.take(LARGEST + 1).read_to_string(&mut text).map_err(|error| problem(&error))?;
    if u64::try_from(read).is_ok_and(|read| read > LARGEST) {
        return Err(problem(&"it is larger than 1 MiB"));
    }
    Ok(Some(text))
}

fn parse<T: Default + DeserializeOwned>(path: &Path) -> Result<T, ContextError> {
    let problem = |problem| ContextError::File { path: path.into(), problem };
    let Some(text) = read_file(path)? else { return Ok(T::default()) };
    // The message of a TOML error quotes the line, and a line of credentials.toml holds a key: only its place is told.
    toml::from_str(&text).map_err(|error| {
        let at = error.span().map(|span| format!("at byte {}: ", span.start)).unwrap_or_default();
        problem(format!("{at}{}", error.message()))
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use tempfile::TempDir;

    use super::Folder;

    #[test]
    fn the_folder_is_named_by_itself_or_by_its_file() {
        assert_eq!(Folder::named(Path::new("/etc/ms")), Folder::at("/etc/ms"));
        let by_file = Folder::named(Path::new("/etc/ms/other.toml"));
        assert_eq!(by_file.config(), Path::new("/etc/ms/other.toml"));
        assert_eq!(by_file.credentials(), Path::new("/etc/ms/credentials.toml"));
    }

    #[test]
    fn what_is_no_file_of_ours_is_neither_waited_for_nor_held() {
        let home = TempDir::new().unwrap();
        let folder = Folder::at(home.path());
        fs::create_dir(folder.config()).unwrap();
        assert!(folder.read().unwrap_err().to_string().ends_with("cannot be read: it is no file"));
        fs::remove_dir(folder.config()).unwrap();
        fs::File::create(folder.config()).unwrap().set_len(1 << 40).unwrap();
        assert!(folder.read().unwrap_err().to_string().ends_with("cannot be read: it is larger than 1 MiB"));
        fs::File::create(folder.config()).unwrap().set_len(0).unwrap();
        assert!(folder.read().is_ok());
    }

    #[test]
    fn a_broken_file_is_told_without_its_secrets() {
        let home = TempDir::new().unwrap();
        let folder = Folder::at(home.path());
        fs::write(folder.credentials(), "[contexts.dev]\napi-key = \"secret\" oops\n").unwrap();
        let text = folder.read().unwrap_err().to_string();
        assert!(text.contains("credentials.toml") && !text.contains("secret"), "{text}");
    }
}
