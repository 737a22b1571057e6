//! One row for each value of each policy that somebody can choose, in the words of the decisions, shown end to end: a real
//! socket, a real store, and a clock that the test moves.
//!
//! The rows are tables beside the tests that go through them. A value that the contract has and no table is a failure, and so
//! is an enum that is neither a policy here nor told why it is none.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

use std::collections::{BTreeMap, BTreeSet};

use mainspring_proto::DESCRIPTOR_SET;
use prost_reflect::DescriptorPool;

#[path = "policies/backfills.rs"]
mod backfills;
#[path = "policies/calendar.rs"]
mod calendar;
#[path = "policies/ends.rs"]
mod ends;
#[path = "policies/instants.rs"]
mod instants;
#[path = "policies/scene.rs"]
mod scene;

/// Enums that are no policy, and why.
const OTHERS: &[(&str, &[&str])] = &[
    (
        "they say how something stands",
        &[
            "BackfillState",
            "CancelDisposition",
            "DeliveryState",
            "Fate",
            "FateReason",
            "InstantFinding",
            "JobState",
            "LossReason",
            "AbandonReason",
            "AttemptPhase",
            "AttemptState",
            "Resolution",
            "ScheduleChange",
            "ServerChange",
            "SinkChange",
            "SinkDisableReason",
            "RunOrigin",
            "RunState",
            "ServerMode",
            "WaitReason",
            "WorkerState",
            "ResultDisposition",
            "RejectReason",
        ],
    ),
    (
        "they narrow or name what is shown",
        &["EventTopic", "JobChange", "JobView", "LogLevel", "RunView", "CredentialKind", "NoticeKind"],
    ),
    ("they are words of the protocol between worker and server", &["Capability", "RetryDecision", "ServerDrainMode"]),
    ("it is a day", &["DayOfWeek"]),
];

/// The values that have a row, by their enums.
fn shown() -> BTreeMap<String, BTreeSet<String>> {
    let mut shown: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let rows = [instants::rows(), calendar::rows(), ends::rows(), backfills::rows()].concat();
    for (of, value, says) in rows {
        assert!(!says.is_empty(), "{value} says nothing");
        shown.entry(of.to_owned()).or_default().insert(value.to_owned());
    }
    shown
}

#[test]
fn every_value_of_every_policy_has_a_row() {
    let pool = DescriptorPool::decode(DESCRIPTOR_SET).unwrap();
    let shown = shown();
    let mut seen = BTreeSet::new();
    for of in pool.all_enums().filter(|of| of.full_name().starts_with("mainspring.")) {
        seen.insert(of.name().to_owned());
        let is_other = OTHERS.iter().any(|(_, names)| names.contains(&of.name()));
        assert!(
            is_other != shown.contains_key(of.name()),
            "`{}` is a policy with rows, or is told to be none",
            of.name()
        );
        if is_other {
            continue;
        }
        let values: BTreeSet<_> =
            of.values().filter(|value| value.number() != 0).map(|value| value.name().to_owned()).collect();
        assert_eq!(values, shown[of.name()], "the rows of {}", of.name());
    }
    let told = OTHERS.iter().flat_map(|(_, names)| *names).map(|name| (*name).to_owned());
    let gone: Vec<_> = told.chain(shown.into_keys()).filter(|name| !seen.contains(name)).collect();
    assert!(gone.is_empty(), "the contract has no {gone:?}");
}
