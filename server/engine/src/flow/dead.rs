//! Dead letters are made again: their new runs go the way of every run.

use super::Core;
use crate::ports::store::{NewRun, Settled, StoreResult, Submitted};

/// Stores runs that are made of dead letters, one answer each; none where somebody has settled one already.
pub(crate) async fn redrive(core: &Core, runs: Vec<NewRun>, by: Settled) -> StoreResult<Vec<Option<Submitted>>> {
    let now = core.now();
    let answers = core.store.redrive(now, runs, by).await?;
    let stored = answers.iter().flatten().filter_map(|answer| match answer {
        Submitted::Stored(stored) => Some(stored),
        Submitted::Replayed(_)
        | Submitted::Existing(_)
        | Submitted::KeyTaken(..)
        | Submitted::RequestReused
        | Submitted::NotIdle(..)
        | Submitted::BufferFull(_)
        | Submitted::JobGone
        | Submitted::Full(_) => None,
    });
    core.news.moved(now, stored.flat_map(|stored| std::iter::once(&stored.moved).chain(stored.replaced.as_deref())));
    Ok(answers)
}
