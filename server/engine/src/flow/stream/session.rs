//! One session: carries out what [`super::held`] decides.
//!
//! The session's task takes what waits in the inbox, asks the store without waiting in line for the answers (they come
//! back as they are ready), and sends what is to be said. Steps that must not get lost are repeated until the store has
//! taken them or the session is over; what is lost with a session is found by the worker's next Hello or by the reaper.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures::stream::{FuturesUnordered, StreamExt};

use super::{
    Hub,
    held::Replied,
    live::Live,
    messages::{Disposition, FromWorker, Reply, SessionEnd, ToWorker},
};
use crate::{
    domain::{
        attempt::AttemptKey,
        ids::RunId,
        instant::Instant,
        log,
        transition::{Event, Tell},
        worker::{AbandonReason, Held as Listed, WorkerStatus},
    },
    flow::Core,
    ports::store::{Apply, Owner, Renewal, RenewalAnswer, Report, ReportAnswer, StoreError, StoreResult, Verdict},
};

/// Between two tries while the store is away.
const PAUSE: Duration = Duration::from_millis(250);
/// Attempts to be stopped are looked for at least so often.
const STOPS: Duration = Duration::from_secs(5);
/// Results that may wait for their commit. A worker holds at most 5,000 attempts, and sends a result again only on
/// another stream.
const RESULTS: usize = 20_000;

/// What an answer of the store was to.
enum Answer {
    /// So many results, and what became of them.
    Reported(usize, Vec<(AttemptKey, ReportAnswer)>),
    Renewed(Beat, RenewalAnswer, Option<Vec<(AttemptKey, Verdict)>>),
    NotRenewed,
    Applied,
    Logged(Vec<(AttemptKey, u64)>),
}

/// A heartbeat whose renewal is under way.
struct Beat {
    sequence: i64,
    listed: Vec<Listed>,
    unknown: Vec<AttemptKey>,
    expire_time: Instant,
}

type Asked = FuturesUnordered<Pin<Box<dyn Future<Output = Answer> + Send>>>;

/// Starts the session's task.
pub(super) fn start(hub: &Hub, live: Arc<Live>) {
    let tasks = &hub.0.core.tasks;
    let hub = hub.clone();
    tasks.spawn("session", async move {
        let (core, asked) = (hub.0.core.clone(), Asked::new());
        Task { core, hub: hub.clone(), live: live.clone(), asked, next_beat: None, reporting: 0 }.run().await;
        hub.remove(&live);
        let status = match live.ended() {
            Some(SessionEnd::Left) if live.leaving.load(Ordering::Acquire) => WorkerStatus::Gone,
            _ => WorkerStatus::Disconnected,
        };
        let core = &hub.0.core;
        if let Err(error) = core.store.set_status(core.now(), live.owner, status).await {
            tracing::debug!(%error, "a worker's end could not be noted; its lease will tell");
        }
        core.news.worker(core.now(), &live.scope, live.owner.worker, &live.name, status);
        tracing::info!(worker = %live.owner.worker, end = ?live.ended(), "worker session over");
    });
}

struct Task {
    core: Arc<Core>,
    hub: Hub,
    live: Arc<Live>,
    asked: Asked,
    /// The newest heartbeat while the one before is being renewed.
    next_beat: Option<Beat>,
    /// Results whose commit is awaited.
    reporting: usize,
}

impl Task {
    async fn run(mut self) {
        let live = self.live.clone();
        let rules = self.core.rules;
        let mut timer = self.core.clock.timer("session");
        let mut renewing = false;
        let mut logging = false;
        loop {
            self.take_in(&mut renewing, &mut logging);
            let now = self.core.now();
            let silent_from = live.held().silent_from(rules.silence_timeout);
            if silent_from <= now {
                live.end(SessionEnd::Silent(rules.silence_timeout));
            }
            self.by_time(now);
            let look = live.held().next_look(rules.reply_timeout);
            let until = look.map_or(silent_from, |look| look.min(silent_from));
            tokio::select! {
                biased;
                () = live.settled() => return,
                Some(answer) = self.asked.next(), if !self.asked.is_empty() => {
                    self.answered(answer, &mut renewing, &mut logging);
                }
                () = live.work.notified() => {}
                () = timer.sleep_until(until) => {}
            }
        }
    }

