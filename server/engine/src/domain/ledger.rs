//! The ledger: one fate for every nominal instant of every schedule, kept as ranges.
//!
//! A range says that `count` instants of one rule version, from `first` to `last`, had one fate for one reason. The open
//! range of a schedule lives in the row of its cursor, so that firing once more costs no extra write; it is closed into a
//! row of its own when the fate, the reason or the version changes. Which run an instant became is not in the ledger: the
//! run carries its nominal time, and `(job, nominal time)` is unique.

use jiff::civil::DateTime;

use super::{
    ids::RunId,
    instant::Instant,
    lapse::Lapse,
    names::{CalendarName, ScheduleName},
    run::RunState,
    supersede::Dropped,
};

/// What became of a nominal instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fate {
    /// It became a run.
    Fired,
    /// Another schedule of the job named the same instant; they share its run.
    United,
    /// A run of the job was not over.
    SkippedOverlap,
    /// It passed while nobody could fire it, and a later one stands for it.
    Coalesced,
    /// It passed while nobody could fire it.
    Missed,
    /// The job was paused.
    Paused,
    /// An edit or a delete took it before it was due, or an edit cancelled its run before that began.
    Superseded,
    /// It could not be evaluated.
    Error,
    /// A calendar of its schedule leaves it out.
    Excluded,
    /// A clock change took the time of the wall clock that it would have been.
    DstSkipped,
    /// A cap or a budget left no room for it.
    Dropped,
}

impl Fate {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 11] = [
        Self::Fired,
        Self::United,
        Self::SkippedOverlap,
        Self::Coalesced,
        Self::Missed,
        Self::Paused,
        Self::Superseded,
        Self::Error,
        Self::Excluded,
        Self::DstSkipped,
        Self::Dropped,
    ];

    /// The number that stands for it in columns and on the wire.
    pub const fn code(self) -> i32 {
        match self {
            Self::Fired => 1,
            Self::United => 2,
            Self::SkippedOverlap => 3,
            Self::Coalesced => 4,
            Self::Missed => 5,
            Self::Paused => 6,
            Self::Superseded => 7,
            Self::Error => 8,
            Self::Excluded => 9,
            Self::DstSkipped => 10,
            Self::Dropped => 11,
        }
    }

    /// Whether there is a run for it.
    pub const fn is_a_run(self) -> bool {
        match self {
            Self::Fired | Self::United => true,
            Self::SkippedOverlap
            | Self::Coalesced
            | Self::Missed
            | Self::Paused
            | Self::Superseded
            | Self::Error
            | Self::Excluded
            | Self::DstSkipped
            | Self::Dropped => false,
        }
    }

    /// The fate behind a code.
    pub fn from_code(code: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|fate| fate.code() == code)
    }
}

/// Why instants have their fate, where the fate alone does not say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FateReason {
    /// A later instant stands for them.
    LaterRun,
    /// No server was there to fire them.
    NoServer,
    /// The job's definition has no such schedule.
    ScheduleMissing,
    /// The rule could not be evaluated.
    RuleBroken,
    /// So many runs wait for the slot of the job already.
    BufferFull,
    /// It was found later than a run of it may be late.
    TooLate,
    /// More were missed than may be caught up with.
    CatchUpMax,
    /// What its calendars leave of the schedule never fires.
    NeverFires,
    /// The zone data in force do not have its zone.
    ZoneMissing,
    /// Its job was deleted before it was due.
    JobDeleted,
}

impl FateReason {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 10] = [
        Self::LaterRun,
        Self::NoServer,
        Self::ScheduleMissing,
        Self::RuleBroken,
        Self::BufferFull,
        Self::TooLate,
        Self::CatchUpMax,
        Self::NeverFires,
        Self::ZoneMissing,
        Self::JobDeleted,
    ];

    /// The number that stands for it on the wire.
    pub const fn code(self) -> i32 {
        match self {
            Self::LaterRun => 1,
            Self::NoServer => 2,
            Self::ScheduleMissing => 3,
            Self::RuleBroken => 4,
            Self::BufferFull => 5,
            Self::TooLate => 6,
            Self::CatchUpMax => 7,
            Self::NeverFires => 8,
            Self::ZoneMissing => 9,
            Self::JobDeleted => 10,
        }
    }

    /// The name that stands for it in columns and filters.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LaterRun => "LATER_RUN",
            Self::NoServer => "NO_SERVER",
            Self::ScheduleMissing => "SCHEDULE_MISSING",
            Self::RuleBroken => "RULE_BROKEN",
            Self::BufferFull => "BUFFER_FULL",
            Self::TooLate => "TOO_LATE",
            Self::CatchUpMax => "CATCH_UP_MAX",
            Self::NeverFires => "NEVER_FIRES",
            Self::ZoneMissing => "ZONE_MISSING",
            Self::JobDeleted => "JOB_DELETED",
        }
    }

    /// The reason behind a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }
}

