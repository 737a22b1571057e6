//! The contract of the broker: pointers of subscribed lanes arrive at least once, in order per lane.
//!
//! Loss and doubles are allowed and cost only time, so nothing here counts on a delivery that was not subscribed to before.

use std::{collections::BTreeMap, sync::Arc};

use mainspring_engine::{
    domain::{ids::RunId, names::Lane},
    ports::broker::{Broker, Pointer, PointerBatch},
};

fn lane(job_type: &str) -> Lane {
    Lane {
        namespace: Default::default(),
        queue: Default::default(),
        job_type: job_type.parse().unwrap(),
        selector: Default::default(),
    }
}

/// A pointer that is known by its number.
fn pointer(number: u32) -> Pointer {
    Pointer { run: RunId::from_uuid(uuid::Uuid::from_u128(number.into())), generation: number.into() }
}

fn batch(job_type: &str, numbers: impl IntoIterator<Item = u32>) -> PointerBatch {
    PointerBatch { lane: lane(job_type), pointers: numbers.into_iter().map(pointer).collect() }
}

/// Takes deliveries until so many pointers have come, settling each.
async fn take(broker: &dyn Broker, pointers: usize) -> BTreeMap<Lane, Vec<Pointer>> {
    let mut taken: BTreeMap<Lane, Vec<Pointer>> = BTreeMap::new();
    while taken.values().map(Vec::len).sum::<usize>() < pointers {
        let delivery = broker.next().await.unwrap();
        taken.entry(delivery.batch.lane).or_default().extend(delivery.batch.pointers);
        broker.settle(vec![delivery.tag]).await.unwrap();
    }
    taken
}

/// What is published for a subscribed lane arrives, in order per lane.
pub async fn pointers_arrive_in_order_per_lane(broker: Arc<dyn Broker>) {
    broker.subscribe(vec![lane("a"), lane("b")]).await.unwrap();
    broker.publish(vec![batch("a", 0..3), batch("b", 10..12), batch("a", 3..5)]).await.unwrap();
    let taken = take(&*broker, 7).await;
    assert_eq!(taken[&lane("a")], (0..5).map(pointer).collect::<Vec<_>>());
    assert_eq!(taken[&lane("b")], (10..12).map(pointer).collect::<Vec<_>>());
}

/// Somebody who waits is woken by what is published.
pub async fn a_waiter_is_woken(broker: Arc<dyn Broker>) {
    broker.subscribe(vec![lane("a")]).await.unwrap();
    let (taken, published) = tokio::join!(take(&*broker, 1), async {
        tokio::task::yield_now().await;
        broker.publish(vec![batch("a", [7])]).await
    });
    assert!(published.is_ok());
    assert_eq!(taken[&lane("a")], [pointer(7)]);
}

/// A lane that is not subscribed is not delivered, and does not hold the others up.
pub async fn only_subscribed_lanes_are_delivered(broker: Arc<dyn Broker>) {
    broker.subscribe(vec![lane("a"), lane("b")]).await.unwrap();
    broker.subscribe(vec![lane("b")]).await.unwrap();
    broker.publish(vec![batch("a", 0..100), batch("b", [1])]).await.unwrap();
    let taken = take(&*broker, 1).await;
    assert_eq!(taken.keys().collect::<Vec<_>>(), [&lane("b")]);
}

/// A subscription that is stated again changes nothing.
pub async fn subscribing_again_loses_nothing(broker: Arc<dyn Broker>) {
    broker.subscribe(vec![lane("a")]).await.unwrap();
    broker.publish(vec![batch("a", 0..10)]).await.unwrap();
    broker.subscribe(vec![lane("a"), lane("b")]).await.unwrap();
    assert_eq!(take(&*broker, 10).await[&lane("a")], (0..10).map(pointer).collect::<Vec<_>>());
}

/// Many publishers at once: every pointer arrives.
pub async fn nothing_is_lost_between_publishers(broker: Arc<dyn Broker>) {
    broker.subscribe(vec![lane("a")]).await.unwrap();
    let publish = (0..20_u32).map(|publisher| {
        let broker = broker.clone();
        async move {
            for turn in 0..10 {
                broker.publish(vec![batch("a", [publisher * 100 + turn])]).await.unwrap();
            }
        }
    });
    let (taken, _) = tokio::join!(take(&*broker, 200), futures::future::join_all(publish));
    let mut numbers: Vec<_> = taken[&lane("a")].iter().map(|pointer| pointer.generation).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 200);
}
