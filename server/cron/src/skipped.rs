//! Times of the wall clock that a clock change removes and a rule therefore never fires: which, and how many.
//!
//! Only times that are skipped for good: what moves to the end of a gap, or is shifted by it, fires and is no loss. A fire
//! has an instant; what is skipped has none, so it is told by the change that removed it and by its wall-clock time.

use jiff::{Timestamp, civil::DateTime};

use crate::{
    calendar_interval::CalendarInterval,
    dst::{DstEffect, DstNote},
    rule::{Cron, Rule},
    search::{Search, wall},
    zone::{Zone, timestamp},
};

/// What one clock change takes from a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Skipped {
    /// The instant the clocks change.
    pub change: Timestamp,
    /// The first wall-clock time that is skipped.
    pub first: DateTime,
    /// The last one.
    pub last: DateTime,
    /// How many.
    pub count: u64,
}

impl Rule {
    /// What the clock changes in `(after, until]` take from this rule, by the time of the change. Work is bounded by the
    /// changes in the window and by the times that their gaps remove, which are at most those of one day each.
    ///
    /// ```
    /// use mainspring_cron::{Expr, Rule, Zone};
    ///
    /// let rule = Rule::cron(Expr::parse("*/15 * * * *")?);
    /// let berlin = Zone::parse("Europe/Berlin").unwrap();
    /// let (after, until) = ("2026-03-28T12:00:00Z".parse().unwrap(), "2026-03-30T12:00:00Z".parse().unwrap());
    /// let skipped = rule.skipped(&berlin, after, until);
    /// assert_eq!((skipped.len(), skipped[0].count), (1, 4));
    /// assert_eq!(skipped[0].first.to_string(), "2026-03-29T02:00:00");
    /// # Ok::<(), mainspring_cron::ParseError>(())
    /// ```
    #[must_use]
    pub fn skipped(&self, zone: &Zone, after: Timestamp, until: Timestamp) -> Vec<Skipped> {
        match self {
            Self::Cron(cron) => of_cron(cron, zone, after, until),
            Self::CalendarInterval(interval) => of_calendar(interval, zone, after, until),
            Self::Interval(_) | Self::FixedDelay(_) | Self::At(_) => Vec::new(),
        }
    }

    /// The wall-clock time that a clock would show at an instant had it not just been changed, where that time is one
    /// that the change takes from this rule: what somebody means who asks for 02:30 on a day that has none.
    #[must_use]
    pub fn skips(&self, zone: &Zone, at: Timestamp) -> Option<Skipped> {
        let DstNote { change, wall, .. } = self.in_gap(zone, at, DstEffect::Skipped, lost)?;
        Some(Skipped { change, first: wall, last: wall, count: 1 })
    }

    /// The same of a time that the change moves to the end of its gap: what fires at the change instead.
    #[must_use]
    pub fn moves(&self, zone: &Zone, at: Timestamp) -> Option<DstNote> {
        self.in_gap(zone, at, DstEffect::MovedToGapEnd, |search| search.hours.gap_end)
    }

    fn in_gap(
        &self,
        zone: &Zone,
        at: Timestamp,
        effect: DstEffect,
        hours: impl FnOnce(&Search<'_>) -> u32,
    ) -> Option<DstNote> {
        let segment = zone.segment(at.as_second());
        let change = segment.start?;
        let (told, shown) = (wall(at.as_second(), segment.before), wall(change, segment.offset));
        if told >= shown || at.subsec_nanosecond() != 0 {
            return None;
        }
        let wall = match self {
            Self::Cron(cron) => {
                let mut search = cron.search(zone);
                let hours = hours(&search);
                search.next_wall(told, told.saturating_add(jiff::Span::new().seconds(1)), hours)?
            }
            Self::CalendarInterval(interval) => {
                let notes = interval.dst_notes(zone, timestamp(change - 1), timestamp(change), usize::MAX);
                notes.iter().find(|note| note.effect == effect && note.wall == told)?.wall
            }
            Self::Interval(_) | Self::FixedDelay(_) | Self::At(_) => return None,
        };
        Some(DstNote { change: timestamp(change), wall, effect })
    }
}

/// The hours that no treatment brings back.
fn lost(search: &Search<'_>) -> u32 {
    search.hours.all & !search.hours.gap_end & !search.hours.gap_shift
}

fn of_cron(cron: &Cron, zone: &Zone, after: Timestamp, until: Timestamp) -> Vec<Skipped> {
    let mut search = cron.search(zone);
    let lost = lost(&search);
    let mut found = Vec::new();
    if lost == 0 {
        return found;
    }
    let mut segment = zone.segment(after.as_second());
    while let Some(change) = segment.end.filter(|end| *end <= until.as_second()) {
        segment = zone.segment(change);
        let (mut from, shown) = (wall(change, segment.before), wall(change, segment.offset));
        let mut skipped: Option<Skipped> = None;
        while from < shown
            && let Some(wall) = search.next_wall(from, shown, lost)
        {
            let so_far =
                skipped.get_or_insert(Skipped { change: timestamp(change), first: wall, last: wall, count: 0 });
            (so_far.last, so_far.count) = (wall, so_far.count + 1);
            from = wall.saturating_add(jiff::Span::new().seconds(1));
        }
        found.extend(skipped);
    }
    found
}

fn of_calendar(interval: &CalendarInterval, zone: &Zone, after: Timestamp, until: Timestamp) -> Vec<Skipped> {
    let mut found: Vec<Skipped> = Vec::new();
    let notes = interval.dst_notes(zone, after, until, usize::MAX);
    for note in notes.iter().filter(|note| note.effect == DstEffect::Skipped) {
        match found.last_mut().filter(|last| last.change == note.change) {
            Some(last) => (last.last, last.count) = (note.wall, last.count + 1),
            None => found.push(Skipped { change: note.change, first: note.wall, last: note.wall, count: 1 }),
        }
    }
    found
}
