//! Where the session's thread and the handlers' threads meet: the machine behind a lock, and what becomes of its
//! effects.

use std::{collections::BTreeMap, sync::Arc, task::Waker, time::Duration};

use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    sync::{Notify, mpsc},
};

use super::execute;
use crate::{
    clock::{self, Instant},
    error::Undelivered,
    journal::Journal,
    observe::Observed,
    reconnect::Loss,
    run_log,
    service::HandlerService,
    state::{Effect, Key, Lane, Machine, Pull, StreamId},
    tasks,
    worker::Observer,
};

/// What the driver is told.
pub(super) enum Order {
    /// Tear this stream down.
    Close(StreamId, &'static str),
    /// Open another stream after this long.
    Reconnect(Duration),
    /// This stream has ended.
    Ended(StreamId, Loss),
}

pub(super) struct Shared {
    machine: Mutex<Machine>,
    handlers: BTreeMap<Lane, HandlerService>,
    observers: Vec<Observer>,
    journal: Option<Journal>,
    /// The caller's: handlers run there.
    runtime: Handle,
    orders: mpsc::UnboundedSender<Order>,
    /// Streams whose transport waits for something to say.
    listeners: Mutex<BTreeMap<StreamId, Waker>>,
    /// Something changed that the driver may want to look at.
    changed: Notify,
}

impl Shared {
    pub(super) fn new(
        machine: Machine,
        handlers: BTreeMap<Lane, HandlerService>,
        observers: Vec<Observer>,
        journal: Option<Journal>,
        runtime: Handle,
        orders: mpsc::UnboundedSender<Order>,
    ) -> Self {
        let (machine, listeners) = (Mutex::new(machine), Mutex::default());
        Self { machine, handlers, observers, journal, runtime, orders, listeners, changed: Notify::new() }
    }

    /// Tells the machine something, and does what follows from it.
    pub(super) fn apply<T>(self: &Arc<Self>, tell: impl FnOnce(&mut Machine, Instant) -> T) -> T {
        let answer = self.consult(tell);
        self.changed.notify_one();
        answer
    }

    /// The same for the driver, which need not be told of it.
    pub(super) fn consult<T>(self: &Arc<Self>, tell: impl FnOnce(&mut Machine, Instant) -> T) -> T {
        let (answer, effects, speak) = {
            let mut machine = self.machine.lock();
            let answer = tell(&mut machine, clock::now());
            (answer, machine.take_effects(), machine.has_something_to_say())
        };
        for effect in effects {
            self.perform(effect);
        }
        if speak {
            let listeners = std::mem::take(&mut *self.listeners.lock());
            listeners.into_values().for_each(Waker::wake);
        }
        answer
    }

    /// The next message of a stream; if there is none, `listener` is woken when there may be one.
    pub(super) fn pull(&self, stream: StreamId, listener: &Waker) -> Pull {
        // Before the question, so that no answer is missed.
        self.listeners.lock().insert(stream, listener.clone());
        let pull = self.machine.lock().pull(stream, clock::now());
        // Only where something was said: the driver's look wakes this listener while there is something to say, and a
        // stream that waits for its Welcome may say nothing yet.
        if matches!(pull, Pull::Message(_)) {
            self.changed.notify_one();
        }
        pull
    }

    /// Resolves when the machine was told something since the last time.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Tells the observers, now.
    pub(super) fn observe(&self, observed: &Observed) {
        // It may be told inside a run that it is not about.
        run_log::apart(|| self.observers.iter().for_each(|observer| observer(observed)));
    }

    /// Lets a result go out: at once, or when it is in the journal.
    pub(super) fn keep(self: &Arc<Self>, key: &Key) {
        let release = |shared: &Arc<Self>, key: &Key| shared.apply(|machine, _| machine.release(key));
        let Some(journal) = &self.journal else { return release(self, key) };
        let Some(result) = self.consult(|machine, _| machine.unreleased(key)) else { return };
        let (shared, kept) = (self.clone(), key.clone());
        journal.keep(key.clone(), result, move |on_disk| {
            if on_disk {
                shared.observe(&Observed::Kept { run_id: kept.run_id.to_string(), attempt: kept.attempt });
            }
            release(&shared, &kept);
        });
    }

    /// Lets go of the journal.
    pub(super) fn close_journal(&self) {
        if let Some(journal) = &self.journal {
            journal.close();
        }
    }

    /// What the server has not taken, and where it is kept.
    pub(super) fn undelivered(self: &Arc<Self>, count: usize) -> Undelivered {
        Undelivered { count, journal: self.journal.as_ref().map(|journal| journal.path().to_owned()) }
    }

    pub(super) fn handler(&self, lane: &Lane) -> Option<HandlerService> {
        self.handlers.get(lane).cloned()
    }

    /// A stream has ended.
    pub(super) fn ended(&self, stream: StreamId, loss: Loss) {
        self.order(Order::Ended(stream, loss));
    }

    fn perform(self: &Arc<Self>, effect: Effect) {
        match effect {
            Effect::Start(key) => {
                // Its end is told to the machine by the task itself, whatever happens to it.
                drop(tasks::spawn(&self.runtime, "attempt", execute::attempt(self.clone(), key)));
            }
            Effect::Ask(stop, reason) => stop.ask(reason),
            Effect::Kill(stop, reason) => stop.kill(reason),
            Effect::Observe(observed) => self.observe(&observed),
            Effect::Keep(key) => self.keep(&key),
            Effect::Strike(key) => {
                if let Some(journal) = &self.journal {
                    journal.strike(key);
                }
            }
            Effect::Close(stream, why) => self.order(Order::Close(stream, why)),
            Effect::Reconnect(after) => self.order(Order::Reconnect(after)),
        }
    }

    fn order(&self, order: Order) {
        // The driver is gone when the worker has left; nobody needs to know.
        let _ = self.orders.send(order);
    }
}
