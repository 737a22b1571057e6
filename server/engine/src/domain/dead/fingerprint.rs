//! What went wrong, as a number: failures that differ only in what varies from run to run have the same.
//!
//! Who failed, the reason, the message without what varies, and the first place that its stack trace names. Numbers,
//! hexadecimal, UUIDs and whatever stands in quotes vary; words do not. The number is kept in rows and typed in filters, so
//! it may never change for what is stored: a change of these rules makes new groups beside the old ones.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::domain::payload::Failure;

/// More of a message is not looked at.
const MAX_MESSAGE: usize = 2_048;
/// The form of a UUID: so many hexadecimal digits between dashes.
const UUID: [usize; 5] = [8, 4, 4, 4, 12];

/// What went wrong. Shown as 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint(u64);

/// A text is no fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be 16 hexadecimal digits")]
pub struct NoFingerprint;

impl Fingerprint {
    /// Of a run that ended without success: the name of its job or its type, the reason, and what its handler said, if that
    /// is why it ended.
    pub fn of(who: &str, reason: &str, failure: Option<&Failure>) -> Self {
        let message = failure.map(|failure| steady(&failure.message)).unwrap_or_default();
        let place = failure.and_then(|failure| place(&failure.stack_trace)).map(|line| without_numbers(line, false));
        let parts = [who, reason, &message, &place.unwrap_or_default()];
        let bytes = parts.iter().flat_map(|part| part.bytes().chain([0xff]));
        // FNV-1a: written out here, since no hasher of the standard library promises to stay as it is.
        let hash = bytes
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        Self(hash)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = NoFingerprint;

    fn from_str(text: &str) -> Result<Self, NoFingerprint> {
        let is_one = text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let number = u64::from_str_radix(text, 16).ok().filter(|_| is_one);
        number.map(Self).ok_or(NoFingerprint)
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = NoFingerprint;

    fn try_from(text: String) -> Result<Self, NoFingerprint> {
        text.parse()
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

/// A message without what varies.
fn steady(message: &str) -> String {
    without_numbers(&message[..message.floor_char_boundary(MAX_MESSAGE)], true)
}

/// The words of a text, one blank between them, with a mark in the place of what varies.
fn without_numbers(text: &str, quotes_vary: bool) -> String {
    let mut words = Words::default();
    let mut rest = text;
    let mut after_word = false;
    while let Some(first) = rest.chars().next() {
        // A quote within a word is an apostrophe.
        if let Some(length) = quoted(rest).filter(|_| quotes_vary && !after_word) {
            words.vary();
            rest = &rest[length..];
        } else if let Some(after) = uuid(rest).filter(|_| !after_word) {
            words.vary();
            rest = after;
        } else if is_word(first) {
            let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            words.word(&rest[..length]);
            rest = &rest[length..];
            after_word = true;
            continue;
        } else {
            rest = &rest[first.len_utf8()..];
        }
        after_word = false;
    }
    words.0
}

#[derive(Default)]
struct Words(String);

impl Words {
    fn word(&mut self, word: &str) {
        let is_hex = word.len() >= 8 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_hex || word.contains(|c: char| c.is_numeric()) {
            return self.vary();
        }
        self.push(word);
    }

    /// However many parts it has: `3.5` and `12` are one number each.
    fn vary(&mut self) {
        if self.0 != "#" && !self.0.ends_with(" #") {
            self.push("#");
        }
    }

    fn push(&mut self, word: &str) {
        if !self.0.is_empty() {
            self.0.push(' ');
        }
        self.0.push_str(word);
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// How long the quotation is that a text begins with, both quotes included.
fn quoted(text: &str) -> Option<usize> {
    let mut chars = text.char_indices();
    let (_, opens) = chars.next()?;
    let closes = match opens {
        '"' | '\'' | '`' => opens,
        '“' => '”',
        '‘' => '’',
        '«' => '»',
        _ => return None,
    };
    chars.find(|(_, c)| *c == closes).map(|(at, c)| at + c.len_utf8())
}

/// What follows the UUID that a text begins with.
fn uuid(text: &str) -> Option<&str> {
    let mut rest = text;
    for (at, digits) in UUID.into_iter().enumerate() {
        rest = if at == 0 { rest } else { rest.strip_prefix('-')? };
        let (part, after) = rest.split_at_checked(digits)?;
        if !part.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        rest = after;
    }
    (!rest.starts_with(is_word)).then_some(rest)
}

/// The line of a stack trace that says where it happened. Python writes that last, everybody else first.
fn place(trace: &str) -> Option<&str> {
    let lines = || trace.lines().map(str::trim).filter(|line| !line.is_empty());
    if trace.trim_start().starts_with("Traceback") {
        return lines().rfind(|line| line.starts_with("File \""));
    }
    // Java, C# and JavaScript say the error once more before they say where.
    lines().find(|line| line.starts_with("at ")).or_else(|| lines().next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_varies_from_run_to_run_is_left_out() {
        for (message, steady_form) in [
            ("connection to 10.0.0.7:5432 timed out after 3.5 s", "connection to # timed out after # s"),
            ("order 4711 of `ada@example.org` not found", "order # of # not found"),
            ("no such run 0198c2b4-51a9-7c3e-9a0e-0123456789ab!", "no such run #"),
            ("no such run abcdefab-abcd-abcd-abcd-abcdefabcdef", "no such run #"),
            ("checksum deadbeef differs from 0x1F", "checksum # differs from #"),
            ("can't open \"a b.txt\": don't know why", "can t open # don t know why"),
            ("it's 'quoted' and \u{ab}so\u{bb} on", "it s # and # on"),
            ("an open ' quote", "an open quote"),
            ("item42 and v2", "# and #"),
            ("größe ist falsch", "größe ist falsch"),
            ("facade of decades", "facade of decades"),
            ("", ""),
        ] {
            assert_eq!(steady(message), steady_form, "{message}");
        }
        // However long it is, and wherever it is cut.
        assert_eq!(steady(&"ä".repeat(5_000)).len(), MAX_MESSAGE);
    }

    #[test]
    fn a_place_is_where_it_happened() {
        for (trace, line) in [
            ("", None),
            ("\n  src/main.rs:4:9\n  src/lib.rs:1", Some("src/main.rs:4:9")),
            ("Error: x\n    at send (/srv/mail.js:10:3)\n    at main", Some("at send (/srv/mail.js:10:3)")),
            (
                "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\n    g()\n  File \"b.py\", line 2, in g\n\
                 ValueError",
                Some("File \"b.py\", line 2, in g"),
            ),
        ] {
            assert_eq!(place(trace), line, "{trace}");
        }
    }

    #[test]
    fn alike_is_who_why_what_and_where() {
        let failure = |message: &str, trace: &str| Failure {
            message: message.into(),
            stack_trace: trace.into(),
            ..Failure::default()
        };
        let of = |who, reason, message, trace| Fingerprint::of(who, reason, Some(&failure(message, trace)));
        let one = of("mail", "SMTP_BUSY", "busy for 3 s", "mail.rs:4:9");
        assert_eq!(one, of("mail", "SMTP_BUSY", "busy for 4 s", "mail.rs:5:1"));
        for other in [
            of("report", "SMTP_BUSY", "busy for 3 s", "mail.rs:4:9"),
            of("mail", "SMTP_GONE", "busy for 3 s", "mail.rs:4:9"),
            of("mail", "SMTP_BUSY", "idle for 3 s", "mail.rs:4:9"),
            of("mail", "SMTP_BUSY", "busy for 3 s", "post.rs:4:9"),
            of("mailSMTP", "_BUSY", "busy for 3 s", "mail.rs:4:9"),
            Fingerprint::of("mail", "SMTP_BUSY", None),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn a_fingerprint_stays_what_it_is() {
        let stored = Fingerprint::of("mail", "SMTP_BUSY", None);
        assert_eq!(stored.to_string(), "56ac720946adf8b8");
        assert_eq!(stored.to_string().parse(), Ok(stored));
        for bad in ["", "1", "2d8fcbf5c0b6ed7", "2d8fcbf5c0b6ed7G", "2D8FCBF5C0B6ED7A", "+d8fcbf5c0b6ed7a"] {
            assert_eq!(bad.parse::<Fingerprint>(), Err(NoFingerprint), "{bad}");
        }
    }
}
