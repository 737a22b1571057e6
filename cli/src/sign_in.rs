//! A person's sign-in, kept between commands: tokens for one server, beside the context's other credentials.
//!
//! ```toml
//! # credentials.toml
//! [contexts.prod]
//! server = "http://prod:7420"        # no token goes anywhere else
//! user = "root"
//! access-token = "…"                 # for calls, until access-expires on this machine's clock
//! refresh-token = "…"                # for the next pair, once
//! ```
//! A refresh token works once, and one that comes twice ends its sign-in, since then somebody else has it. So of several
//! commands at the same time one renews while the others wait, by a lock beside the file, and take what it wrote. An API
//! key in the same place goes before a sign-in: `dev` puts its own there at every start.

use std::{fs::File, io, path::PathBuf, time::Duration};

use jiff::{SignedDuration, Timestamp};
use mainspring_proto::auth::v1::{RefreshTokenRequest, TokenPair};
use mainspring_worker::context::read_file;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use toml_edit::{Item, value};

use crate::{address::Address, connection::Server, context::Folder, exit::Exit, failure::Failure, times};

/// A token is renewed so long before its end, or at half its life where that is short.
const MARGIN: SignedDuration = SignedDuration::from_secs(30);
/// What a sign-in is called in the file, field by field.
const FIELDS: [&str; 6] = ["server", "user", "access-token", "access-expires", "refresh-token", "session-expires"];
/// The field of an API key.
const API_KEY: &str = "api-key";

/// Tokens for one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SignIn {
    /// Where they are good.
    pub(crate) server: Address,
    /// Who signed in.
    pub(crate) user: String,
    /// For calls.
    pub(crate) access_token: Secret,
    /// When that ends, by this machine's clock.
    access_expires: Timestamp,
    /// For the next pair.
    refresh_token: Secret,
    /// When all of it ends.
    pub(crate) session_expires: Timestamp,
}

/// A token, which is not printed and is compared only by tests and by whoever waited for a renewal.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Secret(SecretString);

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.expose_secret() == other.0.expose_secret()
    }
}

impl Eq for Secret {}

impl std::ops::Deref for Secret {
    type Target = SecretString;

    fn deref(&self) -> &SecretString {
        &self.0
    }
}

impl SignIn {
    /// What a server answered just now.
    pub(crate) fn new(server: Address, user: String, tokens: TokenPair, now: Timestamp) -> Self {
        let TokenPair { access_token, access_token_lifetime, refresh_token, session_expire_time } = tokens;
        let lifetime = access_token_lifetime.unwrap_or_default();
        // By its length and not by its end: the two clocks need not agree.
        let lifetime = SignedDuration::new(lifetime.seconds, lifetime.nanos);
        Self {
            server,
            user,
            access_token: Secret(access_token.into()),
            access_expires: now.saturating_add(lifetime).unwrap_or(now),
            refresh_token: Secret(refresh_token.into()),
            session_expires: session_expire_time.as_ref().and_then(times::from_proto).unwrap_or(now),
        }
    }

    fn is_fresh(&self, now: Timestamp) -> bool {
        self.access_expires.duration_since(now) > MARGIN
    }

    /// How long it is worth waiting before it is renewed.
    pub(crate) fn renew_in(&self, now: Timestamp) -> Duration {
        let left = self.access_expires.duration_since(now);
        Duration::try_from((left - MARGIN).max(left / 2)).unwrap_or_default()
    }
}

/// Where the sign-in of a context is kept.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    folder: Folder,
    context: String,
}

/// What [`Kept::forget`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forgotten {
    /// A sign-in.
    SignIn,
    /// An API key.
    Key,
    /// Nothing.
    Nothing,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Everything {
    contexts: std::collections::BTreeMap<String, Entry>,
}

/// What is there of it; the rest of an entry is somebody else's.
#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Entry {
    server: Option<String>,
    user: String,
    access_token: Option<Secret>,
    access_expires: Timestamp,
    refresh_token: Option<Secret>,
    session_expires: Timestamp,
}

impl Kept {
    pub(crate) fn new(folder: Folder, context: String) -> Self {
        Self { folder, context }
    }

    /// The sign-in, where there is one.
    pub(crate) fn read(&self) -> Result<Option<SignIn>, Failure> {
        let path = self.folder.credentials();
        let Some(text) = read_file(path)? else { return Ok(None) };
        // The error itself would quote the file.
        let mut all: Everything = toml::from_str(&text)
            .map_err(|error| Failure::usage(format!("{}: {}", path.display(), error.message())))?;
        let Some(Entry { server: Some(server), user, access_token, access_expires, refresh_token, session_expires }) =
            all.contexts.remove(&self.context)
        else {
            return Ok(None);
        };
        let (Some(access_token), Some(refresh_token), Ok(server)) = (access_token, refresh_token, server.parse())
        else {
            return Ok(None);
        };
        Ok(Some(SignIn { server, user, access_token, access_expires, refresh_token, session_expires }))
    }

    /// Keeps it, in place of whatever credential was there.
    pub(crate) fn keep(&self, sign_in: &SignIn) -> Result<(), Failure> {
        let SignIn { server, user, access_token, access_expires, refresh_token, session_expires } = sign_in;
        let values = [
            server.to_string(),
            user.clone(),
            access_token.expose_secret().to_owned(),
            access_expires.to_string(),
            refresh_token.expose_secret().to_owned(),
            session_expires.to_string(),
        ];
        self.folder.change_credentials(&self.context, |entry| {
            for (field, text) in FIELDS.iter().zip(values) {
                entry[field] = value(text);
            }
            remove(entry, &[API_KEY]);
        })
    }

