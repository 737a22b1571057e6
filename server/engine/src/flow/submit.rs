//! Submit: new runs become rows. First stage of the way of a run.
//!
//! Callers at the same time share one transaction; nobody is answered before it is durable. The services validate and
//! build [`NewRun`]s; what is QUEUED afterwards goes to the dispatcher, what is SCHEDULED to the due stage.

use std::sync::Arc;

use super::{Core, batch::Batcher};
use crate::ports::store::{NewRun, StoreResult, Submitted};

/// Callers that may wait for a commit at once; further ones wait to wait.
const WAITING: usize = 4_096;

/// Stores runs in groups.
#[derive(Clone, Debug)]
pub(crate) struct Submitter {
    batch: Batcher<NewRun, Submitted>,
}

impl Submitter {
    pub(crate) fn start(core: &Arc<Core>) -> Self {
        let step = |core: Arc<Core>, runs| async move {
            let now = core.now();
            let answers = core.store.submit(now, runs).await?;
            let stored = answers.iter().filter_map(|answer| match answer {
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
            // What was replaced may be of this very batch: it is told of after it was made.
            let moved = stored.flat_map(|stored| std::iter::once(&stored.moved).chain(stored.replaced.as_deref()));
            core.news.moved(now, moved);
            Ok(answers)
        };
        Self { batch: Batcher::of(core, "submit", WAITING, step) }
    }

    pub(crate) async fn submit(&self, runs: Vec<NewRun>) -> StoreResult<Vec<Submitted>> {
        self.batch.many(runs).await
    }
}
