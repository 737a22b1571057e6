//! API keys: `mk_<id>_<secret>`, for programs, scripts and workers.

use mainspring_engine::{
    domain::instant::Instant,
    ports::store::{ApiKeyRecord, Page, StoreError},
};
use subtle::ConstantTimeEq as _;

use super::{
    Auth, Caller, Credential, Denied,
    secret::{self, hash, hex, sortable_id},
};

/// What every key begins with, so that one is known when it is seen where it should not be.
pub(super) const PREFIX: &str = "mk_";

/// A key that was made, and its text, which is told once.
#[derive(Debug)]
pub(crate) struct NewKey {
    /// Its record.
    pub(crate) record: ApiKeyRecord,
    /// The key itself.
    pub(crate) text: String,
}

/// Why a key was not made or revoked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    /// There is no such key.
    #[error("there is no such API key")]
    Missing,
    /// The store is away.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl NewKey {
    /// A key of this text and role.
    fn new(name: &str, role: &str, creator: String, now: Instant, expire_time: Option<Instant>) -> Self {
        let id = sortable_id(now);
        let secret = hex(&secret::random::<32>());
        let text = format!("{PREFIX}{id}_{secret}");
        let record = ApiKeyRecord {
            id,
            name: name.into(),
            role: role.into(),
            secret_hash: hash(&secret),
            creator,
            create_time: now,
            expire_time,
            revoke_time: None,
            last_use_time: None,
        };
        Self { record, text }
    }
}

/// The id and the secret in the text of a key.
pub(super) fn split(text: &str) -> Option<(&str, &str)> {
    let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
    let plain = |part: &str| part.bytes().all(|c| c.is_ascii_hexdigit());
    (id.len() == 32 && secret.len() == 64 && plain(id) && plain(secret)).then_some((id, secret))
}

impl Auth {
    /// Makes a key.
    pub(crate) async fn create_key(
        &self,
        name: &str,
        role: &str,
        creator: String,
        expire_time: Option<Instant>,
    ) -> Result<NewKey, KeyError> {
        let key = NewKey::new(name, role, creator, self.now(), expire_time);
        self.0.store.create_key(key.record.clone()).await?;
        Ok(key)
    }

    /// Keys, newest first.
    pub(crate) async fn list_keys(&self, page: Page) -> Result<Vec<ApiKeyRecord>, KeyError> {
        Ok(self.0.store.keys(page).await?)
    }

    /// Revokes a key: no call and no stream goes on under it.
    pub(crate) async fn revoke_key(&self, id: &str) -> Result<ApiKeyRecord, KeyError> {
        let revoked = self.0.store.revoke_key(self.now(), id).await?.ok_or(KeyError::Missing)?;
        self.0.keys.forget(id);
        self.0.standing.hurry();
        Ok(revoked)
    }

    pub(super) async fn by_key(&self, text: &str) -> Result<Caller, Denied> {
        let (id, secret) = split(text).ok_or(Denied::Invalid)?;
        let record = self.key(id).await?.ok_or(Denied::Invalid)?;
        // Before anything is told about the key: whoever does not have the secret learns nothing of it.
        if !bool::from(record.secret_hash.ct_eq(&hash(secret))) {
            return Err(Denied::Invalid);
        }
        self.key_stands(&record)?;
        self.0.used.lock().insert(record.id.clone());
        Ok(Caller {
            credential: Credential::Key { id: record.id },
            display_name: record.name,
            roles: vec![record.role],
            expire_time: record.expire_time,
            must_change_password: false,
        })
    }

    /// Whether a key is neither revoked nor over.
    pub(super) fn key_stands(&self, record: &ApiKeyRecord) -> Result<(), Denied> {
        if record.revoke_time.is_some() {
            return Err(Denied::Revoked);
        }
        match record.expire_time {
            Some(end) if end <= self.now() => Err(Denied::Expired(end)),
            _ => Ok(()),
        }
    }

    /// A key, as it was at most [`secret::FRESH`] ago.
    pub(super) async fn key(&self, id: &str) -> Result<Option<ApiKeyRecord>, StoreError> {
        let now = self.now();
        if let Some(known) = self.0.keys.get(id, now) {
            return Ok(Some(known));
        }
        let found = self.0.store.key(id).await?;
        if let Some(record) = &found {
            self.0.keys.put(id, now, record.clone());
        }
        Ok(found)
    }

    /// Tells the store which keys were used since it was last told.
    pub(super) async fn note_uses(&self) {
        let used: Vec<_> = std::mem::take(&mut *self.0.used.lock()).into_iter().collect();
        if used.is_empty() {
            return;
        }
        if let Err(error) = self.0.store.touch_keys(self.now(), used).await {
            tracing::debug!(%error, "the use of API keys could not be noted");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_back_and_nothing_else_is_a_key() {
        let key = NewKey::new("ci", "worker", "user:root".into(), Instant::from_micros(1), None);
        let (id, secret) = split(&key.text).unwrap();
        assert_eq!((id, hash(secret)), (key.record.id.as_str(), key.record.secret_hash));
        let longer = format!("{}0", key.text);
        for bad in ["", "mk_", "mk_a_b", &longer, &key.text.replace("mk_", "sk_"), &key.text.replacen('_', "-", 2)] {
            assert_eq!(split(bad), None, "{bad}");
        }
    }

    #[test]
    fn ids_sort_by_when_they_were_made() {
        let at = |micros| sortable_id(Instant::from_micros(micros));
        assert!(at(1_000_000) < at(2_000_000));
    }
}
