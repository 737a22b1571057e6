//! What SQLite and PostgreSQL do differently, beyond the words of the schema.
//!
//! Everything here has the form for SQLite only, with what PostgreSQL will need beside it:
//!
//! * **Locks.** The writer's `BEGIN IMMEDIATE` lets nobody else write, so a batch may read rows, decide in memory and write
//!   them. On PostgreSQL [`LOCK_RUNS`] and [`LOCK_OWNER`] become `FOR UPDATE` and `FOR SHARE`, workers before runs.
//! * **Batches.** Hot ones are sheets ([`super::sheet`]): on PostgreSQL `jsonb_array_elements`, with `decode` for `unhex`.
//!   The others are tuples of values in pieces of at most 64, against SQLite's planner.

/// Follows a read of runs that will be written in the same transaction.
pub(super) const LOCK_RUNS: &str = "";
/// Follows a read of workers whose epoch must not change before the commit.
pub(super) const LOCK_OWNER: &str = "";
