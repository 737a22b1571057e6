//! The way of an attempt into user code: taken or refused, given a slot, started.

use std::time::{Duration, SystemTime};

use mainspring_proto::{
    common::v1::LeaseLossPolicy,
    worker::v1::{Dispatch, RejectReason},
};

use super::{
    Effect, Key, Lane, Machine, Refusal, Urgent,
    attempt::{Attempt, Confirmation, Phase, Progress, Return, Running},
    rules::length,
    slots::{Occupied, Turn},
    stream::StreamId,
    timers::Timer,
};
use crate::{clock::Instant, ctx::Stop};

/// A `DispatchReply` waits this long for the task to begin, to say RUNNING; then it says RESERVED. Only a runtime that
/// is held up by a computing handler takes longer.
const REPLY_WITHIN: Duration = Duration::from_millis(100);
/// How much later than the server the worker acts on an execution timeout.
const EXECUTION_MARGIN: Duration = Duration::from_secs(5);

/// The answer to a task that wants to call user code.
pub(crate) enum Begin {
    /// Call it.
    Go(Box<Dispatch>, Stop),
    /// Do not: the attempt was taken away, or has to wait for a confirmation.
    No,
}

impl Machine {
    /// Takes, or refuses, an attempt.
    pub(super) fn dispatched(&mut self, stream: StreamId, dispatch: Dispatch, now: Instant) {
        let Some(key) = Key::of(dispatch.attempt.as_ref()) else {
            tracing::warn!("the server sent a dispatch that names no attempt");
            return;
        };
        if let Some(attempt) = self.attempts.get_mut(&key) {
            // A repetition of what is held; it is enough to say so again.
            if attempt.is_unstarted() || matches!(attempt.phase, Phase::Running(_)) {
                attempt.reply_owed = true;
                self.reply_by_now(key);
            }
            return;
        }
        if !self.seen.is_new(&key) {
            return self.refuse(key, RejectReason::Stale, "this attempt was here before");
        }
        self.abandon_earlier(&key);
        if !self.takes_work() {
            return self.refuse(key, RejectReason::Draining, "the worker takes no more work");
        }
        let lane = Lane::of(&dispatch.queue, &dispatch.job_type);
        if !self.lanes.contains(&lane) {
            let Lane { queue, job_type } = lane;
            let message = format!("no handler for the job type `{job_type}` from the queue `{queue}`");
            return self.refuse(key, RejectReason::UnknownJobType, message);
        }
        let queue = lane.queue;
        if !self.keepable {
            return self.refuse(key, RejectReason::NoCapacity, "the worker cannot keep its results");
        }
        if !self.slots.has_room(&queue) {
            return self.refuse(key, RejectReason::NoCapacity, format!("no slot of the queue `{queue}` is free"));
        }
        let sent_at = self.streams.get(&stream).and_then(|stream| stream.sent_at(dispatch.basis_sequence));
        let start_before = sent_at.map(|sent_at| sent_at + self.rules.start_window);
        let Some(start_before) = start_before.filter(|before| now < *before && self.lease.is_live(now)) else {
            return self.refuse(key, RejectReason::Stale, "the start window has passed");
        };
        let reply_timeout = length(dispatch.reply_timeout).unwrap_or(Duration::from_secs(20));
        self.timers.set(now + REPLY_WITHIN.min(reply_timeout / 4), Timer::Reply(key.clone()));
        let attempt = Attempt {
            queue: queue.clone(),
            stop_on_lease_loss: dispatch.lease_loss_policy() == LeaseLossPolicy::Stop,
            execution_timeout: length(dispatch.execution_timeout),
            start_before,
            confirmation: Confirmation::Unlisted,
            reply_owed: true,
            progress: Progress::default(),
            phase: Phase::Waiting(Box::new(dispatch)),
        };
        self.attempts.insert(key.clone(), attempt);
        self.slots.wait(&queue, key);
        self.start_waiting(&queue, now);
    }

    fn refuse(&mut self, key: Key, reason: RejectReason, message: impl Into<String>) {
        let message = message.into();
        tracing::debug!(run_id = %key.run_id, attempt = key.attempt, ?reason, "handed back: {message}");
        self.refusals.push_back(Refusal { key, reason, message });
    }

    /// Asks for tasks for as many waiting attempts of this queue as may start and have a slot.
    pub(super) fn start_waiting(&mut self, queue: &str, now: Instant) {
        if !self.lease.is_live(now) {
            return;
        }
        let Self { slots, attempts, effects, .. } = self;
        slots.take_free(queue, |key| {
            let Some(attempt) = attempts.get_mut(key) else { return Turn::Leave };
            match attempt.phase {
                Phase::Waiting(_) if attempt.is_current(now) => {
                    attempt.phase.advance_to_starting();
                    effects.push(Effect::Start(key.clone()));
                    Turn::Start
                }
                Phase::Waiting(_) => Turn::Wait,
                Phase::Starting(_) | Phase::Returning(_) | Phase::Running(_) | Phase::Finished(_) => Turn::Leave,
            }
        });
    }

