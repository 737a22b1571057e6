//! The first credentials: the user `root`, and the key of `mainspring dev`.

use std::path::Path;

use mainspring_engine::ports::store::{RootUser, StoreError};
use secrecy::{ExposeSecret as _, SecretString};

use super::{
    Auth,
    keys::{self, KeyError, MadeKey, WantedKey},
    passwords::HashError,
    roles,
    secret::{self, SecretFileError},
};

/// The first user.
const ROOT: &str = "root";
/// Name of the key file of `mainspring dev` in the data directory.
const DEV_KEY_FILE: &str = "dev-api-key";
/// Name of that key for people.
const DEV_KEY_NAME: &str = "dev";

/// Why the first credentials could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// The password could not be hashed.
    #[error("the root password could not be hashed")]
    Hash,
    /// The store is away.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<HashError> for BootstrapError {
    fn from(_: HashError) -> Self {
        Self::Hash
    }
}

impl From<KeyError> for BootstrapError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Store(error) => Self::Store(error),
            // Making a key never looks for one.
            KeyError::Missing => Self::Store(StoreError::Corrupt("a key was missing while it was made".into())),
        }
    }
}

impl Auth {
    /// Makes sure that `root` can sign in, as long as nobody has chosen its password: with the password that was
    /// configured, or with a one-time one, which is returned and known to nobody else.
    ///
    /// A one-time password is made anew at every start. The one before may have been seen by nobody: its line was lost,
    /// or the server ended before it was printed. `dev` has a key instead and makes none.
    pub(crate) async fn ensure_root(
        &self,
        configured: Option<&SecretString>,
        dev: bool,
    ) -> Result<Option<SecretString>, BootstrapError> {
        let chosen = match self.0.store.user(ROOT).await? {
            Some(root) => !root.must_change_password,
            None => self.0.store.has_users().await?,
        };
        if chosen {
            return Ok(None);
        }
        let one_time = (configured.is_none() && !dev).then(|| SecretString::from(secret::one_time_password()));
        let Some(password) = configured.or(one_time.as_ref()) else { return Ok(None) };
        let password_hash = self.0.passwords.hash(password.expose_secret().to_owned()).await?;
        let root = RootUser { password_hash, must_change_password: one_time.is_some() };
        let made = self.0.store.claim_root(self.now(), root).await?;
        Ok(one_time.filter(|_| made))
    }

    /// The key of `mainspring dev`, which may do everything; the same one at every start, as long as it stands.
    pub(crate) async fn ensure_dev_key(&self, data: &Path) -> Result<SecretString, BootstrapError> {
        let path = data.join(DEV_KEY_FILE);
        if let Some(bytes) = secret::read_file(&path)?
            && let Ok(text) = String::from_utf8(bytes)
            && keys::split(text.trim()).is_some()
        {
            let text = text.trim().to_owned();
            match self.by_key(&text).await {
                Ok(caller) if caller.may("worker.serve") => return Ok(text.into()),
                Err(super::Denied::Store(error)) => return Err(error.into()),
                // Revoked, or of another database: a new one takes its place.
                Ok(_) | Err(_) => {}
            }
        }
        let wanted = WantedKey {
            name: DEV_KEY_NAME.into(),
            role: roles::ADMIN.into(),
            creator: "mainspring dev".into(),
            expire_time: None,
        };
        let MadeKey::New(key) = self.create_key(wanted, None).await? else {
            return Err(StoreError::Corrupt("a key was made without a request id, and met one".into()).into());
        };
        secret::write_file(&path, key.text.as_bytes())?;
        Ok(key.text.into())
    }
}
