//! Signals in memory: a queue per listener, from which a slow one loses the oldest.
//!
//! The embedded family is one server, so nobody listens to what it sends and sending costs next to nothing. Several servers
//! in one process, as tests have them, hold a handle each ([`InprocSignals::another`]).

use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
};

use async_trait::async_trait;
use mainspring_engine::ports::signals::{Listener, Signal, Signals};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Signals a listener may be behind.
const CAPACITY: usize = 8_192;

/// One server's hold on what servers tell each other.
#[derive(Debug, Default)]
pub struct InprocSignals {
    number: usize,
    bus: Arc<Mutex<Bus>>,
}

#[derive(Debug, Default)]
struct Bus {
    handles: usize,
    ears: Vec<(usize, Weak<Ear>)>,
}

#[derive(Debug, Default)]
struct Ear {
    heard: Mutex<Heard>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Heard {
    signals: VecDeque<Signal>,
    lost: bool,
}

impl InprocSignals {
    /// Another server's hold on the same.
    #[must_use]
    pub fn another(&self) -> Self {
        let mut bus = self.bus.lock();
        bus.handles += 1;
        Self { number: bus.handles, bus: self.bus.clone() }
    }
}

impl Signals for InprocSignals {
    fn send(&self, signal: Signal) {
        let mut bus = self.bus.lock();
        bus.ears.retain(|(number, ear)| {
            let Some(ear) = ear.upgrade() else { return false };
            if *number != self.number {
                ear.hear(signal.clone());
            }
            true
        });
    }

    fn listen(&self) -> Box<dyn Listener> {
        let ear = Arc::<Ear>::default();
        self.bus.lock().ears.push((self.number, Arc::downgrade(&ear)));
        Box::new(InprocListener(ear))
    }
}

impl Ear {
    fn hear(&self, signal: Signal) {
        let mut heard = self.heard.lock();
        if heard.signals.len() == CAPACITY {
            heard.signals.pop_front();
            heard.lost = true;
        }
        heard.signals.push_back(signal);
        drop(heard);
        self.news.notify_one();
    }
}

#[derive(Debug)]
struct InprocListener(Arc<Ear>);

#[async_trait]
impl Listener for InprocListener {
    async fn next(&mut self) -> Option<Signal> {
        loop {
            {
                let mut heard = self.0.heard.lock();
                if std::mem::take(&mut heard.lost) {
                    return None;
                }
                if let Some(signal) = heard.signals.pop_front() {
                    return Some(signal);
                }
            }
            // A permit is kept where the notice came between looking and waiting.
            self.0.news.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_listener_that_is_too_slow_is_told_so_once() {
        let signals = InprocSignals::default();
        let mut listener = signals.another().listen();
        for _ in 0..=CAPACITY {
            signals.send(Signal::Due);
        }
        assert!(listener.next().await.is_none());
        assert!(matches!(listener.next().await, Some(Signal::Due)));
    }

    #[test]
    fn whoever_has_gone_is_forgotten() {
        let signals = InprocSignals::default();
        drop(signals.another().listen());
        signals.send(Signal::Due);
        assert!(signals.bus.lock().ears.is_empty());
    }
}
