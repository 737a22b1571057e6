//! Backfill: runs of instants that have passed, made a few at a time because somebody asked for them.
//!
//! Which instants these are follows from the range, the definition that was in force and its calendars, and so does the order
//! they come in: [`Plan`] counts them before anything is made, [`BackfillSpec::instants`] goes on behind a cursor. Which of
//! them become runs depends on the runs that are there ([`Only::makes`]), and is decided in the transaction that makes them.
//!
//! A backfill is no firing: the ledger says what became of an instant when it was due, and goes on saying so.

pub mod template;

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::{
    ids::{BackfillId, JobUid},
    instant::Instant,
    names::{JobName, NamespaceName, ScheduleName},
    schedule::ScheduleSpec,
};
use template::Template;

/// No backfill has more instants: more is a mistake, or is wanted in pieces that can be looked at.
pub const MOST_INSTANTS: usize = 10_000;
/// No backfill has more runs under way at once.
pub const MOST_AT_ONCE: u32 = 1_000;
/// No namespace has more backfills under way: each is looked at whenever something of it ends.
pub const MOST_OPEN: usize = 100;

/// What somebody asked for: immutable once stored, kept as JSON text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackfillSpec {
    /// The schedules whose instants these are, at least one.
    pub schedules: Vec<ScheduleName>,
    /// The first instant there may be.
    pub from: Instant,
    /// Instants are before this.
    pub to: Instant,
    /// Which come first.
    pub order: Order,
    /// How its runs stand to the others of the job.
    pub beside: Beside,
    /// Which become runs.
    pub only: Only,
    /// How many of its runs are under way at once.
    pub concurrency: NonZeroU32,
    /// Of its runs.
    pub priority: u8,
    /// It goes on while the job is paused.
    pub while_paused: bool,
    /// Why, in the caller's words.
    pub note: String,
    /// Who asked for it.
    pub actor: String,
    /// What they know of it: how much there is to do.
    pub plan: Plan,
    /// Replaces the job's payload; kept beside the text, since it is bytes.
    #[serde(skip)]
    pub template: Option<Template>,
}

/// Which instants come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// The oldest.
    #[default]
    OldestFirst,
    /// The newest.
    NewestFirst,
}

/// How the runs of a backfill stand to the others of the job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Beside {
    /// They take no notice of each other.
    #[default]
    Allow,
    /// They wait for the others, and hold the slot of the job.
    Wait,
}

/// Which instants become runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Only {
    /// Those of whose runs none has succeeded and none is under way.
    #[default]
    Unsucceeded,
    /// Those that have no run.
    Missing,
    /// All of them.
    All,
}

/// The runs that an instant has already, by a schedule or by another backfill.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Had {
    /// There are some.
    pub any: bool,
    /// One is not over.
    pub open: bool,
    /// One has succeeded.
    pub succeeded: bool,
}

impl Only {
    /// Whether an instant becomes a run.
    pub const fn makes(self, had: Had) -> bool {
        match self {
            Self::Unsucceeded => !had.open && !had.succeeded,
            Self::Missing => !had.any,
            Self::All => true,
        }
    }
}

/// How much there is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// How many instants there are.
    pub count: u64,
    /// The first of them.
    pub first: Instant,
    /// The last of them.
    pub last: Instant,
}

/// Why nothing can be planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unplanned {
    /// No schedule names an instant in the range.
    Nothing,
    /// There are more than [`MOST_INSTANTS`]; that many are before this one.
    TooMany(Instant),
}

/// An instant, and the first schedule that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The schedule.
    pub schedule: ScheduleName,
    /// The instant.
    pub at: Instant,
}

/// Where instants come from.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    /// The first there may be.
    pub from: Instant,
    /// They are before this.
    pub to: Instant,
}

impl Plan {
    /// Counts what schedules name in a range.
    pub fn of(rules: &[ScheduleSpec], schedules: &[ScheduleName], range: Range) -> Result<Self, Unplanned> {
        let mut named = oldest_first(rules, schedules, range.from, range.to);
        let first = named.next().ok_or(Unplanned::Nothing)?.at;
        let mut plan = Self { count: 1, first, last: first };
        for Named { at, .. } in named {
            if plan.count >= MOST_INSTANTS as u64 {
                return Err(Unplanned::TooMany(at));
            }
            (plan.count, plan.last) = (plan.count + 1, at);
        }
        Ok(plan)
    }
}

