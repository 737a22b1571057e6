//! The contract of the clock: now never goes back, and a sleep ends when its time has come and not before.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use mainspring_engine::{domain::instant::Instant, ports::clock::Clock};

/// A clock, and how its time passes.
#[async_trait]
pub trait Passing: Send + Sync {
    /// The clock.
    fn clock(&self) -> Arc<dyn Clock>;
    /// Lets time pass; a clock that goes by itself does nothing.
    async fn pass(&self, length: Duration);
}

/// Readings of one clock, from several threads at once, never go back.
pub async fn now_never_goes_back(passing: &dyn Passing) {
    let clock = passing.clock();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut last = Instant::MIN;
                for _ in 0..10_000 {
                    let now = clock.now();
                    assert!(now >= last);
                    last = now;
                }
            });
        }
    });
}

/// A sleep until a time that has come ends at once.
pub async fn a_time_that_has_come_is_not_waited_for(passing: &dyn Passing) {
    let clock = passing.clock();
    let mut timer = clock.timer("past");
    timer.sleep_until(Instant::MIN).await;
    timer.sleep_until(clock.now()).await;
}

/// A sleep ends at its time, not before.
pub async fn a_sleep_ends_when_its_time_has_come(passing: &dyn Passing) {
    let clock = passing.clock();
    let until = clock.now().plus(Duration::from_millis(30));
    let mut timer = clock.timer("future");
    tokio::join!(
        async {
            timer.sleep_until(until).await;
            assert!(clock.now() >= until);
            drop(timer);
        },
        passing.pass(Duration::from_millis(60)),
    );
}

/// A sleep that was given up can be followed by another, earlier or later.
pub async fn a_sleep_can_be_given_up(passing: &dyn Passing) {
    let clock = passing.clock();
    let mut timer = clock.timer("restless");
    let far = clock.now().plus(Duration::from_secs(3_600));
    tokio::select! {
        biased;
        () = timer.sleep_until(far) => panic!("an hour has not passed"),
        () = tokio::task::yield_now() => {}
    }
    let near = clock.now().plus(Duration::from_millis(20));
    tokio::join!(
        async {
            timer.sleep_until(near).await;
            assert!(clock.now() >= near && clock.now() < far);
            drop(timer);
        },
        passing.pass(Duration::from_millis(40)),
    );
}
