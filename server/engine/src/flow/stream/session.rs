//! One session: carries out what [`super::held`] decides.
//!
//! The session's task takes what waits in the inbox, asks the store without waiting in line for the answers ([`asked`]: they
//! come back as they are ready), and sends what is to be said. Steps that must not get lost are repeated until the store has
//! taken them or the session is over; what is lost with a session is found by the worker's next Hello or by the reaper.
//!
//! What the session believes may be wrong in three cases: its leases were judged over, an answer of the store got lost, or
//! hints did. Then it is in doubt, and compares all that the worker lists with the rows, until that has worked once.

mod asked;

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use futures::stream::StreamExt;

use self::asked::{Asked, Beat};
use super::{
    Hub,
    held::Replied,
    inbox::Waiting,
    live::Live,
    messages::{FromWorker, Reply, SessionEnd, ToWorker},
};
use crate::{
    domain::{
        attempt::AttemptKey,
        instant::Instant,
        transition::Event,
        worker::{AbandonReason, Capacity, Held as Listed, WorkerStatus},
    },
    flow::Core,
};

/// Results of a session that may be on their way to the store, by number and by bytes.
const REPORTS: usize = 10_000;
const REPORT_BYTES: usize = 64 << 20;

/// Starts the session's task.
pub(super) fn start(hub: &Hub, live: Arc<Live>, capacity: Capacity) {
    let tasks = &hub.0.core.tasks;
    let hub = hub.clone();
    tasks.spawn("session", async move {
        Task::new(&hub, &live, capacity).run().await;
        hub.remove(&live);
        let status = match live.ended() {
            Some(SessionEnd::Left) => WorkerStatus::Gone,
            Some(
                SessionEnd::Superseded
                | SessionEnd::Foreign
                | SessionEnd::Silent(_)
                | SessionEnd::SlowConsumer(_)
                | SessionEnd::Draining(_)
                | SessionEnd::Full(_)
                | SessionEnd::StoreAway(_)
                | SessionEnd::Closed,
            )
            | None => WorkerStatus::Disconnected,
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
        let live = self.live.clone();
        let (heard, control, progress, signs, logs) = {
            let mut waiting = live.waiting();
            // Lines that wait to be stored are a sign of life already.
            let signs: Vec<_> = waiting.logs.iter().map(|batch| batch.key).collect();
            let logs = if *logging { Default::default() } else { std::mem::take(&mut waiting.logs) };
            let heard = waiting.heard();
            (heard, self.take_control(&mut waiting), std::mem::take(&mut waiting.progress), signs, logs)
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
        if !signs.is_empty() {
            let mut held = self.live.held();
            signs.into_iter().for_each(|key| held.lives(key, now));
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
                    tracing::debug!(run_id = %key.run, attempt = key.attempt, ?reason, "handed back");
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
        let (silent, stalled, starts) = {
            let mut held = self.live.held();
            (held.silent(now, self.core.rules.reply_timeout), held.stalled(now), held.starts(now))
        };
        for key in &stalled {
            tracing::info!(run_id = %key.run, attempt = key.attempt, "an attempt gave no sign of life; it is given up");
            self.live.send(ToWorker::Revoke(*key, AbandonReason::LeaseExpired));
        }
        for key in &silent {
            tracing::debug!(run_id = %key.run, attempt = key.attempt, "dispatch was not answered; taken back");
            self.live.send(ToWorker::Revoke(*key, AbandonReason::Returned));
        }
        if !silent.is_empty() {
            let worker = self.live.owner.worker;
            tracing::info!(%worker, runs = silent.len(), "a worker did not answer dispatches; they were taken back");
        }
        let owner = Some(self.live.owner);
        let silent = silent.into_iter().map(|key| (key.run, Event::Silent { attempt: key.attempt }, owner));
        let starts = starts
            .into_iter()
            .map(|(key, start_time)| (key.run, Event::Start { attempt: key.attempt, start_time }, None));
        let stalled = stalled.into_iter().map(|key| (key.run, Event::Stalled { attempt: key.attempt }, owner));
        self.apply(silent.chain(stalled).chain(starts));
    }

    fn slots_changed(&self) {
        self.hub.0.slots.notify_one();
        self.core.news.board.demand_changed();
    }
}
