//! I8: a worker never runs more at once than it has slots.

use crate::{
    judge::room::Room,
    verdict::{Kind, Rule},
};

/// By the worker's own file. What has no END (its worker was killed) occupies its slot to the end of the file.
pub(super) fn rule(room: &Room<'_>) -> Rule {
    let mut rule = Rule::new("I8", Kind::Broken, "a worker ran no more at once than it has slots");
    for (worker, most, slots) in room.most() {
        rule.expect(most <= slots, || format!("worker {worker} ran {most} at once and has {slots} slots"));
    }
    rule
}
