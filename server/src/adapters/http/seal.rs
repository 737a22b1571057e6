//! Secrets at rest: sealed under a key of the data directory that is not in the database, so that a copy of the database, a
//! backup among them, signs for nobody.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use mainspring_engine::domain::sink::Sealed;

/// What secrets are sealed with.
pub struct SealKey(LessSafeKey);

impl std::fmt::Debug for SealKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealKey")
    }
}

impl SealKey {
    /// From these bytes.
    pub fn new(bytes: &[u8; 32]) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, bytes).expect("the key is as long as the cipher's are");
        Self(LessSafeKey::new(key))
    }

    /// Seals; the nonce, which is random, stands before.
    pub(super) fn seal(&self, secret: &[u8]) -> Sealed {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce[..]);
        let mut sealed = secret.to_vec();
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut sealed)
            .expect("a secret is no longer than a cipher may seal");
        Sealed([nonce.as_slice(), &sealed].concat())
    }

    /// Opens; none where it was sealed with another key, or changed.
    pub(super) fn open(&self, Sealed(sealed): &Sealed) -> Option<Vec<u8>> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut rest = rest.to_vec();
        let opened = self.0.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::empty(), &mut rest).ok()?;
        Some(opened.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_key_opens_what_was_sealed() {
        let key = SealKey::new(&[7; 32]);
        let sealed = key.seal(b"secret");
        assert_eq!(key.open(&sealed).as_deref(), Some(b"secret".as_slice()));
        assert_ne!(key.seal(b"secret"), sealed, "nobody sees that two are alike");
        assert!(!sealed.0.windows(6).any(|part| part == b"secret"));
        assert_eq!(SealKey::new(&[8; 32]).open(&sealed), None);
        let mut changed = sealed;
        changed.0[14] ^= 1;
        assert_eq!(key.open(&changed), None);
        assert_eq!(key.open(&Sealed(vec![1; 3])), None);
    }
}
