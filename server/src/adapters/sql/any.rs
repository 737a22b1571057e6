//! Whether there is anything of a kind that mostly there is nothing of, and that every step would ask for.
//!
//! It changes within the writer's transactions alone, so that it is of the same order as they are. A database with several
//! writers cannot have it, and asks.

use std::sync::atomic::{AtomicU8, Ordering};

/// Whether there may be any: wrong in one direction only. Once one was made or changed there may be, until the server starts
/// again: what a transaction says of it may be taken back with the transaction.
#[derive(Debug, Default)]
pub(super) struct Any(AtomicU8);

/// Nobody has looked.
const UNKNOWN: u8 = 0;
/// There were none at the first look, and none was changed since.
const NONE: u8 = 1;
/// One was changed.
const CHANGED: u8 = 2;

impl Any {
    /// One is about to change in the writer's transaction.
    pub(super) fn may_be(&self) {
        self.0.store(CHANGED, Ordering::SeqCst);
    }

    /// Whether it is worth asking.
    pub(super) fn may(&self) -> bool {
        self.0.load(Ordering::SeqCst) != NONE
    }

    /// The writer's transaction has looked, and there are none.
    pub(super) fn none(&self) {
        // It stays as it is where one was changed.
        let _ = self.0.compare_exchange(UNKNOWN, NONE, Ordering::SeqCst, Ordering::SeqCst);
    }
}
