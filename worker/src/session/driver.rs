//! Keeps one stream up: dials, dials again, changes over when the server asks, and leaves in good order.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{runtime::Handle, sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{
    link::Link,
    shared::{Order, Shared},
    transport::Transport,
    unary,
};
use crate::{
    clock::{self, Instant},
    config::Backoff,
    error::{Error, Refusal},
    reconnect::{Loss, Policy, Verdict},
    state::{Farewell, StreamId},
    tasks,
};

/// Results go by single calls after this many tries to get a stream have failed.
const FAILURES_BEFORE_UNARY: u32 = 2;
/// How long the server has to end the stream after the worker's last word.
const GOODBYE: Duration = Duration::from_secs(5);
/// How long a refused worker tries to deliver what it has.
const LAST_CALLS: Duration = Duration::from_secs(15);

pub(super) struct Driver {
    shared: Arc<Shared>,
    transport: Transport,
    namespace: String,
    policy: Policy,
    inbox: mpsc::UnboundedReceiver<Order>,
    links: BTreeMap<StreamId, Link>,
    /// When the next stream is opened, if one is wanted.
    dial_at: Option<Instant>,
    dialing: Option<StreamId>,
    session: Option<StreamId>,
    /// Whether people were told that there is no session.
    said_lost: bool,
    deliveries: Option<JoinHandle<()>>,
    refused: Option<Refusal>,
}

impl Driver {
    pub(super) fn new(
        shared: Arc<Shared>,
        transport: Transport,
        namespace: String,
        backoff: Backoff,
        inbox: mpsc::UnboundedReceiver<Order>,
    ) -> Self {
        Self {
            shared,
            transport,
            namespace,
            policy: Policy::new(backoff),
            inbox,
            links: BTreeMap::new(),
            dial_at: None,
            dialing: None,
            session: None,
            said_lost: false,
            deliveries: None,
            refused: None,
        }
    }

    /// Until the worker has left (after `drain`), is dropped (`quit`), or is refused.
    pub(super) async fn run(mut self, drain: CancellationToken, quit: CancellationToken) -> Result<(), Error> {
        self.dial();
        let mut draining = false;
        loop {
            let (next_tick, farewell) = self.shared.consult(|machine, now| {
                machine.tick(now);
                (machine.next_tick(), machine.farewell(now))
            });
            self.note_session();
            if !self.shared.consult(|machine, _| machine.is_at_work())
                && let Some(refusal) = self.refused.take()
            {
                return self.leave_refused(refusal).await;
            }
            if let Some(farewell) = farewell {
                return self.say_goodbye(farewell).await;
            }
            let wake_at = [next_tick, self.dial_at].into_iter().flatten().min();
            tokio::select! {
                biased;
                () = quit.cancelled() => {
                    self.shared.consult(|machine, _| machine.kill_all());
                    return Ok(());
                }
                () = drain.cancelled(), if !draining => {
                    draining = true;
                    self.shared.consult(|machine, now| machine.leave("the worker was asked to stop", now));
                }
                Some(order) = self.inbox.recv() => self.follow(order),
                () = self.shared.changed() => {}
                () = sleep_until(wake_at) => {}
            }
            if self.dial_at.is_some_and(|at| at <= clock::now()) {
                self.dial();
            }
        }
    }

    fn dial(&mut self) {
        self.dial_at = None;
        if self.dialing.is_none() && self.refused.is_none() {
            let (stream, link) = Link::open(&self.shared, &self.transport);
            self.links.insert(stream, link);
            self.dialing = Some(stream);
        }
    }

    fn follow(&mut self, order: Order) {
        match order {
            Order::Close(stream, why) => {
                if let Some(link) = self.links.get(&stream) {
                    link.close(why);
                }
            }
            Order::Reconnect(after) => {
                tracing::info!("the server asks this worker to change its connection");
                if self.dialing.is_none() {
                    self.dial_at = Some(clock::now() + after);
                }
            }
            Order::Ended(stream, loss) => self.ended(stream, &loss),
        }
    }

    /// Takes note of a Welcome.
    fn note_session(&mut self) {
        let session = self.shared.consult(|machine, _| machine.session());
        let Some(stream) = session.filter(|_| session != self.session) else { return };
        tracing::info!(worker_id = self.worker_id(), "connected to {}", self.transport.address());
        self.policy.connected(clock::now());
        self.session = session;
        self.said_lost = false;
        if self.dialing == session {
            self.dialing = None;
        }
        for (_, older) in self.links.range(..stream) {
            older.finish();
        }
    }

