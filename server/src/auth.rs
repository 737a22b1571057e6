//! Who calls, and what they may do.
//!
//! Two kinds of credential end in the same [`Caller`]: access tokens, which people get for a password, and API keys, which
//! programs and workers hold. [`Auth::authenticate`] turns the text of either into a caller; what the caller may do is the
//! union of its [`roles`]. Whoever is not allowed is refused: nothing is open because somebody forgot to close it.
//!
//! Secrets are made from the operating system's randomness, shown once, and stored only as hashes.

pub(crate) mod bootstrap;
mod keys;
mod passwords;
pub mod roles;
mod secret;
mod sessions;
mod standing;
mod tokens;

use std::{collections::BTreeSet, path::Path, sync::Arc};

use mainspring_engine::{
    domain::instant::Instant,
    ports::{
        clock::SharedClock,
        store::{ApiKeyRecord, SessionRecord, SharedStore, StoreError},
    },
};
use parking_lot::Mutex;

pub(crate) use keys::{KeyError, MadeKey, NewKey, WantedKey};
pub(crate) use passwords::{Passwords, PolicyError};
pub use secret::SecretFileError;
pub(crate) use secret::hex;
pub(crate) use sessions::{RefreshError, SignInError, SignedIn};
pub(crate) use standing::Standing;

use crate::config::AuthConfig;
use secret::Remembered;
use tokens::{TokenError, Tokens};

/// Identifies callers and keeps their credentials.
#[derive(Clone, Debug)]
pub(crate) struct Auth(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: SharedStore,
    clock: SharedClock,
    tokens: Tokens,
    page_key: [u8; 32],
    seal_key: [u8; 32],
    passwords: Passwords,
    config: AuthConfig,
    keys: Remembered<ApiKeyRecord>,
    sessions: Remembered<SessionRecord>,
    /// Keys that were used since the store was last told.
    used: Mutex<BTreeSet<String>>,
    standing: standing::Register,
}

/// How a caller signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Credential {
    /// An access token of a session.
    Token {
        /// The session.
        session: String,
        /// Whose.
        user: String,
    },
    /// An API key.
    Key {
        /// Its id.
        id: String,
    },
}

/// Somebody who proved who they are.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// How.
    pub(crate) credential: Credential,
    /// Name for people.
    pub(crate) display_name: String,
    /// Their roles.
    pub(crate) roles: Vec<String>,
    /// When the credential ends.
    pub(crate) expire_time: Option<Instant>,
    /// They must change their password before anything else.
    pub(crate) must_change_password: bool,
}

impl Caller {
    /// "user:NAME" or "key:ID".
    pub(crate) fn subject(&self) -> String {
        match &self.credential {
            Credential::Token { user, session: _ } => format!("user:{user}"),
            Credential::Key { id } => format!("key:{id}"),
        }
    }

    /// Whether one of their roles holds a permission.
    pub(crate) fn may(&self, permission: &str) -> bool {
        self.roles.iter().any(|role| roles::permissions(role).contains(&permission))
    }

    /// Everything they may do, sorted.
    pub(crate) fn permissions(&self) -> BTreeSet<&'static str> {
        self.roles.iter().flat_map(|role| roles::permissions(role)).copied().collect()
    }
}

/// Why a credential is not good.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Denied {
    /// None was sent.
    #[error("no credential was sent")]
    Missing,
    /// It is none of this server's.
    #[error("the credential is not one of this server's; sign in again, or use another API key")]
    Invalid,
    /// It was good, and has ended.
    #[error("the credential ended at {0}; refresh the token or sign in again, or use another API key")]
    Expired(Instant),
    /// It was good, and was taken back.
    #[error("the credential was revoked; sign in again, or use another API key")]
    Revoked,
    /// It was a refresh token that had been used before.
    #[error(
        "this refresh token was used before, so its session has ended; sign in again, and change the password if it was \
         not you who used it"
    )]
    Reused,
    /// Whether it is good cannot be told now.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<TokenError> for Denied {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Invalid => Self::Invalid,
            TokenError::Expired(at) => Self::Expired(at),
        }
    }
}

impl Auth {
    /// Reads the signing key from the data directory, or makes it.
    pub(crate) fn open(
        store: SharedStore,
        clock: SharedClock,
        data: &Path,
        config: AuthConfig,
    ) -> Result<Self, SecretFileError> {
        let seed = secret::from_file(&data.join("signing-key"), secret::random::<32>)?;
        let tokens =
            Tokens::new(&seed, config.issuer.clone(), config.audience.clone()).map_err(SecretFileError::Key)?;
        Ok(Self(Arc::new(Inner {
            store,
            clock,
            tokens,
            page_key: secret::derived(&seed, "page tokens"),
            seal_key: secret::derived(&seed, "secrets of sinks"),
            passwords: Passwords::new(),
            config,
            keys: Remembered::default(),
            sessions: Remembered::default(),
            used: Mutex::default(),
            standing: standing::Register::default(),
        })))
    }

    /// Who an `authorization` header stands for.
    pub(crate) async fn authenticate(&self, header: Option<&str>) -> Result<Caller, Denied> {
        let header = header.ok_or(Denied::Missing)?;
        let (scheme, text) = header.split_once(' ').ok_or(Denied::Invalid)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Denied::Invalid);
        }
        let text = text.trim();
        if text.starts_with(keys::PREFIX) { self.by_key(text).await } else { self.by_token(text).await }
    }

    async fn by_token(&self, text: &str) -> Result<Caller, Denied> {
        let claims = self.0.tokens.verify(text, self.now())?;
        let session = self.session(&claims.sid).await?.ok_or(Denied::Invalid)?;
        let expire_time = claims.expire_time();
        if session.user != claims.sub {
            return Err(Denied::Invalid);
        }
        self.live(&session)?;
        Ok(Caller {
            credential: Credential::Token { session: session.id, user: session.user.clone() },
            display_name: session.user,
            roles: session.roles,
            expire_time: Some(expire_time),
            must_change_password: session.must_change_password,
        })
    }

    /// Whether a session still stands.
    fn live(&self, session: &SessionRecord) -> Result<(), Denied> {
        if session.revoked {
            return Err(Denied::Revoked);
        }
        if session.expire_time <= self.now() {
            return Err(Denied::Expired(session.expire_time));
        }
        Ok(())
    }

    /// A session, as it was at most [`secret::FRESH`] ago.
    async fn session(&self, id: &str) -> Result<Option<SessionRecord>, StoreError> {
        let now = self.now();
        if let Some(known) = self.0.sessions.get(id, now) {
            return Ok(Some(known));
        }
        let found = self.0.store.session(id).await?;
        if let Some(session) = &found {
            self.0.sessions.put(id, now, session.clone());
        }
        Ok(found)
    }

    /// The key that page tokens are signed with; nobody finds the signing key by it.
    pub(crate) fn page_key(&self) -> [u8; 32] {
        self.0.page_key
    }

    /// The key that secrets of sinks are sealed with; nobody finds the signing key by it.
    pub(crate) fn seal_key(&self) -> [u8; 32] {
        self.0.seal_key
    }

    fn now(&self) -> Instant {
        self.0.clock.now()
    }
}
