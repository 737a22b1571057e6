//! A run's life in lines, each told once, whatever order the news come in.
//!
//! The states of a run are ordered by (attempt, phase). News that are not newer than what was told are ignored; where
//! they skip a state, the skipped one is told from the run's own times. So a fast run whose events were all missed
//! reads like a slow one.

use jiff::Timestamp;
use mainspring_proto::scheduler::v1::{Run, RunState, WaitReason};

use super::is_over;
use crate::{resource::state_word, times};

/// How far the story of a run was told.
#[derive(Debug)]
pub(super) struct Story {
    run_id: String,
    /// Attempt and phase of the last line.
    told: Option<(i64, Phase)>,
    /// The state of the last line, and since when the run was in it.
    state: RunState,
    since: Option<Timestamp>,
    waiting: String,
}

/// The phases of an attempt, in their order. Waiting for attempt n+1 belongs to attempt n.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Scheduled,
    Leased,
    Running,
    RetryWait,
    Queued,
    Over,
}

impl Story {
    /// Nothing was told yet.
    pub(super) fn new(run_id: String) -> Self {
        Self { run_id, told: None, state: RunState::Unspecified, since: None, waiting: String::new() }
    }

    /// The lines that are new. The end is not among them: it is told when the log was.
    pub(super) fn advance(&mut self, run: &Run, worker: &str) -> Vec<String> {
        let mut lines = Vec::new();
        let state = run.state();
        // A run that was over before anybody looked did run, and is told so.
        if is_over(state) && run.attempt > 0 && run.start_time.is_some() {
            lines.extend(self.step(run, RunState::Running, worker));
        }
        if !is_over(state) {
            lines.extend(self.step(run, state, worker));
            lines.extend(self.waits(run));
        }
        lines
    }

    /// Whether the last line was that an attempt runs.
    pub(super) fn is_running(&self) -> bool {
        self.state == RunState::Running
    }

    fn step(&mut self, run: &Run, state: RunState, worker: &str) -> Option<String> {
        let place = (run.attempt, phase(state)?);
        if self.told.is_some_and(|told| place <= told) {
            return None;
        }
        self.told = Some(place);
        // Leased lasts for milliseconds and says nothing a person could use.
        if state == RunState::Leased {
            return None;
        }
        let since = begin(run, state);
        let lasted = match (self.since, since) {
            (Some(before), Some(now)) if state == RunState::Running => {
                std::time::Duration::try_from(now.duration_since(before)).ok().map(times::took)
            }
            _ => None,
        };
        let before = std::mem::replace(&mut self.state, state);
        self.since = since;
        let arrow = match before {
            RunState::Unspecified => String::new(),
            before => format!("{} → ", state_word(before)),
        };
        let more = detail(run, state, worker);
        let lasted = lasted.map(|lasted| format!(" ({lasted})")).unwrap_or_default();
        Some(format!("run/{}  {arrow}{}{more}{lasted}", self.run_id, state_word(state)))
    }

    /// Why it waits, once per reason.
    fn waits(&mut self, run: &Run) -> Option<String> {
        // What lasts for a moment is no news.
        if run.wait_reason() == WaitReason::AboutToBeGivenOut {
            return None;
        }
        if run.wait_sentence.is_empty() || run.wait_sentence == self.waiting || self.state != RunState::Queued {
            return None;
        }
        self.waiting.clone_from(&run.wait_sentence);
        // The sentence begins with the same word.
        let why = run.wait_sentence.strip_prefix("Waiting: ").unwrap_or(&run.wait_sentence);
        Some(format!("run/{}  waiting: {why}", self.run_id))
    }
}

/// The last line.
pub(super) fn ending(run: &Run) -> String {
    format!("run/{}  {}", run.run_id, outcome(run))
}

/// How it ended, after how long, and why.
pub(crate) fn outcome(run: &Run) -> String {
    let state = state_word(run.state()).replace('_', " ");
    let took = times::between(run.due_time.as_ref(), run.end_time.as_ref()).map(times::took);
    let after = match (run.state(), took) {
        (_, None) => String::new(),
        (RunState::Succeeded | RunState::Failed, Some(took)) => format!(" in {took}"),
        (_, Some(took)) => format!(" after {took}"),
    };
    let failure = run.failure.as_ref().filter(|_| run.state() != RunState::Succeeded);
    let reason = match (failure.map(|failure| failure.message.as_str()), run.reason.as_str()) {
        (Some("") | None, "") => String::new(),
        (Some("") | None, reason) => format!(": {reason}"),
        (Some(message), "") => format!(": {message}"),
        (Some(message), reason) => format!(": {reason}: {message}"),
    };
    format!("{state}{after}{reason}")
}

fn phase(state: RunState) -> Option<Phase> {
    match state {
        RunState::Unspecified => None,
        RunState::Scheduled => Some(Phase::Scheduled),
        RunState::Queued => Some(Phase::Queued),
        RunState::Leased => Some(Phase::Leased),
        RunState::Running => Some(Phase::Running),
        RunState::RetryWait => Some(Phase::RetryWait),
        RunState::Succeeded | RunState::Failed | RunState::Cancelled | RunState::TimedOut => Some(Phase::Over),
    }
}

/// When the run came into this state, by its own times.
fn begin(run: &Run, state: RunState) -> Option<Timestamp> {
    let time = match state {
        RunState::Queued => run.queue_time.as_ref(),
        RunState::Running => run.start_time.as_ref(),
        RunState::Unspecified
        | RunState::Scheduled
        | RunState::Leased
        | RunState::RetryWait
        | RunState::Succeeded
        | RunState::Failed
        | RunState::Cancelled
        | RunState::TimedOut => None,
    };
    time.and_then(times::from_proto)
}

