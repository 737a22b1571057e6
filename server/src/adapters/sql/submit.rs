//! The [`Submit`] role.
//!
//! A batch reads what could be in the way (requests, jobs, unfinished runs, ids), decides in memory item by item, and
//! inserts what is left in pieces.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use async_trait::async_trait;
use mainspring_engine::{
    domain::{
        ids::{JobUid, RunId},
        instant::Instant,
        names::{Lane, NamespaceName, Scope},
        overlap::{Admitted, Buffer},
        unique::Met,
    },
    ports::store::{Made, NewRun, Quota, RequestKey, StoreError, StoreResult, Stored, Submit, Submitted},
};
use sea_orm::{ConnectionTrait, QueryResult, Value};
use uuid::Uuid;

use super::{
    Known, SqliteStore,
    claims::Claims,
    insert::{Row, insert_runs},
    keys,
    lanes::Bound,
    rows::time,
    standings::{SlotOf, Stands, standings},
    statement::{Cells, chunks, insert, query, query_in, single, tuples},
    writer::Tx,
};

#[async_trait]
impl Submit for SqliteStore {
    async fn made(&self, scope: &Scope, keys: &[RequestKey]) -> StoreResult<Vec<Option<Made>>> {
        let Some(namespace) = self.known.lanes.namespace(&scope.0) else { return Ok(vec![None; keys.len()]) };
        let ids: Vec<RequestId> = keys.iter().map(|key| (namespace, key.call, key.id.clone())).collect();
        let found = made(&self.reads, &ids).await?;
        Ok(ids.iter().map(|id| found.get(id).copied()).collect())
    }

    async fn submit(&self, now: Instant, runs: Vec<NewRun>) -> StoreResult<Vec<Submitted>> {
        let full = self.ensure_lanes(now, runs.iter().map(|run| &run.lane), Bound::Kept).await?;
        let known = Arc::clone(&self.known);
        self.write(move |tx| Box::pin(async move { submit(tx, &known, now, runs, full).await })).await
    }
}