    /// Takes what the worker said.
    fn take_in(&mut self, renewing: &mut bool, logging: &mut bool) {
        let (control, progress, logs) = {
            let mut waiting = self.live.waiting();
            let logs = if *logging { Default::default() } else { std::mem::take(&mut waiting.logs) };
            (std::mem::take(&mut waiting.control), std::mem::take(&mut waiting.progress), logs)
        };
        let now = self.core.now();
        if !(control.is_empty() && progress.is_empty() && logs.is_empty()) {
            self.live.held().hear(now);
        }
        let mut reports = Vec::new();
        for message in control {
            match message {
                FromWorker::Heartbeat { sequence, draining, in_flight, capacity } => {
                    self.heartbeat(now, sequence, draining, in_flight, capacity, renewing);
                }
                FromWorker::Capacity(capacity) => {
                    self.live.held().state_capacity(capacity);
                    self.slots_changed();
                }
                FromWorker::Reply(key, reply) => self.reply(now, key, reply),
                FromWorker::Result(report) => {
                    self.live.held().reporting(report.key);
                    reports.push(*report);
                }
                FromWorker::Drain(_) => {
                    self.live.leaving.store(true, Ordering::Release);
                    self.live.held().take_no_more();
                }
                // What a worker does about a stop shows in its heartbeats and in its result, which may be on the way.
                // Progress and logs wait elsewhere.
                FromWorker::CancelReply(..) | FromWorker::Progress(..) | FromWorker::Logs(_) => {}
            }
        }
        if !reports.is_empty() {
            self.slots_changed();
            self.report(reports);
        }
        for (key, (phase, progress)) in progress {
            let known = self.live.held().tell_progress(key, phase, progress.clone(), now);
            if known {
                self.core.news.progress(now, &self.live.scope, key, progress);
            }
        }
        if !logs.is_empty() {
            *logging = true;
            self.log(logs.into());
        }
    }

    fn heartbeat(
        &mut self,
        now: Instant,
        sequence: i64,
        draining: bool,
        listed: Vec<Listed>,
        capacity: crate::domain::worker::Capacity,
        renewing: &mut bool,
    ) {
        let reading = {
            let mut held = self.live.held();
            held.state_capacity(capacity);
            if draining {
                held.take_no_more();
            }
            held.heartbeat(sequence, &listed, now)
        };
        self.slots_changed();
        for key in &reading.absent {
            self.live.send(ToWorker::Revoke(*key, AbandonReason::UnknownAttempt));
        }
        let owner = Some(self.live.owner);
        self.apply(reading.absent.into_iter().map(|key| (key.run, Event::Absent { attempt: key.attempt }, owner)));
        let expire_time = now.plus(self.core.rules.lease_ttl);
        let mut beat = Beat { sequence, listed, unknown: reading.unknown, expire_time };
        if *renewing {
            // The newer one stands for both; what only the older one listed is gone by now.
            if let Some(older) = self.next_beat.take() {
                let still = |key: &AttemptKey| beat.listed.iter().any(|held| held.key == *key);
                let more: Vec<_> = older.unknown.into_iter().filter(still).collect();
                beat.unknown.extend(more);
            }
            self.next_beat = Some(beat);
        } else {
            *renewing = true;
            self.renew(beat);
        }
    }

    fn reply(&mut self, now: Instant, key: AttemptKey, reply: Reply) {
        let replied = self.live.held().reply(key, reply, now);
        match replied {
            Replied::Noted => {}
            Replied::Rejected(lane) => {
                if let Reply::Rejected(reason, delay) = reply {
                    tracing::debug!(attempt = %key, ?reason, "handed back");
                    if let Some(delay) = delay {
                        self.core.news.board.hold_off(&lane, key.run, now.plus(delay));
                    }
                }
                self.apply([(key.run, Event::Rejected { attempt: key.attempt }, None)]);
                self.slots_changed();
            }
            Replied::Unknown => {
                if let Reply::Accepted(_) = reply {
                    self.live.send(ToWorker::Revoke(key, AbandonReason::UnknownAttempt));
                }
            }
        }
    }

