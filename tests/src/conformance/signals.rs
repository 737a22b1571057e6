//! The contract of signals: whoever listens hears what other servers send afterwards, or is told that some was lost.

use std::sync::Arc;

use mainspring_engine::{
    domain::{ids::WorkerId, instant::Instant, worker::Drain},
    ports::signals::{Listener, Signal, Signals},
};

/// Two servers' holds on the same signals.
pub type Servers = [Arc<dyn Signals>; 2];

/// More than any listener is kept waiting for.
const FLOOD: u128 = 100_000;

fn drain(number: u128) -> Signal {
    Signal::Drain(WorkerId::from_uuid(uuid::Uuid::from_u128(number)), Drain::Quiesce)
}

fn number(signal: Option<Signal>) -> Option<u128> {
    match signal? {
        Signal::Drain(worker, _) => Some(worker.uuid().as_u128()),
        other => panic!("nobody sent {other:?}"),
    }
}

async fn next(listener: &mut Box<dyn Listener>) -> Option<u128> {
    number(listener.next().await)
}

/// Every listener of another server hears what is sent after it began to listen, in order.
pub async fn every_listener_hears_everything_in_order([here, there]: Servers) {
    here.send(drain(0));
    let mut listeners = [there.listen(), there.listen()];
    (1..=50).for_each(|number| here.send(drain(number)));
    for listener in &mut listeners {
        for expected in 1..=50 {
            assert_eq!(next(listener).await, Some(expected));
        }
    }
}

/// A server does not hear itself: its stages have told each other already.
pub async fn nobody_hears_itself([here, there]: Servers) {
    let mut listener = here.listen();
    here.send(drain(1));
    there.send(drain(2));
    assert_eq!(next(&mut listener).await, Some(2));
}

/// Sending never waits, and a listener that falls behind is told that it lost something, then hears what is newest.
pub async fn a_slow_listener_is_told([here, there]: Servers) {
    let mut listener = there.listen();
    (1..=FLOOD).for_each(|number| here.send(drain(number)));
    let mut heard = 0;
    let mut told = false;
    while heard < FLOOD {
        match next(&mut listener).await {
            Some(number) => {
                assert!(number > heard, "in order");
                assert!(number == heard + 1 || told, "{heard} to {number} without a word");
                heard = number;
            }
            None => told = true,
        }
    }
}

/// Sending to nobody is no error.
pub async fn nobody_needs_to_listen([here, there]: Servers) {
    here.send(Signal::Due);
    let mut listener = there.listen();
    here.send(Signal::Drain(WorkerId::new(Instant::EPOCH), Drain::Terminate));
    assert!(matches!(listener.next().await, Some(Signal::Drain(_, Drain::Terminate))));
}
