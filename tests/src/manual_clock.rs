//! A clock that tests move.
//!
//! It steps from waiter to waiter: a jump of an hour wakes every timer that would have woken in that hour, in order, each at
//! its own time, and lets it work and go back to sleep before the next one wakes. So one jump does not outrun a heartbeat.
//!
//! A timer is *asleep* from the moment its sleep is polled until it is due or dropped, and *at work* otherwise; the clock
//! moves only while every timer is asleep.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use async_trait::async_trait;
use mainspring_engine::{
    domain::instant::Instant,
    ports::clock::{Clock, Jump, Timer},
};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// A clock that stands still until it is moved.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// A timer went to sleep, or away.
    settled: Notify,
}

#[derive(Debug)]
struct State {
    now: Instant,
    next: u64,
    timers: BTreeMap<u64, Waiting>,
    /// Jumps that nobody was told yet.
    jumps: Vec<Jump>,
}

#[derive(Debug)]
struct Waiting {
    name: &'static str,
    /// Until when it sleeps; `None` while it is at work.
    until: Option<(Instant, Waker)>,
}

impl ManualClock {
    /// Stands at `now`.
    pub fn at(now: Instant) -> Self {
        let state = State { now, next: 0, timers: BTreeMap::new(), jumps: Vec::new() };
        Self(Arc::new(Shared { state: Mutex::new(state), settled: Notify::new() }))
    }

    /// Moves on, timer by timer.
    pub async fn advance(&self, length: Duration) {
        let target = self.now().plus(length);
        loop {
            self.settled().await;
            let woken = {
                let mut state = self.0.state.lock();
                let first = state.timers.values().filter_map(|timer| Some(timer.until.as_ref()?.0)).min();
                match first {
                    Some(first) if first <= target => {
                        state.now = state.now.max(first);
                        let now = state.now;
                        state.timers.values_mut().filter_map(|timer| timer.wake(now)).collect::<Vec<_>>()
                    }
                    _ => {
                        state.now = target;
                        return;
                    }
                }
            };
            woken.into_iter().for_each(Waker::wake);
        }
    }

    /// The machine slept for so long: every timer that is due afterwards wakes at once, and late.
    pub fn jump(&self, length: Duration) {
        let woken: Vec<_> = {
            let mut state = self.0.state.lock();
            let from = state.now;
            state.now = from.plus(length);
            let now = state.now;
            if length > Jump::LEAST {
                state.jumps.push(Jump { from, to: now });
            }
            state.timers.values_mut().filter_map(|timer| timer.wake(now)).collect()
        };
        woken.into_iter().for_each(Waker::wake);
    }

    /// Returns once every timer is asleep.
    pub async fn settled(&self) {
        loop {
            let settled = self.0.settled.notified();
            tokio::pin!(settled);
            settled.as_mut().enable();
            if self.0.state.lock().timers.values().all(|timer| timer.until.is_some()) {
                return;
            }
            settled.await;
        }
    }

    /// Returns once a timer of this name is asleep.
    pub async fn asleep(&self, name: &str) {
        loop {
            let settled = self.0.settled.notified();
            tokio::pin!(settled);
            settled.as_mut().enable();
            if self.0.state.lock().timers.values().any(|timer| timer.name == name && timer.until.is_some()) {
                return;
            }
            settled.await;
        }
    }

    /// Names of the timers that are at work.
    pub fn at_work(&self) -> Vec<&'static str> {
        let state = self.0.state.lock();
        state.timers.values().filter(|timer| timer.until.is_none()).map(|timer| timer.name).collect()
    }
}

impl Waiting {
    fn wake(&mut self, now: Instant) -> Option<Waker> {
        let due = self.until.as_ref().is_some_and(|(until, _)| *until <= now);
        if due { self.until.take().map(|(_, waker)| waker) } else { None }
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        self.0.state.lock().now
    }

    fn jumps(&self) -> Vec<Jump> {
        std::mem::take(&mut self.0.state.lock().jumps)
    }

    fn timer(&self, name: &'static str) -> Box<dyn Timer> {
        let mut state = self.0.state.lock();
        let id = state.next;
        state.next += 1;
        state.timers.insert(id, Waiting { name, until: None });
        Box::new(ManualTimer { id, shared: Arc::clone(&self.0) })
    }
}

#[derive(Debug)]
struct ManualTimer {
    id: u64,
    shared: Arc<Shared>,
}

#[async_trait]
impl Timer for ManualTimer {
    async fn sleep_until(&mut self, until: Instant) {
        Sleep { timer: self, until }.await;
    }
}

impl Drop for ManualTimer {
    fn drop(&mut self) {
        self.shared.state.lock().timers.remove(&self.id);
        self.shared.settled.notify_waiters();
    }
}

struct Sleep<'a> {
    timer: &'a ManualTimer,
    until: Instant,
}

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let shared = &self.timer.shared;
        let mut state = shared.state.lock();
        let due = state.now >= self.until;
        if let Some(timer) = state.timers.get_mut(&self.timer.id) {
            timer.until = (!due).then(|| (self.until, context.waker().clone()));
        }
        drop(state);
        if due {
            return Poll::Ready(());
        }
        shared.settled.notify_waiters();
        Poll::Pending
    }
}

impl Drop for Sleep<'_> {
    fn drop(&mut self) {
        if let Some(timer) = self.timer.shared.state.lock().timers.get_mut(&self.timer.id) {
            timer.until = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use mainspring_engine::{domain::instant::Instant, ports::clock::Clock, tasks::Tasks};
    use parking_lot::Mutex;

    use super::ManualClock;

    #[tokio::test]
    async fn a_jump_wakes_every_timer_at_its_own_time_in_order() {
        let clock = ManualClock::at(Instant::EPOCH);
        let tasks = Tasks::default();
        let seen = Arc::new(Mutex::new(Vec::new()));
        for every in [20_u64, 30] {
            let (clock, seen) = (clock.clone(), seen.clone());
            let mut timer = clock.timer("loop");
            tasks.spawn("loop", async move {
                for turn in 1..=3 {
                    let until = Instant::EPOCH.plus(Duration::from_secs(every * turn));
                    timer.sleep_until(until).await;
                    seen.lock().push((clock.now().as_micros() / 1_000_000, every));
                }
            });
        }
        clock.advance(Duration::from_secs(65)).await;
        clock.settled().await;
        let mut seen = seen.lock().clone();
        seen.sort_unstable();
        assert_eq!(seen, [(20, 20), (30, 30), (40, 20), (60, 20), (60, 30)]);
        assert_eq!(clock.now(), Instant::EPOCH.plus(Duration::from_secs(65)));
    }
}
