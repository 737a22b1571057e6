//! The [`Leases`] role. Hello and expiry, which reconcile many runs at once, are in [`super::hello`] and [`super::expire`].

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use async_trait::async_trait;
use mainspring_engine::{
    domain::{
        attempt::AttemptKey,
        ids::{ServerId, SessionId, WorkerId},
        instant::Instant,
        names::Scope,
        run::RunState,
        transition::Event,
        worker::{Hello, WorkerStatus},
    },
    ports::{
        broker::Pointer,
        store::{
            HelloAnswer, LeaseAnswer, LeaseBatch, LeaseResult, Leases, Moved, Owner, Renewal, RenewalAnswer,
            StoreResult, Verdict,
        },
    },
};
use sea_orm::ConnectionTrait;
use uuid::Uuid;

use super::{
    Known, SqliteStore,
    dialect::LOCK_OWNER,
    dispatch::{Extras, attempt_of, extra_columns},
    expire, hello,
    hot::{self, Fence},
    restricted::Restricted,
    rows::time,
    statement::{Cells, chunks, exec, query, query_in, tuples},
    steps::{Loaded, Steps, columns},
    writer::Tx,
};

#[async_trait]
impl Leases for SqliteStore {
    async fn hello(
        &self,
        now: Instant,
        server: ServerId,
        session: SessionId,
        hello: &Hello,
        expire_time: Instant,
    ) -> StoreResult<HelloAnswer> {
        let lanes = hello::lanes(hello);
        self.ensure_lanes(now, &lanes).await?;
        let namespace = self.ensure_namespace(now, &hello.namespace).await?;
        let opening = hello::Opening { namespace, server, session, hello: hello.clone(), expire_time };
        let known = Arc::clone(&self.known);
        self.write(move |tx| Box::pin(async move { hello::open(tx, &known, now, opening).await })).await
    }

    async fn lease(&self, now: Instant, batches: Vec<LeaseBatch>) -> StoreResult<Vec<LeaseAnswer>> {
        let known = Arc::clone(&self.known);
        self.write(move |tx| Box::pin(async move { lease(tx, &known, now, batches).await })).await
    }

    async fn renew(&self, now: Instant, renewals: Vec<Renewal>) -> StoreResult<Vec<RenewalAnswer>> {
        self.write(move |tx| Box::pin(async move { renew(tx, now, renewals).await })).await
    }

    async fn reconcile(
        &self,
        now: Instant,
        owner: Owner,
        listed: Vec<AttemptKey>,
    ) -> StoreResult<Option<(Vec<(AttemptKey, Verdict)>, Vec<Moved>)>> {
        let known = Arc::clone(&self.known);
        self.write(move |tx| Box::pin(async move { hello::reconcile(tx, &known, now, owner, listed).await })).await
    }

    async fn stops(&self, now: Instant, owners: &[Owner]) -> StoreResult<Vec<(Owner, AttemptKey, String)>> {
        // Few attempts are being stopped, so they are read whole and matched here, however many sessions ask.
        let sql = format!("SELECT {} FROM run WHERE stop_deadline IS NOT NULL", columns());
        let rows = query(&self.reads, sql, Vec::new()).await?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let workers: Vec<WorkerId> = owners.iter().map(|owner| owner.worker).collect();
        let current = current_owners(&self.reads, &workers).await?;
        let mut stops = Vec::new();
        for row in &rows {
            let run = Loaded::read(&mut Cells::of(row), &self.known)?;
            let owner = run.life.worker.and_then(|worker| current.get(&worker));
            if let Some(owner) = owner.filter(|owner| owners.contains(owner))
                && let Some(why) = run.life.stop_reason(&run.policy, now)
            {
                stops.push((*owner, run.key(), why));
            }
        }
        Ok(stops)
    }

    async fn set_status(&self, now: Instant, owner: Owner, status: WorkerStatus) -> StoreResult<()> {
        self.write(move |tx| Box::pin(async move { set_status(tx, now, owner, status).await })).await
    }

    async fn drain_worker(&self, _now: Instant, scope: &Scope, worker: WorkerId) -> StoreResult<bool> {
        let Some(namespace) = self.known.lanes.namespace(&scope.0) else { return Ok(false) };
        self.write(move |tx| {
            Box::pin(async move {
                let draining = WorkerStatus::Draining.code();
                let sql = "UPDATE worker SET draining = TRUE, status = CASE WHEN status = 1 THEN ? ELSE status END \
                     WHERE id = ? AND namespace_id = ? AND status IN (1, 2, 3)";
                Ok(exec(tx, sql, vec![draining.into(), worker.uuid().into(), namespace.into()]).await? > 0)
            })
        })
        .await
    }

