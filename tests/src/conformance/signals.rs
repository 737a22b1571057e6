//! The contract of signals: whoever listens hears what is sent afterwards, or is told that some was lost.

use std::sync::Arc;

use mainspring_engine::{
    domain::{ids::WorkerId, instant::Instant},
    ports::signals::{Listener, Signal, Signals},
};

/// More than any listener is kept waiting for.
const FLOOD: u128 = 100_000;

fn drain(number: u128) -> Signal {
    Signal::Drain(WorkerId::from_uuid(uuid::Uuid::from_u128(number)), false)
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

/// Every listener hears what is sent after it began to listen, in order.
pub async fn every_listener_hears_everything_in_order(signals: Arc<dyn Signals>) {
    signals.send(drain(0));
    let mut listeners = [signals.listen(), signals.listen()];
    (1..=50).for_each(|number| signals.send(drain(number)));
    for listener in &mut listeners {
        for expected in 1..=50 {
            assert_eq!(next(listener).await, Some(expected));
        }
    }
}

/// Sending never waits, and a listener that falls behind is told that it lost something, then hears what is newest.
pub async fn a_slow_listener_is_told(signals: Arc<dyn Signals>) {
    let mut listener = signals.listen();
    (1..=FLOOD).for_each(|number| signals.send(drain(number)));
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
pub async fn nobody_needs_to_listen(signals: Arc<dyn Signals>) {
    signals.send(Signal::Due);
    let mut listener = signals.listen();
    signals.send(Signal::Drain(WorkerId::new(Instant::EPOCH), true));
    assert!(matches!(listener.next().await, Some(Signal::Drain(_, true))));
}