impl BackfillSpec {
    /// Where its cursor stands before anything is dealt with.
    pub fn begin(&self) -> Instant {
        match self.order {
            Order::OldestFirst => Instant::from_micros(self.from.as_micros() - 1),
            Order::NewestFirst => self.to,
        }
    }

    /// The next instants behind a cursor, at most `limit`, in its order; and whether there are no more behind those.
    pub fn instants(&self, rules: &[ScheduleSpec], cursor: Instant, limit: usize) -> (Vec<Named>, bool) {
        let mut found: Vec<Named> = match self.order {
            Order::OldestFirst => {
                let from = Instant::from_micros(cursor.as_micros() + 1);
                oldest_first(rules, &self.schedules, from, self.to).take(limit + 1).collect()
            }
            Order::NewestFirst => newest_first(rules, &self.schedules, self.from, cursor).take(limit + 1).collect(),
        };
        let all = found.len() <= limit;
        found.truncate(limit);
        (found, all)
    }
}

/// The schedules of a definition that are asked for. One that counts from ends has named nothing but what it fired.
fn chosen<'a>(rules: &'a [ScheduleSpec], names: &'a [ScheduleName]) -> impl Iterator<Item = &'a ScheduleSpec> {
    rules.iter().filter(|schedule| names.contains(&schedule.name) && schedule.delay().is_none())
}

/// What schedules name in `[from, to)`, each instant once; calendars leave out what they hold.
fn oldest_first<'a>(
    rules: &'a [ScheduleSpec],
    names: &'a [ScheduleName],
    from: Instant,
    to: Instant,
) -> impl Iterator<Item = Named> + 'a {
    let before = Instant::from_micros(from.as_micros() - 1);
    let mut heads: Vec<_> = chosen(rules, names).map(|schedule| (schedule, schedule.next_fire(before))).collect();
    std::iter::from_fn(move || {
        let (schedule, at) =
            heads.iter().filter_map(|(schedule, at)| Some((*schedule, (*at)?))).min_by_key(|(_, at)| *at)?;
        for (schedule, head) in heads.iter_mut().filter(|(_, head)| *head == Some(at)) {
            *head = schedule.next_fire(at);
        }
        (at < to).then(|| Named { schedule: schedule.name.clone(), at })
    })
}

/// The same from the last to the first.
fn newest_first<'a>(
    rules: &'a [ScheduleSpec],
    names: &'a [ScheduleName],
    from: Instant,
    to: Instant,
) -> impl Iterator<Item = Named> + 'a {
    let mut heads: Vec<_> = chosen(rules, names).map(|schedule| (schedule, schedule.prev_fire(to))).collect();
    std::iter::from_fn(move || {
        let at = heads.iter().filter_map(|(_, at)| *at).max()?;
        let (schedule, _) = heads.iter().find(|(_, head)| *head == Some(at))?;
        let named = Named { schedule: schedule.name.clone(), at };
        for (schedule, head) in heads.iter_mut().filter(|(_, head)| *head == Some(at)) {
            *head = schedule.prev_fire(at);
        }
        (at >= from).then_some(named)
    })
}

/// Where a backfill stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackfillState {
    /// It makes runs, or some of them are not over.
    Running,
    /// Everything is dealt with and over.
    Completed,
    /// It was cancelled, and some of its runs are not over.
    Cancelling,
    /// It was cancelled, and everything is over.
    Cancelled,
}

impl BackfillState {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 4] = [Self::Running, Self::Completed, Self::Cancelling, Self::Cancelled];

    /// The number that stands for it in columns and on the wire.
    pub const fn code(self) -> i32 {
        match self {
            Self::Running => 1,
            Self::Completed => 2,
            Self::Cancelling => 3,
            Self::Cancelled => 4,
        }
    }

    /// The state behind a code.
    pub fn from_code(code: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.code() == code)
    }
}

/// Its runs, by how they stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunCounts {
    /// Not over.
    pub open: u64,
    /// SUCCEEDED.
    pub succeeded: u64,
    /// FAILED or TIMED_OUT.
    pub failed: u64,
    /// CANCELLED.
    pub cancelled: u64,
}

