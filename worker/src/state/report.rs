//! What handlers say on the way: log lines and progress.

use mainspring_proto::{common::v1::LogLevel as WireLevel, worker::v1::LogEntry};

use super::{
    Key, Machine,
    attempt::{Attempt, Phase},
    timers::Timer,
};
use crate::{clock::Instant, ctx::LogLevel, job_error::cut};

/// The contract's limit of a progress message.
const MAX_PROGRESS_CHARACTERS: usize = 256;

impl Machine {
    /// A handler wrote a log line.
    pub(crate) fn log(&mut self, key: &Key, level: LogLevel, entry: LogEntry, now: Instant) {
        if !self.rules.logs || !matches!(self.attempts.get(key), Some(Attempt { phase: Phase::Running(_), .. })) {
            return;
        }
        let level = WireLevel::from(level).into();
        if let Some(at) = self.logs.push(key, LogEntry { level, ..entry }, now) {
            self.timers.set_by(at, Timer::LogLinger);
        }
    }

    /// A handler said how far it is. The newest is sent, never sooner than the server wants to hear of it again.
    pub(crate) fn progressed(&mut self, key: &Key, fraction: f64, message: String, now: Instant) {
        let Some(attempt) = self.attempts.get_mut(key) else { return };
        let message = match message.char_indices().nth(MAX_PROGRESS_CHARACTERS) {
            Some((end, _)) => cut(message, end),
            None => message,
        };
        attempt.progress.latest = Some((fraction, message));
        if attempt.progress.queued {
            return;
        }
        attempt.progress.queued = true;
        let due = attempt.progress.sent_at.map(|sent_at| sent_at + self.rules.min_progress_interval);
        match due.filter(|due| *due > now) {
            Some(due) => self.timers.set(due, Timer::Progress(key.clone())),
            None => self.progress.push_back(key.clone()),
        }
    }

    pub(super) fn progress_due(&mut self, key: Key) {
        if self.attempts.contains_key(&key) {
            self.progress.push_back(key);
        }
    }
}