    fn ended(&mut self, stream: StreamId, loss: &Loss) {
        self.links.remove(&stream);
        // Its Welcome may have been read since the last look.
        self.note_session();
        self.shared.consult(|machine, _| machine.ended(stream));
        let was_dialing = self.dialing == Some(stream);
        let was_session = self.session == Some(stream);
        if was_dialing {
            self.dialing = None;
        }
        if was_session {
            self.session = None;
        }
        // The next one is on its way already, or this was one that had been replaced.
        let is_replaced = was_session && self.dialing.is_some();
        if is_replaced || !(was_dialing || was_session) {
            return;
        }
        let verdict = if loss.is_unauthenticated() && self.transport.renew_key() {
            tracing::info!("the server refused the key, and there is another one now");
            Verdict::Again(Duration::ZERO)
        } else {
            self.policy.lost(loss, clock::now(), rand::random())
        };
        match verdict {
            Verdict::Again(delay) => {
                self.say_lost(loss, was_session);
                if self.dialing.is_none() {
                    let at = clock::now() + delay;
                    self.dial_at = Some(self.dial_at.map_or(at, |planned| planned.min(at)));
                }
                if self.session.is_none() {
                    self.deliver_by_calls();
                }
            }
            Verdict::GiveUp(refusal) => {
                tracing::error!(reason = refusal.reason, "the server refuses this worker: {}", refusal.message);
                self.refused = Some(refusal);
                self.dial_at = None;
                self.shared.consult(|machine, now| machine.leave_now("refused by the server", now));
            }
        }
    }

    /// One line for each change, not for each try.
    fn say_lost(&mut self, loss: &Loss, was_session: bool) {
        let address = self.transport.address();
        match (self.said_lost, was_session) {
            (false, true) => tracing::warn!("lost the connection to {address}: {}; connecting again", loss.message),
            (false, false) if self.session.is_none() => {
                tracing::warn!("cannot connect to {address}: {}; trying again", loss.message);
            }
            (false, false) | (true, _) => tracing::debug!("not connected to {address}: {}", loss.message),
        }
        self.said_lost |= self.session.is_none();
    }

    fn deliver_by_calls(&mut self) {
        let busy = self.deliveries.as_ref().is_some_and(|deliveries| !deliveries.is_finished());
        let nothing = || self.shared.consult(|machine, _| machine.unacked_results()).is_empty();
        if busy || self.policy.failures() < FAILURES_BEFORE_UNARY || nothing() {
            return;
        }
        let work = unary::deliver(self.shared.clone(), self.transport.clone(), self.namespace.clone());
        self.deliveries = Some(tasks::spawn(&Handle::current(), "deliver results", work));
    }

    /// No stream will be had any more. A call may still take the results: the server may refuse a session (of a type that
    /// the key no longer covers, say) and not what has been done.
    async fn leave_refused(mut self, refusal: Refusal) -> Result<(), Error> {
        let last_calls = async {
            if let Some(deliveries) = self.deliveries.take() {
                // What it came to is seen in what is left.
                let _ = deliveries.await;
            }
            unary::deliver(self.shared.clone(), self.transport.clone(), self.namespace.clone()).await;
        };
        if self.shared.consult(|machine, _| !machine.unacked_results().is_empty()) {
            clock::within(LAST_CALLS, last_calls).await;
        }
        let undelivered = self.shared.consult(|machine, _| machine.unacked_results().len());
        let undelivered = self.shared.undelivered(undelivered);
        Err(Error::Refused { refusal: Box::new(refusal), undelivered })
    }

    /// The last word, and the server's end of the stream.
    async fn say_goodbye(mut self, farewell: Farewell) -> Result<(), Error> {
        if let Some(session) = self.session {
            self.shared.consult(|machine, _| machine.half_close(session));
            clock::within(GOODBYE, async {
                while let Some(order) = self.inbox.recv().await {
                    if matches!(order, Order::Ended(stream, _) if stream == session) {
                        break;
                    }
                }
            })
            .await;
            self.shared.consult(|machine, _| machine.ended(session));
        }
        match farewell {
            Farewell::Settled => {
                tracing::info!("the worker has left");
                Ok(())
            }
            Farewell::Undelivered(count) => Err(Error::ResultsUndelivered(self.shared.undelivered(count))),
        }
    }

    fn worker_id(&self) -> String {
        self.shared.consult(|machine, _| machine.worker_id().to_owned())
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => clock::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
