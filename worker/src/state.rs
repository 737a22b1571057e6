//! Everything a session decides, without doing any of it.
//!
//! The [`Machine`] knows what the worker holds, what it may start, what it must stop and what has to be said next. It is
//! told what happened ([`read`](Machine::read), [`conclude`](Machine::conclude), [`tick`](Machine::tick) …), always with
//! the time, and answers in two ways: [`pull`](Machine::pull) composes the next message for a stream at the moment the
//! transport can take one, and [`take_effects`](Machine::take_effects) lists what the shell around it must do. It never
//! waits, reads no clock and touches no socket, so each rule can be tested as a sequence of calls.
//!
//! The worker's rules (design page "lease rules"), and where they are kept:
//!
//! | rule | | place |
//! |---|---|---|
//! | (a) | an attempt starts only under a live lease, and within the start window of its Dispatch's basis or after a later acknowledged message listed it | `work.rs`, `may_start` |
//! | (b) | a Dispatch of an older stream is discarded, from the moment a newer Hello is composed | `incoming.rs`, `current` |
//! | (c) | at the self-fence everything unstarted is given up, whatever the policy | `work.rs`, `fence` |
//! | (d) | what was handed back is never started; what was ever held is not taken twice | `Phase::Returning`, `seen.rs` |
//! | (e) | Hello and Heartbeat list everything held, unacknowledged results too | `outgoing.rs`, `in_flight` |
//! | (f) | results are kept until any disposition, and sent again on every new stream | `Phase::Finished` |

mod attempt;
mod incoming;
mod lease;
mod leave;
mod logs;
mod outgoing;
mod report;
mod result;
mod rules;
mod seen;
mod slots;
mod stop;
mod stream;
mod timers;
mod work;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use mainspring_proto::worker::v1::{AttemptResult, AttemptStatus, CancelDisposition, HandlerSpec, RejectReason};
use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};

pub(crate) use self::{attempt::Key, leave::Farewell, outgoing::Pull, result::End, stream::StreamId, work::Begin};
use self::{
    attempt::{Attempt, Phase},
    lease::Lease,
    leave::Leaving,
    logs::Logs,
    rules::Rules,
    seen::Seen,
    slots::Slots,
    stream::Stream,
    timers::{Timer, Timers},
};
use crate::{
    clock::Instant,
    ctx::{CancelReason, Stop},
    observe::Observed,
};

/// The largest gRPC message this worker sends or takes.
pub(crate) const MAX_MESSAGE_BYTES: usize = 4 << 20;
/// The queue of whatever names none.
pub(crate) const DEFAULT_QUEUE: &str = "default";
/// How long the server has for its Welcome.
const HANDSHAKE: Duration = Duration::from_secs(10);
const NO_WELCOME: &str = "the server did not answer within 10 s";

/// Who the worker is, as its Hello says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Identity {
    pub(crate) worker_id: String,
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) build_id: String,
    pub(crate) handlers: Vec<HandlerSpec>,
}

/// What a handler is found by: a queue, and a job type in it. Runs of one type may come from several queues.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Lane {
    pub(crate) queue: String,
    pub(crate) job_type: String,
}

impl Lane {
    /// The contract: a queue that is not named is `default`.
    pub(crate) fn of(queue: &str, job_type: &str) -> Self {
        let queue = if queue.is_empty() { DEFAULT_QUEUE } else { queue };
        Self { queue: queue.into(), job_type: job_type.into() }
    }
}

/// What the shell must do.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Start a task that will ask [`Machine::begin`].
    Start(Key),
    /// Ask a handler to stop.
    Ask(Stop, CancelReason),
    /// Drop a handler's future.
    Kill(Stop, CancelReason),
    /// Tell the observers.
    Observe(Observed),
    /// A result must be kept before it may go out: ask for [`Machine::release`] then.
    Keep(Key),
    /// A result need not be kept any more.
    Strike(Key),
    /// Tear a stream down, and tell people why.
    Close(StreamId, &'static str),
    /// Open another stream after this long, on a new connection.
    Reconnect(Duration),
}

/// The decisions of one worker.
pub(crate) struct Machine {
    identity: Identity,
    /// What there are handlers for.
    lanes: BTreeSet<Lane>,
    drain_within: Duration,
    stop_within: Duration,
    dice: SmallRng,

    rules: Rules,
    lease: Lease,
    fence_armed: bool,
    streams: BTreeMap<StreamId, Stream>,
    next_stream: StreamId,
    /// The stream whose Hello was composed last. Only its Dispatches count.
    current: Option<StreamId>,

