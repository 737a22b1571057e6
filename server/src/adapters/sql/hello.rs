//! Hello: a session takes its worker's leases over, and what the worker holds is compared with the rows.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use mainspring_engine::{
    domain::{
        attempt::{AttemptKey, AttemptState},
        ids::{RunId, ServerId, SessionId},
        instant::Instant,
        payload::Payload,
        transition::Event,
        worker::{AbandonReason, Drain, Hello, WorkerStatus},
    },
    ports::store::{HelloAnswer, Moved, Owner, StoreError, StoreResult, Verdict},
};
use uuid::Uuid;

use super::{
    Known, announced,
    dispatch::{Extras, attempt_of, extra_columns},
    keys,
    leases::{judge_again, owners},
    rows::{json, time},
    statement::{Cells, exec, insert, query, query_one},
    steps::{Steps, columns},
    writer::Tx,
};

/// A session to be opened.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) namespace: i32,
    pub(super) server: ServerId,
    pub(super) session: SessionId,
    pub(super) hello: Hello,
    pub(super) expire_time: Instant,
}

/// Opens the session, or finds that a later one is there.
pub(super) async fn open(tx: &Tx, known: &Arc<Known>, now: Instant, opening: Opening) -> StoreResult<HelloAnswer> {
    let worker = opening.hello.worker;
    let before = owners(tx, &[worker]).await?.remove(&worker);
    if before.is_some_and(|row| row.namespace != opening.namespace) {
        return Ok(HelloAnswer::Foreign);
    }
    // The epoch counts the streams of the process, so a Hello that was delayed can never take a later one's place.
    if before.is_some_and(|row| row.epoch >= opening.hello.epoch) {
        return Ok(HelloAnswer::Superseded);
    }
    let drain = before.and_then(|row| row.drain);
    let Opening { namespace, server, session, hello, expire_time } = opening;
    let Hello { worker, epoch, name, namespace: _, labels, sdk, build_id, handlers, capacity, in_flight, .. } = &hello;
    let status = if drain.is_some() { WorkerStatus::Draining } else { WorkerStatus::Connected };
    let values = vec![
        worker.uuid().into(),
        namespace.into(),
        (*epoch).into(),
        status.code().into(),
        drain.map_or(0, Drain::code).into(),
        server.uuid().into(),
        session.uuid().into(),
        time(now),
        time(now),
        time(expire_time),
    ];
    let sql = "INSERT INTO worker (id, namespace_id, epoch, status, drain, judged, server_id, session_id, \
         connect_time, heartbeat_time, lease_expire_time) VALUES (?, ?, ?, ?, ?, 0, ?, ?, ?, ?, ?) \
         ON CONFLICT (id) DO UPDATE SET epoch = excluded.epoch, status = excluded.status, judged = 0, \
         server_id = excluded.server_id, session_id = excluded.session_id, connect_time = excluded.connect_time, \
         heartbeat_time = excluded.heartbeat_time, lease_expire_time = excluded.lease_expire_time";
    exec(tx, sql, values).await?;
    let values = vec![
        worker.uuid().into(),
        name.clone().into(),
        json(labels)?.into(),
        sdk.clone().into(),
        build_id.clone().into(),
        json(capacity)?.into(),
    ];
    let sql = "INSERT INTO worker_profile (worker_id, name, labels, sdk, build_id, capacity) \
         VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (worker_id) DO UPDATE SET name = excluded.name, \
         labels = excluded.labels, sdk = excluded.sdk, build_id = excluded.build_id, capacity = excluded.capacity";
    exec(tx, sql, values).await?;
    write_handlers(tx, known, &hello).await?;
    announced::announce(tx, known, now, namespace, handlers).await?;
    let listed = in_flight.iter().map(|held| held.key).collect();
    let owner = Owner { worker: *worker, epoch: *epoch };
    let (verdicts, moved) = compare(tx, known, now, owner, listed, true).await?;
    Ok(HelloAnswer::Welcome { verdicts, moved, drain })
}

/// Replaces what a worker handles.
async fn write_handlers(tx: &Tx, known: &Known, hello: &Hello) -> StoreResult<()> {
    exec(tx, "DELETE FROM worker_handler WHERE worker_id = ?", vec![hello.worker.uuid().into()]).await?;
    let mut rows = BTreeMap::new();
    for (handler, lane) in hello.handlers.iter().zip(hello.lanes()) {
        let lane = known.lanes.find(&lane).ok_or_else(|| StoreError::Corrupt(format!("lane {lane} has no number")))?;
        rows.insert(lane.id, [hello.worker.uuid().into(), lane.id.into(), announced::hash(handler).into()]);
    }
    insert(tx, "worker_handler (worker_id, lane_id, schemas)", rows.into_values().collect(), "").await.map(drop)
}

/// Verdicts on what a worker lists, and what was done to its runs.
pub(super) type Compared = (Vec<(AttemptKey, Verdict)>, Vec<Moved>);

/// [`compare`] for a session that is there; nothing where it has passed.
pub(super) async fn reconcile(
    tx: &Tx,
    known: &Arc<Known>,
    now: Instant,
    owner: Owner,
    listed: Vec<AttemptKey>,
) -> StoreResult<Option<Compared>> {
    let row = owners(tx, &[owner.worker]).await?.remove(&owner.worker);
    let Some(row) = row.filter(|row| row.epoch == owner.epoch) else { return Ok(None) };
    judge_again(tx, owner.worker, &row).await?;
    compare(tx, known, now, owner, listed, false).await.map(Some)
}

