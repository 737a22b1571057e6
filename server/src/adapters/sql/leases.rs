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
        worker::{Capacity, Drain, Hello, WorkerStatus},
    },
    ports::{
        broker::Pointer,
        store::{
            HelloAnswer, Judged, LeaseAnswer, LeaseBatch, LeaseResult, Leases, Moved, Owner, Renewal, RenewalAnswer,
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
    lanes::Bound,
    restricted::Restricted,
    rows::{json, time},
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
        let lanes: Vec<_> = hello.lanes().collect();
        if let Some(quota) = self.ensure_lanes(now, &lanes, Bound::Kept).await?.into_values().next() {
            return Ok(HelloAnswer::Full(quota));
        }
        let namespace = self.ensure_namespace(&hello.namespace).await?;
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
        let rows = query(&self.stage_reads, sql, Vec::new()).await?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let workers: Vec<WorkerId> = owners.iter().map(|owner| owner.worker).collect();
        let current = current_owners(&self.stage_reads, &workers).await?;
        let mut stops = Vec::new();
        for row in &rows {
            let Ok((_, Some(run))) = Loaded::read(row, &self.known) else { continue };
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

    async fn drain_worker(&self, _now: Instant, scope: &Scope, worker: WorkerId, drain: Drain) -> StoreResult<bool> {
        let Some(namespace) = self.known.lanes.namespace(&scope.0) else { return Ok(false) };
        self.write(move |tx| {
            Box::pin(async move {
                let (drain, draining) = (drain.code(), WorkerStatus::Draining.code());
                let sql = "UPDATE worker SET drain = CASE WHEN drain < ? THEN ? ELSE drain END, \
                     status = CASE WHEN status = 1 THEN ? ELSE status END \
                     WHERE id = ? AND namespace_id = ? AND status IN (1, 2, 3)";
                let values = vec![drain.into(), drain.into(), draining.into(), worker.uuid().into(), namespace.into()];
                Ok(exec(tx, sql, values).await? > 0)
            })
        })
        .await
    }

    async fn expire(&self, now: Instant, before: Instant, limit: usize) -> StoreResult<Judged> {
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
    /// What an operator asked of it.
    pub(super) drain: Option<Drain>,
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
    let head = "SELECT id, epoch, namespace_id, status, drain, judged FROM worker WHERE id IN";
    let mut found = HashMap::new();
    for row in query_in(connection, head, &ids, LOCK_OWNER).await? {
        let mut cells = Cells::of(&row);
        let id = WorkerId::from_uuid(cells.next()?);
        let (epoch, namespace, status) = (cells.next()?, cells.next()?, cells.next()?);
        let drain = Drain::from_code(cells.next()?);
        found.insert(id, OwnerRow { epoch, namespace, status, drain, judged: cells.next()? });
    }
    Ok(found)
}

async fn lease(tx: &Tx, known: &Arc<Known>, now: Instant, batches: Vec<LeaseBatch>) -> StoreResult<Vec<LeaseAnswer>> {
    let workers: Vec<WorkerId> = batches.iter().map(|batch| batch.owner.worker).collect();
    let owners = owners(tx, &workers).await?;
    let owned = |owner: &Owner| owners.get(&owner.worker).filter(|row| row.epoch == owner.epoch);
    let restricted = Restricted::load(tx, &known.restricted).await?;
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
    let rows = steps.load_with(tx, left, extra_columns()).await?;
    let mut extras = Extras::read(tx, &mut steps, rows).await?;
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
            (None, None) if steps.is_unreadable(pointer.run) => LeaseResult::Unreadable,
            // Another namespace's run does not exist for this worker.
            (None, Some(_) | None) => LeaseResult::Stale,
        };
        answers.push(LeaseAnswer::Results(pointers.into_iter().map(lease).collect()));
    }
    for (worker, row) in &owners {
        judge_again(tx, *worker, row).await?;
    }
    steps.save_leases(tx).await?;
    Ok(answers)
}

/// A worker whose leases were judged over may still be alive; what it is given now must be judged again if it is not.
pub(super) async fn judge_again(tx: &Tx, worker: WorkerId, row: &OwnerRow) -> StoreResult<()> {
    if row.judged == 2 {
        exec(tx, "UPDATE worker SET judged = 1 WHERE id = ?", vec![worker.uuid().into()]).await?;
    }
    Ok(())
}

fn lease_one(steps: &mut Steps, extras: &mut Extras, worker: WorkerId, pointer: Pointer) -> LeaseResult {
    let Pointer { run, generation } = pointer;
    let Some(loaded) = steps.run(run) else { return LeaseResult::Stale };
    let life = &loaded.life;
    // Only a lease keeps the generation while it makes a run active, so this attempt is of this very pointer.
    let mine = life.state.is_active() && life.worker == Some(worker) && life.generation == generation;
    if !mine {
        let waits = life.state == RunState::Queued && life.generation == generation;
        if waits && (loaded.parked || !steps.has_key(run)) {
            steps.park(run);
            return LeaseResult::Parked;
        }
        if waits && !steps.has_room(run) {
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
    let mut capacities: HashMap<Uuid, Capacity> = HashMap::new();
    for Renewal { owner, expire_time, draining, capacity } in renewals {
        let worker = owner.worker.uuid();
        let Some(row) = owners.get_mut(&owner.worker).filter(|row| row.epoch == owner.epoch) else {
            answers.push(RenewalAnswer::Superseded);
            continue;
        };
        let lapsed = std::mem::replace(&mut row.judged, 0) != 0;
        let drains = draining || row.drain.is_some();
        let alive = if drains { WorkerStatus::Draining } else { WorkerStatus::Connected };
        let status = if row.status == WorkerStatus::Gone.code() { row.status } else { alive.code() };
        renewed.insert(worker, (status, expire_time));
        capacities.extend(capacity.map(|capacity| (worker, capacity)));
        answers.push(RenewalAnswer::Alive { lapsed, drain: row.drain });
    }
    // Seldom: a worker's capacity is recorded when it has changed.
    for (worker, capacity) in capacities {
        let values = vec![json(&capacity)?.into(), worker.into()];
        exec(tx, "UPDATE worker_profile SET capacity = ? WHERE worker_id = ?", values).await?;
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
    // A worker is LOST from its judgement until it is heard again, whatever becomes of the stream it was not heard on.
    let lost = if status == WorkerStatus::Gone { "" } else { " AND judged < 2" };
    let known = exec(tx, format!("UPDATE worker SET status = ? WHERE id = ? AND epoch = ?{lost}"), values).await?;
    // A worker that left in order holds nothing; what it left behind is judged at the next look.
    if known > 0 && status == WorkerStatus::Gone {
        let values = vec![time(now), owner.worker.uuid().into(), time(now)];
        exec(tx, "UPDATE worker SET lease_expire_time = ? WHERE id = ? AND lease_expire_time > ?", values).await?;
    }
    Ok(())
}