fn detail(run: &Run, state: RunState, worker: &str) -> String {
    match state {
        RunState::Scheduled => match run.due_time.as_ref().and_then(times::from_proto) {
            Some(due) => format!(", due at {}", times::local(due)),
            None => String::new(),
        },
        RunState::Running => {
            let worker = if worker.is_empty() { String::new() } else { format!(" on worker/{worker}") };
            if run.attempt > 1 { format!("{worker}, attempt {}", run.attempt) } else { worker }
        }
        RunState::RetryWait => {
            let why =
                run.failure.as_ref().map(|failure| failure.message.as_str()).filter(|message| !message.is_empty());
            let why = why.map(|message| format!(": {message}")).unwrap_or_default();
            let next = run.next_attempt_time.as_ref().and_then(times::from_proto);
            let next = next.map(|next| format!("; next at {}", times::time_of_day(next))).unwrap_or_default();
            format!(", attempt {} did not succeed{why}{next}", run.attempt)
        }
        RunState::Unspecified
        | RunState::Queued
        | RunState::Leased
        | RunState::Succeeded
        | RunState::Failed
        | RunState::Cancelled
        | RunState::TimedOut => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use mainspring_proto::{
        common::v1::Failure,
        scheduler::v1::{Run, RunState},
    };
    use prost_types::Timestamp;

    use super::{Story, ending};

    fn at(millis: i64) -> Option<Timestamp> {
        Some(Timestamp { seconds: 1000 + millis / 1000, nanos: i32::try_from(millis % 1000).unwrap() * 1_000_000 })
    }

    fn run(state: RunState, attempt: i64) -> Run {
        Run { run_id: "R".into(), state: state.into(), attempt, due_time: at(0), queue_time: at(0), ..Run::default() }
    }

    fn running(attempt: i64) -> Run {
        Run { start_time: at(20), ..run(RunState::Running, attempt) }
    }

    #[test]
    fn each_state_is_told_once_and_in_order() {
        let mut story = Story::new("R".into());
        assert_eq!(story.advance(&run(RunState::Queued, 0), "built-in"), ["run/R  queued"]);
        assert!(story.advance(&run(RunState::Queued, 0), "built-in").is_empty());
        assert!(story.advance(&run(RunState::Leased, 1), "built-in").is_empty());
        assert_eq!(story.advance(&running(1), "built-in"), ["run/R  queued → running on worker/built-in (0.02 s)"]);
        assert!(story.advance(&run(RunState::Queued, 0), "built-in").is_empty(), "old news");
        assert!(story.advance(&running(1), "built-in").is_empty());
    }

    #[test]
    fn a_run_that_was_over_at_once_reads_like_a_slow_one() {
        let mut story = Story::new("R".into());
        assert_eq!(story.advance(&run(RunState::Queued, 0), "built-in").len(), 1);
        let over = Run { state: RunState::Succeeded.into(), end_time: at(330), ..running(1) };
        assert_eq!(story.advance(&over, "built-in"), ["run/R  queued → running on worker/built-in (0.02 s)"]);
        assert!(story.advance(&over, "built-in").is_empty());
        assert_eq!(ending(&over), "run/R  succeeded in 0.33 s");
    }

    #[test]
    fn a_retry_is_a_chapter_of_its_own() {
        let mut story = Story::new("R".into());
        story.advance(&run(RunState::Queued, 0), "built-in");
        story.advance(&running(1), "built-in");
        let failed = Failure { reason: "BOOM".into(), message: "no luck".into(), ..Failure::default() };
        let waits = Run { failure: Some(failed.clone()), ..run(RunState::RetryWait, 1) };
        assert_eq!(
            story.advance(&waits, "built-in"),
            ["run/R  running → retry_wait, attempt 1 did not succeed: no luck"]
        );
        assert_eq!(story.advance(&run(RunState::Queued, 1), "built-in"), ["run/R  retry_wait → queued"]);
        assert_eq!(
            story.advance(&running(2), "built-in"),
            ["run/R  queued → running on worker/built-in, attempt 2 (0.02 s)"]
        );
        let over = Run { end_time: at(2000), reason: "BOOM".into(), failure: Some(failed), ..run(RunState::Failed, 2) };
        assert_eq!(ending(&over), "run/R  failed in 2.00 s: BOOM: no luck");
    }

    #[test]
    fn why_it_waits_is_told_once() {
        for wait_sentence in ["Waiting: no worker handles it", "no worker handles it"] {
            let mut story = Story::new("R".into());
            let waits = Run { wait_sentence: wait_sentence.into(), ..run(RunState::Queued, 0) };
            assert_eq!(story.advance(&waits, "built-in"), ["run/R  queued", "run/R  waiting: no worker handles it"]);
            assert!(story.advance(&waits, "built-in").is_empty());
        }
    }

    #[test]
    fn a_cancelled_run_says_after_what_time() {
        let run = Run { end_time: at(1500), ..run(RunState::Cancelled, 1) };
        assert_eq!(ending(&run), "run/R  cancelled after 1.50 s");
        let late = Run { end_time: at(1500), reason: "QUEUE_TIMEOUT".into(), ..self::run(RunState::TimedOut, 0) };
        assert_eq!(ending(&late), "run/R  timed out after 1.50 s: QUEUE_TIMEOUT");
    }
}
