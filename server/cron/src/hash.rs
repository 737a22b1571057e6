//! The stable hash behind `H`, and behind the print of zone data.
//!
//! The result decides when schedules fire, and is stored, so it may never change: not with the Rust version, not with the
//! platform. That is why this is FNV-1a with a fixed finisher, written out here, and not a hasher of the standard library.

use std::fmt;

const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// Tells texts apart that differ by accident; not for those that somebody made to be alike.
#[derive(Debug)]
pub(crate) struct Print(u64);

impl Default for Print {
    fn default() -> Self {
        Self(BASIS)
    }
}

impl Print {
    /// Adds a text, and where it ends.
    pub(crate) fn add(&mut self, text: &[u8]) {
        for byte in text.iter().copied().chain((text.len() as u64).to_le_bytes()) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(PRIME);
        }
    }
}

impl fmt::Display for Print {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", finished(self.0))
    }
}

/// A number in `[0, below)` chosen by the seed (a schedule's uid) and the purpose (a field's name).
pub(crate) fn pick(seed: &[u8], purpose: &str, below: u64) -> u64 {
    let mut hash: u64 = BASIS;
    for byte in seed.iter().chain(&[0xff]).chain(purpose.as_bytes()) {
        hash ^= u64::from(*byte);
        hash = hash.wrapping_mul(PRIME);
    }
    finished(hash).checked_rem(below).unwrap_or(0)
}

/// FNV mixes its low bits poorly; this is `SplitMix64`'s finisher.
fn finished(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}
