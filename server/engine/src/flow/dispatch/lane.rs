//! What the dispatcher knows of one lane: which of its runs wait in memory, and how far that is the truth.
//!
//! What is in memory is in the order of release ([`Ring`]), whether it was read from the store or queued by this server.
//! It may be all that waits, and then everything that this server queues joins it; or the best of what waits, read beyond
//! what was wanted and believed for a moment. Then what is queued joins it where it belongs before something that is
//! there, so that it overtakes; anything else waits in the store for the next look, as what lies between is not known.

use std::{
    cmp::Ordering,
    collections::{HashMap, HashSet},
    time::Duration,
};

use super::ring::Ring;
use crate::{
    domain::{
        ids::RunId,
        instant::Instant,
        names::{FairnessKey, Lane},
    },
    ports::{
        broker::Pointer,
        store::{Head, Look, Waiting},
    },
};

/// A pointer that was not leased for so long is released again.
const FORGET: Duration = Duration::from_secs(30);
/// Runs of one lane that are remembered before the store is read instead.
const REMEMBER: usize = 4_096;
/// What was read beyond what was wanted is believed for so long: another server's runs may be better, this one's overtake.
pub(super) const BELIEVE: Duration = Duration::from_millis(100);
/// Runs of one lane that are read beyond what is wanted, at least and at most: how many follows how fast they are wanted.
const AHEAD: (usize, usize) = (16, 1_024);

/// What is known of a lane.
#[derive(Debug)]
pub(super) struct LaneBoard {
    /// Waits and may be released.
    ring: Ring,
    reach: Reach,
    /// How many are read beyond what is wanted.
    ahead: usize,
    /// Queued by this server since a reading began that is under way: it may or may not find them.
    meanwhile: Option<Vec<Waiting>>,
    /// Released and neither leased nor stale so far, with the time of release.
    out: HashMap<RunId, (i64, Instant)>,
    /// When the store was last read.
    looked: Option<Instant>,
    /// Counts what made a reading of the store old, so that a reading under way is not believed too much.
    stale: u64,
    /// Its queue is paused, or has gone as fast as it may; not looked at before.
    blocked: Option<Instant>,
    /// Handed back with the wish not to be offered again before this; with its place, once the run waits again.
    held_off: HashMap<RunId, (Instant, Option<Waiting>)>,
}

/// How far the ring is the truth.
#[derive(Debug, PartialEq, Eq)]
enum Reach {
    /// Nothing is known.
    Nothing,
    /// The best that wait, believed until this time. Of priorities below `lowest` there may be any; of `lowest` itself, any
    /// of the open keys behind those of it that are in the ring; or of any key, where none are named.
    Best { lowest: u8, open: Option<HashSet<FairnessKey>>, until: Instant },
    /// Nobody waits in the store beside what is in the ring, out or held off.
    All,
}

impl Default for LaneBoard {
    fn default() -> Self {
        Self {
            ring: Ring::default(),
            reach: Reach::Nothing,
            ahead: AHEAD.0,
            meanwhile: None,
            out: HashMap::new(),
            looked: None,
            stale: 0,
            blocked: None,
            held_off: HashMap::new(),
        }
    }
}

/// What is to be done for a lane.
pub(super) enum Plan {
    /// Nothing.
    Nothing,
    /// These go out; and whether the store should be looked at next all the same.
    Release(Vec<Pointer>, bool),
    /// The store is to be asked this.
    Read(Look, Reading),
}

/// A look at the store.
#[derive(Debug)]
pub(super) struct Reading {
    /// How many are released of it.
    wanted: usize,
    /// What else is found may be believed for a moment.
    believe: bool,
    /// So many tokens of its queue's rate were taken for it.
    paid: usize,
    stale: u64,
}

impl Reading {
    /// So many tokens were taken for it, if any: as many as are wanted, or as there are.
    pub(super) fn pay(&mut self, tokens: usize) -> usize {
        if tokens < self.wanted {
            self.narrow(tokens);
        }
        self.paid = self.wanted;
        self.paid
    }

