//! Passwords: argon2id, off the reactor, a bounded number at a time.
//!
//! A hash costs 19 MiB and some 50 ms of a core on purpose. So that nobody can starve leases with logins, hashes run on
//! the blocking pool behind a semaphore, a bounded number of callers wait for it, and none waits long.

use std::{sync::Arc, time::Duration};

use argon2::{Argon2, PasswordHasher as _, PasswordVerifier as _};
use tokio::sync::Semaphore;

/// Longer passwords are refused before they are hashed.
pub(crate) const MAX_BYTES: usize = 256;
/// Shorter ones are no passwords.
const MIN_BYTES: usize = 12;
/// At most so many callers wait.
const MAX_WAITING: usize = 64;
/// Nobody waits longer.
const PATIENCE: Duration = Duration::from_secs(2);
/// A hash that no password has, under the parameters in force: unknown users cost the same work as known ones.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bWFpbnNwcmluZy1ub2JvZHk$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Why a text is not taken as a new password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Too short.
    #[error("must be at least {MIN_BYTES} bytes")]
    TooShort,
    /// Too long.
    #[error("must be at most {MAX_BYTES} bytes")]
    TooLong,
}

/// Why nothing was hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HashError {
    /// Too many callers wait.
    #[error("too many passwords are being checked")]
    Busy,
    /// The hash could not be made.
    #[error("the password could not be hashed")]
    Failed,
}

/// Hashes and verifies.
#[derive(Clone, Debug)]
pub(crate) struct Passwords {
    hashing: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl Passwords {
    pub(crate) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            hashing: Arc::new(Semaphore::new(cores.saturating_sub(1).max(1))),
            waiting: Arc::new(Semaphore::new(MAX_WAITING)),
        }
    }

    /// Whether a text may become a password.
    pub(crate) fn check(password: &str) -> Result<(), PolicyError> {
        match password.len() {
            ..MIN_BYTES => Err(PolicyError::TooShort),
            MIN_BYTES..=MAX_BYTES => Ok(()),
            _ => Err(PolicyError::TooLong),
        }
    }

    /// The hash of a password, in PHC format.
    pub(crate) async fn hash(&self, password: String) -> Result<String, HashError> {
        self.work(move || Argon2::default().hash_password(password.as_bytes()).map(|hash| hash.to_string()).ok())
            .await?
            .ok_or(HashError::Failed)
    }

    /// Whether a password has this hash. Without a hash the same work is done, and the answer is no.
    pub(crate) async fn verify(&self, password: String, hash: Option<String>) -> Result<bool, HashError> {
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| NOBODY.into());
        let matches =
            self.work(move || Argon2::default().verify_password(password.as_bytes(), hash.as_str()).is_ok()).await?;
        Ok(known && matches)
    }

    async fn work<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, HashError> {
        let _place = self.waiting.clone().try_acquire_owned().map_err(|_| HashError::Busy)?;
        #[expect(clippy::disallowed_methods, reason = "nobody waits longer for their turn")]
        let turn = tokio::time::timeout(PATIENCE, self.hashing.clone().acquire_owned());
        let Ok(Ok(turn)) = turn.await else { return Err(HashError::Busy) };
        tokio::task::spawn_blocking(move || {
            // Held by the work itself: a caller who gives up does not make room for another hash.
            let _turn = turn;
            work()
        })
        .await
        .map_err(|_| HashError::Failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_matches_its_own_hash_only() {
        let passwords = Passwords::new();
        let hash = passwords.hash("correct horse battery".into()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_eq!(passwords.verify("correct horse battery".into(), Some(hash.clone())).await, Ok(true));
        assert_eq!(passwords.verify("correct horse".into(), Some(hash)).await, Ok(false));
    }

    #[tokio::test]
    async fn nobody_has_no_password_and_costs_the_same_work() {
        assert!(argon2::password_hash::phc::PasswordHash::new(NOBODY).is_ok());
        assert_eq!(Passwords::new().verify(String::new(), None).await, Ok(false));
    }

    #[tokio::test]
    async fn a_crowd_is_turned_away() {
        let passwords = Passwords::new();
        let _places = passwords.waiting.clone().try_acquire_many_owned(64).unwrap();
        assert_eq!(passwords.hash("correct horse battery".into()).await, Err(HashError::Busy));
    }

    #[test]
    fn lengths_are_bounded() {
        assert_eq!(Passwords::check(&"x".repeat(11)), Err(PolicyError::TooShort));
        assert_eq!(Passwords::check(&"x".repeat(12)), Ok(()));
        assert_eq!(Passwords::check(&"x".repeat(256)), Ok(()));
        assert_eq!(Passwords::check(&"x".repeat(257)), Err(PolicyError::TooLong));
    }
}
