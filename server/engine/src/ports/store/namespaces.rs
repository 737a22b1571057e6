//! Namespaces, and what each says for all of its jobs and runs.

use std::sync::Arc;

use async_trait::async_trait;

use super::StoreResult;
use crate::domain::{
    names::NamespaceName,
    namespace::{Namespace, NamespaceSettings},
};

/// What becomes of a change of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamespaceChange {
    /// It is as asked.
    Done(Arc<Namespace>),
    /// There is no such namespace.
    Missing,
    /// It has changed since it was read.
    RevisionMismatch,
}

/// Namespaces.
#[async_trait]
pub trait Namespaces: Send + Sync {
    /// One namespace; asked for with every call, and so answered from memory. `default` is there from the start.
    async fn namespace(&self, name: &NamespaceName) -> StoreResult<Option<Arc<Namespace>>>;

    /// Replaces what a namespace says, if it is still of this revision. The same again changes nothing.
    async fn update_namespace(
        &self,
        name: &NamespaceName,
        revision: i64,
        settings: NamespaceSettings,
    ) -> StoreResult<NamespaceChange>;
}
