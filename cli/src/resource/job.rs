//! What a person sees of a job.

use mainspring_proto::{
    common::v1::{RetryPolicy, Timeouts},
    scheduler::v1::{
        CalendarInterval, CalendarRoll, CatchUp, Job, JobState, JobVersion, OnCompleted, Overlap, OverlapScope,
        RateLimit, Schedule, schedule::Rule,
    },
};

use super::{Resource, pairs, word};
use crate::{
    output::{Cell, Tone},
    payload, rate, times,
};

impl Resource for Job {
    const COLUMNS: &'static [&'static str] = &["JOB", "TYPE", "QUEUE", "STATE", "SCHEDULE", "NEXT", "UPDATED"];

    fn row(&self) -> Vec<Cell> {
        vec![
            Cell::text(&self.job),
            Cell::text(&self.job_type),
            Cell::text(&self.queue),
            state(self.state()),
            Cell::text(schedules(&self.schedules)),
            Cell::time(self.next_fire_time.as_ref()),
            Cell::time(self.update_time.as_ref()),
        ]
    }

    const WIDE: &'static [&'static str] = &["OWNER", "PRIORITY", "VERSION", "CREATED", "LABELS", "DESCRIPTION"];

    fn wide(&self) -> Vec<Cell> {
        vec![
            Cell::text(&self.owner),
            Cell::of(self.priority),
            Cell::of(self.version),
            Cell::time(self.create_time.as_ref()),
            Cell::text(pairs(&self.labels)),
            Cell::text(&self.description),
        ]
    }

    fn page(&self) -> Vec<(&'static str, Cell)> {
        let pause = self.pause.as_ref().map(|pause| match pause.note.as_str() {
            "" => format!("by {}", pause.actor),
            note => format!("by {}: {note}", pause.actor),
        });
        vec![
            ("job", Cell::text(&self.job)),
            ("name", Cell::text(&self.display_name)),
            ("description", Cell::text(&self.description)),
            ("owner", Cell::text(&self.owner)),
            ("type", Cell::text(&self.job_type)),
            ("queue", Cell::text(&self.queue)),
            ("state", state(self.state())),
            ("error", Cell::text(self.error.as_ref().map(|error| error.sentence.clone()).unwrap_or_default())),
            ("paused", Cell::text(pause.unwrap_or_default())),
            ("schedule", Cell::text(schedules(&self.schedules))),
            ("next", Cell::time(self.next_fire_time.as_ref())),
            ("overlap", Cell::text(overlap(self))),
            ("catch up", Cell::text(catch_up(self))),
            ("when done", Cell::text(when_done(self))),
            ("payload", Cell::text(self.payload.as_ref().map(payload::shown).unwrap_or_default())),
            ("retry", Cell::text(self.retry_policy.as_ref().map(retry).unwrap_or_default())),
            ("timeout", Cell::text(self.timeouts.as_ref().map(timeouts).unwrap_or_default())),
            ("priority", Cell::of(self.priority)),
            ("fairness key", Cell::text(&self.fairness_key)),
            ("concurrency", Cell::text(concurrency(self))),
            ("labels", Cell::text(pairs(&self.labels))),
            ("requires", Cell::text(pairs(&self.required_labels))),
            ("version", Cell::of(self.version)),
            ("created", Cell::time(self.create_time.as_ref())),
            ("updated", Cell::time(self.update_time.as_ref())),
        ]
    }
}

impl Resource for JobVersion {
    const COLUMNS: &'static [&'static str] = &["VERSION", "SINCE", "TYPE", "QUEUE", "SCHEDULE"];

    fn row(&self) -> Vec<Cell> {
        let of = |field: fn(&Job) -> String| Cell::text(self.job.as_ref().map(field).unwrap_or_default());
        vec![
            Cell::of(self.version),
            Cell::time(self.create_time.as_ref()),
            of(|job| job.job_type.clone()),
            of(|job| job.queue.clone()),
            of(|job| schedules(&job.schedules)),
        ]
    }
}

fn state(state: JobState) -> Cell {
    let tone = match state {
        JobState::Active => Tone::Good,
        JobState::Error | JobState::AutoDisabled => Tone::Bad,
        JobState::Unspecified | JobState::Paused | JobState::Completed => Tone::Quiet,
    };
    Cell::Word(word(state.as_str_name(), "JOB_STATE_"), tone)
}

fn schedules(schedules: &[Schedule]) -> String {
    schedules.iter().map(schedule_words).collect::<Vec<_>>().join("; ")
}

/// A schedule in the words of `job create`.
pub(crate) fn schedule_words(schedule: &Schedule) -> String {
    let mut text = rule(schedule);
    let bound =
        |time: &prost_types::Timestamp| times::from_proto(time).map(|time| time.to_string()).unwrap_or_default();
    if let Some(start) = &schedule.start_time {
        text.push_str(&format!(", from {}", bound(start)));
    }
    if let Some(end) = &schedule.end_time {
        text.push_str(&format!(", until {}", bound(end)));
    }
    if let Some(jitter) = &schedule.jitter {
        text.push_str(&format!(", up to {} later", length(Some(jitter))));
    }
    if schedule.max_runs > 0 {
        text.push_str(&format!(", {} of {} runs made", schedule.run_count, schedule.max_runs));
    }
    if !schedule.exclude_calendars.is_empty() {
        let moved = match schedule.roll() {
            CalendarRoll::Unspecified | CalendarRoll::Skip => "",
            CalendarRoll::Following => " but on the next free day",
            CalendarRoll::Preceding => " but on the last free day before",
            CalendarRoll::Nearest => " but on the nearest free day",
        };
        text.push_str(&format!(", not in {}{moved}", schedule.exclude_calendars.join(", ")));
    }
    if !schedule.only_calendars.is_empty() {
        text.push_str(&format!(", only in {}", schedule.only_calendars.join(", ")));
    }
    text
}