    attempts: BTreeMap<Key, Attempt>,
    slots: Slots,
    seen: Seen,
    logs: Logs,

    refusals: VecDeque<Refusal>,
    urgent: VecDeque<Urgent>,
    progress: VecDeque<Key>,
    /// The capacity the server was told last on the present stream.
    announced: BTreeMap<String, u32>,
    /// Whether it may be out of date.
    capacity_changed: bool,

    /// The server wants no more work done here.
    quiesced: bool,
    /// Whether results can be kept as they should be.
    keepable: bool,
    leaving: Option<Leaving>,
    timers: Timers,
    effects: Vec<Effect>,
}

/// A `DispatchRejected` that has not been sent.
struct Refusal {
    key: Key,
    reason: RejectReason,
    message: String,
}

/// What goes right behind a heartbeat. Composed when it is sent, so it is never out of date.
enum Urgent {
    Reply(Key),
    /// The newest progress of an attempt that has ended: the last thing it said is not lost to the interval.
    LastProgress(Key),
    Result(Key),
    CancelReply(Key, CancelDisposition),
}

impl Machine {
    pub(crate) fn new(
        identity: Identity,
        slots: BTreeMap<String, u32>,
        drain_within: Duration,
        stop_within: Duration,
        seed: u64,
    ) -> Self {
        Self {
            lanes: identity.handlers.iter().map(|handler| Lane::of(&handler.queue, &handler.job_type)).collect(),
            identity,
            drain_within,
            stop_within,
            dice: SmallRng::seed_from_u64(seed),
            rules: Rules::default(),
            lease: Lease::default(),
            streams: BTreeMap::new(),
            next_stream: StreamId(1),
            current: None,
            attempts: BTreeMap::new(),
            slots: Slots::new(slots),
            seen: Seen::default(),
            logs: Logs::new(),
            refusals: VecDeque::new(),
            urgent: VecDeque::new(),
            progress: VecDeque::new(),
            announced: BTreeMap::new(),
            capacity_changed: false,
            fence_armed: false,
            quiesced: false,
            keepable: true,
            leaving: None,
            timers: Timers::default(),
            effects: Vec::new(),
        }
    }

    /// A stream is being opened. Its Hello is composed by the first [`pull`](Self::pull).
    pub(crate) fn open(&mut self, now: Instant) -> StreamId {
        let id = self.next_stream;
        self.next_stream = StreamId(id.0 + 1);
        self.streams.insert(id, Stream::open(now));
        self.timers.set(now + HANDSHAKE, Timer::Handshake(id));
        id
    }

    /// A stream has ended.
    pub(crate) fn ended(&mut self, id: StreamId) {
        let Some(stream) = self.streams.remove(&id) else { return };
        if stream.was_welcomed {
            self.effects.push(Effect::Observe(Observed::Session {
                up: false,
                worker_id: self.identity.worker_id.clone(),
                session_id: stream.session_id,
            }));
        }
    }

