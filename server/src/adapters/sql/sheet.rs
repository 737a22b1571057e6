//! Batches as one value: rows of cells that a statement takes apart, and rows of an answer that come back together.
//!
//! A statement with a place for every cell has as many texts as there are sizes, copies every cell three times on its way
//! to the database, and SQLite's planner takes its `VALUES` for a large table. And the driver hands rows over one by one
//! from SQLite's own thread, which costs more than to find them. So a hot statement gets its rows as one JSON array and
//! gives its answer as one.
//!
//! Cells are integers, or bytes and texts in hex: a JSON string of SQLite's ends at its first NUL.

use std::{fmt::Write as _, io::Write as _};

use mainspring_engine::ports::store::{StoreError, StoreResult};
use sea_orm::{ConnectionTrait, Value};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::statement::{query_one, single};

/// The table that a sheet is in a statement. Its place is the sheet's.
pub(super) const SHEET: &str = "jsonb_each(?) AS sheet";

/// Rows of cells, from left to right.
#[derive(Debug, Default)]
pub(super) struct Sheet {
    text: Vec<u8>,
    rows: usize,
}

impl Sheet {
    /// A sheet with a row for each item.
    pub(super) fn of<T>(items: impl IntoIterator<Item = T>, write: impl Fn(&mut Row<'_>, T)) -> Self {
        let mut sheet = Self::default();
        for item in items {
            write(&mut sheet.row(), item);
        }
        sheet
    }

    /// The next row.
    pub(super) fn row(&mut self) -> Row<'_> {
        self.text.extend_from_slice(if self.rows == 0 { b"[[" } else { b"],[" });
        self.rows += 1;
        Row { text: &mut self.text, first: true }
    }

    /// As a statement takes it.
    pub(super) fn value(&self) -> Value {
        let mut text = String::from_utf8_lossy(&self.text).into_owned();
        text.push_str(if self.rows == 0 { "[]" } else { "]]" });
        text.into()
    }
}

/// A row that is being written.
#[derive(Debug)]
pub(super) struct Row<'a> {
    text: &'a mut Vec<u8>,
    first: bool,
}

impl Row<'_> {
    fn cell(&mut self) -> &mut Vec<u8> {
        if !std::mem::take(&mut self.first) {
            self.text.push(b',');
        }
        self.text
    }

    /// A number.
    pub(super) fn int(&mut self, number: impl Into<Option<i64>>) -> &mut Self {
        let text = self.cell();
        // A vector takes whatever is written to it.
        let _ = match number.into() {
            Some(number) => write!(text, "{number}"),
            None => write!(text, "null"),
        };
        self
    }

    /// Bytes.
    pub(super) fn bytes<'b>(&mut self, bytes: impl Into<Option<&'b [u8]>>) -> &mut Self {
        let text = self.cell();
        match bytes.into() {
            Some(bytes) => {
                text.push(b'"');
                let at = text.len();
                text.resize(at + 2 * bytes.len(), b'0');
                // The space is as long as the bytes in hex.
                let _ = hex::encode_to_slice(bytes, &mut text[at..]);
                text.push(b'"');
            }
            None => text.extend_from_slice(b"null"),
        }
        self
    }

    /// An id.
    pub(super) fn id(&mut self, id: impl Into<Option<Uuid>>) -> &mut Self {
        self.bytes(id.into().as_ref().map(|id| id.as_bytes().as_slice()))
    }

    /// A text.
    pub(super) fn text<'b>(&mut self, text: impl Into<Option<&'b str>>) -> &mut Self {
        self.bytes(text.into().map(str::as_bytes))
    }
}

/// What a cell is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// A number.
    Int,
    /// Bytes, or an id.
    Bytes,
    /// A text.
    Text,
}

/// The number in a column of the sheet.
pub(super) fn int(column: usize) -> String {
    format!("(sheet.value ->> {column})")
}

/// The bytes or the id in a column of the sheet.
pub(super) fn bytes(column: usize) -> String {
    format!("unhex(sheet.value ->> {column})")
}

/// The text in a column of the sheet.
pub(super) fn text(column: usize) -> String {
    format!("CAST(unhex(sheet.value ->> {column}) AS TEXT)")
}

/// Inserts the rows of a sheet with these columns.
pub(super) fn insert_sql(table: &str, columns: &[(&str, Kind)]) -> String {
    let (mut names, mut cells) = (String::new(), String::new());
    for (at, (name, kind)) in columns.iter().enumerate() {
        let comma = if at == 0 { "" } else { ", " };
        let cell = match kind {
            Kind::Int => int(at),
            Kind::Bytes => bytes(at),
            Kind::Text => text(at),
        };
        // A string takes whatever is written to it.
        let _ = write!(names, "{comma}{name}");
        let _ = write!(cells, "{comma}{cell}");
    }
    format!("INSERT INTO {table} ({names}) SELECT {cells} FROM {SHEET}")
}

/// An id or bytes, as a column of an answer.
pub(super) fn in_hex(column: &str) -> String {
    format!("nullif(hex({column}), '')")
}

/// Follows a condition: these columns, each qualified, are numbers or NULL. Anything else would spoil the whole answer.
pub(super) fn numbers(columns: &[&str]) -> String {
    columns.iter().map(|column| format!(" AND typeof({column}) IN ('integer', 'null')")).collect()
}

/// Reads a text column of [`in_hex`], which may hold anything in a damaged file.
pub(super) fn read_text(text: Option<String>) -> StoreResult<Option<String>> {
    let Some(text) = text else { return Ok(None) };
    let text = String::from_utf8(read_hex(Some(text))?).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    Ok(Some(text))
}

/// Reads a column of [`in_hex`]; NULL is no bytes.
pub(super) fn read_hex(text: Option<String>) -> StoreResult<Vec<u8>> {
    let bytes = text.map(hex::decode).transpose().map_err(|error| StoreError::Corrupt(error.to_string()))?;
    Ok(bytes.unwrap_or_default())
}

/// What a statement selects as one JSON array of rows, each an array of these columns. Rows that cannot be read are not in
/// the answer.
pub(super) async fn query_rows<C: ConnectionTrait, T: DeserializeOwned>(
    connection: &C,
    sql: String,
    values: Vec<Value>,
) -> StoreResult<Vec<T>> {
    let Some(row) = query_one(connection, sql, values).await? else { return Ok(Vec::new()) };
    Ok(rows_of(&single::<String>(&row)?))
}

/// The rows of an answer.
pub(super) fn rows_of<T: DeserializeOwned>(text: &str) -> Vec<T> {
    serde_json::from_str(text).unwrap_or_else(|_| one_by_one(text))
}

/// Seldom: one row of many is damaged.
fn one_by_one<T: DeserializeOwned>(text: &str) -> Vec<T> {
    let rows: Vec<serde_json::Value> = serde_json::from_str(text).unwrap_or_default();
    rows.into_iter().filter_map(|row| serde_json::from_value(row).ok()).collect()
}

/// Rows as one JSON array.
pub(super) fn array_of(columns: &str) -> String {
    format!("json_group_array(json_array({columns}))")
}