    /// Tokens that are left of those taken for it, where so many go.
    pub(super) fn left(&self, gone: usize) -> usize {
        self.paid.saturating_sub(gone)
    }

    /// Its queue has room for so many and no more; whether that leaves anything to be read.
    pub(super) fn narrow(&mut self, room: usize) -> bool {
        self.wanted = self.wanted.min(room);
        self.believe = false;
        self.wanted > 0
    }
}

impl LaneBoard {
    /// What may be released at once, no more than there are tokens, or what must be read to know it. A lane with demand is read every `look` at least,
    /// whatever was told.
    pub(super) fn plan(&mut self, lane: &Lane, free: usize, tokens: usize, now: Instant, look: Duration) -> Plan {
        self.out.retain(|_, (_, released)| now.since(*released) < FORGET);
        self.offer_again(now);
        let wanted = (free * 2).saturating_sub(self.out.len());
        if wanted == 0 || self.blocked.is_some_and(|until| until > now) {
            return Plan::Nothing;
        }
        // What waits here goes with the next token; who knows of nothing looks, and may find another rate.
        if tokens == 0 && !self.ring.is_empty() {
            return Plan::Nothing;
        }
        let looked = self.looked;
        let due_after = |length| looked.is_none_or(|looked| now.since(looked) >= length);
        match &self.reach {
            // What waits here does not wait for a look that has become due: the look comes next, if nothing is there.
            Reach::All if !due_after(look * 2) && !self.ring.is_empty() => {
                return Plan::Release(self.release(wanted.min(tokens), now), due_after(look));
            }
            Reach::All if !due_after(look) => return Plan::Nothing,
            Reach::Best { until, .. } if !self.ring.is_empty() => {
                if *until > now {
                    if self.ring.len() <= wanted {
                        self.ahead = (self.ahead * 2).min(AHEAD.1);
                    }
                    return Plan::Release(self.release(wanted.min(tokens), now), false);
                }
                self.ahead = (self.ahead / 2).max(AHEAD.0);
                self.forget_what_waits();
            }
            Reach::All | Reach::Best { .. } | Reach::Nothing => {}
        }
        self.meanwhile = Some(Vec::new());
        let unmet = self.held_off.values().filter(|(_, waiting)| waiting.is_none()).count();
        let limit = wanted + unmet + self.ahead + 1;
        let look = Look { lane: lane.clone(), limit, turns: self.ring.turns(), known: self.known() };
        Plan::Read(look, Reading { wanted, believe: true, paid: 0, stale: self.stale })
    }

    /// What a reading is to pass over: what is out, and what may not go.
    fn known(&self) -> Vec<Pointer> {
        let out = self.out.iter().map(|(run, (generation, _))| Pointer { run: *run, generation: *generation });
        let held_off = self.held_off.values().filter_map(|(_, waiting)| Some(waiting.as_ref()?.pointer));
        out.chain(held_off).collect()
    }

    /// What the store answered to a [`Plan::Read`]: what goes out of it, and whether there is more of it to be had at once.
    pub(super) fn take(&mut self, reading: &Reading, head: Head, now: Instant) -> (Vec<Pointer>, bool) {
        let Reading { wanted, believe, paid: _, stale } = reading;
        let Head { runs, more } = head;
        let current = self.stale == *stale;
        self.looked = current.then_some(now);
        self.ring.clear();
        let lowest = runs.last().map(|last| last.place.priority);
        let mut parked = false;
        for waiting in runs {
            if self.park(&waiting) {
                parked = true;
            } else {
                self.ring.insert(waiting);
            }
        }
        self.reach = match lowest {
            Some(lowest) if more || !current => {
                let open = if parked { None } else { self.ring.open_keys(lowest) };
                Reach::Best { lowest, open, until: now.plus(BELIEVE) }
            }
            None if more || !current => Reach::Nothing,
            Some(_) | None => Reach::All,
        };
        for waiting in self.meanwhile.take().unwrap_or_default() {
            self.put(waiting);
        }
        let taken = self.release(*wanted, now);
        if !believe && !self.ring.is_empty() {
            self.forget_what_waits();
        }
        let again = more && !taken.is_empty() && taken.len() < *wanted;
        (taken, again)
    }