/// Whose request it is: ids of different namespaces and calls do not meet.
pub(super) type RequestId = (i32, &'static str, String);

/// What is not in the batch but decides about it.
struct Around {
    requests: HashMap<RequestId, Made>,
    jobs: HashSet<JobUid>,
    slots: HashMap<SlotOf, Stands>,
    namespaces: HashMap<NamespaceName, i32>,
    stored: HashSet<RunId>,
    full: HashMap<Lane, Quota>,
}

/// Stores runs, one answer each.
pub(super) async fn submit(
    tx: &Tx,
    known: &Arc<Known>,
    now: Instant,
    runs: Vec<NewRun>,
    full: HashMap<Lane, Quota>,
) -> StoreResult<Vec<Submitted>> {
    let namespace = |name: &NamespaceName| {
        known.lanes.namespace(name).ok_or_else(|| StoreError::Corrupt(format!("namespace {name} has no number")))
    };
    let mut around = Around::read(tx, &runs, full, &namespace).await?;
    let mut claims = Claims::read(tx, &runs, &namespace).await?;
    let mut answers = Vec::with_capacity(runs.len());
    let mut stored = Vec::with_capacity(runs.len());
    let mut requests = Vec::new();
    for run in &runs {
        let request = match &run.request {
            Some(RequestKey { call, id, body }) => Some(((namespace(&run.lane.namespace)?, *call, id.clone()), *body)),
            None => None,
        };
        let of = namespace(&run.lane.namespace)?;
        let (met, claim) = claims.meet(of, run, now);
        let refused = around.repeats(run, request.as_ref()).or_else(|| match (met, claim, &run.unique) {
            (Met::Own, ..) => Some(Submitted::Replayed(run.id)),
            (Met::Existing, Some(claim), _) => Some(Submitted::Existing(claim.run)),
            (Met::Taken, Some(claim), Some(unique)) => Some(Submitted::KeyTaken(unique.key.clone(), claim)),
            (Met::Free | Met::Replaces | Met::Existing | Met::Taken, ..) => around.refuse(run),
        });
        let target = match &refused {
            None => Some(run.id),
            // A repeat of the request is answered so whatever becomes of the key.
            Some(Submitted::Existing(existing)) => Some(*existing),
            Some(_) => None,
        };
        if let (Some((key, body)), Some(target)) = (request, target) {
            requests.push(request_cells(now, &key, body, target.uuid()));
            around.requests.insert(key, Made { body, target: target.uuid() });
        }
        if let Some(answer) = refused {
            answers.push(Some(answer));
            continue;
        }
        claims.take(of, run, met, now);
        let buffer = around.take_slot(run);
        around.stored.insert(run.id);
        stored.push((run, buffer));
        answers.push(None);
    }
    let lanes = stored
        .iter()
        .map(|(run, _)| {
            known.lanes.find(&run.lane).ok_or_else(|| StoreError::Corrupt(format!("lane {} has no number", run.lane)))
        })
        .collect::<StoreResult<Vec<_>>>()?;
    let wanted = stored.iter().zip(&lanes);
    let wanted = wanted.filter_map(|((run, _), lane)| Some((lane.namespace, run.concurrency.as_ref()?)));
    let interned = keys::intern(tx, now, wanted).await?;
    let numbers = stored
        .iter()
        .zip(&lanes)
        .map(|((run, _), lane)| keys::number(&interned, lane.namespace, run.concurrency.as_ref()))
        .collect::<StoreResult<Vec<_>>>()?;
    let rows = stored.iter().zip(&lanes).zip(&numbers).map(|(((run, buffer), lane), key)| Row {
        id: run.id,
        lane,
        job: run.job.as_ref().map(|job| (job.uid, &job.name, job.version)),
        origin: run.origin,
        instant: None,
        backfill: None,
        late: false,
        due: run.due,
        buffer: *buffer,
        by_key: run.by_key,
        apart: run.apart,
        plain_end: true,
        retry_until: None,
        previous_success: None,
        zone_data: None,
        priority: run.priority,
        fairness_key: &run.fairness_key,
        key: *key,
        unique_key: run.unique.as_ref().map(|unique| unique.key.as_str()),
        labels: &run.labels,
        headers: &run.headers,
        payload: &run.payload,
        policy: &run.policy,
        request: run.request.as_ref().map(|request| request.id.as_str()),
        note: &run.note,
        parent: run.parent,
    });
    let moved = insert_runs(tx, known, now, rows.collect()).await?;
    let buffers: Vec<_> = stored.into_iter().map(|(_, buffer)| buffer).collect();
    let mut moved = moved.into_iter().zip(buffers);
    insert(tx, REQUESTS, requests, "").await?;
    let mut replaced = claims.save(tx, known, now).await?;
    Ok(answers
        .into_iter()
        .zip(runs)
        .filter_map(|(answer, run)| {
            answer.or_else(|| {
                let (moved, buffer) = moved.next()?;
                Some(match moved {
                    Some(moved) => {
                        let replaced = replaced.remove(&run.id).map(Box::new);
                        Submitted::Stored(Box::new(Stored { moved, run: run.stored(now, buffer), replaced }))
                    }
                    None => Submitted::Replayed(run.id),
                })
            })
        })
        .collect())
}

/// The columns of [`request_cells`].
pub(super) const REQUESTS: &str = "request (namespace_id, call, id, body, target, create_time)";

/// A row of [`REQUESTS`].
pub(super) fn request_cells(now: Instant, key: &RequestId, body: [u8; 32], target: Uuid) -> [Value; 6] {
    let (namespace, call, id) = key;
    [(*namespace).into(), (*call).into(), id.clone().into(), body.to_vec().into(), target.into(), time(now)]
}

/// What requests made before.
pub(super) async fn made<C: ConnectionTrait>(
    connection: &C,
    keys: &[RequestId],
) -> StoreResult<HashMap<RequestId, Made>> {
    let mut found = HashMap::new();
    for piece in chunks(keys) {
        let values =
            piece.iter().flat_map(|(namespace, call, id)| [(*namespace).into(), (*call).into(), id.clone().into()]);
        let sql = format!(
            "WITH t(namespace_id, call, id) AS (VALUES {}) SELECT t.namespace_id, t.call, t.id, request.body, \
             request.target FROM t CROSS JOIN request ON request.namespace_id = t.namespace_id \
             AND request.call = t.call AND request.id = t.id",
            tuples(piece.len(), 3)
        );
        for row in query(connection, sql, values.collect()).await? {
            let (key, request) = read_made(&row, piece)?;
            found.insert(key, request);
        }
    }
    Ok(found)
}

fn read_made(row: &QueryResult, asked: &[RequestId]) -> StoreResult<(RequestId, Made)> {
    let mut cells = Cells::of(row);
    let (namespace, call, id): (i32, String, String) = (cells.next()?, cells.next()?, cells.next()?);
    let body = hash(cells.next()?)?;
    let target = cells.next()?;
    let key = asked.iter().find(|key| key.0 == namespace && key.1 == call && key.2 == id);
    let key = key.cloned().ok_or_else(|| StoreError::Corrupt(format!("request {id} was not asked for")))?;
    Ok((key, Made { body, target }))
}

/// Reads a hash.
pub(super) fn hash(bytes: Vec<u8>) -> StoreResult<[u8; 32]> {
    bytes.try_into().map_err(|bytes: Vec<u8>| StoreError::Corrupt(format!("a hash has {} bytes", bytes.len())))
}

impl Around {
    async fn read(
        tx: &Tx,
        runs: &[NewRun],
        full: HashMap<Lane, Quota>,
        namespace: &impl Fn(&NamespaceName) -> StoreResult<i32>,
    ) -> StoreResult<Self> {
        let mut keys = Vec::new();
        for run in runs {
            if let Some(request) = &run.request {
                keys.push((namespace(&run.lane.namespace)?, request.call, request.id.clone()));
            }
        }
        let requests = made(tx, &keys).await?;
        let mut uids: Vec<Uuid> = runs.iter().filter_map(|run| Some(run.job.as_ref()?.uid.uuid())).collect();
        uids.sort_unstable();
        uids.dedup();
        let mut jobs = HashSet::new();
        for row in query_in(tx, "SELECT uid FROM job WHERE uid IN", &uids, "AND delete_time IS NULL").await? {
            jobs.insert(JobUid::from_uuid(single(&row)?));
        }
        let mut namespaces = HashMap::new();
        for run in runs {
            namespaces.insert(run.lane.namespace.clone(), namespace(&run.lane.namespace)?);
        }
        let asked = runs.iter().filter_map(|run| Some((slot_of(&namespaces, run)?, run.overlap?)));
        let slots = standings(tx, asked).await?;
        Ok(Self { requests, jobs, slots, namespaces, stored: HashSet::new(), full })
    }

    /// The answer to a run that was asked for before.
    fn repeats(&self, run: &NewRun, request: Option<&(RequestId, [u8; 32])>) -> Option<Submitted> {
        if let Some((key, body)) = request
            && let Some(made) = self.requests.get(key)
        {
            return Some(match made.body == *body {
                true => Submitted::Replayed(RunId::from_uuid(made.target)),
                false => Submitted::RequestReused,
            });
        }
        self.stored.contains(&run.id).then_some(Submitted::Replayed(run.id))
    }

    /// The answer to a run that is not to be stored.
    fn refuse(&self, run: &NewRun) -> Option<Submitted> {
        if let Some(quota) = self.full.get(&run.lane) {
            return Some(Submitted::Full(*quota));
        }
        let job = run.job.as_ref()?;
        if !self.jobs.contains(&job.uid) {
            return Some(Submitted::JobGone);
        }
        let of = slot_of(&self.namespaces, run)?;
        let (standing, busy) = self.slots.get(&of).copied().unwrap_or_default();
        let key = || match &of {
            SlotOf::Job(_) => None,
            SlotOf::Key((_, key)) => Some(key.clone()),
        };
        match run.overlap?.admit(standing) {
            Admitted::Run | Admitted::Buffer(_) => None,
            Admitted::Busy => busy.map(|busy| Submitted::NotIdle(busy, key())),
            Admitted::Full => Some(Submitted::BufferFull(key())),
        }
    }

    /// Counts a run that is stored; how it waits for the slot of its job, if it does.
    fn take_slot(&mut self, run: &NewRun) -> Option<Buffer> {
        let of = slot_of(&self.namespaces, run).filter(|_| !run.apart)?;
        let (standing, busy) = self.slots.entry(of).or_default();
        let admitted = run.overlap.map_or(Admitted::Run, |overlap| overlap.admit(*standing));
        standing.and(admitted);
        busy.get_or_insert(run.id);
        match admitted {
            Admitted::Buffer(buffer) => Some(buffer),
            Admitted::Run | Admitted::Busy | Admitted::Full => None,
        }
    }
}

/// The slot that a run meets: that of its job, or of its key.
fn slot_of(namespaces: &HashMap<NamespaceName, i32>, run: &NewRun) -> Option<SlotOf> {
    let job = run.job.as_ref()?;
    let concurrency = run.concurrency.as_ref().filter(|_| run.by_key);
    Some(match concurrency.zip(namespaces.get(&run.lane.namespace)) {
        Some((concurrency, namespace)) => SlotOf::key(*namespace, &concurrency.key),
        None => SlotOf::Job(job.uid),
    })
}
