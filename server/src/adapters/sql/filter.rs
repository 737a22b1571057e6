//! Filters of lists as conditions, by an allow-list of fields each.
//!
//! A comparison with a field that a row does not have is false, and its opposite true: so no condition here may be NULL.

use std::collections::HashMap;

use mainspring_engine::{
    domain::filter::{Filter, Op, Value},
    ports::store::{StoreError, StoreResult},
};
use sea_orm::{
    Condition, ConnectionTrait, Value as Cell,
    sea_query::{Expr, SimpleExpr},
};
use uuid::Uuid;

use super::statement::{query, single};

/// What a field of a list is.
enum Field {
    /// A text; absent is empty.
    Text(&'static str),
    /// A number, or the code of an enum value.
    Number(&'static str),
    /// An instant; may be absent.
    Time(&'static str),
    /// A UUID, compared for equality; may be absent.
    Id(&'static str),
    /// A text found by another table: the condition with `{}` where the comparison goes.
    Through(&'static str, &'static str),
    /// The name of a run's job.
    Job,
}

fn run_field(name: &str) -> Option<Field> {
    Some(match name {
        "state" => Field::Number("run.state"),
        "job" => Field::Job,
        "job_type" => Field::Through("run.lane_id IN (SELECT lane.id FROM lane WHERE {})", "lane.job_type"),
        "queue" => Field::Through(
            "run.lane_id IN (SELECT lane.id FROM lane JOIN queue ON queue.id = lane.queue_id WHERE {})",
            "queue.name",
        ),
        "origin" => Field::Number("run.origin"),
        "reason" => Field::Text("coalesce(run.reason, '')"),
        "priority" => Field::Number("run.priority"),
        "schedule" => Field::Text("coalesce(run.schedule, '')"),
        "worker_id" => Field::Id("run.worker_id"),
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
        "state" => Field::Number("CASE WHEN job.pause_time IS NULL THEN job.state ELSE 2 END"),
        "owner" => Field::Text("job.owner"),
        "create_time" => Field::Time("job.create_time"),
        "update_time" => Field::Time("job.update_time"),
        _ => return None,
    })
}

/// A filter of runs of a namespace. Names of jobs are looked up first: a run is found by its job's uid.
pub(super) async fn runs<C: ConnectionTrait>(
    connection: &C,
    namespace: i32,
    filter: &Filter,
) -> StoreResult<Condition> {
    let mut jobs = HashMap::new();
    for (op, name) in job_tests(filter) {
        let (compared, value) = compare("job.name", op, name.into());
        let sql = format!("SELECT uid FROM job WHERE namespace_id = ? AND {compared}");
        let rows = query(connection, sql, vec![namespace.into(), value]).await?;
        let uids = rows.iter().map(single::<Uuid>).collect::<StoreResult<Vec<_>>>()?;
        jobs.insert((op_key(op), name.to_owned()), uids);
    }
    condition(filter, &run_field, &jobs)
}

/// A filter of jobs.
pub(super) fn jobs(filter: &Filter) -> StoreResult<Condition> {
    condition(filter, &job_field, &HashMap::new())
}

/// The uids of jobs whose name passes a comparison.
type JobUids = HashMap<(u8, String), Vec<Uuid>>;

fn op_key(op: Op) -> u8 {
    op as u8
}

/// Comparisons with the name of a run's job.
fn job_tests(filter: &Filter) -> Vec<(Op, &str)> {
    match filter {
        Filter::And(parts) | Filter::Or(parts) => parts.iter().flat_map(job_tests).collect(),
        Filter::Not(part) => job_tests(part),
        Filter::Test { field: "job", op, value: Value::Text(name) } => vec![(*op, name)],
        Filter::All | Filter::Test { .. } => Vec::new(),
    }
}

fn condition(filter: &Filter, field: &dyn Fn(&str) -> Option<Field>, jobs: &JobUids) -> StoreResult<Condition> {
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

fn test(name: &str, field: &Field, op: Op, value: &Value, jobs: &JobUids) -> StoreResult<SimpleExpr> {
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
        (Field::Id(column), Value::Text(text)) => match (Uuid::try_parse(text), op) {
            (Ok(id), Op::Equal | Op::NotEqual) => {
                let (sql, value) = compare(column, op, id.into());
                present(column, op, sql, value)
            }
            (Err(_), Op::NotEqual) => Expr::cust("1 = 1"),
            (Ok(_) | Err(_), _) => never(),
        },
        (Field::Through(outer, column), Value::Text(text)) => {
            let (sql, value) = compare(column, op, text.as_str().into());
            Expr::cust_with_values(outer.replace("{}", &sql), [value])
        }
        (Field::Job, Value::Text(text)) => match jobs.get(&(op_key(op), text.clone())).map(Vec::as_slice) {
            None | Some([]) => never(),
            // One uid is found in the order of the list, without sorting.
            Some([one]) => Expr::cust_with_values("(run.job_uid IS NOT NULL AND run.job_uid = ?)", [Cell::from(*one)]),
            Some(many) => {
                let places = super::statement::places(many.len());
                let sql = format!("(run.job_uid IS NOT NULL AND run.job_uid IN ({places}))");
                Expr::cust_with_values(sql, many.iter().map(|uid| Cell::from(*uid)))
            }
        },
        _ => return Err(unknown(name)),
    })
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
