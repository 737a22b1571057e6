//! The store over SQL. SQLite today; the statements and the schema are meant for both dialects, and what differs is in
//! [`dialect`].
//!
//! One file per role of the port. Three things carry all of them:
//!
//! * [`writer`]: one task owns the one writing connection; whatever waits when a commit ends shares the next one.
//! * [`steps`]: a batch of events is *loaded* into memory, *decided* by the engine's transition table, and *written* set
//!   by set. Only the two most frequent rows of the table (lease of a fresh run, success) have a statement of their own,
//!   in [`hot`]; whatever that leaves goes through the table.
//! * [`rows`]: the only place where a row becomes a domain value and back.
//!
//! Reads that decide nothing go to a small pool of read-only connections.

use std::sync::Arc;

use mainspring_engine::{domain::rules::LeaseRules, ports::store::StoreResult, tasks::Tasks};

mod announced;
mod any;
mod backfills;
mod backup;
mod calendars;
mod catalog;
mod claims;
mod dead;
mod delays;
mod deliveries;
mod dialect;
mod dispatch;
mod due;
mod expire;
mod failing;
mod filter;
mod fire;
mod held;
mod hello;
mod hot;
mod identity;
mod insert;
mod jobs;
mod keys;
mod lanes;
mod lapsed;
mod leases;
mod logs;
mod meter;
mod names;
mod namespaces;
mod open;
mod outcomes;
mod paces;
mod pauses;
mod pending;
mod reads;
mod release;
mod restricted;
mod retention;
mod room;
mod rows;
mod salvage;
mod sheet;
mod sinks;
mod skipped;
mod slots;
mod standings;
mod statement;
mod steps;
mod stops;
mod submit;
mod successes;
mod told;
mod unused;
mod versions;
mod views;
mod wake;
mod writer;
mod zones;

pub use meter::WriterMeter;
pub use open::{OpenError, OpenOptions, Synchronous, open};

use self::{lanes::Lanes, names::JobNames, reads::Reads, statement::BoxFuture, writer::Writer};

/// The store of the embedded family: two SQLite files, held by one process.
#[derive(Debug)]
pub struct SqliteStore {
    known: Arc<Known>,
    writer: Writer,
    /// For people's questions.
    reads: Reads,
    /// For what the engine looks at, and for who may call.
    stage_reads: Reads,
    logs: logs::LogStore,
    /// Where copies are made from.
    main: open::Files,
    /// Whether there is any for what is written.
    room: Arc<room::Room>,
    /// Copies under way.
    tasks: Tasks,
    /// Where retention stands in its rounds through the runs.
    rounds: parking_lot::Mutex<retention::Rounds>,
    /// Refuses a second server as long as it lives.
    _lock: open::DataLock,
}

/// What never changes once it is known, shared by every batch; and whether there is anything to look for.
#[derive(Debug)]
struct Known {
    rules: LeaseRules,
    lanes: Lanes,
    names: JobNames,
    policies: rows::Policies,
    specs: jobs::Specs,
    calendars: calendars::Held,
    zones: zones::InForce,
    /// Queues that are paused or limited.
    restricted: any::Any,
    /// Sinks that are told anything.
    sinks: any::Any,
    /// Concurrency keys whose runs only a rate keeps back.
    rated: paces::Rated,
}

impl SqliteStore {
    /// Runs one batch in the writer's next transaction; answered after the commit.
    async fn write<T, W>(&self, work: W) -> StoreResult<T>
    where
        T: Send + 'static,
        W: for<'a> FnOnce(&'a writer::Tx) -> BoxFuture<'a, StoreResult<T>> + Send + 'static,
    {
        self.writer.write(work).await
    }

    /// Stops copies, ends the writers after what they were given, and closes the files. Calls after this fail.
    ///
    /// Readers go before writers: SQLite moves the log into the database and removes it when the last connection closes,
    /// unless that one may only read.
    pub async fn close(&self) {
        self.tasks.stop();
        self.tasks.ended().await;
        // An error here would only say that the file is closed already.
        for reads in [&self.reads, &self.stage_reads] {
            reads.close().await;
        }
        self.writer.close().await;
        self.logs.close().await;
    }
}

#[cfg(test)]
mod tests;
