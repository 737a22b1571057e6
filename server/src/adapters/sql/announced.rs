//! What a worker's Hello makes known of job types: the last word on each, and every pair of schemas that a worker names.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use mainspring_engine::{
    domain::{
        instant::Instant,
        names::{JobType, QueueName},
        worker::Handler,
    },
    ports::store::StoreResult,
};
use sha2::{Digest, Sha256};

use super::{
    Known,
    rows::{json, read_json, time},
    statement::{exec, query, query_in, query_one, single},
    writer::Tx,
};

/// What tells two pairs of schemas apart.
pub(super) fn hash(handler: &Handler) -> Vec<u8> {
    let mut schemas = Sha256::new();
    schemas.update(&handler.input_schema);
    schemas.update([0]);
    schemas.update(&handler.output_schema);
    schemas.finalize().to_vec()
}

/// Makes a worker's job types known. What is announced last is what people see. The rows of what the worker handles are
/// written before.
pub(super) async fn announce(
    tx: &Tx,
    known: &Known,
    now: Instant,
    namespace: i32,
    handlers: &[Handler],
) -> StoreResult<()> {
    let mut types: BTreeMap<&JobType, Vec<&Handler>> = BTreeMap::new();
    for handler in handlers {
        types.entry(&handler.job_type).or_default().push(handler);
    }
    for (job_type, handlers) in &types {
        last_word(tx, now, namespace, job_type, handlers).await?;
        for handler in handlers {
            let Handler { job_type: _, queue: _, description: _, input_schema, output_schema } = handler;
            let values = vec![
                namespace.into(),
                job_type.as_str().into(),
                hash(handler).into(),
                input_schema.clone().into(),
                output_schema.clone().into(),
                time(now),
            ];
            let sql = "INSERT INTO announced (namespace_id, job_type, schemas, input_schema, output_schema, \
                 announce_time) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";
            exec(tx, sql, values).await?;
        }
    }
    forget(tx, known, namespace, &types).await
}

async fn last_word(
    tx: &Tx,
    now: Instant,
    namespace: i32,
    job_type: &JobType,
    handlers: &[&Handler],
) -> StoreResult<()> {
    let Some(first) = handlers.first() else { return Ok(()) };
    let mut queues: BTreeSet<QueueName> = handlers.iter().map(|handler| handler.queue.clone()).collect();
    let key = || vec![namespace.into(), job_type.as_str().into()];
    let sql = "SELECT queues FROM job_type WHERE namespace_id = ? AND name = ?";
    if let Some(row) = query_one(tx, sql, key()).await? {
        queues.extend(read_json::<BTreeSet<QueueName>>(&single::<String>(&row)?)?);
    }
    let Handler { job_type: _, queue: _, description, input_schema, output_schema } = first;
    let mut values = key();
    values.extend([description.clone().into(), input_schema.clone().into(), output_schema.clone().into()]);
    values.extend([json(&queues)?.into(), time(now)]);
    let sql = "INSERT INTO job_type (namespace_id, name, description, input_schema, output_schema, queues, \
         announce_time) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (namespace_id, name) DO UPDATE SET \
         description = excluded.description, input_schema = excluded.input_schema, \
         output_schema = excluded.output_schema, queues = excluded.queues, announce_time = excluded.announce_time";
    exec(tx, sql, values).await.map(drop)
}

/// Deletes what no worker names any more. Most types have one pair of schemas, and nothing is asked of their workers.
async fn forget(tx: &Tx, known: &Known, namespace: i32, types: &BTreeMap<&JobType, Vec<&Handler>>) -> StoreResult<()> {
    let mut several: HashMap<&JobType, Vec<Vec<u8>>> = HashMap::new();
    for job_type in types.keys() {
        let sql = "SELECT schemas FROM announced WHERE namespace_id = ? AND job_type = ?";
        let rows = query(tx, sql, vec![namespace.into(), job_type.as_str().into()]).await?;
        if rows.len() > 1 {
            several.insert(job_type, rows.iter().map(single::<Vec<u8>>).collect::<StoreResult<_>>()?);
        }
    }
    for (job_type, there) in several {
        let lanes = known.lanes.ids(|lane| lane.namespace == namespace && lane.lane.job_type == *job_type);
        let head = "SELECT DISTINCT schemas FROM worker_handler WHERE lane_id IN";
        let rows = query_in(tx, head, &lanes, "").await?;
        let named = rows.iter().map(single::<Vec<u8>>).collect::<StoreResult<HashSet<_>>>()?;
        for schemas in there.into_iter().filter(|schemas| !named.contains(schemas)) {
            let sql = "DELETE FROM announced WHERE namespace_id = ? AND job_type = ? AND schemas = ?";
            exec(tx, sql, vec![namespace.into(), job_type.as_str().into(), schemas.into()]).await?;
        }
    }
    Ok(())
}
