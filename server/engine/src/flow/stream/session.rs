//! One session: carries out what [`super::held`] decides.
//!
//! The session's task takes what waits in the inbox, asks the store without waiting in line for the answers (they come
//! back as they are ready), and sends what is to be said. Steps that must not get lost are repeated until the store has
//! taken them or the session is over; what is lost with a session is found by the worker's next Hello or by the reaper.
//!
//! What the session believes may be wrong in three cases: its leases were judged over, an answer of the store got lost, or
//! hints did. Then it is in doubt, and compares all that the worker lists with the rows, until that has worked once.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    future::Future,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
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
    messages::{Disposition, DrainMode, FromWorker, Remark, Reply, SessionEnd, ToWorker},
};
use crate::{
    domain::{
        attempt::AttemptKey,
        ids::RunId,
        instant::Instant,
        log,
        names::{Lane, Scope},
        transition::{Event, Tell},
        worker::{AbandonReason, Capacity, Drain, Held as Listed, Hello, WorkerStatus},
    },
    flow::Core,
    ports::store::{
        Apply, Owner, Page, Renewal, RenewalAnswer, Report, ReportAnswer, StoreError, StoreResult, Verdict,
    },
};

/// Results of a session that may be on their way to the store, by number and by bytes.
const REPORTS: usize = 10_000;
const REPORT_BYTES: usize = 64 << 20;
/// Looks of other stages between two for attempts to be stopped.
const LOOKS: u32 = 5;

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
    leaving: AtomicBool,
    /// What an operator asked of the worker, once it was told.
    drained: Mutex<Option<Drain>>,
    /// Counts what made the session's knowledge of its attempts doubtful.
    doubts: AtomicU64,
}

impl Live {
    pub(super) fn new(owner: Owner, scope: Scope, hello: &Hello, held: Held, outgoing: mpsc::Sender<ToWorker>) -> Self {
        Self {
            owner,
            scope,
            name: hello.name.clone(),
            lanes: hello.lanes().collect(),
            work: Notify::new(),
            held: Mutex::new(held),
            waiting: Mutex::default(),
            outgoing: Mutex::new(Some(outgoing)),
            end: OnceLock::new(),
            over: CancellationToken::new(),
            leaving: AtomicBool::new(false),
            drained: Mutex::default(),
            doubts: AtomicU64::new(0),
        }
    }

