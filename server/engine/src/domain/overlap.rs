//! Overlap: what becomes of an instant, or of a trigger, while runs of the job are not over.
//!
//! A slot is a job's, or that of a concurrency key which several jobs may share ([`OverlapScope`]).
//!
//! The runs of a job that are not over either *hold* its slot, wherever they stand, or are *buffered*: made, and waiting
//! for the holders to be over. [`Overlap::admit`] decides in the transaction that makes a run; [`settle`] decides later
//! what the buffered ones of a job may do, and is asked by [`crate::flow::slots`] whenever a holder may be over.
//!
//! A logical run with all its attempts holds the slot, so one that waits for a retry does too. Whoever forces a run takes no
//! notice of the slot, and holds it all the same.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ids::RunId, instant::Instant};

/// What happens when a job is due while a run of it is not over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// The instant is skipped.
    #[default]
    Skip,
    /// Both run, up to so many at once; the instant is skipped beyond.
    Allow {
        /// How many, if that is limited.
        max: Option<u32>,
    },
    /// The newest waits until the run is over; one that waits already gives way to it.
    BufferOne,
    /// All wait, one after the other; the instant is dropped where so many wait already.
    BufferAll {
        /// How many.
        max: u32,
    },
    /// The run is cancelled, and the new one begins once it is over.
    CancelOther,
    /// The same, with no more time to stop than the rules of leases demand.
    TerminateOther,
}

impl Overlap {
    /// So many wait unless the job says otherwise.
    pub const BUFFER: u32 = 100;
    /// No job may hold, or buffer, more.
    pub const MOST: u32 = 1_000;
}

/// Whose runs a policy looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OverlapScope {
    /// Those of the job.
    #[default]
    Job,
    /// Those of the concurrency key.
    Key,
}

/// How a buffered run waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Buffer {
    /// For its turn.
    Turn,
    /// For its turn, unless a newer one comes.
    Newest,
    /// For the holders, which are cancelled for it.
    Cancel,
    /// The same, with the shortest grace.
    Terminate,
}

impl Buffer {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 4] = [Self::Turn, Self::Newest, Self::Cancel, Self::Terminate];

    /// The number that stands for it in columns.
    pub const fn code(self) -> i32 {
        match self {
            Self::Turn => 1,
            Self::Newest => 2,
            Self::Cancel => 3,
            Self::Terminate => 4,
        }
    }

    /// The one behind a code.
    pub fn from_code(code: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|buffer| buffer.code() == code)
    }

    /// Whether those that wait already give way to it.
    const fn replaces(self) -> bool {
        match self {
            Self::Turn => false,
            Self::Newest | Self::Cancel | Self::Terminate => true,
        }
    }
}

/// The runs of a job that are not over, counted no further than [`Overlap::MOST`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// They hold the slot.
    pub holding: u32,
    /// They wait for it.
    pub buffered: u32,
}

impl Standing {
    /// With one more run.
    pub fn and(&mut self, admitted: Admitted) {
        match admitted {
            Admitted::Run => self.holding += 1,
            Admitted::Buffer(_) => self.buffered += 1,
            Admitted::Busy | Admitted::Full => {}
        }
    }
}

/// What becomes of a run that would be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// It is made, and goes its way.
    Run,
    /// It is made, and waits for the slot.
    Buffer(Buffer),
    /// It is not made: the slot is held.
    Busy,
    /// It is not made: so many wait already.
    Full,
}

impl Overlap {
    /// What becomes of a run of a job that stands so.
    pub fn admit(self, standing: Standing) -> Admitted {
        let Standing { holding, buffered } = standing;
        let idle = holding == 0 && buffered == 0;
        match self {
            Self::Allow { max: None } => Admitted::Run,
            Self::Allow { max: Some(max) } if holding + buffered < max => Admitted::Run,
            Self::Skip | Self::BufferOne | Self::BufferAll { .. } | Self::CancelOther | Self::TerminateOther
                if idle =>
            {
                Admitted::Run
            }
            Self::Skip | Self::Allow { max: Some(_) } => Admitted::Busy,
            Self::BufferOne => Admitted::Buffer(Buffer::Newest),
            Self::BufferAll { max } if buffered >= max => Admitted::Full,
            Self::BufferAll { .. } => Admitted::Buffer(Buffer::Turn),
            Self::CancelOther => Admitted::Buffer(Buffer::Cancel),
            Self::TerminateOther => Admitted::Buffer(Buffer::Terminate),
        }
    }

