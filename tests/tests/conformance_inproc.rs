//! The contracts of broker, signals and clock on the embedded family, and on the clock that tests move.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use mainspring_engine::{domain::instant::Instant, ports::clock::Clock};
use mainspring_server::adapters::{
    host_clock::HostClock,
    inproc::{InprocBroker, InprocSignals},
};
use mainspring_tests::{
    conformance::{
        broker,
        clock::{self, Passing},
        signals,
    },
    manual_clock::ManualClock,
};

macro_rules! cases {
    ($suite:ident, $given:expr; $($case:ident),+ $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            $suite::$case($given).await;
        }
    )+};
}

cases!(broker, Arc::new(InprocBroker::default());
    pointers_arrive_in_order_per_lane, a_waiter_is_woken, only_subscribed_lanes_are_delivered,
    subscribing_again_loses_nothing, nothing_is_lost_between_publishers);

fn servers() -> signals::Servers {
    let here = InprocSignals::default();
    let there = here.another();
    [Arc::new(here), Arc::new(there)]
}

cases!(signals, servers();
    every_listener_hears_everything_in_order, nobody_hears_itself, a_slow_listener_is_told, nobody_needs_to_listen);

/// Time that passes by itself.
struct Host(Arc<HostClock>);

#[async_trait]
impl Passing for Host {
    fn clock(&self) -> Arc<dyn Clock> {
        self.0.clone()
    }

    async fn pass(&self, _: Duration) {}
}

/// Time that passes only when it is moved.
struct Manual(ManualClock);

#[async_trait]
impl Passing for Manual {
    fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(self.0.clone())
    }

    async fn pass(&self, length: Duration) {
        self.0.advance(length).await;
    }
}

mod host_clock {
    use super::{Host, clock};

    cases!(clock, &Host(Default::default());
        now_never_goes_back, a_time_that_has_come_is_not_waited_for, a_sleep_ends_when_its_time_has_come,
        a_sleep_can_be_given_up);
}

mod manual_clock {
    use super::{Instant, Manual, ManualClock, clock};

    cases!(clock, &Manual(ManualClock::at(Instant::EPOCH));
        now_never_goes_back, a_time_that_has_come_is_not_waited_for, a_sleep_ends_when_its_time_has_come,
        a_sleep_can_be_given_up);
}