    /// Takes away whatever credential is there.
    pub(crate) fn forget(&self) -> Result<Forgotten, Failure> {
        let mut found = Forgotten::Nothing;
        self.folder.change_credentials(&self.context, |entry| {
            if remove(entry, &FIELDS) {
                found = Forgotten::SignIn;
            }
            if remove(entry, &[API_KEY]) {
                found = Forgotten::Key;
            }
        })?;
        Ok(found)
    }

    /// The sign-in, good for calls: as it is, as another command has just renewed it, or renewed here.
    pub(crate) async fn renewed(&self, server: &Server, sign_in: SignIn, now: Timestamp) -> Result<SignIn, Failure> {
        if sign_in.is_fresh(now) {
            return Ok(sign_in);
        }
        let _lock = self.lock().await?;
        let SignIn { server: address, user, refresh_token, .. } = match self.read()? {
            Some(other) if other != sign_in && other.is_fresh(now) => return Ok(other),
            Some(newest) => newest,
            None => sign_in,
        };
        let request = RefreshTokenRequest { refresh_token: refresh_token.expose_secret().to_owned() };
        let answer = server.auth().refresh_token(request).await.map_err(|status| ended(status.into(), &user))?;
        let tokens = answer.into_inner().tokens.unwrap_or_default();
        let renewed = SignIn::new(address, user, tokens, now);
        self.keep(&renewed)?;
        Ok(renewed)
    }

    /// One command at a time. Waits on a thread of its own: another command may hold it while it asks its server.
    async fn lock(&self) -> Result<File, Failure> {
        let path: PathBuf = self.folder.credentials().with_extension("lock");
        let locked = tokio::task::spawn_blocking(move || {
            let file = File::options().create(true).truncate(false).write(true).open(path)?;
            file.lock()?;
            Ok::<_, io::Error>(file)
        });
        locked
            .await
            .map_err(|_| Failure::new(Exit::Failed, "IO_FAILED", "waiting for other commands failed"))?
            .map_err(Failure::from)
    }
}

/// Whether any of them was there.
fn remove(entry: &mut Item, fields: &[&str]) -> bool {
    let Some(table) = entry.as_table_like_mut() else { return false };
    let removed = fields.iter().filter(|field| table.remove(field).is_some());
    removed.count() > 0
}

/// A refresh token that is no longer good is the end of the sign-in.
fn ended(failure: Failure, user: &str) -> Failure {
    match failure.reason() {
        "TOKEN_INVALID" | "TOKEN_EXPIRED" | "TOKEN_REVOKED" => {
            let message = format!("the sign-in as {user} has ended: {}", failure.message());
            Failure::new(Exit::NotAllowed, failure.reason(), message).hint("`mainspring login` signs in again")
        }
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use jiff::{SignedDuration, Timestamp};
    use mainspring_proto::auth::v1::TokenPair;
    use secrecy::ExposeSecret as _;
    use tempfile::TempDir;

    use super::{Forgotten, Kept, SignIn};
    use crate::settings::Environment;

    fn now() -> Timestamp {
        "2026-11-21T10:00:00Z".parse().unwrap()
    }

    fn sign_in(lifetime: i64) -> SignIn {
        let tokens = TokenPair {
            access_token: "access".into(),
            access_token_lifetime: Some(prost_types::Duration { seconds: lifetime, nanos: 0 }),
            refresh_token: "refresh".into(),
            session_expire_time: Some(prost_types::Timestamp { seconds: 2_000_000_000, nanos: 0 }),
        };
        SignIn::new("prod:7420".parse().unwrap(), "root".into(), tokens, now())
    }

    fn kept(home: &TempDir) -> Kept {
        Kept::new(Environment::with_config(home.path()).folder().unwrap(), "prod".into())
    }

    #[test]
    fn a_sign_in_takes_the_place_of_a_key_and_leaves_the_rest() {
        let home = TempDir::new().unwrap();
        let kept = kept(&home);
        assert_eq!(kept.read().unwrap(), None);
        let path = home.path().join("credentials.toml");
        fs::write(&path, "# mine\n[contexts.dev]\napi-key = \"d\"\n[contexts.prod]\napi-key = \"k\"\n").unwrap();
        assert_eq!(kept.read().unwrap(), None);
        kept.keep(&sign_in(900)).unwrap();
        assert_eq!(kept.read().unwrap(), Some(sign_in(900)));
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("# mine") && text.contains("api-key = \"d\"") && !text.contains("\"k\""), "{text}");
        assert_eq!(kept.forget().unwrap(), Forgotten::SignIn);
        assert_eq!((kept.read().unwrap(), kept.forget().unwrap()), (None, Forgotten::Nothing));
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("api-key = \"d\"") && !text.contains("refresh"), "{text}");
    }

    #[test]
    fn it_is_renewed_before_its_end_by_this_machines_clock() {
        let minute = SignedDuration::from_mins(1);
        let long = sign_in(15 * 60);
        assert!(long.is_fresh(now()) && long.is_fresh(now() + minute * 14) && !long.is_fresh(now() + minute * 15));
        assert_eq!(long.renew_in(now()).as_secs(), 15 * 60 - 30);
        let short = sign_in(10);
        assert!(!short.is_fresh(now()), "each command renews it");
        assert_eq!((short.renew_in(now()).as_secs(), short.renew_in(now() + minute).as_secs()), (5, 0));
    }

    #[test]
    fn tokens_are_not_printed() {
        let sign_in = sign_in(900);
        let shown = format!("{sign_in:?}");
        assert_eq!(sign_in.access_token.expose_secret(), "access");
        assert!(!shown.contains("\"access\"") && !shown.contains("\"refresh\""), "{shown}");
    }
}
