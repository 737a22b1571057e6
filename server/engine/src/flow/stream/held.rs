//! What a session holds, and what each message means for it. Pure: effects are values.
//!
//! Capacity is `what the worker states − what the session holds − what is being leased for it`: whatever leaves the set
//! ([`attempts`]) frees its slot. A slot is free when the result has been received, not when it is committed. An attempt
//! that lost its lease keeps its slot until the worker stops listing it.
//!
//! Invariants (tests `v13_…`, `v15_…` and the property test): only an attempt that was accepted or listed before can be
//! absent; an attempt that was never answered is taken back only after the reply timeout; free slots are never negative.

mod attempts;

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use self::attempts::{Attempts, Count, Entry, Start, State};
use super::messages::{Directive, RejectReason, Reply, Stop};
use crate::{
    domain::{
        attempt::AttemptKey,
        event::Progress,
        instant::Instant,
        names::{JobName, Lane, QueueName},
        worker::{AbandonReason, Capacity, Held as Listed, Phase},
    },
    ports::store::{Dispatchable, Verdict},
};

/// An attempt that is still open so long after it was accepted is written as RUNNING.
pub const WRITE_START_AFTER: Duration = Duration::from_millis(250);

/// What a session holds.
#[derive(Debug)]
pub struct Held {
    capacity: Capacity,
    attempts: Attempts,
    /// Slots set aside for leases that are not committed yet.
    leasing: BTreeMap<QueueName, usize>,
    /// The highest heartbeat read so far; Hello counts as 0.
    read: i64,
    /// It takes work.
    taking: bool,
    /// It refused work that it had asked for; asked again at the next heartbeat.
    refused: bool,
    /// It did not answer a dispatch in time. Until it answers one it is tried with a single attempt: a worker that lives
    /// and does not listen would hold up a slot's worth of runs each, while others are idle.
    deaf: bool,
    heard: Instant,
    /// Attempts whose result was acknowledged, with the heartbeat read last before that: a heartbeat that was on the way
    /// may still list them.
    acked: HashMap<AttemptKey, i64>,
}

/// What an attempt told of its progress, and whose it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// Its run's lane.
    pub lane: Lane,
    /// Its run's job.
    pub job: Option<JobName>,
    /// How far it is.
    pub progress: Progress,
}

/// What a heartbeat means beyond the renewal.
#[derive(Debug, Default, PartialEq)]
pub struct Reading {
    /// Listed, and not known to the session or long past its stop: the store must say.
    pub unknown: Vec<AttemptKey>,
    /// Accepted before and not listed: taken back.
    pub absent: Vec<AttemptKey>,
}

/// What an answer to a dispatch means.
#[derive(Debug, PartialEq)]
pub enum Replied {
    /// Nothing to do.
    Noted,
    /// Handed back: it goes back to the queue of its lane.
    Rejected(Lane),
    /// The session does not hold it.
    Unknown,
}

impl Held {
    /// Nothing held.
    pub fn new(capacity: Capacity, now: Instant) -> Self {
        Self {
            capacity,
            attempts: Attempts::default(),
            leasing: BTreeMap::new(),
            read: 0,
            taking: true,
            refused: false,
            deaf: false,
            heard: now,
            acked: HashMap::new(),
        }
    }

    /// The store's verdicts on what the worker listed in its Hello: what to tell it.
    pub fn welcome(
        &mut self,
        verdicts: Vec<(AttemptKey, Verdict)>,
        default_grace: Duration,
        now: Instant,
    ) -> Vec<Directive> {
        verdicts.into_iter().filter_map(|(key, verdict)| self.judge(key, verdict, default_grace, now)).collect()
    }

    /// One verdict of the store.
    pub fn judge(
        &mut self,
        key: AttemptKey,
        verdict: Verdict,
        default_grace: Duration,
        now: Instant,
    ) -> Option<Directive> {
        match verdict {
            Verdict::Keep(attempt) => {
                self.keep(&attempt, None);
                None
            }
            Verdict::Stop(attempt, reason) => {
                let stop = Stop { reason, grace: attempt.stop_grace.unwrap_or(default_grace) };
                self.keep(&attempt, Some((stop.clone(), now)));
                Some(Directive::Cancel(key, stop))
            }
            Verdict::Abandon(reason) => {
                self.attempts.remove(key);
                Some(Directive::Abandon(key, reason))
            }
        }
    }

