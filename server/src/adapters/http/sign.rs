//! Signatures, as Standard Webhooks has them: receivers have libraries for it in every language.
//!
//! `webhook-signature: v1,BASE64`, an HMAC-SHA256 over `ID.SECONDS.BODY`, under the bytes of the secret. Whoever knows the
//! secret can tell that a notice comes from here, is whole, and was sent at the time it says.

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::STANDARD};

/// What stands before a secret.
pub const SECRET_PREFIX: &str = "whsec_";
/// How long the bytes of a secret are.
const BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// Reads a secret as people write it, or says what is wrong with it.
pub fn read_secret(text: &str) -> Result<Vec<u8>, String> {
    let shape = || {
        let (least, most) = (BYTES.start(), BYTES.end());
        format!(
            "must be `{SECRET_PREFIX}` and the base64 of {least} to {most} random bytes; leave it out to have one made"
        )
    };
    let bytes = text.strip_prefix(SECRET_PREFIX).and_then(|rest| STANDARD.decode(rest).ok()).ok_or_else(shape)?;
    if BYTES.contains(&bytes.len()) { Ok(bytes) } else { Err(shape()) }
}

/// Writes a secret for people.
pub fn write_secret(bytes: &[u8]) -> String {
    format!("{SECRET_PREFIX}{}", STANDARD.encode(bytes))
}

/// The header of a notice that is sent at this second.
pub(super) fn signature(secret: &[u8], id: &str, seconds: i64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let tag = hmac::sign(&key, format!("{id}.{seconds}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(tag.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example that the standard's own libraries are tested with.
    #[test]
    fn the_standards_own_example_is_signed_alike() {
        let secret = read_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = signature(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn secrets_come_back() {
        let bytes: Vec<u8> = (0..32).collect();
        assert_eq!(read_secret(&write_secret(&bytes)).unwrap(), bytes);
        let (short, long) = (write_secret(&[1; 23]), write_secret(&[1; 65]));
        for bad in ["", "whsec_", "hunter2", "whsec_!!!", &short, &long, &write_secret(&bytes)[6..]] {
            assert!(read_secret(bad).unwrap_err().contains("whsec_"), "{bad}");
        }
    }
}