/// A backfill as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Backfill {
    /// Which.
    pub id: BackfillId,
    /// Where.
    pub namespace: NamespaceName,
    /// The job.
    pub job: JobUid,
    /// Its name.
    pub job_name: JobName,
    /// The version of the definition that the runs are made by.
    pub version: i64,
    /// What was asked for.
    pub spec: BackfillSpec,
    /// Where it stands.
    pub state: BackfillState,
    /// What is dealt with lies up to here, or from here on.
    pub cursor: Instant,
    /// Nothing is left to be dealt with.
    pub is_through: bool,
    /// How many instants became runs.
    pub made: u64,
    /// How many did not.
    pub skipped: u64,
    /// What became of the runs.
    pub runs: RunCounts,
    /// Why it was cancelled, in the caller's words.
    pub cancel_note: String,
    /// When it began.
    pub create_time: Instant,
    /// When the last of its runs was over.
    pub end_time: Option<Instant>,
}

#[cfg(test)]
mod tests {
    use mainspring_cron::{Expr, Rule, Zone};
    use proptest::prelude::*;

    use super::*;

    fn at(minute: i64) -> Instant {
        Instant::from_micros(1_800_000_000_000_000 + minute * 60_000_000)
    }

    fn schedule(name: &str, cron: &str) -> ScheduleSpec {
        ScheduleSpec::new(name.parse().unwrap(), Rule::cron(Expr::parse(cron).unwrap()), Zone::utc())
    }

    fn rules() -> Vec<ScheduleSpec> {
        vec![schedule("thirds", "*/3 * * * *"), schedule("fourths", "*/4 * * * *")]
    }

    fn names() -> Vec<ScheduleName> {
        vec!["thirds".parse().unwrap(), "fourths".parse().unwrap()]
    }

    fn spec(order: Order, from: Instant, to: Instant) -> BackfillSpec {
        BackfillSpec {
            schedules: names(),
            from,
            to,
            order,
            beside: Beside::Allow,
            only: Only::default(),
            concurrency: NonZeroU32::MIN,
            priority: 0,
            while_paused: false,
            note: String::new(),
            actor: String::new(),
            plan: Plan { count: 0, first: from, last: to },
            template: None,
        }
    }

    #[test]
    fn a_plan_counts_each_instant_once_and_says_where_to_cut() {
        let plan = |from, to| Plan::of(&rules(), &names(), Range { from, to });
        // 0 3 4 6 8 9, and 12 is the end.
        assert_eq!(plan(at(0), at(12)), Ok(Plan { count: 6, first: at(0), last: at(9) }));
        assert_eq!(plan(at(1), at(3)), Err(Unplanned::Nothing));
        assert_eq!(plan(at(0), at(0)), Err(Unplanned::Nothing));
        let Err(Unplanned::TooMany(end)) = plan(at(0), at(1_000_000)) else { panic!("it fits") };
        assert_eq!(plan(at(0), end).unwrap().count, MOST_INSTANTS as u64);
    }

    #[test]
    fn only_those_become_runs_that_are_asked_for() {
        let had = |open, succeeded| Had { any: true, open, succeeded };
        for (only, none, failed, open, succeeded) in [
            (Only::Unsucceeded, true, true, false, false),
            (Only::Missing, true, false, false, false),
            (Only::All, true, true, true, true),
        ] {
            let makes =
                [Had::default(), had(false, false), had(true, false), had(false, true)].map(|had| only.makes(had));
            assert_eq!(makes, [none, failed, open, succeeded], "{only:?}");
        }
    }

    proptest! {
        /// However it is cut into steps, and whichever end it begins at, each instant comes once.
        #[test]
        fn steps_make_up_the_whole(from in 0_i64..50, length in 0_i64..200, step in 1_usize..9, newest: bool) {
            let (from, to) = (at(from), at(from + length));
            let whole: Vec<_> = oldest_first(&rules(), &names(), from, to).map(|named| named.at).collect();
            let spec = spec(if newest { Order::NewestFirst } else { Order::OldestFirst }, from, to);
            let (mut found, mut cursor) = (Vec::new(), spec.begin());
            loop {
                let (some, all) = spec.instants(&rules(), cursor, step);
                prop_assert!(some.len() <= step);
                cursor = some.last().map_or(cursor, |named| named.at);
                found.extend(some.into_iter().map(|named| named.at));
                if all {
                    break;
                }
            }
            if newest {
                found.reverse();
            }
            prop_assert_eq!(found, whole);
        }
    }
}
