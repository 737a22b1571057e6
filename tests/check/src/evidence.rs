//! What the processes of a test wrote down while it ran: JSON lines, one event a line, one file per process.
//!
//! All `t` are nanoseconds of one host's `CLOCK_MONOTONIC`, so that events of different processes can be compared; `wall`
//! is microseconds since the epoch, as in the database. The writers are the test worker (`worker-*.jsonl`), the load
//! client (`client.jsonl`) and the nemesis (`nemesis.jsonl`); the reader takes every `*.jsonl` of a folder. Lines may hold
//! more than is read here, for whoever looks into a failure.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

/// How user code ended, in the words of the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Outcome {
    Succeeded,
    Failed,
    Cancelled,
    Interrupted,
    Discarded,
}

/// What the server made of a result, as the worker read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Disposition {
    Applied,
    Duplicate,
    Fenced,
    Invalid,
}

/// How a run stands, in the words of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum RunState {
    Scheduled,
    Queued,
    Leased,
    Running,
    RetryWait,
    Succeeded,
    Failed,
    Cancelled,
    TimedOut,
}

/// What a fault hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Target {
    Server,
    Worker,
    /// The connection of a worker.
    Stream,
}

/// One line.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "e", rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Event {
    /// The times the test lives by.
    Setup { lease_ms: u64, redispatch_grace_ms: u64 },
    /// A worker process began.
    Up { worker: String, slots: usize },
    /// User code is about to be called.
    Start { t: u64, worker: String, run: String, attempt: i64 },
    /// User code was told to stop, by whomever.
    Told { t: u64, run: String, attempt: i64 },
    /// User code has returned, after it wrote so many lines to the log of its attempt.
    End { t: u64, run: String, attempt: i64, outcome: Outcome, lines: u64 },
    /// The worker has read the server's answer to a result.
    Ack { t: u64, run: String, attempt: i64, disposition: Disposition },
    /// A job was made; `rule` is its one time rule.
    Job { uid: String, job: String, rule: String },
    /// A submission is about to be sent. Sent again after an unknown result, it is here again.
    Sent { request: String, max_attempts: i64, max_losses: i64 },
    /// The server answered a submission with this run.
    Acked { request: String, run: String },
    /// Nobody knows what became of a submission: legal either way, but never twice.
    Unknown {},
    /// The server refused a submission.
    Refused {},
    /// A run is about to be cancelled. Asked again after an unknown result, it is here again.
    Cancel { t: u64, run: String },
    /// The server answered a cancellation with the state of the run.
    Cancelled { t: u64, run: String, state: RunState },
    /// Something was broken.
    Fault { t: u64, kind: String, target: Target, worker: Option<String> },
    /// What was broken serves again: the server's successor answers, the stream or the worker that stood still goes on.
    Back { t: u64, target: Target, worker: Option<String> },
    /// Nothing is broken any more, and no new load comes. What is not over `allowed_ms` later is stuck. `t` and `wall` are
    /// the same moment, so that times of the database can be compared with those of the evidence.
    Healed { t: u64, wall: i64, allowed_ms: u64 },
    /// A worker's stream opened or ended.
    Session { t: u64, worker: String, up: bool },
}

/// Everything that was written, in no particular order across files.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    pub(crate) files: usize,
    pub(crate) events: Vec<Event>,
}

impl Evidence {
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let mut evidence = Self::default();
        let entries = fs::read_dir(folder).with_context(|| format!("evidence folder {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "jsonl") {
                evidence.files += 1;
                evidence.add(&path)?;
            }
        }
        Ok(evidence)
    }

    fn add(&mut self, path: &Path) -> Result<()> {
        let bytes = fs::read(path).with_context(|| format!("evidence file {}", path.display()))?;
        let mut lines = bytes.split(|byte| *byte == b'\n').enumerate().peekable();
        while let Some((number, line)) = lines.next() {
            // What follows the last line end is empty, or was cut off by the death of its writer.
            if lines.peek().is_none() {
                break;
            }
            match serde_json::from_slice(line) {
                Ok(event) => self.events.push(event),
                Err(error) => bail!("{}:{}: {error}", path.display(), number + 1),
            }
        }
        Ok(())
    }
}
