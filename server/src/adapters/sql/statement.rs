//! Running statements: text, values, and the few sizes in which batches are cut.

use std::{future::Future, pin::Pin};

use mainspring_engine::ports::store::{Obstacle, StoreError, StoreResult};
use sea_orm::{ConnectionTrait, DbErr, QueryResult, RuntimeErr, SqlErr, Statement, TryGetable, Value};
use sqlx::error::DatabaseError;

/// A future that borrows the transaction it works in.
pub(super) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Few sizes, so that the texts are few and the statement cache holds. At most 64: with more tuples SQLite's planner takes
/// a `VALUES` join for large, scans the table from end to end and looks the tuples up instead.
const SIZES: [usize; 4] = [64, 16, 4, 1];

/// Cuts a batch into pieces of the sizes above.
pub(super) fn chunks<T>(mut items: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let size = *SIZES.iter().find(|size| **size <= items.len())?;
        let (head, rest) = items.split_at(size);
        items = rest;
        Some(head)
    })
}

/// `(?,?),(?,?)`: anonymous places, since the driver looks the name of each numbered one up.
pub(super) fn tuples(rows: usize, columns: usize) -> String {
    let mut text = String::with_capacity(rows * (2 * columns + 2));
    for row in 0..rows {
        text.push_str(if row == 0 { "(" } else { ",(" });
        text.push_str(&places(columns));
        text.push(')');
    }
    text
}

/// `?,?,?`
pub(super) fn places(count: usize) -> String {
    let mut text = "?,".repeat(count);
    text.pop();
    text
}

/// SQLite's code for a statement that its connection's progress handler broke off.
const INTERRUPTED: i32 = 9;

/// All rows of a query.
pub(super) async fn query<C: ConnectionTrait>(
    connection: &C,
    sql: impl Into<String> + Send,
    values: Vec<Value>,
) -> StoreResult<Vec<QueryResult>> {
    let backend = connection.get_database_backend();
    connection.query_all_raw(Statement::from_sql_and_values(backend, sql, values)).await.map_err(failed)
}

/// The first row of a query.
pub(super) async fn query_one<C: ConnectionTrait>(
    connection: &C,
    sql: impl Into<String> + Send,
    values: Vec<Value>,
) -> StoreResult<Option<QueryResult>> {
    let backend = connection.get_database_backend();
    connection.query_one_raw(Statement::from_sql_and_values(backend, sql, values)).await.map_err(failed)
}

/// Runs a statement; how many rows it changed.
pub(super) async fn exec<C: ConnectionTrait>(
    connection: &C,
    sql: impl Into<String> + Send,
    values: Vec<Value>,
) -> StoreResult<u64> {
    let backend = connection.get_database_backend();
    let done = connection.execute_raw(Statement::from_sql_and_values(backend, sql, values)).await.map_err(failed)?;
    Ok(done.rows_affected())
}

/// Runs text without values.
pub(super) async fn exec_plain<C: ConnectionTrait>(connection: &C, sql: &str) -> Result<(), DbErr> {
    let statement = Statement::from_string(connection.get_database_backend(), sql);
    connection.execute_raw(statement).await.map(drop)
}

/// Cuts rows into pieces of the sizes above.
pub(super) fn pieces<T>(rows: Vec<T>) -> impl Iterator<Item = Vec<T>> {
    let mut rows = rows.into_iter();
    std::iter::from_fn(move || {
        let size = SIZES.into_iter().find(|size| *size <= rows.len())?;
        Some(rows.by_ref().take(size).collect())
    })
}

fn insert_sql<const N: usize>(into: &str, rows: usize, on_conflict: &str) -> String {
    format!("INSERT INTO {into} VALUES {} {on_conflict}", tuples(rows, N))
}

/// Inserts rows, in pieces. `into` names the table and its columns.
pub(super) async fn insert<C: ConnectionTrait, const N: usize>(
    connection: &C,
    into: &str,
    rows: Vec<[Value; N]>,
    on_conflict: &str,
) -> StoreResult<u64> {
    let mut inserted = 0;
    for piece in pieces(rows) {
        let sql = insert_sql::<N>(into, piece.len(), on_conflict);
        inserted += exec(connection, sql, piece.into_iter().flatten().collect()).await?;
    }
    Ok(inserted)
}

/// Runs an insert, all or nothing; `false` where a key of it is taken.
///
/// A refused statement leaves the rest of the transaction standing on SQLite. PostgreSQL will need `ON CONFLICT DO NOTHING
/// RETURNING` here.
pub(super) async fn insert_unless_there<C: ConnectionTrait>(
    connection: &C,
    sql: String,
    values: Vec<Value>,
) -> StoreResult<bool> {
    let backend = connection.get_database_backend();
    match connection.execute_raw(Statement::from_sql_and_values(backend, sql, values)).await {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))) => Ok(false),
        Err(error) => Err(failed(error)),
    }
}

