//! Filters of lists as conditions, by an allow-list of fields each.
//!
//! A text that a row does not have is compared as "". A comparison with anything else it does not have is false, and its
//! opposite true. So no condition here may be NULL. [`Filter::passes`] says the same of what is in memory.

use std::collections::HashMap;

use mainspring_engine::{
    domain::filter::{Filter, Op, Value},
    ports::store::{Direction, StoreError, StoreResult},
};
use sea_orm::{
    Condition, ConnectionTrait, Order, Value as Cell,
    sea_query::{Alias, Expr, Query, SelectStatement, SimpleExpr},
};
use uuid::Uuid;

use super::statement::{query, single};

/// What a field of a list is.
#[derive(Clone, Copy)]
enum Field {
    /// A text; absent is empty.
    Text(&'static str),
    /// A number, or the code of an enum value.
    Number(&'static str),
    /// An instant; may be absent.
    Time(&'static str),
    /// A text that few rows have; an index holds those.
    Rare(&'static str),
    /// Texts found by another table: the condition that one of them passes, with `{}` where the comparison goes.
    Through(&'static str, &'static str),
    /// The name of a run's job.
    Job,
    /// A run.
    RunId,
    /// The job of a run.
    JobUid,
    /// The backfill of a run.
    Backfill,
    /// The worker that a run is at now.
    AtWorker,
}

fn run_field(name: &str) -> Option<Field> {
    Some(match name {
        "run_id" => Field::RunId,
        "state" => Field::Number("run.state"),
        "job" => Field::Job,
        "job_uid" => Field::JobUid,
        "job_type" => Field::Through("run.lane_id IN (SELECT lane.id FROM lane WHERE {})", "lane.job_type"),
        "queue" => Field::Through(
            "run.lane_id IN (SELECT lane.id FROM lane JOIN queue ON queue.id = lane.queue_id WHERE {})",
            "queue.name",
        ),
        "origin" => Field::Number("run.origin"),
        "reason" => Field::Rare("run.reason"),
        "priority" => Field::Number("run.priority"),
        "fairness_key" => Field::Text("run.fairness_key"),
        "concurrency_key" => {
            Field::Text("coalesce((SELECT limit_key.key FROM limit_key WHERE limit_key.id = run.key_id), '')")
        }
        "backfill_id" => Field::Backfill,
        "unique_key" => Field::Text("coalesce(run.unique_key, '')"),
        // Only by calls that ask what they have made themselves.
        "request_id" => Field::Text("coalesce(run.request_id, '')"),
        // What is not dead has none, and no code is 0.
        "resolution" => Field::Number("coalesce(run.resolution, 0)"),
        "fingerprint" => Field::Rare("run.fingerprint"),
        "at_worker" => Field::AtWorker,
        "create_time" => Field::Time("run.create_time"),
        "nominal_time" => Field::Time("run.nominal_time"),
        "end_time" => Field::Time("run.end_time"),
        _ => return None,
    })
}

fn job_field(name: &str) -> Option<Field> {
    Some(match name {
        "job" => Field::Text("job.name"),
        "job_type" => Field::Text("job.job_type"),
        "queue" => Field::Text("job.queue"),
        "state" => Field::Number(
            "CASE WHEN job.auto_disabled THEN 5 WHEN job.pause_time IS NOT NULL THEN 2 ELSE job.state END",
        ),
        "owner" => Field::Text("job.owner"),
        "create_time" => Field::Time("job.create_time"),
        "update_time" => Field::Time("job.update_time"),
        _ => return None,
    })
}

fn queue_field(name: &str) -> Option<Field> {
    Some(match name {
        "queue" => Field::Text("queue.name"),
        "paused" => Field::Number("CASE WHEN queue.paused THEN 1 ELSE 0 END"),
        "concurrency_limit" => Field::Number("queue.concurrency_limit"),
        _ => return None,
    })
}

fn worker_field(name: &str) -> Option<Field> {
    Some(match name {
        "name" => Field::Text("worker_profile.name"),
        "state" => Field::Number("worker.status"),
        "job_type" => Field::Through(
            "worker.id IN (SELECT worker_handler.worker_id FROM worker_handler JOIN lane \
             ON lane.id = worker_handler.lane_id WHERE {})",
            "lane.job_type",
        ),
        "queue" => Field::Through(
            "worker.id IN (SELECT worker_handler.worker_id FROM worker_handler JOIN lane \
             ON lane.id = worker_handler.lane_id JOIN queue ON queue.id = lane.queue_id WHERE {})",
            "queue.name",
        ),
        "sdk" => Field::Text("worker_profile.sdk"),
        "build_id" => Field::Text("worker_profile.build_id"),
        "connect_time" => Field::Time("worker.connect_time"),
        "last_heartbeat_time" => Field::Time("worker.heartbeat_time"),
        _ => return None,
    })
}

fn job_type_field(name: &str) -> Option<Field> {
    Some(match name {
        "job_type" => Field::Text("job_type.name"),
        "announce_time" => Field::Time("job_type.announce_time"),
        _ => return None,
    })
}

fn key_field(name: &str) -> Option<Field> {
    Some(match name {
        "name" => Field::Text("name"),
        "role" => Field::Text("role"),
        "creator" => Field::Text("creator"),
        "revoked" => Field::Number("CASE WHEN revoke_time IS NULL THEN 0 ELSE 1 END"),
        "create_time" => Field::Time("create_time"),
        "expire_time" => Field::Time("expire_time"),
        "last_use_time" => Field::Time("last_use_time"),
        _ => return None,
    })
}

/// So many jobs of one name are found before the runs; of more, or of many names, the statement asks by itself.
const FEW_JOBS: usize = 16;

/// A filter of runs of a namespace. Names of jobs are looked up first: a run is found by its job's uid.
pub(super) async fn runs<C: ConnectionTrait>(
    connection: &C,
    namespace: i32,
    filter: &Filter,
) -> StoreResult<Condition> {
    let mut jobs = Jobs { namespace, named: HashMap::new() };
    for name in job_names(filter) {
        let sql = format!("SELECT uid FROM job WHERE namespace_id = ? AND name = ? LIMIT {}", FEW_JOBS + 1);
        let rows = query(connection, sql, vec![namespace.into(), name.into()]).await?;
        let uids = rows.iter().map(single::<Uuid>).collect::<StoreResult<Vec<_>>>()?;
        jobs.named.insert(name.to_owned(), uids);
    }
    condition(filter, &run_field, &jobs)
}

macro_rules! plain {
    ($($name:ident of $field:ident: $about:literal;)*) => {$(
        #[doc = $about]
        pub(super) fn $name(filter: &Filter) -> StoreResult<Condition> {
            condition(filter, &$field, &Jobs::default())
        }
    )*};
}

plain! {
    jobs of job_field: "A filter of jobs.";
    queues of queue_field: "A filter of queues.";
    workers of worker_field: "A filter of workers, beside their profiles.";
    job_types of job_type_field: "A filter of job types.";
    keys of key_field: "A filter of API keys.";
}

/// Jobs by the names that a filter asks for.
#[derive(Default)]
struct Jobs {
    namespace: i32,
    named: HashMap<String, Vec<Uuid>>,
}

/// The names that the name of a run's job is compared with, as a whole.
fn job_names(filter: &Filter) -> Vec<&str> {
    match filter {
        Filter::And(parts) | Filter::Or(parts) => parts.iter().flat_map(job_names).collect(),
        Filter::Not(part) => job_names(part),
        Filter::Test { field: "job", op: Op::Equal | Op::NotEqual, value: Value::Text(name) } => vec![name],
        Filter::All | Filter::Test { .. } => Vec::new(),
    }
}

fn condition(filter: &Filter, field: &dyn Fn(&str) -> Option<Field>, jobs: &Jobs) -> StoreResult<Condition> {
    Ok(match filter {
        Filter::All => Condition::all(),
        Filter::And(parts) => {
            let parts = parts.iter().map(|part| condition(part, field, jobs));
            parts.collect::<StoreResult<Vec<_>>>()?.into_iter().fold(Condition::all(), Condition::add)
        }
        // Without a part that could be true, nothing passes.
        Filter::Or(parts) if parts.is_empty() => Condition::all().add(never()),
        Filter::Or(parts) => {
            let parts = parts.iter().map(|part| condition(part, field, jobs));
            parts.collect::<StoreResult<Vec<_>>>()?.into_iter().fold(Condition::any(), Condition::add)
        }
        // An empty condition renders to nothing, whose opposite would be nothing as well.
        Filter::Not(part) => Condition::all().add(Expr::cust("1 = 1")).add(condition(part, field, jobs)?).not(),
        Filter::Test { field: name, op, value } => {
            let known = field(name).ok_or_else(|| unknown(name))?;
            Condition::all().add(test(name, &known, *op, value, jobs)?)
        }
    })
}

fn unknown(what: &str) -> StoreError {
    StoreError::Corrupt(format!("a filter asks for `{what}`, which this list does not have"))
}

fn never() -> SimpleExpr {
    Expr::cust("1 = 0")
}

fn test(name: &str, field: &Field, op: Op, value: &Value, jobs: &Jobs) -> StoreResult<SimpleExpr> {
    Ok(match (field, value) {
        (Field::Text(column), Value::Text(text)) => {
            let (sql, value) = compare(column, op, text.as_str().into());
            Expr::cust_with_values(sql, [value])
        }
        (Field::Number(column), Value::Number(number)) => {
            let (sql, value) = compare(column, op, (*number).into());
            Expr::cust_with_values(sql, [value])
        }
        (Field::Time(column), Value::Time(at)) => {
            let (sql, value) = compare(column, op, at.as_micros().into());
            present(column, op, sql, value)
        }
        // The index is found only by a comparison with the bare column.
        (Field::Rare(column), Value::Text(text)) if !text.is_empty() => {
            let (sql, value) = compare(column, op, text.as_str().into());
            present(column, op, sql, value)
        }
        (Field::Rare(column), Value::Text(text)) => {
            let (sql, value) = compare(&format!("coalesce({column}, '')"), op, text.as_str().into());
            Expr::cust_with_values(sql, [value])
        }
        (Field::Through(outer, column), Value::Text(text)) => {
            let (is, not) = if op == Op::NotEqual { (Op::Equal, "NOT ") } else { (op, "") };
            let (sql, value) = compare(column, is, text.as_str().into());
            Expr::cust_with_values(format!("{not}({})", outer.replace("{}", &sql)), [value])
        }
        (Field::Job, Value::Text(text)) => job(op, text, jobs),
        (Field::RunId, Value::Text(text)) => known_by("run.id IS NOT NULL", "run.id", op, text),
        (Field::JobUid, Value::Text(text)) => known_by("run.job_uid IS NOT NULL", "run.job_uid", op, text),
        (Field::Backfill, Value::Text(text)) => known_by("run.backfill_id IS NOT NULL", "run.backfill_id", op, text),
        (Field::AtWorker, Value::Text(text)) => known_by(AT_WORKER, "run.worker_id", op, text),
        _ => return Err(unknown(name)),
    })
}

/// A run is at a worker, and its index of open attempts serves.
const AT_WORKER: &str = "run.open_token IS NOT NULL AND run.state IN (3, 4)";

/// A comparison with an id that only runs have of which `has_one` is true, so that the index of those serves. "" is none.
fn known_by(has_one: &'static str, column: &str, op: Op, text: &str) -> SimpleExpr {
    match (op, Uuid::try_parse(text)) {
        (Op::Equal, Ok(id)) => Expr::cust_with_values(format!("{has_one} AND {column} = ?"), [Cell::from(id)]),
        (Op::NotEqual, Ok(id)) => Expr::cust_with_values(format!("NOT ({has_one} AND {column} = ?)"), [Cell::from(id)]),
        (Op::Equal, Err(_)) if text.is_empty() => Expr::cust(format!("NOT ({has_one})")),
        (Op::NotEqual, Err(_)) if text.is_empty() => Expr::cust(has_one),
        (Op::NotEqual, Err(_)) => Expr::cust("1 = 1"),
        (_, Ok(_) | Err(_)) => never(),
    }
}

/// A comparison with the name of a run's job; a run without one has the empty name.
fn job(op: Op, text: &str, jobs: &Jobs) -> SimpleExpr {
    let opposite = op == Op::NotEqual;
    let sql = |sql: &str| if opposite { format!("NOT ({sql})") } else { sql.to_owned() };
    match (op, text) {
        (Op::Equal | Op::NotEqual, "") => Expr::cust(sql("run.job_uid IS NULL")),
        (Op::Prefix, "") => Expr::cust("1 = 1"),
        (Op::Equal | Op::NotEqual, name) => match jobs.named.get(name).map(Vec::as_slice) {
            None | Some([]) => Expr::cust(sql("1 = 0")),
            // One uid is found in the order of the list, without sorting.
            Some([one]) => {
                Expr::cust_with_values(sql("run.job_uid IS NOT NULL AND run.job_uid = ?"), [Cell::from(*one)])
            }
            Some(few) if few.len() <= FEW_JOBS => {
                let places = super::statement::places(few.len());
                let text = sql(&format!("run.job_uid IS NOT NULL AND run.job_uid IN ({places})"));
                Expr::cust_with_values(text, few.iter().map(|uid| Cell::from(*uid)))
            }
            Some(_) => named(&sql, jobs.namespace, "job.name = ?", name.into()),
        },
        (Op::Prefix, _) => {
            let (compared, value) = compare("job.name", Op::Prefix, text.into());
            named(&sql, jobs.namespace, &compared, value)
        }
        // Texts have no order.
        (Op::Less | Op::LessEqual | Op::Greater | Op::GreaterEqual, _) => never(),
    }
}

fn named(sql: &dyn Fn(&str) -> String, namespace: i32, compared: &str, value: Cell) -> SimpleExpr {
    let of_jobs = format!(
        "run.job_uid IS NOT NULL AND run.job_uid IN (SELECT job.uid FROM job WHERE job.namespace_id = ? AND {compared})"
    );
    Expr::cust_with_values(sql(&of_jobs), [namespace.into(), value])
}

/// A comparison with a column that may be NULL: only "is not" is true of what is absent.
fn present(column: &str, op: Op, sql: String, value: Cell) -> SimpleExpr {
    let sql = match op {
        Op::NotEqual => format!("({column} IS NULL OR {sql})"),
        Op::Equal | Op::Less | Op::LessEqual | Op::Greater | Op::GreaterEqual | Op::Prefix => {
            format!("({column} IS NOT NULL AND {sql})")
        }
    };
    Expr::cust_with_values(sql, [value])
}

fn compare(column: &str, op: Op, value: Cell) -> (String, Cell) {
    let sign = match op {
        Op::Equal => "=",
        Op::NotEqual => "<>",
        Op::Less => "<",
        Op::LessEqual => "<=",
        Op::Greater => ">",
        Op::GreaterEqual => ">=",
        Op::Prefix => return (format!("{column} LIKE ? ESCAPE '!'"), prefix(value)),
    };
    (format!("{column} {sign} ?"), value)
}

/// The pattern of everything that begins so.
fn prefix(value: Cell) -> Cell {
    match value {
        Cell::String(Some(text)) => {
            let escaped = text.replace('!', "!!").replace('%', "!%").replace('_', "!_");
            format!("{escaped}%").into()
        }
        other => other,
    }
}

/// How the key of what comes after a page compares with the last one on it.
pub(super) fn beyond(direction: Direction) -> &'static str {
    match direction {
        Direction::Up => ">",
        Direction::Down => "<",
    }
}

/// `columns` of what passes, in the order of its keys.
pub(super) fn select(
    columns: &str,
    table: &str,
    wanted: Condition,
    keys: &[&str],
    direction: Direction,
    limit: usize,
) -> SelectStatement {
    let mut select = Query::select();
    select.expr(Expr::cust(columns.to_owned())).from(Alias::new(table)).cond_where(wanted).limit(limit as u64);
    for key in keys {
        let order = match direction {
            Direction::Up => Order::Asc,
            Direction::Down => Order::Desc,
        };
        select.order_by_expr(Expr::cust((*key).to_owned()), order);
    }
    select
}
