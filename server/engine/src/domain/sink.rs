//! Sinks: whom to tell what goes wrong, by a webhook.
//!
//! A sink names an address, the kinds of notices it wants ([`Kind`]), and one job where it wants no others'. What it is told
//! is made into deliveries ([`super::delivery`]) by the step that it is about.

use std::{collections::BTreeSet, fmt};

use super::{
    ids::SinkUid,
    instant::Instant,
    names::{JobName, NamespaceName, SinkName},
    notice::Kind,
};

/// Deliveries of one sink that are open at a time. What comes when there are so many is not kept, but counted: the first
/// ones tell how trouble began.
pub const MAX_OPEN: usize = 1_000;

/// What a sink signs with, sealed: only the courier can open it.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(pub Vec<u8>);

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed")
    }
}

/// A sink as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sink {
    /// Its identity.
    pub uid: SinkUid,
    /// Where.
    pub namespace: NamespaceName,
    /// Its name.
    pub name: SinkName,
    /// Grows by one with every change: the etag.
    pub revision: i64,
    /// What people set.
    pub spec: SinkSpec,
    /// What it signs with.
    pub secret: Sealed,
    /// What it was not told, since too much was open.
    pub dropped: u64,
    /// When it was created.
    pub create_time: Instant,
    /// When it last changed.
    pub update_time: Instant,
}

/// What people set on a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkSpec {
    /// What it is for.
    pub description: String,
    /// Where to send.
    pub url: String,
    /// What it is told.
    pub kinds: BTreeSet<Kind>,
    /// Only of this job.
    pub job: Option<JobName>,
    /// Nothing new is kept for it, and nothing sent, since somebody said so, or its receiver did.
    pub disabled: Option<Disabled>,
}

/// Why nothing is sent to a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disabled {
    /// Somebody said so.
    Asked,
    /// Its receiver answered 410: there is nobody any more, and will not be.
    Gone,
}

impl Disabled {
    /// The number that stands for it in columns.
    pub const fn code(self) -> i32 {
        match self {
            Self::Asked => 1,
            Self::Gone => 2,
        }
    }

    /// What a code stands for.
    pub const fn from_code(code: i32) -> Option<Self> {
        match code {
            1 => Some(Self::Asked),
            2 => Some(Self::Gone),
            _ => None,
        }
    }
}

impl SinkSpec {
    /// Whether it wants to be told this of a job, or of a run without one.
    pub fn wants(&self, kind: Kind, job: Option<&JobName>) -> bool {
        self.disabled.is_none() && self.kinds.contains(&kind) && self.job.as_ref().is_none_or(|only| Some(only) == job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sink_wants_its_kinds_of_its_job() {
        let job: JobName = "nightly".parse().unwrap();
        let other: JobName = "hourly".parse().unwrap();
        let all = SinkSpec {
            description: String::new(),
            url: "https://example.org/".into(),
            kinds: [Kind::RunFailed, Kind::ScheduleMissed].into(),
            job: None,
            disabled: None,
        };
        assert!(all.wants(Kind::RunFailed, Some(&job)) && all.wants(Kind::ScheduleMissed, None));
        assert!(!all.wants(Kind::RunDeadLettered, Some(&job)));
        let one = SinkSpec { job: Some(job.clone()), ..all.clone() };
        assert!(one.wants(Kind::RunFailed, Some(&job)));
        assert!(!one.wants(Kind::RunFailed, Some(&other)) && !one.wants(Kind::RunFailed, None));
        let off = SinkSpec { disabled: Some(Disabled::Asked), ..all };
        assert!(!off.wants(Kind::RunFailed, Some(&job)));
    }
}
