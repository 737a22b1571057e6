//! What a person sees of a run.

use mainspring_proto::{
    common::v1::Failure,
    scheduler::v1::{Resolution, Run, RunOrigin, RunState},
};

use super::{Resource, pairs, word};
use crate::{
    output::{Cell, Tone},
    payload, times,
};

impl Resource for Run {
    const COLUMNS: &'static [&'static str] = &["RUN", "JOB", "TYPE", "STATE", "ATTEMPT", "CREATED", "TOOK", "REASON"];

    fn row(&self) -> Vec<Cell> {
        vec![
            Cell::text(&self.run_id),
            Cell::text(&self.job),
            Cell::text(&self.job_type),
            state_cell(self.state()),
            Cell::of(self.attempt),
            Cell::time(self.create_time.as_ref()),
            Cell::text(took(self)),
            Cell::text(&self.reason),
        ]
    }

    const WIDE: &'static [&'static str] =
        &["QUEUE", "ORIGIN", "PRIORITY", "WORKER", "DUE", "ENDED", "RESOLUTION", "LABELS", "NOTE"];

    fn wide(&self) -> Vec<Cell> {
        vec![
            Cell::text(&self.queue),
            Cell::text(word(self.origin().as_str_name(), "RUN_ORIGIN_")),
            Cell::of(self.priority),
            Cell::text(&self.worker_id),
            Cell::time(self.due_time.as_ref()),
            Cell::time(self.end_time.as_ref()),
            Cell::text(resolution(self)),
            Cell::text(pairs(&self.labels)),
            Cell::text(&self.note),
        ]
    }

    fn page(&self) -> Vec<(&'static str, Cell)> {
        let payload = |payload: &Option<_>| Cell::text(payload.as_ref().map(payload::shown).unwrap_or_default());
        vec![
            ("run", Cell::text(&self.run_id)),
            ("job", Cell::text(&self.job)),
            ("type", Cell::text(&self.job_type)),
            ("queue", Cell::text(&self.queue)),
            ("origin", Cell::text(word(self.origin().as_str_name(), "RUN_ORIGIN_"))),
            ("schedule", Cell::text(if self.origin() == RunOrigin::Schedule { &self.schedule } else { "" })),
            ("state", state_cell(self.state())),
            ("reason", Cell::text(&self.reason)),
            ("waiting", Cell::text(self.wait_sentence.strip_prefix("Waiting: ").unwrap_or(&self.wait_sentence))),
            ("progress", Cell::text(self.progress.as_ref().map(progress).unwrap_or_default())),
            ("payload", payload(&self.payload)),
            ("output", payload(&self.output)),
            ("failure", Cell::text(self.failure.as_ref().map(failure).unwrap_or_default())),
            ("attempt", Cell::of(self.attempt)),
            ("worker", Cell::text(&self.worker_id)),
            ("priority", Cell::of(self.priority)),
            ("fairness key", Cell::text(&self.fairness_key)),
            ("concurrency key", Cell::text(&self.concurrency_key)),
            ("unique key", Cell::text(&self.unique_key)),
            ("labels", Cell::text(pairs(&self.labels))),
            ("requires", Cell::text(pairs(&self.required_labels))),
            ("nominal", Cell::time(self.nominal_time.as_ref())),
            ("zone data", Cell::text(&self.zone_data_version)),
            ("created", Cell::time(self.create_time.as_ref())),
            ("due", Cell::time(self.due_time.as_ref())),
            ("started", Cell::time(self.start_time.as_ref())),
            ("next attempt", Cell::time(self.next_attempt_time.as_ref())),
            ("ended", Cell::time(self.end_time.as_ref())),
            ("took", Cell::text(took(self))),
            (
                "cancellation",
                Cell::text(self.cancellation.as_ref().map(|asked| asked.note.clone()).unwrap_or_default()),
            ),
            ("resolution", Cell::text(resolution(self))),
            ("resolved", Cell::time(self.resolve_time.as_ref())),
            ("resolved by", Cell::text(&self.resolve_actor)),
            ("resolved why", Cell::text(&self.resolve_note)),
            ("fingerprint", Cell::text(&self.fingerprint)),
            ("note", Cell::text(&self.note)),
            ("parent", Cell::text(&self.parent_run_id)),
            ("request id", Cell::text(&self.request_id)),
        ]
    }
}

/// What became of a dead letter; empty where it is none.
fn resolution(run: &Run) -> String {
    match run.resolution() {
        Resolution::Unspecified => String::new(),
        known => word(known.as_str_name(), "RESOLUTION_"),
    }
}

/// A run's state as filters take it: `succeeded`, `timed_out`.
pub(crate) fn state_word(state: RunState) -> String {
    word(state.as_str_name(), "RUN_STATE_")
}

/// A run's state with its colour.
pub(super) fn state_cell(state: RunState) -> Cell {
    let tone = match state {
        RunState::Succeeded => Tone::Good,
        RunState::Leased | RunState::Running => Tone::Busy,
        RunState::Failed | RunState::TimedOut | RunState::RetryWait => Tone::Bad,
        RunState::Unspecified | RunState::Scheduled | RunState::Queued | RunState::Cancelled => Tone::Quiet,
    };
    Cell::Word(state_word(state), tone)
}

/// From the moment it could have begun to its end, waiting and retries included.
fn took(run: &Run) -> String {
    times::between(run.due_time.as_ref(), run.end_time.as_ref()).map(times::took).unwrap_or_default()
}

fn progress(progress: &mainspring_proto::scheduler::v1::Progress) -> String {
    format!("{:.0} % {}", progress.fraction * 100.0, progress.message).trim_end().into()
}

fn failure(failure: &Failure) -> String {
    match failure.message.as_str() {
        "" => failure.reason.clone(),
        message => format!("{}: {message}", failure.reason),
    }
}