fn rule(schedule: &Schedule) -> String {
    match &schedule.rule {
        None => String::new(),
        Some(Rule::Cron(expression)) if matches!(schedule.time_zone.as_str(), "" | "UTC") => expression.clone(),
        Some(Rule::Cron(expression)) => format!("{expression} {}", schedule.time_zone),
        Some(Rule::Interval(interval)) => format!("every {}", length(interval.every.as_ref())),
        Some(Rule::CalendarInterval(interval)) => {
            let CalendarInterval { every, unit: _, first_date, time_of_day } = interval;
            let unit = word(interval.unit().as_str_name(), "CALENDAR_UNIT_");
            let units = if *every > 1 { format!("{every} {unit}s") } else { unit };
            let zone = if schedule.time_zone == "UTC" { "" } else { schedule.time_zone.as_str() };
            format!("every {units} from {first_date} at {time_of_day} {zone}").trim_end().to_owned()
        }
        Some(Rule::FixedDelay(delay)) => format!("{} after the run before it ends", length(Some(delay))),
        Some(Rule::At(instant)) => {
            format!("at {}", times::from_proto(instant).map(|instant| instant.to_string()).unwrap_or_default())
        }
    }
}

fn retry(policy: &RetryPolicy) -> String {
    format!("{} attempts, first backoff {}", policy.max_attempts.unwrap_or(3), length(policy.initial_backoff.as_ref()))
}

/// How long an attempt may take, and the others that there are.
pub(super) fn timeouts(of: &Timeouts) -> String {
    let Timeouts { queue, execution, total, stop_grace, heartbeat } = of;
    let is_some = |length: &&prost_types::Duration| length.seconds != 0 || length.nanos != 0;
    let mut text = match execution.as_ref() {
        None => String::new(),
        Some(timeout) => Some(timeout).filter(is_some).map_or_else(|| "none".into(), times::length),
    };
    for (name, timeout) in [("queue", queue), ("total", total), ("heartbeat", heartbeat), ("stop", stop_grace)] {
        if let Some(timeout) = timeout.as_ref().filter(is_some) {
            text.push_str(&format!(", {name} {}", times::length(timeout)));
        }
    }
    text
}

/// A length as it is typed; "default" where the server chooses.
fn length(length: Option<&prost_types::Duration>) -> String {
    length.map_or_else(|| "default".into(), times::length)
}

/// What becomes of missed instants, as it is typed.
fn catch_up(job: &Job) -> String {
    let mut text = match job.catch_up() {
        CatchUp::Unspecified | CatchUp::Latest => "latest".to_owned(),
        CatchUp::None => "none".to_owned(),
        CatchUp::All => format!("all, at most {}", job.catch_up_max),
    };
    for (word, length) in [("every", &job.catch_up_pace), ("within", &job.max_lateness)] {
        if length.is_some() {
            text.push_str(&format!(", {word} {}", self::length(length.as_ref())));
        }
    }
    text
}

/// What becomes of it without an instant left; nothing where it stays.
fn when_done(job: &Job) -> String {
    match (job.on_completed(), &job.delete_after) {
        (OnCompleted::Unspecified | OnCompleted::Keep, _) => String::new(),
        (OnCompleted::Delete, Some(after)) if after.seconds > 0 => format!("deleted {} later", length(Some(after))),
        (OnCompleted::Delete, Some(_) | None) => "deleted".into(),
    }
}

/// A concurrency key, with what the job says of it.
fn concurrency(job: &Job) -> String {
    let limit = match job.concurrency_limit {
        0 => String::new(),
        limit => format!(", at most {limit}"),
    };
    let rate = match &job.concurrency_rate {
        None => String::new(),
        Some(none) if *none == RateLimit::default() => ", no rate".into(),
        Some(rate) => format!(", {}", rate::told(rate)),
    };
    format!("{}{limit}{rate}", job.concurrency_key)
}

/// An overlap policy as it is typed.
fn overlap(job: &Job) -> String {
    let name = match job.overlap() {
        Overlap::Unspecified | Overlap::Skip => "skip",
        Overlap::Allow => "allow",
        Overlap::BufferOne => "buffer-one",
        Overlap::BufferAll => "buffer-all",
        Overlap::CancelOther => "cancel-other",
        Overlap::TerminateOther => "terminate-other",
    };
    let max = if job.overlap_max > 0 { format!(", at most {}", job.overlap_max) } else { String::new() };
    let scope = match job.overlap_scope() {
        OverlapScope::Unspecified | OverlapScope::Job => "",
        OverlapScope::ConcurrencyKey => ", by concurrency key",
    };
    let manual = if job.overlap_ignores_manual { "; manual runs apart" } else { "" };
    format!("{name}{max}{scope}{manual}")
}
