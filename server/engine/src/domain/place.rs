//! Where a run waits among those of its lane.

use super::{instant::Instant, names::FairnessKey};

/// What decides when a run is released: priority, then the turn of its key, then its age.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// 0 to 9, higher first.
    pub priority: u8,
    /// Whose turn it waits for.
    pub key: FairnessKey,
    /// When it was due.
    pub due: Instant,
}