/// Fate and reason as one sentence, for people.
pub const fn sentence(fate: Fate, reason: Option<FateReason>) -> &'static str {
    match (fate, reason) {
        (_, Some(FateReason::LaterRun)) => "It passed while nobody could fire it, and a later instant stands for it.",
        (_, Some(FateReason::NoServer)) => "It passed while no server was there to fire it.",
        (_, Some(FateReason::ScheduleMissing)) => "The job's definition has no such schedule.",
        (_, Some(FateReason::RuleBroken)) => "The rule could not be evaluated.",
        (_, Some(FateReason::BufferFull)) => "As many runs of the job waited already as may wait (`overlap_max`).",
        (_, Some(FateReason::TooLate)) => "It was found later than a run of it may be late (`max_lateness`).",
        (_, Some(FateReason::CatchUpMax)) => "More instants were missed than may be caught up with (`catch_up_max`).",
        (_, Some(FateReason::NeverFires)) => "What its calendars leave of the schedule never fires.",
        (_, Some(FateReason::JobDeleted)) => "The job was deleted before it was due.",
        (_, Some(FateReason::ZoneMissing)) => "The zone data in force do not have a zone that it depends on.",
        (Fate::Fired, None) => "It became a run.",
        (Fate::United, None) => "Another schedule of the job named the same instant; they share its run.",
        (Fate::SkippedOverlap, None) => "A run of the job was not over.",
        (Fate::Coalesced, None) => "A later instant stands for it.",
        (Fate::Missed, None) => "It passed while nobody could fire it.",
        (Fate::Paused, None) => "The job was paused.",
        (Fate::Superseded, None) => "It became a run, which an edit of the job cancelled before it began.",
        (Fate::Error, None) => "It could not be evaluated.",
        (Fate::Excluded, None) => "A calendar of its schedule leaves it out.",
        (Fate::DstSkipped, None) => "A clock change took the time of the wall clock that it would have been.",
        (Fate::Dropped, None) => "There was no room for it.",
    }
}

/// A sentence as a part of another.
pub(super) fn fragment(sentence: &str) -> String {
    let mut letters = sentence.trim_end_matches('.').chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

/// `count` instants of one schedule with one fate, for one reason, under one version of the rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// The job's version whose rule named them.
    pub version: i64,
    /// The first.
    pub first: Instant,
    /// The last.
    pub last: Instant,
    /// How many.
    pub count: u64,
    /// What became of them.
    pub fate: Fate,
    /// Why, where the fate alone does not say it.
    pub reason: Option<FateReason>,
}

impl Range {
    /// One instant.
    pub fn one(version: i64, at: Instant, fate: Fate, reason: Option<FateReason>) -> Self {
        Self { version, first: at, last: at, count: 1, fate, reason }
    }

    /// Whether its instants were missed for good: no run was made of them, and none stands for them.
    pub fn is_lost(&self) -> bool {
        match self.fate {
            Fate::Missed => true,
            // What waits in a buffer that is full was there in time.
            Fate::Dropped => self.reason == Some(FateReason::CatchUpMax),
            Fate::Fired
            | Fate::United
            | Fate::SkippedOverlap
            | Fate::Coalesced
            | Fate::Paused
            | Fate::Superseded
            | Fate::Error
            | Fate::Excluded
            | Fate::DstSkipped => false,
        }
    }

    /// Whether `next` only continues this range.
    pub fn takes(&self, next: &Self) -> bool {
        self.version == next.version && self.fate == next.fate && self.reason == next.reason && next.first > self.last
    }
}

/// One nominal instant and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstantView {
    /// Which schedule named it.
    pub schedule: ScheduleName,
    /// The time it named.
    pub nominal: Instant,
    /// What became of it.
    pub fate: Fate,
    /// Why, where the fate alone does not say it.
    pub reason: Option<FateReason>,
    /// The run it became or was united with, while it is kept, also where an edit cancelled that.
    pub run: Option<(RunId, RunState)>,
    /// When its run is due, where that is to come and not its nominal time.
    pub due: Option<Instant>,
    /// The times of the wall clock, of what a clock change took; its nominal time is the change.
    pub walls: Option<SkippedWalls>,
    /// The calendar that leaves it out.
    pub calendar: Option<CalendarName>,
    /// The edit or the delete that took it before it was due.
    pub lapse: Option<Box<Lapse>>,
    /// The edit that cancelled its run before that began.
    pub dropped: Option<Box<Dropped>>,
}