    fn keep(&mut self, attempt: &Dispatchable, stop: Option<(Stop, Instant)>) {
        let known = self.attempts.remove(attempt.key);
        let reporting = known.as_ref().map(Entry::state).filter(|state| *state == State::Reporting);
        let mut entry = Entry::new(attempt, reporting.unwrap_or(State::Accepted));
        entry.stop = stop;
        if let Some(known) = known {
            (entry.start, entry.progress) = (known.start, known.progress.clone());
            entry.lives_on(&known);
        }
        self.attempts.insert(attempt.key.run, entry);
    }

    /// Free slots of a queue.
    pub fn free(&self, queue: &QueueName) -> usize {
        let stated = self.capacity.get(queue).map_or(0, |slots| usize::try_from(*slots).unwrap_or(usize::MAX));
        if !self.taking || self.refused || stated == 0 {
            return 0;
        }
        let Count { held, reporting } = self.attempts.count(queue);
        let taken = held + self.leasing.get(queue).copied().unwrap_or(0);
        let unlisted = stated.saturating_mul(2).saturating_sub(taken + reporting);
        stated.saturating_sub(taken).min(unlisted).min(self.trust())
    }

    /// Whether it answers what it is sent, as far as that was tried.
    pub fn answers(&self) -> bool {
        !self.deaf
    }

    /// How many it may be given beside what it states.
    fn trust(&self) -> usize {
        if !self.deaf {
            return usize::MAX;
        }
        let unanswered = self.attempts.iter().any(|(_, entry)| matches!(entry.state(), State::Sent(_)));
        usize::from(!unanswered && self.leasing.is_empty())
    }

    /// Whether it is held, in whatever state.
    pub fn holds(&self, key: AttemptKey) -> bool {
        self.attempts.get(key).is_some()
    }

    /// The same, counted from everything that is held.
    #[cfg(test)]
    pub(super) fn free_by_counting(&self, queue: &QueueName) -> usize {
        let stated = self.capacity.get(queue).map_or(0, |slots| *slots as usize);
        if !self.taking || self.refused || stated == 0 {
            return 0;
        }
        let entries = || self.attempts.iter().map(|(_, entry)| entry).filter(|entry| entry.lane().queue == *queue);
        let reporting = entries().filter(|entry| entry.state() == State::Reporting).count();
        let taken = entries().count() - reporting + self.leasing.get(queue).copied().unwrap_or(0);
        stated.saturating_sub(taken).min((2 * stated).saturating_sub(taken + reporting)).min(self.trust())
    }

    /// Sets a slot aside for a lease.
    pub fn reserve(&mut self, queue: &QueueName) {
        *self.leasing.entry(queue.clone()).or_default() += 1;
    }

