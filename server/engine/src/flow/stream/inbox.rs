//! The way in: what the reader of a stream does with a message. It never waits.
//!
//! Order matters between replies, results and heartbeats: a heartbeat that was composed before a dispatch was accepted must
//! be read before the acceptance, or the attempt would look absent. So they share one queue; a heartbeat only replaces one
//! that is last in it. Progress keeps the latest per attempt, logs have a bound of their own and are dropped beyond it,
//! which withholds their acknowledgement.
//!
//! The session leaves results here while too many are on their way to the store. So what a worker sends faster than it can
//! be stored is bounded by number and by bytes; beyond that the session ends, and the worker sends it again to the next one.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use super::{
    messages::{FromWorker, SessionEnd},
    session::Live,
};
use crate::domain::{attempt::AttemptKey, event::Progress, log, worker::Phase};

/// Replies, results and heartbeats that may wait. A worker holds at most 5,000 attempts.
const CONTROL: usize = 20_000;
/// Bytes of them that may wait: a slot's largest output for a hundred slots and more.
const BYTES: usize = 128 << 20;
/// Log batches that may wait; an SDK has at most four on the way.
const LOGS: usize = 16;
/// Attempts whose progress may wait.
const PROGRESS: usize = 5_000;

/// What waits for a session's task.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    control: VecDeque<FromWorker>,
    bytes: usize,
    /// Something came since the session last looked.
    heard: bool,
    pub(super) progress: HashMap<AttemptKey, (Phase, Progress)>,
    pub(super) logs: VecDeque<log::Batch>,
}

impl Waiting {
    /// The next reply, result or heartbeat, where `fits` says that it can be dealt with.
    pub(super) fn next(&mut self, fits: impl FnOnce(&FromWorker) -> bool) -> Option<FromWorker> {
        let message = self.control.pop_front_if(|message| fits(message))?;
        self.bytes -= message.weight();
        Some(message)
    }

    /// Whether something came since this was last asked.
    pub(super) fn heard(&mut self) -> bool {
        std::mem::take(&mut self.heard)
    }

    fn replace_last(&mut self, message: FromWorker, same: impl FnOnce(&FromWorker) -> bool) {
        if let Some(last) = self.control.pop_back_if(|last| same(last)) {
            self.bytes -= last.weight();
        }
        self.add(message);
    }

    fn add(&mut self, message: FromWorker) {
        self.bytes += message.weight();
        self.control.push_back(message);
    }

    /// Takes a message in; an error ends the session.
    fn push(&mut self, message: FromWorker) -> Result<(), SessionEnd> {
        self.heard = true;
        match message {
            FromWorker::Progress(key, phase, progress) => {
                if self.progress.len() < PROGRESS || self.progress.contains_key(&key) {
                    self.progress.insert(key, (phase, progress));
                }
                return Ok(());
            }
            FromWorker::Logs(batch) => {
                if self.logs.len() < LOGS {
                    self.logs.push_back(batch);
                }
                return Ok(());
            }
            FromWorker::Heartbeat { .. } => {
                self.replace_last(message, |last| matches!(last, FromWorker::Heartbeat { .. }));
            }
            FromWorker::Capacity(_) => self.replace_last(message, |last| matches!(last, FromWorker::Capacity(_))),
            FromWorker::Reply(..) | FromWorker::Result(_) | FromWorker::CancelReply(_) | FromWorker::Drain => {
                self.add(message);
            }
        }
        if self.control.len() > CONTROL || self.bytes > BYTES {
            return Err(SessionEnd::SlowConsumer("more waits than can be stored for now"));
        }
        Ok(())
    }
}

/// The way into a session.
#[derive(Clone, Debug)]
pub struct Inbox {
    live: Arc<Live>,
}

impl Inbox {
    pub(super) fn new(live: Arc<Live>) -> Self {
        Self { live }
    }