    /// What follows from time alone.
    fn by_time(&mut self, now: Instant) {
        let (silent, starts) = {
            let mut held = self.live.held();
            (held.silent(now, self.core.rules.reply_timeout), held.starts(now))
        };
        for key in &silent {
            tracing::info!(attempt = %key, worker = %self.live.owner.worker, "dispatch was not answered; taken back");
            self.live.send(ToWorker::Revoke(*key, AbandonReason::Returned));
        }
        let owner = Some(self.live.owner);
        let silent = silent.into_iter().map(|key| (key.run, Event::Silent { attempt: key.attempt }, owner));
        let starts = starts
            .into_iter()
            .map(|(key, start_time)| (key.run, Event::Start { attempt: key.attempt, start_time }, None));
        self.apply(silent.chain(starts));
    }

    fn slots_changed(&self) {
        self.hub.0.slots.notify_one();
        self.core.news.board.demand_changed();
    }

    fn report(&mut self, reports: Vec<Report>) {
        self.reporting += reports.len();
        if self.reporting > RESULTS {
            self.live.end(SessionEnd::SlowConsumer("too many of its results wait for the database"));
            return;
        }
        let (core, outcome) = (self.core.clone(), self.hub.0.outcome.clone());
        self.asked.push(Box::pin(async move {
            let keys: Vec<_> = reports.iter().map(|report| report.key).collect();
            let answers = until_taken(&core, || outcome.report_many(reports.clone())).await;
            Answer::Reported(keys.len(), keys.into_iter().zip(answers).collect())
        }));
    }

    fn apply(&self, steps: impl IntoIterator<Item = (RunId, Event, Option<Owner>)>) {
        let steps: Vec<_> =
            steps.into_iter().map(|(run, event, owner)| Apply { run, event, owner, scope: None }).collect();
        if steps.is_empty() {
            return;
        }
        let (core, outcome) = (self.core.clone(), self.hub.0.outcome.clone());
        self.asked.push(Box::pin(async move {
            until_taken(&core, || outcome.apply(steps.clone())).await;
            Answer::Applied
        }));
    }

    fn renew(&self, beat: Beat) {
        let (core, renewals, owner) = (self.core.clone(), self.hub.0.renewals.clone(), self.live.owner);
        self.asked.push(Box::pin(async move {
            let answer = match renewals.one(Renewal { owner, expire_time: beat.expire_time }).await {
                Ok(answer) => answer,
                Err(error) => {
                    tracing::debug!(%error, "a heartbeat could not be recorded; the next one will be");
                    return Answer::NotRenewed;
                }
            };
            let compare = match answer {
                RenewalAnswer::Renewed => beat.unknown.clone(),
                RenewalAnswer::Lapsed => beat.listed.iter().map(|held| held.key).collect(),
                RenewalAnswer::Superseded => Vec::new(),
            };
            if compare.is_empty() {
                return Answer::Renewed(beat, answer, Some(Vec::new()));
            }
            match core.store.reconcile(core.now(), owner, compare).await {
                Ok(Some((verdicts, moved))) => {
                    core.news.moved(core.now(), &moved);
                    Answer::Renewed(beat, answer, Some(verdicts))
                }
                Ok(None) => Answer::Renewed(beat, answer, None),
                Err(_) => Answer::NotRenewed,
            }
        }));
    }

    fn log(&self, batches: Vec<log::Batch>) {
        let (core, logs, live) = (self.core.clone(), self.hub.0.logs.clone(), self.live.clone());
        self.asked.push(Box::pin(async move {
            let mut own = Vec::with_capacity(batches.len());
            for batch in batches {
                if live.held().knows(batch.key) || was_here(&core, &live, batch.key).await {
                    own.push(batch);
                } else {
                    live.send(ToWorker::Notice {
                        reason: "LEASE_NOT_OWNED",
                        message: "log lines of an attempt that this worker never had are not stored".into(),
                        attempt: Some(batch.key),
                    });
                }
            }
            let keys: Vec<_> = own.iter().map(|batch| batch.key).collect();
            let ends = until_taken(&core, || logs.append(&live.scope, own.clone())).await;
            Answer::Logged(keys.into_iter().zip(ends).collect())
        }));
    }