    async fn expire(&self, now: Instant, before: Instant, limit: usize) -> StoreResult<(Vec<Moved>, bool)> {
        let known = Arc::clone(&self.known);
        self.write(move |tx| Box::pin(async move { expire::expire(tx, &known, now, before, limit).await })).await
    }
}

/// The owner of each worker now.
async fn current_owners<C: ConnectionTrait>(
    connection: &C,
    workers: &[WorkerId],
) -> StoreResult<HashMap<WorkerId, Owner>> {
    let workers = owners(connection, workers).await?;
    Ok(workers.into_iter().map(|(worker, row)| (worker, Owner { worker, epoch: row.epoch })).collect())
}

/// What a batch needs to know of a worker.
#[derive(Clone, Copy, Debug)]
pub(super) struct OwnerRow {
    /// The epoch of its session.
    pub(super) epoch: i64,
    /// Its namespace.
    pub(super) namespace: i32,
    /// How it stands.
    pub(super) status: i32,
    /// An operator drained it.
    pub(super) draining: bool,
    /// 0 its leases live, 1 they are being judged over, 2 that is done.
    pub(super) judged: i32,
}

/// Reads workers, with their epochs locked until the commit.
pub(super) async fn owners<C: ConnectionTrait>(
    connection: &C,
    workers: &[WorkerId],
) -> StoreResult<HashMap<WorkerId, OwnerRow>> {
    let mut ids: Vec<Uuid> = workers.iter().map(|worker| worker.uuid()).collect();
    ids.sort_unstable();
    ids.dedup();
    let head = "SELECT id, epoch, namespace_id, status, draining, judged FROM worker WHERE id IN";
    let mut found = HashMap::new();
    for row in query_in(connection, head, &ids, LOCK_OWNER).await? {
        let mut cells = Cells::of(&row);
        let id = WorkerId::from_uuid(cells.next()?);
        let (epoch, namespace, status) = (cells.next()?, cells.next()?, cells.next()?);
        let (draining, judged) = (cells.next()?, cells.next()?);
        found.insert(id, OwnerRow { epoch, namespace, status, draining, judged });
    }
    Ok(found)
}

async fn lease(tx: &Tx, known: &Arc<Known>, now: Instant, batches: Vec<LeaseBatch>) -> StoreResult<Vec<LeaseAnswer>> {
    let workers: Vec<WorkerId> = batches.iter().map(|batch| batch.owner.worker).collect();
    let owners = owners(tx, &workers).await?;
    let owned = |owner: &Owner| owners.get(&owner.worker).filter(|row| row.epoch == owner.epoch);
    let restricted = Restricted::load(tx).await?;
    // What can be leased without a look is; everything else is loaded and taken through the table.
    let mut leased = Vec::with_capacity(batches.len());
    for LeaseBatch { owner, pointers } in &batches {
        leased.push(match owned(owner) {
            None => HashMap::new(),
            Some(row) => {
                let fence = Fence::around(known, &restricted, row.namespace);
                hot::lease(tx, known, now, (owner.worker, row.namespace), fence, pointers).await?
            }
        });
    }
    let mut steps = Steps::with(known, now, restricted);
    let mut left = Vec::new();
    for (LeaseBatch { owner, pointers }, leased) in batches.iter().zip(&leased) {
        let mut seen = HashSet::with_capacity(pointers.len());
        let again = |pointer: &&Pointer| !leased.contains_key(&pointer.run) || !seen.insert(pointer.run);
        left.extend(pointers.iter().filter(again).filter(|_| owned(owner).is_some()).map(|pointer| pointer.run));
    }
    let mut extras = Extras::read(tx, steps.load_with(tx, left, extra_columns()).await?).await?;
    let mut answers = Vec::with_capacity(batches.len());
    for (LeaseBatch { owner, pointers }, mut leased) in batches.into_iter().zip(leased) {
        let Some(row) = owned(&owner) else {
            answers.push(LeaseAnswer::SessionGone);
            continue;
        };
        let lease = |pointer: Pointer| match (leased.remove(&pointer.run), steps.run(pointer.run)) {
            (Some(attempt), _) => LeaseResult::Leased(Box::new(attempt)),
            (None, Some(run)) if run.lane.namespace == row.namespace => {
                lease_one(&mut steps, &mut extras, owner.worker, pointer)
            }
            // Another namespace's run does not exist for this worker.
            (None, Some(_) | None) => LeaseResult::Stale,
        };
        answers.push(LeaseAnswer::Results(pointers.into_iter().map(lease).collect()));
    }
    // A worker whose leases were judged over may still be alive, and this one must be judged again if it is not.
    let judged: Vec<Uuid> = owners.iter().filter(|(_, row)| row.judged == 2).map(|(id, _)| id.uuid()).collect();
    for worker in judged {
        exec(tx, "UPDATE worker SET judged = 1 WHERE id = ?", vec![worker.into()]).await?;
    }
    steps.save(tx).await?;
    Ok(answers)
}

