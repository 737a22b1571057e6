//! The evidence put in order: what happened to each attempt, each request, and what was broken when.

use std::collections::{BTreeMap, BTreeSet};

use crate::evidence::{Disposition, Event, Evidence, Outcome, RunState, Target};

/// A run and the number of an attempt.
pub(crate) type Key = (String, i64);

/// One call of user code.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    pub(crate) t: u64,
    pub(crate) worker: String,
    pub(crate) attempt: i64,
}

/// How a call of user code ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    pub(crate) t: u64,
    pub(crate) outcome: Outcome,
    /// Lines it had written.
    pub(crate) lines: u64,
}

/// What the client knows of the cancellation of one run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cancel {
    /// When it first asked.
    pub(crate) asked: Option<u64>,
    /// The first answer.
    pub(crate) answer: Option<(u64, RunState)>,
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

/// Something that was broken, and when it served again; never, where nobody says so.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) t: u64,
    pub(crate) back: u64,
    pub(crate) kind: String,
    pub(crate) target: Target,
    pub(crate) worker: Option<String>,
}

/// The moment nothing was broken any more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Healed {
    pub(crate) t: u64,
    pub(crate) wall: i64,
    pub(crate) allowed_ms: u64,
}

/// A worker process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Process {
    pub(crate) slots: usize,
    /// When its streams opened and ended, in order.
    pub(crate) sessions: Vec<(u64, bool)>,
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
    pub(crate) ends: BTreeMap<Key, End>,
    /// When user code was first told to stop.
    pub(crate) told: BTreeMap<Key, u64>,
    pub(crate) acks: BTreeMap<Key, Vec<Ack>>,
    pub(crate) workers: BTreeMap<String, Process>,
    pub(crate) jobs: Vec<Job>,
    pub(crate) requests: BTreeMap<String, Request>,
    pub(crate) sent: u64,
    pub(crate) acked: u64,
    pub(crate) unknown: u64,
    pub(crate) refused: u64,
    /// By run.
    pub(crate) cancels: BTreeMap<String, Cancel>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) sessions: u64,
    pub(crate) healed: Option<Healed>,
}

impl Trail {
    pub(crate) fn of(evidence: Evidence) -> Self {
        let mut trail = Self { files: evidence.files, ..Self::default() };
        let mut backs = Vec::new();
        for event in evidence.events {
            match event {
                Event::Back { t, target, worker } => backs.push((t, target, worker)),
                other => trail.add(other),
            }
        }
        backs.sort_by_key(|(t, ..)| *t);
        for fault in &mut trail.faults {
            let serves = |(t, target, worker): &&(u64, Target, Option<String>)| {
                *t >= fault.t && *target == fault.target && *worker == fault.worker
            };
            fault.back = backs.iter().find(serves).map_or(u64::MAX, |(t, ..)| *t);
        }
        trail.starts.values_mut().for_each(|starts| starts.sort_by_key(|start| start.t));
        trail.faults.sort_by_key(|fault| fault.t);
        trail.workers.values_mut().for_each(|worker| worker.sessions.sort_unstable());
        trail
    }

    fn add(&mut self, event: Event) {
        match event {
            Event::Setup { lease_ms, redispatch_grace_ms } => {
                (self.lease_ms, self.redispatch_grace_ms) = (lease_ms, redispatch_grace_ms);
            }
            Event::Up { worker, slots } => self.workers.entry(worker).or_default().slots = slots,
            Event::Start { t, worker, run, attempt } => {
                self.starts.entry(run).or_default().push(Start { t, worker, attempt });
            }
            Event::Told { t, run, attempt } => {
                let first = self.told.entry((run, attempt)).or_insert(t);
                *first = t.min(*first);
            }
            Event::End { t, run, attempt, outcome, lines } => {
                self.ends.insert((run, attempt), End { t, outcome, lines });
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
            Event::Cancel { t, run } => {
                let asked = &mut self.cancels.entry(run).or_default().asked;
                *asked = Some(asked.map_or(t, |first| first.min(t)));
            }
            Event::Cancelled { t, run, state } => {
                let answer = &mut self.cancels.entry(run).or_default().answer;
                if answer.is_none_or(|(first, _)| t < first) {
                    *answer = Some((t, state));
                }
            }
            Event::Fault { t, kind, target, worker } => {
                self.faults.push(Fault { t, back: u64::MAX, kind, target, worker });
            }
            Event::Back { .. } => unreachable!("put to its fault before"),
            Event::Healed { t, wall, allowed_ms } => self.healed = Some(Healed { t, wall, allowed_ms }),
            Event::Session { t, worker, up } => {
                self.sessions += u64::from(up);
                self.workers.entry(worker).or_default().sessions.push((t, up));
            }
        }
    }

    /// All starts, with their runs.
    pub(crate) fn all_starts(&self) -> impl Iterator<Item = (&String, &Start)> {
        self.starts.iter().flat_map(|(run, starts)| starts.iter().map(move |start| (run, start)))
    }

    /// Whether nothing that is said of the server or of this worker stood between them, from one moment to another: the
    /// server answered, the worker lived and went on, and one stream was open all the while.
    pub(crate) fn in_touch(&self, worker: &str, from: u64, to: u64) -> bool {
        let of_it = |fault: &&Fault| fault.target == Target::Server || fault.worker.as_deref() == Some(worker);
        let undisturbed = !self.faults.iter().filter(of_it).any(|fault| fault.t <= to && fault.back >= from);
        undisturbed
            && self.workers.get(worker).is_some_and(|process| {
                let before = process.sessions.partition_point(|(t, _)| *t <= from);
                let open = before > 0 && process.sessions[before - 1].1;
                open && process.sessions.get(before).is_none_or(|(t, _)| *t > to)
            })
    }

    /// A moment of the evidence in the time of the database, in microseconds.
    pub(crate) fn wall(&self, t: u64) -> Option<i64> {
        let Healed { t: healed, wall, .. } = self.healed?;
        let since = i64::try_from(t).ok()? - i64::try_from(healed).ok()?;
        Some(wall + since / 1_000)
    }

    /// When the worker read that this attempt's result counted.
    pub(crate) fn applied(&self, run: &str, attempt: i64) -> Option<u64> {
        let acks = self.acks.get(&(run.to_owned(), attempt))?;
        let counted = |ack: &&Ack| matches!(ack.disposition, Disposition::Applied | Disposition::Duplicate);
        acks.iter().filter(counted).map(|ack| ack.t).min()
    }
}