    /// What the store said.
    fn answered(&mut self, answer: Answer, renewing: &mut bool, logging: &mut bool) {
        match answer {
            Answer::Reported(count, answers) => {
                self.reporting -= count;
                for (key, answer) in answers {
                    let disposition = match answer {
                        ReportAnswer::Applied(_) => Disposition::Applied,
                        ReportAnswer::Duplicate => Disposition::Duplicate,
                        ReportAnswer::Fenced => Disposition::Fenced,
                    };
                    self.live.held().acked(key);
                    self.live.send(ToWorker::ResultAck(key, disposition));
                }
            }
            Answer::Renewed(_, RenewalAnswer::Superseded, _) | Answer::Renewed(_, _, None) => {
                self.live.end(SessionEnd::Superseded);
            }
            Answer::Renewed(beat, _, Some(verdicts)) => {
                let directives = {
                    let mut held = self.live.held();
                    let mut directives: Vec<_> = verdicts
                        .into_iter()
                        .filter_map(|(key, verdict)| held.judge(key, verdict, self.core.rules.stop_grace))
                        .collect();
                    let repeated = held.directives(&beat.listed);
                    directives.extend(repeated.into_iter().filter(|one| !directives.contains(one)).collect::<Vec<_>>());
                    directives
                };
                let lease_ttl = self.core.rules.lease_ttl;
                self.live.send(ToWorker::HeartbeatAck { sequence: beat.sequence, lease_ttl, directives });
                self.renew_next(renewing);
            }
            Answer::NotRenewed => self.renew_next(renewing),
            Answer::Applied => {}
            Answer::Logged(ends) => {
                *logging = false;
                for (key, end) in ends {
                    self.live.send(ToWorker::LogAck(key, end));
                }
            }
        }
    }

    fn renew_next(&mut self, renewing: &mut bool) {
        match self.next_beat.take() {
            Some(beat) => self.renew(beat),
            None => *renewing = false,
        }
    }
}

/// Whether the worker had this attempt, for lines that come after its end.
async fn was_here(core: &Core, live: &Live, key: AttemptKey) -> bool {
    match core.store.run(&live.scope, key.run).await {
        Ok(Some(run)) => run.life.worker == Some(live.owner.worker) && run.life.attempt == key.attempt,
        Ok(None) | Err(_) => false,
    }
}

/// Repeats a step until the store has taken it. Dropped with the session.
async fn until_taken<T, F>(core: &Core, step: impl Fn() -> F) -> Vec<T>
where
    F: Future<Output = StoreResult<Vec<T>>>,
{
    let mut timer = core.clock.timer("retry");
    loop {
        match step().await {
            Ok(answers) => return answers,
            Err(error @ StoreError::Corrupt(_)) => {
                tracing::error!(%error, "a step of a session was given up");
                return Vec::new();
            }
            Err(error) => tracing::debug!(%error, "a step of a session is repeated"),
        }
        timer.sleep_until(core.now().plus(PAUSE)).await;
    }
}

/// Looks in the store for attempts of this server's sessions that somebody wants stopped: what makes a lost hint harmless.
pub(super) fn poll_stops(hub: &Hub) {
    let hub = hub.clone();
    let core = hub.0.core.clone();
    core.tasks.clone().spawn("stops", async move {
        let mut timer = core.clock.timer("stops");
        let every = core.rules.heartbeat_interval.min(STOPS);
        loop {
            tokio::select! {
                () = timer.sleep_until(core.now().plus(every)) => {}
                () = hub.0.stops.notified() => {}
                () = core.tasks.stopping() => return,
            }
            let sessions: Vec<_> = hub.0.sessions.lock().by_worker.values().cloned().collect();
            let owners: Vec<_> =
                sessions.iter().filter(|live| !live.held().is_empty()).map(|live| live.owner).collect();
            if owners.is_empty() {
                continue;
            }
            match core.store.stops(core.now(), &owners).await {
                Ok(stops) => {
                    for (owner, key, reason) in stops {
                        hub.tell(owner.worker, key.run, Tell::Stop(key.attempt, reason));
                    }
                }
                Err(error) => tracing::debug!(%error, "stops cannot be looked for now"),
            }
        }
    });
}
