//! One session as everybody else sees it: what it holds, the ways in and out, and whether it is over.
//!
//! [`super::session`] is the task that drives it. Of its locks only [`Demand`](super::demand::Demand)'s may be asked for
//! while one is held.

use std::{
    collections::BTreeMap,
    ops::{Deref, DerefMut},
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::{
    demand::{SessionNumber, Share},
    held::Held,
    inbox::Waiting,
    messages::{DrainMode, SessionEnd, ToWorker},
};
use crate::{
    domain::{
        attempt::AttemptKey,
        ids::RunId,
        instant::Instant,
        names::{Lane, Scope},
        transition::Tell,
        worker::{Drain, Hello},
    },
    ports::store::Owner,
};

/// What a session holds, and what of it is counted.
#[derive(Debug)]
struct Kept {
    held: Held,
    share: Share,
}

/// What a session holds, for whoever looks at it now. What that did to its free slots is counted before anybody else
/// looks.
#[derive(Debug)]
pub(super) struct Holding<'a> {
    kept: MutexGuard<'a, Kept>,
    touched: bool,
    emptied: &'a Notify,
}

impl Deref for Holding<'_> {
    type Target = Held;

    fn deref(&self) -> &Held {
        &self.kept.held
    }
}

impl DerefMut for Holding<'_> {
    fn deref_mut(&mut self) -> &mut Held {
        self.touched = true;
        &mut self.kept.held
    }
}

impl Drop for Holding<'_> {
    fn drop(&mut self) {
        if self.touched {
            let Kept { held, share } = &mut *self.kept;
            share.count(held);
            if held.is_empty() {
                self.emptied.notify_waiters();
            }
        }
    }
}

/// A session that is open.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) owner: Owner,
    pub(super) scope: Scope,
    pub(super) name: String,
    /// What it handles, whatever it asks for, and its labels.
    lanes: Vec<Lane>,
    labels: BTreeMap<String, String>,
    /// Tells it from other sessions of this server.
    pub(super) number: SessionNumber,
    pub(super) work: Notify,
    held: Mutex<Kept>,
    /// It may hold nothing any more.
    emptied: Notify,
    waiting: Mutex<Waiting>,
    outgoing: Mutex<Option<mpsc::Sender<ToWorker>>>,
    end: OnceLock<SessionEnd>,
    over: CancellationToken,
    /// The worker said that it will leave.
    leaving: AtomicBool,
    /// What an operator asked of the worker, once it was told.
    drained: Mutex<Option<Drain>>,
    /// Counts what made the session's knowledge of its attempts doubtful.
    doubts: AtomicU64,
}

impl Live {
    pub(super) fn new(
        owner: Owner,
        scope: Scope,
        hello: &Hello,
        share: Share,
        held: Held,
        outgoing: mpsc::Sender<ToWorker>,
    ) -> Self {
        Self {
            owner,
            scope,
            name: hello.name.clone(),
            lanes: hello.lanes().collect(),
            labels: hello.labels.clone(),
            number: share.number(),
            work: Notify::new(),
            held: Mutex::new(Kept { held, share }),
            emptied: Notify::new(),
            waiting: Mutex::default(),
            outgoing: Mutex::new(Some(outgoing)),
            end: OnceLock::new(),
            over: CancellationToken::new(),
            leaving: AtomicBool::new(false),
            drained: Mutex::default(),
            doubts: AtomicU64::new(0),
        }
    }