fn lease_one(steps: &mut Steps, extras: &mut Extras, worker: WorkerId, pointer: Pointer) -> LeaseResult {
    let Pointer { run, generation } = pointer;
    let Some(loaded) = steps.run(run) else { return LeaseResult::Stale };
    let life = &loaded.life;
    // Only a lease keeps the generation while it makes a run active, so this attempt is of this very pointer.
    let mine = life.state.is_active() && life.worker == Some(worker) && life.generation == generation;
    if !mine {
        if life.state == RunState::Queued && life.generation == generation && !steps.has_room(run) {
            return LeaseResult::NoRoom;
        }
        match steps.apply(run, &Event::Lease { worker, generation }) {
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return LeaseResult::Stale,
        }
    }
    match (steps.run(run), extras.take(run)) {
        (Some(loaded), Some(extra)) => LeaseResult::Leased(Box::new(attempt_of(steps, loaded, extra))),
        _ => LeaseResult::Stale,
    }
}

async fn renew(tx: &Tx, now: Instant, renewals: Vec<Renewal>) -> StoreResult<Vec<RenewalAnswer>> {
    let workers: Vec<WorkerId> = renewals.iter().map(|renewal| renewal.owner.worker).collect();
    let mut owners = owners(tx, &workers).await?;
    let mut answers = Vec::with_capacity(renewals.len());
    let mut renewed: HashMap<Uuid, (i32, Instant)> = HashMap::new();
    for Renewal { owner, expire_time } in renewals {
        let Some(row) = owners.get_mut(&owner.worker).filter(|row| row.epoch == owner.epoch) else {
            answers.push(RenewalAnswer::Superseded);
            continue;
        };
        let lapsed = std::mem::replace(&mut row.judged, 0) != 0;
        let alive = if row.draining { WorkerStatus::Draining } else { WorkerStatus::Connected };
        let status = if row.status == WorkerStatus::Gone.code() { row.status } else { alive.code() };
        renewed.insert(owner.worker.uuid(), (status, expire_time));
        answers.push(if lapsed { RenewalAnswer::Lapsed } else { RenewalAnswer::Renewed });
    }
    let renewed: Vec<_> = renewed.into_iter().collect();
    for piece in chunks(&renewed) {
        let mut values = Vec::with_capacity(3 * piece.len() + 1);
        for (worker, (status, expire_time)) in piece {
            values.extend([(*worker).into(), (*status).into(), time(*expire_time)]);
        }
        values.push(time(now));
        exec(tx, renew_sql(piece.len()), values).await?;
    }
    Ok(answers)
}

/// Renews the leases of `count` workers.
pub(super) fn renew_sql(count: usize) -> String {
    format!(
        "WITH t(id, status, expire_time) AS (VALUES {}) UPDATE worker SET status = t.status, judged = 0, \
         heartbeat_time = ?, lease_expire_time = t.expire_time FROM t WHERE worker.id = t.id",
        tuples(count, 3)
    )
}

async fn set_status(tx: &Tx, now: Instant, owner: Owner, status: WorkerStatus) -> StoreResult<()> {
    let values = vec![status.code().into(), owner.worker.uuid().into(), owner.epoch.into()];
    let known = exec(tx, "UPDATE worker SET status = ? WHERE id = ? AND epoch = ?", values).await?;
    // A worker that left in order holds nothing; what it left behind is judged at the next look.
    if known > 0 && status == WorkerStatus::Gone {
        let values = vec![time(now), owner.worker.uuid().into(), time(now)];
        exec(tx, "UPDATE worker SET lease_expire_time = ? WHERE id = ? AND lease_expire_time > ?", values).await?;
    }
    Ok(())
}