    /// The lease came to nothing, or to [`Held::dispatched`].
    pub fn unreserve(&mut self, queue: &QueueName) {
        if let Some(count) = self.leasing.get_mut(queue) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.leasing.remove(queue);
            }
        }
    }

    /// An attempt was leased and is sent.
    pub fn dispatched(&mut self, attempt: &Dispatchable, now: Instant) {
        self.unreserve(&attempt.lane.queue);
        self.attempts.insert(attempt.key.run, Entry::new(attempt, State::Sent(now)));
    }

    /// An attempt could not be sent: the worker will never know of it.
    pub fn not_sent(&mut self, key: AttemptKey) {
        self.attempts.remove(key);
    }

    /// The highest heartbeat read so far: the basis of a lease that begins now.
    pub fn basis(&self) -> i64 {
        self.read
    }

    /// Whatever the worker said, it lives.
    pub fn hear(&mut self, now: Instant) {
        self.heard = now;
    }

    /// The server slept until now: whatever was waited for gets its time anew. Taking back later is always safe.
    pub fn awake(&mut self, now: Instant) {
        self.heard = now;
        self.attempts.send_anew(now);
    }

    /// When the session ends unless something is heard.
    pub fn silent_from(&self, silence_timeout: Duration) -> Instant {
        self.heard.plus(silence_timeout)
    }

    /// No more work for this session.
    pub fn take_no_more(&mut self) {
        self.taking = false;
    }

    /// The worker's capacity, stated.
    pub fn state_capacity(&mut self, capacity: Capacity) {
        self.capacity = capacity;
    }

    /// The worker's answer to a dispatch.
    pub fn reply(&mut self, key: AttemptKey, reply: Reply, now: Instant) -> Replied {
        self.deaf = false;
        let Some(entry) = self.attempts.get_mut(key) else { return Replied::Unknown };
        match (reply, entry.state()) {
            (_, State::Revoked(_)) => Replied::Unknown,
            (Reply::Accepted(phase), State::Sent(_) | State::Accepted) => {
                entry.saw(phase, now);
                self.attempts.set(key, State::Accepted);
                Replied::Noted
            }
            (Reply::Accepted(_) | Reply::Rejected(..), State::Reporting) => Replied::Noted,
            (Reply::Rejected(reason, _), State::Sent(_) | State::Accepted) => {
                let lane = entry.lane().clone();
                self.attempts.remove(key);
                match reason {
                    RejectReason::Draining => self.taking = false,
                    // It says what it can do at its next heartbeat; until then it would refuse again.
                    RejectReason::NoCapacity | RejectReason::Stale => self.refused = true,
                    RejectReason::Unspecified | RejectReason::UnknownJobType | RejectReason::UnreadablePayload => {}
                }
                Replied::Rejected(lane)
            }
        }
    }

    /// A result was received: the slot is free.
    pub fn reporting(&mut self, key: AttemptKey) {
        self.deaf = false;
        self.attempts.set(key, State::Reporting);
        self.needs_no_start(key);
    }

    /// That an attempt runs needs not be written any more.
    fn needs_no_start(&mut self, key: AttemptKey) {
        if let Some(entry) = self.attempts.get_mut(key) {
            entry.start = Start::Written;
        }
    }

    /// A result was acknowledged; whether that gives its queue a free slot, of which it had none: what a worker may be given
    /// is bounded by what of it waits to be stored, too.
    pub fn acked(&mut self, key: AttemptKey) -> bool {
        let Some(entry) = self.attempts.get(key) else { return false };
        let queue = entry.lane().queue.clone();
        let busy = self.free(&queue) == 0;
        self.attempts.remove(key);
        self.acked.insert(key, self.read);
        busy && self.free(&queue) > 0
    }

    /// Whether the session holds an attempt, or held it until a moment ago.
    pub fn knows(&self, key: AttemptKey) -> bool {
        self.holds(key) || self.acked.contains_key(&key)
    }

    /// A heartbeat: the worker's full state.
    pub fn heartbeat(&mut self, sequence: i64, listed: &[Listed], now: Instant) -> Reading {
        self.read = self.read.max(sequence);
        self.refused = false;
        // A heartbeat that was composed after the acknowledgement lists it no more; one may have been on the way.
        self.acked.retain(|_, read| sequence <= read.saturating_add(2));
        let mut reading = Reading::default();
        let phases: HashMap<_, _> = listed.iter().map(|held| (held.key, held.phase)).collect();
        for held in listed {
            match self.attempts.get_mut(held.key) {
                Some(entry) => {
                    let state = entry.state();
                    if let State::Sent(_) | State::Accepted = state {
                        entry.saw(held.phase, now);
                    }
                    if entry.is_past_its_stop(now) {
                        reading.unknown.push(held.key);
                    }
                    if let State::Sent(_) = state {
                        self.attempts.set(held.key, State::Accepted);
                    }
                }
                None if self.acked.contains_key(&held.key) => {}
                None => reading.unknown.push(held.key),
            }
        }
        let unlisted = self.attempts.iter().filter(|(key, _)| !phases.contains_key(key));
        let unlisted: Vec<_> = unlisted.map(|(key, entry)| (key, entry.state())).collect();
        for (key, state) in unlisted {
            match state {
                State::Sent(_) | State::Reporting => {}
                State::Accepted => {
                    self.attempts.remove(key);
                    reading.absent.push(key);
                }
                State::Revoked(_) => drop(self.attempts.remove(key)),
            }
        }
        reading
    }

    /// What to repeat to the worker until its state shows it.
    pub fn directives(&self, listed: &[Listed]) -> Vec<Directive> {
        let mut directives = Vec::new();
        for held in listed {
            let Some(entry) = self.attempts.get(held.key) else { continue };
            if let State::Revoked(reason) = entry.state() {
                directives.push(Directive::Abandon(held.key, reason));
            } else if let (Some((stop, _)), Phase::Reserved | Phase::Running) = (&entry.stop, held.phase) {
                directives.push(Directive::Cancel(held.key, stop.clone()));
            }
        }
        directives
    }

    /// Somebody wants an attempt stopped; what to send, unless it was sent before.
    pub fn stop(&mut self, key: AttemptKey, reason: &str, default_grace: Duration, now: Instant) -> Option<Stop> {
        let entry = self.attempts.get_mut(key)?;
        if entry.stop.is_some() || entry.state() == State::Reporting {
            return None;
        }
        let stop = Stop { reason: reason.into(), grace: entry.grace.unwrap_or(default_grace) };
        entry.stop = Some((stop.clone(), now));
        Some(stop)
    }

    /// An attempt lost its lease; `false` where the session does not hold it, or knew that.
    pub fn revoke(&mut self, key: AttemptKey, reason: AbandonReason) -> bool {
        match self.attempts.get(key).map(Entry::state) {
            Some(State::Revoked(_)) | None => false,
            Some(State::Sent(_) | State::Accepted | State::Reporting) => {
                self.attempts.set(key, State::Revoked(reason));
                self.needs_no_start(key);
                true
            }
        }
    }

    /// Attempts whose dispatch was not answered in time. They are asked for once: from here on they have lost their lease.
    pub fn silent(&mut self, now: Instant, reply_timeout: Duration) -> Vec<AttemptKey> {
        let late = |entry: &Entry| matches!(entry.state(), State::Sent(sent) if sent.plus(reply_timeout) <= now);
        let silent: Vec<_> = self.attempts.iter().filter(|(_, entry)| late(entry)).map(|(key, _)| key).collect();
        for key in &silent {
            self.attempts.set(*key, State::Revoked(AbandonReason::Returned));
        }
        self.deaf |= !silent.is_empty();
        silent
    }

    /// Attempts that gave no sign of life for too long. They are asked for once: from here on they have lost their lease.
    pub fn stalled(&mut self, now: Instant) -> Vec<AttemptKey> {
        let late = |entry: &Entry| entry.stalls().is_some_and(|at| at <= now);
        let stalled: Vec<_> = self.attempts.iter().filter(|(_, entry)| late(entry)).map(|(key, _)| key).collect();
        for key in &stalled {
            self.attempts.set(*key, State::Revoked(AbandonReason::LeaseExpired));
            self.needs_no_start(*key);
        }
        stalled
    }

    /// An attempt gave a sign of life.
    pub fn lives(&mut self, key: AttemptKey, now: Instant) {
        if let Some(entry) = self.attempts.get_mut(key) {
            entry.lives(now);
        }
    }

    /// Attempts to be written as RUNNING now, with the time they were accepted.
    pub fn starts(&mut self, now: Instant) -> Vec<(AttemptKey, Instant)> {
        let mut starts = Vec::new();
        for (key, entry) in self.attempts.iter_mut() {
            if let Start::Seen(started) = entry.start
                && started.plus(WRITE_START_AFTER) <= now
            {
                entry.start = Start::Written;
                starts.push((key, started));
            }
        }
        starts
    }

    /// When [`Held::silent`], [`Held::starts`] or [`Held::stalled`] will next have something.
    pub fn next_look(&self, reply_timeout: Duration) -> Option<Instant> {
        let silent = self.attempts.iter().filter_map(|(_, entry)| match entry.state() {
            State::Sent(sent) => Some(sent.plus(reply_timeout)),
            State::Accepted | State::Reporting | State::Revoked(_) => None,
        });
        let starts = self.attempts.iter().filter_map(|(_, entry)| match entry.start {
            Start::Seen(started) => Some(started.plus(WRITE_START_AFTER)),
            Start::Unseen | Start::Written => None,
        });
        let stalls = self.attempts.iter().filter_map(|(_, entry)| entry.stalls());
        silent.chain(starts).chain(stalls).min()
    }

    /// A running attempt told how far it is; what watchers are told, where the session holds it and it said something new.
    pub fn tell_progress(&mut self, key: AttemptKey, phase: Phase, progress: Progress, now: Instant) -> Option<Told> {
        let entry = self.attempts.get_mut(key)?;
        entry.saw(phase, now);
        entry.lives(now);
        let same = match &entry.progress {
            Some(before) => before.fraction == progress.fraction && before.message == progress.message,
            None => progress.fraction == 0.0 && progress.message.is_empty(),
        };
        if same {
            return None;
        }
        entry.progress = Some(progress.clone());
        Some(Told { lane: entry.lane().clone(), job: entry.job.clone(), progress })
    }

    /// What an attempt that still counts last told.
    pub fn progress(&self, key: AttemptKey) -> Option<Progress> {
        let entry = self.attempts.get(key)?;
        match entry.state() {
            State::Revoked(_) => None,
            State::Sent(_) | State::Accepted | State::Reporting => entry.progress.clone(),
        }
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.attempts.is_empty()
    }
}

#[cfg(test)]
pub(super) mod tests;
