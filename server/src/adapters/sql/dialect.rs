//! What SQLite and PostgreSQL do differently, beyond the words of the schema.
//!
//! Everything here has the form for SQLite only, with what PostgreSQL will need beside it:
//!
//! * **Locks.** The writer's `BEGIN IMMEDIATE` lets nobody else write, so a batch may read rows, decide in memory and write
//!   them. On PostgreSQL [`LOCK_RUNS`] and [`LOCK_OWNER`] become `FOR UPDATE` and `FOR SHARE`, workers before runs.
//! * **Batches.** Tuples of values in pieces of at most 64, against SQLite's planner; on PostgreSQL one `UNNEST`.
//! * **Choice of an index.** Without statistics SQLite holds the index of all runs of a job for as good as the one of those
//!   that are not over. On PostgreSQL [`UNFINISHED`] becomes empty.

/// Follows a read of runs that will be written in the same transaction.
pub(super) const LOCK_RUNS: &str = "";
/// Follows a read of workers whose epoch must not change before the commit.
pub(super) const LOCK_OWNER: &str = "";
/// Follows the table in a read of the runs of a job that are not over.
pub(super) const UNFINISHED: &str = "INDEXED BY run_unfinished";
