//! The only now and the only sleep.
//!
//! Every loop of the engine owns one [`Timer`] for its whole life and sleeps with nothing else. That is what lets a manual
//! clock step from waiter to waiter: it sees which loops are asleep and which still work.

use std::{fmt::Debug, sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::domain::instant::Instant;

/// A source of time.
pub trait Clock: Send + Sync + Debug + 'static {
    /// Now, never earlier than an answer before.
    fn now(&self) -> Instant;

    /// A timer for one loop. The name is for people who debug a clock that does not advance.
    fn timer(&self, name: &'static str) -> Box<dyn Timer>;

    /// A timer that is as exact as this clock can make it, which costs more: for the few loops that people see the lateness
    /// of.
    fn exact_timer(&self, name: &'static str) -> Box<dyn Timer> {
        self.timer(name)
    }

    /// Where time jumped since this was asked last: the wall clock was set, or the machine slept. Told by whoever asks.
    fn jumps(&self) -> Vec<Jump> {
        Vec::new()
    }

    /// How far [`Clock::now`] may be from the truth that other servers see. Added wherever a lease is judged.
    fn error_bound(&self) -> Duration {
        Duration::ZERO
    }
}

/// The wall clock went another way than time passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jump {
    /// What it would have said.
    pub from: Instant,
    /// What it said.
    pub to: Instant,
}

impl Jump {
    /// What is less than this is nobody's concern.
    pub const LEAST: Duration = Duration::from_secs(60);
}

/// One loop's way to sleep.
#[async_trait]
pub trait Timer: Send + Debug {
    /// Returns once `now() >= until`; at once where that is so already. Dropping the future before is allowed and means
    /// that the loop works again.
    async fn sleep_until(&mut self, until: Instant);
}

/// A clock shared by everybody.
pub type SharedClock = Arc<dyn Clock>;
