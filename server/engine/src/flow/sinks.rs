//! Sinks, as the services change, try and look at them.

use std::sync::Arc;

use super::{Core, notify};
use crate::{
    domain::{
        delivery::{Delivery, Outcome},
        ids::{NoticeId, SinkUid},
        names::{Scope, SinkName},
        notice::{About, Notice},
        sink::{Sealed, Sink},
    },
    ports::{
        courier::Letter,
        store::{NewSink, SinkChange, StoreResult, UpdateSink},
    },
};

/// Sinks, as the services change them.
#[derive(Debug)]
pub struct Sinks<'a> {
    core: &'a Arc<Core>,
}

/// What came of trying a sink.
#[derive(Clone, Debug)]
pub struct Tried {
    /// What was sent.
    pub notice: Notice,
    /// What came of it.
    pub outcome: Outcome,
    /// How long it took.
    pub took: std::time::Duration,
}

impl<'a> Sinks<'a> {
    pub(super) fn new(core: &'a Arc<Core>) -> Self {
        Self { core }
    }

    /// Why nothing may be sent to an address, as far as that can be told from the address.
    pub fn check(&self, url: &str) -> Result<(), String> {
        self.core.courier.check(url)
    }

    /// Seals a secret for storing.
    pub fn seal(&self, secret: &[u8]) -> Sealed {
        self.core.courier.seal(secret)
    }

    /// Creates a sink.
    pub async fn create(&self, sink: NewSink) -> StoreResult<SinkChange> {
        self.core.store.create_sink(self.core.now(), sink).await
    }

    /// Changes a sink. What waited while it was disabled goes on.
    pub async fn update(&self, update: UpdateSink) -> StoreResult<SinkChange> {
        let change = self.core.store.update_sink(self.core.now(), update).await?;
        self.core.news.deliveries.notify_one();
        Ok(change)
    }

    /// Deletes a sink.
    pub async fn delete(&self, scope: &Scope, name: &SinkName, revision: Option<i64>) -> StoreResult<SinkChange> {
        self.core.store.delete_sink(self.core.now(), scope, name, revision).await
    }

    /// Sends one notice to a sink, disabled or not, and waits for the answer. Nothing of it is stored.
    pub async fn test(&self, sink: &Sink) -> Tried {
        let now = self.core.now();
        let Sink { namespace, spec, secret, .. } = sink;
        let notice = Notice {
            id: NoticeId::new(now),
            time: now,
            namespace: namespace.clone(),
            job: spec.job.clone(),
            about: About::Test,
        };
        let (url, secret, body) = (spec.url.clone(), secret.clone(), notice.body());
        let letter = Letter { url, secret, id: notice.id, time: now, body };
        let outcome = notify::attempt(self.core, letter).await;
        Tried { notice, outcome, took: self.core.now().since(now) }
    }

    /// Begins a delivery anew.
    pub async fn redeliver(&self, sink: SinkUid, id: NoticeId) -> StoreResult<Option<Delivery>> {
        let delivery = self.core.store.redeliver(self.core.now(), sink, id).await?;
        self.core.news.deliveries.notify_one();
        Ok(delivery)
    }
}
