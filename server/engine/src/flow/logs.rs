//! Logs: lines of attempts become rows. Beside the way of a run, never in it.
//!
//! A batcher of its own on a writer of its own: a full or slow log withholds acknowledgements and delays nothing else.
//! [`tail`] is the other end: readers that follow a log.

pub mod tail;

use std::sync::Arc;

use super::{Core, batch::Batcher};
use crate::domain::{log::Batch, names::Scope};

/// Sessions that may wait for a log commit at once.
const WAITING: usize = 1_024;

/// Appends log lines in groups.
#[derive(Clone, Debug)]
pub(crate) struct LogWriter {
    batch: Batcher<(Scope, Batch), u64>,
}

impl LogWriter {
    pub(crate) fn start(core: &Arc<Core>) -> Self {
        let step = |core: Arc<Core>, items: Vec<(Scope, Batch)>| async move {
            let now = core.now();
            let runs: Vec<_> = items.iter().map(|(scope, batch)| (scope.clone(), batch.key.run)).collect();
            let ends = core.store.append(now, items.into_iter().map(|(_, batch)| batch).collect()).await?;
            for (scope, run) in runs {
                core.news.logs(now, &scope, run);
            }
            Ok(ends)
        };
        Self { batch: Batcher::of(core, "logs", WAITING, step) }
    }

    /// Appends batches; answers, per batch, up to where the attempt's log is stored.
    pub(crate) fn batches(&self) -> &Batcher<(Scope, Batch), u64> {
        &self.batch
    }
}
