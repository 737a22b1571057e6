//! I8: a worker never runs more at once than it has slots.

use std::collections::BTreeMap;

use crate::{
    judge::Case,
    verdict::{Kind, Rule},
};

/// By the worker's own file. What has no END (its worker was killed) occupies its slot to the end of the file.
pub(super) fn rule(case: &Case<'_>) -> Rule {
    let mut rule = Rule::new("I8", Kind::Broken, "a worker ran no more at once than it has slots");
    let mut changes: BTreeMap<&str, Vec<(u64, i64)>> = BTreeMap::new();
    for (run, start) in case.trail.all_starts() {
        let own = changes.entry(&start.worker).or_default();
        own.push((start.t, 1));
        if let Some(end) = case.trail.ends.get(&(run.clone(), start.attempt)) {
            own.push((end.t, -1));
        }
    }
    for (worker, mut changes) in changes {
        // Ends sort before starts of the same nanosecond.
        changes.sort_unstable();
        let mut busy = 0;
        let most = changes
            .iter()
            .map(|(_, change)| {
                busy += change;
                busy
            })
            .max()
            .unwrap_or(0);
        let slots = case.trail.workers.get(worker).map_or(0, |process| process.slots);
        rule.expect(most <= i64::try_from(slots).unwrap_or(i64::MAX), || {
            format!("worker {worker} ran {most} at once and has {slots} slots")
        });
    }
    rule
}
