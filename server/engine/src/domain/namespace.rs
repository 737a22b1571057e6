//! What a namespace says where its jobs and runs say nothing.
//!
//! It counts when a definition or a run is accepted, which then carries it: what a namespace says later changes neither, so a
//! run keeps what it was promised, and a version of a job means the same for as long as it is there.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{names::NamespaceName, policy::Timeouts};

/// What is said for all of a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NamespaceSettings {
    /// The timeouts of whoever says none, each by itself.
    pub timeouts: Timeouts,
    /// Whether an expression is refused that does not say how its two day fields count together.
    pub strict_schedules: bool,
}

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: NamespaceName,
    /// Grows with every change.
    pub revision: i64,
    /// What it says.
    pub settings: Arc<NamespaceSettings>,
}
