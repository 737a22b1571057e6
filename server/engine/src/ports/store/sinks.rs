//! Sinks, and what they are to be told.
//!
//! Deliveries are made by the steps that they are about, in the same transaction: where a run, a schedule or a job comes to
//! what a sink wants to be told ([`SinkSpec::wants`](crate::domain::sink::SinkSpec::wants)), its delivery is there with it,
//! or neither is. Only what follows from them is here.

use async_trait::async_trait;

use super::{Quota, RequestKey, StoreResult};
use crate::domain::{
    delivery::{Delivery, DeliveryState, Outcome, Outgoing, Verdict},
    ids::{NoticeId, SinkUid},
    instant::Instant,
    names::{NamespaceName, Scope, SinkName},
    sink::{Sealed, Sink, SinkSpec},
};

/// A sink to be created.
#[derive(Clone, Debug)]
pub struct NewSink {
    /// Where.
    pub scope: Scope,
    /// Its identity.
    pub uid: SinkUid,
    /// Its name.
    pub name: SinkName,
    /// What people set.
    pub spec: SinkSpec,
    /// What it signs with.
    pub secret: Sealed,
    /// The call's protection against repeats.
    pub request: Option<RequestKey>,
}

/// A change of a sink.
#[derive(Clone, Debug)]
pub struct UpdateSink {
    /// Where.
    pub scope: Scope,
    /// Which.
    pub name: SinkName,
    /// Only if it is still this revision.
    pub revision: i64,
    /// What people set, from now on.
    pub spec: SinkSpec,
    /// What it signs with from now on, where that changes.
    pub secret: Option<Sealed>,
}

/// What became of a change of a sink.
#[derive(Clone, Debug)]
pub enum SinkChange {
    /// It is as asked.
    Done(Box<Sink>),
    /// An earlier call of the same request made it.
    Replayed(Box<Sink>),
    /// There is no such sink.
    Missing,
    /// Another one has the name.
    NameTaken,
    /// The request id was used for another request.
    RequestReused,
    /// It has changed since it was read.
    RevisionMismatch,
    /// The namespace is full.
    Full(Quota),
}

/// What came of an attempt at a delivery.
#[derive(Clone, Debug)]
pub struct Noted {
    /// To which sink.
    pub sink: SinkUid,
    /// Of what.
    pub id: NoticeId,
    /// How often it had been sent before: one that was noted or asked for again since is left as it is.
    pub attempts: u32,
    /// What came of it.
    pub outcome: Outcome,
    /// What follows.
    pub verdict: Verdict,
}

/// Sinks as people define them.
#[async_trait]
pub trait Sinks: Send + Sync {
    /// Creates a sink with revision 1.
    async fn create_sink(&self, now: Instant, sink: NewSink) -> StoreResult<SinkChange>;

    /// One sink by its identity, as long as it is not deleted.
    async fn sink_by_uid(&self, scope: &Scope, uid: SinkUid) -> StoreResult<Option<Sink>>;

    /// One sink.
    async fn sink(&self, scope: &Scope, name: &SinkName) -> StoreResult<Option<Sink>>;

    /// Sinks by name, after one.
    async fn sinks(&self, scope: &Scope, after: Option<SinkName>, limit: usize) -> StoreResult<Vec<Sink>>;

    /// Replaces what people set on a sink: revision + 1. What is open goes to its new address, signed with its new secret.
    async fn update_sink(&self, now: Instant, update: UpdateSink) -> StoreResult<SinkChange>;

    /// Deletes a sink: nothing is sent to it any more, and its deliveries go with it, some in every sweep of retention. With
    /// `revision`, only if it is still that one.
    async fn delete_sink(
        &self,
        now: Instant,
        scope: &Scope,
        name: &SinkName,
        revision: Option<i64>,
    ) -> StoreResult<SinkChange>;
}

/// What sinks are to be told.
#[async_trait]
pub trait Deliveries: Send + Sync {
    /// Deliveries of a sink, newest first, before one, in one state where asked.
    async fn deliveries(
        &self,
        sink: SinkUid,
        state: Option<DeliveryState>,
        before: Option<NoticeId>,
        limit: usize,
    ) -> StoreResult<Vec<Delivery>>;

    /// Begins a delivery anew, whatever became of it: it is due now and has all its attempts. None where there is none.
    async fn redeliver(&self, now: Instant, sink: SinkUid, id: NoticeId) -> StoreResult<Option<Delivery>>;

    /// Deliveries that are due, of sinks that are not disabled: of each sink at most so many, the longest due first. They
    /// stay due until they are noted, so that one that is lost with its server is sent again by the next.
    async fn due_deliveries(&self, now: Instant, most: usize) -> StoreResult<Vec<Outgoing>>;

    /// When the next delivery comes due after this, of sinks that are not disabled.
    async fn next_delivery(&self, after: Instant) -> StoreResult<Option<Instant>>;

    /// Notes what came of attempts; the sinks that are disabled by it.
    async fn note_deliveries(&self, now: Instant, noted: Vec<Noted>) -> StoreResult<Vec<(NamespaceName, SinkName)>>;
}
