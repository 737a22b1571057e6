//! What a session asks of the store, and what follows from the answers, which come as they are ready.

use std::{future::Future, pin::Pin};

use futures::stream::FuturesUnordered;

use super::{Live, Task};
use crate::{
    domain::{
        attempt::AttemptKey,
        ids::RunId,
        instant::Instant,
        log,
        transition::Event,
        worker::{Capacity, Drain, Held as Listed, WorkerStatus},
    },
    flow::{
        Core,
        stream::messages::{Disposition, Remark, SessionEnd, ToWorker},
    },
    ports::store::{
        Apply, Owner, Page, Renewal, RenewalAnswer, Report, ReportAnswer, StoreError, StoreResult, Verdict,
    },
};

/// What an answer of the store was to.
pub(super) enum Answer {
    Reported(Vec<(AttemptKey, StoreResult<ReportAnswer>)>),
    Renewed(Box<Renewed>),
    NotRenewed,
    Superseded,
    Applied,
    Logged(Vec<(AttemptKey, u64)>),
}

/// A heartbeat that was recorded, and what it listed compared as far as that was needed.
pub(super) struct Renewed {
    beat: Beat,
    drain: Option<Drain>,
    /// What was recorded with it.
    capacity: Option<Capacity>,
    verdicts: Vec<(AttemptKey, Verdict)>,
    /// Everything that was listed has been compared, after so many doubts.
    settled: Option<u64>,
}

/// A heartbeat whose renewal is under way.
pub(super) struct Beat {
    pub(super) sequence: i64,
    pub(super) listed: Vec<Listed>,
    pub(super) unknown: Vec<AttemptKey>,
    pub(super) expire_time: Instant,
}

pub(super) type Asked = FuturesUnordered<Pin<Box<dyn Future<Output = Answer> + Send>>>;

impl Task {
    pub(super) fn report(&self, reports: Vec<Report>) {
        let (core, outcome) = (self.core.clone(), self.hub.0.outcome.clone());
        self.asked.push(Box::pin(async move {
            let keys: Vec<_> = reports.iter().map(|report| report.key).collect();
            let answers = outcome.reports().insist(&core, reports).await;
            Answer::Reported(keys.into_iter().zip(answers).collect())
        }));
    }

    pub(super) fn apply(&self, steps: impl IntoIterator<Item = (RunId, Event, Option<Owner>)>) {
        let steps: Vec<_> =
            steps.into_iter().map(|(run, event, owner)| Apply { run, event, owner, scope: None }).collect();
        if steps.is_empty() {
            return;
        }
        let (core, outcome) = (self.core.clone(), self.hub.0.outcome.clone());
        self.asked.push(Box::pin(async move {
            drop(outcome.steps().insist(&core, steps).await);
            Answer::Applied
        }));
    }

    pub(super) fn renew(&self, beat: Beat) {
        let (core, renewals, owner) = (self.core.clone(), self.hub.0.renewals.clone(), self.live.owner);
        let capacity = (self.capacity != self.recorded).then(|| self.capacity.clone());
        let draining = self.draining;
        let doubts = self.live.doubts();
        let in_doubt = doubts != self.settled;
        let live = self.live.clone();
        self.asked.push(Box::pin(async move {
            let renewal = Renewal { owner, expire_time: beat.expire_time, draining, capacity: capacity.clone() };
            let (lapsed, drain) = match renewals.one(renewal).await {
                Ok(RenewalAnswer::Alive { lapsed, drain }) => (lapsed, drain),
                Ok(RenewalAnswer::Superseded) => return Answer::Superseded,
                Err(error) => {
                    tracing::debug!(%error, "a heartbeat could not be recorded; the next one will be");
                    return Answer::NotRenewed;
                }
            };
            if lapsed {
                // Watchers were told that it is lost.
                let drains = draining || drain.is_some();
                let status = if drains { WorkerStatus::Draining } else { WorkerStatus::Connected };
                core.news.worker(core.now(), &live.scope, owner.worker, &live.name, status);
            }
            let whole = lapsed || in_doubt;
            let compare: Vec<_> =
                if whole { beat.listed.iter().map(|held| held.key).collect() } else { beat.unknown.clone() };
            let settled = whole.then_some(doubts);
            if compare.is_empty() {
                return Answer::Renewed(Box::new(Renewed { beat, drain, capacity, verdicts: Vec::new(), settled }));
            }
            match core.store.reconcile(core.now(), owner, compare).await {
                Ok(Some((verdicts, moved))) => {
                    core.news.moved(core.now(), &moved);
                    Answer::Renewed(Box::new(Renewed { beat, drain, capacity, verdicts, settled }))
                }
                Ok(None) => Answer::Superseded,
                Err(error) => {
                    put_off!(error, worker = %owner.worker, "what a worker holds cannot be compared for now");
                    Answer::NotRenewed
                }
            }
        }));
    }

