//! Namespaces, and what they say for all of their jobs and runs.

use std::sync::Arc;

use mainspring_engine::domain::{
    namespace::{Namespace, NamespaceSettings},
    policy::Timeouts,
};
use mainspring_proto::scheduler::v1 as wire;

use super::{Check, policy};

/// The fields that an update may name.
pub(crate) const MUTABLE: &[&str] = &["default_timeouts", "strict_schedules"];

impl Check {
    /// What a namespace says.
    pub(crate) fn settings(&mut self, settings: wire::NamespaceSettings) -> NamespaceSettings {
        let wire::NamespaceSettings { default_timeouts, strict_schedules } = settings;
        let start = Timeouts::default();
        let timeouts = match default_timeouts {
            Some(timeouts) => self.under("default_timeouts", |check| {
                if timeouts.stop_grace.is_some() {
                    // Where nobody says one, it follows from the lease.
                    check.refuse("stop_grace", "is for jobs and runs alone; leave it out");
                }
                check.timeouts(timeouts, &start)
            }),
            None => start,
        };
        NamespaceSettings { timeouts, strict_schedules }
    }
}

/// A namespace.
pub(crate) fn namespace(namespace: &Arc<Namespace>) -> wire::Namespace {
    let Namespace { name, revision, settings } = Namespace::clone(namespace);
    let NamespaceSettings { timeouts, strict_schedules } = NamespaceSettings::clone(&settings);
    let settings = wire::NamespaceSettings { default_timeouts: Some(policy::timeouts(timeouts)), strict_schedules };
    wire::Namespace { namespace: name.into(), settings: Some(settings), etag: revision.to_string() }
}
