//! The journal's bytes: a line that says what the file is, then records, each with its length and a checksum.
//!
//! What is read back ends at the first record that is not whole: a process or a machine died while it was written, so
//! nothing after it was promised to anybody.

use std::collections::BTreeMap;

use mainspring_proto::worker::v1::{AttemptRef, AttemptResult};
use prost::Message as _;

use crate::state::{Key, MAX_MESSAGE_BYTES};

/// What every journal begins with.
const MAGIC: &[u8] = b"mainspring result journal 1\n";
/// Length and checksum.
const FRAME_BYTES: usize = 8;
/// A record is no longer than what can be sent, and a little.
const MAX_BODY_BYTES: usize = MAX_MESSAGE_BYTES + 1_024;

const WHOSE: u8 = 0;
const KEEP: u8 = 1;
const STRIKE: u8 = 2;

/// Whose results a journal holds: what they are delivered to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Whose {
    pub(super) address: String,
    pub(super) namespace: String,
}

/// What a journal says.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) whose: Whose,
    /// The results that were not struck out.
    pub(super) results: BTreeMap<Key, AttemptResult>,
    /// How many bytes at the end mean nothing.
    pub(super) torn: usize,
}

/// The beginning of a journal.
pub(super) fn beginning(whose: &Whose) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    push(&mut bytes, WHOSE, format!("{}\n{}", whose.address, whose.namespace).as_bytes());
    bytes
}

/// Adds a result.
pub(super) fn keep(bytes: &mut Vec<u8>, result: &AttemptResult) {
    push(bytes, KEEP, &result.encode_to_vec());
}

/// Strikes one out.
pub(super) fn strike(bytes: &mut Vec<u8>, key: &Key) {
    push(bytes, STRIKE, &key.wire().encode_to_vec());
}

/// Reads a journal; `None` where it is none, or not even its beginning is whole.
pub(super) fn read(bytes: &[u8]) -> Option<Contents> {
    let mut rest = bytes.strip_prefix(MAGIC)?;
    let (WHOSE, whose) = pop(&mut rest)? else { return None };
    let (address, namespace) = std::str::from_utf8(whose).ok()?.split_once('\n')?;
    let whose = Whose { address: address.into(), namespace: namespace.into() };
    let mut results = BTreeMap::new();
    let mut torn = rest.len();
    while let Some((kind, body)) = pop(&mut rest) {
        match kind {
            KEEP => {
                let Ok(result) = AttemptResult::decode(body) else { break };
                let Some(key) = Key::of(result.attempt.as_ref()) else { break };
                results.insert(key, result);
            }
            STRIKE => {
                let Ok(attempt) = AttemptRef::decode(body) else { break };
                let Some(key) = Key::of(Some(&attempt)) else { break };
                results.remove(&key);
            }
            _ => break,
        }
        torn = rest.len();
    }
    Some(Contents { whose, results, torn })
}

fn push(bytes: &mut Vec<u8>, kind: u8, body: &[u8]) {
    let length = u32::try_from(body.len() + 1).unwrap_or(u32::MAX);
    let checksum = crc32(std::iter::once(&kind).chain(body));
    bytes.extend(length.to_le_bytes());
    bytes.extend(checksum.to_le_bytes());
    bytes.push(kind);
    bytes.extend(body);
}

/// The next record, if it is whole.
fn pop<'a>(bytes: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (frame, after) = bytes.split_at_checked(FRAME_BYTES)?;
    let (length, checksum) = frame.split_at(4);
    let number = |bytes: &[u8]| bytes.try_into().map(u32::from_le_bytes).ok();
    let length = usize::try_from(number(length)?).ok().filter(|length| (1..=MAX_BODY_BYTES).contains(length))?;
    let (body, after) = after.split_at_checked(length)?;
    if crc32(body) != number(checksum)? {
        return None;
    }
    *bytes = after;
    let (kind, body) = body.split_first()?;
    Some((*kind, body))
}

/// CRC-32 as in IEEE 802.3: it tells a torn write, and is not meant to tell a forged one.
fn crc32<'a>(bytes: impl IntoIterator<Item = &'a u8>) -> u32 {
    const TABLE: [u32; 256] = table();
    let update = |sum: u32, byte: &u8| TABLE[usize::from(sum.to_le_bytes()[0] ^ byte)] ^ (sum >> 8);
    !bytes.into_iter().fold(!0, update)
}

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut sum = index as u32;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ 0xedb8_8320 } else { sum >> 1 };
            bit += 1;
        }
        table[index] = sum;
        index += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use mainspring_proto::worker::v1::AttemptResult;
    use proptest::prelude::*;

    use super::{Contents, Whose, beginning, crc32, keep, read, strike};
    use crate::state::Key;

    fn key(run: u8) -> Key {
        Key { run_id: format!("r{run}").into(), attempt: 1 }
    }

    fn result(run: u8) -> AttemptResult {
        AttemptResult { attempt: Some(key(run).wire()), next_log_offset: Some(run.into()), ..AttemptResult::default() }
    }

    fn whose() -> Whose {
        Whose { address: "http://a:1".into(), namespace: "lab".into() }
    }

    #[test]
    fn the_checksum_is_the_usual_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn what_is_no_journal_is_none() {
        assert!(read(b"").is_none() && read(b"[contexts.dev]\n").is_none());
        let bytes = beginning(&whose());
        assert!(read(&bytes[..bytes.len() - 1]).is_none());
    }

    proptest! {
        /// Whatever was written before the place where it was torn or spoilt is read back; nothing after it is.
        #[test]
        fn a_journal_is_read_up_to_where_it_is_whole(
            steps in prop::collection::vec((0..6u8, any::<bool>()), 0..20),
            torn in 0.0..1.0f64,
            spoil in any::<bool>(),
        ) {
            let mut bytes = beginning(&whose());
            let mut expected = BTreeMap::new();
            let mut states = vec![(bytes.len(), expected.clone())];
            for (run, kept) in steps {
                if kept {
                    keep(&mut bytes, &result(run));
                    expected.insert(key(run), result(run));
                } else {
                    strike(&mut bytes, &key(run));
                    expected.remove(&key(run));
                }
                states.push((bytes.len(), expected.clone()));
            }
            let first = states[0].0;
            let cut = first + ((bytes.len() - first) as f64 * torn) as usize;
            if spoil && cut < bytes.len() {
                bytes[cut] ^= 0x40;
            } else {
                bytes.truncate(cut);
            }
            let (whole, expected) = states.into_iter().rev().find(|(length, _)| *length <= cut).unwrap();
            let Contents { whose: by, results, torn } = read(&bytes).unwrap();
            prop_assert_eq!((by, results), (whose(), expected));
            prop_assert_eq!(torn, bytes.len() - whole);
        }
    }
}