/// Rows whose key is one of `keys`: `head` ends before the list, `tail` follows it.
pub(super) async fn query_in<C: ConnectionTrait, K: Clone + Into<Value>>(
    connection: &C,
    head: &str,
    keys: &[K],
    tail: &str,
) -> StoreResult<Vec<QueryResult>> {
    let mut found = Vec::new();
    for chunk in chunks(keys) {
        let values = chunk.iter().map(|key| key.clone().into()).collect();
        found.extend(query(connection, format!("{head} ({}) {tail}", places(chunk.len())), values).await?);
    }
    Ok(found)
}

/// Reads a row from left to right, so that a query's columns are named once.
#[derive(Debug)]
pub(super) struct Cells<'a> {
    row: &'a QueryResult,
    at: usize,
}

impl<'a> Cells<'a> {
    /// From the first column.
    pub(super) fn of(row: &'a QueryResult) -> Self {
        Self { row, at: 0 }
    }

    /// From a later column.
    pub(super) fn at(row: &'a QueryResult, at: usize) -> Self {
        Self { row, at }
    }

    /// What is left, once more.
    pub(super) fn remaining(&self) -> Self {
        Self { row: self.row, at: self.at }
    }

    /// The next column.
    pub(super) fn next<T: TryGetable>(&mut self) -> StoreResult<T> {
        let value = self.row.try_get_by_index(self.at).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        self.at += 1;
        Ok(value)
    }

    /// The next column, or nothing where it cannot be read.
    pub(super) fn any<T: TryGetable + Default>(&mut self) -> T {
        let value = self.row.try_get_by_index(self.at).unwrap_or_default();
        self.at += 1;
        value
    }

    /// The next column, which the domain reads.
    pub(super) fn parse<T, D>(&mut self, what: &str, read: impl FnOnce(&T) -> Option<D>) -> StoreResult<D>
    where
        T: TryGetable + std::fmt::Debug,
    {
        let value = self.next::<T>()?;
        read(&value).ok_or_else(|| StoreError::Corrupt(format!("{what} cannot be {value:?}")))
    }
}

/// The one value of a row.
pub(super) fn single<T: TryGetable>(row: &QueryResult) -> StoreResult<T> {
    Cells::of(row).next()
}

/// What a failed statement means for the caller.
///
/// A constraint that refuses a row is a bug or a damaged file: trying again cannot help. Everything else may pass.
pub(super) fn failed(error: DbErr) -> StoreError {
    let database = said(&error);
    let is_refused = |database: &dyn DatabaseError| {
        database.is_unique_violation()
            || database.is_check_violation()
            || database.is_foreign_key_violation()
            || database.message().contains("malformed")
    };
    if code(&error) == Some(INTERRUPTED) {
        StoreError::TooSlow
    } else if is_damage(&error) {
        StoreError::Unwritable { obstacle: Obstacle::Damaged, place: None }
    } else if database.is_some_and(is_refused) {
        StoreError::Corrupt(error.to_string())
    } else if let Some(obstacle) = obstacle(&error) {
        StoreError::Unwritable { obstacle, place: None }
    } else {
        StoreError::Unavailable(error.to_string())
    }
}

/// What the database itself said.
fn said(error: &DbErr) -> Option<&dyn DatabaseError> {
    match error {
        DbErr::Query(RuntimeErr::SqlxError(inner))
        | DbErr::Exec(RuntimeErr::SqlxError(inner))
        | DbErr::Conn(RuntimeErr::SqlxError(inner)) => inner.as_database_error(),
        _ => None,
    }
}

/// SQLite's extended code.
fn code(error: &DbErr) -> Option<i32> {
    said(error)?.code()?.parse().ok()
}

/// What keeps files from being written, where that is what failed.
pub(super) fn obstacle(error: &DbErr) -> Option<Obstacle> {
    // Of the errors of files, those of a write: WRITE, FSYNC, DIR_FSYNC, TRUNCATE, SHMOPEN, SHMSIZE, SHMMAP.
    const WRITES: [i32; 7] = [778, 1_034, 1_290, 1_546, 4_618, 4_874, 5_386];
    let code = code(error)?;
    match code & 0xff {
        // FULL; PERM, READONLY, CANTOPEN; IOERR.
        13 => Some(Obstacle::Full),
        3 | 8 | 14 => Some(Obstacle::Forbidden),
        10 if WRITES.contains(&code) => Some(Obstacle::Failing),
        // CONSTRAINT_COMMITHOOK: only `Held` is asked there.
        19 if code == 531 => Some(Obstacle::Gone),
        _ => None,
    }
}

/// Whether the file is damaged, or none of a database.
pub(super) fn is_damage(error: &DbErr) -> bool {
    // CORRUPT, NOTADB.
    code(error).is_some_and(|code| matches!(code & 0xff, 11 | 26))
}
