//! What `trigger` and `submit` say of a unique key.

use clap::{Args, ValueEnum};
use mainspring_proto::scheduler::v1::{UniqueConflict, UniqueKey};

use crate::times::Length;

/// A key that one run at a time holds.
#[derive(Args, Debug)]
pub(crate) struct UniqueArgs {
    /// Make it only where no other run holds this key
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    unique_key: Option<String>,
    /// It holds the key for so long, and until it is over in any case [default: until it is over]
    #[arg(long, value_name = "LENGTH", allow_hyphen_values = true, requires = "unique_key")]
    unique_window: Option<Length>,
    /// What is done where another run holds the key [default: reject]
    #[arg(long, value_enum, requires = "unique_key")]
    on_conflict: Option<Conflict>,
}

/// What becomes of a request whose key is taken.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Conflict {
    /// Refuse it, and name the run that holds the key
    Reject,
    /// Answer with the run that holds the key
    ReturnExisting,
    /// Cancel the run that holds the key, if it still waits
    ReplacePending,
}

impl UniqueArgs {
    pub(super) fn message(self) -> Option<UniqueKey> {
        let on_conflict = match self.on_conflict {
            None => UniqueConflict::Unspecified,
            Some(Conflict::Reject) => UniqueConflict::Reject,
            Some(Conflict::ReturnExisting) => UniqueConflict::ReturnExisting,
            Some(Conflict::ReplacePending) => UniqueConflict::ReplacePending,
        };
        let window = self.unique_window.map(Length::to_proto);
        self.unique_key.map(|key| UniqueKey { key, window, on_conflict: on_conflict.into() })
    }
}