/// Keeps, adopts or abandons what is listed. A worker is of one namespace and leases nothing of another, so whatever was
/// given to it is its namespace's. With `complete`, the list is all the worker holds: what else is at it by the
/// rows is taken back.
async fn compare(
    tx: &Tx,
    known: &Arc<Known>,
    now: Instant,
    owner: Owner,
    listed: Vec<AttemptKey>,
    complete: bool,
) -> StoreResult<Compared> {
    let mut steps = Steps::begin(tx, known, now).await?;
    let runs: Vec<RunId> = listed.iter().map(|key| key.run).collect();
    let rows = steps.load_with(tx, runs, extra_columns()).await?;
    let mut extras = Extras::read(tx, &mut steps, rows).await?;
    let mut moved = Vec::new();
    let mut verdicts = Vec::with_capacity(listed.len());
    for key in &listed {
        let current = steps
            .run(key.run)
            .is_some_and(|run| run.life.open == Some(key.attempt) && run.life.worker == Some(owner.worker));
        if !current {
            verdicts.push((*key, Verdict::Abandon(abandoned(tx, &steps, owner, *key).await?)));
            continue;
        }
        // Its place in the queue went with its lease, and another may have it.
        if steps.is_shut_out(key.run) {
            verdicts.push((*key, Verdict::Abandon(AbandonReason::LeaseExpired)));
            continue;
        }
        let adopt = Event::Adopt { attempt: key.attempt, worker: owner.worker };
        moved.extend(steps.apply(key.run, &adopt).and_then(Result::ok));
        let (Some(run), Some(mut extra)) = (steps.run(key.run), extras.take(key.run)) else { continue };
        // The worker has it already.
        extra.payload = Payload::default();
        let stop = run.life.stop_reason(&run.policy, now);
        let held = Box::new(attempt_of(&steps, run, extra));
        verdicts.push((
            *key,
            match stop {
                Some(why) => Verdict::Stop(held, why),
                None => Verdict::Keep(held),
            },
        ));
    }
    if complete {
        let named: HashSet<AttemptKey> = listed.into_iter().collect();
        moved.extend(take_back(tx, &mut steps, owner, &named).await?);
    }
    let free = steps.save(tx).await?;
    keys::tell(&mut moved, free);
    Ok((verdicts, moved))
}

/// Attempts that are open at a worker, whether its lease of them lives or not.
pub(super) fn open_sql() -> String {
    format!("SELECT {} FROM run WHERE worker_id = ? AND open_token IS NOT NULL", columns())
}

/// Takes back what is at the worker by the rows, and not by its own word.
async fn take_back(tx: &Tx, steps: &mut Steps, owner: Owner, named: &HashSet<AttemptKey>) -> StoreResult<Vec<Moved>> {
    let rows = query(tx, open_sql(), vec![owner.worker.uuid().into()]).await?;
    steps.take(tx, &rows).await?;
    let mut moved = Vec::new();
    for row in &rows {
        let id = RunId::from_uuid(Cells::of(row).next::<Uuid>()?);
        let Some(key) = steps.run(id).map(|run| run.key()) else { continue };
        // What is open but waits since its lease was over is nobody's; the table leaves it.
        if !named.contains(&key) {
            moved.extend(steps.apply(id, &Event::Unlisted { attempt: key.attempt }).and_then(Result::ok));
        }
    }
    Ok(moved)
}

/// Why an attempt that a worker lists does not count.
async fn abandoned(tx: &Tx, steps: &Steps, owner: Owner, key: AttemptKey) -> StoreResult<AbandonReason> {
    let Some(run) = steps.run(key.run) else {
        return Ok(AbandonReason::UnknownAttempt);
    };
    if key.attempt < 1 || key.attempt > run.life.attempt {
        return Ok(AbandonReason::UnknownAttempt);
    }
    let sql = "SELECT state, worker_id FROM attempt_end WHERE run_id = ? AND attempt = ?";
    if let Some(row) = query_one(tx, sql, vec![key.run.uuid().into(), key.attempt.into()]).await? {
        let mut cells = Cells::of(&row);
        let state = cells.parse("an attempt's state", |code: &i32| AttemptState::from_code(*code))?;
        let worker: Option<Uuid> = cells.next()?;
        if worker != Some(owner.worker.uuid()) {
            return Ok(AbandonReason::UnknownAttempt);
        }
        match state {
            AttemptState::TimedOut => return Ok(AbandonReason::TimedOut),
            AttemptState::Returned => return Ok(AbandonReason::Returned),
            AttemptState::Leased
            | AttemptState::Running
            | AttemptState::Succeeded
            | AttemptState::Failed
            | AttemptState::Cancelled
            | AttemptState::Lost
            | AttemptState::Interrupted => {}
        }
    } else if run.life.worker != Some(owner.worker) {
        // Every attempt before the last one has its end.
        return Ok(AbandonReason::UnknownAttempt);
    }
    let over = run.life.state.is_terminal();
    Ok(if over { AbandonReason::AlreadyTerminal } else { AbandonReason::LeaseExpired })
}
