//! Access tokens: JWTs signed with the Ed25519 key of this data directory.
//!
//! The algorithm is the key's, never the token's: a header that names another one, another key, or brings a key of its own
//! is refused before anything is verified. Times are judged here and not by the library, since time comes from the
//! engine's clock; that a token has ended is told only after its signature held.

use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, errors::Error, jwk::Jwk};
use mainspring_engine::domain::instant::Instant;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::secret::hex;

/// Clocks of server and caller may differ so much.
const LEEWAY: u64 = 5;
/// Nothing this server signs is longer.
const MAX_LENGTH: usize = 4_096;
/// What stands before the seed in a PKCS#8 document of an Ed25519 key (RFC 8410).
const PKCS8: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claims {
    pub(super) iss: String,
    pub(super) aud: String,
    /// The user.
    pub(super) sub: String,
    /// The session.
    pub(super) sid: String,
    pub(super) iat: u64,
    pub(super) nbf: u64,
    pub(super) exp: u64,
}

impl Claims {
    pub(super) fn expire_time(&self) -> Instant {
        at(self.exp)
    }
}

/// Why a token is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenError {
    Invalid,
    Expired(Instant),
}

/// Signs and verifies.
pub(super) struct Tokens {
    signing: EncodingKey,
    verifying: DecodingKey,
    header: Header,
    validation: Validation,
    issuer: String,
    audience: String,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").field("kid", &self.header.kid).finish_non_exhaustive()
    }
}

impl Tokens {
    pub(super) fn new(seed: &[u8; 32], issuer: String, audience: String) -> Result<Self, Error> {
        let signing = EncodingKey::from_ed_der(&[PKCS8.as_slice(), seed].concat());
        let verifying = DecodingKey::from_jwk(&Jwk::from_encoding_key(&signing, Algorithm::EdDSA)?)?;
        let kid = hex(&Sha256::digest(verifying.try_get_as_bytes()?)[..8]);
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[&issuer]);
        validation.set_audience(&[&audience]);
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
        validation.validate_exp = false;
        let header = Header { kid: Some(kid), ..Header::new(Algorithm::EdDSA) };
        Ok(Self { signing, verifying, header, validation, issuer, audience })
    }

    /// A token that is good from now on.
    pub(super) fn sign(&self, user: &str, session: &str, now: Instant, lifetime: Duration) -> Result<String, Error> {
        let iat = seconds(now);
        let claims = Claims {
            iss: self.issuer.clone(),
            aud: self.audience.clone(),
            sub: user.into(),
            sid: session.into(),
            iat,
            nbf: iat,
            exp: iat + lifetime.as_secs(),
        };
        jsonwebtoken::encode(&self.header, &claims, &self.signing)
    }

    /// What a good token says.
    pub(super) fn verify(&self, token: &str, now: Instant) -> Result<Claims, TokenError> {
        if token.len() > MAX_LENGTH {
            return Err(TokenError::Invalid);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Invalid)?;
        // Ours is the whole header; one with anything more wants something of us.
        if header != self.header {
            return Err(TokenError::Invalid);
        }
        let claims = jsonwebtoken::decode::<Claims>(token, &self.verifying, &self.validation)
            .map_err(|_| TokenError::Invalid)?
            .claims;
        let now = seconds(now);
        if claims.nbf > now + LEEWAY {
            return Err(TokenError::Invalid);
        }
        if claims.exp + LEEWAY <= now {
            return Err(TokenError::Expired(claims.expire_time()));
        }
        Ok(claims)
    }
}

fn seconds(at: Instant) -> u64 {
    u64::try_from(at.as_micros() / 1_000_000).unwrap_or(0)
}

