//! Dead letters: found by what went wrong, settled, and made again.

use async_trait::async_trait;

use super::{NewRun, RunView, StoreResult, Submitted};
use crate::domain::{
    dead::{Fingerprint, Verdict},
    filter::Filter,
    ids::RunId,
    instant::Instant,
    names::Scope,
    payload::Failure,
};

/// Dead letters that died alike.
#[derive(Clone, Debug)]
pub struct DeadGroup {
    /// Of what.
    pub fingerprint: Fingerprint,
    /// How many.
    pub count: u64,
    /// When the first of them ended.
    pub first: Instant,
    /// When the last of them ended.
    pub last: Instant,
    /// The one that was made last.
    pub example: RunView,
    /// What the last attempt of that failed with.
    pub failure: Option<Failure>,
}

/// Who settles dead letters, and why.
#[derive(Clone, Debug)]
pub struct Settled {
    /// In their words.
    pub note: String,
    /// Who.
    pub actor: String,
}

/// What is done with dead letters.
#[async_trait]
pub trait DeadLetters: Send + Sync {
    /// Dead letters that pass a filter of runs, by fingerprint; the group that grew last comes first. After the group that
    /// ended so.
    async fn dead_groups(
        &self,
        scope: &Scope,
        filter: &Filter,
        after: Option<(Instant, Fingerprint)>,
        limit: usize,
    ) -> StoreResult<Vec<DeadGroup>>;

    /// Says this of dead letters; of how many it could be said. What is none, is elsewhere, or is not as
    /// [`Verdict::of`] has it stays as it is.
    async fn resolve(
        &self,
        now: Instant,
        scope: &Scope,
        runs: Vec<RunId>,
        verdict: Verdict,
        by: Settled,
    ) -> StoreResult<u64>;

    /// Stores runs that are made of dead letters, as [`Submit::submit`](super::Submit::submit) does, and marks those they
    /// are made of ([`NewRun::parent`]) in the same step: REDRIVEN, once for all. None where that is not open, and nothing is
    /// made of it. One whose run cannot be stored stays open.
    async fn redrive(&self, now: Instant, runs: Vec<NewRun>, by: Settled) -> StoreResult<Vec<Option<Submitted>>>;
}
