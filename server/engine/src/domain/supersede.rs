//! Superseding: what an edit makes of starts that are pending.
//!
//! An instant that has passed may have a run that has not begun: its start is spread, it is caught up with at a pace, or it
//! waits for another run. An edit leaves these alone unless it says otherwise; those that it drops lose their fate FIRED
//! in the ledger, where they stand in the middle of a range ([`carve`]).

use std::collections::BTreeSet;

use super::{
    instant::Instant,
    ledger::{Fate, Range, append_where},
    schedule::ScheduleSpec,
};

/// What an edit makes of pending starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Pending {
    /// They stay, under the version that made them.
    #[default]
    Keep,
    /// They are dropped.
    Cancel,
    /// Those whose instants the new definition names too, and its calendars do not leave out, begin by it, and when it says; the
    /// others are dropped.
    Recompute,
}

impl Pending {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 3] = [Self::Keep, Self::Cancel, Self::Recompute];

    /// The number that stands for it on the wire.
    pub const fn code(self) -> i32 {
        match self {
            Self::Keep => 1,
            Self::Cancel => 2,
            Self::Recompute => 3,
        }
    }
}

/// Why such a run was cancelled, in its own words.
pub const DROPPED: &str = "an edit of its job dropped it before it began";

/// An edit that cancelled the run of an instant before that began, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// The version that made the run.
    pub version: i64,
    /// The version that the edit made, and when.
    pub by: Option<(i64, Instant)>,
    /// Who edited; empty where nobody did by hand, or nobody knows any more.
    pub actor: String,
}

impl Dropped {
    /// All of it, as one sentence.
    pub fn sentence(&self) -> String {
        format!("It became {}.", cancelled("a run", Some(self)))
    }
}

/// A run, and the edit that cancelled it before it began.
pub(super) fn cancelled(run: &str, dropped: Option<&Dropped>) -> String {
    let Some((version, time)) = dropped.and_then(|dropped| dropped.by) else {
        return format!("{run}, which an edit of the job cancelled before it began");
    };
    let actor = dropped.map(|dropped| dropped.actor.as_str()).filter(|actor| !actor.is_empty());
    let who = actor.map(|actor| format!(" by {actor}")).unwrap_or_default();
    format!("{run}, which version {version} cancelled before it began, at {time}{who}")
}

/// So far back from the end of a range an instant is looked for, in instants: more than can wait for a start that is spread.
const REACH: usize = 100_000;

/// A range of instants that fired, in pieces, where some of them are superseded. `rule` named them. One that lies further
/// back than can be looked for keeps its fate.
pub fn carve(range: Range, rule: &ScheduleSpec, dropped: &BTreeSet<Instant>) -> Vec<Range> {
    let Some(first) = dropped.range(range.first..=range.last).next().copied() else { return vec![range] };
    let named = rule.of_range(&range, first, range.last, REACH);
    let before = range.count.checked_sub(named.len() as u64);
    let (Some(before), true) = (before, named.last() == Some(&range.last)) else { return vec![range] };
    let head = rule.delay().map_or_else(|| rule.prev_before(first), |_| Some(rule.cursor_before(first)));
    let head = head.filter(|_| before > 0);
    let head = head.map(|last| Range { last, count: before, ..range.clone() });
    let each = named.into_iter().map(|at| {
        let (fate, reason) = if dropped.contains(&at) { (Fate::Superseded, None) } else { (range.fate, range.reason) };
        Range::one(range.version, at, fate, reason)
    });
    let (open, mut pieces) = append_where(head, each, |last, next| rule.follows(last, next));
    pieces.extend(open);
    pieces
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mainspring_cron::{Expr, Rule, Zone};
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Instant {
        Instant::from_micros(1_800_000_000_000_000 + second * 1_000_000)
    }

    fn every_second() -> ScheduleSpec {
        ScheduleSpec::new(Default::default(), Rule::cron(Expr::parse("* * * * * *").unwrap()), Zone::utc())
    }

    proptest! {
        #[test]
        fn every_instant_keeps_one_fate(count in 1_i64..60, dropped in prop::collection::btree_set(0_i64..70, 0..10)) {
            let range = Range { last: at(count), count: count.unsigned_abs(), ..Range::one(1, at(1), Fate::Fired, None) };
            let dropped: BTreeSet<_> = dropped.into_iter().map(at).collect();
            let pieces = carve(range, &every_second(), &dropped);
            let mut seen = Vec::new();
            for piece in &pieces {
                let named = every_second().instants(piece.first.minus(Duration::from_micros(1)), piece.last, 100);
                prop_assert_eq!(named.len() as u64, piece.count);
                seen.extend(named.into_iter().map(|at| (at, piece.fate)));
            }
            let fate = |at: Instant| if dropped.contains(&at) { Fate::Superseded } else { Fate::Fired };
            let expected: Vec<_> = (1..=count).map(at).map(|at| (at, fate(at))).collect();
            prop_assert_eq!(seen, expected);
            prop_assert!(pieces.windows(2).all(|pair| pair[0].fate != pair[1].fate));
        }
    }
}
