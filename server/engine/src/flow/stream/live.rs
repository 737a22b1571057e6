//! One session as everybody else sees it: what it holds, the ways in and out, and whether it is over.
//!
//! [`super::session`] is the task that drives it. Of its locks only [`Demand`](super::demand::Demand)'s may be asked for
//! while one is held.

use std::{
    ops::{Deref, DerefMut},
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
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
    messages::{SessionEnd, ToWorker},
};
use crate::{
    domain::{
        attempt::AttemptKey,
        ids::RunId,
        names::Scope,
        transition::Tell,
        worker::{AbandonReason, Hello},
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
        }
    }
}

/// A session that is open.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) owner: Owner,
    pub(super) scope: Scope,
    pub(super) name: String,
    /// Tells it from other sessions of this server.
    pub(super) number: SessionNumber,
    pub(super) max_message: usize,
    pub(super) work: Notify,
    held: Mutex<Kept>,
    waiting: Mutex<Waiting>,
    outgoing: Mutex<Option<mpsc::Sender<ToWorker>>>,
    end: OnceLock<SessionEnd>,
    over: CancellationToken,
    /// It said that it goes.
    pub(super) leaving: AtomicBool,
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
            number: share.number(),
            max_message: hello.max_message,
            work: Notify::new(),
            held: Mutex::new(Kept { held, share }),
            waiting: Mutex::default(),
            outgoing: Mutex::new(Some(outgoing)),
            end: OnceLock::new(),
            over: CancellationToken::new(),
            leaving: AtomicBool::new(false),
        }
    }

    pub(super) fn held(&self) -> Holding<'_> {
        Holding { kept: self.held.lock(), touched: false }
    }

    /// It takes work from now on.
    pub(super) fn join(&self) {
        let Kept { held, share } = &mut *self.held.lock();
        share.join(held);
    }

    /// It takes no more, whatever it says from now on.
    pub(super) fn leave(&self) {
        let Kept { held, share } = &mut *self.held.lock();
        share.leave(held);
    }

    pub(super) fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock()
    }

    /// Says something to the worker. One that does not read loses its session, never the server its memory.
    pub(super) fn send(&self, message: ToWorker) {
        let sent = self.outgoing.lock().as_ref().map(|outgoing| outgoing.try_send(message));
        if let Some(Err(mpsc::error::TrySendError::Full(_))) = sent {
            self.end(SessionEnd::SlowConsumer("it does not read what it is sent"));
        }
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
        self.ended().unwrap_or(SessionEnd::Left)
    }

    /// Returns once the session is over.
    pub(super) async fn settled(&self) {
        self.over.cancelled().await;
    }

    pub(super) fn closed(&self, in_order: bool) {
        // Left in order: it said that it would, and holds nothing.
        if in_order && self.held().is_empty() && self.leaving.load(Ordering::Acquire) {
            self.end(SessionEnd::Left);
        } else {
            self.leaving.store(false, Ordering::Release);
            self.end(SessionEnd::Left);
        }
    }

    pub(super) fn tell(&self, run: RunId, tell: Tell, default_grace: Duration) {
        match tell {
            Tell::Stop(attempt, reason) => {
                let key = AttemptKey { run, attempt };
                let stop = self.held().stop(key, reason, default_grace);
                if let Some(stop) = stop {
                    self.send(ToWorker::Cancel(key, stop));
                }
            }
            Tell::Revoke(attempt) => {
                let key = AttemptKey { run, attempt };
                let why = AbandonReason::AlreadyTerminal;
                let known = self.held().revoke(key, why);
                if known {
                    self.send(ToWorker::Revoke(key, why));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use tokio::sync::mpsc;

    use super::{Held, Live, Owner, Scope, Share};
    use crate::{
        domain::{ids::WorkerId, instant::Instant, names::Lane, worker::Hello},
        flow::stream::demand::Demand,
    };

    fn lane() -> Lane {
        Lane { namespace: Default::default(), queue: Default::default(), job_type: "t".parse().unwrap() }
    }

    fn live(demand: &Arc<Demand>, slots: u32) -> Live {
        let worker = WorkerId::from_uuid(uuid::Uuid::nil());
        let hello = Hello {
            worker,
            epoch: 1,
            name: String::new(),
            namespace: Default::default(),
            labels: BTreeMap::new(),
            sdk: String::new(),
            build_id: String::new(),
            handlers: Vec::new(),
            capacity: BTreeMap::from([(lane().queue, slots)]),
            in_flight: Vec::new(),
            max_message: 0,
            credential: String::new(),
        };
        let held = Held::new(hello.capacity.clone(), Instant::EPOCH);
        let (outgoing, _) = mpsc::channel(1);
        Live::new(Owner { worker, epoch: 1 }, Scope::default(), &hello, Share::new(demand, [lane()]), held, outgoing)
    }

    #[test]
    fn what_becomes_of_what_a_session_holds_is_counted_at_once() {
        let demand = Arc::new(Demand::default());
        let free = || demand.lanes().get(&lane()).copied();
        let (one, other) = (live(&demand, 2), live(&demand, 3));
        assert_eq!(free(), None, "nobody has joined");
        one.join();
        other.join();
        assert_eq!(free(), Some(5));
        {
            let mut held = one.held();
            held.reserve(&lane().queue);
            // Whoever asks does not wait for a session that is looked at.
            assert_eq!(free(), Some(5));
            held.reserve(&lane().queue);
        }
        assert_eq!((free(), demand.next(&lane(), one.number)), (Some(3), Some(other.number)));
        one.held().state_capacity(BTreeMap::from([(lane().queue, 9)]));
        assert_eq!(free(), Some(10));
        other.held().take_no_more();
        assert_eq!(free(), Some(7));
        one.leave();
        one.held().state_capacity(BTreeMap::from([(lane().queue, 4)]));
        assert_eq!(free(), Some(0), "it has left, and the other takes no more");
        other.leave();
        assert_eq!(free(), None);
    }
}
