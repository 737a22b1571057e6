//! The evidence put in order: what happened to each attempt, each request, and what was broken when.

use std::collections::{BTreeMap, BTreeSet};

use crate::evidence::{Disposition, Event, Evidence, Outcome, Target};

/// A run and the number of an attempt.
pub(crate) type Key = (String, i64);

/// One call of user code.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    pub(crate) t: u64,
    pub(crate) worker: String,
    pub(crate) attempt: i64,
}

/// The answer to a result.
#[derive(Clone, Debug)]
pub(crate) struct Ack {
    pub(crate) t: u64,
    pub(crate) disposition: Disposition,
}

/// What the client knows of one request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    /// The runs it was answered with; one, unless something is wrong.
    pub(crate) runs: BTreeSet<String>,
    pub(crate) max_attempts: i64,
    pub(crate) max_losses: i64,
}

/// Something that was broken, and when it served again.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) t: u64,
    pub(crate) kind: String,
    pub(crate) target: Target,
    pub(crate) worker: Option<String>,
}

/// The moment nothing was broken any more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Healed {
    pub(crate) wall: i64,
    pub(crate) allowed_ms: u64,
}

/// A worker process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Process {
    pub(crate) slots: usize,
}

/// A job the test made.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) uid: String,
    pub(crate) name: String,
    pub(crate) rule: String,
}

#[derive(Debug, Default)]
pub(crate) struct Trail {
    pub(crate) files: usize,
    pub(crate) lease_ms: u64,
    pub(crate) redispatch_grace_ms: u64,
    /// By run, each in order of time.
    pub(crate) starts: BTreeMap<String, Vec<Start>>,
    pub(crate) ends: BTreeMap<Key, (u64, Outcome)>,
    pub(crate) acks: BTreeMap<Key, Vec<Ack>>,
    pub(crate) workers: BTreeMap<String, Process>,
    pub(crate) jobs: Vec<Job>,
    pub(crate) requests: BTreeMap<String, Request>,
    pub(crate) sent: u64,
    pub(crate) acked: u64,
    pub(crate) unknown: u64,
    pub(crate) refused: u64,
    pub(crate) faults: Vec<Fault>,
    /// When the server served again, in order.
    pub(crate) server_back: Vec<u64>,
    pub(crate) sessions: u64,
    pub(crate) healed: Option<Healed>,
}

impl Trail {
    pub(crate) fn of(evidence: Evidence) -> Self {
        let mut trail = Self { files: evidence.files, ..Self::default() };
        for event in evidence.events {
            trail.add(event);
        }
        trail.starts.values_mut().for_each(|starts| starts.sort_by_key(|start| start.t));
        trail.faults.sort_by_key(|fault| fault.t);
        trail.server_back.sort_unstable();
        trail
    }

    fn add(&mut self, event: Event) {
        match event {
            Event::Setup { lease_ms, redispatch_grace_ms } => {
                (self.lease_ms, self.redispatch_grace_ms) = (lease_ms, redispatch_grace_ms);
            }
            Event::Up { worker, slots } => {
                self.workers.insert(worker, Process { slots });
            }
            Event::Start { t, worker, run, attempt } => {
                self.starts.entry(run).or_default().push(Start { t, worker, attempt });
            }
            Event::End { t, run, attempt, outcome } => {
                self.ends.insert((run, attempt), (t, outcome));
            }
            Event::Ack { t, run, attempt, disposition } => {
                self.acks.entry((run, attempt)).or_default().push(Ack { t, disposition });
            }
            Event::Job { uid, job, rule } => self.jobs.push(Job { uid, name: job, rule }),
            Event::Sent { request, max_attempts, max_losses } => {
                self.sent += 1;
                let entry = self.requests.entry(request).or_default();
                (entry.max_attempts, entry.max_losses) = (max_attempts, max_losses);
            }
            Event::Acked { request, run } => {
                self.acked += 1;
                self.requests.entry(request).or_default().runs.insert(run);
            }
            Event::Unknown {} => self.unknown += 1,
            Event::Refused {} => self.refused += 1,
            Event::Fault { t, kind, target, worker } => self.faults.push(Fault { t, kind, target, worker }),
            Event::Back { t, target } => {
                if target == Target::Server {
                    self.server_back.push(t);
                }
            }
            Event::Healed { wall, allowed_ms } => self.healed = Some(Healed { wall, allowed_ms }),
            Event::Session { up } => self.sessions += u64::from(up),
        }
    }

    /// All starts, with their runs.
    pub(crate) fn all_starts(&self) -> impl Iterator<Item = (&String, &Start)> {
        self.starts.iter().flat_map(|(run, starts)| starts.iter().map(move |start| (run, start)))
    }

    /// When the worker read that this attempt's result counted.
    pub(crate) fn applied(&self, run: &str, attempt: i64) -> Option<u64> {
        let acks = self.acks.get(&(run.to_owned(), attempt))?;
        let counted = |ack: &&Ack| matches!(ack.disposition, Disposition::Applied | Disposition::Duplicate);
        acks.iter().filter(counted).map(|ack| ack.t).min()
    }
}
