//! The one task that writes.
//!
//! SQLite has one writer at a time, and a commit costs a flush of the disk whatever is in it. So batches of all roles
//! queue here; when a commit ends, everything that waits becomes the next transaction, and nobody is answered before it
//! is durable. Batches grow by themselves under load and vanish when it is quiet: there is no timer.
//!
//! Each batch but the first has a savepoint of its own, so that one that fails or panics takes nothing but itself back.
//! Where the first fails, the transaction begins again.
//!
//! The log is moved into the database file by a second connection beside the writer, so that no commit pays for it. Only
//! when that one falls far behind does SQLite make a commit do it.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures::FutureExt;
use mainspring_engine::{
    ports::{
        clock::Clock as _,
        store::{StoreError, StoreResult},
    },
    tasks::Tasks,
};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, SqliteTransactionMode, TransactionOptions,
    TransactionTrait,
};
use tokio::sync::{Notify, mpsc, oneshot};

use super::{
    super::host_clock::HostClock,
    meter::WriterMeter,
    room::Room,
    statement::{self, BoxFuture, failed},
};

/// A transaction of the writer.
pub(super) type Tx = DatabaseTransaction;

/// So many batches may wait before their callers do.
const QUEUE: usize = 1_024;
/// So many batches share a transaction at most: what comes later should not wait for a commit without end.
const SHARED: usize = 128;
/// Row changes after which the log is moved into the database file: often enough that no commit has to, seldom enough
/// that a page which is written again and again is moved once.
const CHECKPOINT_AFTER: u64 = 40_000;
/// Writes a page of the file, also where it says already what is written: nobody reads the number.
const WRITTEN: &str = "PRAGMA user_version = 0";
/// Before the second batch of a transaction, before any later one, and behind one that failed: one statement each, since
/// every statement is a way to SQLite's thread and back.
const SAVEPOINT: &str = "SAVEPOINT batch";
const NEXT_SAVEPOINT: &str = "RELEASE batch; SAVEPOINT batch";
const ROLLBACK: &str = "ROLLBACK TO batch";
/// Transactions between two looks at how many rows have changed.
const LOOK_EVERY: u64 = 8;

/// Hands batches to the writing task.
#[derive(Debug)]
pub(super) struct Writer {
    queue: mpsc::Sender<Box<dyn Batch>>,
    tasks: Tasks,
}

/// A batch on its way to a commit.
trait Batch: Send {
    /// Does its work; `false` where it failed and what it wrote must be taken back.
    fn run<'a>(&'a mut self, tx: &'a Tx) -> BoxFuture<'a, bool>;
    /// Why it failed, where it did.
    fn failure(&mut self) -> Option<&mut StoreError>;
    /// Answers the caller: with what it did, unless the commit failed.
    fn answer(self: Box<Self>, commit: StoreResult<()>);
}

struct Pending<T, W> {
    work: Option<W>,
    done: StoreResult<T>,
    reply: oneshot::Sender<StoreResult<T>>,
}

impl<T, W> Batch for Pending<T, W>
where
    T: Send,
    W: for<'a> FnOnce(&'a Tx) -> BoxFuture<'a, StoreResult<T>> + Send,
{
    fn run<'a>(&'a mut self, tx: &'a Tx) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let Some(work) = self.work.take() else { return false };
            self.done = match AssertUnwindSafe(async move { work(tx).await }).catch_unwind().await {
                Ok(done) => done,
                Err(_) => Err(StoreError::Corrupt("a batch panicked; it was rolled back".into())),
            };
            self.done.is_ok()
        })
    }

    fn failure(&mut self) -> Option<&mut StoreError> {
        self.done.as_mut().err()
    }

    fn answer(self: Box<Self>, commit: StoreResult<()>) {
        // A caller that has gone away does not need to know.
        let _ = self.reply.send(self.done.and_then(|done| commit.map(|()| done)));
    }
}

