//! Identifiers: one newtype per thing, so that a worker's id can never stand where a run's is meant.
//!
//! All are UUIDv7: sorting by id is sorting by creation, which is what lists page by, and what runs of one priority and due
//! time wait in.

use std::{
    fmt,
    str::FromStr,
    sync::atomic::{AtomicU32, Ordering},
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::instant::Instant;

/// The text is not a UUID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a UUID")]
pub struct IdError(String);

macro_rules! id {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id, made at `now`.
            pub fn new(now: Instant) -> Self {
                Self(uuid_at(now))
            }

            /// From stored bytes.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// For storing.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Uuid::try_parse(text).map(Self).map_err(|_| IdError(text.chars().take(64).collect()))
            }
        }
    };
}

id!(
    /// A run.
    RunId
);
id!(
    /// A job, through all its versions. A name that is used again after a delete gets a new one.
    JobUid
);
id!(
    /// A calendar, through all its versions.
    CalendarUid
);
id!(
    /// Runs that are made of instants that have passed.
    BackfillId
);
id!(
    /// A sink. A name that is used again after a delete gets a new one.
    SinkUid
);
id!(
    /// What a sink is told: the same in every attempt to tell it, so that a receiver can drop repeats.
    NoticeId
);
id!(
    /// A worker process. It owns leases; a restarted process is another one.
    WorkerId
);
id!(
    /// One stream of a worker.
    SessionId
);
id!(
    /// A server process.
    ServerId
);

/// UUIDv7 of an instant, to the microsecond. After that it counts what this process makes, so that ids of one instant sort by
/// creation; the rest is random. (The library's own counter would move ids of an earlier instant to the latest one.)
fn uuid_at(now: Instant) -> Uuid {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let micros = now.as_micros().max(0).cast_unsigned();
    let made = u64::from(MADE.fetch_add(1, Ordering::Relaxed));
    let (_, random) = Uuid::new_v4().as_u64_pair();
    let version = 7 << 12;
    let high = (micros / 1_000) << 16 | version | (micros % 1_000) << 2 | made >> 30;
    let variant = 0b10 << 62;
    let low = variant | (made & 0x3fff_ffff) << 32 | random & 0xffff_ffff;
    Uuid::from_u64_pair(high, low)
}

#[cfg(test)]
mod tests {
    use super::{Instant, RunId};

    #[test]
    fn ids_carry_their_time_and_read_back() {
        let early = RunId::new(Instant::from_micros(1_700_000_000_000_000));
        let late = RunId::new(Instant::from_micros(1_700_000_000_002_000));
        assert!(early < late);
        assert_eq!(early.to_string().parse(), Ok(early));
        assert!("nonsense".parse::<RunId>().is_err());
    }

    #[test]
    fn ids_of_one_instant_sort_by_creation_and_are_what_the_standard_says() {
        for micros in [0, 1_700_000_000_000_999, 253_402_207_200_999_999] {
            let now = Instant::from_micros(micros);
            let ids: Vec<_> = (0..10_000).map(|_| RunId::new(now)).collect();
            assert!(ids.is_sorted_by(|one, next| one < next));
            let uuid = ids[0].uuid();
            assert_eq!((uuid.get_version_num(), uuid.get_variant()), (7, uuid::Variant::RFC4122));
            let (secs, nanos) = uuid.get_timestamp().unwrap().to_unix();
            assert_eq!(secs * 1_000 + u64::from(nanos) / 1_000_000, u64::try_from(micros).unwrap() / 1_000);
        }
        assert!(RunId::new(Instant::from_micros(5)) < RunId::new(Instant::from_micros(6)));
        assert!(RunId::new(Instant::from_micros(6)) > RunId::new(Instant::from_micros(5)));
    }
}
