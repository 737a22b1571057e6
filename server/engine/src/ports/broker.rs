//! Carries pointers to released runs from the server that owns a lane to the servers that hold sessions for it.

use std::fmt::Debug;

use async_trait::async_trait;

use crate::domain::{ids::RunId, names::Lane};

/// A released run: which, and of which stay in the queue. Never the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pointer {
    /// The run.
    pub run: RunId,
    /// The stay in the queue; a lease under an earlier one changes nothing.
    pub generation: i64,
}

/// Pointers of one lane that travel together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PointerBatch {
    /// Their lane.
    pub lane: Lane,
    /// The pointers, best first.
    pub pointers: Vec<Pointer>,
}

/// The broker is away. Releasing goes on without it by polling the store.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the broker is away: {0}")]
pub struct BrokerError(pub String);

/// At-least-once delivery of pointer batches. A lost or doubled delivery costs time, never correctness.
#[async_trait]
pub trait Broker: Send + Sync + Debug + 'static {
    /// Hands batches over, in order per lane. Returns once the broker has them, with those that it has no room for. Where
    /// it is away, which of them it has is unknown.
    async fn publish(&self, batches: Vec<PointerBatch>) -> Result<Vec<PointerBatch>, BrokerError>;

    /// Deliveries for exactly these lanes from now on. What was published for others waits, or is lost.
    async fn subscribe(&self, lanes: Vec<Lane>) -> Result<(), BrokerError>;

    /// The next delivery; waits for one. One task consumes.
    async fn next(&self) -> Result<Delivery, BrokerError>;

    /// The deliveries were dealt with: their pointers are leased or stale. What is never settled comes again.
    async fn settle(&self, deliveries: Vec<DeliveryTag>) -> Result<(), BrokerError>;
}

/// Names a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeliveryTag(pub u64);

/// One delivery.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// For settling it.
    pub tag: DeliveryTag,
    /// What it carries.
    pub batch: PointerBatch,
}
