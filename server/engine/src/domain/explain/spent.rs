//! Whether a schedule that makes so many runs and no more will have made them before an instant to come.
//!
//! It is known as far as anybody looks ahead, and as things stand: what becomes no run leaves one for later.

use std::time::Duration;

use super::{Instant, ScheduleSpec, Subject};
use crate::domain::names::JobName;

/// What is left of the runs of a schedule when an instant comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spent {
    /// One is left, or nothing bounds them.
    No,
    /// That is further ahead than anybody looks.
    Perhaps,
    /// None: this one makes the last.
    Since(Instant),
}

impl Subject<'_> {
    /// Of a schedule that has this instant next.
    pub(super) fn spent(self, schedule: &ScheduleSpec, next: Option<Instant>, at: Instant) -> Spent {
        let bounded = schedule.max_runs.and_then(|_| self.first_run(schedule, next?));
        let Some(first) = bounded.filter(|_| at > self.now) else { return Spent::No };
        match schedule.last_run(first, self.job.made(&schedule.name)) {
            Some(last) if at > last => Spent::Since(last),
            Some(_) => Spent::No,
            None if schedule.is_near(first, at) => Spent::No,
            None => Spent::Perhaps,
        }
    }

    /// The last run that a schedule will make which has this instant next, where that is known.
    pub(super) fn last_to_come(self, schedule: &ScheduleSpec, next: Option<Instant>) -> Option<Instant> {
        schedule.max_runs?;
        schedule.last_run(self.first_run(schedule, next?)?, self.job.made(&schedule.name))
    }

    /// The first of its instants that may make a run: none does while the job is paused.
    fn first_run(self, schedule: &ScheduleSpec, next: Instant) -> Option<Instant> {
        // Of what counts from the ends of its runs no more is known than the next.
        if schedule.delay().is_some() {
            return None;
        }
        match &self.job.pause {
            None => Some(next),
            Some(pause) => schedule.next_fire(pause.until?.max(next).minus(Duration::from_micros(1))),
        }
    }
}

/// What there is to say of an instant that comes after the last run of a schedule.
pub(super) fn sentence(schedule: &ScheduleSpec, last: Instant, job: &JobName, at: Instant) -> String {
    let (name, most) = (&schedule.name, schedule.max_runs.unwrap_or_default());
    format!(
        "Schedule `{name}` of job `{job}` will have made its {most} runs before {at}, the last at {last}, unless one of them \
         becomes no run; it names nothing more."
    )
}
