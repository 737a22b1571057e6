//! Identifiers: one newtype per thing, so that a worker's id can never stand where a run's is meant.
//!
//! All are UUIDv7: sorting by id is sorting by creation, which is what lists page by.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::{NoContext, Timestamp, Uuid};

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

/// UUIDv7 of an instant; the rest is random, and ids made by one process in one millisecond still sort by creation.
fn uuid_at(now: Instant) -> Uuid {
    let micros = now.as_micros().max(0).cast_unsigned();
    let nanos = u32::try_from(micros % 1_000_000).unwrap_or(0) * 1_000;
    Uuid::new_v7(Timestamp::from_unix(NoContext, micros / 1_000_000, nanos))
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
}
