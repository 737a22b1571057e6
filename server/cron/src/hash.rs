//! The stable hash behind `H`.
//!
//! The result decides when schedules fire, so it may never change: not with the Rust version, not with the platform.
//! That is why this is FNV-1a with a fixed finisher, written out here, and not a hasher of the standard library.

/// A number in `[0, below)` chosen by the seed (a schedule's uid) and the purpose (a field's name).
pub(crate) fn pick(seed: &[u8], purpose: &str, below: u64) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in seed.iter().chain(&[0xff]).chain(purpose.as_bytes()) {
        hash ^= u64::from(*byte);
        hash = hash.wrapping_mul(0x0000_0100_0000_01b3);
    }
    // FNV mixes its low bits poorly; this is SplitMix64's finisher.
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^= hash >> 31;
    hash.checked_rem(below).unwrap_or(0)
}