    pub(super) fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock()
    }

    pub(super) fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock()
    }

    /// Says something to the worker; `false` where it certainly will not hear it. One that does not read loses its session,
    /// never the server its memory.
    pub(super) fn send(&self, message: ToWorker) -> bool {
        let sent = self.outgoing.lock().as_ref().map(|outgoing| outgoing.try_send(message));
        if let Some(Err(mpsc::error::TrySendError::Full(_))) = sent {
            self.end(SessionEnd::SlowConsumer("it does not read what it is sent"));
        }
        matches!(sent, Some(Ok(())))
    }

    /// The worker takes no more work; `false` where it was told so before.
    pub(super) fn drain(&self, drain: Drain) -> bool {
        let mut told = self.drained.lock();
        let new = told.is_none_or(|before| before < drain);
        if new {
            *told = Some(drain);
            self.held().take_no_more();
            let mode = DrainMode::from(drain);
            self.send(ToWorker::Drain { mode, reconnect_delay: Duration::ZERO, close_delay: Duration::ZERO });
        }
        new
    }

    /// Hints, or an answer of the store, were lost: what the session believes is compared at the next heartbeat.
    pub(super) fn doubt(&self) {
        self.doubts.fetch_add(1, Ordering::AcqRel);
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
        self.ended().unwrap_or(SessionEnd::Left)
    }

    /// Returns once the session is over.
    pub(super) async fn settled(&self) {
        self.over.cancelled().await;
    }

    /// The worker says that it will go.
    pub(super) fn leaves(&self) {
        self.leaving.store(true, Ordering::Release);
    }

    pub(super) fn closed(&self, in_order: bool) {
        // Left in order: it said that it would, and holds nothing. Only the first to close can tell: the half that speaks
        // closes after the half that listens, and knows of no order.
        if self.ended().is_none() && !(in_order && self.held().is_empty()) {
            self.leaving.store(false, Ordering::Release);
        }
        self.end(SessionEnd::Left);
    }

    pub(super) fn tell(&self, key: AttemptKey, tell: Tell, reason: String, default_grace: Duration, now: Instant) {
        match tell {
            Tell::Stop(attempt) => {
                let key = AttemptKey { attempt, ..key };
                let stop = self.held().stop(key, reason, default_grace, now);
                if let Some(stop) = stop {
                    self.send(ToWorker::Cancel(key, stop));
                }
            }
            Tell::Revoke(attempt, why) => {
                let key = AttemptKey { attempt, ..key };
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
    Reported(Vec<(AttemptKey, StoreResult<ReportAnswer>)>),
    Renewed(Box<Renewed>),
    NotRenewed,
    Superseded,
    Applied,
    Logged(Vec<(AttemptKey, u64)>),
}

/// A heartbeat that was recorded, and what it listed compared as far as that was needed.
struct Renewed {
    beat: Beat,
    drain: Option<Drain>,
    /// What was recorded with it.
    capacity: Option<Capacity>,
    verdicts: Vec<(AttemptKey, Verdict)>,
    /// Everything that was listed has been compared, after so many doubts.
    settled: Option<u64>,
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
pub(super) fn start(hub: &Hub, live: Arc<Live>, capacity: Capacity) {
    let tasks = &hub.0.core.tasks;
    let hub = hub.clone();
    tasks.spawn("session", async move {
        Task::new(&hub, &live, capacity).run().await;
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
    /// Results on their way to the store, with their weights: what is sent again meanwhile is answered with them.
    reporting: HashMap<AttemptKey, usize>,
    reporting_bytes: usize,
    /// The worker takes no more work, by its own word.
    draining: bool,
    /// The worker's capacity as it was last recorded, and as it is.
    recorded: Capacity,
    capacity: Capacity,
    /// So many doubts are settled.
    settled: u64,
}

impl Task {
    fn new(hub: &Hub, live: &Arc<Live>, capacity: Capacity) -> Self {
        Self {
            core: hub.0.core.clone(),
            hub: hub.clone(),
            live: live.clone(),
            asked: Asked::new(),
            next_beat: None,
            reporting: HashMap::new(),
            reporting_bytes: 0,
            draining: false,
            recorded: capacity.clone(),
            capacity,
            settled: 0,
        }
    }

    async fn run(mut self) {
        let live = self.live.clone();
        let rules = self.core.rules;
        let mut timer = self.core.clock.timer("session");
        let mut renewing = false;
        let mut logging = false;
        let mut until = Instant::MAX;
        loop {
            // Who wakes so late has slept, and what the worker said meanwhile may not have been read yet.
            let now = self.core.now();
            if rules.has_slept(now.since(until)) {
                live.held().awake(now);
            }
            self.take_in(&mut renewing, &mut logging);
            let now = self.core.now();
            let silent_from = live.held().silent_from(rules.silence_timeout);
            if silent_from <= now {
                live.end(SessionEnd::Silent(rules.silence_timeout));
            }
            self.by_time(now);
            let look = live.held().next_look(rules.reply_timeout);
            until = look.map_or(silent_from, |look| look.min(silent_from));
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
        let live = self.live.clone();
        let (heard, control, progress, logs) = {
            let mut waiting = live.waiting();
            let logs = if *logging { Default::default() } else { std::mem::take(&mut waiting.logs) };
            let heard = waiting.heard();
            (heard, self.take_control(&mut waiting), std::mem::take(&mut waiting.progress), logs)
        };
        let now = self.core.now();
        if heard {
            self.live.held().hear(now);
        }
        let mut reports = Vec::new();
        for message in control {
            match message {
                FromWorker::Heartbeat { sequence, draining, in_flight, capacity } => {
                    self.heartbeat(now, sequence, draining, in_flight, capacity, renewing);
                }
                FromWorker::Capacity(capacity) => {
                    self.state_capacity(capacity);
                    self.slots_changed();
                }
                FromWorker::Reply(key, reply) => self.reply(now, key, reply),
                FromWorker::Result(report) => {
                    self.live.held().reporting(report.key);
                    reports.push(*report);
                }
                FromWorker::Drain => self.drains(now),
                // What a worker does about a stop shows in its heartbeats and in its result, which may be on the way.
                // Progress and logs wait elsewhere.
                FromWorker::CancelReply(_) | FromWorker::Progress(..) | FromWorker::Logs(_) => {}
            }
        }
        if !reports.is_empty() {
            self.slots_changed();
            self.report(reports);
        }
        for (key, (phase, progress)) in progress {
            let told = self.live.held().tell_progress(key, phase, progress, now);
            if let Some(told) = told {
                self.core.news.progress(now, self.live.owner.worker, key, told);
            }
        }
        if !logs.is_empty() {
            *logging = true;
            self.log(logs.into());
        }
    }

    /// Takes what waits, in order, up to the first result that there is no room for.
    fn take_control(&mut self, waiting: &mut Waiting) -> VecDeque<FromWorker> {
        let mut taken = VecDeque::new();
        loop {
            let fits = |message: &FromWorker| match message {
                FromWorker::Result(report) => {
                    // A single one goes however large it is.
                    let room = self.reporting.len() < REPORTS
                        && self.reporting_bytes.saturating_add(message.weight()) <= REPORT_BYTES;
                    room || self.reporting.is_empty() || self.reporting.contains_key(&report.key)
                }
                FromWorker::Heartbeat { .. }
                | FromWorker::Capacity(_)
                | FromWorker::Reply(..)
                | FromWorker::Progress(..)
                | FromWorker::Logs(_)
                | FromWorker::CancelReply(_)
                | FromWorker::Drain => true,
            };
            let Some(message) = waiting.next(fits) else { return taken };
            if let FromWorker::Result(report) = &message {
                if self.reporting.contains_key(&report.key) {
                    continue;
                }
                let weight = message.weight();
                self.reporting.insert(report.key, weight);
                self.reporting_bytes += weight;
            }
            taken.push_back(message);
        }
    }

    /// The worker says how much it takes.
    fn state_capacity(&mut self, capacity: Capacity) {
        self.live.held().state_capacity(capacity.clone());
        self.capacity = capacity;
    }

    /// The worker says that it takes no more.
    fn drains(&mut self, now: Instant) {
        if !std::mem::replace(&mut self.draining, true) {
            self.live.held().take_no_more();
            let Live { owner, scope, name, .. } = &*self.live;
            self.core.news.worker(now, scope, owner.worker, name, WorkerStatus::Draining);
        }
    }

    fn heartbeat(
        &mut self,
        now: Instant,
        sequence: i64,
        draining: bool,
        listed: Vec<Listed>,
        capacity: Capacity,
        renewing: &mut bool,
    ) {
        self.state_capacity(capacity);
        if draining {
            self.drains(now);
        }
        let reading = self.live.held().heartbeat(sequence, &listed, now);
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
                        self.core.news.board.hold_off(&lane, key.run, now, delay);
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
            let answers = outcome.reports().insist(&core, reports).await;
            Answer::Reported(keys.into_iter().zip(answers).collect())
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
            drop(outcome.steps().insist(&core, steps).await);
            Answer::Applied
        }));
    }

    fn renew(&self, beat: Beat) {
        let (core, renewals, owner) = (self.core.clone(), self.hub.0.renewals.clone(), self.live.owner);
        let capacity = (self.capacity != self.recorded).then(|| self.capacity.clone());
        let draining = self.draining;
        let doubts = self.live.doubts.load(Ordering::Acquire);
        let in_doubt = doubts != self.settled;
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
                    tracing::warn!(%error, worker = %owner.worker, "what a worker holds cannot be compared for now");
                    Answer::NotRenewed
                }
            }
        }));
    }

    fn log(&self, batches: Vec<log::Batch>) {
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
    fn answered(&mut self, answer: Answer, renewing: &mut bool, logging: &mut bool) {
        match answer {
            Answer::Reported(answers) => {
                for (key, answer) in answers {
                    self.reporting_bytes -= self.reporting.remove(&key).unwrap_or(0);
                    let disposition = match answer {
                        Ok(answer) => Disposition::from(&answer),
                        Err(StoreError::Corrupt(_)) => Disposition::Invalid,
                        // The server is stopping; the worker sends it to the next one.
                        Err(StoreError::Unavailable(_) | StoreError::Conflict(_)) => continue,
                    };
                    self.live.held().acked(key);
                    self.live.send(ToWorker::ResultAck(key, disposition));
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
            tracing::debug!(%error, attempt = %key, "log lines wait until it is known whose they are");
            Had::Unknown
        }
    }
}

/// Looks in the store for attempts of this server's sessions that somebody wants stopped: what makes a lost hint harmless.
pub(super) fn poll_stops(hub: &Hub) {
    let hub = hub.clone();
    let core = hub.0.core.clone();
    core.tasks.clone().spawn("stops", async move {
        let mut timer = core.clock.timer("stops");
        let every = core.rules.heartbeat_interval.min(core.look * LOOKS);
        loop {
            tokio::select! {
                () = timer.sleep_until(core.now().plus(every)) => {}
                () = hub.0.stops.notified() => {}
                () = core.tasks.stopping() => return,
            }
            let sessions = hub.all();
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
