//! Where an instant went that somebody looks for in vain, and where one came from that is not where the rule has it.
//!
//! Rules name times of a wall clock, and calendars and clock changes move them; bounds end them. Whoever asks for the time that
//! the rule has is told where it is, and whoever asks for the time that it came to is told why it is there.

use std::time::Duration;

use mainspring_cron::{DstEffect, Fire};

use super::{Instant, ScheduleSpec, Subject};

/// No clock is set back by more.
const PASS: Duration = Duration::from_secs(3 * 3_600);
/// As many instants as a rule can have in twice that.
const MOST: usize = 2 * 3 * 3_600;

impl Subject<'_> {
    /// What became of a time that a rule has and its schedule does not name.
    pub(super) fn elsewhere(self, at: Instant) -> Option<String> {
        let schedules = || self.job.spec.schedules.iter().filter(|schedule| at > self.begin() && schedule.is_known());
        let moved = schedules().find_map(|schedule| rolled(schedule, at));
        let skipped = || schedules().find_map(|schedule| moved_by_clock(schedule, at));
        let other = || schedules().find_map(|schedule| other_pass(schedule, at));
        moved.or_else(skipped).or_else(other).or_else(|| self.out_of_bounds(at))
    }

    /// Why an instant that makes a run is not where its rule has it.
    pub(super) fn came_from(self, at: Instant) -> Option<String> {
        let find = |schedule: &ScheduleSpec| {
            if !schedule.names(at) {
                return None;
            }
            if let Some((holder, from)) = schedule.moved_from(at) {
                return Some(format!("It was moved from {from}, whose day calendar `{}` holds", holder.name));
            }
            Some(fire(schedule, at)?.note?.to_string())
        };
        let schedules = self.job.spec.schedules.iter().filter(|schedule| at > self.begin() && schedule.is_known());
        schedules.into_iter().find_map(find)
    }

    /// What a rule names before its schedule begins, or after it ends.
    fn out_of_bounds(self, at: Instant) -> Option<String> {
        let find = |schedule: &ScheduleSpec| {
            let is_early = schedule.start.filter(|start| at < *start);
            let is_late = schedule.end.filter(|end| *end <= at);
            let bound = match (is_early, is_late) {
                (Some(start), _) => format!("begins at {start}, and names nothing before that"),
                (None, Some(end)) => {
                    let ends = if end > self.now { "ends" } else { "ended" };
                    format!("{ends} at {end}, and names nothing from then on")
                }
                (None, None) => return None,
            };
            let unbounded = ScheduleSpec { start: None, end: None, ..schedule.clone() };
            let is_named = schedule.delay().is_none() && unbounded.names(at);
            is_named.then(|| format!("Schedule `{}` of job `{}` {bound}.", schedule.name, self.job.name))
        };
        self.job.spec.schedules.iter().find_map(find)
    }
}

/// What a calendar moves to another day.
fn rolled(schedule: &ScheduleSpec, at: Instant) -> Option<String> {
    let (holder, to) = schedule.moved(at)?;
    let (schedule, holder) = (&schedule.name, &holder.name);
    let to = to.map_or("there is no free day within a year".into(), |to| format!("it moves to {to}"));
    Some(format!("Calendar `{holder}` holds the day of {at}, which schedule `{schedule}` names: {to}."))
}

/// What the rule itself names at an instant.
fn fire(schedule: &ScheduleSpec, at: Instant) -> Option<Fire> {
    let before = at.minus(Duration::from_micros(1)).timestamp();
    schedule.rule.fires(&schedule.zone, before, at.timestamp()).next().filter(|fire| fire.at == at.timestamp())
}

/// A time of the wall clock that a clock change moves to the end of the gap.
fn moved_by_clock(schedule: &ScheduleSpec, at: Instant) -> Option<String> {
    let note = schedule.rule.moves(&schedule.zone, at.timestamp())?;
    let to = Instant::from_timestamp(note.change);
    let wall = note.wall.strftime("%F %T");
    schedule.names(to).then(|| {
        format!("{wall}, of schedule `{}`, does not exist: the clocks go forward, and it fires at {to}.", schedule.name)
    })
}

/// A time of the wall clock that comes twice, and that fires in the other pass only.
fn other_pass(schedule: &ScheduleSpec, at: Instant) -> Option<String> {
    let wall = schedule.zone.wall_clock(at.timestamp());
    let (from, until) = (at.minus(PASS).timestamp(), at.plus(PASS).timestamp());
    let mut fires = schedule.rule.fires(&schedule.zone, from, until).take(MOST);
    let (fire, pass) = fires.find_map(|fire| {
        let pass = match fire.note?.effect {
            DstEffect::FirstPassOnly => "first",
            DstEffect::LastPassOnly => "second",
            DstEffect::MovedToGapEnd | DstEffect::Shifted | DstEffect::Skipped | DstEffect::BothPasses => return None,
        };
        (schedule.zone.wall_clock(fire.at) == wall).then_some((fire, pass))
    })?;
    let (name, wall, to) = (&schedule.name, wall.strftime("%F %T"), Instant::from_timestamp(fire.at));
    schedule
        .names(to)
        .then(|| format!("{wall}, of schedule `{name}`, comes twice: it fires the {pass} time only, at {to}."))
}