    /// Nothing more is said on this stream.
    pub(crate) fn half_close(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.stage = stream::Stage::Closing;
        }
    }

    /// The session, if there is one: the stream that carries results, replies and logs.
    pub(crate) fn session(&self) -> Option<StreamId> {
        self.streams.iter().rev().find(|(_, stream)| stream.is_live()).map(|(id, _)| *id)
    }

    pub(crate) fn worker_id(&self) -> &str {
        &self.identity.worker_id
    }

    /// Results that wait for their acknowledgement.
    pub(crate) fn unacked_results(&self) -> Vec<std::sync::Arc<AttemptResult>> {
        self.attempts
            .values()
            .filter_map(|attempt| match &attempt.phase {
                Phase::Finished(finished) if finished.released => Some(finished.result.clone()),
                Phase::Finished(_)
                | Phase::Waiting(_)
                | Phase::Starting(_)
                | Phase::Returning(_)
                | Phase::Running(_) => None,
            })
            .collect()
    }

    /// How many handlers are running.
    fn running(&self) -> usize {
        self.attempts.values().filter(|attempt| matches!(attempt.phase, Phase::Running(_))).count()
    }

    /// Whether there is a handler whose end, or whose result, is still to come.
    pub(crate) fn is_at_work(&self) -> bool {
        self.attempts.values().any(|attempt| match &attempt.phase {
            Phase::Running(_) => true,
            Phase::Finished(finished) => !finished.released,
            Phase::Waiting(_) | Phase::Starting(_) | Phase::Returning(_) => false,
        })
    }

    /// What the shell must do now.
    pub(crate) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// When [`tick`](Self::tick) has something to do.
    pub(crate) fn next_tick(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, now: Instant) {
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                Timer::Handshake(id) => {
                    if self.streams.get(&id).is_some_and(|stream| !stream.was_welcomed) {
                        self.effects.push(Effect::Close(id, NO_WELCOME));
                    }
                }
                Timer::Heartbeat(id) => {
                    if let Some(stream) = self.streams.get_mut(&id).filter(|stream| stream.is_live()) {
                        stream.heartbeat_due = true;
                    }
                }
                Timer::Silence(id) => self.judge_silence(id, now),
                Timer::Fence => {
                    self.fence_armed = false;
                    self.fence(now);
                    self.arm_fence(now);
                }
                Timer::Reply(key) => self.reply_by_now(key),
                Timer::Progress(key) => self.progress_due(key),
                Timer::Execution(key) => self.execution_timed_out(&key, now),
                Timer::Kill(key) => self.kill_overdue(&key, now),
                Timer::Resend(key) => self.resend(key),
                Timer::LogLinger => {
                    if let Some(at) = self.logs.ripen(now) {
                        self.timers.set_by(at, Timer::LogLinger);
                    }
                }
                Timer::LogAck => {
                    if let Some(at) = self.logs.rewind_overdue(now) {
                        self.timers.set_by(at, Timer::LogAck);
                    }
                }
                Timer::DrainStop => self.stop_all(now),
                Timer::DrainGiveUp => self.give_up_on_stuck(),
                Timer::Leave => {}
            }
        }
    }

    /// The attempt leaves these hands, and everything that waited for it.
    fn let_go(&mut self, key: &Key) -> Option<Attempt> {
        self.timers.forget(key);
        let attempt = self.attempts.remove(key)?;
        if matches!(attempt.phase, Phase::Finished(_)) {
            self.effects.push(Effect::Strike(key.clone()));
        }
        Some(attempt)
    }

    /// What this worker does can be kept no more, or again: it takes no work meanwhile.
    pub(crate) fn set_keepable(&mut self, keepable: bool) {
        self.keepable = keepable;
        self.capacity_changed = true;
    }

    /// The result of an attempt that has ended and must not go out yet.
    pub(crate) fn unreleased(&self, key: &Key) -> Option<std::sync::Arc<AttemptResult>> {
        match &self.attempts.get(key)?.phase {
            Phase::Finished(finished) if !finished.released => Some(finished.result.clone()),
            Phase::Finished(_) | Phase::Waiting(_) | Phase::Starting(_) | Phase::Returning(_) | Phase::Running(_) => {
                None
            }
        }
    }

    fn arm_fence(&mut self, now: Instant) {
        if let Some(at) = self.lease.fence_at().filter(|at| *at > now && !self.fence_armed) {
            self.fence_armed = true;
            self.timers.set(at, Timer::Fence);
        }
    }

    fn judge_silence(&mut self, id: StreamId, now: Instant) {
        let Some(stream) = self.streams.get(&id).filter(|stream| stream.is_live()) else { return };
        let silent_at = stream.silent_at(self.rules.silence_timeout);
        if silent_at <= now {
            self.effects.push(Effect::Close(id, "the server no longer answers"));
        } else {
            self.timers.set(silent_at, Timer::Silence(id));
        }
    }

    /// How many attempts the worker will hold per queue: its slots, less those that code occupies whose attempt no longer
    /// counts. None while it takes no work.
    fn capacity(&self) -> BTreeMap<String, u32> {
        if self.takes_work() && self.keepable { self.slots.usable() } else { self.slots.none() }
    }

    fn takes_work(&self) -> bool {
        self.leaving.is_none() && !self.quiesced
    }

    /// Rule (e): everything held.
    fn in_flight(&self) -> Vec<AttemptStatus> {
        self.attempts
            .iter()
            .map(|(key, attempt)| {
                let next_log_offset = match &attempt.phase {
                    Phase::Finished(finished) => finished.result.next_log_offset(),
                    Phase::Waiting(_) | Phase::Starting(_) | Phase::Returning(_) | Phase::Running(_) => {
                        self.logs.next_offset(key)
                    }
                };
                let phase = attempt.wire_phase().into();
                AttemptStatus { attempt: Some(key.wire()), phase, next_log_offset }
            })
            .collect()
    }

    fn jittered(&mut self, interval: Duration) -> Duration {
        interval.mul_f64(self.dice.random_range(0.9..1.1))
    }
}