    pub(super) fn held(&self) -> Holding<'_> {
        Holding { kept: self.held.lock(), touched: false, emptied: &self.emptied }
    }

    /// It takes work from now on.
    pub(super) fn join(&self) {
        let Kept { held, share } = &mut *self.held.lock();
        share.join(held);
    }

    /// It takes work of one more lane, if it can.
    pub(super) fn learn(&self, lane: &Lane) {
        if self.lanes.contains(&lane.for_all()) && lane.selector.is_met_by(&self.labels) {
            self.held.lock().share.add(lane);
        }
    }

    /// It takes no more, whatever it says from now on.
    pub(super) fn leave(&self) {
        let Kept { held, share } = &mut *self.held.lock();
        share.leave(held);
    }

    /// How it stands to a lane: free slots, and whether it answers. None where it takes nothing of it.
    pub(super) fn room(&self, lane: &Lane) -> Option<(usize, bool)> {
        let Kept { held, share } = &*self.held.lock();
        share.serves(lane).then(|| (held.free(&lane.queue), held.answers()))
    }

    pub(super) fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock()
    }

    /// Says something to the worker; `false` where it certainly will not hear it. One that does not read loses its session,
    /// never the server its memory.
    pub(super) fn send(&self, message: ToWorker) -> bool {
        let sent = self.outgoing.lock().as_ref().map(|outgoing| outgoing.try_send(message));
        if let Some(Err(mpsc::error::TrySendError::Full(_))) = sent {
            self.end(SessionEnd::SlowConsumer("it does not read what it is sent"));
        }
        matches!(sent, Some(Ok(())))
    }

    /// The worker takes no more work; `false` where it was told so before.
    pub(super) fn drain(&self, drain: Drain) -> bool {
        let mut told = self.drained.lock();
        let new = told.is_none_or(|before| before < drain);
        if new {
            *told = Some(drain);
            self.held().take_no_more();
            let mode = DrainMode::from(drain);
            self.send(ToWorker::Drain { mode, reconnect_delay: Duration::ZERO, close_delay: Duration::ZERO });
        }
        new
    }

    /// The worker said that it will leave.
    pub(super) fn leaves(&self) {
        self.leaving.store(true, Ordering::Release);
    }

    /// Hints, or an answer of the store, were lost: what the session believes is compared at the next heartbeat.
    pub(super) fn doubt(&self) {
        self.doubts.fetch_add(1, Ordering::AcqRel);
    }

    /// How often it was in doubt so far.
    pub(super) fn doubts(&self) -> u64 {
        self.doubts.load(Ordering::Acquire)
    }

    /// The session is over; the first reason stays.
    pub(super) fn end(&self, end: SessionEnd) {
        if self.end.set(end).is_ok() {
            self.outgoing.lock().take();
            self.over.cancel();
        }
    }

    pub(super) fn ended(&self) -> Option<SessionEnd> {
        self.end.get().cloned()
    }

    pub(super) async fn over(&self) -> SessionEnd {
        self.over.cancelled().await;
        self.ended().unwrap_or(SessionEnd::Closed)
    }

    /// Returns once the session is over.
    pub(super) async fn settled(&self) {
        self.over.cancelled().await;
    }

    /// Returns once the session holds nothing, or is over.
    pub(super) async fn empty_handed(&self) {
        loop {
            let emptied = self.emptied.notified();
            tokio::pin!(emptied);
            // Registered before looking, so that nothing comes in between unseen.
            emptied.as_mut().enable();
            if self.held().is_empty() {
                return;
            }
            tokio::select! {
                () = emptied => {}
                () = self.over.cancelled() => return,
            }
        }
    }

    /// One half of the stream is gone: the worker closed its own, or the connection broke. A worker has left for good
    /// where it said that it would and holds nothing; any other may come back.
    pub(super) fn closed(&self, in_order: bool) {
        let left = in_order && self.leaving.load(Ordering::Acquire) && self.held().is_empty();
        self.end(if left { SessionEnd::Left } else { SessionEnd::Closed });
    }

    /// The worker must be told something of an attempt, unless it was.
    pub(super) fn tell(&self, run: RunId, tell: &Tell, default_grace: Duration, now: Instant) {
        match tell {
            Tell::Stop(attempt, reason) => {
                let key = AttemptKey { run, attempt: *attempt };
                let stop = self.held().stop(key, reason, default_grace, now);
                if let Some(stop) = stop {
                    self.send(ToWorker::Cancel(key, stop));
                }
            }
            Tell::Revoke(attempt, why) => {
                let key = AttemptKey { run, attempt: *attempt };
                let known = self.held().revoke(key, *why);
                if known {
                    self.send(ToWorker::Revoke(key, *why));
                }
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
