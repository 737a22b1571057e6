//! Who may call: users, sessions, API keys. Secrets are stored only as hashes.

use async_trait::async_trait;

use super::{Direction, Page, RequestKey, StoreResult};
use crate::domain::{filter::Filter, instant::Instant};

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserRecord {
    /// Its name.
    pub name: String,
    /// Hash of its password, in PHC format.
    pub password_hash: String,
    /// Its roles.
    pub roles: Vec<String>,
    /// It must change its password before anything else.
    pub must_change_password: bool,
}

/// The first user, made when there is none, and made anew until it has chosen a password.
#[derive(Clone, Debug)]
pub struct RootUser {
    /// Hash of its password, in PHC format.
    pub password_hash: String,
    /// Whether the password is a one-time one.
    pub must_change_password: bool,
}

/// A session to be opened.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// Its id.
    pub id: String,
    /// Whose.
    pub user: String,
    /// Label of the device or program.
    pub client: String,
    /// Hash of its refresh token.
    pub refresh_hash: [u8; 32],
    /// When it ends whatever is refreshed.
    pub expire_time: Instant,
    /// The hash that the user's password was checked by.
    pub password_hash: String,
}

/// A password to be replaced.
#[derive(Clone, Debug)]
pub struct NewPassword {
    /// Whose.
    pub user: String,
    /// The hash that the one in force was checked by.
    pub current: String,
    /// Hash of the new one, in PHC format.
    pub next: String,
    /// The session that goes on under the new one.
    pub keep: Option<String>,
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRecord {
    /// Its id.
    pub id: String,
    /// Whose.
    pub user: String,
    /// When it ends whatever is refreshed.
    pub expire_time: Instant,
    /// Whether it was ended.
    pub revoked: bool,
    /// The user's roles now.
    pub roles: Vec<String>,
    /// The user must change its password before anything else.
    pub must_change_password: bool,
}

/// A refresh token used, and the one that replaces it.
#[derive(Clone, Copy, Debug)]
pub struct RefreshUse {
    /// Hash of the token that was shown.
    pub shown: [u8; 32],
    /// Hash of the token that replaces it.
    pub next: [u8; 32],
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefreshAnswer {
    /// It was the newest token of a live session and is replaced.
    Refreshed(SessionRecord),
    /// It had been used before: somebody else has it. The session was ended, and with it every token of it.
    Reused {
        /// The session.
        session: String,
    },
    /// No session ever had it.
    Unknown,
    /// Its session was ended by somebody.
    Revoked,
    /// Its session ended then, by itself.
    Expired(Instant),
}

/// An API key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKeyRecord {
    /// Its id, the first part of the key.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Its role.
    pub role: String,
    /// SHA-256 of the secret part.
    pub secret_hash: [u8; 32],
    /// Who made it.
    pub creator: String,
    /// When.
    pub create_time: Instant,
    /// When it ends.
    pub expire_time: Option<Instant>,
    /// When it was revoked.
    pub revoke_time: Option<Instant>,
    /// When it was last used, to the minute.
    pub last_use_time: Option<Instant>,
}

/// What became of a new API key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CreateKey {
    /// It is stored.
    Created,
    /// The same request had made this one before; its secret is gone.
    Replayed(ApiKeyRecord),
    /// The request id was used with another body.
    RequestReused,
}

/// Users, sessions, keys.
#[async_trait]
pub trait Identity: Send + Sync {
    /// Makes the user `root` with role `admin` where there is no user at all; where `root` is the only one and its password
    /// is still a one-time one, gives it this password and ends its sessions. `false` where neither is so.
    async fn claim_root(&self, now: Instant, root: RootUser) -> StoreResult<bool>;

    /// Whether there is any user.
    async fn has_users(&self) -> StoreResult<bool>;

    /// One user.
    async fn user(&self, name: &str) -> StoreResult<Option<UserRecord>>;

    /// Replaces a password hash, lifts `must_change_password` and ends the user's sessions but the one to keep. `false`,
    /// and nothing of it, where the password is no longer the one that was checked.
    async fn set_password(&self, now: Instant, password: NewPassword) -> StoreResult<bool>;

    /// Opens a session. `false`, and none, where the user's password is no longer the one that was checked: a change ends
    /// the sessions that are there, and this one would come after it.
    async fn open_session(&self, now: Instant, session: NewSession) -> StoreResult<bool>;

    /// One session.
    async fn session(&self, id: &str) -> StoreResult<Option<SessionRecord>>;

    /// Uses a refresh token, once.
    async fn refresh(&self, now: Instant, token: RefreshUse) -> StoreResult<RefreshAnswer>;

    /// Ends a session. No error where it was over, or never was.
    async fn end_session(&self, now: Instant, id: &str) -> StoreResult<()>;

    /// Stores an API key, unless the same request has made one before.
    async fn create_key(&self, key: ApiKeyRecord, request: Option<RequestKey>) -> StoreResult<CreateKey>;

    /// One API key.
    async fn key(&self, id: &str) -> StoreResult<Option<ApiKeyRecord>>;

    /// API keys that pass a filter, by creation, after the id of `page`.
    async fn keys(&self, filter: &Filter, direction: Direction, page: Page) -> StoreResult<Vec<ApiKeyRecord>>;

    /// Revokes a key; the key as it is now, or none. Revoking again keeps the first time.
    async fn revoke_key(&self, now: Instant, id: &str) -> StoreResult<Option<ApiKeyRecord>>;

    /// Notes when keys were last used.
    async fn touch_keys(&self, now: Instant, ids: Vec<String>) -> StoreResult<()>;
}