    /// Whether [`Overlap::admit`] looks at how a job stands.
    pub const fn looks(self) -> bool {
        match self {
            Self::Allow { max: None } => false,
            Self::Skip
            | Self::Allow { max: Some(_) }
            | Self::BufferOne
            | Self::BufferAll { .. }
            | Self::CancelOther
            | Self::TerminateOther => true,
        }
    }
}

/// A buffered run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffered {
    /// Which.
    pub run: RunId,
    /// How it waits.
    pub buffer: Buffer,
    /// When it is due.
    pub due: Instant,
}

/// A run that holds the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Which.
    pub run: RunId,
    /// Somebody asked to cancel it; then when it ends without its worker.
    pub stop_deadline: Option<Instant>,
}

/// The slot of one job, or of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// Whoever waits, by due time and id.
    pub buffered: Vec<Buffered>,
    /// Whoever holds it.
    pub holders: Vec<Holder>,
}

/// What is to be done about a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// A newer run took this one's place.
    Replace(RunId),
    /// It makes room: cancel it, with a grace of its own where given.
    Cancel(RunId, Option<Duration>),
    /// It waited for this.
    Release(Buffered),
}

/// What is to be done at `now` about a slot, in order.
pub fn settle(slot: &Slot, now: Instant, lease_ttl: Duration) -> Vec<Act> {
    let Slot { buffered, holders } = slot;
    let Some(newest) = buffered.last() else { return Vec::new() };
    let replaced = if newest.buffer.replaces() { &buffered[..buffered.len() - 1] } else { &[] };
    let mut acts: Vec<_> = replaced.iter().map(|older| Act::Replace(older.run)).collect();
    let next = buffered[replaced.len()];
    if holders.is_empty() {
        acts.push(Act::Release(next));
        return acts;
    }
    let grace = match next.buffer {
        Buffer::Turn | Buffer::Newest => return acts,
        Buffer::Cancel => None,
        Buffer::Terminate => Some(lease_ttl),
    };
    let in_time = |deadline: Instant| grace.is_none_or(|grace| deadline <= now.plus(grace));
    let waits = holders.iter().filter(|holder| !holder.stop_deadline.is_some_and(in_time));
    acts.extend(waits.map(|holder| Act::Cancel(holder.run, grace)));
    acts
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const TTL: Duration = Duration::from_secs(30);

    fn at(second: i64) -> Instant {
        Instant::from_micros(second * 1_000_000)
    }

    fn run(number: u128) -> RunId {
        RunId::from_uuid(uuid::Uuid::from_u128(number))
    }

    fn buffered(number: u128, buffer: Buffer) -> Buffered {
        Buffered { run: run(number), buffer, due: at(0) }
    }

    fn holder(number: u128, stop: Option<i64>) -> Holder {
        Holder { run: run(number), stop_deadline: stop.map(at) }
    }

    #[test]
    fn each_policy_admits_what_it_says() {
        let stands = |holding, buffered| Standing { holding, buffered };
        for (overlap, standing, admitted) in [
            (Overlap::Skip, stands(0, 0), Admitted::Run),
            (Overlap::Skip, stands(1, 0), Admitted::Busy),
            (Overlap::Skip, stands(0, 1), Admitted::Busy),
            (Overlap::Allow { max: None }, stands(9, 0), Admitted::Run),
            (Overlap::Allow { max: Some(2) }, stands(1, 0), Admitted::Run),
            (Overlap::Allow { max: Some(2) }, stands(1, 1), Admitted::Busy),
            (Overlap::BufferOne, stands(0, 0), Admitted::Run),
            (Overlap::BufferOne, stands(1, 1), Admitted::Buffer(Buffer::Newest)),
            (Overlap::BufferAll { max: 2 }, stands(0, 0), Admitted::Run),
            // Nobody overtakes those that wait, although nobody holds the slot for the moment.
            (Overlap::BufferAll { max: 2 }, stands(0, 1), Admitted::Buffer(Buffer::Turn)),
            (Overlap::BufferAll { max: 2 }, stands(1, 2), Admitted::Full),
            (Overlap::CancelOther, stands(1, 0), Admitted::Buffer(Buffer::Cancel)),
            (Overlap::TerminateOther, stands(1, 0), Admitted::Buffer(Buffer::Terminate)),
        ] {
            assert_eq!(overlap.admit(standing), admitted, "{overlap:?} {standing:?}");
        }
    }

    #[test]
    fn a_turn_comes_when_the_slot_is_free() {
        let waiting = vec![buffered(1, Buffer::Turn), buffered(2, Buffer::Turn)];
        let held = Slot { buffered: waiting.clone(), holders: vec![holder(9, None)] };
        assert_eq!(settle(&held, at(0), TTL), []);
        let free = Slot { buffered: waiting, holders: Vec::new() };
        assert_eq!(settle(&free, at(0), TTL), [Act::Release(buffered(1, Buffer::Turn))]);
    }

    #[test]
    fn the_newest_takes_the_place_of_those_that_wait() {
        let waiting = vec![buffered(1, Buffer::Newest), buffered(2, Buffer::Turn), buffered(3, Buffer::Newest)];
        let mut slot = Slot { buffered: waiting, holders: vec![holder(9, None)] };
        let replaced = [Act::Replace(run(1)), Act::Replace(run(2))];
        assert_eq!(settle(&slot, at(0), TTL), replaced);
        slot.holders.clear();
        assert_eq!(settle(&slot, at(0), TTL)[2..], [Act::Release(buffered(3, Buffer::Newest))]);
    }

    #[test]
    fn the_others_are_asked_to_stop_once() {
        let asked = holder(9, Some(60));
        for (buffer, stopping, acts) in [
            (Buffer::Cancel, holder(9, None), vec![Act::Cancel(run(9), None)]),
            (Buffer::Cancel, asked, vec![]),
            (Buffer::Terminate, holder(9, None), vec![Act::Cancel(run(9), Some(TTL))]),
            // Asked before, with more time than there is now.
            (Buffer::Terminate, asked, vec![Act::Cancel(run(9), Some(TTL))]),
            (Buffer::Terminate, holder(9, Some(30)), vec![]),
        ] {
            let slot = Slot { buffered: vec![buffered(1, buffer)], holders: vec![stopping] };
            assert_eq!(settle(&slot, at(0), TTL), acts, "{buffer:?} {stopping:?}");
        }
    }

    fn any_overlap() -> impl Strategy<Value = Overlap> {
        prop_oneof![
            Just(Overlap::Skip),
            (1..4_u32).prop_map(|max| Overlap::Allow { max: Some(max) }),
            Just(Overlap::BufferOne),
            (1..4_u32).prop_map(|max| Overlap::BufferAll { max }),
            Just(Overlap::CancelOther),
            Just(Overlap::TerminateOther),
        ]
    }

    proptest! {
        /// Whatever comes and whatever ends: never more hold the slot than the policy says, and nobody waits for nothing.
        #[test]
        fn the_slot_is_never_held_by_too_many(overlap in any_overlap(), steps in prop::collection::vec(any::<bool>(), 1..60)) {
            let most = match overlap { Overlap::Allow { max: Some(max) } => max as usize, _ => 1 };
            let mut slot = Slot::default();
            for (number, comes) in (1..).zip(steps) {
                if comes {
                    let standing = Standing {
                        holding: u32::try_from(slot.holders.len()).unwrap(),
                        buffered: u32::try_from(slot.buffered.len()).unwrap(),
                    };
                    match overlap.admit(standing) {
                        Admitted::Run => slot.holders.push(holder(number, None)),
                        Admitted::Buffer(buffer) => slot.buffered.push(buffered(number, buffer)),
                        Admitted::Busy | Admitted::Full => {}
                    }
                } else {
                    slot.holders.pop();
                }
                for act in settle(&slot, at(0), TTL) {
                    match act {
                        Act::Replace(run) => slot.buffered.retain(|waiting| waiting.run != run),
                        Act::Cancel(run, _) => slot.holders.retain(|holder| holder.run != run),
                        Act::Release(released) => {
                            slot.buffered.retain(|waiting| waiting.run != released.run);
                            slot.holders.push(Holder { run: released.run, stop_deadline: None });
                        }
                    }
                }
                prop_assert!(slot.holders.len() <= most, "{slot:?}");
                if let Overlap::BufferAll { max } = overlap {
                    prop_assert!(slot.buffered.len() <= max as usize);
                }
                // A cancelled holder was over at once here, and whoever waited for it goes at the next look.
                let left = settle(&slot, at(0), TTL);
                prop_assert!(left.iter().all(|act| matches!(act, Act::Release(_))), "{left:?}");
            }
        }
    }
}
