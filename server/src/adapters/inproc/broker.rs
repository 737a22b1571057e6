//! A broker in memory: one queue of batches per lane that somebody subscribed to.
//!
//! Nothing here survives the process, and nothing needs to: a pointer that is not leased is released again from the
//! database. So a delivery counts as settled when it is handed out.

use std::collections::{HashMap, HashSet, VecDeque};

use async_trait::async_trait;
use mainspring_engine::{
    domain::names::Lane,
    ports::broker::{Broker, BrokerError, Delivery, DeliveryTag, PointerBatch},
};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Pointers a lane holds; more are refused, and the dispatcher asks the store again later.
const MAX_POINTERS: usize = 20_000;

/// Hands pointers from the dispatcher to the sessions of the same process.
#[derive(Debug, Default)]
pub struct InprocBroker {
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct State {
    lanes: HashMap<Lane, VecDeque<PointerBatch>>,
    /// Lanes with something in them, in the order they are served.
    turns: VecDeque<Lane>,
    next_tag: u64,
}

#[async_trait]
impl Broker for InprocBroker {
    async fn publish(&self, batches: Vec<PointerBatch>) -> Result<Vec<PointerBatch>, BrokerError> {
        let mut refused = Vec::new();
        let mut state = self.state.lock();
        let State { lanes, turns, next_tag: _ } = &mut *state;
        for batch in batches {
            // Nobody takes from other lanes: what was published for them is lost, as the port allows.
            let Some(queue) = lanes.get_mut(&batch.lane) else { continue };
            let held: usize = queue.iter().map(|batch| batch.pointers.len()).sum();
            if held + batch.pointers.len() > MAX_POINTERS {
                refused.push(batch);
                continue;
            }
            if queue.is_empty() {
                turns.push_back(batch.lane.clone());
            }
            queue.push_back(batch);
        }
        drop(state);
        self.arrived.notify_one();
        Ok(refused)
    }

    async fn subscribe(&self, lanes: Vec<Lane>) -> Result<(), BrokerError> {
        let wanted: HashSet<_> = lanes.into_iter().collect();
        let mut state = self.state.lock();
        state.lanes.retain(|lane, _| wanted.contains(lane));
        state.turns.retain(|lane| wanted.contains(lane));
        for lane in wanted {
            state.lanes.entry(lane).or_default();
        }
        Ok(())
    }

    async fn next(&self) -> Result<Delivery, BrokerError> {
        loop {
            if let Some(delivery) = self.state.lock().take() {
                return Ok(delivery);
            }
            // A permit is kept where the notice came between looking and waiting.
            self.arrived.notified().await;
        }
    }

    async fn settle(&self, _: Vec<DeliveryTag>) -> Result<(), BrokerError> {
        Ok(())
    }
}

impl State {
    /// The oldest batch of the lane whose turn it is.
    fn take(&mut self) -> Option<Delivery> {
        let lane = self.turns.pop_front()?;
        let queue = self.lanes.get_mut(&lane)?;
        let batch = queue.pop_front()?;
        if !queue.is_empty() {
            self.turns.push_back(lane);
        }
        self.next_tag += 1;
        Some(Delivery { tag: DeliveryTag(self.next_tag), batch })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mainspring_engine::{
        domain::{ids::RunId, instant::Instant},
        ports::broker::Pointer,
    };

    use super::*;

    fn lane(job_type: &str) -> Lane {
        Lane {
            namespace: Default::default(),
            queue: Default::default(),
            job_type: job_type.parse().unwrap(),
            selector: Default::default(),
        }
    }

    fn batch(job_type: &str, pointers: usize) -> PointerBatch {
        let run = RunId::new(Instant::EPOCH);
        PointerBatch { lane: lane(job_type), pointers: vec![Pointer { run, generation: 1 }; pointers] }
    }

    #[tokio::test]
    async fn lanes_take_turns_and_keep_their_order() {
        let broker = InprocBroker::default();
        broker.subscribe(vec![lane("a"), lane("b")]).await.unwrap();
        broker.publish(vec![batch("a", 1), batch("a", 2), batch("b", 3), batch("nobody", 9)]).await.unwrap();
        let mut seen = Vec::new();
        for _ in 0..3 {
            let delivery = broker.next().await.unwrap();
            seen.push((delivery.batch.lane.job_type.to_string(), delivery.batch.pointers.len()));
        }
        assert_eq!(seen, [("a".into(), 1), ("b".into(), 3), ("a".into(), 2)]);
    }

    #[tokio::test]
    async fn a_waiter_is_woken() {
        let broker = Arc::new(InprocBroker::default());
        broker.subscribe(vec![lane("a")]).await.unwrap();
        let publishing = broker.clone();
        let (delivery, published) = tokio::join!(broker.next(), async move {
            tokio::task::yield_now().await;
            publishing.publish(vec![batch("a", 1)]).await
        });
        assert!(published.is_ok());
        assert_eq!(delivery.unwrap().batch.pointers.len(), 1);
    }

    #[tokio::test]
    async fn a_lane_is_bounded_and_forgotten_with_its_subscription() {
        let broker = InprocBroker::default();
        broker.subscribe(vec![lane("a")]).await.unwrap();
        broker.subscribe(vec![lane("a"), lane("b")]).await.unwrap();
        assert_eq!(broker.publish(vec![batch("a", MAX_POINTERS)]).await.unwrap(), []);
        // What there is room for is taken, whatever comes with it.
        let too_many = batch("a", 1);
        let refused = broker.publish(vec![too_many.clone(), batch("b", 1)]).await.unwrap();
        assert_eq!(refused, [too_many]);
        assert_eq!(broker.next().await.unwrap().batch.lane, lane("a"));
        assert_eq!(broker.next().await.unwrap().batch.lane, lane("b"));
        broker.subscribe(vec![]).await.unwrap();
        broker.subscribe(vec![lane("a")]).await.unwrap();
        broker.publish(vec![batch("a", 2)]).await.unwrap();
        assert_eq!(broker.next().await.unwrap().batch.pointers.len(), 2);
    }
}