fn at(seconds: u64) -> Instant {
    Instant::from_micros(i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::EPOCH;
    const MINUTE: Duration = Duration::from_secs(60);

    fn tokens(seed: u8) -> Tokens {
        Tokens::new(&[seed; 32], "iss".into(), "aud".into()).unwrap()
    }

    fn claims() -> Claims {
        Claims { iss: "iss".into(), aud: "aud".into(), sub: "ada".into(), sid: "s".into(), iat: 0, nbf: 0, exp: 60 }
    }

    fn signed(header: &Header, claims: &impl Serialize) -> String {
        jsonwebtoken::encode(header, claims, &tokens(1).signing).unwrap()
    }

    #[test]
    fn a_token_is_good_until_it_ends() {
        let tokens = tokens(1);
        let token = tokens.sign("ada", "s", NOW, MINUTE).unwrap();
        assert_eq!(tokens.verify(&token, NOW), Ok(claims()));
        assert!(tokens.verify(&token, NOW.plus(Duration::from_secs(64))).is_ok());
        let late = tokens.verify(&token, NOW.plus(Duration::from_secs(65)));
        assert_eq!(late, Err(TokenError::Expired(NOW.plus(MINUTE))));
    }

    #[test]
    fn a_forged_token_is_never_said_to_have_ended() {
        let forged = tokens(2).sign("ada", "s", NOW, MINUTE).unwrap();
        let late = NOW.plus(MINUTE * 60);
        assert_eq!(tokens(1).verify(&forged, late), Err(TokenError::Invalid));
        let good = tokens(1).sign("ada", "s", NOW, MINUTE).unwrap();
        let (body, _) = good.rsplit_once('.').unwrap();
        for signature in ["", "AAAA", &"A".repeat(86)] {
            assert_eq!(tokens(1).verify(&format!("{body}.{signature}"), late), Err(TokenError::Invalid));
        }
    }

    #[test]
    fn another_header_is_refused() {
        let ours = tokens(1).header;
        for header in [
            Header { kid: None, ..ours.clone() },
            Header { kid: Some("other".into()), ..ours.clone() },
            Header { jku: Some("https://evil.example/keys".into()), ..ours.clone() },
            Header { x5u: Some("https://evil.example/cert".into()), ..ours.clone() },
            Header { crit: Some(vec!["exp".into()]), ..ours.clone() },
        ] {
            assert_eq!(tokens(1).verify(&signed(&header, &claims()), NOW), Err(TokenError::Invalid), "{header:?}");
        }
        assert!(tokens(1).verify(&signed(&ours, &claims()), NOW).is_ok());
    }

    #[test]
    fn no_algorithm_and_the_wrong_one_are_refused() {
        // {"typ":"JWT","alg":"none","kid":…} and the like, unsigned or signed with the public key as an HMAC secret.
        let tokens = tokens(1);
        let body = tokens.sign("ada", "s", NOW, MINUTE).unwrap();
        let payload = body.split('.').nth(1).unwrap();
        for header in ["eyJ0eXAiOiJKV1QiLCJhbGciOiJub25lIn0", "eyJhbGciOiJub25lIn0"] {
            assert_eq!(tokens.verify(&format!("{header}.{payload}."), NOW), Err(TokenError::Invalid));
        }
        let public = tokens.verifying.try_get_as_bytes().unwrap();
        let header = Header { kid: tokens.header.kid.clone(), ..Header::new(Algorithm::HS256) };
        let confused = jsonwebtoken::encode(&header, &claims(), &EncodingKey::from_secret(public)).unwrap();
        assert_eq!(tokens.verify(&confused, NOW), Err(TokenError::Invalid));
    }

    #[test]
    fn every_claim_is_required_and_judged() {
        let header = tokens(1).header;
        for bad in [
            Claims { iss: "other".into(), ..claims() },
            Claims { aud: "other".into(), ..claims() },
            Claims { nbf: 6, ..claims() },
        ] {
            assert_eq!(tokens(1).verify(&signed(&header, &bad), NOW), Err(TokenError::Invalid), "{bad:?}");
        }
        for missing in ["iss", "aud", "sub", "nbf", "exp"] {
            let mut claims = serde_json::to_value(claims()).unwrap();
            claims.as_object_mut().unwrap().remove(missing);
            assert_eq!(tokens(1).verify(&signed(&header, &claims), NOW), Err(TokenError::Invalid), "{missing}");
        }
        for garbage in ["", ".", "..", "a.b.c", &"x".repeat(5_000)] {
            assert_eq!(tokens(1).verify(garbage, NOW), Err(TokenError::Invalid));
        }
    }
}
