//! Concurrency keys: at most so many runs of one are at workers at once, and they begin no faster than its rate.
//!
//! What counts is an open attempt, so a run whose lease expired holds its place until it is certain that the attempt never
//! comes back, and the worker that comes back with it exceeds nothing. The store keeps the count, and enforces it where a run
//! is leased. Runs of a key that is full are *parked*: they wait where no lane finds them, or a lane would be read through
//! them again and again. Which of them are let go when there is room is decided here.
//!
//! A rate is kept and enforced the same way: a lease takes a token of the key's, an attempt that was returned before it began
//! gives it back, and a key that has none has no room. A run whose worker was lost goes to the next without asking, since its
//! place is its own; what it takes is made up for by those after it.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::{names::ConcurrencyKey, rate::Rate};

/// The key a run goes by, or a template of it, and what is said of the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Concurrency<K = ConcurrencyKey> {
    /// The key, of the run's namespace.
    pub key: K,
    /// How many runs of the key may have an open attempt from now on; none leaves it.
    pub limit: Option<NonZeroU32>,
    /// How fast they may begin from now on.
    #[serde(default)]
    pub pace: Pace,
}

/// What is said of the rate of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// Nothing: it stays as it is.
    #[default]
    Kept,
    /// It has none.
    Free,
    /// This.
    At(Rate),
}

/// How many runs of a key may have an open attempt, by what was said of it; none where any number may. Where nobody has
/// said a limit it is one, unless a rate says what the key is for.
pub fn at_once(said: Option<NonZeroU32>, rate: Option<Rate>) -> Option<NonZeroU32> {
    said.or(if rate.is_some() { None } else { Some(NonZeroU32::MIN) })
}

/// How many of the best that are parked are let go into their lane, where the key has `room` for so many.
///
/// They are known by their priorities: of those in the lane that may be leased, and of those that are parked; best first.
/// The lane then has the best so many of the key, so that what is urgent goes first and the lane fills the room. A key of
/// several lanes may have too many; whoever comes too late is parked again.
pub fn let_go(room: usize, ready: &[u8], parked: &[u8]) -> usize {
    let is_among_the_best = |(before, priority): &(usize, &u8)| {
        let better = ready.iter().take_while(|there| *there >= *priority).count();
        before + better < room
    };
    parked.iter().enumerate().take_while(is_among_the_best).count()
}

#[cfg(test)]
mod tests {
    use super::let_go;

    #[test]
    fn a_lane_has_the_best_that_there_is_room_for() {
        for (room, ready, parked, expected) in [
            (0, &[][..], &[5, 5][..], 0),
            (1, &[], &[5, 5], 1),
            (2, &[5], &[5, 5], 1),
            (1, &[5], &[5], 0),
            // What is urgent goes beside those that were let go before it.
            (1, &[5], &[9, 5], 1),
            (2, &[5, 5], &[9, 9, 9], 2),
            (2, &[9, 5], &[7, 6], 1),
            (3, &[], &[9, 1], 2),
        ] {
            assert_eq!(let_go(room, ready, parked), expected, "{room} {ready:?} {parked:?}");
        }
    }
}