    pub(super) fn log(&self, batches: Vec<log::Batch>) {
        let (core, logs, live) = (self.core.clone(), self.hub.0.logs.clone(), self.live.clone());
        self.asked.push(Box::pin(async move {
            let mut own = Vec::with_capacity(batches.len());
            for batch in batches {
                let here = if live.held().knows(batch.key) { Had::Yes } else { had(&core, &live, batch.key).await };
                match here {
                    Had::Yes => own.push((live.scope.clone(), batch)),
                    Had::No => {
                        live.send(ToWorker::Notice {
                            reason: Remark::LeaseNotOwned,
                            message: "log lines of an attempt that this worker never had are not stored".into(),
                            attempt: Some(batch.key),
                        });
                    }
                    // The worker sends them again.
                    Had::Unknown => {}
                }
            }
            let keys: Vec<_> = own.iter().map(|(_, batch)| batch.key).collect();
            let ends = logs.batches().insist(&core, own).await;
            // What can never be stored is not acknowledged either.
            Answer::Logged(keys.into_iter().zip(ends).filter_map(|(key, end)| Some((key, end.ok()?))).collect())
        }));
    }

    /// What the store said.
    pub(super) fn answered(&mut self, answer: Answer, renewing: &mut bool, logging: &mut bool) {
        match answer {
            Answer::Reported(answers) => {
                let mut freed = false;
                for (key, answer) in answers {
                    self.reporting_bytes -= self.reporting.remove(&key).unwrap_or(0);
                    let disposition = match answer {
                        Ok(answer) => Disposition::from(&answer),
                        Err(StoreError::Corrupt(_)) => Disposition::Invalid,
                        // The server is stopping; the worker sends it to the next one.
                        Err(
                            StoreError::Unavailable(_)
                            | StoreError::Unwritable { .. }
                            | StoreError::Conflict(_)
                            | StoreError::TooSlow,
                        ) => continue,
                    };
                    // Said first: a server that goes away ends the session once it holds nothing.
                    self.live.send(ToWorker::ResultAck(key, disposition));
                    freed |= self.live.held().acked(key);
                }
                if freed {
                    self.slots_changed();
                }
            }
            Answer::Superseded => self.live.end(SessionEnd::Superseded),
            Answer::Renewed(renewed) => {
                self.renewed(*renewed);
                self.renew_next(renewing);
            }
            Answer::NotRenewed => {
                // The answer that did not come may have said that the leases had lapsed.
                self.live.doubt();
                self.renew_next(renewing);
            }
            Answer::Applied => {}
            Answer::Logged(ends) => {
                *logging = false;
                for (key, end) in ends {
                    self.live.send(ToWorker::LogAck(key, end));
                }
            }
        }
    }

    fn renewed(&mut self, renewed: Renewed) {
        let Renewed { beat, drain, capacity, verdicts, settled } = renewed;
        let now = self.core.now();
        if let Some(settled) = settled {
            self.settled = settled;
        }
        if let Some(capacity) = capacity {
            self.recorded = capacity;
        }
        if let Some(drain) = drain {
            self.hub.drain_session(&self.live, drain);
        }
        let directives = {
            let mut held = self.live.held();
            let mut directives: Vec<_> = verdicts
                .into_iter()
                .filter_map(|(key, verdict)| held.judge(key, verdict, self.core.rules.stop_grace, now))
                .collect();
            let repeated = held.directives(&beat.listed);
            directives.extend(repeated.into_iter().filter(|one| !directives.contains(one)).collect::<Vec<_>>());
            directives
        };
        let lease_ttl = self.core.rules.lease_ttl;
        self.live.send(ToWorker::HeartbeatAck { sequence: beat.sequence, lease_ttl, directives });
    }

    fn renew_next(&mut self, renewing: &mut bool) {
        match self.next_beat.take() {
            Some(beat) => self.renew(beat),
            None => *renewing = false,
        }
    }
}

/// Whether a worker had an attempt.
enum Had {
    Yes,
    No,
    /// The store is away.
    Unknown,
}

/// Whether the worker had this attempt, for lines that come after its end, or after the next one began elsewhere.
async fn had(core: &Core, live: &Live, key: AttemptKey) -> Had {
    match core.store.attempts(&live.scope, key.run, Page::of_attempt(key.attempt)).await {
        Ok(found) => {
            let mut attempts = found.into_iter().flat_map(|found| found.entries);
            let here = attempts.any(|had| had.attempt == key.attempt && had.worker == Some(live.owner.worker));
            if here { Had::Yes } else { Had::No }
        }
        Err(error) => {
            tracing::debug!(%error, run_id = %key.run, attempt = key.attempt, "log lines wait until it is known whose they are");
            Had::Unknown
        }
    }
}
