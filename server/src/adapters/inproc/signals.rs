//! Signals in memory: a bounded broadcast, from which a slow listener loses the oldest.

use async_trait::async_trait;
use mainspring_engine::ports::signals::{Listener, Signal, Signals};
use tokio::sync::broadcast::{self, error::RecvError};

/// Signals a listener may be behind.
const CAPACITY: usize = 8_192;

/// Hints between the stages of one process.
#[derive(Debug)]
pub struct InprocSignals(broadcast::Sender<Signal>);

impl Default for InprocSignals {
    fn default() -> Self {
        Self(broadcast::channel(CAPACITY).0)
    }
}

impl Signals for InprocSignals {
    fn send(&self, signal: Signal) {
        // Nobody listens: a hint to nobody is no loss.
        let _ = self.0.send(signal);
    }

    fn listen(&self) -> Box<dyn Listener> {
        Box::new(InprocListener(self.0.subscribe()))
    }
}

#[derive(Debug)]
struct InprocListener(broadcast::Receiver<Signal>);

#[async_trait]
impl Listener for InprocListener {
    async fn next(&mut self) -> Option<Signal> {
        match self.0.recv().await {
            Ok(signal) => Some(signal),
            Err(RecvError::Lagged(_)) => None,
            // The sender is gone with its server: nothing will ever be said again.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_listener_that_is_too_slow_is_told_so_once() {
        let signals = InprocSignals::default();
        let mut listener = signals.listen();
        for _ in 0..=CAPACITY {
            signals.send(Signal::Due);
        }
        assert!(listener.next().await.is_none());
        assert!(matches!(listener.next().await, Some(Signal::Due)));
    }
}
