//! The user's two files: `config.toml` (contexts, shared freely) and `credentials.toml` (keys, 0600). Read only: whoever
//! changes them must keep what people wrote around the values, which is the CLI's business.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, de::DeserializeOwned};

use super::ContextError;

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

fn parse<T: Default + DeserializeOwned>(path: &Path) -> Result<T, ContextError> {
    let problem = |problem| ContextError::File { path: path.into(), problem };
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(T::default()),
        Err(error) => return Err(problem(format!("cannot be read: {error}"))),
    };
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
    fn a_broken_file_is_told_without_its_secrets() {
        let home = TempDir::new().unwrap();
        let folder = Folder::at(home.path());
        fs::write(folder.credentials(), "[contexts.dev]\napi-key = \"secret\" oops\n").unwrap();
        let text = folder.read().unwrap_err().to_string();
        assert!(text.contains("credentials.toml") && !text.contains("secret"), "{text}");
    }
}
