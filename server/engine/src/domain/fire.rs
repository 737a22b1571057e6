//! Firing: what the passing of time means for one schedule.
//!
//! [`evaluate`] is a pure function of (schedule, cursor, now, when this owner took over). It is called again with the same
//! arguments after a crash or by another server and says the same; the store's compare-and-set on the cursor then lets one
//! of them through. Nothing in memory is needed to recover.

use std::time::Duration;

use super::{
    instant::Instant,
    job::{CatchUp, ScheduleSpec},
    ledger::{Fate, Range},
};

/// An instant that is evaluated later than this after it was due counts as missed even under an owner that was there: the
/// machine slept, or the store was away.
pub const MISSED_AFTER: Duration = Duration::from_secs(30);

/// At most so many instants of one schedule are evaluated in one step; the rest follow in the next.
pub const MAX_INSTANTS: usize = 10_000;

/// A schedule that is due, as the store hands it out.
#[derive(Clone, Debug)]
pub struct Position {
    /// Evaluated up to here.
    pub cursor: Instant,
    /// The job's version, which the rule is of.
    pub version: i64,
    /// Whether the job is paused.
    pub paused: bool,
}

/// What became due in one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// The cursor afterwards.
    pub cursor: Instant,
    /// The next instant after it.
    pub next: Option<Instant>,
    /// What is decided without looking at other runs, in order.
    pub entries: Vec<Entry>,
}

/// One or more instants and what they become.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// A run, unless the overlap policy or another schedule of the job is in the way; the store decides that in its
    /// transaction.
    Run {
        /// The nominal time.
        nominal: Instant,
        /// It stands for instants that were missed.
        late: bool,
    },
    /// No run.
    Fate(Range),
}

/// What time means for `schedule` at `now`. Instants at or before `owned_since` passed while nobody could fire them.
pub fn evaluate(
    schedule: &ScheduleSpec,
    position: &Position,
    catch_up: CatchUp,
    owned_since: Instant,
    now: Instant,
) -> Evaluation {
    let due = schedule.instants(position.cursor, now, MAX_INSTANTS);
    let cursor = if due.len() < MAX_INSTANTS { now.max(position.cursor) } else { due[due.len() - 1] };
    let next = schedule.next_after(cursor);
    let version = position.version;
    let fate = |at, fate, why: &str| Entry::Fate(Range::one(version, at, fate, why));
    if position.paused {
        let entries = due.into_iter().map(|at| fate(at, Fate::Paused, "")).collect();
        return Evaluation { cursor, next, entries };
    }
    let missed_until = owned_since.max(now.minus(MISSED_AFTER));
    let missed = due.partition_point(|at| *at <= missed_until);
    let (missed, live) = due.split_at(missed);
    let mut entries = Vec::with_capacity(due.len());
    match (missed, catch_up) {
        ([], _) => {}
        ([older @ .., newest], CatchUp::Latest) => {
            // A full step is not the end of what was missed; the newest of all is in a later one.
            let more = live.is_empty() && next.is_some_and(|next| next <= missed_until);
            let why = "a later run stands for it";
            entries.extend(older.iter().map(|at| fate(*at, Fate::Coalesced, why)));
            entries.push(match more {
                true => fate(*newest, Fate::Coalesced, why),
                false => Entry::Run { nominal: *newest, late: true },
            });
        }
        (all, CatchUp::None) => {
            entries.extend(all.iter().map(|at| fate(*at, Fate::Missed, "no server was there to fire it")));
        }
    }
    entries.extend(live.iter().map(|at| Entry::Run { nominal: *at, late: false }));
    Evaluation { cursor, next, entries }
}