    /// Takes a message in. Never waits; an error says that the session is over, and why.
    pub fn push(&self, message: FromWorker) -> Result<(), SessionEnd> {
        if let Some(end) = self.live.ended() {
            return Err(end);
        }
        // Before the session gets to it: the end of the stream may be right behind.
        if matches!(message, FromWorker::Drain) {
            self.live.leaves();
        }
        if let Err(end) = self.live.waiting().push(message) {
            self.live.end(end.clone());
            return Err(end);
        }
        self.live.work.notify_one();
        Ok(())
    }

    /// The worker closed its half (`in_order`), or its connection broke.
    pub fn close(&self, in_order: bool) {
        self.live.closed(in_order);
    }

    /// Why the session ended; waits for the end.
    pub async fn ended(&self) -> SessionEnd {
        self.live.over().await
    }
}

#[cfg(test)]
mod tests {
    use super::{BYTES, CONTROL, FromWorker, LOGS, SessionEnd, Waiting};
    use crate::{
        domain::{
            attempt::{AttemptKey, Outcome},
            event::Progress,
            ids::RunId,
            instant::Instant,
            log,
            names::Scope,
            payload::Payload,
            worker::{Capacity, Phase},
        },
        flow::stream::messages::Reply,
        ports::store::Report,
    };

    fn key() -> AttemptKey {
        AttemptKey { run: RunId::from_uuid(uuid::Uuid::nil()), attempt: 1 }
    }

    fn heartbeat(sequence: i64) -> FromWorker {
        FromWorker::Heartbeat { sequence, draining: false, in_flight: Vec::new(), capacity: Capacity::new() }
    }

    #[test]
    fn a_heartbeat_replaces_only_one_that_nothing_came_after() {
        let mut waiting = Waiting::default();
        for message in
            [heartbeat(1), heartbeat(2), FromWorker::Reply(key(), Reply::Accepted(Phase::Running)), heartbeat(3)]
        {
            waiting.push(message).unwrap();
        }
        let sequences: Vec<_> = waiting
            .control
            .iter()
            .map(|message| match message {
                FromWorker::Heartbeat { sequence, .. } => *sequence,
                _ => 0,
            })
            .collect();
        assert_eq!(sequences, [2, 0, 3]);
    }

    #[test]
    fn progress_keeps_the_latest_and_logs_are_dropped_beyond_their_bound() {
        let mut waiting = Waiting::default();
        for done in 0..100 {
            let progress = Progress { fraction: f64::from(done), message: String::new(), time: Instant::EPOCH };
            waiting.push(FromWorker::Progress(key(), Phase::Running, progress)).unwrap();
            let batch = log::Batch { key: key(), first_offset: 0, lines: Vec::new(), dropped: 0 };
            waiting.push(FromWorker::Logs(batch)).unwrap();
        }
        assert!((waiting.progress[&key()].1.fraction - 99.0).abs() < f64::EPSILON);
        assert_eq!(waiting.logs.len(), LOGS);
    }

    #[test]
    fn a_flood_ends_the_session() {
        let mut waiting = Waiting::default();
        let reply = || FromWorker::Reply(key(), Reply::Accepted(Phase::Running));
        assert!((0..CONTROL).all(|_| waiting.push(reply()).is_ok()));
        assert!(matches!(waiting.push(reply()), Err(SessionEnd::SlowConsumer(_))));
    }

    #[test]
    fn what_waits_is_bounded_by_bytes_too() {
        let mut waiting = Waiting::default();
        let mut result = || {
            let output = Some(Payload { content_type: String::new(), data: vec![0; BYTES / 8] });
            let scope = Scope::default();
            let report =
                Report { scope, key: key(), outcome: Outcome::Succeeded, output, start_time: None, log_lines: None };
            waiting.push(FromWorker::Result(Box::new(report))).map(|()| waiting.bytes)
        };
        assert!((0..8).all(|_| result().is_ok()));
        assert!(matches!(result(), Err(SessionEnd::SlowConsumer(_))));
        while waiting.next(|_| true).is_some() {}
        assert_eq!(waiting.bytes, 0);
    }
}