impl InstantView {
    /// An instant of which no more is known than its fate.
    pub fn new(schedule: ScheduleName, nominal: Instant, fate: Fate) -> Self {
        let (reason, run, due, walls, calendar, lapse, dropped) = (None, None, None, None, None, None, None);
        Self { schedule, nominal, fate, reason, run, due, walls, calendar, lapse, dropped }
    }

    /// Whether it became a run that an edit cancelled before that began: what was taken before it was due has its lapse.
    pub fn was_dropped(&self) -> bool {
        self.fate == Fate::Superseded && self.lapse.is_none()
    }

    /// What became of it, as one sentence.
    pub fn sentence(&self) -> String {
        match (&self.walls, &self.calendar, &self.lapse, &self.dropped) {
            (Some(walls), ..) => walls.sentence(),
            (None, Some(calendar), ..) => format!("Calendar `{calendar}` leaves it out."),
            (None, None, Some(lapse), _) => lapse.sentence(),
            (None, None, None, Some(dropped)) => dropped.sentence(),
            (None, None, None, None) => sentence(self.fate, self.reason).into(),
        }
    }
}

/// Times of the wall clock that a clock change took from a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SkippedWalls {
    /// When the clocks change.
    pub change: Instant,
    /// The first.
    pub first: DateTime,
    /// The last.
    pub last: DateTime,
    /// How many.
    pub count: u64,
}

impl SkippedWalls {
    /// All of it, as one sentence.
    pub fn sentence(&self) -> String {
        let Self { change: _, first, last, count } = *self;
        let first = first.strftime("%F %T");
        if count == 1 {
            return format!("The clocks went forward, and {first} did not exist.");
        }
        format!("The clocks went forward, and {count} times from {first} to {} did not exist.", last.strftime("%T"))
    }
}

/// Appends entries to an open range: what is open afterwards, and the ranges that were closed on the way.
pub fn append(open: Option<Range>, entries: impl IntoIterator<Item = Range>) -> (Option<Range>, Vec<Range>) {
    append_where(open, entries, |_, _| true)
}

/// Appends entries as [`append`] does, of which one continues a range only where it also `follows` its last instant.
pub fn append_where(
    open: Option<Range>,
    entries: impl IntoIterator<Item = Range>,
    follows: impl Fn(Instant, Instant) -> bool,
) -> (Option<Range>, Vec<Range>) {
    let mut closed = Vec::new();
    let mut open = open;
    for entry in entries {
        match &mut open {
            Some(range) if range.takes(&entry) && follows(range.last, entry.first) => {
                range.last = entry.last;
                range.count += entry.count;
            }
            _ => closed.extend(open.replace(entry)),
        }
    }
    (open, closed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Fate, FateReason, Instant, Range, append};

    #[test]
    fn only_what_follows_for_the_same_reason_continues_a_range() {
        let at = |second: i64| Instant::from_micros(second * 1_000_000);
        let open = Range::one(1, at(5), Fate::Missed, Some(FateReason::NoServer));
        assert!(open.takes(&Range::one(1, at(6), Fate::Missed, Some(FateReason::NoServer))));
        for other in [
            Range::one(2, at(6), Fate::Missed, Some(FateReason::NoServer)),
            Range::one(1, at(6), Fate::Paused, Some(FateReason::NoServer)),
            Range::one(1, at(6), Fate::Missed, Some(FateReason::LaterRun)),
            Range::one(1, at(5), Fate::Missed, Some(FateReason::NoServer)),
        ] {
            assert!(!open.takes(&other), "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn appending_keeps_every_instant_and_joins_equal_neighbours(fates in prop::collection::vec(0..3_usize, 0..40)) {
            let entries: Vec<_> = fates
                .iter()
                .zip(1_i64..)
                .map(|(fate, at)| Range::one(1, Instant::from_micros(at), Fate::ALL[*fate], None))
                .collect();
            let (open, mut ranges) = append(None, entries);
            ranges.extend(open);
            prop_assert_eq!(ranges.iter().map(|range| range.count).sum::<u64>(), fates.len() as u64);
            prop_assert!(ranges.windows(2).all(|pair| pair[0].fate != pair[1].fate && pair[0].last < pair[1].first));
        }
    }
}
