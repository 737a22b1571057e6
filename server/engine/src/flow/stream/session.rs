//! One session: carries out what [`super::held`] decides.
//!
//! The session's task takes what waits in the inbox, asks the store without waiting in line for the answers (they come
//! back as they are ready), and sends what is to be said. Steps that must not get lost are repeated until the store has
//! taken them or the session is over; what is lost with a session is found by the worker's next Hello or by the reaper.

use std::{
    collections::BTreeSet,
    future::Future,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::stream::{FuturesUnordered, StreamExt};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::{
    Hub,
    held::{Held, Replied},
    inbox::Waiting,
    messages::{Disposition, FromWorker, Reply, SessionEnd, ToWorker},
};
use crate::{
    domain::{
        attempt::{AttemptKey, Outcome},
        ids::RunId,
        instant::Instant,
        log,
        names::{Lane, Scope},
        payload::{Failure, RetryHint},
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

/// A session that is open.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) owner: Owner,
    pub(super) scope: Scope,
    pub(super) name: String,
    pub(super) lanes: BTreeSet<Lane>,
    pub(super) work: Notify,
    held: Mutex<Held>,
    waiting: Mutex<Waiting>,
    outgoing: Mutex<Option<mpsc::Sender<ToWorker>>>,
    end: OnceLock<SessionEnd>,
    over: CancellationToken,
    /// The worker said that it will leave.
    leaving: AtomicBool,
}

impl Live {
    pub(super) fn new(
        owner: Owner,
        scope: Scope,
        name: String,
        lanes: BTreeSet<Lane>,
        held: Held,
        outgoing: mpsc::Sender<ToWorker>,
    ) -> Self {
        Self {
            owner,
            scope,
            name,
            lanes,
            work: Notify::new(),
            held: Mutex::new(held),
            waiting: Mutex::default(),
            outgoing: Mutex::new(Some(outgoing)),
            end: OnceLock::new(),
            over: CancellationToken::new(),
            leaving: AtomicBool::new(false),
        }
    }

    pub(super) fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock()
    }

    pub(super) fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock()
    }

    /// Says something to the worker. One that does not read loses its session, never the server its memory.
    pub(super) fn send(&self, message: ToWorker) {
        let sent = self.outgoing.lock().as_ref().map(|outgoing| outgoing.try_send(message));
        if let Some(Err(mpsc::error::TrySendError::Full(_))) = sent {
            self.end(SessionEnd::SlowConsumer("it does not read what it is sent"));
        }
    }

    /// The session is over; the first reason stays.
    pub(super) fn end(&self, end: SessionEnd) {
        if self.end.set(end).is_ok() {
            self.outgoing.lock().take();
            self.over.cancel();
        }
    }

    pub(super) fn ended(&self) -> Option<SessionEnd> {
        self.end.get().cloned()
    }

    pub(super) async fn over(&self) -> SessionEnd {
        self.over.cancelled().await;
        self.ended().unwrap_or(SessionEnd::Closed)
    }

    /// Returns once the session is over.
    pub(super) async fn settled(&self) {
        self.over.cancelled().await;
    }

    /// One half of the stream is gone: the worker closed its own, or the connection broke.
    pub(super) fn closed(&self, in_order: bool) {
        let left = in_order && self.leaving.load(Ordering::Acquire) && self.held().is_empty();
        self.end(if left { SessionEnd::Left } else { SessionEnd::Closed });
    }

    pub(super) fn tell(&self, key: AttemptKey, tell: Tell, reason: String, default_grace: Duration) {
        match tell {
            Tell::Stop(attempt) => {
                let key = AttemptKey { attempt, ..key };
                let stop = self.held().stop(key, reason, default_grace);
                if let Some(stop) = stop {
                    self.send(ToWorker::Cancel(key, stop));
                }
            }
            Tell::Revoke(attempt) => {
                let key = AttemptKey { attempt, ..key };
                let why = AbandonReason::AlreadyTerminal;
                let known = self.held().revoke(key, why);
                if known {
                    self.send(ToWorker::Revoke(key, why));
                }
            }
        }
    }
}

/// What an answer of the store was to.
enum Answer {
    Reported(Vec<(AttemptKey, ReportAnswer)>),
    Refused(AttemptKey),
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
        Task { core: hub.0.core.clone(), hub: hub.clone(), live: live.clone(), asked: Asked::new(), next_beat: None }
            .run()
            .await;
        hub.remove(&live);
        let status = match live.ended() {
            Some(SessionEnd::Left) => WorkerStatus::Gone,
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
                () = live.over.cancelled() => return,
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
                FromWorker::Unreadable { key, bytes, limit } => self.refuse(key, bytes, limit),
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

    fn report(&self, reports: Vec<Report>) {
        let (core, outcome) = (self.core.clone(), self.hub.0.outcome.clone());
        self.asked.push(Box::pin(async move {
            let keys: Vec<_> = reports.iter().map(|report| report.key).collect();
            let answers = until_taken(&core, || outcome.report_many(reports.clone())).await;
            Answer::Reported(keys.into_iter().zip(answers).collect())
        }));
    }

    /// Ends a run whose dispatch its worker cannot read: it would end the worker's stream, and the next one's, and so on.
    fn refuse(&self, key: AttemptKey, bytes: usize, limit: usize) {
        let why = format!("a dispatch of {bytes} bytes cannot be sent to a worker that reads {limit}");
        tracing::info!(attempt = %key, worker = %self.live.owner.worker, "{why}");
        let failure = Failure {
            hint: Some(RetryHint { retry: Some(false), delay: None }),
            ..Failure::of_platform("PAYLOAD_TOO_LARGE", why)
        };
        let report = Report {
            scope: self.live.scope.clone(),
            key,
            outcome: Outcome::Failed(failure),
            output: None,
            start_time: None,
            log_lines: Some(0),
        };
        self.live.held().reporting(key);
        self.slots_changed();
        let (core, outcome) = (self.core.clone(), self.hub.0.outcome.clone());
        self.asked.push(Box::pin(async move {
            until_taken(&core, || outcome.report_many(vec![report.clone()])).await;
            Answer::Refused(key)
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
            Answer::Reported(answers) => {
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
            // The worker never heard of it.
            Answer::Refused(key) => self.live.held().acked(key),
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

/// Whether the worker had this attempt, for lines that come after its end, or after the next one began elsewhere.
async fn was_here(core: &Core, live: &Live, key: AttemptKey) -> bool {
    match core.store.attempts(&live.scope, key.run).await {
        Ok(attempts) => attempts
            .iter()
            .flatten()
            .any(|attempt| attempt.attempt == key.attempt && attempt.worker == Some(live.owner.worker)),
        Err(_) => false,
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
            match core.store.stops(&owners).await {
                Ok(stops) => {
                    for (owner, key, reason) in stops {
                        hub.tell(owner.worker, key, Tell::Stop(key.attempt), reason);
                    }
                }
                Err(error) => tracing::debug!(%error, "stops cannot be looked for now"),
            }
        }
    });
}

#[cfg(test)]
mod tests;
