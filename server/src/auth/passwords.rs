//! Passwords: argon2id, off the reactor, a bounded number at a time.
//!
//! A hash costs 19 MiB and some 50 ms of a core on purpose. So that nobody can starve leases with logins, hashes run on
//! the blocking pool behind a semaphore, a bounded number of callers wait for it, and none waits long. The memory is
//! taken once for each hash that is made at a time, and kept: given back, the allocator would keep it for every thread
//! that ever made one, and a server that nobody signs in to any more would hold a gigabyte.

use std::{sync::Arc, time::Duration};

use argon2::{
    Algorithm, Argon2, Block, Params, Version,
    password_hash::phc::{Output, ParamsString, PasswordHash, Salt},
};
use parking_lot::Mutex;
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
    /// Where hashes are made, but for those that one is made in.
    rooms: Arc<Mutex<Vec<Room>>>,
}

/// The memory of one hash.
type Room = Vec<Block>;

impl Passwords {
    pub(crate) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            hashing: Arc::new(Semaphore::new(cores.saturating_sub(1).max(1))),
            waiting: Arc::new(Semaphore::new(MAX_WAITING)),
            rooms: Arc::default(),
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
        self.work(move |room| hashed(password.as_bytes(), room)).await?.ok_or(HashError::Failed)
    }

    /// Whether a password has this hash. Without a hash the same work is done, and the answer is no.
    pub(crate) async fn verify(&self, password: String, hash: Option<String>) -> Result<bool, HashError> {
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| NOBODY.into());
        let matches = self.work(move |room| matches(password.as_bytes(), &hash, room)).await?;
        Ok(known && matches.unwrap_or(false))
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Room) -> T + Send + 'static,
    ) -> Result<T, HashError> {
        let _place = self.waiting.clone().try_acquire_owned().map_err(|_| HashError::Busy)?;
        #[expect(clippy::disallowed_methods, reason = "nobody waits longer for their turn")]
        let turn = tokio::time::timeout(PATIENCE, self.hashing.clone().acquire_owned());
        let Ok(Ok(turn)) = turn.await else { return Err(HashError::Busy) };
        let rooms = self.rooms.clone();
        tokio::task::spawn_blocking(move || {
            // Held by the work itself: a caller who gives up does not make room for another hash.
            let _turn = turn;
            let mut room = rooms.lock().pop().unwrap_or_default();
            let done = work(&mut room);
            rooms.lock().push(room);
            done
        })
        .await
        .map_err(|_| HashError::Failed)
    }
}

/// The hash of a password under a new salt, by the parameters in force.
fn hashed(password: &[u8], room: &mut Room) -> Option<String> {
    let salt: [u8; 16] = rand::random();
    let (algorithm, version, params) = (Algorithm::default(), Version::default(), Params::default());
    let mut out = [0; Params::DEFAULT_OUTPUT_LEN];
    fill(algorithm, version, &params, password, &salt, &mut out, room)?;
    let hash = PasswordHash {
        algorithm: algorithm.ident(),
        version: Some(version.into()),
        params: ParamsString::try_from(&params).ok()?,
        salt: Some(Salt::new(&salt).ok()?),
        hash: Some(Output::new(&out).ok()?),
    };
    Some(hash.to_string())
}

/// Whether a password has this hash; nothing where it is no hash.
fn matches(password: &[u8], hash: &str, room: &mut Room) -> Option<bool> {
    let hash = PasswordHash::new(hash).ok()?;
    let algorithm = Algorithm::try_from(hash.algorithm.as_str()).ok()?;
    let version = hash.version.map(Version::try_from).transpose().ok()?.unwrap_or_default();
    let params = Params::try_from(&hash).ok()?;
    let (salt, expected) = (hash.salt?, hash.hash?);
    let mut out = vec![0; expected.len()];
    fill(algorithm, version, &params, password, &salt, &mut out, room)?;
    // Outputs are compared in constant time.
    Some(Output::new(&out).ok()? == expected)
}

fn fill(
    algorithm: Algorithm,
    version: Version,
    params: &Params,
    password: &[u8],
    salt: &[u8],
    out: &mut [u8],
    room: &mut Room,
) -> Option<()> {
    room.resize(params.block_count(), Block::new());
    let argon = Argon2::new(algorithm, version, params.clone());
    argon.hash_password_into_with_memory(password, salt, out, room).ok()
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
        assert_eq!(passwords.verify("correct horse".into(), Some(hash.clone())).await, Ok(false));
        // Those that were made before are good, whoever made them.
        use argon2::{PasswordHasher as _, PasswordVerifier as _};
        let others = Argon2::default().hash_password(b"correct horse battery").unwrap().to_string();
        assert_eq!(passwords.verify("correct horse battery".into(), Some(others)).await, Ok(true));
        assert!(Argon2::default().verify_password(b"correct horse battery", hash.as_str()).is_ok());
        assert_eq!(passwords.verify("correct horse battery".into(), Some("no hash".into())).await, Ok(false));
    }

    #[tokio::test]
    async fn memory_is_taken_once_for_each_hash_that_is_made_at_a_time() {
        let passwords = Passwords::new();
        let slots = passwords.hashing.available_permits();
        futures::future::join_all((0..2 * slots + 3).map(|_| passwords.verify(String::new(), None))).await;
        let rooms = passwords.rooms.lock();
        assert!((1..=slots).contains(&rooms.len()), "{} for {slots}", rooms.len());
        assert!(rooms.iter().all(|room| room.len() == Params::default().block_count()));
    }

    #[tokio::test]
    async fn nobody_has_no_password_and_costs_the_same_work() {
        assert!(PasswordHash::new(NOBODY).is_ok());
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