    /// The queue is paused, or has gone as fast as it may.
    pub(super) fn block(&mut self, until: Instant) {
        self.blocked = Some(until);
        self.meanwhile = None;
    }

    /// A run was queued by this server.
    pub(super) fn offer(&mut self, waiting: Waiting) {
        // A run that was out and came back is released again under its new stay in the queue.
        self.out.remove(&waiting.pointer.run);
        if !self.park(&waiting) {
            match &mut self.meanwhile {
                Some(meanwhile) if meanwhile.len() < REMEMBER => meanwhile.push(waiting.clone()),
                Some(_) => self.stale += 1,
                None => {}
            }
            self.put(waiting);
        }
    }

    /// A pointer was dealt with.
    pub(super) fn done(&mut self, pointer: &Pointer) {
        if self.out.get(&pointer.run).is_some_and(|(generation, _)| *generation == pointer.generation) {
            self.out.remove(&pointer.run);
        }
    }

    /// Pointers that were released wait in the store again, behind what nobody knows.
    pub(super) fn take_back(&mut self, pointers: &[Pointer]) {
        for pointer in pointers {
            self.out.remove(&pointer.run);
        }
        self.forget_what_waits();
    }

    /// A run is not to be offered before `until`.
    pub(super) fn hold_off(&mut self, run: RunId, until: Instant) {
        self.ring.remove(run);
        self.held_off.insert(run, (until, None));
    }

    /// What is known is old. The best of what waits is believed for the moment that it is anyway, unless `everything` is.
    pub(super) fn look(&mut self, everything: bool) {
        if everything || self.reach == Reach::All {
            self.forget_what_waits();
        }
        self.looked = None;
        self.blocked = None;
        self.stale += 1;
    }

    fn forget_what_waits(&mut self) {
        self.ring.clear();
        self.reach = Reach::Nothing;
    }

    /// A run waits that is held off: it is offered when its time has come. `false` where it is not held off.
    fn park(&mut self, waiting: &Waiting) -> bool {
        match self.held_off.get_mut(&waiting.pointer.run) {
            Some((_, parked)) => {
                *parked = Some(waiting.clone());
                true
            }
            None => false,
        }
    }

    /// Offers what is held off no longer.
    fn offer_again(&mut self, now: Instant) {
        if self.held_off.is_empty() {
            return;
        }
        let mut ready: Vec<_> = self.held_off.extract_if(|_, (until, _)| *until <= now).collect();
        ready.sort_unstable_by_key(|(run, (until, _))| (*until, *run));
        for waiting in ready.into_iter().filter_map(|(_, (_, parked))| parked) {
            self.put(waiting);
        }
    }

    /// A run waits. It goes without a look at the store where it is known who waits in front of it.
    fn put(&mut self, waiting: Waiting) {
        let belongs = match &self.reach {
            Reach::Nothing => false,
            Reach::Best { lowest, open, until: _ } => match waiting.place.priority.cmp(lowest) {
                Ordering::Greater => true,
                Ordering::Equal => {
                    let is_whole = open.as_ref().is_some_and(|open| !open.contains(&waiting.place.key));
                    is_whole || self.ring.is_followed(&waiting)
                }
                Ordering::Less => false,
            },
            Reach::All => true,
        };
        if !belongs {
            return;
        }
        if self.ring.len() < REMEMBER {
            self.ring.insert(waiting);
        } else {
            self.look(true);
        }
    }

    fn release(&mut self, wanted: usize, now: Instant) -> Vec<Pointer> {
        let taken = self.ring.take(wanted);
        self.out.extend(taken.iter().map(|pointer| (pointer.run, (pointer.generation, now))));
        taken
    }
}
