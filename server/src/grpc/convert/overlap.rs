//! Overlap policies: what a job says about its own runs that are not over.

use mainspring_engine::domain::overlap::{Overlap, OverlapScope};
use mainspring_proto::scheduler::v1 as wire;

use super::Check;

impl Check {
    /// A policy, with its number where it takes one.
    pub(crate) fn overlap(&mut self, overlap: i32, max: i32) -> Option<Overlap> {
        let max = u32::try_from(self.within("overlap_max", max, 0..=Overlap::MOST.cast_signed())).unwrap_or(0);
        let overlap = self.choice("overlap", overlap, |value| {
            Some(match value {
                wire::Overlap::Unspecified | wire::Overlap::Skip => Overlap::Skip,
                wire::Overlap::Allow => Overlap::Allow { max: (max > 0).then_some(max) },
                wire::Overlap::BufferOne => Overlap::BufferOne,
                wire::Overlap::BufferAll => Overlap::BufferAll { max: if max > 0 { max } else { Overlap::BUFFER } },
                wire::Overlap::CancelOther => Overlap::CancelOther,
                wire::Overlap::TerminateOther => Overlap::TerminateOther,
            })
        })?;
        if max > 0 && number(overlap) == 0 {
            self.refuse("overlap_max", "is for ALLOW and BUFFER_ALL; leave it out, or choose one of them");
        }
        Some(overlap)
    }

    /// Whose runs it looks at; those of a key need one.
    pub(crate) fn overlap_scope(&mut self, scope: i32, concurrency_key: &str) -> Option<OverlapScope> {
        let scope = self.choice("overlap_scope", scope, |value| {
            Some(match value {
                wire::OverlapScope::Unspecified | wire::OverlapScope::Job => OverlapScope::Job,
                wire::OverlapScope::ConcurrencyKey => OverlapScope::Key,
            })
        })?;
        if scope == OverlapScope::Key && concurrency_key.is_empty() {
            self.refuse("overlap_scope", "CONCURRENCY_KEY needs a `concurrency_key`");
        }
        Some(scope)
    }
}

/// Whose runs a policy looks at, for people.
pub(crate) fn scope(scope: OverlapScope) -> wire::OverlapScope {
    match scope {
        OverlapScope::Job => wire::OverlapScope::Job,
        OverlapScope::Key => wire::OverlapScope::ConcurrencyKey,
    }
}

/// A policy for people.
pub(crate) fn overlap(overlap: Overlap) -> wire::Overlap {
    match overlap {
        Overlap::Skip => wire::Overlap::Skip,
        Overlap::Allow { .. } => wire::Overlap::Allow,
        Overlap::BufferOne => wire::Overlap::BufferOne,
        Overlap::BufferAll { .. } => wire::Overlap::BufferAll,
        Overlap::CancelOther => wire::Overlap::CancelOther,
        Overlap::TerminateOther => wire::Overlap::TerminateOther,
    }
}

/// Its number; 0 where it has none.
pub(crate) fn number(overlap: Overlap) -> i32 {
    match overlap {
        Overlap::Allow { max } => max.unwrap_or(0).cast_signed(),
        Overlap::BufferAll { max } => max.cast_signed(),
        Overlap::Skip | Overlap::BufferOne | Overlap::CancelOther | Overlap::TerminateOther => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::convert::read;

    #[test]
    fn policies_come_back() {
        for told in [
            Overlap::Skip,
            Overlap::Allow { max: None },
            Overlap::Allow { max: Some(1_000) },
            Overlap::BufferOne,
            Overlap::BufferAll { max: 7 },
            Overlap::CancelOther,
            Overlap::TerminateOther,
        ] {
            assert_eq!(read(|check| check.overlap(overlap(told).into(), number(told))).unwrap(), told);
        }
    }

    #[test]
    fn a_scope_by_key_needs_one() {
        let told = |value: wire::OverlapScope, key: &str| read(|check| check.overlap_scope(value.into(), key));
        for value in [OverlapScope::Job, OverlapScope::Key] {
            assert_eq!(told(scope(value), "db").unwrap(), value);
        }
        let refusal = told(wire::OverlapScope::ConcurrencyKey, "").unwrap_err();
        assert_eq!(refusal.first_field(), Some("overlap_scope"));
        assert!(read(|check| check.overlap_scope(9, "db")).is_err());
    }

    #[test]
    fn a_number_that_means_nothing_is_refused() {
        let told = |overlap: wire::Overlap, max| read(|check| check.overlap(overlap.into(), max));
        assert!(told(wire::Overlap::Skip, 1).is_err());
        assert!(told(wire::Overlap::BufferOne, 1).is_err());
        assert!(told(wire::Overlap::Allow, 1_001).is_err());
        assert!(told(wire::Overlap::Allow, -1).is_err());
        assert!(read(|check| check.overlap(99, 0)).is_err());
        assert_eq!(told(wire::Overlap::BufferAll, 0).unwrap(), Overlap::BufferAll { max: 100 });
    }
}
