//! The way in: what the reader of a stream does with a message. It never waits.
//!
//! Order matters between replies, results and heartbeats: a heartbeat that was composed before a dispatch was accepted must
//! be read before the acceptance, or the attempt would look absent. So they share one queue; a heartbeat only replaces one
//! that is last in it. Progress keeps the latest per attempt, logs have a bound of their own and are dropped beyond it,
//! which withholds their acknowledgement.

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
/// Log batches that may wait; an SDK has at most four on the way.
const LOGS: usize = 16;
/// Attempts whose progress may wait.
const PROGRESS: usize = 5_000;

/// What waits for a session's task.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub(super) control: VecDeque<FromWorker>,
    pub(super) progress: HashMap<AttemptKey, (Phase, Progress)>,
    pub(super) logs: VecDeque<log::Batch>,
}

impl Waiting {
    /// Takes a message in; an error ends the session.
    fn push(&mut self, message: FromWorker) -> Result<(), SessionEnd> {
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
                if matches!(self.control.back(), Some(FromWorker::Heartbeat { .. })) {
                    self.control.pop_back();
                }
                self.control.push_back(message);
            }
            FromWorker::Capacity(_) => {
                if matches!(self.control.back(), Some(FromWorker::Capacity(_))) {
                    self.control.pop_back();
                }
                self.control.push_back(message);
            }
            FromWorker::Reply(..)
            | FromWorker::Result(_)
            | FromWorker::CancelReply(..)
            | FromWorker::Drain(_)
            | FromWorker::Unreadable { .. } => self.control.push_back(message),
        }
        if self.control.len() > CONTROL { Err(SessionEnd::SlowConsumer("too many messages wait")) } else { Ok(()) }
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
    use super::{CONTROL, FromWorker, LOGS, SessionEnd, Waiting};
    use crate::{
        domain::{
            attempt::AttemptKey,
            event::Progress,
            ids::RunId,
            instant::Instant,
            log,
            worker::{Capacity, Phase},
        },
        flow::stream::messages::Reply,
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
}
