//! Sessions of people: a password for a pair of tokens, a refresh token for the next pair, once.

use std::time::Duration;

use mainspring_engine::{
    domain::instant::Instant,
    ports::store::{NewPassword, NewSession, RefreshAnswer, RefreshUse, StoreError},
};

use super::{
    Auth, Denied,
    passwords::{HashError, MAX_BYTES},
    secret::{hash, hex, random, sortable_id},
};

/// What a caller holds after signing in.
#[derive(Debug)]
pub(crate) struct SignedIn {
    /// For calls.
    pub(crate) access_token: String,
    /// How long that is good.
    pub(crate) lifetime: Duration,
    /// For the next pair, once.
    pub(crate) refresh_token: String,
    /// When the session ends whatever is refreshed.
    pub(crate) session_expire_time: Instant,
    /// The password must be changed before anything else.
    pub(crate) must_change_password: bool,
}

/// Why a password opened nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignInError {
    /// Name and password do not go together.
    #[error("the name and the password do not go together; check both")]
    Credentials,
    /// Too many callers try passwords.
    #[error("too many passwords are being checked; try again in a moment")]
    Busy,
    /// A bug of ours.
    #[error("{0}")]
    Bug(String),
    /// The store is away.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a refresh token opened nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RefreshError {
    /// As a credential that is not good.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// A bug of ours.
    #[error("{0}")]
    Bug(String),
}

impl From<HashError> for SignInError {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Busy => Self::Busy,
            HashError::Failed => Self::Bug(error.to_string()),
        }
    }
}

impl Auth {
    /// Opens a session for a name and a password. The same work is done for names that do not exist.
    pub(crate) async fn sign_in(&self, user: &str, password: String, client: String) -> Result<SignedIn, SignInError> {
        if password.len() > MAX_BYTES {
            return Err(SignInError::Credentials);
        }
        let record = self.0.store.user(user).await?;
        let known = record.as_ref().map(|record| record.password_hash.clone());
        if !self.0.passwords.verify(password, known).await? {
            return Err(SignInError::Credentials);
        }
        let Some(record) = record else { return Err(SignInError::Credentials) };
        let now = self.now();
        let refresh_token = hex(&random::<32>());
        let session = NewSession {
            id: sortable_id(now),
            user: record.name,
            client,
            refresh_hash: hash(&refresh_token),
            expire_time: now.plus(self.0.config.session_ttl),
            password_hash: record.password_hash,
        };
        // While it was checked, somebody may have changed it; then it is a wrong password.
        if !self.0.store.open_session(now, session.clone()).await? {
            return Err(SignInError::Credentials);
        }
        let NewSession { id, user, expire_time, client: _, refresh_hash: _, password_hash: _ } = session;
        let (access_token, lifetime) = self.access_token(&user, &id, expire_time).map_err(SignInError::Bug)?;
        Ok(SignedIn {
            access_token,
            lifetime,
            refresh_token,
            session_expire_time: expire_time,
            must_change_password: record.must_change_password,
        })
    }

    /// Trades a refresh token for the next pair. One that comes twice was stolen: its session ends.
    pub(crate) async fn refresh(&self, token: &str) -> Result<SignedIn, RefreshError> {
        if token.len() != 64 {
            return Err(Denied::Invalid.into());
        }
        let now = self.now();
        let next = hex(&random::<32>());
        let usage = RefreshUse { shown: hash(token), next: hash(&next) };
        let session = match self.0.store.refresh(now, usage).await.map_err(Denied::from)? {
            RefreshAnswer::Refreshed(session) => session,
            RefreshAnswer::Reused { session } => {
                // Its access tokens must not outlive it.
                self.0.sessions.forget(&session);
                self.0.standing.hurry();
                tracing::warn!(session, "a refresh token was used twice; its session has ended");
                return Err(Denied::Reused.into());
            }
            RefreshAnswer::Unknown => return Err(Denied::Invalid.into()),
            RefreshAnswer::Revoked => return Err(Denied::Revoked.into()),
            RefreshAnswer::Expired(at) => return Err(Denied::Expired(at).into()),
        };
        let (access_token, lifetime) =
            self.access_token(&session.user, &session.id, session.expire_time).map_err(RefreshError::Bug)?;
        Ok(SignedIn {
            access_token,
            lifetime,
            refresh_token: next,
            session_expire_time: session.expire_time,
            must_change_password: session.must_change_password,
        })
    }

    /// Ends a session: no call and no stream goes on under it.
    pub(crate) async fn sign_out(&self, session: &str) -> Result<(), StoreError> {
        self.0.store.end_session(self.now(), session).await?;
        self.0.sessions.forget(session);
        self.0.standing.hurry();
        Ok(())
    }

    /// Replaces a password by its holder, and ends the holder's other sessions.
    pub(crate) async fn change_password(
        &self,
        user: &str,
        session: &str,
        current: String,
        new: String,
    ) -> Result<(), SignInError> {
        if current.len() > MAX_BYTES {
            return Err(SignInError::Credentials);
        }
        let known = self.0.store.user(user).await?.map(|record| record.password_hash);
        if !self.0.passwords.verify(current, known.clone()).await? {
            return Err(SignInError::Credentials);
        }
        let Some(checked) = known else { return Err(SignInError::Credentials) };
        let next = self.0.passwords.hash(new).await?;
        let password = NewPassword { user: user.into(), current: checked, next, keep: Some(session.into()) };
        if !self.0.store.set_password(self.now(), password).await? {
            return Err(SignInError::Credentials);
        }
        self.0.sessions.forget_all();
        self.0.standing.hurry();
        Ok(())
    }

    /// An access token, which never outlives its session.
    fn access_token(&self, user: &str, session: &str, end: Instant) -> Result<(String, Duration), String> {
        let now = self.now();
        let lifetime = self.0.config.access_ttl.min(end.since(now));
        let token = self.0.tokens.sign(user, session, now, lifetime).map_err(|error| error.to_string())?;
        Ok((token, lifetime))
    }
}