    /// The same for every queue: the lease, or what counts under it, has changed.
    pub(super) fn start_all_waiting(&mut self, now: Instant) {
        for queue in self.slots.with_waiting() {
            self.start_waiting(&queue, now);
        }
    }

    /// Rule (a), asked once more by the task itself: between the decision and this moment the runtime may have been busy
    /// for long. `Go` means that user code starts now.
    pub(crate) fn begin(&mut self, key: &Key, now: Instant, wall: SystemTime) -> Begin {
        let live = self.lease.is_live(now);
        let Some(attempt) = self.attempts.get_mut(key) else { return self.did_not_begin(key, now) };
        if !live || !attempt.is_current(now) {
            if attempt.phase.go_back_to_waiting() {
                self.slots.wait_again(&attempt.queue, key.clone());
            }
            return self.did_not_begin(key, now);
        }
        let stop = Stop::default();
        let Some(dispatch) = attempt.phase.start(Running { start_time: wall, stop: stop.clone(), stopping: None })
        else {
            return self.did_not_begin(key, now);
        };
        if let Some(timeout) = attempt.execution_timeout {
            self.timers.set(now + timeout + EXECUTION_MARGIN, Timer::Execution(key.clone()));
        }
        self.reply_by_now(key.clone());
        Begin::Go(dispatch, stop)
    }

    fn did_not_begin(&mut self, key: &Key, now: Instant) -> Begin {
        self.vacate(key, now);
        if !self.lease.is_live(now) {
            self.fence(now);
        }
        Begin::No
    }

    /// The `DispatchReply` goes out, if it is still owed.
    pub(super) fn reply_by_now(&mut self, key: Key) {
        if let Some(attempt) = self.attempts.get_mut(&key).filter(|attempt| attempt.reply_owed) {
            attempt.reply_owed = false;
            self.timers.unset(Timer::Reply(key.clone()));
            self.urgent.push_back(Urgent::Reply(key));
        }
    }

    /// A new session: every result goes again, and what was to be handed back still is.
    pub(super) fn start_over(&mut self) {
        self.refusals.clear();
        self.urgent.clear();
        self.progress.clear();
        for (key, attempt) in &mut self.attempts {
            attempt.reply_owed = false;
            if std::mem::take(&mut attempt.progress.queued) && attempt.progress.latest.is_some() {
                attempt.progress.queued = true;
                self.progress.push_back(key.clone());
            }
            match &mut attempt.phase {
                Phase::Returning(Return { reason, message }) => {
                    let refusal = Refusal { key: key.clone(), reason: *reason, message: (*message).into() };
                    self.refusals.push_back(refusal);
                }
                Phase::Finished(finished) => {
                    finished.sent = 0;
                    if finished.released {
                        self.urgent.push_back(Urgent::Result(key.clone()));
                    }
                }
                Phase::Waiting(_) | Phase::Starting(_) | Phase::Running(_) => {}
            }
        }
    }

    /// The task of an attempt is over; its slot is free unless a thread still works for it.
    pub(crate) fn vacate(&mut self, key: &Key, now: Instant) {
        self.release_slot(key, now, |occupied| occupied.task = false);
    }

    /// A thread works for the attempt.
    pub(crate) fn thread_began(&mut self, key: &Key) {
        self.slots.add_thread(key);
    }

    /// A thread that worked for the attempt is done.
    pub(crate) fn thread_ended(&mut self, key: &Key, now: Instant) {
        self.release_slot(key, now, |occupied| occupied.threads = occupied.threads.saturating_sub(1));
    }

    fn release_slot(&mut self, key: &Key, now: Instant, change: impl FnOnce(&mut Occupied)) {
        if let Some((queue, was_lost)) = self.slots.release(key, change) {
            self.capacity_changed |= was_lost;
            self.start_waiting(&queue, now);
        }
    }

    /// The attempt ended or no longer counts; if code still occupies its slot, there is one slot less until that ends.
    pub(super) fn slot_is_lost(&mut self, key: &Key) {
        self.capacity_changed |= self.slots.lose(key);
    }
}

impl Attempt {
    /// Rule (a), but for the lease.
    fn is_current(&self, now: Instant) -> bool {
        self.confirmation == Confirmation::Confirmed || now < self.start_before
    }
}

impl Phase {
    fn advance_to_starting(&mut self) {
        if let Self::Waiting(dispatch) = self {
            *self = Self::Starting(std::mem::take(dispatch));
        }
    }

    fn go_back_to_waiting(&mut self) -> bool {
        let Self::Starting(dispatch) = self else { return false };
        *self = Self::Waiting(std::mem::take(dispatch));
        true
    }

    fn start(&mut self, running: Running) -> Option<Box<Dispatch>> {
        let Self::Starting(dispatch) = self else { return None };
        let dispatch = std::mem::take(dispatch);
        *self = Self::Running(running);
        Some(dispatch)
    }
}
