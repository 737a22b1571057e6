//! What goes into a statement as one value comes out of the database as it was.

use serde::Deserialize;

use super::{
    super::sheet::{self, Kind, SHEET, Sheet, array_of, in_hex, insert_sql, query_rows},
    *,
};

#[derive(Debug, Deserialize, PartialEq, Eq)]
struct Read {
    number: Option<i64>,
    bytes: Option<String>,
    text: Option<String>,
}

const ALL: [u8; 4] = [0, 1, 0x7f, 0xff];

#[tokio::test]
async fn every_value_comes_back_as_it_was() {
    let (store, _home) = store().await;
    let texts = [None, Some(""), Some("a"), Some("a\0b"), Some("\0"), Some("\"],[\\"), Some("ü\u{202e}🦀\n")];
    let bytes = [None, Some(&[0_u8][..]), Some(&ALL[..])];
    let numbers = [None, Some(0), Some(i64::MIN), Some(i64::MAX), Some((1 << 53) + 1)];
    let rows: Vec<_> = (0..105).map(|at| (numbers[at % 5], bytes[at % 3], texts[at % 7])).collect();
    let read: Vec<Read> = store
        .write(move |tx| {
            Box::pin(async move {
                exec(tx, "CREATE TEMP TABLE value (at INTEGER, number BIGINT, bytes BLOB, text TEXT)", Vec::new())
                    .await?;
                let columns = [("at", Kind::Int), ("number", Kind::Int), ("bytes", Kind::Bytes), ("text", Kind::Text)];
                let sheet = Sheet::of(rows.iter().zip(0..), |row, ((number, bytes, text), at)| {
                    row.int(at).int(*number).bytes(*bytes).text(*text);
                });
                assert_eq!(exec(tx, insert_sql("value", &columns), vec![sheet.value()]).await?, 105);
                let columns = array_of(&format!("number, {}, text", in_hex("bytes")));
                query_rows(tx, format!("SELECT {columns} FROM (SELECT * FROM value ORDER BY at)"), Vec::new()).await
            })
        })
        .await
        .unwrap();
    for (at, read) in read.into_iter().enumerate() {
        let text = texts[at % 7].map(str::to_owned);
        assert_eq!((read.number, read.text), (numbers[at % 5], text), "row {at}");
        assert_eq!(sheet::read_hex(read.bytes).unwrap(), bytes[at % 3].unwrap_or_default(), "row {at}");
    }
}

#[tokio::test]
async fn a_sheet_without_rows_is_a_table_without_rows() {
    let (store, _home) = store().await;
    let sql = format!("SELECT {} FROM {SHEET}", array_of(&sheet::int(0)));
    let rows: Vec<(i64,)> = query_rows(&store.reads, sql, vec![Sheet::default().value()]).await.unwrap();
    assert_eq!(rows, []);
}

/// A row that is damaged does not take the others with it.
#[tokio::test]
async fn rows_that_cannot_be_read_are_not_in_the_answer() {
    let (store, _home) = store().await;
    let sql = "SELECT json_array(json_array(1), json_array('x'), json_array(3))".to_owned();
    let rows: Vec<(i64,)> = query_rows(&store.reads, sql, Vec::new()).await.unwrap();
    assert_eq!(rows, [(1,), (3,)]);
}