impl Writer {
    /// Starts the task that owns `connection` (a pool of one), and the one that checkpoints over `beside`.
    pub(super) fn start(
        name: &'static str,
        connection: DatabaseConnection,
        beside: DatabaseConnection,
        meter: WriterMeter,
        room: Arc<Room>,
    ) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let tasks = Tasks::default();
        let changed = Arc::new(Notify::new());
        let (gone, beside_gone) = oneshot::channel();
        let writing = Writing {
            connection,
            waiting,
            changed: Arc::clone(&changed),
            beside_gone,
            transactions: 0,
            seen: 0,
            clock: HostClock::default(),
            meter,
            room,
        };
        let token = tasks.token();
        tasks.spawn(name, writing.run(token));
        let token = tasks.token();
        tasks.spawn("sql-checkpoint", async move {
            while token.run_until_cancelled(changed.notified()).await.is_some() {
                if let Err(error) = beside.execute_unprepared("PRAGMA wal_checkpoint(PASSIVE)").await {
                    tracing::debug!(%error, "the checkpoint beside the writer failed; a commit will do it");
                }
            }
            let _ = beside.close().await;
            drop::<oneshot::Sender<()>>(gone);
        });
        Self { queue, tasks }
    }

    /// Runs `work` in the next transaction; returns after its commit.
    pub(super) async fn write<T, W>(&self, work: W) -> StoreResult<T>
    where
        T: Send + 'static,
        W: for<'a> FnOnce(&'a Tx) -> BoxFuture<'a, StoreResult<T>> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let unknown = || StoreError::Unavailable("the store is closed".into());
        let batch = Pending { work: Some(work), done: Err(unknown()), reply };
        self.queue.send(Box::new(batch)).await.map_err(|_| unknown())?;
        answer.await.unwrap_or_else(|_| Err(unknown()))
    }

    /// Commits something that needs room and changes nothing.
    pub(super) async fn prove(&self) -> StoreResult<()> {
        self.write(|tx| Box::pin(async move { statement::exec(tx, WRITTEN, Vec::new()).await.map(drop) })).await
    }

    /// Batches that wait for the next transaction.
    pub(super) fn waiting(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// Ends after what was given before.
    pub(super) async fn close(&self) {
        self.tasks.stop();
        self.tasks.ended().await;
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

struct Writing {
    connection: DatabaseConnection,
    waiting: mpsc::Receiver<Box<dyn Batch>>,
    changed: Arc<Notify>,
    /// Ends when the connection beside this one is closed.
    beside_gone: oneshot::Receiver<()>,
    transactions: u64,
    seen: u64,
    /// For how long things took: nothing is decided by it.
    clock: HostClock,
    meter: WriterMeter,
    room: Arc<Room>,
}

impl Writing {
    async fn run(mut self, stop: tokio_util::sync::CancellationToken) {
        let mut batches = Vec::with_capacity(SHARED);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled(), if !self.waiting.is_closed() => self.waiting.close(),
                count = self.waiting.recv_many(&mut batches, SHARED) => {
                    if count == 0 {
                        break;
                    }
                    self.commit(&mut batches).await;
                }
            }
        }
        // One after the other: of two that close at once, each may find the other there and leave the log behind.
        let _ = self.beside_gone.await;
        let _ = self.connection.close().await;
    }

    async fn commit(&mut self, batches: &mut Vec<Box<dyn Batch>>) {
        if let Some(forbidden) = self.room.forbids(batches.len()) {
            for mut batch in batches.drain(..) {
                if let Some(failure) = batch.failure() {
                    *failure = forbidden.clone();
                }
                batch.answer(Err(forbidden.clone()));
            }
            return;
        }
        let began = self.clock.now();
        let outcome = self.transact(batches).await;
        self.meter.committed(batches.len(), self.clock.now().since(began));
        let outcome = match outcome {
            Ok(()) => Ok(()),
            Err(error) => Err(self.failed(error, batches.len()).await),
        };
        for mut batch in batches.drain(..) {
            if let Some(failure) = batch.failure() {
                *failure = self.room.name(failure.clone()).await;
            }
            batch.answer(outcome.clone());
        }
    }

    /// What a transaction that failed says to everybody in it. Where nothing can be written the log was told already.
    async fn failed(&self, error: DbErr, batches: usize) -> StoreError {
        let text = error.to_string();
        let failure = self.room.name(failed(error)).await;
        match failure {
            StoreError::Unwritable { .. } => tracing::debug!(error = text, batches, "a transaction failed"),
            StoreError::Unavailable(_) | StoreError::Conflict(_) | StoreError::TooSlow | StoreError::Corrupt(_) => {
                tracing::error!(error = text, batches, "a transaction failed");
            }
        }
        failure
    }

    async fn transact(&mut self, batches: &mut [Box<dyn Batch>]) -> Result<(), DbErr> {
        let immediate = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        let begin = || self.connection.begin_with_options(immediate);
        let mut tx = begin().await?;
        let mut saved = false;
        let alone = batches.len() == 1;
        for (at, batch) in batches.iter_mut().enumerate() {
            // Behind the first one, which has nothing before it that a failure could take with it.
            if at > 0 {
                statement::exec_plain(&tx, if saved { NEXT_SAVEPOINT } else { SAVEPOINT }).await?;
                saved = true;
            }
            if batch.run(&tx).await {
                continue;
            }
            if saved {
                statement::exec_plain(&tx, ROLLBACK).await?;
            } else {
                tx.rollback().await?;
                if alone {
                    return Ok(());
                }
                tx = begin().await?;
            }
        }
        self.transactions += 1;
        let look = self.transactions.is_multiple_of(LOOK_EVERY);
        let changes = if look { total_changes(&tx).await } else { None };
        tx.commit().await?;
        // A connection that took the place of a broken one counts from zero.
        self.seen = changes.map_or(self.seen, |changes| self.seen.min(changes));
        if let Some(changes) = changes
            && changes - self.seen > CHECKPOINT_AFTER
        {
            self.seen = changes;
            self.changed.notify_one();
        }
        Ok(())
    }
}

/// Rows changed over this connection so far.
async fn total_changes(tx: &Tx) -> Option<u64> {
    let row = statement::query_one(tx, "SELECT total_changes()", Vec::new()).await.ok()??;
    statement::single::<i64>(&row).ok()?.try_into().ok()
}
